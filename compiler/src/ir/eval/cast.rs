//! Conversion between element types.
//!
//! Float to integer truncates towards zero and saturates, NaN gives 0; integer to integer wraps;
//! anything but zero (NaN too) is `true`; to a narrower float rounds to nearest, ties to even. For
//! primitive types that is what `as` does.

use super::kernel::{Kernel, map1};
use super::tape;
use crate::ir::{DType, Tensor, TensorType};
use half::{bf16, f16};

/// A tensor of another type.
pub(super) fn eval(x: &Tensor, to: DType) -> Tensor {
    if x.dtype == to {
        return x.clone();
    }
    tape::one(kernel(x.dtype, to), &[x], &TensorType::new(to, &*x.shape))
}

macro_rules! from_primitive {
    ($t:ty, $to:expr) => {
        match $to {
            // f64 holds 53 bits and a half has 11: a second rounding cannot be seen in the result.
            DType::F16 => map1(|v: $t| f16::from_f64(v as f64)),
            DType::BF16 => map1(|v: $t| bf16::from_f64(v as f64)),
            DType::F32 => map1(|v: $t| v as f32),
            DType::F64 => map1(|v: $t| v as f64),
            DType::I8 => map1(|v: $t| v as i8),
            DType::I16 => map1(|v: $t| v as i16),
            DType::I32 => map1(|v: $t| v as i32),
            DType::I64 => map1(|v: $t| v as i64),
            DType::U8 => map1(|v: $t| v as u8),
            DType::U16 => map1(|v: $t| v as u16),
            DType::U32 => map1(|v: $t| v as u32),
            DType::U64 => map1(|v: $t| v as u64),
            DType::Bool => map1(|v: $t| u8::from(v != (0 as $t))),
        }
    };
}

macro_rules! from_half {
    ($t:ty, $to:expr) => {
        match $to {
            DType::F16 => map1(|v: $t| f16::from_f32(v.to_f32())),
            DType::BF16 => map1(|v: $t| bf16::from_f32(v.to_f32())),
            DType::F32 => map1(|v: $t| v.to_f32()),
            DType::F64 => map1(|v: $t| v.to_f64()),
            DType::I8 => map1(|v: $t| v.to_f32() as i8),
            DType::I16 => map1(|v: $t| v.to_f32() as i16),
            DType::I32 => map1(|v: $t| v.to_f32() as i32),
            DType::I64 => map1(|v: $t| v.to_f32() as i64),
            DType::U8 => map1(|v: $t| v.to_f32() as u8),
            DType::U16 => map1(|v: $t| v.to_f32() as u16),
            DType::U32 => map1(|v: $t| v.to_f32() as u32),
            DType::U64 => map1(|v: $t| v.to_f32() as u64),
            DType::Bool => map1(|v: $t| u8::from(v.to_f32() != 0.0)),
        }
    };
}

/// The loop of a conversion.
pub(super) fn kernel(from: DType, to: DType) -> Kernel {
    match from {
        DType::F16 => from_half!(f16, to),
        DType::BF16 => from_half!(bf16, to),
        DType::F32 => from_primitive!(f32, to),
        DType::F64 => from_primitive!(f64, to),
        DType::I8 => from_primitive!(i8, to),
        DType::I16 => from_primitive!(i16, to),
        DType::I32 => from_primitive!(i32, to),
        DType::I64 => from_primitive!(i64, to),
        DType::U8 | DType::Bool => from_primitive!(u8, to),
        DType::U16 => from_primitive!(u16, to),
        DType::U32 => from_primitive!(u32, to),
        DType::U64 => from_primitive!(u64, to),
    }
}
