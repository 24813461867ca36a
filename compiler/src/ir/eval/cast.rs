//! Conversion between element types.
//!
//! Float to integer truncates towards zero and saturates, NaN gives 0; integer to integer wraps;
//! anything but zero (NaN too) is `true`; to a narrower float rounds to nearest, ties to even. For
//! primitive types that is what `as` does; what narrow types do is in [`quadrille_isa::narrow`].

use super::buffer::tensor;
use super::kernel::{Kernel, map1};
use super::tape;
use crate::ir::{DType, Tensor, TensorType};
use half::{bf16, f16};
use quadrille_isa::narrow;

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
            to => map1(move |v: $t| code(to, v as f64, v as i64, (0.5 as $t) != (0 as $t))),
        }
    };
}

/// The code of a number in a narrow type: integers keep all their low bits on the way.
fn code(to: DType, number: f64, whole: i64, float: bool) -> u8 {
    if float || to.is_narrow_float() { narrow::encode(to, number) } else { narrow::wrap(to, whole) }
}

/// From the codes of a narrow type, read as numbers of a type that holds them all.
macro_rules! from_codes {
    ($t:ty, $from:expr, $to:expr) => {{
        let from = $from;
        match $to {
            DType::F16 => map1(move |c: u8| f16::from_f64(narrow::decode(from, c))),
            DType::BF16 => map1(move |c: u8| bf16::from_f64(narrow::decode(from, c))),
            DType::F32 => map1(move |c: u8| narrow::decode(from, c) as f32),
            DType::F64 => map1(move |c: u8| narrow::decode(from, c)),
            DType::I8 => map1(move |c: u8| (narrow::decode(from, c) as $t) as i8),
            DType::I16 => map1(move |c: u8| (narrow::decode(from, c) as $t) as i16),
            DType::I32 => map1(move |c: u8| (narrow::decode(from, c) as $t) as i32),
            DType::I64 => map1(move |c: u8| (narrow::decode(from, c) as $t) as i64),
            DType::U8 => map1(move |c: u8| (narrow::decode(from, c) as $t) as u8),
            DType::U16 => map1(move |c: u8| (narrow::decode(from, c) as $t) as u16),
            DType::U32 => map1(move |c: u8| (narrow::decode(from, c) as $t) as u32),
            DType::U64 => map1(move |c: u8| (narrow::decode(from, c) as $t) as u64),
            DType::Bool => map1(move |c: u8| u8::from(narrow::decode(from, c) != 0.0)),
            to => map1(move |c: u8| {
                let v = narrow::decode(from, c);
                code(to, v, v as i64, from.is_narrow_float())
            }),
        }
    }};
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
            to => map1(move |v: $t| narrow::encode(to, v.to_f64())),
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
        d if d.is_narrow_float() => from_codes!(f64, d, to),
        d => from_codes!(i64, d, to),
    }
}

/// The same bits under another element type of the same width. Signed integers below a byte are held
/// with their sign, so those are put in order.
pub(super) fn bits(x: &Tensor, to: DType) -> Tensor {
    if to.bits() == 8 || !to.is_narrow() {
        return Tensor { dtype: to, shape: x.shape.clone(), data: x.data.clone() };
    }
    let mask = (1u8 << to.bits()) - 1;
    let code = |b: u8| if to.is_signed_narrow() { narrow::wrap(to, i64::from(b)) } else { b & mask };
    tensor(to, &x.shape, x.data.iter().map(|&b| code(b)).collect::<Vec<u8>>())
}
