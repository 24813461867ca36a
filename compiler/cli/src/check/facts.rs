//! Figures of a model that no machine has a part in.

use crate::bound::Work;
use quadrille_compiler::import::Survey;
use quadrille_compiler::ir::{Graph, ValueDef};
use quadrille_onnx::{Dim, ElementType, Model, Tensor, TensorData, ValueInfo, ValueType};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Figures of a model. What needs shapes is `null` while extents are open, and counts what could be
/// imported where `complete` is false.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Facts {
    /// Version of the file format.
    pub ir_version: i64,
    /// The tool that wrote the file.
    pub producer: String,
    /// Operator set versions by domain.
    pub opsets: BTreeMap<String, i64>,
    /// Nodes of the main graph.
    pub nodes: usize,
    /// Functions that the model defines.
    pub functions: usize,
    /// Elements of initializers; 64-bit integers, strings and bools (shapes and masks) left out.
    pub parameters: u64,
    /// Their bytes in the file.
    pub parameter_bytes: u64,
    /// Multiply-accumulates.
    pub macs: Option<u64>,
    /// Elementwise operations.
    pub elementwise: Option<u64>,
    /// Most bytes of activations alive at once, in the model's own order and element types.
    pub activation_bytes: Option<u64>,
    /// Primitives after import.
    pub primitives: Option<usize>,
    /// The model was imported as a whole.
    pub complete: bool,
    /// Inputs, as in `x: float[1x3xHxW]`.
    pub inputs: Vec<String>,
    /// Outputs.
    pub outputs: Vec<String>,
    /// Dims of inputs that have no value yet, as `--dim` calls them.
    pub open_dims: Vec<String>,
}

impl Facts {
    /// Counts a model and what was imported of it.
    pub fn of(model: &Model, survey: &Survey, dims: &BTreeMap<String, usize>, complete: bool) -> Facts {
        let graph = survey.graph.as_ref();
        let constants: Vec<&Tensor> =
            model.graph.initializers.iter().map(|(_, t)| t).filter(|t| is_parameter(t.element)).collect();
        let elements = |t: &Tensor| t.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        let bytes = |t: &Tensor| match &t.data {
            TensorData::Bytes(b) => b.len() as u64,
            TensorData::Strings(_) => 0,
        };
        let work = graph.map(Work::of);
        // Older files list every initializer as an input.
        let initializers: HashSet<&str> = model.graph.initializers.iter().map(|(n, _)| n.as_str()).collect();
        let inputs: Vec<&ValueInfo> =
            model.graph.inputs.iter().filter(|v| !initializers.contains(v.name.as_str())).collect();
        let mut open_dims: Vec<String> = Vec::new();
        if graph.is_none() {
            let open = inputs.iter().flat_map(|v| dims_of(v)).filter(|d| !dims.contains_key(d));
            open.for_each(|d| {
                if !open_dims.contains(&d) {
                    open_dims.push(d);
                }
            });
        }
        let domain = |d: &String| if d.is_empty() { "ai.onnx".to_string() } else { d.clone() };
        Facts {
            ir_version: model.ir_version,
            producer: model.producer.clone(),
            opsets: model.opsets.iter().map(|(d, v)| (domain(d), *v)).collect(),
            nodes: model.graph.nodes.len(),
            functions: model.functions.len(),
            parameters: constants.iter().map(|t| elements(t)).fold(0, u64::saturating_add),
            parameter_bytes: constants.iter().map(|t| bytes(t)).sum(),
            macs: work.map(|w| w.macs),
            elementwise: work.map(|w| w.elementwise),
            activation_bytes: graph.map(most_alive),
            primitives: graph.map(|g| g.nodes().len()),
            complete,
            inputs: inputs.into_iter().map(declared).collect(),
            outputs: model.graph.outputs.iter().map(declared).collect(),
            open_dims,
        }
    }
}

/// Names of the dims of an input that are not fixed; an axis without a name is called by its place.
fn dims_of(v: &ValueInfo) -> Vec<String> {
    let ValueType::Tensor { shape: Some(dims), .. } = &v.ty else { return Vec::new() };
    let name = |(i, d): (usize, &Dim)| match d {
        Dim::Fixed(_) => None,
        Dim::Symbol(s) => Some(s.clone()),
        Dim::Unknown => Some(format!("{}.{i}", v.name)),
    };
    dims.iter().enumerate().filter_map(name).collect()
}

fn is_parameter(e: ElementType) -> bool {
    !matches!(e, ElementType::I64 | ElementType::String | ElementType::Bool)
}

fn declared(v: &ValueInfo) -> String {
    match &v.ty {
        ValueType::Tensor { element, shape: Some(dims) } => {
            let dims: Vec<String> = dims
                .iter()
                .map(|d| match d {
                    Dim::Fixed(n) => n.to_string(),
                    Dim::Symbol(s) => s.clone(),
                    Dim::Unknown => "?".to_string(),
                })
                .collect();
            format!("{}: {}[{}]", v.name, element.name(), dims.join("x"))
        }
        ValueType::Tensor { element, shape: None } => format!("{}: {} of any shape", v.name, element.name()),
        ValueType::Sequence(_) => format!("{}: a sequence", v.name),
        ValueType::Optional(_) => format!("{}: an optional", v.name),
        ValueType::Other(kind) => format!("{}: a {kind}", v.name),
        ValueType::Unknown => v.name.clone(),
    }
}

/// Most bytes of inputs and results alive between two nodes; constants apart.
fn most_alive(g: &Graph) -> u64 {
    let mut last = vec![0usize; g.values().len()];
    for (i, n) in g.nodes().iter().enumerate() {
        n.inputs.iter().for_each(|v| last[v.0 as usize] = i);
    }
    g.outputs.iter().for_each(|o| last[o.value.0 as usize] = usize::MAX);
    let bytes = |v: usize| g.values()[v].ty.bytes() as u64;
    let mut dying: Vec<Vec<usize>> = vec![Vec::new(); g.nodes().len()];
    for (v, &at) in last.iter().enumerate() {
        let lives = !matches!(g.values()[v].def, ValueDef::Const(_));
        if let Some(list) = dying.get_mut(at).filter(|_| lives) {
            list.push(v);
        }
    }
    let mut alive: u64 = g.inputs.iter().map(|v| bytes(v.0 as usize)).fold(0, u64::saturating_add);
    let mut most = alive;
    for (n, dead) in g.nodes().iter().zip(&dying) {
        alive = alive.saturating_add(bytes(n.output.0 as usize));
        most = most.max(alive);
        for &v in dead {
            alive = alive.saturating_sub(bytes(v));
        }
    }
    most
}
