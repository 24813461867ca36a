//! Typed access to a tensor's bytes.
//!
//! Knows how elements lie in memory; knows no operation. Tensors are little-endian, so on a
//! little-endian host an aligned tensor is viewed in place and nothing is copied.

use crate::ir::{DType, Tensor};
use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::{bf16, f16};
use std::borrow::Cow;

/// Runs a body with `$T` bound to the host type that computes for a widened element type.
/// `f16` and `bf16` never get here: they are widened first. `bool` computes as `u8`, and so do codes
/// of narrow types, which are only moved.
macro_rules! with_num {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::ir::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::ir::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::ir::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::ir::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::ir::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::ir::DType::U8 | $crate::ir::DType::Bool => {
                type $T = u8;
                $body
            }
            $crate::ir::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::ir::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::ir::DType::U64 => {
                type $T = u64;
                $body
            }
            $crate::ir::DType::F32 | $crate::ir::DType::F16 | $crate::ir::DType::BF16 => {
                type $T = f32;
                $body
            }
            $crate::ir::DType::I2
            | $crate::ir::DType::U2
            | $crate::ir::DType::I4
            | $crate::ir::DType::U4
            | $crate::ir::DType::F4E2M1
            | $crate::ir::DType::F8E4M3FN
            | $crate::ir::DType::F8E4M3FNUZ
            | $crate::ir::DType::F8E5M2
            | $crate::ir::DType::F8E5M2FNUZ
            | $crate::ir::DType::F8E8M0 => {
                type $T = u8;
                $body
            }
        }
    };
}

/// Runs a body with `$T` bound to an unsigned integer as wide as the element type: for
/// operations that only move elements.
macro_rules! with_bits {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian in memory and are viewed in place");

/// The elements of `t`, which must have the type `T`: borrowed when aligned, else copied.
pub(super) fn view<T: AnyBitPattern + NoUninit>(t: &Tensor) -> Cow<'_, [T]> {
    debug_assert_eq!(t.dtype.size(), size_of::<T>());
    match bytemuck::try_cast_slice(&t.data) {
        Ok(s) => Cow::Borrowed(s),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&t.data)),
    }
}

/// The same tensor at an address that suits its elements: the same bytes when it does already.
pub(super) fn aligned(t: &Tensor) -> Tensor {
    if t.data.as_ptr().addr().is_multiple_of(t.dtype.size()) {
        return t.clone();
    }
    with_bits!(t.dtype, T => tensor::<T>(t.dtype, &t.shape, view::<T>(t).into_owned()))
}

struct Owner<T>(Vec<T>);

impl<T: NoUninit> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A tensor that takes over `values`, without a copy.
pub(super) fn tensor<T: NoUninit + Send + 'static>(dtype: DType, shape: &[usize], values: Vec<T>) -> Tensor {
    debug_assert_eq!(dtype.size(), size_of::<T>());
    debug_assert_eq!(shape.iter().product::<usize>(), values.len());
    Tensor { dtype, shape: shape.to_vec(), data: Bytes::from_owner(Owner(values)) }
}

/// The same elements under another shape of the same size.
pub(super) fn reshaped(t: &Tensor, shape: &[usize]) -> Tensor {
    Tensor { dtype: t.dtype, shape: shape.to_vec(), data: t.data.clone() }
}

/// `f16` and `bf16` as `f32`, exactly; every other type as it is.
pub(super) fn widen(t: &Tensor) -> Tensor {
    match t.dtype {
        DType::F16 => tensor(DType::F32, &t.shape, view::<f16>(t).iter().map(|x| x.to_f32()).collect::<Vec<f32>>()),
        DType::BF16 => tensor(DType::F32, &t.shape, view::<bf16>(t).iter().map(|x| x.to_f32()).collect::<Vec<f32>>()),
        _ => t.clone(),
    }
}

/// `f32` rounded to `dtype` when that is `f16` or `bf16`; every other tensor as it is.
pub(super) fn narrow(t: Tensor, dtype: DType) -> Tensor {
    match (t.dtype, dtype) {
        (DType::F32, DType::F16) => {
            tensor(dtype, &t.shape, view::<f32>(&t).iter().map(|&x| f16::from_f32(x)).collect::<Vec<f16>>())
        }
        (DType::F32, DType::BF16) => {
            tensor(dtype, &t.shape, view::<f32>(&t).iter().map(|&x| bf16::from_f32(x)).collect::<Vec<bf16>>())
        }
        _ => t,
    }
}

pub(super) use {with_bits, with_num};
