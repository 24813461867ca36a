//! Walks the model: scopes of names, functions and control flow bodies, one node at a time.

use super::build::Builder;
use super::call::{Call, Val};
use super::error::{Fail, ImportError, Place};
use super::registry;
use super::survey::Trace;
use super::tensor;
use quadrille_onnx::{Attribute, Function, FunctionId, Graph, Model, Node, Tensor};
use std::collections::{BTreeMap, HashMap};

/// Functions and bodies inside one another.
const MAX_DEPTH: usize = 64;
/// Nodes imported altogether, functions and unrolled bodies counted each time.
const MAX_STEPS: usize = 2_000_000;
/// Problems after which the import stops.
const MAX_ERRORS: usize = 1000;

/// What a name stands for.
#[derive(Clone)]
enum Slot<'a> {
    Value(Val),
    /// A constant of the model that nobody has used yet.
    Initializer(&'a Tensor),
}

/// The names of one graph, body or function.
struct Frame<'a> {
    names: HashMap<&'a str, Slot<'a>>,
    /// A function sees nothing of its caller.
    opaque: bool,
}

/// Attributes of the function being inlined.
pub(crate) type FunctionAttributes<'a> = BTreeMap<&'a str, &'a Attribute>;

fn too_long() -> Fail {
    Fail::unsupported(
        format!("the model has more than {MAX_STEPS} nodes once functions and loops are expanded"),
        "unroll less, or call fewer functions",
    )
}

/// State of an import.
pub(crate) struct Importer<'a> {
    pub(crate) builder: Builder,
    model: &'a Model,
    opsets: &'a BTreeMap<String, i64>,
    frames: Vec<Frame<'a>>,
    attributes: FunctionAttributes<'a>,
    errors: Vec<ImportError>,
    /// Names of the nodes around the current one.
    path: String,
    depth: usize,
    steps: usize,
    origins: HashMap<String, crate::ir::OriginId>,
    /// Set while surveying: failures are bridged where the model states the types of results.
    pub(crate) trace: Option<Trace<'a>>,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(model: &'a Model) -> Importer<'a> {
        Importer {
            builder: Builder::new(&model.graph.name),
            model,
            opsets: &model.opsets,
            frames: Vec::new(),
            attributes: BTreeMap::new(),
            errors: Vec::new(),
            path: String::new(),
            depth: 0,
            steps: 0,
            origins: HashMap::new(),
            trace: None,
        }
    }

    pub(crate) fn into_parts(self) -> (Builder, Vec<ImportError>, Option<Trace<'a>>) {
        (self.builder, self.errors, self.trace)
    }

    /// The tensors of the main graph by name.
    pub(crate) fn outermost(&self) -> BTreeMap<String, crate::ir::ValueId> {
        let named = self.frames.first().into_iter().flat_map(|f| &f.names);
        let tensor = |(n, s): (&&'a str, &Slot<'a>)| match s {
            Slot::Value(Val::Tensor(v)) => Some((n.to_string(), *v)),
            _ => None,
        };
        named.filter_map(tensor).collect()
    }

    /// Problems reported so far.
    pub(crate) fn problems(&self) -> usize {
        self.errors.len()
    }

    /// Takes back the problems reported since there were `from` of them.
    pub(crate) fn take_problems(&mut self, from: usize) -> Vec<ImportError> {
        self.errors.split_off(from.min(self.errors.len()))
    }

    pub(crate) fn push_frame(&mut self, opaque: bool) {
        self.frames.push(Frame { names: HashMap::new(), opaque });
    }

    pub(crate) fn define(&mut self, name: &'a str, v: Val) {
        if let Some(f) = self.frames.last_mut() {
            f.names.insert(name, Slot::Value(v));
        }
    }

    /// What a name stands for here; a constant enters the graph when it is first used.
    pub(crate) fn lookup(&mut self, name: &str) -> Option<Result<Val, Fail>> {
        for f in self.frames.iter_mut().rev() {
            match f.names.get_mut(name) {
                Some(Slot::Value(v)) => return Some(Ok(v.clone())),
                Some(slot) => {
                    let Slot::Initializer(t) = slot else { return None };
                    let v = match tensor::convert(t) {
                        Ok(t) => Val::Tensor(self.builder.graph.add_const(name, t)),
                        Err(e) => return Some(Err(e)),
                    };
                    *slot = Slot::Value(v.clone());
                    return Some(Ok(v));
                }
                None if f.opaque => return None,
                None => {}
            }
        }
        None
    }

    /// Imports a graph whose inputs are `arguments` in a frame of its own; the values of its
    /// outputs, or what failed.
    pub(crate) fn body(&mut self, g: &'a Graph, arguments: Vec<Val>) -> Result<Vec<Val>, Fail> {
        if g.inputs.len() != arguments.len() {
            return Err(Fail::invalid(format!(
                "the body takes {} values, but {} are passed",
                g.inputs.len(),
                arguments.len()
            )));
        }
        // A body without nodes costs steps too, or a loop over it would have no end.
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(too_long());
        }
        self.enter()?;
        self.push_frame(false);
        for (v, a) in g.inputs.iter().zip(arguments) {
            self.define(&v.name, a);
        }
        let result = self.graph(g);
        self.frames.pop();
        self.depth -= 1;
        result
    }

    /// Imports the nodes of a graph in the current frame; the values of its outputs.
    pub(crate) fn graph(&mut self, g: &'a Graph) -> Result<Vec<Val>, Fail> {
        if let Some(f) = self.frames.last_mut() {
            for (name, t) in &g.initializers {
                f.names.insert(name, Slot::Initializer(t));
            }
        }
        self.nodes(&g.nodes);
        g.outputs
            .iter()
            .map(|v| match self.lookup(&v.name) {
                Some(r) => r,
                // The import stopped before it.
                None if self.is_over() => Ok(Val::Failed),
                None => Err(Fail::invalid(format!("output '{}' is not computed", v.name))),
            })
            .collect()
    }

    /// True once there are too many problems or nodes to go on.
    fn is_over(&self) -> bool {
        self.errors.len() >= MAX_ERRORS || self.steps > MAX_STEPS
    }

    fn enter(&mut self) -> Result<(), Fail> {
        if self.depth >= MAX_DEPTH {
            return Err(Fail::unsupported(format!("functions and bodies nest deeper than {MAX_DEPTH}"), ""));
        }
        self.depth += 1;
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [Node]) {
        for n in nodes {
            if self.is_over() {
                return;
            }
            if let Some(t) = self.trace.as_mut().filter(|_| self.depth == 0) {
                t.reached += 1;
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                self.report(n, &[], too_long());
                return;
            }
            self.node(n);
        }
    }

    fn node(&mut self, n: &'a Node) {
        let mut operands = Vec::with_capacity(n.inputs.len());
        for name in &n.inputs {
            if name.is_empty() {
                operands.push(None);
                continue;
            }
            match self.lookup(name) {
                // An optional operand that the caller of a function left out.
                Some(Ok(Val::Nothing)) => operands.push(None),
                Some(Ok(v)) => operands.push(Some(v)),
                Some(Err(fail)) => {
                    self.report(n, &[], Fail { reason: format!("constant '{name}': {}", fail.reason), ..fail });
                    return self.fail(n, &operands);
                }
                None => {
                    self.report(n, &[], Fail::invalid(format!("operand '{name}' is not defined")));
                    return self.fail(n, &operands);
                }
            }
        }
        if operands.iter().any(|v| matches!(v, Some(Val::Failed))) {
            return self.blocked(n, &operands);
        }
        let errors = self.errors.len();
        match self.call(n, operands.clone()) {
            Ok(results) => {
                for (i, name) in n.outputs.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
                    match results.get(i) {
                        Some(Val::Tensor(v)) => {
                            if self.builder.graph.value(*v).name.is_empty() {
                                self.builder.graph.set_name(*v, name.clone());
                            }
                            self.define(name, Val::Tensor(*v));
                        }
                        Some(v) => self.define(name, v.clone()),
                        None => {
                            self.report(
                                n,
                                &operands,
                                Fail::unsupported(
                                    format!("result {i} ('{name}') is not supported"),
                                    "remove it from the node's outputs if nothing needs it",
                                ),
                            );
                            self.define(name, Val::Failed);
                        }
                    }
                }
            }
            Err(fail) => {
                // A body that failed has reported its own nodes.
                if self.errors.len() == errors {
                    self.report(n, &operands, fail);
                }
                self.fail(n, &operands);
            }
        }
    }

    /// A node that has failed by itself.
    fn fail(&mut self, n: &'a Node, operands: &[Option<Val>]) {
        self.give_up(n, operands, vec![n.name.clone()]);
    }

    /// A node that cannot be looked at, since operands have failed. That there is no such operator
    /// is seen nevertheless.
    fn blocked(&mut self, n: &'a Node, operands: &[Option<Val>]) {
        if let Err(fail) = self.find(n) {
            self.report(n, &[], fail);
            return self.fail(n, operands);
        }
        let outermost = self.depth == 0;
        let by = match &mut self.trace {
            Some(t) if outermost => t.blocked(n),
            _ => Vec::new(),
        };
        self.give_up(n, operands, by);
    }

    /// Defines the results of a node that was not imported: as failed, or while surveying as
    /// inputs of the types that the model states.
    fn give_up(&mut self, n: &'a Node, operands: &[Option<Val>], by: Vec<String>) {
        let first = operands.iter().flatten().find_map(|v| match v {
            Val::Tensor(v) => Some(*v),
            _ => None,
        });
        for (i, name) in n.outputs.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let mut v = Val::Failed;
            let like = first.filter(|_| i == 0).map(|v| self.builder.graph.ty(v));
            if let Some(t) = self.trace.as_mut().filter(|_| self.depth == 0)
                && let Some(ty) = t.gave_up(name, operands, like, &by)
            {
                v = Val::Tensor(self.builder.graph.add_input(name.clone(), ty));
            }
            self.define(name, v);
        }
    }

    /// The operator of a node, unless it is a function of the model.
    fn find(&self, n: &Node) -> Result<Option<&'static registry::OpDef>, Fail> {
        if !self.model.functions.is_empty() {
            let id = FunctionId { domain: n.domain.clone(), name: n.op.clone(), overload: n.overload.clone() };
            if self.model.functions.contains_key(&id) {
                return Ok(None);
            }
        }
        let opset = self.opsets.get(&n.domain).copied().unwrap_or(0);
        registry::find_in_opset(&n.domain, &n.op, opset).map(Some)
    }

    fn call(&mut self, n: &'a Node, operands: Vec<Option<Val>>) -> Result<Vec<Val>, Fail> {
        let mut attributes = Vec::with_capacity(n.attributes.len());
        for (name, a) in &n.attributes {
            match a {
                // A reference to an attribute that the caller leaves out is left out too.
                Attribute::Reference(r) => {
                    if let Some(a) = self.attributes.get(r.as_str()) {
                        attributes.push((name.as_str(), *a, false));
                    }
                }
                a => attributes.push((name.as_str(), a, false)),
            }
        }
        let model = self.model;
        if !model.functions.is_empty() {
            let id = FunctionId { domain: n.domain.clone(), name: n.op.clone(), overload: n.overload.clone() };
            if let Some(f) = model.functions.get(&id) {
                return self.inline(n, f, operands, &attributes);
            }
        }
        let opset = self.opsets.get(&n.domain).copied().unwrap_or(0);
        let def = registry::find_in_opset(&n.domain, &n.op, opset)?;
        if self.path.is_empty() {
            self.builder.origin = self.origin(n.name.clone());
        } else {
            self.builder.origin = self.origin(format!("{}/{}", self.path, n.name));
        }
        let mut call = Call { importer: self, node: n, opset, operands, attributes };
        let results = (def.import)(&mut call)?;
        call.check_budget()?;
        // Files of the first versions tell which operands may be overwritten.
        let known = |name: &str, seen: bool| seen || name == "consumed_inputs" && opset < 7;
        if let Some((name, a, _)) = call.attributes.iter().find(|(name, _, seen)| !known(name, *seen)) {
            return Err(Fail::unsupported(
                format!("attribute '{name}' ({}) is unknown for this operator", a.kind()),
                "remove it",
            ));
        }
        Ok(results)
    }

    fn origin(&mut self, name: String) -> crate::ir::OriginId {
        if let Some(&o) = self.origins.get(&name) {
            return o;
        }
        let o = self.builder.graph.push_origin(name.clone());
        self.origins.insert(name, o);
        o
    }

    /// Imports the body of a function in place of its call.
    fn inline(
        &mut self,
        n: &'a Node,
        f: &'a Function,
        operands: Vec<Option<Val>>,
        given: &[(&'a str, &'a Attribute, bool)],
    ) -> Result<Vec<Val>, Fail> {
        if operands.len() > f.inputs.len() {
            return Err(Fail::invalid(format!(
                "the function takes {} operands, got {}",
                f.inputs.len(),
                operands.len()
            )));
        }
        let mut attributes: FunctionAttributes<'a> = f.defaults.iter().map(|(n, a)| (n.as_str(), a)).collect();
        for (name, a, _) in given {
            if !f.required.iter().any(|r| r == name) && !f.defaults.contains_key(*name) {
                return Err(Fail::invalid(format!("the function has no attribute '{name}'")));
            }
            attributes.insert(name, a);
        }
        self.enter()?;
        let opsets = std::mem::replace(&mut self.opsets, &f.opsets);
        let outer = std::mem::replace(&mut self.attributes, attributes);
        let path_len = self.path.len();
        if path_len > 0 {
            self.path.push('/');
        }
        self.path.push_str(&n.name);
        self.push_frame(true);
        for (name, v) in f.inputs.iter().zip(operands) {
            if let Some(v) = v {
                self.define(name, v);
            } else {
                self.define(name, Val::Nothing);
            }
        }
        for name in f.inputs.iter().skip(n.inputs.len()) {
            self.define(name, Val::Nothing);
        }
        self.nodes(&f.nodes);
        let results = f
            .outputs
            .iter()
            .map(|name| {
                self.lookup(name).unwrap_or_else(|| Err(Fail::invalid(format!("output '{name}' is not computed"))))
            })
            .collect();
        self.frames.pop();
        self.path.truncate(path_len);
        self.attributes = outer;
        self.opsets = opsets;
        self.depth -= 1;
        results
    }

    fn report(&mut self, n: &Node, operands: &[Option<Val>], fail: Fail) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let node = if self.path.is_empty() { n.name.clone() } else { format!("{}/{}", self.path, n.name) };
        let shown = |v: &Option<Val>| match v {
            Some(Val::Tensor(v)) => self.builder.ty(*v).to_string(),
            Some(Val::Sequence(s)) => format!("a sequence of {}", s.len()),
            _ => "nothing".to_string(),
        };
        self.errors.push(ImportError {
            place: Place::Node,
            node,
            op: n.op.clone(),
            domain: n.domain.clone(),
            opset: self.opsets.get(&n.domain).copied().unwrap_or(0),
            operands: operands.iter().take(16).map(shown).collect(),
            attribute: attribute_at_fault(n, &fail.reason),
            reason: fail.reason,
            remedy: fail.remedy,
            kind: fail.kind,
            needs: fail.needs,
        });
    }

    /// Reports a problem with a result of the model.
    pub(crate) fn report_output(&mut self, name: &str, fail: Fail) {
        self.errors.push(ImportError::outside(Place::Output, name, fail));
    }
}

/// The attribute of a node that a reason names, with its value: reasons call attributes by name.
fn attribute_at_fault(n: &Node, reason: &str) -> String {
    let words = || reason.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let Some((name, a)) = n.attributes.iter().find(|(name, _)| words().any(|w| w == name.as_str())) else {
        return String::new();
    };
    let value = match a {
        Attribute::Float(v) => v.to_string(),
        Attribute::Int(v) => v.to_string(),
        Attribute::String(v) => format!("'{}'", String::from_utf8_lossy(&v[..v.len().min(40)])),
        Attribute::Ints(v) if v.len() <= 16 => format!("{v:?}"),
        Attribute::Floats(v) if v.len() <= 16 => format!("{v:?}"),
        a => format!("({})", a.kind()),
    };
    format!("{name} = {value}")
}
