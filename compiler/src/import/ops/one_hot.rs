//! `OneHot`.

use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType};

pub(super) const OPS: &[OpDef] = &[onnx("OneHot", 9, one_hot)];

/// Indices outside [-depth, depth) select nothing.
fn one_hot(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let a = c.int("axis", -1)?;
    let (ix, values) = (c.x(0)?, c.x(2)?);
    let depth = extent(c.known_number(1, "the depth")? as i64)?;
    if c.shape(values) != [2] {
        return Err(Fail::invalid(format!("values {} must be off and on", c.ty(values))));
    }
    let mut shape = c.shape(ix);
    let a = crate::import::call::axis(a, shape.len() + 1)?;
    shape.insert(a, 1);
    let ix = c.cast(ix, DType::I64)?;
    let ix = c.reshape(ix, &shape)?;
    let zero = c.scalar(DType::I64, 0.0);
    let negative = c.binary(Binary::Lt, ix, zero)?;
    let wrapped = c.offset(ix, depth as f64)?;
    let ix = c.select(negative, wrapped, ix)?;
    let count = c.iota(depth, shape.len(), a)?;
    let hit = c.binary(Binary::Eq, ix, count)?;
    let off = c.slice_axis(values, 0, 0, 1)?;
    let off = c.reshape(off, &[])?;
    let on = c.slice_axis(values, 0, 1, 1)?;
    let on = c.reshape(on, &[])?;
    one(c.select(hit, on, off)?)
}
