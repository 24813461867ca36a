//! Tensors in and out of files: `.npy`, `.npz`, `.pb` (one ONNX `TensorProto`), and ONNX's
//! folders of `input_k.pb` and `output_k.pb`.
//!
//! Knows formats and names; must not know what the tensors are for.

pub mod npy;
pub mod npz;
pub mod pb;
mod seeded;
mod set;

pub use seeded::seeded;
pub use set::{DataSet, Named, Tensors, assign};

use crate::failure::Failure;
use crate::file;
use quadrille_isa::Tensor;
use std::path::Path;

/// Reads the tensors of a file, each with its name if the format has one.
pub fn read(path: &Path) -> Result<Vec<(Option<String>, Tensor)>, Failure> {
    let wrong = |e: String| Failure::wrong(format!("{}: {e}", path.display()));
    match extension(path) {
        "npy" => Ok(vec![(None, npy::decode(&file::read(path)?).map_err(wrong)?)]),
        "npz" => {
            let members = npz::decode(&file::read(path)?).map_err(wrong)?;
            Ok(members.into_iter().map(|(n, t)| (Some(n), t)).collect())
        }
        "pb" => pb::read(path).map(|(n, t)| vec![((!n.is_empty()).then_some(n), t)]),
        _ => Err(unknown_format(path)),
    }
}

/// Writes one tensor in the format that the file's name ends in.
pub fn write(path: &Path, name: &str, t: &Tensor) -> Result<(), Failure> {
    let wrong = |e: String| Failure::usage(format!("cannot write {}: {e}", path.display()));
    let bytes = match extension(path) {
        "npy" => npy::encode(t).map_err(wrong)?,
        "npz" => npz::encode(&[(name, t)]).map_err(wrong)?,
        "pb" => pb::encode(name, t),
        _ => return Err(unknown_format(path)),
    };
    file::write(path, &bytes)
}

/// The part of the name after the last dot.
pub fn extension(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or("")
}

pub(crate) fn unknown_format(path: &Path) -> Failure {
    Failure::usage(format!("{}: tensors are in .npy, .npz or .pb files", path.display()))
}
