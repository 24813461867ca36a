//! `Concat`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Concat", 1, concat)];

fn concat(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let default = if c.opset < 4 { Some(1) } else { None };
    let a = c.int_opt("axis")?.or(default).ok_or_else(|| Fail::invalid("attribute 'axis' is missing"))?;
    let parts = c.all()?;
    let first = *parts.first().ok_or_else(|| Fail::invalid("takes at least one operand"))?;
    let a = axis(a, c.rank(first))?;
    one(c.concat(a, &parts)?)
}
