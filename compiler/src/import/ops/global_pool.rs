//! `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool`.

use super::reduce::lp_norm;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Reduce, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("GlobalAveragePool", 1, |c| global(c, Reduce::Mean)),
    onnx("GlobalLpPool", 1, global_lp),
    onnx("GlobalMaxPool", 1, |c| global(c, Reduce::Max)),
];

fn spatial(c: &mut Call<'_, '_>) -> Result<(ValueId, Vec<usize>), Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    if c.rank(x) < 3 {
        return Err(Fail::invalid(format!("input {} has no spatial axes", c.ty(x))));
    }
    Ok((x, (2..c.rank(x)).collect()))
}

fn global(c: &mut Call<'_, '_>, kind: Reduce) -> Result<Vec<Val>, Fail> {
    let (x, axes) = spatial(c)?;
    one(c.reduce(kind, x, &axes, true)?)
}

fn global_lp(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let p = if c.opset < 2 { c.float("p", 2.0)? as i64 } else { c.int("p", 2)? };
    let (x, axes) = spatial(c)?;
    one(lp_norm(c, x, p, &axes, true)?)
}
