//! Constants of the model to tensors, sharing their bytes; elements below a byte are unpacked.

use super::error::Fail;
use crate::ir::{DType, Tensor};
use quadrille_isa::narrow;
use quadrille_onnx::{ElementType, TensorData};

/// The element type of ours that holds an ONNX element type exactly.
pub(crate) fn dtype_of(e: ElementType) -> Result<DType, Fail> {
    use ElementType as E;
    Ok(match e {
        E::F32 => DType::F32,
        E::U8 => DType::U8,
        E::I8 => DType::I8,
        E::U16 => DType::U16,
        E::I16 => DType::I16,
        E::I32 => DType::I32,
        E::I64 => DType::I64,
        E::Bool => DType::Bool,
        E::F16 => DType::F16,
        E::F64 => DType::F64,
        E::U32 => DType::U32,
        E::U64 => DType::U64,
        E::BF16 => DType::BF16,
        E::I2 => DType::I2,
        E::U2 => DType::U2,
        E::I4 => DType::I4,
        E::U4 => DType::U4,
        E::F4E2M1 => DType::F4E2M1,
        E::F8E4M3FN => DType::F8E4M3FN,
        E::F8E4M3FNUZ => DType::F8E4M3FNUZ,
        E::F8E5M2 => DType::F8E5M2,
        E::F8E5M2FNUZ => DType::F8E5M2FNUZ,
        E::F8E8M0 => DType::F8E8M0,
        E::String | E::Complex64 | E::Complex128 => {
            return Err(Fail::unsupported(
                format!("element type {} is not supported", e.name()),
                "use bool, an integer or a float type",
            ));
        }
    })
}

/// The element type with a number in the file.
pub(crate) fn dtype_from_number(n: i64) -> Result<DType, Fail> {
    let element = i32::try_from(n).ok().and_then(ElementType::from_number);
    dtype_of(element.ok_or_else(|| Fail::invalid(format!("unknown element type {n}")))?)
}

/// A constant; its bytes are shared.
#[allow(clippy::result_large_err)] // Made once for a file at most; callers want the whole story.
pub fn tensor(t: &quadrille_onnx::Tensor) -> Result<Tensor, super::ImportError> {
    convert(t).map_err(|f| super::ImportError::outside(super::error::Place::Input, "", f))
}

pub(crate) fn convert(t: &quadrille_onnx::Tensor) -> Result<Tensor, Fail> {
    let dtype = dtype_of(t.element)?;
    match &t.data {
        TensorData::Bytes(b) => {
            // Any byte but 0 and 1 in a bool would be a value that no operation expects.
            let data = if dtype == DType::Bool && b.iter().any(|&x| x > 1) {
                b.iter().map(|&x| u8::from(x != 0)).collect::<Vec<u8>>().into()
            } else if dtype.bits() < 8 {
                let count = quadrille_isa::tensor::element_count(&t.shape)
                    .filter(|n| n.checked_mul(dtype.bits()).is_some_and(|bits| bits.div_ceil(8) <= b.len()))
                    .ok_or_else(|| Fail::invalid("the packed elements are too few for the shape"))?;
                narrow::unpack(dtype, b, count).into()
            } else {
                b.clone()
            };
            Tensor::new(dtype, t.shape.clone(), data).map_err(|e| Fail::invalid(e.to_string()))
        }
        TensorData::Strings(_) => Err(Fail::unsupported("strings are not supported", "")),
    }
}
