//! Elementwise operators of two operands: arithmetic, logic, shifts, comparisons, `PRelu`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Unary, ValueId, broadcast_shapes};

pub(super) const OPS: &[OpDef] = &[
    onnx("Add", 1, |c| simple(c, Binary::Add)),
    onnx("And", 1, |c| simple(c, Binary::And)),
    onnx("BitShift", 11, bit_shift),
    onnx("BitwiseAnd", 18, |c| simple(c, Binary::And)),
    onnx("BitwiseOr", 18, |c| simple(c, Binary::Or)),
    onnx("BitwiseXor", 18, |c| simple(c, Binary::Xor)),
    onnx("Div", 1, |c| simple(c, Binary::Div)),
    onnx("Equal", 1, |c| simple(c, Binary::Eq)),
    onnx("Greater", 1, |c| simple(c, Binary::Gt)),
    onnx("GreaterOrEqual", 12, |c| simple(c, Binary::Ge)),
    onnx("Less", 1, |c| simple(c, Binary::Lt)),
    onnx("LessOrEqual", 12, |c| simple(c, Binary::Le)),
    onnx("Mod", 10, modulo),
    onnx("Mul", 1, |c| simple(c, Binary::Mul)),
    onnx("Or", 1, |c| simple(c, Binary::Or)),
    onnx("PRelu", 1, prelu),
    onnx("Pow", 1, pow),
    onnx("Sub", 1, |c| simple(c, Binary::Sub)),
    onnx("Xor", 1, |c| simple(c, Binary::Xor)),
];

fn simple(c: &mut Call<'_, '_>, b: Binary) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (x, y) = (c.x(0)?, c.x(1)?);
    let y = if c.opset < 7 { aligned(c, x, y)? } else { y };
    one(c.binary(b, x, y)?)
}

/// Before version 7 only the second operand broadcasts, when asked to: along its last axes, or from
/// `axis` of the first operand on.
fn aligned(c: &mut Call<'_, '_>, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
    let (broadcast, at) = (c.flag("broadcast", false)?, c.int_opt("axis")?);
    let (xs, mut ys) = (c.shape(x), c.shape(y));
    let misfit = Fail::invalid(format!("{} does not fit {} (version 6 broadcasting)", c.ty(y), c.ty(x)));
    if !broadcast {
        return if xs == ys { Ok(y) } else { Err(misfit) };
    }
    if let Some(at) = at {
        let at = axis(at, xs.len().max(1))?;
        let missing = (xs.len() - at.min(xs.len())).checked_sub(ys.len()).ok_or_else(|| misfit.clone())?;
        ys.extend(vec![1; missing]);
    }
    if broadcast_shapes(&xs, &ys).as_ref() != Some(&xs) {
        return Err(misfit);
    }
    c.reshape(y, &ys)
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
    let (x, mut slope) = (c.x(0)?, c.x(1)?);
    let (xs, ss) = (c.shape(x), c.shape(slope));
    if c.opset < 7 && ss.len() == 1 && ss[0] > 1 && xs.len() > 1 {
        // One slope a channel, which is the second axis.
        let mut shape = vec![1; xs.len() - 1];
        shape[0] = ss[0];
        slope = c.reshape(slope, &shape)?;
    }
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
    if dx == dy || c.opset < 7 {
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
