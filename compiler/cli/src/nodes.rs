//! Every value of a model, stage by stage: which node is the first to depart.
//!
//! The imported graph is compared with references where there are any, the optimised graph and
//! the values on the machine with the imported graph. Values keep the names that they have in the
//! model. Values on the machine are those of the tiled graph, compiled once more with every named
//! value as an output: what a program computes inside is not laid out for anybody else to read.

use crate::compare::{Comparison, Precision, Tolerance, compare};
use crate::data::{self, Tensors};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline::{self, Mapping};
use quadrille_compiler::ir::{self, Graph, NodeId, ValueDef};
use quadrille_isa::Tensor;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Where a value was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The imported graph, against a reference.
    Imported,
    /// The graph after passes and rewriting, against the imported graph.
    Optimized,
    /// The tiled graph, whose bits are the machine's, against the imported graph.
    Machine,
}

impl Stage {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Imported => "the imported graph",
            Stage::Optimized => "the optimised graph",
            Stage::Machine => "the machine",
        }
    }
}

/// One value. A stage is `null` where the value does not exist or nothing is there to compare it with.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NodeComparison {
    /// Name of the value in the model.
    pub value: String,
    /// The user's node (or nodes, where they were fused) that makes it.
    pub node: String,
    /// The primitive that makes it.
    pub op: String,
    /// Against the reference.
    pub imported: Option<Comparison>,
    /// Against the imported graph.
    pub optimized: Option<Comparison>,
    /// Against the imported graph.
    pub machine: Option<Comparison>,
}

/// The first node whose value is too far off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Departure {
    pub value: String,
    pub node: String,
    pub stage: Stage,
}

/// All values, in the order in which the imported graph computes them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeReport {
    /// Values of nodes that have a name.
    pub nodes: Vec<NodeComparison>,
    /// The first that departs.
    pub first: Option<Departure>,
    /// What could not be compared, and why.
    pub notes: Vec<String>,
}

/// What is compared.
pub struct Stages<'a> {
    /// The imported graph.
    pub imported: &'a Graph,
    /// The optimised graph.
    pub optimized: &'a Graph,
    /// Inputs of both.
    pub inputs: &'a [Tensor],
    /// Values by name, from outside.
    pub references: &'a Tensors,
    /// Where the optimised graph goes.
    pub machine: &'a Machine,
    /// Arithmetic there.
    pub precision: Precision,
    /// How it lies on a mesh.
    pub mapping: Mapping,
    /// Replaces the tolerances of all stages.
    pub tolerance: Option<Tolerance>,
}

/// What sums in another order may change: a ten-thousandth of the value's range.
const REORDERED: Tolerance = Tolerance { atol: 1e-6, rtol: 0.0, of_range: 1e-4 };

/// Compares all values.
pub fn compare_nodes(s: &Stages<'_>) -> Result<NodeReport, Failure> {
    let all = |g: &Graph| ir::eval::eval_all(g, s.inputs).map_err(|e| Failure::wrong(e.to_string()));
    let (oracle, optimized) = (all(s.imported)?, all(s.optimized)?);
    let (before, after) = (named(s.imported), named(s.optimized));
    let mut report = NodeReport::default();
    let on_machine = probe(s, s.inputs).unwrap_or_else(|f| {
        report.notes.push(format!("values on the machine are not known: {}", f.message));
        Tensors::new()
    });
    let tolerance = |usual| s.tolerance.unwrap_or(usual);
    for (i, value) in s.imported.values().iter().enumerate() {
        let ValueDef::Node(node) = value.def else { continue };
        if value.name.is_empty() || before.get(value.name.as_str()) != Some(&i) {
            continue;
        }
        let name = value.name.as_str();
        let mut against = |got: &Tensor, want: &Tensor, t, what: &str| match compare(&[(name, got, want)], t) {
            Ok(c) => c,
            Err(e) => {
                report.notes.push(format!("{what}: {e}"));
                None
            }
        };
        let reference = s.references.get(name);
        let imported = reference.and_then(|r| against(&oracle[i], r, tolerance(REORDERED), "reference"));
        // A rewritten value of another shape is another value, which took over the name.
        let same = |t: &&Tensor| (t.dtype, &t.shape) == (oracle[i].dtype, &oracle[i].shape);
        let place = after.get(name).copied();
        let got = place.map(|p| &optimized[p]).filter(same);
        let rewritten = got.and_then(|t| against(t, &oracle[i], tolerance(REORDERED), "optimised"));
        let got = on_machine.get(name).filter(same);
        let machine = got.and_then(|t| against(t, &oracle[i], tolerance(Tolerance::of(s.precision)), "machine"));
        let fused = place.and_then(|p| producer(s.optimized, p));
        let (g, n) = match fused {
            Some(n) if imported.as_ref().is_none_or(|c| c.ok) => (s.optimized, n),
            _ => (s.imported, node),
        };
        report.nodes.push(NodeComparison {
            value: name.to_string(),
            node: g.origin_name(g.node(n)).to_string(),
            op: g.node(n).op.name().to_string(),
            imported,
            optimized: rewritten,
            machine,
        });
    }
    let unknown: Vec<&String> = s.references.keys().filter(|n| !report.nodes.iter().any(|c| c.value == **n)).collect();
    if let Some(one) = unknown.first() {
        report.notes.push(format!("{} references are of no value that is computed, as `{one}`", unknown.len()));
    }
    report.first = report.nodes.iter().find_map(departs);
    Ok(report)
}

fn departs(n: &NodeComparison) -> Option<Departure> {
    let stages = [(Stage::Imported, &n.imported), (Stage::Optimized, &n.optimized), (Stage::Machine, &n.machine)];
    let (stage, _) = stages.into_iter().find(|(_, c)| c.as_ref().is_some_and(|c| !c.ok))?;
    Some(Departure { value: n.value.clone(), node: n.node.clone(), stage })
}

/// Values that have a name, by the first of that name.
fn named(g: &Graph) -> HashMap<&str, usize> {
    let mut map = HashMap::new();
    for (i, v) in g.values().iter().enumerate().filter(|(_, v)| !v.name.is_empty()) {
        map.entry(v.name.as_str()).or_insert(i);
    }
    map
}

fn producer(g: &Graph, value: usize) -> Option<NodeId> {
    match g.values()[value].def {
        ValueDef::Node(n) => Some(n),
        _ => None,
    }
}

/// Values inside a program: of the tiled graph, with every named float value as an output.
fn probe(s: &Stages<'_>, inputs: &[Tensor]) -> Result<Tensors, Failure> {
    let g = s.optimized;
    let mut probed = g.clone();
    let mut names: HashSet<String> = g.outputs.iter().map(|o| o.name.clone()).collect();
    for n in g.nodes() {
        let v = g.value(n.output);
        let is_output = g.outputs.iter().any(|o| o.value == n.output);
        if v.ty.dtype.is_float() && !v.name.is_empty() && !is_output && names.insert(v.name.clone()) {
            probed.add_output(v.name.clone(), n.output);
        }
    }
    let compiled = pipeline::compile_as(&probed, s.machine, &s.mapping)?;
    let values = compiled.tiled.eval(inputs)?;
    let mut out = Tensors::new();
    for (o, t) in probed.outputs.iter().zip(values) {
        // An output may have another name than the value that it is.
        let own = &probed.value(o.value).name;
        if !own.is_empty() {
            out.insert(own.clone(), t.clone());
        }
        out.insert(o.name.clone(), t);
    }
    Ok(out)
}

/// References: a .npz file of arrays, or a folder of .npy, .npz and .pb files, by the names of the
/// values in the model. Files cannot be called as values are: `conv1_relu.npy` is for `conv1/relu`.
pub fn read_references(path: &Path, values: &[String]) -> Result<Tensors, Failure> {
    let mut files: Vec<PathBuf> = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|e| Failure::io("read", path, &e))?;
        files = entries.flatten().map(|e| e.path()).collect();
        files.retain(|f| matches!(data::extension(f), "npy" | "npz" | "pb"));
        files.sort();
    }
    let plain = |n: &str| n.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let mut by_plain: BTreeMap<String, &String> = BTreeMap::new();
    for v in values.iter().rev() {
        by_plain.insert(plain(v), v);
    }
    let mut out = Tensors::new();
    for f in &files {
        for (own, t) in data::read(f)? {
            let stem = f.file_stem().map(|s| s.to_string_lossy().into_owned());
            let Some(name) = own.or(stem) else { continue };
            let known = if values.contains(&name) { Some(&name) } else { by_plain.get(&plain(&name)).copied() };
            out.insert(known.unwrap_or(&name).clone(), t);
        }
    }
    if !out.keys().any(|n| values.contains(n)) {
        return Err(Failure::usage(format!("{}: no tensor in it is called as a value of the model", path.display())));
    }
    Ok(out)
}
