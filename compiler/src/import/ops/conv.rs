//! `Conv`. (`ConvTranspose` and the quantised convolutions have files of their own.)

use super::window;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("Conv", 1, conv)];

fn conv(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (x, w, bias) = (c.x(0)?, c.x(1)?, c.opt(2)?);
    let y = product(c, x, w)?;
    one(add_bias(c, y, bias)?)
}

/// The convolution with the node's attributes, without bias.
pub(super) fn product(c: &mut Call<'_, '_>, x: ValueId, w: ValueId) -> Result<ValueId, Fail> {
    let (xs, ws) = (c.shape(x), c.shape(w));
    if xs.len() < 3 || ws.len() != xs.len() {
        return Err(Fail::invalid(format!(
            "input {} and weights {} must have the same rank of at least 3",
            c.ty(x),
            c.ty(w)
        )));
    }
    let attributes = window::read(c, xs.len() - 2)?;
    let groups = c.int("group", 1)?;
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0);
    let groups = groups.ok_or_else(|| Fail::invalid("attribute 'group' must be at least 1"))?;
    if let Some(k) = &attributes.kernel
        && k[..] != ws[2..]
    {
        return Err(Fail::invalid(format!("kernel_shape {k:?} contradicts the weights {}", c.ty(w))));
    }
    if ws[1].checked_mul(groups) != Some(xs[1]) {
        return Err(Fail::invalid(format!(
            "weights for {} x {groups} input channels, but the input has {}",
            ws[1], xs[1]
        )));
    }
    let window = attributes.resolve(&ws[2..], &xs[2..], false)?.window;
    c.op(Op::Conv { window, groups, epilogue: Vec::new() }, &[x, w])
}

/// `y[N, M, ...] + bias[M]`.
pub(super) fn add_bias(c: &mut Call<'_, '_>, y: ValueId, bias: Option<ValueId>) -> Result<ValueId, Fail> {
    let Some(bias) = bias else { return Ok(y) };
    let ys = c.shape(y);
    if c.shape(bias) != [ys[1]] {
        return Err(Fail::invalid(format!("a bias {} does not fit {} output channels", c.ty(bias), ys[1])));
    }
    let mut shape = vec![1; ys.len() - 1];
    shape[0] = ys[1];
    let bias = c.reshape(bias, &shape)?;
    c.add(y, bias)
}
