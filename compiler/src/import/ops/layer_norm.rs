//! `LayerNormalization`, `RMSNormalization` and ONNX Runtime's fused variants.

use crate::import::call::{Call, Val, axis};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{DType, Reduce, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    // ONNX Runtime's optimiser writes it, and the simplified one, at any version.
    onnx("LayerNormalization", 7, layer_norm),
    onnx("RMSNormalization", 23, rms_norm),
    onnx("SimplifiedLayerNormalization", 7, with_inverse),
    microsoft("SimplifiedLayerNormalization", with_inverse),
    microsoft("SkipLayerNormalization", skip_layer_norm),
    microsoft("SkipSimplifiedLayerNormalization", skip_rms_norm),
];

/// What a normalisation makes.
pub(super) struct Normalized {
    pub(super) y: ValueId,
    pub(super) mean: Option<ValueId>,
    pub(super) inv_std: ValueId,
}

/// (x - mean) / sqrt(variance + epsilon), times scale, plus bias. `centered` is false for RMS.
pub(super) fn normalize(
    c: &mut Call<'_, '_>,
    x: ValueId,
    axes: &[usize],
    epsilon: f32,
    centered: bool,
    stash: DType,
) -> Result<Normalized, Fail> {
    let dtype = c.dtype(x);
    let wide = c.cast(x, stash)?;
    let mean = if centered { Some(c.reduce(Reduce::Mean, wide, axes, true)?) } else { None };
    let d = match mean {
        Some(m) => c.sub(wide, m)?,
        None => wide,
    };
    let square = c.mul(d, d)?;
    let variance = c.reduce(Reduce::Mean, square, axes, true)?;
    let variance = c.offset(variance, f64::from(epsilon))?;
    let inv_std = c.unary(Unary::Rsqrt, variance)?;
    let y = c.mul(d, inv_std)?;
    let y = c.cast(y, dtype)?;
    Ok(Normalized { y, mean, inv_std })
}

/// `y * scale + bias` in the operand's type.
pub(super) fn affine(
    c: &mut Call<'_, '_>,
    y: ValueId,
    scale: Option<ValueId>,
    bias: Option<ValueId>,
) -> Result<ValueId, Fail> {
    let want = c.shape(y);
    let mut y = y;
    for (v, add) in [(scale, false), (bias, true)] {
        let Some(v) = v else { continue };
        let dtype = c.dtype(y);
        let v = c.cast(v, dtype)?;
        y = if add { c.add(y, v)? } else { c.mul(y, v)? };
        if c.shape(y) != want {
            return Err(Fail::invalid(format!("scale or bias {} does not broadcast to {want:?}", c.ty(v))));
        }
    }
    Ok(y)
}

fn stash_type(c: &mut Call<'_, '_>) -> Result<DType, Fail> {
    Ok(c.dtype_attribute("stash_type")?.unwrap_or(DType::F32))
}

/// Statistics are computed in the stash type, unless the operand is wider.
fn precision(c: &Call<'_, '_>, x: ValueId, stash: DType) -> DType {
    if c.dtype(x) == DType::F64 { DType::F64 } else { stash }
}

fn layer_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (a, epsilon, stash) = (c.int("axis", -1)?, c.float("epsilon", 1e-5)?, stash_type(c)?);
    let (x, scale, bias) = (c.x(0)?, c.x(1)?, c.opt(2)?);
    let rank = c.rank(x);
    let axes: Vec<usize> = (axis(a, rank)?..rank).collect();
    let stash = precision(c, x, stash);
    let n = normalize(c, x, &axes, epsilon, true, stash)?;
    let y = affine(c, n.y, Some(scale), bias)?;
    let mean = n.mean.map_or(Val::Nothing, Val::Tensor);
    Ok(vec![Val::Tensor(y), mean, Val::Tensor(n.inv_std)])
}

fn rms_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let mut results = with_inverse(c)?;
    results.truncate(1);
    Ok(results)
}

/// RMS normalisation; the second result is the inverse root that it multiplies with.
fn with_inverse(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (a, epsilon, stash) = (c.int("axis", -1)?, c.float("epsilon", 1e-5)?, stash_type(c)?);
    let (x, scale) = (c.x(0)?, c.x(1)?);
    let rank = c.rank(x);
    let axes: Vec<usize> = (axis(a, rank)?..rank).collect();
    let stash = precision(c, x, stash);
    let n = normalize(c, x, &axes, epsilon, false, stash)?;
    let y = affine(c, n.y, Some(scale), None)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(n.inv_std)])
}

/// input + skip (+ bias), then the normalisation over the last axis.
/// Operands: input, skip, gamma, beta, bias; results: y, mean, inv_std, the sum.
fn skip_layer_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let epsilon = c.float("epsilon", 1e-12)?;
    let (gamma, beta, bias) = (c.x(2)?, c.opt(3)?, c.opt(4)?);
    let sum = skip_sum(c, bias)?;
    let last = [c.rank(sum).saturating_sub(1)];
    let stash = precision(c, sum, DType::F32);
    let n = normalize(c, sum, &last, epsilon, true, stash)?;
    let y = affine(c, n.y, Some(gamma), beta)?;
    let mean = n.mean.map_or(Val::Nothing, Val::Tensor);
    Ok(vec![Val::Tensor(y), mean, Val::Tensor(n.inv_std), Val::Tensor(sum)])
}

/// Operands: input, skip, gamma, bias; results: y, (mean), inv_std, the sum.
fn skip_rms_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let epsilon = c.float("epsilon", 1e-6)?;
    let (gamma, bias) = (c.x(2)?, c.opt(3)?);
    let sum = skip_sum(c, bias)?;
    let last = [c.rank(sum).saturating_sub(1)];
    let stash = precision(c, sum, DType::F32);
    let n = normalize(c, sum, &last, epsilon, false, stash)?;
    let y = affine(c, n.y, Some(gamma), None)?;
    Ok(vec![Val::Tensor(y), Val::Nothing, Val::Tensor(n.inv_std), Val::Tensor(sum)])
}

fn skip_sum(c: &mut Call<'_, '_>, bias: Option<ValueId>) -> Result<ValueId, Fail> {
    let (x, skip) = (c.x(0)?, c.x(1)?);
    let mut sum = c.add(x, skip)?;
    if let Some(b) = bias {
        sum = c.add(sum, b)?;
    }
    Ok(sum)
}
