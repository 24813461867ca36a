//! From the tensor graph to kernels and streams.
//!
//! Reshapes and transposes become views of a stream. Elementwise nodes join the kernel that
//! makes their operand when nobody else reads it. Constants are folded by the oracle. A node
//! that cannot be mapped is noted, its result treated as one more input, and the walk goes on,
//! so that one run finds all problems. Knows nothing of PEs.

mod attention;
mod general;
mod image;
mod matrix;
mod point;
mod shape;
mod whole;

use super::error::NodeProblem;
use super::kernels::{Copy, Core, Reorder};
use super::lane::{is_plain, lane};
use super::layout::{Layout, Part};
use super::streams::{Exit, KernelId, Lane, Operand, Producer, StreamId, WaferGraph};
pub(crate) use attention::{Attended, attentions, on_one};
pub(crate) use general::range::ranges;
use quadrille_compiler::ir::builder::{live_nodes, use_counts};
use quadrille_compiler::ir::eval::eval_op;
use quadrille_compiler::ir::{DType, Graph, Node, NodeId, Op, Tensor, ValueDef, ValueId};
pub(crate) use shape::shared_rows;
use std::collections::{BTreeMap, BTreeSet};
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
    pub(crate) problems: Vec<(NodeId, NodeProblem)>,
}

/// The walk over the graph.
pub(crate) struct Partitioner<'a> {
    g: &'a Graph,
    uses: Vec<usize>,
    sources: Vec<Option<Source>>,
    /// What is known of the integers, by value.
    ranges: Vec<Option<general::range::Range>>,
    /// Small nodes are joined on general kernels, and the programs that can be.
    fuses: bool,
    pending: BTreeMap<StreamId, general::Pending>,
    out: WaferGraph,
}

/// Makes kernels and streams of a tensor graph.
pub(crate) fn partition(g: &Graph) -> Partition {
    partition_in(g, &|_| Lane::WHOLE, &|_| Lane::WHOLE)
}

/// The same, with the kernels of each input and node in rows of the mesh of their own.
pub(crate) fn partition_in(
    g: &Graph,
    lane_of_input: &dyn Fn(usize) -> Lane,
    lane_of_node: &dyn Fn(usize) -> Lane,
) -> Partition {
    let mut p = Partitioner {
        g,
        uses: use_counts(g),
        sources: vec![None; g.values().len()],
        ranges: general::range::ranges(g),
        fuses: general::is_long(live_nodes(g).iter().filter(|&&l| l).count()),
        pending: BTreeMap::new(),
        out: WaferGraph::default(),
    };
    let mut problems = Vec::new();
    for (i, v) in g.values().iter().enumerate() {
        p.sources[i] = match &v.def {
            ValueDef::Const(t) => Some(Source::Constant(t.clone())),
            // What has no elements is known.
            _ if v.ty.elements() == 0 => Some(Source::Constant(empty(&v.ty))),
            ValueDef::Input(k) => {
                p.out.place = lane_of_input(*k as usize);
                let mut id = p.out.add_stream(Producer::Input(*k as usize), v.ty.shape.clone(), None);
                let d = v.ty.dtype;
                if !is_plain(d) && p.uses[i] > 0 {
                    match p.enter(id, &v.name, d, &v.ty.shape) {
                        Ok(converted) => id = converted,
                        Err(o) => problems.push((NodeId(0), p.named_problem(&v.name, "input", &v.ty, o))),
                    }
                } else if d != DType::F32 {
                    p.out.streams[id.0].fixed = lane(d);
                }
                Some(Source::Stream { id, views: Vec::new(), solo: false })
            }
            ValueDef::Node(_) => None,
        };
    }
    let live = live_nodes(g);
    let attended = attentions(g, &p.uses);
    let within: BTreeSet<NodeId> = attended.values().flat_map(|f| f.inner.iter().copied()).collect();
    for (i, node) in g.nodes().iter().enumerate() {
        let id = NodeId(i as u32);
        if !live[i] || g.ty(node.output).elements() == 0 || within.contains(&id) {
            continue;
        }
        p.out.place = lane_of_node(i);
        if let Some(found) = attended.get(&id) {
            if let Ok(s) = p.attention(node, found) {
                p.sources[node.output.0 as usize] = Some(s);
                continue;
            }
            found.inner.iter().for_each(|&n| p.walk(n, &mut problems));
        }
        p.walk(id, &mut problems);
    }
    for (i, o) in g.outputs.iter().enumerate() {
        p.out.place = match g.value(o.value).def {
            ValueDef::Node(n) => lane_of_node(n.0 as usize),
            _ => Lane::WHOLE,
        };
        if let Err(reason) = p.output(i, o.value) {
            let op = g.producer(o.value).map_or("output".to_string(), |n| n.op.name().to_string());
            let problem = p.named_problem(&o.name, &op, g.ty(o.value), reason);
            let node = match g.value(o.value).def {
                ValueDef::Node(n) => n,
                _ => NodeId(0),
            };
            problems.push((node, problem));
        }
    }
    p.out.prune();
    p.out.kernels.iter_mut().for_each(|k| crate::steps::clamp_before_rounding(&mut k.steps));
    p.out.drop_idle_steps();
    p.out.choose_formats();
    Partition { graph: p.out, problems }
}

impl Partitioner<'_> {
    fn named_problem(&self, name: &str, op: &str, ty: &quadrille_compiler::ir::TensorType, o: Obstacle) -> NodeProblem {
        let shape = ty.to_string();
        NodeProblem { node: name.to_string(), op: op.to_string(), shape, reason: o.reason, remedy: o.remedy }
    }

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

    /// A node, or what is in its way and one more input in its place.
    fn walk(&mut self, id: NodeId, problems: &mut Vec<(NodeId, NodeProblem)>) {
        let node = self.g.node(id);
        let source = match self.node(node) {
            Ok(s) => s,
            Err(o) => {
                problems.push((id, self.problem(node, o)));
                let shape = self.g.shape(node.output).to_vec();
                let layout = Some(Layout::row_major(&shape));
                let id = self.out.add_stream(Producer::Input(usize::MAX), shape, layout);
                Source::Stream { id, views: Vec::new(), solo: false }
            }
        };
        self.sources[node.output.0 as usize] = Some(source);
    }

    fn node(&mut self, node: &Node) -> Result<Source, Obstacle> {
        let constants: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| self.constant(v)).collect();
        if let Some(c) = constants {
            return eval_op(&node.op, &c)
                .map(Source::Constant)
                .map_err(|e| Obstacle::new(format!("a constant cannot be computed: {e}"), "check the model"));
        }
        let mut types = node.inputs.iter().map(|&v| self.g.ty(v)).chain([self.g.ty(node.output)]);
        // Views cost nothing in any lane; all else that is not f32 is for the general kernel.
        let float = types.all(|t| t.dtype == DType::F32);
        match &node.op {
            Op::Reshape { .. } => return self.view(node, None),
            Op::Broadcast { shape } if self.g.shape(node.inputs[0]) == shape => return self.view(node, None),
            Op::Transpose { perm } => {
                if let Ok(s) = self.view(node, Some(perm.clone())) {
                    return Ok(s);
                }
                return self.general(node);
            }
            Op::Cast(to) if self.cast_is_view(node, *to) => return self.view(node, None),
            _ if !float || self.prefers_fusion(node) => return self.general(node),
            _ => {}
        }
        match self.stream_kernel(node) {
            Ok(s) => Ok(s),
            // What was begun for it is pruned, as nobody reads it.
            Err(_) => self.general(node),
        }
    }

    /// A node by a kernel made for its operation, on streams of f32.
    fn stream_kernel(&mut self, node: &Node) -> Result<Source, Obstacle> {
        match &node.op {
            Op::Cast(_) => self.view(node, None),
            Op::Unary(u) => self.unary(node, *u),
            Op::Binary(b) => self.binary(node, *b),
            Op::Fma => self.fma(node),
            Op::Conv { window, groups, epilogue } => self.conv(node, window, *groups, epilogue),
            Op::Broadcast { shape } => self.enlarge(node, shape),
            Op::ConvTranspose { window, groups, extra } => self.conv_transpose(node, window, *groups, extra),
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

    /// `v` in any order: the one it has, or that of whoever reads what is made of it.
    fn any_order(&mut self, v: ValueId) -> Result<Operand, Obstacle> {
        let order = match (self.arrives(v)?, self.g.shape(v)) {
            (Some(l), _) => l,
            (None, &[n, c, h, w]) if self.goes_to_window(v) => Layout::image([n, c, h, w]),
            (None, shape) => Layout::row_major(shape),
        };
        self.want(v, &order)
    }

    /// True when elementwise nodes lead from `v` to a window over an image.
    fn goes_to_window(&self, v: ValueId) -> bool {
        let mut reached = vec![false; self.g.values().len()];
        reached[v.0 as usize] = true;
        self.g.nodes().iter().any(|n| {
            let reads = n.inputs.first().is_some_and(|i| reached[i.0 as usize]);
            match n.op {
                Op::Unary(_) | Op::Binary(_) | Op::Cast(_) => reached[n.output.0 as usize] = reads,
                _ => {}
            }
            reads && matches!(n.op, Op::Conv { .. } | Op::Pool { .. })
        })
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
        let d = self.g.ty(v).dtype;
        let source = self.sources[v.0 as usize].clone().ok_or_else(torn)?;
        if self.g.ty(v).elements() == 0 {
            return Ok(());
        }
        if !is_plain(d) || matches!(source, Source::Constant(_)) {
            let wide = matches!(d, DType::I64 | DType::U64);
            if wide && self.ranges[v.0 as usize].is_none() && !matches!(source, Source::Constant(_)) {
                return Err(Obstacle::new(
                    format!("a lane holds the low 32 bits of {d}, and nothing bounds the values"),
                    "use 32-bit integers",
                ));
            }
            let shape = self.g.shape(v).to_vec();
            let id = self.leave(&source, "output", d, &shape)?;
            self.out.streams[id.0].outputs.push(Exit { output: i, part: Part::whole(Layout::row_major(&shape)) });
            return Ok(());
        }
        let (id, views, _) = self.source(v)?;
        let (id, views) = match self.out.stream(id).producer {
            Producer::Kernel(_) => (id, views),
            // An input that is an output: a PE copies it.
            Producer::Input(_) | Producer::Gone => {
                let shape = self.g.shape(v).to_vec();
                let made = match d {
                    DType::F32 => {
                        let operand = self.any_order(v)?;
                        let core = Copy::new(&operand.layout);
                        self.out.add_kernel("output", Box::new(core), vec![operand], shape).1
                    }
                    _ => self.leave(&source, "output", d, &shape)?,
                };
                (made, Vec::new())
            }
        };
        let layout = self.out.stream(id).layout.clone().ok_or_else(torn)?;
        let at = through(&layout, &views).ok_or_else(torn)?;
        self.out.streams[id.0].outputs.push(Exit { output: i, part: Part::whole(at) });
        Ok(())
    }
}

/// The tensor of a type without elements.
fn empty(ty: &quadrille_compiler::ir::TensorType) -> Tensor {
    let none: Vec<u8> = Vec::new();
    Tensor::new(ty.dtype, ty.shape.clone(), none).unwrap_or_else(|_| Tensor::from_f32(&[0], &[]))
}

fn torn() -> Obstacle {
    Obstacle::new("a transpose tears apart a loop of the stream", "move the transpose to the model's input or output")
}

/// An order seen through transposes.
fn through(l: &Layout, views: &[View]) -> Option<Layout> {
    views.iter().try_fold(l.clone(), |l, (shape, perm)| {
        // Blocks that axes tear apart may be one loop together.
        let joined = || Layout { loops: l.normalized() };
        l.transposed(shape, perm).or_else(|| joined().transposed(shape, perm))
    })
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
