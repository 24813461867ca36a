//! `ArrayFeatureExtractor`, `Binarizer` of the `ai.onnx.ml` domain.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, ml};
use crate::ir::{Binary, DType, Op};

pub(super) const OPS: &[OpDef] =
    &[ml("ArrayFeatureExtractor", 1, array_feature_extractor), ml("Binarizer", 1, binarizer)];

/// Elements of the last axis at the given places; a vector counts as a matrix of one row.
fn array_feature_extractor(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (x, at) = (c.x(0)?, c.x(1)?);
    let rank = c.rank(x);
    if rank == 0 {
        return Err(Fail::invalid("a scalar has no features"));
    }
    let n = c.ty(at).elements();
    let at = c.reshape(at, &[n])?;
    let at = c.cast(at, DType::I64)?;
    let y = c.op(Op::Gather { axis: rank - 1 }, &[x, at])?;
    one(if rank == 1 { c.reshape(y, &[1, n])? } else { y })
}

/// 1 above the threshold, else 0.
fn binarizer(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let threshold = f64::from(c.float("threshold", 0.0)?);
    let x = c.x(0)?;
    let dtype = c.dtype(x);
    // Whole numbers are above a threshold when they are above its integer part.
    let t = c.scalar_like(x, if dtype.is_float() { threshold } else { threshold.floor() });
    let above = c.binary(Binary::Gt, x, t)?;
    one(c.cast(above, dtype)?)
}
