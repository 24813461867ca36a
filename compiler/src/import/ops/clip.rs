//! `Clip`: bounds are attributes before version 11, operands since.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Binary;

pub(super) const OPS: &[OpDef] = &[onnx("Clip", 1, clip)];

fn clip(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    if c.opset < 11 {
        c.at_most(1)?;
        let lo = c.float("min", f32::MIN)?;
        let hi = c.float("max", f32::MAX)?;
        let x = c.x(0)?;
        let lo = if lo == f32::MIN { f64::NEG_INFINITY } else { f64::from(lo) };
        let hi = if hi == f32::MAX { f64::INFINITY } else { f64::from(hi) };
        return one(c.clamp(x, lo, hi)?);
    }
    c.at_most(3)?;
    let mut y = c.x(0)?;
    for (i, b) in [(1, Binary::Max), (2, Binary::Min)] {
        if let Some(bound) = c.opt(i)? {
            if c.ty(bound).elements() != 1 {
                return Err(Fail::invalid(format!("bound {} is no scalar", c.ty(bound))));
            }
            let bound = c.reshape(bound, &[])?;
            y = c.binary(b, y, bound)?;
        }
    }
    one(y)
}
