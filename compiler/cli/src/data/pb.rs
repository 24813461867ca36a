//! One serialised ONNX `TensorProto`: `input_0.pb` of a test data set.

use crate::failure::Failure;
use prost::Message;
use quadrille_compiler::import;
use quadrille_isa::{DType, Tensor, narrow};
use quadrille_onnx::{ElementType, proto::TensorProto};
use std::path::Path;

/// Reads a tensor with its name, possibly empty.
pub fn read(path: &Path) -> Result<(String, Tensor), Failure> {
    let (name, t) = quadrille_onnx::load_tensor(path).map_err(|e| match e {
        quadrille_onnx::LoadError::Io { path, source } => Failure::io("read", &path, &source),
        e => Failure::wrong(format!("{}: not a serialised tensor: {e}", path.display())),
    })?;
    let t = import::tensor(&t).map_err(|e| Failure::wrong(format!("{}: {}", path.display(), e.reason)))?;
    Ok((name, t))
}

/// Writes a tensor with its name.
pub fn encode(name: &str, t: &Tensor) -> Vec<u8> {
    proto(name, t).encode_to_vec()
}

/// A tensor as a message; the bytes are shared.
pub fn proto(name: &str, t: &Tensor) -> TensorProto {
    TensorProto {
        dims: t.shape.iter().map(|&d| d as i64).collect(),
        data_type: element(t.dtype) as i32,
        name: name.to_string(),
        raw_data: Some(if t.dtype.bits() < 8 { narrow::pack(t.dtype, &t.data).into() } else { t.data.clone() }),
        ..TensorProto::default()
    }
}

/// The number of an element type in a file.
pub fn element(dtype: DType) -> ElementType {
    match dtype {
        DType::F16 => ElementType::F16,
        DType::BF16 => ElementType::BF16,
        DType::F32 => ElementType::F32,
        DType::F64 => ElementType::F64,
        DType::I8 => ElementType::I8,
        DType::I16 => ElementType::I16,
        DType::I32 => ElementType::I32,
        DType::I64 => ElementType::I64,
        DType::U8 => ElementType::U8,
        DType::U16 => ElementType::U16,
        DType::U32 => ElementType::U32,
        DType::U64 => ElementType::U64,
        DType::Bool => ElementType::Bool,
        DType::I2 => ElementType::I2,
        DType::U2 => ElementType::U2,
        DType::I4 => ElementType::I4,
        DType::U4 => ElementType::U4,
        DType::F4E2M1 => ElementType::F4E2M1,
        DType::F8E4M3FN => ElementType::F8E4M3FN,
        DType::F8E4M3FNUZ => ElementType::F8E4M3FNUZ,
        DType::F8E5M2 => ElementType::F8E5M2,
        DType::F8E5M2FNUZ => ElementType::F8E5M2FNUZ,
        DType::F8E8M0 => ElementType::F8E8M0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_type() {
        for dtype in DType::ALL {
            let data: Vec<u8> = (0..6 * dtype.size()).map(|i| u8::from(i % 2 == 0)).collect();
            let t = Tensor::new(dtype, vec![2, 3], data).unwrap();
            let (name, back) = quadrille_onnx::decode_tensor(encode("x", &t).into()).unwrap();
            assert_eq!((name.as_str(), import::tensor(&back).unwrap()), ("x", t));
        }
    }
}
