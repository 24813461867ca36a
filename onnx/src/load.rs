//! Entry points: a file or a buffer to a [`Model`], a data file to tensors.

use crate::check;
use crate::convert::Converter;
use crate::error::{LoadError, Problem};
use crate::external::{ExternalFiles, map_file};
use crate::model::{Data, Model, Tensor};
use crate::proto::{ModelProto, OptionalProto, SequenceProto, TensorProto};
use bytes::Bytes;
use prost::Message;
use std::ops::RangeInclusive;
use std::path::Path;

/// Versions of the file format that are read.
pub const IR_VERSIONS: RangeInclusive<i64> = 3..=14;

/// Versions of the standard operator set that are read.
pub const OPSETS: RangeInclusive<i64> = 1..=28;

/// Reads a model file; its external data is looked up in the file's folder.
pub fn load(path: &Path) -> Result<Model, LoadError> {
    let data = map_file(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?;
    from_bytes(data, Some(path.parent().unwrap_or(Path::new("."))))
}

/// Reads a model from memory. `dir` is the folder of its external data; without one, external
/// data is an error.
pub fn from_bytes(data: Bytes, dir: Option<&Path>) -> Result<Model, LoadError> {
    if data.is_empty() {
        return Err(LoadError::Decode("the file is empty".to_string()));
    }
    let proto = ModelProto::decode(data).map_err(|e| LoadError::Decode(e.to_string()))?;
    if proto.graph.is_none() {
        return Err(LoadError::Decode("it has no graph".to_string()));
    }
    if !IR_VERSIONS.contains(&proto.ir_version) {
        return Err(LoadError::Version {
            what: "IR version".to_string(),
            found: proto.ir_version,
            lowest: *IR_VERSIONS.start(),
            highest: *IR_VERSIONS.end(),
            remedy: "export the model again with a current tool".to_string(),
        });
    }
    let mut converter = Converter::new(ExternalFiles::new(dir));
    let mut model = converter.model(proto);
    let mut problems = converter.into_problems();
    if problems.is_empty() {
        problems = check::check(&mut model);
    }
    if !problems.is_empty() {
        return Err(LoadError::Invalid(problems));
    }
    check_opset(&model)?;
    Ok(model)
}

fn check_opset(model: &Model) -> Result<(), LoadError> {
    let functions = model.functions.values().map(|f| &f.opsets);
    for opsets in std::iter::once(&model.opsets).chain(functions) {
        if let Some(&found) = opsets.get("")
            && !OPSETS.contains(&found)
        {
            return Err(LoadError::Version {
                what: "operator set version".to_string(),
                found,
                lowest: *OPSETS.start(),
                highest: *OPSETS.end(),
                remedy: "convert the model with onnx.version_converter".to_string(),
            });
        }
    }
    Ok(())
}

/// Reads a file that holds one serialised tensor (`input_0.pb` of a test data set), with its name.
pub fn load_tensor(path: &Path) -> Result<(String, Tensor), LoadError> {
    let data = map_file(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?;
    decode_tensor(data)
}

/// Reads one serialised tensor from memory, with its name.
pub fn decode_tensor(data: Bytes) -> Result<(String, Tensor), LoadError> {
    let proto = TensorProto::decode(data).map_err(|e| LoadError::Decode(e.to_string()))?;
    convert_tensor(proto)
}

/// Reads a file that holds a serialised sequence of tensors.
pub fn load_sequence(path: &Path) -> Result<Vec<Tensor>, LoadError> {
    let data = map_file(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?;
    decode_sequence(data)
}

/// Reads a serialised sequence of tensors from memory.
pub fn decode_sequence(data: Bytes) -> Result<Vec<Tensor>, LoadError> {
    let proto = SequenceProto::decode(data).map_err(|e| LoadError::Decode(e.to_string()))?;
    proto.tensor_values.into_iter().map(|t| convert_tensor(t).map(|(_, t)| t)).collect()
}

/// Reads a file that holds a serialised optional: a tensor, a sequence, or nothing.
pub fn load_optional(path: &Path) -> Result<Option<Data>, LoadError> {
    let data = map_file(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?;
    decode_optional(data)
}

/// Reads a serialised optional from memory.
pub fn decode_optional(data: Bytes) -> Result<Option<Data>, LoadError> {
    let proto = OptionalProto::decode(data).map_err(|e| LoadError::Decode(e.to_string()))?;
    match proto {
        OptionalProto { tensor_value: Some(t), .. } => Ok(Some(Data::Tensor(convert_tensor(t)?.1))),
        OptionalProto { sequence_value: Some(s), .. } => {
            let items = s.tensor_values.into_iter().map(|t| convert_tensor(t).map(|(_, t)| t));
            Ok(Some(Data::Sequence(items.collect::<Result<_, _>>()?)))
        }
        OptionalProto { optional_value: Some(_), .. } => {
            Err(LoadError::Decode("an optional in an optional is not supported".to_string()))
        }
        _ => Ok(None),
    }
}

fn convert_tensor(proto: TensorProto) -> Result<(String, Tensor), LoadError> {
    let name = proto.name.clone();
    let place = format!("tensor '{name}'");
    let tensor = Converter::new(ExternalFiles::new(None)).tensor(proto);
    tensor.map(|t| (name, t)).map_err(|reason| LoadError::Invalid(vec![Problem { place, reason }]))
}
