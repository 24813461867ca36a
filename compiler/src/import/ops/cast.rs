//! `Cast`, `CastLike`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Cast", 7, cast), onnx("CastLike", 15, cast_like)];

fn cast(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    // Both speak of 8-bit float results only, which are not supported anyway.
    c.ignore(&["saturate", "round_mode"]);
    let to = c.dtype_attribute("to")?.ok_or_else(|| Fail::invalid("attribute 'to' is missing"))?;
    let x = c.x(0)?;
    one(c.cast(x, to)?)
}

fn cast_like(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    c.ignore(&["saturate", "round_mode"]);
    let (x, like) = (c.x(0)?, c.x(1)?);
    let to = c.dtype(like);
    one(c.cast(x, to)?)
}
