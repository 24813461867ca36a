//! The official ONNX node tests: where they come from, and what passing one means.
//!
//! The onnx wheel carries generators; they run once, and `target/corpus` keeps the cases. A case passes when its model imports and the oracle's results equal the
//! expected ones within the case's own tolerances. No case is treated specially.

use crate::corpus;
use quadrille_compiler::import::{self, ImportErrorKind, ImportOptions};
use quadrille_compiler::ir::{DType, Graph, Tensor, eval};
use quadrille_onnx::{Data, Model, ValueType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the package whose tests are run.
pub const ONNX_VERSION: &str = "1.23.2";

/// Number of cases in that version.
pub const CASES: usize = 1884;

/// One case, one folder.
#[derive(Clone, Debug)]
pub struct NodeCase {
    /// Name, as in `test_add_bcast`.
    pub name: String,
    dir: PathBuf,
}

/// All cases by name, generated first if need be.
pub fn node_cases() -> Result<Vec<NodeCase>, String> {
    let out = corpus::cache().join(format!("node-tests-{ONNX_VERSION}"));
    once(&out, "dump_node_tests.py")?;
    let entries = std::fs::read_dir(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut cases: Vec<NodeCase> = entries
        .filter_map(|e| e.ok())
        .map(|e| NodeCase::new(e.file_name().to_string_lossy().into_owned(), e.path()))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if cases.len() != CASES {
        return Err(format!(
            "{} has {} cases, expected {CASES}; delete it to generate it again",
            out.display(),
            cases.len()
        ));
    }
    Ok(cases)
}

/// Lets a script of `tests/corpus` fill a folder, unless it is there. The cases are written beside
/// their final place and renamed, so that a broken run leaves nothing that looks complete.
pub(crate) fn once(out: &Path, script: &str) -> Result<(), String> {
    if out.is_dir() {
        return Ok(());
    }
    let partial = PathBuf::from(format!("{}.{}", out.display(), std::process::id()));
    corpus::run_script(script, &[&partial.to_string_lossy()]);
    if out.is_dir() {
        // Another process was faster.
        return std::fs::remove_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()));
    }
    std::fs::rename(&partial, out).map_err(|e| format!("{}: {e}", out.display()))
}

impl NodeCase {
    /// A case that lies in a folder, called like it.
    pub fn at(dir: PathBuf) -> NodeCase {
        let name = dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        NodeCase::new(name, dir)
    }

    /// The case that lies in a folder.
    pub(crate) fn new(name: String, dir: PathBuf) -> NodeCase {
        NodeCase { name, dir }
    }

    /// Imports and evaluates the case on each of its data sets and compares every output.
    pub fn run(&self) -> Result<(), String> {
        let (rtol, atol) = self.tolerances()?;
        let mut compared = 0;
        for set in self.data_sets()? {
            let results = eval::eval(&set.graph, &set.inputs).map_err(|e| e.to_string())?;
            for ((name, want), got) in set.expected.iter().zip(&results) {
                compare(got, want, rtol, atol).map_err(|e| format!("output '{name}': {e}"))?;
                compared += 1;
            }
        }
        if compared == 0 { Err("the case has no output to compare".to_string()) } else { Ok(()) }
    }

    /// The model imported for each of its data sets, with the set's tensors.
    pub fn data_sets(&self) -> Result<Vec<DataSet>, String> {
        let model = quadrille_onnx::load(&self.dir.join("model.onnx")).map_err(|e| e.to_string())?;
        (0..)
            .map(|set| self.dir.join(format!("test_data_set_{set}")))
            .take_while(|data| data.is_dir())
            .map(|data| read_set(&model, &data))
            .collect()
    }

    /// Imports another model with this case's inputs.
    pub fn import_instead(&self, model: &Model) -> Result<Graph, String> {
        import_with(model, &read_inputs(model, &self.dir.join("test_data_set_0"))?)
    }

    /// The model file.
    pub fn model_bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(self.dir.join("model.onnx")).map_err(|e| format!("{}: {e}", self.name))
    }

    /// The case's own (rtol, atol).
    pub fn tolerances(&self) -> Result<(f64, f64), String> {
        let text = std::fs::read_to_string(self.dir.join("data.json")).map_err(|e| e.to_string())?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let number = |key: &str| json[key].as_f64().ok_or_else(|| format!("data.json has no {key}"));
        Ok((number("rtol")?, number("atol")?))
    }
}

/// One data set of a case.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The model, imported with the shapes of this set's inputs.
    pub graph: Graph,
    /// One tensor an input of the graph.
    pub inputs: Vec<Tensor>,
    /// What every output must be, by name, in the model's order.
    pub expected: Vec<(String, Tensor)>,
}

fn read_set(model: &Model, data: &Path) -> Result<DataSet, String> {
    let given = read_inputs(model, data)?;
    let graph = import_with(model, &given)?;
    let tensors = tensors(&given);
    let operand = |name: &String| tensors.get(name).cloned().ok_or_else(|| format!("no data for input '{name}'"));
    let inputs = graph.inputs.iter().map(|&v| operand(&graph.value(v).name)).collect::<Result<_, _>>()?;
    let mut expected = Vec::new();
    for (i, v) in model.graph.outputs.iter().enumerate() {
        match read(&data.join(format!("output_{i}.pb")), &v.ty)? {
            Given::Tensor(t) => expected.push((v.name.clone(), t)),
            Given::Sequence(list) => expected.extend(elements(&v.name, &list)),
            Given::Nothing => {}
        }
    }
    let names: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(n, _)| n.as_str()).collect();
    if names != wanted {
        return Err(format!("the outputs are {names:?}, but {wanted:?} are expected"));
    }
    Ok(DataSet { graph, inputs, expected })
}

/// What a data file holds.
#[derive(Clone, Debug)]
enum Given {
    Tensor(Tensor),
    Sequence(Vec<Tensor>),
    Nothing,
}

/// The elements of a sequence under the names that the importer gives them.
fn elements(name: &str, list: &[Tensor]) -> Vec<(String, Tensor)> {
    list.iter().enumerate().map(|(i, t)| (format!("{name}.{i}"), t.clone())).collect()
}

/// All tensors given, by the names of the imported graph.
fn tensors(given: &BTreeMap<String, Given>) -> BTreeMap<String, Tensor> {
    given
        .iter()
        .flat_map(|(name, g)| match g {
            Given::Tensor(t) => vec![(name.clone(), t.clone())],
            Given::Sequence(list) => elements(name, list),
            Given::Nothing => Vec::new(),
        })
        .collect()
}

/// Imports a model with the shapes of its inputs, and their values where those decide about
/// shapes.
fn import_with(model: &Model, given: &BTreeMap<String, Given>) -> Result<Graph, String> {
    let mut options = ImportOptions::default();
    for (name, g) in given {
        match g {
            Given::Tensor(t) => {
                options.input_shapes.insert(name.clone(), t.shape.clone());
            }
            Given::Sequence(list) => {
                options.sequences.insert(name.clone(), list.iter().map(|t| t.shape.clone()).collect());
            }
            Given::Nothing => {
                options.empty.insert(name.clone());
            }
        }
    }
    let tensors = tensors(given);
    // What decides about shapes is an input in these models; it becomes a constant when, and
    // only when, the importer asks for its value.
    loop {
        match import::import(model, &options) {
            Ok(g) => return Ok(g),
            Err(errors) => {
                let wanted: Vec<&String> =
                    errors.errors.iter().flat_map(|e| &e.needs).filter(|n| !options.values.contains_key(*n)).collect();
                if errors.errors.iter().any(|e| e.kind != ImportErrorKind::NeedsValue) || wanted.is_empty() {
                    return Err(errors.to_string());
                }
                for name in wanted {
                    let t = tensors.get(name).ok_or_else(|| format!("no data for input '{name}'"))?;
                    options.values.insert(name.clone(), t.clone());
                }
            }
        }
    }
}

/// Data for the inputs, in the model's order; those that have an initializer get none.
fn read_inputs(model: &Model, data: &Path) -> Result<BTreeMap<String, Given>, String> {
    let constant = |name: &str| model.graph.initializers.iter().any(|(n, _)| n == name);
    let mut inputs = BTreeMap::new();
    for (i, v) in model.graph.inputs.iter().filter(|v| !constant(&v.name)).enumerate() {
        let path = data.join(format!("input_{i}.pb"));
        if path.exists() {
            inputs.insert(v.name.clone(), read(&path, &v.ty)?);
        }
    }
    Ok(inputs)
}

/// A data file, read as the declared type says.
fn read(path: &Path, ty: &ValueType) -> Result<Given, String> {
    let convert = |t: &quadrille_onnx::Tensor| import::tensor(t).map_err(|e| e.reason);
    let list = |l: Vec<quadrille_onnx::Tensor>| l.iter().map(convert).collect::<Result<_, _>>().map(Given::Sequence);
    match ty {
        ValueType::Sequence(_) => list(quadrille_onnx::load_sequence(path).map_err(|e| e.to_string())?),
        ValueType::Optional(_) => match quadrille_onnx::load_optional(path).map_err(|e| e.to_string())? {
            Some(Data::Tensor(t)) => Ok(Given::Tensor(convert(&t)?)),
            Some(Data::Sequence(l)) => list(l),
            None => Ok(Given::Nothing),
        },
        _ => {
            let (_, t) = quadrille_onnx::load_tensor(path).map_err(|e| e.to_string())?;
            Ok(Given::Tensor(convert(&t)?))
        }
    }
}

/// Equal element type and shape; equal bits for integers and bools; floats within
/// `atol + rtol * |want|`, where NaN equals NaN.
fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Result<(), String> {
    if got.dtype != want.dtype || got.shape != want.shape {
        return Err(format!("got {got:?}, want {want:?}"));
    }
    if !got.dtype.is_float() {
        return match got.data.iter().zip(&want.data).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(i) => Err(format!("{got:?} differs at element {}", i / got.dtype.size())),
        };
    }
    for (i, (g, w)) in floats(got).zip(floats(want)).enumerate() {
        let close = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= atol + rtol * w.abs();
        if !close {
            return Err(format!("{got:?} differs at element {i}: got {g}, want {w}"));
        }
    }
    Ok(())
}

fn floats(t: &Tensor) -> impl Iterator<Item = f64> + '_ {
    let dtype = t.dtype;
    t.data.chunks_exact(dtype.size()).map(move |c| match dtype {
        DType::F16 => half::f16::from_le_bytes([c[0], c[1]]).to_f64(),
        DType::BF16 => half::bf16::from_le_bytes([c[0], c[1]]).to_f64(),
        DType::F32 => f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]])),
        _ => f64::from_le_bytes(c.try_into().expect("eight bytes")),
    })
}
