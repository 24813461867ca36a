//! `BatchNormalization`, `InstanceNormalization`, `GroupNormalization`, `LpNormalization`,
//! `MeanVarianceNormalization`, `LRN`.

use super::reduce::lp_norm;
use crate::import::call::{Call, Val, axes, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Op, Pool, Reduce, Unary, ValueId, Window};

pub(super) const OPS: &[OpDef] = &[
    onnx("BatchNormalization", 1, batch_norm),
    onnx("GroupNormalization", 18, group_norm),
    onnx("InstanceNormalization", 1, instance_norm),
    onnx("LRN", 1, lrn),
    onnx("LpNormalization", 1, lp_normalization),
    onnx("MeanVarianceNormalization", 9, mean_variance),
];

/// `v[C]` as `[C, 1, ...]`, to broadcast along the channel axis of a rank.
fn per_channel(c: &mut Call<'_, '_>, v: ValueId, channels: usize, rank: usize) -> Result<ValueId, Fail> {
    if c.shape(v) != [channels] {
        return Err(Fail::invalid(format!("{} does not fit {channels} channels", c.ty(v))));
    }
    let mut shape = vec![1; rank - 1];
    shape[0] = channels;
    c.reshape(v, &shape)
}

/// scale / sqrt(var + epsilon) * (x - mean) + bias, computed as one product and one sum whose
/// factors fold when the statistics are constants. In training mode the statistics are the
/// batch's own, and the running ones are updated.
fn batch_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let epsilon = f64::from(c.float("epsilon", 1e-5)?);
    let momentum = f64::from(c.float("momentum", 0.9)?);
    let training = c.flag("training_mode", false)?;
    if c.opset < 7 {
        // Statistics of the batch are those of training, where the node has more results.
        c.ignore(&["is_test"]);
    }
    if c.opset < 9 && c.int("spatial", 1)? != 1 {
        return Err(Fail::unsupported("spatial = 0 is not supported", "normalise per channel"));
    }
    let (x, scale, bias, mean, var) = (c.x(0)?, c.x(1)?, c.x(2)?, c.x(3)?, c.x(4)?);
    let xs = c.shape(x);
    if xs.len() < 2 {
        return Err(Fail::invalid(format!("input {} has no channel axis", c.ty(x))));
    }
    let (channels, rank, dtype) = (xs[1], xs.len(), c.dtype(x));
    let mut statistics = [mean, var];
    let mut running = Vec::new();
    if training {
        let over: Vec<usize> = (0..rank).filter(|&i| i != 1).collect();
        let m = c.reduce(Reduce::Mean, x, &over, true)?;
        let d = c.sub(x, m)?;
        let d = c.mul(d, d)?;
        let v = c.reduce(Reduce::Mean, d, &over, true)?;
        for (i, batch) in [m, v].into_iter().enumerate() {
            let batch = c.reshape(batch, &[channels])?;
            let old = c.scale(statistics[i], momentum)?;
            let batch_dtype = c.dtype(old);
            let batch_in = c.cast(batch, batch_dtype)?;
            let new = c.scale(batch_in, 1.0 - momentum)?;
            running.push(Val::Tensor(c.add(old, new)?));
            statistics[i] = batch;
        }
    }
    let [mean, var] = statistics;
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (scale, bias) = (c.cast(scale, wide)?, c.cast(bias, wide)?);
    let (mean, var) = (c.cast(mean, wide)?, c.cast(var, wide)?);
    let var = c.offset(var, epsilon)?;
    let inv = c.unary(Unary::Sqrt, var)?;
    let factor = c.div(scale, inv)?;
    let shift = c.mul(mean, factor)?;
    let shift = c.sub(bias, shift)?;
    let factor = per_channel(c, factor, channels, rank)?;
    let shift = per_channel(c, shift, channels, rank)?;
    let y = c.cast(x, wide)?;
    let y = c.mul(y, factor)?;
    let y = c.add(y, shift)?;
    let mut results = vec![Val::Tensor(c.cast(y, dtype)?)];
    results.append(&mut running);
    Ok(results)
}

/// (x - mean) / sqrt(variance + epsilon) over some axes.
fn standardize(c: &mut Call<'_, '_>, x: ValueId, over: &[usize], epsilon: f64) -> Result<ValueId, Fail> {
    let mean = c.reduce(Reduce::Mean, x, over, true)?;
    let d = c.sub(x, mean)?;
    let square = c.mul(d, d)?;
    let var = c.reduce(Reduce::Mean, square, over, true)?;
    let var = c.offset(var, epsilon)?;
    let inv = c.unary(Unary::Rsqrt, var)?;
    c.mul(d, inv)
}

fn instance_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let epsilon = f64::from(c.float("epsilon", 1e-5)?);
    let (x, scale, bias) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let xs = c.shape(x);
    if xs.len() < 3 {
        return Err(Fail::invalid(format!("input {} has no spatial axes", c.ty(x))));
    }
    let over: Vec<usize> = (2..xs.len()).collect();
    let y = standardize(c, x, &over, epsilon)?;
    let scale = per_channel(c, scale, xs[1], xs.len())?;
    let bias = per_channel(c, bias, xs[1], xs.len())?;
    let y = c.mul(y, scale)?;
    one(c.add(y, bias)?)
}

/// Scale and bias are per group in version 18, per channel since 21.
fn group_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let epsilon = f64::from(c.float("epsilon", 1e-5)?);
    let groups = c.int_opt("num_groups")?.ok_or_else(|| Fail::invalid("attribute 'num_groups' is missing"))?;
    let stash = c.dtype_attribute("stash_type")?.unwrap_or(DType::F32);
    let (x, scale, bias) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (xs, dtype) = (c.shape(x), c.dtype(x));
    let groups = usize::try_from(groups).unwrap_or(0);
    if xs.len() < 2 || groups == 0 || !xs[1].is_multiple_of(groups) {
        return Err(Fail::invalid(format!("{} does not divide into {groups} groups", c.ty(x))));
    }
    let stash = if dtype == DType::F64 { DType::F64 } else { stash };
    let inner = xs[1] / groups;
    let mut grouped = vec![xs[0], groups, inner];
    grouped.extend(&xs[2..]);
    let y = c.cast(x, stash)?;
    let y = c.reshape(y, &grouped)?;
    let over: Vec<usize> = (2..grouped.len()).collect();
    let y = standardize(c, y, &over, epsilon)?;
    let y = c.cast(y, dtype)?;
    let (count, rank) = if c.opset < 21 { (groups, grouped.len()) } else { (xs[1], xs.len()) };
    let y = if c.opset < 21 { y } else { c.reshape(y, &xs)? };
    let scale = per_channel(c, scale, count, rank)?;
    let bias = per_channel(c, bias, count, rank)?;
    let y = c.mul(y, scale)?;
    let y = c.add(y, bias)?;
    one(c.reshape(y, &xs)?)
}

fn lp_normalization(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (a, p) = (c.int("axis", -1)?, c.int("p", 2)?);
    let x = c.x(0)?;
    let a = axis(a, c.rank(x))?;
    let norm = lp_norm(c, x, p, &[a], true)?;
    // A zero vector stays zero.
    let zero = c.scalar_like(norm, 0.0);
    let is_zero = c.binary(crate::ir::Binary::Eq, norm, zero)?;
    let one_ = c.scalar_like(norm, 1.0);
    let divisor = c.select(is_zero, one_, norm)?;
    one(c.div(x, divisor)?)
}

/// (x - E[x]) / (sqrt(E[(x - E[x])^2]) + 1e-9).
fn mean_variance(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let over = c.int_list("axes")?.unwrap_or(vec![0, 2, 3]);
    let x = c.x(0)?;
    let over = axes(&over, c.rank(x))?;
    let mean = c.reduce(Reduce::Mean, x, &over, true)?;
    let d = c.sub(x, mean)?;
    let square = c.mul(d, d)?;
    let var = c.reduce(Reduce::Mean, square, &over, true)?;
    let std = c.unary(Unary::Sqrt, var)?;
    let std = c.offset(std, 1e-9)?;
    one(c.div(d, std)?)
}

/// x / (bias + alpha / size * sum of squares over neighbouring channels) ^ beta.
fn lrn(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let size = c.int_opt("size")?.ok_or_else(|| Fail::invalid("attribute 'size' is missing"))?;
    let size = usize::try_from(size).ok().filter(|&s| s > 0 && s < 1 << 20);
    let size = size.ok_or_else(|| Fail::invalid("attribute 'size' must be positive"))?;
    let x = c.x(0)?;
    let xs = c.shape(x);
    if xs.len() < 2 {
        return Err(Fail::invalid(format!("input {} has no channel axis", c.ty(x))));
    }
    // Channels become a spatial axis, so that the mean over `size` of them is a pooling whose
    // padding counts.
    let square = c.mul(x, x)?;
    let plane: usize = xs[2..].iter().product();
    let y = c.reshape(square, &[xs[0], 1, xs[1], plane])?;
    let window = Window {
        kernel: vec![size, 1],
        stride: vec![1, 1],
        dilation: vec![1, 1],
        before: vec![(size - 1) / 2, 0],
        after: vec![size / 2, 0],
    };
    let mean = c.op(Op::Pool { kind: Pool::AverageIncludePad, window }, &[y])?;
    let mean = c.reshape(mean, &xs)?;
    let base = c.scale(mean, f64::from(alpha))?;
    let base = c.offset(base, f64::from(bias))?;
    let exponent = c.scalar_like(x, f64::from(beta));
    let divisor = c.binary(crate::ir::Binary::Pow, base, exponent)?;
    one(c.div(x, divisor)?)
}
