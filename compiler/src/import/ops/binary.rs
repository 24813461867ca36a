//! Elementwise operators of two operands: arithmetic, logic, shifts, comparisons, `PRelu`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Unary};

pub(super) const OPS: &[OpDef] = &[
    onnx("Add", 7, |c| simple(c, Binary::Add)),
    onnx("And", 7, |c| simple(c, Binary::And)),
    onnx("BitShift", 11, bit_shift),
    onnx("BitwiseAnd", 18, |c| simple(c, Binary::And)),
    onnx("BitwiseOr", 18, |c| simple(c, Binary::Or)),
    onnx("BitwiseXor", 18, |c| simple(c, Binary::Xor)),
    onnx("Div", 7, |c| simple(c, Binary::Div)),
    onnx("Equal", 7, |c| simple(c, Binary::Eq)),
    onnx("Greater", 7, |c| simple(c, Binary::Gt)),
    onnx("GreaterOrEqual", 12, |c| simple(c, Binary::Ge)),
    onnx("Less", 7, |c| simple(c, Binary::Lt)),
    onnx("LessOrEqual", 12, |c| simple(c, Binary::Le)),
    onnx("Mod", 10, modulo),
    onnx("Mul", 7, |c| simple(c, Binary::Mul)),
    onnx("Or", 7, |c| simple(c, Binary::Or)),
    onnx("PRelu", 7, prelu),
    onnx("Pow", 7, pow),
    onnx("Sub", 7, |c| simple(c, Binary::Sub)),
    onnx("Xor", 7, |c| simple(c, Binary::Xor)),
];

fn simple(c: &mut Call<'_, '_>, b: Binary) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (x, y) = (c.x(0)?, c.x(1)?);
    one(c.binary(b, x, y)?)
}

fn bit_shift(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let left = c.choice("direction", "", &["LEFT", "RIGHT"])? == "LEFT";
    simple(c, if left { Binary::Shl } else { Binary::Shr })
}

fn modulo(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let fmod = c.flag("fmod", false)?;
    simple(c, if fmod { Binary::Rem } else { Binary::Mod })
}

/// The slope broadcasts in one direction only.
fn prelu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (x, slope) = (c.x(0)?, c.x(1)?);
    let y = c.binary(Binary::Prelu, x, slope)?;
    if c.shape(y) != c.shape(x) {
        return Err(Fail::invalid(format!("the slope {} does not broadcast to {}", c.ty(slope), c.ty(x))));
    }
    one(y)
}

/// The exponent may have another type than the base, which is the result's.
fn pow(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (x, y) = (c.x(0)?, c.x(1)?);
    let (dx, dy) = (c.dtype(x), c.dtype(y));
    if dx == dy {
        return simple(c, Binary::Pow);
    }
    if dx == DType::Bool || dy == DType::Bool {
        return Err(Fail::invalid("bool is no number"));
    }
    // Small integer exponents need no other precision than the base's.
    let wide = if dx.is_float() && !dy.is_float() && dx != DType::F64 { DType::F32 } else { DType::F64 };
    let (x, y) = (c.cast(x, wide)?, c.cast(y, wide)?);
    let mut p = c.binary(Binary::Pow, x, y)?;
    if !dx.is_float() {
        // The result of an integer base is truncated; a sum of many roundings may fall short.
        p = c.unary(Unary::Round, p)?;
    }
    one(c.cast(p, dx)?)
}
