//! `Softmax`, `LogSoftmax`, `Hardmax`. Before version 13 the operand is coerced to a matrix: axes
//! from `axis` on are normalised together.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Reduce, Tensor, Unary, ValueId};

pub(super) const OPS: &[OpDef] =
    &[onnx("Hardmax", 1, hardmax), onnx("LogSoftmax", 1, log_softmax), onnx("Softmax", 1, softmax)];

/// The operand, the axis to normalise, and the shape to go back to.
fn coerced(c: &mut Call<'_, '_>) -> Result<(ValueId, usize, Vec<usize>), Fail> {
    c.at_most(1)?;
    let old = c.opset < 13;
    let a = c.int("axis", if old { 1 } else { -1 })?;
    let x = c.x(0)?;
    as_matrix(c, x, a, old)
}

/// See [`coerced`]; `old` asks for the matrix.
fn as_matrix(c: &mut Call<'_, '_>, x: ValueId, a: i64, old: bool) -> Result<(ValueId, usize, Vec<usize>), Fail> {
    let shape = c.shape(x);
    let rank = shape.len();
    if !old {
        return Ok((x, axis(a, rank)?, shape));
    }
    // Coercion may leave no axes on the right.
    if a == rank as i64 {
        let m = c.reshape(x, &[shape.iter().product(), 1])?;
        return Ok((m, 1, shape));
    }
    let a = axis(a, rank)?;
    // If only one of the coerced axes has more than one element, it is the one.
    let long: Vec<usize> = (a..rank).filter(|&i| shape[i] != 1).collect();
    if long.len() <= 1 {
        return Ok((x, long.first().copied().unwrap_or(a), shape));
    }
    let m = c.reshape(x, &[shape[..a].iter().product(), shape[a..].iter().product()])?;
    Ok((m, 1, shape))
}

fn softmax(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (x, axis, shape) = coerced(c)?;
    let y = normalised(c, x, axis)?;
    one(c.reshape(y, &shape)?)
}

/// Normalised exponentials. Half precision follows the operator's defining function, whose every step
/// is rounded.
pub(super) fn normalised(c: &mut Call<'_, '_>, x: ValueId, axis: usize) -> Result<ValueId, Fail> {
    if !matches!(c.dtype(x), DType::F16 | DType::BF16) {
        return c.op(Op::Softmax { axis }, &[x]);
    }
    let max = c.reduce(Reduce::Max, x, &[axis], true)?;
    let d = c.sub(x, max)?;
    let e = c.unary(Unary::Exp, d)?;
    let s = c.reduce(Reduce::Sum, e, &[axis], true)?;
    c.div(e, s)
}

/// The softmax of `x` as a version of the operator set defines it.
pub(super) fn of_version(c: &mut Call<'_, '_>, x: ValueId, axis: i64, version: i64) -> Result<ValueId, Fail> {
    let (x, axis, shape) = as_matrix(c, x, axis, version < 13)?;
    let y = c.op(Op::Softmax { axis }, &[x])?;
    c.reshape(y, &shape)
}

/// x - max - log(sum(exp(x - max))).
fn log_softmax(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (x, axis, shape) = coerced(c)?;
    let max = c.reduce(Reduce::Max, x, &[axis], true)?;
    let d = c.sub(x, max)?;
    let e = c.unary(Unary::Exp, d)?;
    let s = c.reduce(Reduce::Sum, e, &[axis], true)?;
    let l = c.unary(Unary::Log, s)?;
    let y = c.sub(d, l)?;
    one(c.reshape(y, &shape)?)
}

/// One at the first maximum, zero elsewhere.
fn hardmax(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (x, axis, shape) = coerced(c)?;
    let at = c.op(Op::ArgReduce { max: true, axis, keep: true, last: false }, &[x])?;
    let xs = c.shape(x);
    if xs[axis] > 1 << 24 {
        return Err(Fail::unsupported(format!("an axis of {} is too long", xs[axis]), ""));
    }
    let mut place = vec![1; xs.len()];
    place[axis] = xs[axis];
    let count: Vec<i64> = (0..xs[axis] as i64).collect();
    let count = c.add_tensor(Tensor::from_i64(&place, &count));
    let hit = c.binary(Binary::Eq, count, at)?;
    let dtype = c.dtype(x);
    debug_assert_eq!(c.dtype(hit), DType::Bool);
    let y = c.cast(hit, dtype)?;
    one(c.reshape(y, &shape)?)
}
