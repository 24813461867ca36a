//! Conversion between element types.
//!
//! Float to integer truncates towards zero and saturates, NaN gives 0; integer to integer wraps;
//! anything but zero (NaN too) is `true`; to a narrower float rounds to nearest, ties to even.

use super::buffer::{tensor, view};
use crate::ir::{DType, Tensor};
use half::{bf16, f16};

pub(super) fn eval(x: &Tensor, to: DType) -> Tensor {
    if x.dtype == to {
        return x.clone();
    }
    match x.dtype {
        DType::F16 => from_float(x, to, view::<f16>(x).iter().map(|v| v.to_f64())),
        DType::BF16 => from_float(x, to, view::<bf16>(x).iter().map(|v| v.to_f64())),
        DType::F32 => from_float(x, to, view::<f32>(x).iter().map(|&v| f64::from(v))),
        DType::F64 => from_float(x, to, view::<f64>(x).iter().copied()),
        DType::I8 => from_int(x, to, view::<i8>(x).iter().map(|&v| i64::from(v))),
        DType::I16 => from_int(x, to, view::<i16>(x).iter().map(|&v| i64::from(v))),
        DType::I32 => from_int(x, to, view::<i32>(x).iter().map(|&v| i64::from(v))),
        DType::I64 => from_int(x, to, view::<i64>(x).iter().copied()),
        DType::U8 | DType::Bool => from_int(x, to, view::<u8>(x).iter().map(|&v| i64::from(v))),
        DType::U16 => from_int(x, to, view::<u16>(x).iter().map(|&v| i64::from(v))),
        DType::U32 => from_int(x, to, view::<u32>(x).iter().map(|&v| i64::from(v))),
        DType::U64 if to.is_float() => from_u64(x, to),
        // The upper half wraps, as it does between all integers.
        DType::U64 => from_int(x, to, view::<u64>(x).iter().map(|&v| v as i64)),
    }
}

/// Every narrower float is exact in f64.
fn from_float(x: &Tensor, to: DType, values: impl Iterator<Item = f64>) -> Tensor {
    let s = &x.shape;
    match to {
        DType::F16 => tensor(to, s, values.map(f16::from_f64).collect::<Vec<_>>()),
        DType::BF16 => tensor(to, s, values.map(bf16::from_f64).collect::<Vec<_>>()),
        DType::F32 => tensor(to, s, values.map(|v| v as f32).collect::<Vec<_>>()),
        DType::F64 => tensor(to, s, values.collect::<Vec<_>>()),
        DType::I8 => tensor(to, s, values.map(|v| v as i8).collect::<Vec<_>>()),
        DType::I16 => tensor(to, s, values.map(|v| v as i16).collect::<Vec<_>>()),
        DType::I32 => tensor(to, s, values.map(|v| v as i32).collect::<Vec<_>>()),
        DType::I64 => tensor(to, s, values.map(|v| v as i64).collect::<Vec<_>>()),
        DType::U8 => tensor(to, s, values.map(|v| v as u8).collect::<Vec<_>>()),
        DType::U16 => tensor(to, s, values.map(|v| v as u16).collect::<Vec<_>>()),
        DType::U32 => tensor(to, s, values.map(|v| v as u32).collect::<Vec<_>>()),
        DType::U64 => tensor(to, s, values.map(|v| v as u64).collect::<Vec<_>>()),
        DType::Bool => tensor(to, s, values.map(|v| u8::from(v != 0.0)).collect::<Vec<_>>()),
    }
}

fn from_int(x: &Tensor, to: DType, values: impl Iterator<Item = i64>) -> Tensor {
    let s = &x.shape;
    match to {
        // f64 holds 53 bits and a half has 11: a second rounding cannot be seen in the result.
        DType::F16 => tensor(to, s, values.map(|v| f16::from_f64(v as f64)).collect::<Vec<_>>()),
        DType::BF16 => tensor(to, s, values.map(|v| bf16::from_f64(v as f64)).collect::<Vec<_>>()),
        DType::F32 => tensor(to, s, values.map(|v| v as f32).collect::<Vec<_>>()),
        DType::F64 => tensor(to, s, values.map(|v| v as f64).collect::<Vec<_>>()),
        DType::I8 => tensor(to, s, values.map(|v| v as i8).collect::<Vec<_>>()),
        DType::I16 => tensor(to, s, values.map(|v| v as i16).collect::<Vec<_>>()),
        DType::I32 => tensor(to, s, values.map(|v| v as i32).collect::<Vec<_>>()),
        DType::I64 => tensor(to, s, values.collect::<Vec<_>>()),
        DType::U8 => tensor(to, s, values.map(|v| v as u8).collect::<Vec<_>>()),
        DType::U16 => tensor(to, s, values.map(|v| v as u16).collect::<Vec<_>>()),
        DType::U32 => tensor(to, s, values.map(|v| v as u32).collect::<Vec<_>>()),
        DType::U64 => tensor(to, s, values.map(|v| v as u64).collect::<Vec<_>>()),
        DType::Bool => tensor(to, s, values.map(|v| u8::from(v != 0)).collect::<Vec<_>>()),
    }
}

fn from_u64(x: &Tensor, to: DType) -> Tensor {
    let values = view::<u64>(x);
    match to {
        DType::F32 => tensor(to, &x.shape, values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
        _ => from_float(x, to, values.iter().map(|&v| v as f64)),
    }
}
