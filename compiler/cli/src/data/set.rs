//! Which tensor is for which input or output: data folders and `name=file` pairs.

use super::{extension, read};
use crate::failure::Failure;
use quadrille_isa::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A `name=file` or a `file` of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Name of the input or output, if given.
    pub name: Option<String>,
    /// The file.
    pub file: PathBuf,
}

impl Named {
    /// Reads the argument. Names and files may both hold `=`: the first one that leaves an existing
    /// file behind it separates, else the first one.
    pub fn parse(text: &str) -> Result<Named, String> {
        if Path::new(text).is_file() {
            return Ok(Named { name: None, file: PathBuf::from(text) });
        }
        let splits = || text.match_indices('=').map(|(i, _)| (&text[..i], &text[i + 1..]));
        let split = splits().find(|(_, f)| Path::new(f).is_file()).or_else(|| splits().next());
        let (name, file) = split.map_or((None, text), |(n, f)| (Some(n.to_string()), f));
        if file.is_empty() || name.as_deref() == Some("") {
            return Err("expected NAME=FILE, or a FILE that names its tensors".into());
        }
        Ok(Named { name, file: PathBuf::from(file) })
    }
}

/// Tensors by the name of the input or output.
pub type Tensors = BTreeMap<String, Tensor>;

/// Gives the tensors of `files` to the names of a model. A file without a name serves the
/// names that its tensors carry, or the only name there is.
pub fn assign(files: &[Named], what: &str, names: &[String]) -> Result<Tensors, Failure> {
    let mut out = Tensors::new();
    for f in files {
        let tensors = read(&f.file)?;
        let single = tensors.len() == 1;
        for (own, t) in tensors {
            let name = match (&f.name, own) {
                (Some(n), _) if single => n.clone(),
                (Some(n), Some(own)) if own == *n => n.clone(),
                // Of several arrays only the one with the name is meant.
                (Some(_), _) => continue,
                (None, Some(own)) if names.contains(&own) => own,
                (None, _) if single && names.len() == 1 => names[0].clone(),
                (None, own) => {
                    let own = own.map_or("a tensor without a name".to_string(), |o| format!("`{o}`"));
                    return Err(Failure::usage(format!(
                        "{}: {own} is no {what} of the model (it has {}); give NAME=FILE",
                        f.file.display(),
                        list(names)
                    )));
                }
            };
            if !names.contains(&name) {
                return Err(Failure::usage(format!("the model has no {what} `{name}`; it has {}", list(names))));
            }
            if out.insert(name.clone(), t).is_some() {
                return Err(Failure::usage(format!("{what} `{name}` is given twice")));
            }
        }
        if let Some(n) = f.name.as_ref().filter(|n| !out.contains_key(*n)) {
            return Err(Failure::wrong(format!("{}: no array is called `{n}`", f.file.display())));
        }
    }
    Ok(out)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// A folder of `input_k.pb` and `output_k.pb`, in the model's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DataSet {
    /// `input_0.pb`, `input_1.pb`, …
    pub inputs: Vec<Tensor>,
    /// `output_0.pb`, `output_1.pb`, …; may be fewer than the model has.
    pub outputs: Vec<Tensor>,
}

impl DataSet {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<DataSet, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read the data folder", folder, &e))?;
        let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        let series = |prefix: &str| {
            let mut out = Vec::new();
            loop {
                let path = folder.join(format!("{prefix}_{}.pb", out.len()));
                if !path.is_file() {
                    break;
                }
                out.push(super::pb::read(&path)?.1);
            }
            // A gap in the numbers would silently drop what comes after it.
            let files =
                names.iter().filter(|n| n.starts_with(&format!("{prefix}_")) && extension(Path::new(n)) == "pb");
            let count = files.count();
            if count > out.len() {
                let missing = folder.join(format!("{prefix}_{}.pb", out.len()));
                return Err(Failure::wrong(format!("{}: missing, but later ones are there", missing.display())));
            }
            Ok(out)
        };
        let set = DataSet { inputs: series("input")?, outputs: series("output")? };
        if set == DataSet::default() {
            let deeper = names.iter().find(|n| n.starts_with("test_data_set_"));
            let hint = deeper.map_or(String::new(), |d| format!("; did you mean {}?", folder.join(d).display()));
            return Err(Failure::usage(format!("{}: no input_0.pb in it{hint}", folder.display())));
        }
        Ok(set)
    }
}
