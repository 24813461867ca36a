//! Element type and shape of a host tensor, in text: `f32[1x28x28]`. A tensor that could not
//! exist (its byte count overflows) is refused wherever a program is read.

use crate::tensor::{DType, element_count};
use crate::text::{Scanner, TextError};
use std::fmt::Write;

/// More bytes than any input or output of one program can have: 1 TiB.
const MAX_TENSOR_BYTES: usize = 1 << 40;

/// True when a tensor of this type and shape can exist.
pub(crate) fn possible(dtype: DType, shape: &[usize]) -> bool {
    // A zero extent makes a tensor empty, but the product of the others must still be a number:
    // code that multiplies extents one by one must not overflow.
    let nonzero: Vec<usize> = shape.iter().copied().filter(|&d| d > 0).collect();
    element_count(&nonzero).and_then(|n| n.checked_mul(dtype.size())).is_some_and(|n| n <= MAX_TENSOR_BYTES)
}

pub(crate) fn print(out: &mut String, dtype: DType, shape: &[usize]) -> std::fmt::Result {
    write!(out, "{dtype}[")?;
    for (i, d) in shape.iter().enumerate() {
        write!(out, "{}{d}", if i > 0 { "x" } else { "" })?;
    }
    out.write_char(']')
}

pub(crate) fn parse(s: &mut Scanner<'_>) -> Result<(DType, Vec<usize>), TextError> {
    let at = s.here();
    let Some(dtype) = DType::parse(s.peek()) else {
        return s.expected("an element type such as `f32`");
    };
    s.word("an element type")?;
    s.punct("[")?;
    let extents = s.peek();
    if !extents.is_empty() {
        s.word("extents")?;
    }
    s.punct("]")?;
    let shape: Option<Vec<usize>> = match extents {
        "" => Some(Vec::new()),
        e => e.split('x').map(|d| d.bytes().all(|b| b.is_ascii_digit()).then(|| d.parse().ok())?).collect(),
    };
    match shape {
        Some(shape) if possible(dtype, &shape) => Ok((dtype, shape)),
        Some(_) => Err(s.error_at(at, "the tensor's size overflows")),
        None => Err(s.error_at(at, "expected a shape such as `f32[1x28x28]`")),
    }
}
