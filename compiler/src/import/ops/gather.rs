//! `Gather`, `GatherElements`, `GatherND`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Op, ValueId};

pub(super) const OPS: &[OpDef] =
    &[onnx("Gather", 1, gather), onnx("GatherElements", 11, gather_elements), onnx("GatherND", 11, gather_nd)];

/// Indices as the primitives take them.
pub(super) fn indices(c: &mut Call<'_, '_>, v: ValueId) -> Result<ValueId, Fail> {
    match c.dtype(v) {
        DType::I32 | DType::I64 => Ok(v),
        d => Err(Fail::invalid(format!("indices must be int32 or int64, got {d}"))),
    }
}

fn gather(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let a = c.int("axis", 0)?;
    let (x, ix) = (c.x(0)?, c.x(1)?);
    let a = axis(a, c.rank(x))?;
    let ix = indices(c, ix)?;
    one(c.op(Op::Gather { axis: a }, &[x, ix])?)
}

fn gather_elements(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let a = c.int("axis", 0)?;
    let (x, ix) = (c.x(0)?, c.x(1)?);
    let a = axis(a, c.rank(x))?;
    let ix = indices(c, ix)?;
    one(c.op(Op::GatherElements { axis: a }, &[x, ix])?)
}

fn gather_nd(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let batch_dims = c.int("batch_dims", 0)?;
    let (x, ix) = (c.x(0)?, c.x(1)?);
    let batch_dims = usize::try_from(batch_dims).map_err(|_| Fail::invalid("batch_dims is negative"))?;
    let ix = indices(c, ix)?;
    one(c.op(Op::GatherNd { batch_dims }, &[x, ix])?)
}
