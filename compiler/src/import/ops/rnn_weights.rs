//! Weights of a recurrent cell: floats, or integers whose products quantise the other operand on the way.

use super::quantize::{Dynamic, dynamic_value};
use super::quantized::integer_matmul;
use crate::import::call::Call;
use crate::import::error::Fail;
use crate::ir::{DType, ValueId};

/// A matrix `[inputs, gates * hidden]`.
#[derive(Clone, Copy)]
pub(super) enum Weights {
    Float(ValueId),
    /// `scale` and `zero` are scalars or have an element a column.
    Quantised {
        w: ValueId,
        scale: ValueId,
        zero: ValueId,
    },
}

impl Weights {
    /// `x` times the weights. With integer weights `x` is quantised to `u8` by its own range first, as ONNX
    /// Runtime does at every step.
    pub(super) fn product(self, c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
        match self {
            Weights::Float(w) => c.matmul(x, w),
            Weights::Quantised { w, scale, zero } => {
                let Dynamic { values, scale: x_scale, zero: x_zero } = dynamic_value(c, x)?;
                let sum = integer_matmul(c, values, w, Some(x_zero), Some(zero))?;
                let sum = c.cast(sum, DType::F32)?;
                let scale = c.mul(x_scale, scale)?;
                c.mul(sum, scale)
            }
        }
    }

    /// `len` columns from `start`.
    pub(super) fn columns(self, c: &mut Call<'_, '_>, start: usize, len: usize) -> Result<Weights, Fail> {
        Ok(match self {
            Weights::Float(w) => Weights::Float(c.slice_axis(w, 1, start, len)?),
            Weights::Quantised { w, scale, zero } => Weights::Quantised {
                w: c.slice_axis(w, 1, start, len)?,
                scale: some_of(c, scale, start, len)?,
                zero: some_of(c, zero, start, len)?,
            },
        })
    }
}

/// The entries of some columns; a scalar stands for all of them.
fn some_of(c: &mut Call<'_, '_>, v: ValueId, start: usize, len: usize) -> Result<ValueId, Fail> {
    if c.rank(v) == 0 { Ok(v) } else { c.slice_axis(v, 0, start, len) }
}
