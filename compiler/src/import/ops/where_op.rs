//! `Where`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Where", 9, select)];

fn select(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (cond, yes, no) = (c.x(0)?, c.x(1)?, c.x(2)?);
    one(c.select(cond, yes, no)?)
}
