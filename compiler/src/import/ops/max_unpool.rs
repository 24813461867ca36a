//! `MaxUnpool`.

use super::window;
use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, ScatterMode};

pub(super) const OPS: &[OpDef] = &[onnx("MaxUnpool", 9, max_unpool)];

/// Puts each value at its index of a tensor of zeros. The indices count in the tensor without
/// `output_shape`; a larger one adds zeros at the end of each axis.
fn max_unpool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (x, ix) = (c.x(0)?, c.x(1)?);
    let xs = c.shape(x);
    if xs.len() < 3 || c.shape(ix) != xs {
        return Err(Fail::invalid(format!("indices {} do not fit {}", c.ty(ix), c.ty(x))));
    }
    let n = xs.len() - 2;
    let attributes = window::read(c, n)?;
    let kernel = attributes.kernel.clone().ok_or_else(|| Fail::invalid("attribute 'kernel_shape' is missing"))?;
    let w = attributes.resolve(&kernel, &xs[2..], false)?.window;
    let mut natural = xs[..2].to_vec();
    for i in 0..n {
        let full = (xs[i + 2].max(1) - 1) * w.stride[i] + w.kernel[i];
        natural.push(
            full.checked_sub(w.before[i] + w.after[i]).ok_or_else(|| Fail::invalid("the pads exceed the result"))?,
        );
    }
    let wanted = match c.known_ints_opt(2, "the output shape")? {
        Some(v) if v.len() == xs.len() => Some(v.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?),
        Some(v) => return Err(Fail::invalid(format!("output shape {v:?} does not fit {}", c.ty(x)))),
        None => None,
    };
    let total = quadrille_isa::tensor::element_count(&natural).filter(|&t| t <= 1 << 40);
    let total = total.ok_or_else(|| Fail::invalid("the result is too large"))?;
    let dtype = c.dtype(x);
    let zeros = c.full(dtype, &[total], 0.0)?;
    let count = c.ty(x).elements();
    let (x, ix) = (c.reshape(x, &[count])?, c.reshape(ix, &[count])?);
    let y = c.op(Op::ScatterElements { axis: 0, mode: ScatterMode::Replace }, &[zeros, ix, x])?;
    let y = c.reshape(y, &natural)?;
    let Some(wanted) = wanted else { return one(y) };
    let after: Vec<isize> = wanted.iter().zip(&natural).map(|(&w, &n)| w as isize - n as isize).collect();
    one(c.pad(y, &vec![0; after.len()], &after, 0.0)?)
}
