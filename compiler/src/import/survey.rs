//! A look at a model that may not import as a whole: everything that is in the way, and the graph of
//! the rest.
//!
//! Where a node fails and the model states the types of its results, the results become inputs and
//! the import goes on behind them. What cannot be looked at is said to be blocked, and by which node.
//! The graph has an output for every value that a failed node reads, so that passes keep what
//! leads there.

use super::boundary::{self, Inputs};
use super::call::Val;
use super::error::{ImportError, ImportErrorKind, ImportErrors, Place};
use super::importer::Importer;
use super::{ImportOptions, prune, registry, tensor};
use crate::ir::{Graph, Tensor, TensorType, ValueDef, ValueId};
use quadrille_onnx::{Dim, FunctionId, Model, Node, ValueType};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A node that could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The user's node.
    pub node: String,
    /// Nodes that failed and that it depends on, sorted.
    pub by: Vec<String>,
}

/// What can be said of a model.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// What was imported; `None` while extents of inputs are open.
    pub graph: Option<Graph>,
    /// Everything that is in the way, as [`import`](super::import) reports it.
    pub errors: Vec<ImportError>,
    /// What depends on nodes that failed, in the model's order.
    pub blocked: Vec<Blocked>,
    /// Values that stand as inputs of the graph since their node failed.
    pub assumed: Vec<String>,
    /// Nodes of the main graph that were come to; fewer than there are when problems got too many.
    pub reached: usize,
    /// Type of each tensor of the main graph by name, and its elements where import knows them.
    pub values: BTreeMap<String, (TensorType, Option<Tensor>)>,
}

/// Record of a survey, kept by the importer.
#[derive(Default)]
pub(crate) struct Trace<'a> {
    stated: HashMap<&'a str, TensorType>,
    /// Failed nodes behind a value, for values that failed.
    blame: HashMap<&'a str, BTreeSet<String>>,
    blocked: Vec<Blocked>,
    /// Values that became inputs, with the node that makes them.
    assumed: BTreeMap<String, BTreeSet<String>>,
    /// Values that failed nodes read.
    read: BTreeSet<ValueId>,
    /// Where nothing is stated, the first result is taken to have the type of the first operand.
    guessing: bool,
    /// Nodes of the main graph that were come to.
    pub(crate) reached: usize,
    /// Tensors of the main graph; filled in at the end.
    known: BTreeMap<String, ValueId>,
}

impl<'a> Trace<'a> {
    /// Notes that a node cannot be looked at; gives the nodes to blame.
    pub(crate) fn blocked(&mut self, n: &'a Node) -> Vec<String> {
        let by: BTreeSet<String> =
            n.inputs.iter().filter_map(|i| self.blame.get(i.as_str())).flatten().cloned().collect();
        let by: Vec<String> = by.into_iter().collect();
        self.blocked.push(Blocked { node: n.name.clone(), by: by.clone() });
        by
    }

    /// Notes that result `name` will not be computed; gives its type if the model states one, or if
    /// it may be guessed to be `like`.
    pub(crate) fn gave_up(
        &mut self,
        name: &'a str,
        operands: &[Option<Val>],
        like: Option<&TensorType>,
        by: &[String],
    ) -> Option<TensorType> {
        for v in operands.iter().flatten() {
            if let Val::Tensor(v) = v {
                self.read.insert(*v);
            }
        }
        let by: BTreeSet<String> = by.iter().cloned().collect();
        match self.stated.get(name).or(like.filter(|_| self.guessing)) {
            Some(ty) if !self.assumed.contains_key(name) => {
                self.assumed.insert(name.to_string(), by);
                Some(ty.clone())
            }
            _ => {
                self.blame.insert(name, by);
                None
            }
        }
    }
}

/// Looks at a model: all problems, and the graph of what can be imported.
pub fn survey(model: &Model, options: &ImportOptions) -> Survey {
    look(model, options, false)
}

/// As [`survey`], and where the model does not state the type of a failed node's result, it is
/// guessed to be that of the node's first operand. For who can try whether the guess is right.
pub fn survey_guessing(model: &Model, options: &ImportOptions) -> Survey {
    look(model, options, true)
}

fn look(model: &Model, options: &ImportOptions, guessing: bool) -> Survey {
    let inputs = match boundary::bind(model, options) {
        Ok(bound) => bound,
        Err(ImportErrors { mut errors }) => {
            errors.extend(unknown_operators(model));
            return Survey { errors, ..Survey::default() };
        }
    };
    let trace = Trace { stated: stated_types(model, &inputs), guessing, ..Trace::default() };
    let (mut graph, mut errors, trace) = lower(model, options, &inputs, Some(trace));
    let Trace { mut blocked, assumed, read, known, reached, .. } = trace.unwrap_or_default();
    let values = known.into_iter().map(|(n, v)| (n, (graph.ty(v).clone(), graph.constant(v).cloned()))).collect();
    // A value that the model leaves to a failed node is not the user's to give.
    errors.retain(|e| {
        let stands_in: BTreeSet<String> = e.needs.iter().filter_map(|n| assumed.get(n)).flatten().cloned().collect();
        let blames = e.kind == ImportErrorKind::NeedsValue && !stands_in.is_empty();
        if blames {
            blocked.push(Blocked { node: e.node.clone(), by: stands_in.into_iter().collect() });
        }
        !blames
    });
    add_outputs(&mut graph, &read);
    Survey {
        graph: Some(prune::prune(&graph)),
        errors,
        blocked,
        assumed: assumed.into_keys().collect(),
        reached,
        values,
    }
}

/// Results of nodes that only failed nodes read become outputs.
fn add_outputs(graph: &mut Graph, read: &BTreeSet<ValueId>) {
    let mut names: HashSet<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    for &v in read {
        let value = graph.value(v);
        if !matches!(value.def, ValueDef::Node(_)) || graph.outputs.iter().any(|o| o.value == v) {
            continue;
        }
        let mut name = if value.name.is_empty() { format!("value {v}") } else { value.name.clone() };
        while !names.insert(name.clone()) {
            name.push('\'');
        }
        graph.add_output(name, v);
    }
}

/// Lowers the nodes: the graph (not pruned), what is wrong, and the trace if one is kept.
pub(super) fn lower<'a>(
    model: &'a Model,
    options: &ImportOptions,
    inputs: &Inputs<'a>,
    trace: Option<Trace<'a>>,
) -> (Graph, Vec<ImportError>, Option<Trace<'a>>) {
    let g = &model.graph;
    let mut importer = Importer::new(model);
    importer.trace = trace;
    importer.push_frame(true);
    inputs.define(&mut importer, options);
    let results = importer.graph(g);
    let mut taken = BTreeSet::new();
    for (i, v) in g.outputs.iter().enumerate() {
        match &results {
            Ok(values) => boundary::output(&mut importer, &mut taken, &v.name, &values[i]),
            Err(e) => importer.report_output(&v.name, e.clone()),
        }
    }
    let known = importer.trace.is_some().then(|| importer.outermost());
    let (builder, errors, mut trace) = importer.into_parts();
    if let (Some(t), Some(known)) = (&mut trace, known) {
        t.known = known;
    }
    (builder.graph, errors, trace)
}

/// Types that the model states for inner values and results, as far as extents are known.
fn stated_types<'a>(model: &'a Model, inputs: &Inputs<'_>) -> HashMap<&'a str, TensorType> {
    let mut symbols: HashMap<&str, usize> = HashMap::new();
    for (v, ty) in inputs.typed() {
        if let ValueType::Tensor { shape: Some(dims), .. } = &v.ty {
            for (d, &n) in dims.iter().zip(&ty.shape) {
                if let Dim::Symbol(s) = d {
                    symbols.insert(s, n);
                }
            }
        }
    }
    let mut stated = HashMap::new();
    for v in model.graph.value_info.iter().chain(&model.graph.outputs) {
        let ValueType::Tensor { element, shape: Some(dims) } = &v.ty else { continue };
        let extent = |d: &Dim| match d {
            Dim::Fixed(n) => Some(*n),
            Dim::Symbol(s) => symbols.get(s.as_str()).copied(),
            Dim::Unknown => None,
        };
        let shape: Option<Vec<usize>> = dims.iter().map(extent).collect();
        if let (Some(shape), Ok(dtype)) = (shape, tensor::dtype_of(*element)) {
            let ty = TensorType::new(dtype, shape);
            if ty.fits() {
                stated.insert(v.name.as_str(), ty);
            }
        }
    }
    stated
}

/// Nodes of the main graph whose operator there is not, found without any shapes.
fn unknown_operators(model: &Model) -> Vec<ImportError> {
    let is_function = |n: &Node| {
        let id = FunctionId { domain: n.domain.clone(), name: n.op.clone(), overload: n.overload.clone() };
        model.functions.contains_key(&id)
    };
    let mut errors = Vec::new();
    for n in model.graph.nodes.iter().filter(|n| !is_function(n)) {
        let opset = model.opsets.get(&n.domain).copied().unwrap_or(0);
        if let Err(fail) = registry::find_in_opset(&n.domain, &n.op, opset) {
            let known = ImportError::outside(Place::Node, &n.name, fail);
            errors.push(ImportError { op: n.op.clone(), domain: n.domain.clone(), opset, ..known });
        }
    }
    errors
}
