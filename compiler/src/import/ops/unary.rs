//! Elementwise operators of one operand that are primitives: `Abs` to `Tanh`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Unary;

pub(super) const OPS: &[OpDef] = &[
    onnx("Abs", 1, |c| simple(c, Unary::Abs)),
    onnx("Acos", 7, |c| simple(c, Unary::Acos)),
    onnx("Acosh", 9, |c| simple(c, Unary::Acosh)),
    onnx("Asin", 7, |c| simple(c, Unary::Asin)),
    onnx("Asinh", 9, |c| simple(c, Unary::Asinh)),
    onnx("Atan", 7, |c| simple(c, Unary::Atan)),
    onnx("Atanh", 9, |c| simple(c, Unary::Atanh)),
    onnx("BitwiseNot", 18, |c| simple(c, Unary::Not)),
    onnx("Ceil", 1, |c| simple(c, Unary::Ceil)),
    onnx("Cos", 7, |c| simple(c, Unary::Cos)),
    onnx("Cosh", 9, |c| simple(c, Unary::Cosh)),
    onnx("Erf", 9, |c| simple(c, Unary::Erf)),
    onnx("Exp", 1, |c| simple(c, Unary::Exp)),
    onnx("Floor", 1, |c| simple(c, Unary::Floor)),
    onnx("IsInf", 10, is_inf),
    onnx("IsNaN", 9, |c| simple(c, Unary::IsNan)),
    onnx("Log", 1, |c| simple(c, Unary::Log)),
    onnx("Neg", 1, |c| simple(c, Unary::Neg)),
    onnx("Not", 1, |c| simple(c, Unary::Not)),
    onnx("Reciprocal", 1, |c| simple(c, Unary::Recip)),
    onnx("Relu", 1, |c| simple(c, Unary::Relu)),
    onnx("Round", 11, |c| simple(c, Unary::Round)),
    onnx("Sigmoid", 1, |c| simple(c, Unary::Sigmoid)),
    onnx("Sign", 9, |c| simple(c, Unary::Sign)),
    onnx("Sin", 7, |c| simple(c, Unary::Sin)),
    onnx("Sinh", 9, |c| simple(c, Unary::Sinh)),
    onnx("Sqrt", 1, |c| simple(c, Unary::Sqrt)),
    onnx("Tan", 7, |c| simple(c, Unary::Tan)),
    onnx("Tanh", 1, |c| simple(c, Unary::Tanh)),
];

fn simple(c: &mut Call<'_, '_>, u: Unary) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    one(c.unary(u, x)?)
}

/// Infinities of the wanted signs.
fn is_inf(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (negative, positive) = (c.flag("detect_negative", true)?, c.flag("detect_positive", true)?);
    let x = c.x(0)?;
    let inf = c.unary(Unary::IsInf, x)?;
    let zero = c.scalar_like(x, 0.0);
    let signed = match (negative, positive) {
        (true, true) => return one(inf),
        (true, false) => c.binary(crate::ir::Binary::Lt, x, zero)?,
        (false, true) => c.binary(crate::ir::Binary::Gt, x, zero)?,
        (false, false) => c.scalar(crate::ir::DType::Bool, 0.0),
    };
    one(c.binary(crate::ir::Binary::And, inf, signed)?)
}
