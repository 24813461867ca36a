//! `Reshape`: the shape is an attribute before version 5, an operand since.

use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use quadrille_isa::tensor::element_count;

pub(super) const OPS: &[OpDef] = &[onnx("Reshape", 1, reshape)];

fn reshape(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(if c.opset < 5 { 1 } else { 2 })?;
    let allow_zero = c.flag("allowzero", false)?;
    let x = c.x(0)?;
    let want = if c.opset < 5 {
        c.int_list("shape")?.ok_or_else(|| Fail::invalid("attribute 'shape' is missing"))?
    } else {
        c.known_ints(1, "the shape")?
    };
    let shape = resolve(&c.shape(x), &want, allow_zero)?;
    one(c.reshape(x, &shape)?)
}

/// Replaces 0 (keep, unless `allow_zero`) and -1 (whatever is left).
pub(super) fn resolve(from: &[usize], want: &[i64], allow_zero: bool) -> Result<Vec<usize>, Fail> {
    let mut shape = Vec::with_capacity(want.len());
    let mut open = None;
    for (i, &d) in want.iter().enumerate() {
        shape.push(match d {
            -1 if open.is_some() => return Err(Fail::invalid(format!("the shape {want:?} has more than one -1"))),
            -1 => {
                open = Some(i);
                1
            }
            0 if !allow_zero => *from.get(i).ok_or_else(|| {
                Fail::invalid(format!("the shape {want:?} keeps axis {i}, which {from:?} does not have"))
            })?,
            d => extent(d)?,
        });
    }
    if let Some(i) = open {
        let (total, rest) = (element_count(from), element_count(&shape));
        shape[i] = match (total, rest) {
            (Some(t), Some(r)) if r > 0 && t.is_multiple_of(r) => t / r,
            // An axis that is whatever is left of nothing is empty.
            (Some(0), Some(0)) => 0,
            _ => return Err(Fail::invalid(format!("{from:?} cannot take the shape {want:?}"))),
        };
    }
    Ok(shape)
}
