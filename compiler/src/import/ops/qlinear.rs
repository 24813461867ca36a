//! ONNX Runtime's operators on quantised tensors (`QLinearAdd` and its kin): the operator in floats between
//! dequantisation and quantisation, so that passes see one form, whatever the exporter wrote.

use super::matmul::numpy_matmul;
use super::pool::average;
use super::quantize::{dequantize_value, quantize_value};
use super::quantized::{centered, scale_along};
use super::softmax;
use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{Binary, DType, Reduce, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    microsoft("QGemm", qgemm),
    microsoft("QLinearAdd", |c| arithmetic(c, Binary::Add)),
    microsoft("QLinearAveragePool", average_pool),
    microsoft("QLinearConcat", concat),
    microsoft("QLinearGlobalAveragePool", global_average_pool),
    microsoft("QLinearLeakyRelu", leaky_relu),
    microsoft("QLinearMul", |c| arithmetic(c, Binary::Mul)),
    microsoft("QLinearSigmoid", sigmoid),
    microsoft("QLinearSoftmax", quantised_softmax),
    microsoft("QLinearWhere", where_op),
];

/// A scalar operand, which some writers give as `[1]`.
fn scalar(c: &mut Call<'_, '_>, i: usize) -> Result<Option<ValueId>, Fail> {
    match c.opt(i)? {
        Some(v) if c.ty(v).elements() == 1 => c.reshape(v, &[]).map(Some),
        Some(v) => Err(Fail::unsupported(format!("{} is no scalar", c.ty(v)), "use one scale for the tensor")),
        None => Ok(None),
    }
}

fn needed(c: &mut Call<'_, '_>, i: usize) -> Result<ValueId, Fail> {
    scalar(c, i)?.ok_or_else(|| Fail::invalid(format!("operand {i} is missing")))
}

/// The tensor at operand `i`, with scale and zero point behind it, in `f32`.
fn dequantized(c: &mut Call<'_, '_>, i: usize) -> Result<ValueId, Fail> {
    let (x, scale, zero) = (c.x(i)?, needed(c, i + 1)?, scalar(c, i + 2)?);
    dequantize_value(c, x, scale, zero, DType::F32)
}

/// To the type of the operand `like`, by the scale and zero point at operand `i`.
fn quantized(c: &mut Call<'_, '_>, y: ValueId, i: usize, like: usize) -> Result<ValueId, Fail> {
    let (scale, zero, to) = (needed(c, i)?, scalar(c, i + 1)?, c.x(like)?);
    let to = c.dtype(to);
    quantize_value(c, y, scale, zero, to)
}

/// Operands: a, b and the result's scale and zero point.
fn arithmetic(c: &mut Call<'_, '_>, op: Binary) -> Result<Vec<Val>, Fail> {
    c.at_most(8)?;
    let (a, b) = (dequantized(c, 0)?, dequantized(c, 3)?);
    let y = c.binary(op, a, b)?;
    one(quantized(c, y, 6, 0)?)
}

fn leaky_relu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let alpha = c.float("alpha", 0.01)?;
    let x = dequantized(c, 0)?;
    let slope = c.scalar_like(x, f64::from(alpha));
    let y = c.binary(Binary::Prelu, x, slope)?;
    one(quantized(c, y, 3, 0)?)
}

fn sigmoid(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let x = dequantized(c, 0)?;
    let y = c.unary(Unary::Sigmoid, x)?;
    one(quantized(c, y, 3, 0)?)
}

/// The attribute `opset` says which definition of the softmax is meant.
fn quantised_softmax(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let version = c.int_opt("opset")?.ok_or_else(|| Fail::invalid("attribute 'opset' is missing"))?;
    let a = c.int("axis", -1)?;
    let x = dequantized(c, 0)?;
    let y = softmax::of_version(c, x, a, version)?;
    one(quantized(c, y, 3, 0)?)
}

fn average_pool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let last = c.flag("channels_last", false)?;
    let x = dequantized(c, 0)?;
    let x = if last { channels_first(c, x)? } else { x };
    let y = average(c, x)?;
    let y = if last { channels_last(c, y)? } else { y };
    one(quantized(c, y, 3, 0)?)
}

fn global_average_pool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let last = c.flag("channels_last", false)?;
    let x = dequantized(c, 0)?;
    let rank = c.rank(x);
    if rank < 3 {
        return Err(Fail::invalid(format!("{} has no spatial axes", c.ty(x))));
    }
    let axes: Vec<usize> = if last { (1..rank - 1).collect() } else { (2..rank).collect() };
    let y = c.reduce(Reduce::Mean, x, &axes, true)?;
    one(quantized(c, y, 3, 0)?)
}

/// `[N, spatial…, C]` to `[N, C, spatial…]`.
pub(super) fn channels_first(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let rank = c.rank(x);
    let perm: Vec<usize> = [0, rank.saturating_sub(1)].into_iter().chain(1..rank.saturating_sub(1)).collect();
    if rank < 3 { Err(Fail::invalid(format!("{} has no spatial axes", c.ty(x)))) } else { c.transpose(x, &perm) }
}

/// `[N, C, spatial…]` to `[N, spatial…, C]`.
pub(super) fn channels_last(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let perm: Vec<usize> = [0].into_iter().chain(2..c.rank(x)).chain([1]).collect();
    c.transpose(x, &perm)
}

/// Operands: the result's scale and zero point, then tensor, scale and zero point of each part.
fn concat(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let a = c.int_opt("axis")?.ok_or_else(|| Fail::invalid("attribute 'axis' is missing"))?;
    let count = c.operand_count();
    if count < 5 || !(count - 2).is_multiple_of(3) {
        return Err(Fail::invalid(format!("takes a scale, a zero point and three operands a part, got {count}")));
    }
    let parts = (2..count).step_by(3).map(|i| dequantized(c, i)).collect::<Result<Vec<_>, _>>()?;
    let a = axis(a, c.rank(parts[0]))?;
    let y = c.concat(a, &parts)?;
    one(quantized(c, y, 0, 2)?)
}

/// Operands: condition, x, y and the result's scale and zero point.
fn where_op(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    let cond = c.x(0)?;
    let (x, y) = (dequantized(c, 1)?, dequantized(c, 4)?);
    let chosen = c.select(cond, x, y)?;
    one(quantized(c, chosen, 7, 1)?)
}

/// alpha * A' B' + C in integers; C has the scale of the product. Without a scale for the result it is a float.
fn qgemm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    let alpha = c.float("alpha", 1.0)?;
    let (ta, tb) = (c.flag("transA", false)?, c.flag("transB", false)?);
    let (mut a, mut b, bias) = (c.x(0)?, c.x(3)?, c.opt(6)?);
    if c.rank(a) != 2 || c.rank(b) != 2 {
        return Err(Fail::invalid(format!("{} and {} are no matrices", c.ty(a), c.ty(b))));
    }
    if ta {
        a = c.transpose(a, &[1, 0])?;
    }
    if tb {
        b = c.transpose(b, &[1, 0])?;
    }
    let (za, zb) = (scalar(c, 2)?, c.opt(5)?);
    let columns = c.shape(b)[1];
    let a = centered(c, a, za, &[])?;
    let b = centered(c, b, zb, &[columns])?;
    let (a, b) = (c.cast(a, DType::I32)?, c.cast(b, DType::I32)?);
    let mut sum = numpy_matmul(c, a, b)?;
    if let Some(bias) = bias {
        sum = c.add(sum, bias)?;
    }
    let (sa, sb) = (needed(c, 1)?, c.x(4)?);
    let sb = scale_along(c, sb, &[columns])?;
    let wide = c.cast(sum, DType::F32)?;
    let s = c.mul(sa, sb)?;
    let s = c.scale(s, f64::from(alpha))?;
    let y = c.mul(wide, s)?;
    one(if c.opt(7)?.is_some() { quantized(c, y, 7, 0)? } else { y })
}
