//! Host tensors: the values that go into a program and come out of it.

use bytes::Bytes;
use std::fmt;

/// Element type of a tensor. Names print as in the text forms (`f32`, `i8`, `bool`, …).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum DType {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    I2,
    U2,
    I4,
    U4,
    F4E2M1,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 23] = [
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::I2,
        DType::U2,
        DType::I4,
        DType::U4,
        DType::F4E2M1,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F8E8M0,
    ];

    /// Size of one element in bytes. `bool` takes one byte, 0 or 1; so does each element of the
    /// [narrow](crate::narrow) types.
    pub const fn size(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// Bits that tell the elements apart: fewer than 8 for types that files pack.
    pub const fn bits(self) -> usize {
        match self {
            DType::I2 | DType::U2 => 2,
            DType::I4 | DType::U4 | DType::F4E2M1 => 4,
            DType::I8 | DType::U8 | DType::Bool => 8,
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0 => 8,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 16,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::F64 | DType::I64 | DType::U64 => 64,
        }
    }

    /// The name used in every text form.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
            DType::I2 => "i2",
            DType::U2 => "u2",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::F4E2M1 => "f4e2m1",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
            DType::F8E8M0 => "f8e8m0",
        }
    }

    /// Inverse of [`DType::name`].
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// True for `f16`, `bf16`, `f32` and `f64`: the floats that are computed with.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// True for the signed and unsigned integers of 8 bits and more: those that are computed with.
    pub const fn is_int(self) -> bool {
        !self.is_float() && !self.is_narrow() && !matches!(self, DType::Bool)
    }

    /// True for the types that are only moved and cast: integers of 2 and 4 bits, floats of 4 and 8.
    pub const fn is_narrow(self) -> bool {
        self.is_narrow_float() || matches!(self, DType::I2 | DType::U2 | DType::I4 | DType::U4)
    }

    /// True for the floats of 4 and 8 bits.
    pub const fn is_narrow_float(self) -> bool {
        matches!(
            self,
            DType::F4E2M1 | DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0
        )
    }

    /// True for the signed integers of 2 and 4 bits.
    pub const fn is_signed_narrow(self) -> bool {
        matches!(self, DType::I2 | DType::I4)
    }

    /// True for signed integers.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A dense row-major tensor in little-endian bytes, cheap to clone.
///
/// `data.len() == shape.iter().product() * dtype.size()`; a scalar has an empty shape.
/// The bytes need not be aligned for the element type (weights are often mapped from a file).
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row-major, little-endian.
    pub data: Bytes,
}

/// A tensor whose byte count does not follow from its shape and element type.
#[derive(Debug, thiserror::Error)]
#[error("a tensor {dtype}{shape:?} has {want:?} bytes by its shape, but {got} were given")]
pub struct SizeError {
    dtype: DType,
    shape: Vec<usize>,
    want: Option<usize>,
    got: usize,
}

/// Number of elements of a shape, or `None` when it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the tensor empty, whatever the other extents are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

impl Tensor {
    /// Joins type, shape and bytes; fails when the byte count is wrong or overflows.
    pub fn new(dtype: DType, shape: Vec<usize>, data: impl Into<Bytes>) -> Result<Tensor, SizeError> {
        let data = data.into();
        let want = element_count(&shape).and_then(|n| n.checked_mul(dtype.size()));
        if want != Some(data.len()) {
            return Err(SizeError { dtype, shape, want, got: data.len() });
        }
        Ok(Tensor { dtype, shape, data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// True when an extent is zero.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// An `f32` tensor. Panics when `values` does not fill `shape`: a caller's bug.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::F32, shape.to_vec(), bytes).expect("values fill the shape")
    }

    /// An `i64` tensor. Panics when `values` does not fill `shape`: a caller's bug.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::I64, shape.to_vec(), bytes).expect("values fill the shape")
    }

    /// The elements of an `f32` tensor, or `None` for another type.
    pub fn as_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == DType::F32)
            .then(|| self.data.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("four bytes"))).collect())
    }

    /// The elements of an `i64` tensor, or `None` for another type.
    pub fn as_i64(&self) -> Option<Vec<i64>> {
        (self.dtype == DType::I64).then(|| {
            self.data.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().expect("eight bytes"))).collect()
        })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}
