//! ONNX Runtime's products of quantised operands with float results: `DynamicQuantizeMatMul`,
//! `MatMulIntegerToFloat`.

use super::quantize::{Dynamic, dynamic_value};
use super::quantized::{integer_matmul, scale_along};
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{DType, ValueId};

pub(super) const OPS: &[OpDef] =
    &[microsoft("DynamicQuantizeMatMul", dynamic_quantize_matmul), microsoft("MatMulIntegerToFloat", integer_to_float)];

/// The product as `f32`: sum times both scales, plus bias.
pub(super) fn to_float(
    c: &mut Call<'_, '_>,
    sum: ValueId,
    sa: ValueId,
    sb: ValueId,
    bias: Option<ValueId>,
) -> Result<ValueId, Fail> {
    let columns = c.shape(sum).last().copied().unwrap_or(1);
    let sb = scale_along(c, sb, &[columns])?;
    let wide = c.cast(sum, DType::F32)?;
    let s = c.mul(sa, sb)?;
    let y = c.mul(wide, s)?;
    match bias {
        Some(b) => c.add(y, b),
        None => Ok(y),
    }
}

/// Operands: a (floats, quantised by its own range), b, its scale and zero point, bias.
fn dynamic_quantize_matmul(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let (a, b, sb, zb, bias) = (c.x(0)?, c.x(1)?, c.x(2)?, c.opt(3)?, c.opt(4)?);
    let Dynamic { values, scale, zero } = dynamic_value(c, a)?;
    let sum = integer_matmul(c, values, b, Some(zero), zb)?;
    one(to_float(c, sum, scale, sb, bias)?)
}

/// Operands: a, b, their scales, their zero points, bias.
fn integer_to_float(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(7)?;
    let (a, b, sa, sb) = (c.x(0)?, c.x(1)?, c.x(2)?, c.x(3)?);
    let (za, zb, bias) = (c.opt(4)?, c.opt(5)?, c.opt(6)?);
    let sum = integer_matmul(c, a, b, za, zb)?;
    let rows = c.shape(a).iter().rev().nth(1).copied().unwrap_or(1);
    let sa = scale_along(c, sa, &[rows, 1])?;
    one(to_float(c, sum, sa, sb, bias)?)
}
