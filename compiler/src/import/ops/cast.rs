//! `Cast`, `CastLike`, `BitCast`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, ValueId};

pub(super) const OPS: &[OpDef] =
    &[onnx("BitCast", 26, bit_cast), onnx("Cast", 1, cast), onnx("CastLike", 15, cast_like)];

/// How values are brought into 8-bit floats; other types take no notice.
#[derive(Clone, Copy)]
struct Rounding {
    /// Too large becomes the largest number instead of infinity or NaN.
    saturate: bool,
    /// To `f8e8m0`: up, down or nearest.
    powers: &'static str,
}

fn rounding(c: &mut Call<'_, '_>) -> Result<Rounding, Fail> {
    let saturate = c.flag("saturate", true)?;
    Ok(Rounding { saturate, powers: c.choice("round_mode", "up", &["up", "down", "nearest"])? })
}

fn cast(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let rounding = rounding(c)?;
    let to = if c.opset < 6 { old_dtype(c)? } else { c.dtype_attribute("to")? };
    let to = to.ok_or_else(|| Fail::invalid("attribute 'to' is missing"))?;
    let x = c.x(0)?;
    one(convert(c, x, to, rounding)?)
}

/// Before version 6 the type was named, as in `FLOAT16`.
fn old_dtype(c: &mut Call<'_, '_>) -> Result<Option<DType>, Fail> {
    let name = c.string("to", "")?;
    let spelled = |e: &quadrille_onnx::ElementType| e.name().eq_ignore_ascii_case(&name);
    match quadrille_onnx::ElementType::ALL.iter().find(|e| spelled(e)) {
        Some(&e) => c.dtype_of(e).map(Some),
        None if name.is_empty() => Ok(None),
        None => Err(Fail::invalid(format!("attribute 'to' names no element type: '{name}'"))),
    }
}

fn cast_like(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let rounding = rounding(c)?;
    let (x, like) = (c.x(0)?, c.x(1)?);
    let to = c.dtype(like);
    one(convert(c, x, to, rounding)?)
}

fn bit_cast(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let to = c.dtype_attribute("to")?.ok_or_else(|| Fail::invalid("attribute 'to' is missing"))?;
    let x = c.x(0)?;
    one(c.op(Op::BitCast(to), &[x])?)
}

fn convert(c: &mut Call<'_, '_>, x: ValueId, to: DType, rounding: Rounding) -> Result<ValueId, Fail> {
    if c.dtype(x) == to {
        return Ok(x);
    }
    match to {
        DType::F8E8M0 => to_powers(c, x, rounding),
        _ if rounding.saturate => saturated(c, x, to),
        _ => c.cast(x, to),
    }
}

/// Cast to an 8-bit float in which what is too large becomes the largest number; a plain cast to
/// every other type.
pub(super) fn saturated(c: &mut Call<'_, '_>, x: ValueId, to: DType) -> Result<ValueId, Fail> {
    let largest = match to {
        DType::F8E4M3FN => 448.0,
        DType::F8E4M3FNUZ => 240.0,
        DType::F8E5M2 | DType::F8E5M2FNUZ => 57344.0,
        _ => return c.cast(x, to),
    };
    // The bounds are exact in every float type that is computed with.
    let x = if c.dtype(x).is_float() { x } else { c.cast(x, DType::F64)? };
    let x = c.clamp(x, -largest, largest)?;
    c.cast(x, to)
}

/// To powers of two, as the operator's definition does it on the bits of `f32`: the exponent is taken,
/// one more where the fraction rounds up; the sign is lost, and zero is the smallest power.
fn to_powers(c: &mut Call<'_, '_>, x: ValueId, rounding: Rounding) -> Result<ValueId, Fail> {
    let x = c.cast(x, DType::F32)?;
    let bits = c.op(Op::BitCast(DType::U32), &[x])?;
    let number = |c: &mut Call<'_, '_>, v: u32| c.scalar(DType::U32, f64::from(v));
    let (width, mask) = (number(c, 23), number(c, 0xFF));
    let exponent = c.binary(Binary::Shr, bits, width)?;
    let exponent = c.binary(Binary::And, exponent, mask)?;
    let mask = number(c, 0x7F_FFFF);
    let fraction = c.binary(Binary::And, bits, mask)?;
    let up = match rounding.powers {
        "up" => {
            let zero = number(c, 0);
            c.binary(Binary::Gt, fraction, zero)?
        }
        "nearest" => {
            // At one half and above; just one half of the subnormal range stays down.
            let half = number(c, 0x40_0000);
            let above = c.binary(Binary::Gt, fraction, half)?;
            let tie = c.binary(Binary::Eq, fraction, half)?;
            let zero = number(c, 0);
            let normal = c.binary(Binary::Gt, exponent, zero)?;
            let tie = c.binary(Binary::And, tie, normal)?;
            c.binary(Binary::Or, above, tie)?
        }
        _ => {
            let y = c.cast(exponent, DType::U8)?;
            return c.op(Op::BitCast(DType::F8E8M0), &[y]);
        }
    };
    let up = c.cast(up, DType::U32)?;
    let rounded = c.add(exponent, up)?;
    // 0xFF is NaN, what infinities and NaN keep, and what overflows unless it saturates.
    let top = number(c, if rounding.saturate { 0xFE } else { 0xFF });
    let rounded = c.binary(Binary::Min, rounded, top)?;
    let nan = number(c, 0xFF);
    let special = c.binary(Binary::Eq, exponent, nan)?;
    let y = c.select(special, nan, rounded)?;
    let y = c.cast(y, DType::U8)?;
    c.op(Op::BitCast(DType::F8E8M0), &[y])
}
