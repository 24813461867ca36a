//! Tensor data outside the model file.
//!
//! A location is relative to the model's folder and must not leave it: not by `..`, not as an
//! absolute path, not through a symbolic link. Files are mapped, once each.

use crate::proto::TensorProto;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Maps a file read-only as shared bytes.
///
/// The mapping stays valid as long as nobody truncates the file; a model is not edited while
/// it is being compiled.
pub(crate) fn map_file(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only. The remaining risk is another process
    // truncating the file during the run, which every program that maps its input shares.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

/// The files that hold a model's external data.
pub(crate) struct ExternalFiles {
    /// Folder of the model, resolved; `None` when the model came from memory.
    root: Option<PathBuf>,
    mapped: HashMap<String, Result<Bytes, String>>,
}

impl ExternalFiles {
    pub(crate) fn new(dir: Option<&Path>) -> ExternalFiles {
        let root = dir.map(|d| if d.as_os_str().is_empty() { Path::new(".") } else { d });
        ExternalFiles { root: root.and_then(|d| d.canonicalize().ok()), mapped: HashMap::new() }
    }

    /// The bytes of a tensor that says its data is external; `want` is the size by its shape.
    pub(crate) fn data(&mut self, t: &TensorProto, want: usize) -> Result<Bytes, String> {
        let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = entry("location").ok_or("external data without a location")?;
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(v) => v.parse::<u64>().map(Some).map_err(|_| format!("external data {key} '{v}' is no number")),
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?;
        if let Some(length) = length
            && length != want as u64
        {
            return Err(format!("external data has length {length}, but the shape needs {want} bytes"));
        }
        let file = match self.mapped.get(location) {
            Some(f) => f.clone(),
            None => {
                let f = self.open(location);
                self.mapped.insert(location.to_string(), f.clone());
                f
            }
        }?;
        let end = offset.checked_add(want as u64).filter(|&e| e <= file.len() as u64);
        match end {
            Some(end) => Ok(file.slice(offset as usize..end as usize)),
            None => Err(format!(
                "external data at offset {offset} of {want} bytes is outside '{location}', which has {} bytes",
                file.len()
            )),
        }
    }

    fn open(&self, location: &str) -> Result<Bytes, String> {
        let Some(root) = &self.root else {
            return Err(format!("external data in '{location}', but the model has no folder"));
        };
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain || location.is_empty() || location.contains(['\\', '\0']) {
            return Err(format!("external data location '{location}' leaves the folder of the model"));
        }
        let full = root
            .join(relative)
            .canonicalize()
            .map_err(|e| format!("external data '{location}' cannot be read: {e}"))?;
        if !full.starts_with(root) {
            return Err(format!("external data location '{location}' leaves the folder of the model"));
        }
        map_file(&full).map_err(|e| format!("external data '{location}' cannot be read: {e}"))
    }
}
