//! Elementwise operations of one operand.
//!
//! `f32` results of transcendentals are rounded from `f64` (see `math`), so that the oracle gives the
//! same bits on every host.

use super::buffer::with_num;
use super::kernel::{Func1, Kernel, for_halves, map1};
use super::math;
use super::num::Num;
use crate::ir::{DType, Unary};

/// The loop of an operation over operands of a type.
pub(super) fn kernel(op: Unary, dtype: DType) -> Kernel {
    let tests = matches!(op, Unary::IsNan | Unary::IsInf);
    let inner = match (op, dtype) {
        (Unary::IsNan, DType::F64) => map1(|v: f64| u8::from(v.is_nan())),
        (Unary::IsInf, DType::F64) => map1(|v: f64| u8::from(v.is_infinite())),
        (_, d) if tests && d.is_float() => match op {
            Unary::IsNan => map1(|v: f32| u8::from(v.is_nan())),
            _ => map1(|v: f32| u8::from(v.is_infinite())),
        },
        _ if tests => Box::new(|_: &[&[u8]], out: &mut [u8]| out.fill(0)),
        (Unary::Not, DType::Bool) => map1(|v: u8| v ^ 1),
        (_, DType::F32 | DType::F16 | DType::BF16) => single(op),
        (_, DType::F64) => map1(function(op)),
        (_, d) => with_num!(d, T => map1(integer::<T>(op))),
    };
    for_halves(dtype, tests, inner)
}

macro_rules! rounded {
    ($name:ident, $f:path) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Func1<f32, f32> for $name {
            #[inline(always)]
            fn at(self, x: f32) -> f32 {
                $f(f64::from(x)) as f32
            }
        }
    };
}

rounded!(Exp, math::exp);
rounded!(Tanh, math::tanh);
rounded!(Sigmoid, math::sigmoid);
rounded!(Erf, math::erf);

fn single(op: Unary) -> Kernel {
    match op {
        // Exact in f32, so the detour through f64 would only cost time.
        Unary::Neg => map1(|v: f32| -v),
        Unary::Abs => map1(f32::abs),
        Unary::Sign => map1(<f32 as Num>::sign),
        Unary::Relu => map1(<f32 as Num>::relu),
        Unary::Sqrt => map1(f32::sqrt),
        Unary::Recip => map1(|v: f32| 1.0 / v),
        Unary::Floor => map1(f32::floor),
        Unary::Ceil => map1(f32::ceil),
        Unary::Round => map1(f32::round_ties_even),
        Unary::Rsqrt => map1(|v: f32| (1.0 / f64::from(v).sqrt()) as f32),
        Unary::Exp => map1(Exp),
        Unary::Tanh => map1(Tanh),
        Unary::Sigmoid => map1(Sigmoid),
        Unary::Erf => map1(Erf),
        _ => {
            let f = function(op);
            map1(move |v: f32| f(f64::from(v)) as f32)
        }
    }
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
fn function(op: Unary) -> fn(f64) -> f64 {
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
