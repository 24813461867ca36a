//! Products of quantised operands: `MatMulInteger`, `ConvInteger`, `QLinearMatMul`, `QLinearConv`.

use super::conv::{add_bias, product};
use super::qlinear::{channels_first, channels_last};
use super::quantize::quantize_value;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{DType, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("ConvInteger", 10, conv_integer),
    onnx("MatMulInteger", 10, matmul_integer),
    onnx("QLinearConv", 10, qlinear_conv),
    onnx("QLinearMatMul", 10, qlinear_matmul),
    microsoft("QLinearConv", qlinear_conv),
];

/// `x - zero` in `i32`; a zero point per element of an axis broadcasts along `shape`.
pub(super) fn centered(
    c: &mut Call<'_, '_>,
    x: ValueId,
    zero: Option<ValueId>,
    shape: &[usize],
) -> Result<ValueId, Fail> {
    let Some(z) = zero else { return Ok(x) };
    if c.constant(z).is_some_and(|t| t.data.iter().all(|&b| b == 0)) {
        return Ok(x);
    }
    let z = if c.ty(z).elements() == 1 {
        c.reshape(z, &[])?
    } else if c.rank(z) == 1 {
        c.reshape(z, shape)?
    } else {
        z
    };
    let (x, z) = (c.cast(x, DType::I32)?, c.cast(z, DType::I32)?);
    c.sub(x, z)
}

/// The product in `i32`. Operands of different integer types are first brought to one.
pub(super) fn integer_matmul(
    c: &mut Call<'_, '_>,
    a: ValueId,
    b: ValueId,
    za: Option<ValueId>,
    zb: Option<ValueId>,
) -> Result<ValueId, Fail> {
    let (rows, columns) = (rows(&c.shape(a)), columns(&c.shape(b)));
    let a = centered(c, a, za, &[rows, 1])?;
    let b = centered(c, b, zb, &[columns])?;
    let (a, b) = (c.cast(a, DType::I32)?, c.cast(b, DType::I32)?);
    super::matmul::numpy_matmul(c, a, b)
}

fn rows(s: &[usize]) -> usize {
    if s.len() < 2 { 1 } else { s[s.len() - 2] }
}

fn columns(s: &[usize]) -> usize {
    s.last().copied().unwrap_or(1)
}

fn matmul_integer(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let (a, b, za, zb) = (c.x(0)?, c.x(1)?, c.opt(2)?, c.opt(3)?);
    one(integer_matmul(c, a, b, za, zb)?)
}

fn conv_integer(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let (x, w, zx, zw) = (c.x(0)?, c.x(1)?, c.opt(2)?, c.opt(3)?);
    one(integer_conv(c, x, w, zx, zw)?)
}

fn integer_conv(
    c: &mut Call<'_, '_>,
    x: ValueId,
    w: ValueId,
    zx: Option<ValueId>,
    zw: Option<ValueId>,
) -> Result<ValueId, Fail> {
    let mut channels = vec![1; c.rank(w).max(1)];
    channels[0] = c.shape(w).first().copied().unwrap_or(1);
    let x = centered(c, x, zx, &[])?;
    let w = centered(c, w, zw, &channels)?;
    let (x, w) = (c.cast(x, DType::I32)?, c.cast(w, DType::I32)?);
    product(c, x, w)
}

/// Operands: a, its scale and zero point, b, its scale and zero point, the result's.
fn qlinear_matmul(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(8)?;
    let (a, sa, za) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (b, sb, zb) = (c.x(3)?, c.x(4)?, c.x(5)?);
    let (sy, zy) = (c.x(6)?, c.x(7)?);
    let sum = integer_matmul(c, a, b, Some(za), Some(zb))?;
    let (ra, cb) = (rows(&c.shape(a)), columns(&c.shape(b)));
    let sa = scale_along(c, sa, &[ra, 1])?;
    let sb = scale_along(c, sb, &[cb])?;
    let sy = scale_along(c, sy, &[ra, 1])?;
    one(requantize(c, sum, sa, sb, sy, zy)?)
}

/// A scale as `f32`, spread along `shape` when there is more than one.
pub(super) fn scale_along(c: &mut Call<'_, '_>, s: ValueId, shape: &[usize]) -> Result<ValueId, Fail> {
    let s = c.cast(s, DType::F32)?;
    if c.ty(s).elements() == 1 {
        c.reshape(s, &[])
    } else if c.rank(s) == 1 {
        c.reshape(s, shape)
    } else {
        Ok(s)
    }
}

/// The sum times the operands' scales, quantised to the result's scale and type.
fn requantize(
    c: &mut Call<'_, '_>,
    sum: ValueId,
    sa: ValueId,
    sb: ValueId,
    sy: ValueId,
    zy: ValueId,
) -> Result<ValueId, Fail> {
    let wide = c.cast(sum, DType::F32)?;
    let s = c.mul(sa, sb)?;
    let y = c.mul(wide, s)?;
    let to = c.dtype(zy);
    let zy = if c.ty(zy).elements() == 1 { c.reshape(zy, &[])? } else { zy };
    quantize_value(c, y, sy, Some(zy), to)
}

/// Operands: x, its scale and zero point, w, its scale and zero point, the result's, bias (i32).
fn qlinear_conv(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    let (x, sx, zx) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (w, sw, zw) = (c.x(3)?, c.x(4)?, c.x(5)?);
    let (sy, zy, bias) = (c.x(6)?, c.x(7)?, c.opt(8)?);
    // Only ONNX Runtime's own has the attribute.
    let last = !c.node.domain.is_empty() && c.flag("channels_last", false)?;
    let x = if last { channels_first(c, x)? } else { x };
    let sum = integer_conv(c, x, w, Some(zx), Some(zw))?;
    let sum = add_bias(c, sum, bias)?;
    let mut channels = vec![1; c.rank(sum) - 1];
    channels[0] = c.shape(sum)[1];
    let sx = scale_along(c, sx, &[])?;
    let sw = scale_along(c, sw, &channels)?;
    let sy = scale_along(c, sy, &[])?;
    let y = requantize(c, sum, sx, sw, sy, zy)?;
    one(if last { channels_last(c, y)? } else { y })
}
