//! How elements of the model's types are held on the mesh.
//!
//! Inside, a tensor has one of two *lanes*. Floats, `bool` and the integers of up to 16 bits are
//! f32 there, which holds all of their values; wider integers are i32, of 64-bit ones the low
//! word. At the edge every type crosses as its own bits. Knows types and bits; knows nothing of
//! streams.

use quadrille_compiler::ir::{DType, Tensor};
use quadrille_isa::numerics::f16_to_f32;
use quadrille_isa::wafer::ElemType;

/// The lane of a type inside the mesh; `None` when there is none.
pub(crate) fn lane(d: DType) -> Option<ElemType> {
    match d {
        DType::F32 | DType::F16 | DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 => Some(ElemType::F32),
        DType::I32 | DType::U32 | DType::I64 | DType::U64 => Some(ElemType::I32),
        // Narrow types, too.
        _ => None,
    }
}

/// Element type and words an element with which a PE reads or writes a type at the edge. Types
/// of 8 bits go one to a wavelet.
pub(crate) fn raw(d: DType) -> (ElemType, usize) {
    match d {
        DType::F32 | DType::F64 => (ElemType::F32, 1),
        DType::F16 => (ElemType::F16, 1),
        DType::BF16 | DType::I16 | DType::U16 => (ElemType::I16, 1),
        DType::Bool | DType::I8 | DType::U8 | DType::I32 | DType::U32 => (ElemType::I32, 1),
        DType::I64 | DType::U64 => (ElemType::I32, 2),
        // Narrow types take a byte each.
        _ => (ElemType::I32, 1),
    }
}

/// True when a type needs no conversion at the edge.
pub(crate) fn is_plain(d: DType) -> bool {
    lane(d).is_some_and(|l| raw(d) == (l, 1)) && d.size() == 4
}

/// Smallest and largest value of an integer type or `bool` of up to 32 bits.
pub(crate) fn range_of(d: DType) -> Option<(i64, i64)> {
    match d {
        DType::Bool => Some((0, 1)),
        DType::I8 => Some((-128, 127)),
        DType::U8 => Some((0, 255)),
        DType::I16 => Some((-32768, 32767)),
        DType::U16 => Some((0, 65535)),
        DType::I32 => Some((i32::MIN.into(), i32::MAX.into())),
        _ => None,
    }
}

/// The integers of a tensor, `None` for other types.
pub(crate) fn integers(t: &Tensor) -> Option<Vec<i64>> {
    let d = t.dtype;
    if d.is_float() || d.is_narrow() {
        return None;
    }
    let value = |c: &[u8]| match d {
        DType::I8 => i64::from(c[0] as i8),
        DType::U8 | DType::Bool => i64::from(c[0]),
        DType::I16 => i64::from(i16::from_le_bytes([c[0], c[1]])),
        DType::U16 => i64::from(u16::from_le_bytes([c[0], c[1]])),
        DType::I32 => i64::from(i32::from_le_bytes([c[0], c[1], c[2], c[3]])),
        DType::U32 => i64::from(u32::from_le_bytes([c[0], c[1], c[2], c[3]])),
        _ => i64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]),
    };
    Some(t.data.chunks_exact(d.size()).map(value).collect())
}

/// A constant's elements in its lane; `None` when the lane does not hold them.
pub(crate) fn lane_bits(t: &Tensor) -> Option<Vec<u32>> {
    match t.dtype {
        DType::F32 => Some(t.as_f32()?.into_iter().map(f32::to_bits).collect()),
        DType::F16 => {
            let half = |c: &[u8]| f16_to_f32(u16::from_le_bytes([c[0], c[1]])).to_bits();
            Some(t.data.chunks_exact(2).map(half).collect())
        }
        d => {
            let values = integers(t)?;
            match lane(d)? {
                ElemType::F32 => Some(values.into_iter().map(|v| (v as f32).to_bits()).collect()),
                _ if d == DType::U32 => Some(values.into_iter().map(|v| v as u32).collect()),
                _ => values.into_iter().map(|v| i32::try_from(v).ok().map(|v| v as u32)).collect(),
            }
        }
    }
}

/// The first element of a 64-bit tensor that is not its low word, sign-extended: such an input has no lane.
pub fn beyond_lane(t: &Tensor) -> Option<usize> {
    let wide = t.dtype == DType::I64;
    wide.then(|| integers(t)?.into_iter().position(|v| i32::try_from(v).is_err())).flatten()
}

/// A tensor's elements as they cross the edge; of 64-bit ones the low word.
pub(crate) fn raw_bits(t: &Tensor) -> Vec<u32> {
    let signed = t.dtype == DType::I8;
    t.data
        .chunks_exact(t.dtype.size())
        .map(|c| match c {
            [b] if signed => i32::from(*b as i8) as u32,
            [b] => u32::from(*b),
            [a, b] => u32::from(u16::from_le_bytes([*a, *b])),
            _ => u32::from_le_bytes([c[0], c[1], c[2], c[3]]),
        })
        .collect()
}

/// The tensor that arrives outside from words of the edge; 64-bit ones are given by their low word.
pub(crate) fn tensor_of_raw(d: DType, shape: &[usize], words: &[u32]) -> Option<Tensor> {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|&w| {
            let wide = if d == DType::U64 { u64::from(w) } else { i64::from(w as i32) as u64 };
            wide.to_le_bytes().into_iter().take(d.size())
        })
        .collect();
    Tensor::new(d, shape.to_vec(), bytes).ok()
}
