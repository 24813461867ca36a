//! Softmax(q k, scaled and masked) v as one kernel, when nothing else reads what lies between.

use super::{Obstacle, Partitioner, Source};
use crate::kernels::{Attention, Extents, Mask};
use crate::streams::Operand;
use quadrille_compiler::ir::{Binary, DType, EpilogueStep, Graph, Node, NodeId, Op, ValueDef, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of SRAM that a head may take beside its program.
const MOST: usize = 45056;

/// The nodes of one attention.
#[derive(Debug)]
pub(super) struct Found {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    scale: Option<ValueId>,
    mask: Option<ValueId>,
    /// All but the last, in order.
    pub(super) inner: Vec<NodeId>,
}

/// The attentions of a graph, by their last node.
pub(super) fn find(g: &Graph, uses: &[usize]) -> BTreeMap<NodeId, Found> {
    let nodes = g.nodes().iter().enumerate().map(|(i, n)| (NodeId(i as u32), n));
    nodes.filter_map(|(id, n)| Some((id, found(g, uses, n)?))).collect()
}

fn found(g: &Graph, uses: &[usize], last: &Node) -> Option<Found> {
    let plain = |n: &Node| matches!(&n.op, Op::MatMul { epilogue } if epilogue.is_empty());
    if !plain(last) {
        return None;
    }
    let mut inner = Vec::new();
    let mut made = |v: ValueId| -> Option<&Node> {
        let ValueDef::Node(id) = g.value(v).def else { return None };
        (uses[v.0 as usize] == 1 && g.ty(v).dtype == DType::F32).then(|| {
            inner.push(id);
            g.node(id)
        })
    };
    let mut at = made(last.inputs[0])?;
    let rank = g.shape(last.inputs[0]).len();
    if at.op != (Op::Softmax { axis: rank - 1 }) {
        return None;
    }
    at = made(at.inputs[0])?;
    let (mut scale, mut mask) = (None, None);
    if at.op == Op::Binary(Binary::Add) {
        let shape = g.shape(at.output);
        let scores = |v: ValueId| g.shape(v) == shape && matches!(g.value(v).def, ValueDef::Node(_));
        let x = at.inputs.iter().position(|&v| scores(v) && uses[v.0 as usize] == 1)?;
        mask = Some(at.inputs[1 - x]);
        at = made(at.inputs[x])?;
    }
    if at.op == Op::Binary(Binary::Mul) {
        let x = at.inputs.iter().position(|&v| g.constant(v).is_none())?;
        scale = Some(at.inputs[1 - x]);
        at = made(at.inputs[x])?;
    }
    match &at.op {
        Op::MatMul { epilogue } if epilogue.is_empty() => {}
        Op::MatMul { epilogue } if scale.is_none() && mask.is_none() => match epilogue[..] {
            [EpilogueStep::Mul] => scale = Some(at.inputs[2]),
            [EpilogueStep::Add] => mask = Some(at.inputs[2]),
            [EpilogueStep::Mul, EpilogueStep::Add] => (scale, mask) = (Some(at.inputs[2]), Some(at.inputs[3])),
            _ => return None,
        },
        Op::MatMul { epilogue } if scale.is_none() && epilogue[..] == [EpilogueStep::Mul] => scale = Some(at.inputs[2]),
        _ => return None,
    }
    let (q, k, v) = (at.inputs[0], at.inputs[1], last.inputs[1]);
    inner.reverse();
    Some(Found { q, k, v, scale, mask, inner })
}

impl Partitioner<'_> {
    /// The kernel of an attention.
    pub(super) fn attention(&mut self, node: &Node, f: &Found) -> Result<Source, Obstacle> {
        let no = |reason: &str| Obstacle::new(reason, "use --target tsp");
        let x = self.extents(f).ok_or_else(|| no("heads of these extents have no kernel of their own"))?;
        let scale = match f.scale {
            None => None,
            Some(v) => Some(self.constant_f32(v).filter(|c| c.len() == 1).ok_or_else(|| no("a scale for each score"))?[0]),
        };
        let mask = f.mask.map_or(Some(Mask::None), |m| self.mask(m, x)).ok_or_else(|| no("a mask of this shape"))?;
        let core = Attention::new(x, scale, mask.clone());
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

    /// Of an attention of one image, every head with keys and values of its own.
    fn extents(&self, f: &Found) -> Option<Extents> {
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
        (same && all_f32 && size.is_multiple_of(2) && rows > 1 && places > 1)
            .then_some(Extents { heads, rows, places, size })
    }

    /// The mask that a value is for scores of these extents.
    fn mask(&self, v: ValueId, x: Extents) -> Option<Mask> {
        let shape = self.g.shape(v);
        // Of heads, rows and places; what comes before has one element.
        let at = |back: usize| shape.len().checked_sub(back).map_or(1, |i| shape[i]);
        let (heads, rows, places) = (at(3), at(2), at(1));
        let elements: usize = shape.iter().product();
        let fits = |n: usize, all: usize| n == 1 || n == all;
        if elements != heads * rows * places || !fits(heads, x.heads) || !fits(rows, x.rows) || !fits(places, x.places) {
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
