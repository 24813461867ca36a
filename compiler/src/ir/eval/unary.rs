//! Elementwise operations of one operand.
//!
//! `f32` transcendentals are the rounded `f64` result of `libm`, so that the oracle gives the same
//! bits on every host.

use super::buffer::{narrow, tensor, view, widen, with_num};
use super::num::Num;
use crate::ir::{DType, Tensor, Unary};

pub(super) fn eval(op: Unary, x: &Tensor) -> Tensor {
    let wide = widen(x);
    let y = match (op, wide.dtype) {
        (Unary::IsNan, DType::F32) => test::<f32>(&wide, |v| v.is_nan()),
        (Unary::IsNan, DType::F64) => test::<f64>(&wide, |v| v.is_nan()),
        (Unary::IsInf, DType::F32) => test::<f32>(&wide, |v| v.is_infinite()),
        (Unary::IsInf, DType::F64) => test::<f64>(&wide, |v| v.is_infinite()),
        (Unary::IsNan | Unary::IsInf, _) => tensor(DType::Bool, &x.shape, vec![0u8; x.len()]),
        (Unary::Not, DType::Bool) => map::<u8>(&wide, |v| v ^ 1),
        (_, DType::F32) => match op {
            // Exact in f32, so the detour through f64 would only cost time.
            Unary::Neg => map::<f32>(&wide, |v| -v),
            Unary::Abs => map::<f32>(&wide, f32::abs),
            Unary::Relu => map::<f32>(&wide, Num::relu),
            Unary::Sqrt => map::<f32>(&wide, f32::sqrt),
            Unary::Recip => map::<f32>(&wide, |v| 1.0 / v),
            Unary::Floor => map::<f32>(&wide, f32::floor),
            Unary::Ceil => map::<f32>(&wide, f32::ceil),
            Unary::Round => map::<f32>(&wide, f32::round_ties_even),
            _ => {
                let f = function(op);
                map::<f32>(&wide, |v| f(f64::from(v)) as f32)
            }
        },
        (_, DType::F64) => map::<f64>(&wide, function(op)),
        (_, dtype) => with_num!(dtype, T => map::<T>(&wide, integer::<T>(op))),
    };
    narrow(y, x.dtype)
}

fn map<T: Num>(x: &Tensor, f: impl Fn(T) -> T) -> Tensor {
    tensor(x.dtype, &x.shape, view::<T>(x).iter().map(|&v| f(v)).collect())
}

fn test<T: Num>(x: &Tensor, f: impl Fn(T) -> bool) -> Tensor {
    tensor(DType::Bool, &x.shape, view::<T>(x).iter().map(|&v| u8::from(f(v))).collect())
}

/// Integers: what has a meaning there; rounding is the identity, and the type rules let nothing
/// else through.
fn integer<T: Num>(op: Unary) -> fn(T) -> T {
    match op {
        Unary::Neg => T::neg,
        Unary::Abs => T::abs,
        Unary::Sign => T::sign,
        Unary::Not => T::not,
        Unary::Relu => T::relu,
        _ => |v| v,
    }
}

/// The function over f64 that an operation stands for.
pub(super) fn function(op: Unary) -> fn(f64) -> f64 {
    match op {
        Unary::Neg => |v| -v,
        Unary::Abs => f64::abs,
        Unary::Sign => Num::sign,
        Unary::Exp => libm::exp,
        Unary::Log => libm::log,
        Unary::Sqrt => f64::sqrt,
        Unary::Rsqrt => |v| 1.0 / v.sqrt(),
        Unary::Recip => |v| 1.0 / v,
        Unary::Tanh => libm::tanh,
        Unary::Sigmoid => |v| 1.0 / (1.0 + libm::exp(-v)),
        Unary::Erf => libm::erf,
        Unary::Sin => libm::sin,
        Unary::Cos => libm::cos,
        Unary::Tan => libm::tan,
        Unary::Asin => libm::asin,
        Unary::Acos => libm::acos,
        Unary::Atan => libm::atan,
        Unary::Sinh => libm::sinh,
        Unary::Cosh => libm::cosh,
        Unary::Asinh => libm::asinh,
        Unary::Acosh => libm::acosh,
        Unary::Atanh => libm::atanh,
        Unary::Floor => f64::floor,
        Unary::Ceil => f64::ceil,
        Unary::Round => f64::round_ties_even,
        Unary::Relu => Num::relu,
        // Not functions from f64 to f64; the callers handle them before.
        Unary::Not | Unary::IsNan | Unary::IsInf => |v| v,
    }
}
