//! Activations made of a few primitives: `LeakyRelu`, `Elu` and their kin.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("Celu", 12, celu),
    onnx("Elu", 1, elu),
    onnx("HardSigmoid", 1, hard_sigmoid),
    onnx("HardSwish", 14, hard_swish),
    onnx("LeakyRelu", 1, leaky_relu),
    onnx("Mish", 18, mish),
    onnx("Selu", 1, selu),
    onnx("Shrink", 9, shrink),
    onnx("Softplus", 1, softplus),
    onnx("Softsign", 1, softsign),
    onnx("SwiGLU", 28, swiglu),
    onnx("Swish", 24, swish),
    onnx("ThresholdedRelu", 10, thresholded_relu),
];

fn operand(c: &mut Call<'_, '_>) -> Result<ValueId, Fail> {
    c.at_most(1)?;
    c.x(0)
}

/// alpha * (exp(x / scale) - 1).
fn exponential(c: &mut Call<'_, '_>, x: ValueId, alpha: f64, scale: f64) -> Result<ValueId, Fail> {
    let divisor = c.scalar_like(x, scale);
    let scaled = if scale == 1.0 { x } else { c.div(x, divisor)? };
    // The difference from 1 would lose all digits of half precision.
    let dtype = c.dtype(x);
    let scaled = if dtype == DType::F64 { scaled } else { c.cast(scaled, DType::F32)? };
    let e = c.unary(Unary::Exp, scaled)?;
    let e = c.offset(e, -1.0)?;
    let e = c.cast(e, dtype)?;
    c.scale(e, alpha)
}

/// x where x > 0, else `negative`.
fn positive_or(c: &mut Call<'_, '_>, x: ValueId, negative: ValueId) -> Result<ValueId, Fail> {
    let zero = c.scalar_like(x, 0.0);
    let cond = c.binary(Binary::Gt, x, zero)?;
    c.select(cond, x, negative)
}

fn leaky_relu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let alpha = c.float("alpha", 0.01)?;
    let x = operand(c)?;
    let slope = c.scalar_like(x, f64::from(alpha));
    one(c.binary(Binary::Prelu, x, slope)?)
}

fn elu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let alpha = c.float("alpha", 1.0)?;
    let x = operand(c)?;
    let negative = exponential(c, x, f64::from(alpha), 1.0)?;
    one(positive_or(c, x, negative)?)
}

/// max(0, x) + min(0, alpha * (exp(x / alpha) - 1)); the two halves never overlap.
fn celu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let alpha = f64::from(c.float("alpha", 1.0)?);
    if alpha == 0.0 {
        return Err(Fail::invalid("alpha must not be zero"));
    }
    let x = operand(c)?;
    let negative = exponential(c, x, alpha, alpha)?;
    one(positive_or(c, x, negative)?)
}

fn selu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (alpha, gamma) = if c.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let alpha = c.float("alpha", alpha)?;
    let gamma = c.float("gamma", gamma)?;
    let x = operand(c)?;
    let negative = exponential(c, x, f64::from(alpha), 1.0)?;
    let y = positive_or(c, x, negative)?;
    one(c.scale(y, f64::from(gamma))?)
}

fn hard_sigmoid(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (alpha, beta) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
    let x = operand(c)?;
    let y = c.scale(x, f64::from(alpha))?;
    let y = c.offset(y, f64::from(beta))?;
    one(c.clamp(y, 0.0, 1.0)?)
}

fn hard_swish(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = operand(c)?;
    let y = c.scale(x, 1.0 / 6.0)?;
    let y = c.offset(y, 0.5)?;
    let gate = c.clamp(y, 0.0, 1.0)?;
    one(c.mul(x, gate)?)
}

/// log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|)).
pub(super) fn softplus_of(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let a = c.unary(Unary::Abs, x)?;
    let a = c.unary(Unary::Neg, a)?;
    let e = c.unary(Unary::Exp, a)?;
    let e = c.offset(e, 1.0)?;
    let log = c.unary(Unary::Log, e)?;
    let r = c.unary(Unary::Relu, x)?;
    c.add(r, log)
}

fn softplus(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = operand(c)?;
    one(softplus_of(c, x)?)
}

fn mish(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = operand(c)?;
    let s = softplus_of(c, x)?;
    let t = c.unary(Unary::Tanh, s)?;
    one(c.mul(x, t)?)
}

fn softsign(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = operand(c)?;
    let a = c.unary(Unary::Abs, x)?;
    let d = c.offset(a, 1.0)?;
    one(c.div(x, d)?)
}

fn swish(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let alpha = c.float("alpha", 1.0)?;
    let x = operand(c)?;
    let s = c.scale(x, f64::from(alpha))?;
    let s = c.unary(Unary::Sigmoid, s)?;
    one(c.mul(x, s)?)
}

/// swish(gate) * value.
fn swiglu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let alpha = c.float("alpha", 1.0)?;
    let (gate, value) = (c.x(0)?, c.x(1)?);
    if c.ty(gate) != c.ty(value) {
        return Err(Fail::invalid(format!("{} and {} differ", c.ty(gate), c.ty(value))));
    }
    let s = c.scale(gate, f64::from(alpha))?;
    let s = c.unary(Unary::Sigmoid, s)?;
    let s = c.mul(gate, s)?;
    one(c.mul(s, value)?)
}

fn thresholded_relu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let alpha = c.float("alpha", 1.0)?;
    let x = operand(c)?;
    let (limit, zero) = (c.scalar_like(x, f64::from(alpha)), c.scalar_like(x, 0.0));
    let cond = c.binary(Binary::Gt, x, limit)?;
    one(c.select(cond, x, zero)?)
}

/// x + bias below -lambd, x - bias above lambd, zero between.
fn shrink(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (bias, lambd) = (f64::from(c.float("bias", 0.0)?), f64::from(c.float("lambd", 0.5)?));
    let x = operand(c)?;
    let (lo, hi, zero) = (c.scalar_like(x, -lambd), c.scalar_like(x, lambd), c.scalar_like(x, 0.0));
    let below = c.binary(Binary::Lt, x, lo)?;
    let above = c.binary(Binary::Gt, x, hi)?;
    let up = c.offset(x, bias)?;
    let down = c.offset(x, -bias)?;
    let inner = c.select(above, down, zero)?;
    one(c.select(below, up, inner)?)
}
