//! `TopK`: k is an attribute before version 10, an operand since.

use crate::import::call::{Call, Val, axis, extent};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Op;

pub(super) const OPS: &[OpDef] = &[onnx("TopK", 1, top_k)];

fn top_k(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let a = c.int("axis", -1)?;
    let largest = c.flag("largest", true)?;
    // The results are sorted in any case.
    c.ignore(&["sorted"]);
    let k = if c.opset < 10 {
        c.at_most(1)?;
        c.int_opt("k")?.ok_or_else(|| Fail::invalid("attribute 'k' is missing"))?
    } else {
        c.at_most(2)?;
        match c.known_ints(1, "k")?[..] {
            [k] => k,
            ref v => return Err(Fail::invalid(format!("k must be one number, got {}", v.len()))),
        }
    };
    let k = extent(k)?;
    let x = c.x(0)?;
    let axis = axis(a, c.rank(x))?;
    let values = c.op(Op::TopKValues { k, axis, largest }, &[x])?;
    let indices = c.op(Op::TopKIndices { k, axis, largest }, &[x])?;
    Ok(vec![Val::Tensor(values), Val::Tensor(indices)])
}
