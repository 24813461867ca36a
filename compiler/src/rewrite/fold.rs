//! Evaluates operations on constants at compile time.
//!
//! Knows: the oracle. A constant that the compiler folds is by construction what the graph
//! would have computed.

use crate::ir::{Op, Tensor, eval};

/// The value of `op` on constants, or `None` when the oracle refuses it.
pub(super) fn evaluate(op: &Op, inputs: &[&Tensor]) -> Option<Tensor> {
    eval::eval_op(op, inputs).ok()
}

/// The value of all elements when they are equal and exact as `f64`.
pub(super) fn splat(t: &Tensor) -> Option<f64> {
    use crate::ir::DType::*;
    let size = t.dtype.size();
    let first = t.data.get(..size)?;
    if t.len() > 1 << 16 || t.data.chunks_exact(size).any(|c| c != first) {
        return None;
    }
    element(t, 0).filter(|_| !matches!(t.dtype, Bool))
}

/// Element `i` as `f64`, or `None` when it is not exact (64-bit integers beyond 2^53).
pub(super) fn element(t: &Tensor, i: usize) -> Option<f64> {
    use crate::ir::DType::*;
    let size = t.dtype.size();
    let b = t.data.get(i * size..(i + 1) * size)?;
    let mut w = [0u8; 8];
    w[..size].copy_from_slice(b);
    let raw = u64::from_le_bytes(w);
    let exact = |v: i128| (v.unsigned_abs() <= 1 << 53).then_some(v as f64);
    match t.dtype {
        F16 => Some(half::f16::from_bits(raw as u16).to_f64()),
        BF16 => Some(half::bf16::from_bits(raw as u16).to_f64()),
        F32 => Some(f64::from(f32::from_bits(raw as u32))),
        F64 => Some(f64::from_bits(raw)),
        I8 => exact(i128::from(raw as i8)),
        I16 => exact(i128::from(raw as i16)),
        I32 => exact(i128::from(raw as i32)),
        I64 => exact(i128::from(raw as i64)),
        U8 | U16 | U32 | U64 | Bool => exact(i128::from(raw)),
        // Nothing is computed in narrow types, so no rule needs their values.
        _ => None,
    }
}

/// A scalar of a type, when the value is exact in it.
pub(super) fn scalar(dtype: crate::ir::DType, v: f64) -> Option<Tensor> {
    use crate::ir::DType::*;
    macro_rules! int {
        ($t:ty) => {{
            let x = v as $t;
            (x as f64 == v).then(|| x.to_le_bytes().to_vec())
        }};
    }
    let bytes = match dtype {
        F16 => {
            let x = half::f16::from_f64(v);
            (x.to_f64() == v).then(|| x.to_le_bytes().to_vec())
        }
        BF16 => {
            let x = half::bf16::from_f64(v);
            (x.to_f64() == v).then(|| x.to_le_bytes().to_vec())
        }
        F32 => {
            let x = v as f32;
            (f64::from(x) == v).then(|| x.to_le_bytes().to_vec())
        }
        F64 => Some(v.to_le_bytes().to_vec()),
        I8 => int!(i8),
        I16 => int!(i16),
        I32 => int!(i32),
        I64 => int!(i64),
        U8 => int!(u8),
        U16 => int!(u16),
        U32 => int!(u32),
        U64 => int!(u64),
        _ => None,
    }?;
    Tensor::new(dtype, vec![], bytes).ok()
}
