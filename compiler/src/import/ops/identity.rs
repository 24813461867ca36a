//! `Identity`.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Identity", 1, identity)];

/// Passes tensors, sequences and optionals through.
fn identity(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    Ok(vec![c.operands.first().cloned().flatten().unwrap_or(Val::Nothing)])
}
