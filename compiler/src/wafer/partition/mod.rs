//! From the tensor graph to kernels and streams.
//!
//! Reshapes and transposes become views of a stream. Elementwise nodes join the kernel that
//! makes their operand when nobody else reads it. Constants are folded by the oracle. A node
//! that cannot be mapped is noted, its result treated as one more input, and the walk goes on,
//! so that one run finds all problems. Knows nothing of PEs.

mod image;
mod matrix;
mod point;
mod shape;

use super::error::NodeProblem;
use super::kernels::{Copy, Core, Reorder};
use super::layout::Layout;
use super::streams::{KernelId, Operand, Producer, StreamId, WaferGraph};
use crate::ir::builder::{live_nodes, use_counts};
use crate::ir::eval::eval_op;
use crate::ir::{DType, Graph, Node, Op, Tensor, ValueDef, ValueId};
use std::sync::Arc;

/// Why a node cannot be mapped: reason and remedy.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    reason: String,
    remedy: String,
}

impl Obstacle {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
        Obstacle { reason: reason.into(), remedy: remedy.into() }
    }
}

/// A transpose (shape before it, permutation) that a value sees its stream through. Reshapes
/// leave no trace: row-major indices stay.
type View = (Vec<usize>, Vec<usize>);

/// What a value of the tensor graph is on the mesh.
#[derive(Clone, Debug)]
enum Source {
    Constant(Tensor),
    Stream {
        id: StreamId,
        views: Vec<View>,
        /// Nobody else reads the stream, so its kernel may go on working on it.
        solo: bool,
    },
}

/// What came of a graph.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) graph: WaferGraph,
    pub(crate) problems: Vec<(crate::ir::NodeId, NodeProblem)>,
}

/// The walk over the graph.
pub(crate) struct Partitioner<'a> {
    g: &'a Graph,
    uses: Vec<usize>,
    sources: Vec<Option<Source>>,
    out: WaferGraph,
}

/// Makes kernels and streams of a tensor graph.
pub(crate) fn partition(g: &Graph) -> Partition {
    let mut p =
        Partitioner { g, uses: use_counts(g), sources: vec![None; g.values().len()], out: WaferGraph::default() };
    let mut problems = Vec::new();
    for (i, v) in g.values().iter().enumerate() {
        p.sources[i] = match &v.def {
            ValueDef::Const(t) => Some(Source::Constant(t.clone())),
            ValueDef::Input(k) => {
                let id = p.out.add_stream(Producer::Input(*k as usize), v.ty.shape.clone(), None);
                Some(Source::Stream { id, views: Vec::new(), solo: false })
            }
            ValueDef::Node(_) => None,
        };
    }
    let live = live_nodes(g);
    for (i, node) in g.nodes().iter().enumerate() {
        if !live[i] {
            continue;
        }
        let source = match p.node(node) {
            Ok(s) => s,
            Err(o) => {
                problems.push((crate::ir::NodeId(i as u32), p.problem(node, o)));
                let shape = g.shape(node.output).to_vec();
                let layout = Some(Layout::row_major(&shape));
                let id = p.out.add_stream(Producer::Input(usize::MAX), shape, layout);
                Source::Stream { id, views: Vec::new(), solo: false }
            }
        };
        p.sources[node.output.0 as usize] = Some(source);
    }
    for (i, o) in g.outputs.iter().enumerate() {
        if let Err(reason) = p.output(i, o.value) {
            let op = g.producer(o.value).map_or("output".to_string(), |n| n.op.name().to_string());
            let problem = NodeProblem {
                node: o.name.clone(),
                op,
                shape: g.ty(o.value).to_string(),
                reason: reason.reason,
                remedy: reason.remedy,
            };
            let node = match g.value(o.value).def {
                ValueDef::Node(n) => n,
                _ => crate::ir::NodeId(0),
            };
            problems.push((node, problem));
        }
    }
    p.out.choose_formats();
    Partition { graph: p.out, problems }
}

impl Partitioner<'_> {
    fn problem(&self, node: &Node, o: Obstacle) -> NodeProblem {
        let types: Vec<String> = node.inputs.iter().map(|&v| self.g.ty(v).to_string()).collect();
        NodeProblem {
            node: self.g.origin_name(node).to_string(),
            op: node.op.name().to_string(),
            shape: format!("{} -> {}", types.join(", "), self.g.ty(node.output)),
            reason: o.reason,
            remedy: o.remedy,
        }
    }

    fn node(&mut self, node: &Node) -> Result<Source, Obstacle> {
        let constants: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| self.constant(v)).collect();
        if let Some(c) = constants {
            return eval_op(&node.op, &c)
                .map(Source::Constant)
                .map_err(|e| Obstacle::new(format!("a constant cannot be computed: {e}"), "check the model"));
        }
        let types = node.inputs.iter().map(|&v| self.g.ty(v)).chain([self.g.ty(node.output)]);
        if types.clone().any(|t| t.elements() == 0) {
            return Err(Obstacle::new("a tensor without elements has no stream", "bind dimensions to at least 1"));
        }
        for (&v, t) in node.inputs.iter().zip(types) {
            if self.constant(v).is_none() && t.dtype != DType::F32 {
                return Err(Obstacle::new(
                    format!("streams carry f32 or f16 made of it, not {}", t.dtype),
                    "use a float32 model, or --target tsp",
                ));
            }
        }
        if self.g.ty(node.output).dtype != DType::F32 {
            return Err(Obstacle::new(
                format!("a result of type {} has no form on the mesh yet", self.g.ty(node.output).dtype),
                "compute it outside the model, or use --target tsp",
            ));
        }
        match &node.op {
            Op::Reshape { .. } => self.view(node, None),
            Op::Transpose { perm } => self.view(node, Some(perm.clone())),
            Op::Cast(_) => self.view(node, None),
            Op::Broadcast { shape } if self.g.shape(node.inputs[0]) == shape => self.view(node, None),
            Op::Unary(u) => self.unary(node, *u),
            Op::Binary(b) => self.binary(node, *b),
            Op::Conv { window, groups, epilogue } => self.conv(node, window, *groups, epilogue),
            Op::Pool { kind, window } => self.pool(node, *kind, window),
            Op::MatMul { epilogue } => self.matmul(node, epilogue),
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::Reduce { kind, axes, .. } => self.reduce(node, *kind, axes),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Slice { start, step, shape } => self.slice(node, start, step, shape),
            _ => Err(Obstacle::new("no kernel for this operation yet", "use --target tsp, or rewrite the node")),
        }
    }

    fn constant(&self, v: ValueId) -> Option<&Tensor> {
        match &self.sources[v.0 as usize] {
            Some(Source::Constant(t)) => Some(t),
            _ => None,
        }
    }

    /// A constant f32 operand.
    fn constant_f32(&self, v: ValueId) -> Option<Arc<Vec<f32>>> {
        self.constant(v).and_then(Tensor::as_f32).map(Arc::new)
    }

    fn source(&self, v: ValueId) -> Result<(StreamId, Vec<View>, bool), Obstacle> {
        match &self.sources[v.0 as usize] {
            Some(Source::Stream { id, views, solo }) => Ok((*id, views.clone(), *solo)),
            Some(Source::Constant(_)) => {
                Err(Obstacle::new("a constant takes the place of a stream", "exchange the operands or fold the node"))
            }
            None => Err(Obstacle::new("an operand was not made", "report this as a bug of the compiler")),
        }
    }

    /// A reshape (no permutation) or a transpose of a stream.
    fn view(&mut self, node: &Node, perm: Option<Vec<usize>>) -> Result<Source, Obstacle> {
        let v = node.inputs[0];
        let shape = self.g.shape(v).to_vec();
        let (mut id, mut views, solo) = self.source(v)?;
        if let Some(perm) = perm {
            let mut with = views.clone();
            with.push((shape.clone(), perm.clone()));
            let stream = self.out.stream(id);
            let tears = stream.layout.as_ref().is_some_and(|l| through(l, &with).is_none());
            if tears {
                // The stream's loops run across the axes: put it in row-major order first.
                let operand = self.want(v, &Layout::row_major(&shape))?;
                id = operand.stream;
                with = vec![(shape, perm)];
            }
            views = with;
        }
        let solo = solo && self.uses[node.output.0 as usize] == 1;
        Ok(Source::Stream { id, views, solo })
    }

    /// The order in which `v` arrives, over its own indices; `None` while its first reader may
    /// still choose.
    fn arrives(&self, v: ValueId) -> Result<Option<Layout>, Obstacle> {
        let (id, views, _) = self.source(v)?;
        match &self.out.stream(id).layout {
            None => Ok(None),
            Some(l) => through(l, &views).map(Some).ok_or_else(torn),
        }
    }

    /// `v` in any order: the one it has, or row-major.
    fn any_order(&mut self, v: ValueId) -> Result<Operand, Obstacle> {
        let order = match self.arrives(v)? {
            Some(l) => l,
            None => Layout::row_major(self.g.shape(v)),
        };
        self.want(v, &order)
    }

    /// `v` in the order wanted: an input is sent that way, another stream goes through a
    /// reorder buffer when it has another order.
    fn want(&mut self, v: ValueId, wanted: &Layout) -> Result<Operand, Obstacle> {
        let (id, views, _) = self.source(v)?;
        if self.out.stream(id).layout.is_none() {
            let back = back_through(wanted, &views).ok_or_else(torn)?;
            self.out.streams[id.0].layout = Some(back);
        }
        let at = self.arrives(v)?.ok_or_else(torn)?;
        if at.same_order(wanted) {
            return Ok(Operand { stream: id, layout: wanted.clone() });
        }
        let core = Reorder::new(&at, wanted).ok_or_else(|| {
            Obstacle::new(
                "the stream arrives in an order that no buffer on one PE can change into the one needed",
                "move the transpose to the model's input or output",
            )
        })?;
        let shape = self.g.shape(v).to_vec();
        let name = self.g.producer(v).map_or("input", |n| self.g.origin_name(n)).to_string();
        let operand = Operand { stream: id, layout: at };
        let (_, stream) = self.out.add_kernel(&name, Box::new(core), vec![operand], shape);
        Ok(Operand { stream, layout: wanted.clone() })
    }

    /// Adds the kernel of a node; its result is the node's value.
    fn add(&mut self, node: &Node, core: Box<dyn Core>, inputs: Vec<Operand>) -> (KernelId, Source) {
        let shape = self.g.shape(node.output).to_vec();
        let name = self.g.origin_name(node).to_string();
        let (k, id) = self.out.add_kernel(&name, core, inputs, shape);
        let solo = self.uses[node.output.0 as usize] == 1;
        (k, Source::Stream { id, views: Vec::new(), solo })
    }

    /// The axes of `v` in the order of its stream, when every loop is a whole axis.
    fn axis_order(&self, v: ValueId) -> Result<Option<Vec<usize>>, Obstacle> {
        let shape = self.g.shape(v);
        Ok(match self.arrives(v)? {
            None => Some((0..shape.len()).collect()),
            Some(l) => axis_order(&l, shape),
        })
    }

    /// Marks an output of the model.
    fn output(&mut self, i: usize, v: ValueId) -> Result<(), Obstacle> {
        if self.g.ty(v).dtype != DType::F32 {
            return Err(Obstacle::new("outputs leave as f32", "cast the output to float32"));
        }
        let (id, views, _) = self.source(v)?;
        let (id, views) = match self.out.stream(id).producer {
            Producer::Kernel(_) => (id, views),
            // An input that is an output: a PE copies it.
            Producer::Input(_) => {
                let operand = self.any_order(v)?;
                let core = Copy::new(&operand.layout);
                let shape = self.g.shape(v).to_vec();
                (self.out.add_kernel("output", Box::new(core), vec![operand], shape).1, Vec::new())
            }
        };
        let layout = self.out.stream(id).layout.clone().ok_or_else(torn)?;
        let at = through(&layout, &views).ok_or_else(torn)?;
        self.out.streams[id.0].outputs.push((i, at));
        Ok(())
    }
}

fn torn() -> Obstacle {
    Obstacle::new("a transpose tears apart a loop of the stream", "move the transpose to the model's input or output")
}

/// An order seen through transposes.
fn through(l: &Layout, views: &[View]) -> Option<Layout> {
    views.iter().try_fold(l.clone(), |l, (shape, perm)| l.transposed(shape, perm))
}

/// The order that is seen as `l` through transposes.
fn back_through(l: &Layout, views: &[View]) -> Option<Layout> {
    views.iter().rev().try_fold(l.clone(), |l, (shape, perm)| {
        let out: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
        let mut inverse = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            inverse[p] = i;
        }
        l.transposed(&out, &inverse)
    })
}

/// The axes that the loops run over, outermost first; `None` when a loop is not a whole axis.
/// Axes of one element can stand anywhere: where image or row-major order has them if possible.
fn axis_order(l: &Layout, shape: &[usize]) -> Option<Vec<usize>> {
    let identity: Vec<usize> = (0..shape.len()).collect();
    let split = Layout { loops: l.normalized() }.transposed(shape, &identity)?;
    let s = super::layout::strides(shape);
    let mut order = Vec::new();
    for l in split.loops.iter().filter(|l| l.count > 1) {
        order.push((0..shape.len()).find(|&a| shape[a] == l.count && s[a] == l.step && shape[a] > 1)?);
    }
    let mut usual = vec![identity];
    if shape.len() == 4 {
        usual.insert(0, vec![0, 2, 1, 3]);
    }
    for u in usual {
        if u.iter().copied().filter(|&a| shape[a] > 1).eq(order.iter().copied()) {
            return Some(u);
        }
    }
    let ones = (0..shape.len()).filter(|&a| shape[a] == 1);
    let order: Vec<usize> = ones.chain(order).collect();
    (order.len() == shape.len()).then_some(order)
}
