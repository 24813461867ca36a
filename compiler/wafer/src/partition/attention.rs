//! Softmax(q k, scaled and masked) v as one kernel, when nothing else reads what lies between. Scores and weights may be
//! quantised, or worked on by whatever else is the same for each of them.

use super::{Obstacle, Partitioner, Source};
use crate::kernels::{Attention, Extents, Mask};
use crate::steps::{self, Arg, Step};
use crate::streams::Operand;
use quadrille_compiler::ir::{Binary, DType, EpilogueStep, Graph, Node, NodeId, Op, Reduce, Tensor, ValueDef, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of SRAM that a head may take beside its program.
const MOST: usize = 45056;

/// The nodes of one attention.
#[derive(Debug)]
pub(crate) struct Attended {
    pub(crate) q: ValueId,
    pub(crate) k: ValueId,
    pub(crate) v: ValueId,
    /// Of the product of queries and keys: by which scores are multiplied.
    scale: Option<ValueId>,
    /// What is done to each score before the mask is added, and to each weight, in order.
    on_scores: Vec<NodeId>,
    on_weights: Vec<NodeId>,
    mask: Option<ValueId>,
    /// What weights are where all scores are minus infinity.
    dead: Option<f32>,
    /// All but the last, in order.
    pub(crate) inner: Vec<NodeId>,
}

/// The attentions of a graph, by their last node.
pub(crate) fn attentions(g: &Graph, uses: &[usize]) -> BTreeMap<NodeId, Attended> {
    let nodes = g.nodes().iter().enumerate().map(|(i, n)| (NodeId(i as u32), n));
    nodes.filter_map(|(id, n)| Some((id, found(g, uses, n)?))).collect()
}

fn found(g: &Graph, uses: &[usize], last: &Node) -> Option<Attended> {
    let plain = |n: &Node| matches!(&n.op, Op::MatMul { epilogue } if epilogue.is_empty());
    if !plain(last) {
        return None;
    }
    let mut inner = Vec::new();
    let mut read = |v: ValueId, times: usize| -> Option<&Node> {
        let ValueDef::Node(id) = g.value(v).def else { return None };
        (uses[v.0 as usize] == times).then(|| {
            inner.push(id);
            g.node(id)
        })
    };
    let mut at = read(last.inputs[0], 1)?;
    let mut on_weights = Vec::new();
    while let Some(x) = on_one(g, at) {
        on_weights.push(at);
        at = read(x, 1)?;
    }
    let along = g.shape(last.inputs[0]).len() - 1;
    let mut dead = None;
    if at.op == Op::Select {
        // Rows of which everything is masked.
        let [empty, weights, softmax] = at.inputs[..] else { return None };
        let number = |v: ValueId| g.constant(v).and_then(Tensor::as_f32).filter(|c| c.len() == 1).map(|c| c[0]);
        let is_empty = read(empty, 1).filter(|n| n.op == Op::Binary(Binary::Eq))?;
        let max = read(is_empty.inputs[0], 1)?;
        let over = Op::Reduce { kind: Reduce::Max, axes: vec![along], keep: true };
        at = read(softmax, 1)?;
        if number(is_empty.inputs[1])? != f32::NEG_INFINITY || max.op != over || max.inputs[0] != at.inputs[0] {
            return None;
        }
        dead = Some(number(weights)?);
    }
    if at.op != (Op::Softmax { axis: along }) {
        return None;
    }
    at = read(at.inputs[0], 1 + usize::from(dead.is_some()))?;
    let (mut scale, mut mask, mut on_scores) = (None, None, Vec::new());
    if at.op == Op::Binary(Binary::Add) && on_one(g, at).is_none() {
        let shape = g.shape(at.output);
        let scores = |v: ValueId| g.shape(v) == shape && matches!(g.value(v).def, ValueDef::Node(_));
        let x = at.inputs.iter().position(|&v| scores(v) && uses[v.0 as usize] == 1)?;
        mask = Some(at.inputs[1 - x]);
        at = read(at.inputs[x], 1)?;
    }
    while let Some(x) = on_one(g, at) {
        on_scores.push(at);
        at = read(x, 1)?;
    }
    match &at.op {
        Op::MatMul { epilogue } if epilogue.is_empty() => {}
        Op::MatMul { epilogue } if epilogue[..] == [EpilogueStep::Mul] => scale = Some(at.inputs[2]),
        Op::MatMul { epilogue } if on_scores.is_empty() && mask.is_none() => match epilogue[..] {
            [EpilogueStep::Add] => mask = Some(at.inputs[2]),
            [EpilogueStep::Mul, EpilogueStep::Add] => (scale, mask) = (Some(at.inputs[2]), Some(at.inputs[3])),
            _ => return None,
        },
        _ => return None,
    }
    let (q, k, v) = (at.inputs[0], at.inputs[1], last.inputs[1]);
    inner.sort();
    let in_order = |nodes: Vec<&Node>| -> Vec<NodeId> {
        let id = |n: &Node| match g.value(n.output).def {
            ValueDef::Node(id) => Some(id),
            _ => None,
        };
        nodes.into_iter().rev().filter_map(id).collect()
    };
    let (on_scores, on_weights) = (in_order(on_scores), in_order(on_weights));
    Some(Attended { q, k, v, scale, on_scores, on_weights, mask, dead, inner })
}

/// The operand of a node that does the same to each of its elements, with no other operand but a number.
pub(crate) fn on_one(g: &Graph, node: &Node) -> Option<ValueId> {
    let number = |v: ValueId| g.constant(v).is_some_and(|t| t.shape.iter().product::<usize>() == 1);
    match (&node.op, &node.inputs[..]) {
        (Op::Unary(_) | Op::Cast(_), &[x]) => Some(x),
        (Op::Binary(_), &[x, y]) if number(y) && !number(x) => Some(x),
        (Op::Binary(_), &[x, y]) if number(x) && !number(y) => Some(y),
        _ => None,
    }
}

impl Partitioner<'_> {
    /// The kernel of an attention.
    pub(super) fn attention(&mut self, node: &Node, f: &Attended) -> Result<Source, Obstacle> {
        let no = |reason: &str| Obstacle::new(reason, "use --target tsp");
        let x = self.extents(f).ok_or_else(|| no("heads of these extents have no kernel of their own"))?;
        let number = |v: ValueId| self.constant_f32(v).filter(|c| c.len() == 1).map(|c| c[0]);
        let mut on_scores = Vec::new();
        if let Some(scale) = f.scale {
            let by = number(scale).ok_or_else(|| no("a scale for each score"))?;
            on_scores.extend(Step::binary(Binary::Mul, Arg::Imm(by), false));
        }
        let steps = |nodes: &[NodeId]| self.on_each(nodes).ok_or_else(|| no("an operation that no PE has"));
        on_scores.extend(steps(&f.on_scores)?);
        let mut on_weights = steps(&f.on_weights)?;
        [&mut on_scores, &mut on_weights].into_iter().for_each(steps::clamp_before_rounding);
        let mask = f.mask.map_or(Some(Mask::None), |m| self.mask(m, x)).ok_or_else(|| no("a mask of this shape"))?;
        let core = Attention::new(x, (on_scores, on_weights), mask.clone(), f.dead);
        if core.bytes() > MOST {
            return Err(no("a head's keys and values do not fit a PE"));
        }
        let streamed = matches!(mask, Mask::Once | Mask::EachRow);
        let operands = [f.q, f.k, f.v].into_iter().chain(f.mask.filter(|_| streamed));
        let mut inputs: Vec<Operand> = Vec::new();
        for (v, order) in operands.zip(core.orders()) {
            if self.arrives(v)?.is_some_and(|l| !l.same_order(&order)) {
                return Err(no("operands arrive in another order"));
            }
            let id = self.source(v)?.0;
            if inputs.iter().any(|o| o.stream == id) {
                return Err(no("two operands are one stream"));
            }
            let operand = self.want(v, &order)?;
            inputs.push(Operand { layout: order, ..operand });
        }
        Ok(self.add(node, Box::new(core), inputs).1)
    }

    /// Nodes that do the same to each element, as steps.
    fn on_each(&self, nodes: &[NodeId]) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        for &id in nodes {
            let node = self.g.node(id);
            match node.op {
                Op::Cast(to) => self.cast_is_view(node, to).then_some(())?,
                Op::Unary(u) => steps.push(Step::unary(u)?),
                Op::Binary(b) => {
                    let at = node.inputs.iter().position(|&v| self.constant(v).is_some())?;
                    let by = self.constant_f32(node.inputs[at])?;
                    steps.push(Step::binary(b, Arg::Imm(*by.first()?), at == 0)?);
                }
                _ => return None,
            }
        }
        Some(steps)
    }

    /// Of an attention of one image, every head with keys and values of its own.
    fn extents(&self, f: &Attended) -> Option<Extents> {
        let split = |v: ValueId| {
            let s = self.g.shape(v);
            let [lead @ .., a, b] = s else { return None };
            Some((lead.iter().product::<usize>(), lead.last().copied().unwrap_or(1), *a, *b))
        };
        let (heads, last, rows, size) = split(f.q)?;
        let (k, v) = (split(f.k)?, split(f.v)?);
        let places = k.3;
        let same = k == (heads, last, size, places) && v == (heads, last, places, size) && heads == last;
        let all_f32 = [f.q, f.k, f.v].iter().all(|&v| self.g.ty(v).dtype == DType::F32);
        (same && all_f32 && size.is_multiple_of(2) && rows > 1 && places > 1).then_some(Extents {
            heads,
            rows,
            places,
            size,
        })
    }

    /// The mask that a value is for scores of these extents.
    fn mask(&self, v: ValueId, x: Extents) -> Option<Mask> {
        let shape = self.g.shape(v);
        // Of heads, rows and places; what comes before has one element.
        let at = |back: usize| shape.len().checked_sub(back).map_or(1, |i| shape[i]);
        let (heads, rows, places) = (at(3), at(2), at(1));
        let elements: usize = shape.iter().product();
        let fits = |n: usize, all: usize| n == 1 || n == all;
        if elements != heads * rows * places || !fits(heads, x.heads) || !fits(rows, x.rows) || !fits(places, x.places)
        {
            return None;
        }
        let step = |n: usize, step: usize| if n == 1 { 0 } else { step };
        if let Some(data) = self.constant_f32(v) {
            let steps = [step(heads, rows * places), step(rows, places), step(places, 1)];
            return Some(Mask::Constant(Arc::clone(&data), steps));
        }
        match (heads, rows, places == x.places && self.g.ty(v).dtype == DType::F32) {
            (1, 1, true) => Some(Mask::Once),
            (1, _, true) => Some(Mask::EachRow),
            _ => None,
        }
    }
}
