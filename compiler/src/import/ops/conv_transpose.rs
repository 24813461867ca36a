//! `ConvTranspose`.

use super::conv::add_bias;
use super::window;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Op;

pub(super) const OPS: &[OpDef] = &[onnx("ConvTranspose", 1, conv_transpose)];

fn small(c: &mut Call<'_, '_>, name: &str, n: usize) -> Result<Option<Vec<i64>>, Fail> {
    let Some(v) = c.int_list(name)? else { return Ok(None) };
    if v.len() != n || v.iter().any(|&x| !(0..1 << 30).contains(&x)) {
        return Err(Fail::invalid(format!("attribute '{name}' = {v:?} does not fit {n} spatial axes")));
    }
    Ok(Some(v))
}

fn conv_transpose(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (x, w, bias) = (c.x(0)?, c.x(1)?, c.opt(2)?);
    let (xs, ws) = (c.shape(x), c.shape(w));
    if xs.len() < 3 || ws.len() != xs.len() {
        return Err(Fail::invalid(format!(
            "input {} and weights {} must have the same rank of at least 3",
            c.ty(x),
            c.ty(w)
        )));
    }
    let n = xs.len() - 2;
    let attributes = window::read(c, n)?;
    if let Some(k) = &attributes.kernel
        && k[..] != ws[2..]
    {
        return Err(Fail::invalid(format!("kernel_shape {k:?} contradicts the weights {}", c.ty(w))));
    }
    let groups = usize::try_from(c.int("group", 1)?).unwrap_or(0);
    let output_padding = small(c, "output_padding", n)?.unwrap_or_else(|| vec![0; n]);
    let output_shape = match c.int_list("output_shape")? {
        // Some exporters give batch and channels too.
        Some(v) if v.len() == n + 2 && v[2..].iter().all(|d| (0..1 << 30).contains(d)) => Some(v[2..].to_vec()),
        Some(_) => small(c, "output_shape", n)?,
        None => None,
    };
    let mut window = attributes.resolve(&ws[2..], &xs[2..], false)?.window;
    let mut extra = vec![0; n];
    for i in 0..n {
        let (stride, span) = (window.stride[i] as i64, ((ws[i + 2] - 1) * window.dilation[i] + 1) as i64);
        let full = stride * (xs[i + 2] as i64 - 1) + output_padding[i] + span;
        let same = matches!(attributes.auto_pad(), "SAME_UPPER" | "SAME_LOWER");
        let wanted = match &output_shape {
            Some(shape) => Some(shape[i]),
            None if same => Some(xs[i + 2] as i64 * stride),
            None => None,
        };
        if let Some(wanted) = wanted {
            let total = full - wanted;
            let half = total.max(0) / 2;
            let (small, large) = (half as usize, (total.max(0) - half) as usize);
            (window.before[i], window.after[i]) =
                if attributes.auto_pad() == "SAME_UPPER" { (small, large) } else { (large, small) };
            // More is wanted than there is: zeros at the end.
            extra[i] = (output_padding[i] - total.min(0)) as usize;
        } else {
            extra[i] = output_padding[i] as usize;
        }
    }
    let y = c.op(Op::ConvTranspose { window, groups, extra }, &[x, w])?;
    one(add_bias(c, y, bias)?)
}
