//! The rows of a sequence in parts, each with kernels, rows of the mesh and ports of its own.
//!
//! ```text
//!  port, rows 0, 4, 8 ..  ====> norm ====> queries ====> attention ====> ...      keys and values of all parts
//!                                   \====> keys, values =\\                       go to every part
//!  port, rows 1, 5, 9 ..  ====> ..  \====> keys, values ==>==> attention of all parts
//! ```
//!
//! Products with constant matrices, norms and whatever else makes each row of one row is done on a part; the rest of the model
//! is done once, on all rows. Rows go round the parts, so that all parts are at work on their first rows at the same time.
//! A graph becomes another of more nodes with the same sums. Knows nothing of kernels.

use super::layout::{Layout, Loop, Part};
use super::streams::{Lane, Producer, WaferGraph};
use quadrille_compiler::ir::builder::live_nodes;
use quadrille_compiler::ir::eval::eval_op;
use quadrille_compiler::ir::{Graph, Node, Op, TensorType, ValueDef, ValueId};
use std::collections::BTreeMap;

/// Nodes on the way back to an input that are done in parts after they were done whole.
const DEEPEST: usize = 8;

/// Streams that one kernel joins.
const MOST: usize = crate::kernels::MAX_INPUTS;

/// What an input or output of the graph in parts is of the model's: which one, and if it is a part, the axis of the rows and
/// the number of the part.
type Edge = (usize, Option<(usize, usize)>);

/// A graph in parts.
pub(crate) struct InParts {
    pub(crate) graph: Graph,
    parts: usize,
    /// By node and by input: the part that it is done for.
    nodes: Vec<Option<usize>>,
    inputs: Vec<Edge>,
    outputs: Vec<Edge>,
}

/// Rows of the products with constant matrices, where those of so many rows do most of the model's work.
pub(crate) fn rows(g: &Graph) -> Option<usize> {
    let mut work: BTreeMap<usize, usize> = BTreeMap::new();
    let mut all = 0;
    for node in g.nodes() {
        let elements = |i: usize| g.ty(node.inputs[i]).elements();
        let macs = match &node.op {
            Op::MatMul { .. } => elements(0) * g.shape(node.inputs[1]).last().copied().unwrap_or(1),
            Op::Conv { .. } => g.ty(node.output).elements() * elements(1) / g.shape(node.inputs[1])[0].max(1),
            _ => 0,
        };
        all += macs;
        if let Some(rows) = dense_rows(g, node) {
            *work.entry(rows).or_default() += macs;
        }
    }
    let (rows, most) = work.into_iter().max_by_key(|&(_, n)| n)?;
    (rows > 1 && 2 * most > all).then_some(rows)
}

/// Rows of a product with one constant matrix.
fn dense_rows(g: &Graph, node: &Node) -> Option<usize> {
    let Op::MatMul { .. } = node.op else { return None };
    let [.., rows, _] = *g.shape(node.inputs[0]) else { return None };
    let one = g.shape(node.inputs[1]).iter().rev().skip(2).all(|&d| d == 1);
    (one && g.constant(node.inputs[1]).is_some()).then_some(rows)
}

/// The axis of a node's result that axis `a` of operand `i` becomes, when each row of the result is made of that row.
fn through(g: &Graph, node: &Node, i: usize, a: usize) -> Option<usize> {
    let (from, to) = (g.shape(node.inputs[i]), g.shape(node.output));
    let n = from[a];
    let aligned = || {
        let out = (a + to.len()).checked_sub(from.len())?;
        (to[out] == n).then_some(out)
    };
    match &node.op {
        Op::Unary(_) | Op::Cast(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Broadcast { .. } => aligned(),
        Op::MatMul { .. } if i == 0 => (a + 2 == from.len()).then(|| to.len() - 2),
        Op::MatMul { .. } if i > 1 => aligned().filter(|&out| out + 2 == to.len()),
        Op::Softmax { axis } => (a != *axis).then_some(a),
        Op::Norm { axes, .. } => (!axes.contains(&a)).then_some(a),
        Op::Reduce { axes, keep, .. } => {
            let gone = if *keep { 0 } else { axes.iter().filter(|&&x| x < a).count() };
            (!axes.contains(&a)).then(|| a - gone)
        }
        Op::Transpose { perm } => perm.iter().position(|&p| p == a),
        Op::Reshape { .. } => {
            let before: usize = from[..a].iter().product();
            (0..to.len()).find(|&b| to[b] == n && to[..b].iter().product::<usize>() == before)
        }
        Op::Slice { start, step, .. } => (start[a] == 0 && step[a] == 1 && to[a] == n).then_some(a),
        Op::Concat { axis } => (a != *axis).then_some(a),
        Op::Gather { axis } if i == 1 => Some(axis + a),
        Op::Pad { before, after, .. } if i == 0 => (before[a] == 0 && after[a] == 0).then_some(a),
        _ => None,
    }
}

/// The operation on a part of so many rows, along that axis of its result.
fn of_part(op: &Op, axis: usize, rows: usize) -> Op {
    let cut = |shape: &[usize]| {
        let mut shape = shape.to_vec();
        shape[axis] = rows;
        shape
    };
    match op {
        Op::Reshape { shape } => Op::Reshape { shape: cut(shape) },
        Op::Broadcast { shape } => Op::Broadcast { shape: cut(shape) },
        Op::Slice { start, step, shape } => Op::Slice { start: start.clone(), step: step.clone(), shape: cut(shape) },
        op => op.clone(),
    }
}

/// The model with its rows in so many parts; `None` where there is nothing to part.
pub(crate) fn in_parts(g: &Graph, parts: usize) -> Option<InParts> {
    let all = rows(g).filter(|n| n.is_multiple_of(parts))?;
    let mut w = Weaver {
        old: g,
        new: Graph::new(g.name.clone()),
        parts,
        all,
        live: live_nodes(g),
        whole: vec![None; g.values().len()],
        cut: vec![None; g.values().len()],
        sliced: BTreeMap::new(),
        wanted: Vec::new(),
        nodes: Vec::new(),
        inputs: Vec::new(),
    };
    g.origins().iter().for_each(|o| _ = w.new.push_origin(o.name.clone()));
    w.wanted = w.wanted();
    for (i, &v) in g.inputs.iter().enumerate() {
        if let Some(axis) = w.wanted[v.0 as usize] {
            w.input(i, v, axis);
        }
    }
    let mut any = false;
    for (i, node) in g.nodes().iter().enumerate() {
        if w.live[i] {
            any |= w.node(node)?;
        }
    }
    let mut outputs = Vec::new();
    for (i, o) in g.outputs.iter().enumerate() {
        let v = o.value.0 as usize;
        match (w.whole[v], w.cut[v].clone()) {
            (None, Some((axis, some))) => {
                for (p, v) in some.into_iter().enumerate() {
                    w.new.add_output(format!("{}#{p}", o.name), v);
                    outputs.push((i, Some((axis, p))));
                }
            }
            _ => {
                let v = w.whole(o.value)?;
                w.new.add_output(o.name.clone(), v);
                outputs.push((i, None));
            }
        }
    }
    any.then_some(InParts { graph: w.new, parts, nodes: w.nodes, inputs: w.inputs, outputs })
}

/// A graph in parts while it is made.
struct Weaver<'a> {
    old: &'a Graph,
    new: Graph,
    parts: usize,
    /// Rows of the sequence.
    all: usize,
    live: Vec<bool>,
    /// By old value: all of it, and its parts along an axis.
    whole: Vec<Option<ValueId>>,
    cut: Vec<Option<(usize, Vec<ValueId>)>>,
    /// Parts taken out of what is there whole: by old value, axis and part.
    sliced: BTreeMap<(ValueId, usize, usize), ValueId>,
    /// The axis of each value that its readers want in parts.
    wanted: Vec<Option<usize>>,
    nodes: Vec<Option<usize>>,
    inputs: Vec<Edge>,
}

impl Weaver<'_> {
    /// The axis of each value that its readers want in parts.
    fn wanted(&self) -> Vec<Option<usize>> {
        let g = self.old;
        let mut wanted: Vec<Option<usize>> = vec![None; g.values().len()];
        let live = g.nodes().iter().zip(&self.live).rev().filter(|(_, live)| **live);
        for (node, _) in live {
            if dense_rows(g, node) == Some(self.all) {
                let x = node.inputs[0];
                wanted[x.0 as usize].get_or_insert(g.shape(x).len() - 2);
            }
            let Some(out) = wanted[node.output.0 as usize] else { continue };
            for (i, v) in node.inputs.iter().enumerate() {
                if let Some(a) = self.from(node, i, out) {
                    wanted[v.0 as usize].get_or_insert(a);
                }
            }
        }
        wanted
    }

    /// The axis of operand `i` that axis `out` of the result is made from.
    fn from(&self, node: &Node, i: usize, out: usize) -> Option<usize> {
        let shape = self.old.shape(node.inputs[i]);
        (0..shape.len()).find(|&a| shape[a] == self.all && through(self.old, node, i, a) == Some(out))
    }

    fn input(&mut self, i: usize, v: ValueId, axis: usize) {
        let (value, mut shape) = (self.old.value(v), self.old.shape(v).to_vec());
        shape[axis] = self.all / self.parts;
        let mut some = Vec::new();
        for p in 0..self.parts {
            let ty = TensorType::new(value.ty.dtype, shape.clone());
            some.push(self.new.add_input(format!("{}#{p}", value.name), ty));
            self.inputs.push((i, Some((axis, p))));
        }
        self.cut[v.0 as usize] = Some((axis, some));
    }

    /// A node on parts, or on whole operands; true for parts.
    fn node(&mut self, node: &Node) -> Option<bool> {
        let cut = |i: usize| self.cut[node.inputs[i].0 as usize].as_ref().map(|c| c.0);
        let rows = |i: usize| cut(i).and_then(|a| through(self.old, node, i, a));
        let dense = || {
            let constant = |v: &ValueId| self.old.constant(*v).is_some();
            let known = node.inputs.first().is_some_and(constant);
            (!known && dense_rows(self.old, node) == Some(self.all)).then(|| self.old.shape(node.output).len() - 2)
        };
        let Some(out) = (0..node.inputs.len()).find_map(rows).or_else(dense).or_else(|| self.begins(node)) else {
            // What is made of constants alone, or of whole values.
            let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| self.whole(v)).collect::<Option<_>>()?;
            self.whole[node.output.0 as usize] = Some(self.add(node.op.clone(), &inputs, node, None)?);
            return Some(false);
        };
        self.on_parts(node, out)?;
        Some(true)
    }

    /// The axis of a node's result along which it is done on parts, where its operands are there whole: those who read it want it
    /// so, and rows are made of rows.
    fn begins(&self, node: &Node) -> Option<usize> {
        let out = self.wanted[node.output.0 as usize]?;
        let of_rows = |i: usize| self.old.constant(node.inputs[i]).is_none() && self.from(node, i, out).is_some();
        (0..node.inputs.len()).any(of_rows).then_some(out)
    }

    /// A node on parts, along that axis of its result.
    fn on_parts(&mut self, node: &Node, out: usize) -> Option<()> {
        let op = of_part(&node.op, out, self.all / self.parts);
        for (i, &v) in node.inputs.iter().enumerate() {
            if let Some(axis) = self.from(node, i, out) {
                self.cut_again(v, axis, DEEPEST);
            }
        }
        let mut some = Vec::new();
        for p in 0..self.parts {
            let inputs = (0..node.inputs.len()).map(|i| self.operand(node, i, out, p));
            let inputs: Vec<ValueId> = inputs.collect::<Option<_>>()?;
            some.push(self.add(op.clone(), &inputs, node, Some(p))?);
        }
        self.cut[node.output.0 as usize] = Some((out, some));
        Some(())
    }

    /// Parts of what was made whole, where that is elementwise work on inputs of the model: cheaper done twice than sliced.
    fn cut_again(&mut self, v: ValueId, axis: usize, deepest: usize) -> Option<()> {
        if self.cut[v.0 as usize].is_some() || self.old.constant(v).is_some() {
            return Some(());
        }
        match &self.old.value(v).def {
            ValueDef::Const(_) => {}
            ValueDef::Input(i) => self.input(*i as usize, v, axis),
            ValueDef::Node(n) => {
                let node = self.old.node(*n);
                let light = matches!(
                    &node.op,
                    Op::Unary(_)
                        | Op::Binary(_)
                        | Op::Cast(_)
                        | Op::Select
                        | Op::Fma
                        | Op::Broadcast { .. }
                        | Op::Reshape { .. }
                        | Op::Transpose { .. }
                );
                if !light || deepest == 0 {
                    return None;
                }
                for (i, &x) in node.inputs.iter().enumerate() {
                    if let Some(a) = self.from(node, i, axis) {
                        self.cut_again(x, a, deepest - 1)?;
                    }
                }
                self.on_parts(node, axis)?;
            }
        }
        Some(())
    }

    fn add(&mut self, op: Op, inputs: &[ValueId], behalf: &Node, part: Option<usize>) -> Option<ValueId> {
        let v = self.new.add_node(op, inputs, behalf.origin).ok()?;
        self.nodes.push(part);
        Some(v)
    }

    /// What part `p` of a node takes of operand `i`: those rows of it, or all where it has none of its own for them.
    fn operand(&mut self, node: &Node, i: usize, out: usize, p: usize) -> Option<ValueId> {
        let v = node.inputs[i];
        let Some(axis) = self.from(node, i, out) else { return self.whole(v) };
        if let Some((a, some)) = &self.cut[v.0 as usize]
            && *a == axis
        {
            return Some(some[p]);
        }
        let shape = self.old.shape(v);
        let (mut start, mut step, mut cut) = (vec![0; shape.len()], vec![1; shape.len()], shape.to_vec());
        (start[axis], step[axis], cut[axis]) = (p, self.parts as isize, self.all / self.parts);
        let slice = Op::Slice { start, step, shape: cut };
        if let Some(t) = self.old.constant(v) {
            let t = eval_op(&slice, &[t]).ok()?;
            return Some(self.new.add_const(self.old.value(v).name.clone(), t));
        }
        if let Some(&part) = self.sliced.get(&(v, axis, p)) {
            return Some(part);
        }
        let whole = self.whole(v)?;
        let part = self.add(slice, &[whole], node, Some(p))?;
        self.sliced.insert((v, axis, p), part);
        Some(part)
    }

    /// All rows of a value.
    fn whole(&mut self, v: ValueId) -> Option<ValueId> {
        if let Some(w) = self.whole[v.0 as usize] {
            return Some(w);
        }
        let value = self.old.value(v);
        let made = match &value.def {
            ValueDef::Const(t) => self.new.add_const(value.name.clone(), t.clone()),
            ValueDef::Input(i) => {
                self.inputs.push((*i as usize, None));
                self.new.add_input(value.name.clone(), value.ty.clone())
            }
            ValueDef::Node(n) => {
                let node = self.old.node(*n);
                match &node.op {
                    // Views cost nothing on streams of all rows.
                    Op::Reshape { .. } | Op::Transpose { .. } => {
                        let x = self.whole(node.inputs[0])?;
                        self.add(node.op.clone(), &[x], node, None)?
                    }
                    _ => self.joined(v, node)?,
                }
            }
        };
        self.whole[v.0 as usize] = Some(made);
        Some(made)
    }

    /// The rows of all parts in their order: one of each part, then the next of each. They come row by row, whatever axis theirs
    /// is: for that it is seen as the first.
    fn joined(&mut self, v: ValueId, node: &Node) -> Option<ValueId> {
        let (axis, some) = self.cut[v.0 as usize].clone()?;
        let shape = self.old.shape(v).to_vec();
        let others = (0..shape.len()).filter(|&a| a != axis);
        // Behind axes of one element it is the first as it is.
        let first: Vec<usize> = match shape[..axis].iter().product() {
            1 => (0..shape.len()).collect(),
            _ => [axis].into_iter().chain(others).collect(),
        };
        let turned = |w: &mut Self, v: ValueId, perm: Vec<usize>| match perm.is_sorted() {
            true => Some(v),
            false => w.add(Op::Transpose { perm }, &[v], node, None),
        };
        let inner = shape.iter().product::<usize>() / self.all;
        let mut open = Vec::new();
        for part in some {
            let rows = turned(self, part, first.clone())?;
            let shape = vec![self.all / self.parts, 1, inner];
            open.push((self.add(Op::Reshape { shape }, &[rows], node, None)?, 1));
        }
        while open.len() > 1 {
            let mut next = Vec::new();
            for group in open.chunks(MOST) {
                let (values, counts): (Vec<ValueId>, Vec<usize>) = group.iter().copied().unzip();
                let v = match values[..] {
                    [one] => one,
                    _ => self.add(Op::Concat { axis: 1 }, &values, node, None)?,
                };
                next.push((v, counts.iter().sum()));
            }
            open = next;
        }
        let by_rows = first.iter().map(|&a| shape[a]).collect();
        let rows = self.add(Op::Reshape { shape: by_rows }, &[open.first()?.0], node, None)?;
        let back = (0..shape.len()).filter_map(|a| first.iter().position(|&f| f == a)).collect();
        turned(self, rows, back)
    }
}

impl InParts {
    /// Where a node's kernels lie.
    pub(crate) fn lane_of_node(&self, node: usize) -> Lane {
        self.lane(self.nodes.get(node).copied().flatten())
    }

    /// Where the kernels of an input lie.
    pub(crate) fn lane_of_input(&self, input: usize) -> Lane {
        self.lane(self.inputs.get(input).and_then(|e| e.1).map(|(_, p)| p))
    }

    fn lane(&self, part: Option<usize>) -> Lane {
        part.map_or(Lane::WHOLE, |index| Lane { index, of: self.parts })
    }

    /// Makes streams of the graph's inputs and outputs those of the model's, whose shapes are given, and notes which kernels of
    /// other parts are like those of the first.
    pub(crate) fn restore(&self, g: &mut WaferGraph, inputs: &[Vec<usize>], outputs: &[Vec<usize>]) -> Option<()> {
        for s in &mut g.streams {
            if let Producer::Input(i) = s.producer
                && let Some(&(of, place)) = self.inputs.get(i)
            {
                s.producer = Producer::Input(of);
                if let (Some(place), Some(l)) = (place, &s.layout) {
                    let part = s.part.take().unwrap_or_else(|| Part::whole(l.clone()));
                    s.part = Some(self.within(&part, &inputs[of], place)?);
                }
            }
            for e in &mut s.outputs {
                let (of, place) = self.outputs[e.output];
                e.output = of;
                if let Some(place) = place {
                    e.part = self.within(&e.part, &outputs[of], place)?;
                }
            }
        }
        let mut seen = vec![BTreeMap::new(); self.parts];
        let mut firsts = BTreeMap::new();
        for i in 0..g.kernels.len() {
            let k = &g.kernels[i];
            let Lane { index, of } = k.lane;
            if of != self.parts || of == 1 {
                continue;
            }
            let key = (k.names[0].clone(), k.core.op(), k.core.describe());
            let nth = seen[index].entry(key.clone()).or_insert(0usize);
            let key = (key, *nth);
            *nth += 1;
            match index {
                0 => _ = firsts.insert(key, super::streams::KernelId(i)),
                _ => g.kernels[i].twin = firsts.get(&key).copied().filter(|f| f.0 < i),
            }
        }
        Some(())
    }

    /// Elements of a part of a tensor as elements of the tensor, of that shape.
    fn within(&self, part: &Part, shape: &[usize], (axis, p): (usize, usize)) -> Option<Part> {
        let (inner, rows): (usize, usize) = (shape[axis + 1..].iter().product(), shape[axis] / self.parts);
        let mut own = shape.to_vec();
        own[axis] = rows;
        let identity: Vec<usize> = (0..own.len()).collect();
        let split = Layout { loops: part.layout.normalized() }.transposed(&own, &identity)?;
        // A step along the rows or outside of them goes over those of all parts.
        let far = |step: usize| if step >= inner { step * self.parts } else { step };
        let loops = split.loops.iter().map(|l| Loop { count: l.count, step: far(l.step) }).collect();
        let first = part.first / inner * inner * self.parts + p * inner + part.first % inner;
        Some(Part { first, layout: Layout { loops }, upward: part.upward })
    }
}
