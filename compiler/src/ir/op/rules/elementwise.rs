//! Rules of the elementwise operations.

use super::{Operands, broadcast_shapes};
use crate::ir::{Binary, DType, Op, TensorType, TypeError, Unary};

pub(super) fn rule(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    match o.op {
        Op::Unary(u) => unary(o, *u),
        Op::Binary(b) => binary(o, *b),
        Op::Cast(d) => {
            let [x] = o.take()?;
            Ok(TensorType::new(*d, x.shape.clone()))
        }
        Op::Fma => fma(o),
        Op::BitCast(d) => bitcast(o, *d),
        _ => select(o),
    }
}

fn bitcast(o: &Operands<'_>, to: DType) -> Result<TensorType, TypeError> {
    let [x] = o.take()?;
    if x.dtype.bits() != to.bits() {
        return o.fail(format!("{x} has elements of {} bits, {to} of {}", x.dtype.bits(), to.bits()));
    }
    if to == DType::Bool && x.dtype != DType::Bool {
        return o.fail(format!("{x} may hold bytes that are no bool"));
    }
    Ok(TensorType::new(to, x.shape.clone()))
}

fn unary(o: &Operands<'_>, u: Unary) -> Result<TensorType, TypeError> {
    let [x] = o.take()?;
    match u {
        Unary::Not if !x.dtype.is_int() && x.dtype != DType::Bool => {
            return o.fail(format!("is defined for bool and integers only, got {x}"));
        }
        Unary::Not => {}
        Unary::Neg
        | Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Ceil
        | Unary::Round
        | Unary::Relu
        | Unary::IsNan
        | Unary::IsInf => o.numeric(x)?,
        _ => o.float(x)?,
    }
    let dtype = if matches!(u, Unary::IsNan | Unary::IsInf) { DType::Bool } else { x.dtype };
    Ok(TensorType::new(dtype, x.shape.clone()))
}

fn binary(o: &Operands<'_>, b: Binary) -> Result<TensorType, TypeError> {
    let [x, y] = o.take()?;
    o.same_dtype(x, y)?;
    match b {
        Binary::And | Binary::Or | Binary::Xor if !x.dtype.is_int() && x.dtype != DType::Bool => {
            return o.fail(format!("is defined for bool and integers only, got {x}"));
        }
        Binary::Shl | Binary::Shr if !x.dtype.is_int() => {
            return o.fail(format!("is defined for integers only, got {x}"));
        }
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Mod
        | Binary::Rem
        | Binary::Pow
        | Binary::Prelu => {
            o.numeric(x)?;
        }
        _ => o.computable(x)?,
    }
    match broadcast_shapes(&x.shape, &y.shape) {
        Some(shape) => Ok(TensorType::new(if b.is_compare() { DType::Bool } else { x.dtype }, shape)),
        None => o.fail(format!("{x} and {y} do not broadcast")),
    }
}

fn fma(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    let [x, y, z] = o.take()?;
    if [x, y, z].iter().any(|t| t.dtype != DType::F32) {
        return o.fail(format!("is defined for f32 only; got {x}, {y}, {z}"));
    }
    match broadcast_shapes(&x.shape, &y.shape).and_then(|s| broadcast_shapes(&s, &z.shape)) {
        Some(shape) => Ok(TensorType::new(DType::F32, shape)),
        None => o.fail(format!("{x}, {y} and {z} do not broadcast")),
    }
}

fn select(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    let [cond, x, y] = o.take()?;
    if cond.dtype != DType::Bool || x.dtype != y.dtype {
        return o.fail(format!("wants bool, T, T; got {cond}, {x}, {y}"));
    }
    match broadcast_shapes(&cond.shape, &x.shape).and_then(|s| broadcast_shapes(&s, &y.shape)) {
        Some(shape) => Ok(TensorType::new(x.dtype, shape)),
        None => o.fail(format!("{cond}, {x} and {y} do not broadcast")),
    }
}
