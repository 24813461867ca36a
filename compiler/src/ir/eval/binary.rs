//! Elementwise operations of two operands, and the two of three.

use super::buffer::{with_bits, with_num};
use super::kernel::{Kernel, for_halves, map2, map3, pick};
use super::num::Num;
use crate::ir::{Binary, DType};
use quadrille_isa::numerics;

/// The loop of an operation over operands of a type.
pub(super) fn kernel(op: Binary, dtype: DType) -> Kernel {
    let inner = if op.is_compare() {
        with_num!(dtype, T => match op {
            Binary::Lt => map2(|x: T, y: T| u8::from(x < y)),
            Binary::Le => map2(|x: T, y: T| u8::from(x <= y)),
            Binary::Gt => map2(|x: T, y: T| u8::from(x > y)),
            Binary::Ge => map2(|x: T, y: T| u8::from(x >= y)),
            _ => map2(|x: T, y: T| u8::from(x == y)),
        })
    } else {
        match (dtype, op) {
            // The frequent ones get a loop of their own, which vectorises.
            (DType::F32 | DType::F16 | DType::BF16, _) => single(op),
            (DType::I32, Binary::Add) => map2(<i32 as Num>::add),
            (DType::I32, Binary::Sub) => map2(<i32 as Num>::sub),
            (DType::I32, Binary::Mul) => map2(<i32 as Num>::mul),
            _ => with_num!(dtype, T => map2(arithmetic::<T>(op))),
        }
    };
    for_halves(dtype, op.is_compare(), inner)
}

/// The loop of `cond ? b : c` over operands of a type.
pub(super) fn select(dtype: DType) -> Kernel {
    with_bits!(dtype, T => pick::<T>())
}

/// The loop of `x * y + z` in `f32`, rounded once.
pub(super) fn fma() -> Kernel {
    map3(numerics::fma_f32)
}

fn single(op: Binary) -> Kernel {
    match op {
        Binary::Add => map2(|x: f32, y| x + y),
        Binary::Sub => map2(|x: f32, y| x - y),
        Binary::Mul => map2(|x: f32, y| x * y),
        Binary::Div => map2(|x: f32, y| x / y),
        Binary::Max => map2(<f32 as Num>::maximum),
        Binary::Min => map2(<f32 as Num>::minimum),
        Binary::Prelu => map2(<f32 as Num>::prelu),
        Binary::Pow => map2(power),
        _ => map2(arithmetic::<f32>(op)),
    }
}

/// The common powers without a logarithm. Squares and cubes of an `f32` are exact, or nearly so, in
/// `f64`, so these are what the general way rounds to.
fn power(x: f32, y: f32) -> f32 {
    let wide = f64::from(x);
    if y == 2.0 {
        x * x
    } else if y == 3.0 {
        (wide * wide * wide) as f32
    } else {
        Num::pow(x, y)
    }
}

fn arithmetic<T: Num>(op: Binary) -> fn(T, T) -> T {
    match op {
        Binary::Add => T::add,
        Binary::Sub => T::sub,
        Binary::Mul => T::mul,
        Binary::Div => T::div,
        Binary::Mod => T::modulo,
        Binary::Rem => T::rem,
        Binary::Pow => T::pow,
        Binary::Max => T::maximum,
        Binary::Min => T::minimum,
        Binary::And => T::and,
        Binary::Or => T::or,
        Binary::Xor => T::xor,
        Binary::Shl => T::shl,
        Binary::Shr => T::shr,
        Binary::Prelu => T::prelu,
        Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => |x, _| x,
    }
}
