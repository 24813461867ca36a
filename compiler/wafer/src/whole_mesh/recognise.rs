//! Which nodes of a graph are one attention over a growing cache, and which a rotary embedding.
//!
//! Patterns are found by what they compute, not by name: the way from the cache to an operand of a product is
//! followed element by element, so any chain of reshapes, transposes and expansions that gives each query head its
//! key head is taken.

use super::lookup::{self, Row};
use super::position::{self, Pos};
use crate::{CompileError, NodeProblem};
use quadrille_compiler::ir::{Binary, Graph, Node, NodeId, Op, Unary, ValueDef, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Keys or values: those of past positions, a graph input, and the new one after them or in its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Cache {
    /// Position of the graph input.
    pub(super) past: usize,
    pub(super) new: ValueId,
    /// Past and new.
    pub(super) whole: ValueId,
    /// Where the new one goes; none when it is appended.
    pub(super) here: Option<Pos>,
}

/// softmax(q k scale + mask) v, for one token.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub(super) q: ValueId,
    pub(super) keys: Cache,
    pub(super) values: Cache,
    pub(super) scale: f32,
    /// What is added to the scores of each position.
    pub(super) mask: Option<Pos>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
    /// Positions, the new one included.
    pub(super) positions: usize,
}

/// x cos + turned x sin, by halves of a head.
#[derive(Clone, Debug)]
pub(super) struct Rope {
    pub(super) x: ValueId,
    pub(super) width: usize,
    pub(super) cos: Factor,
    /// With the sign of the turned half.
    pub(super) sin: Factor,
}

/// A value for each element of a head.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    Constant(Vec<f32>),
    /// Of the token's place.
    Row(Row),
}

impl Factor {
    /// By element, all rows.
    fn values(&mut self) -> &mut Vec<f32> {
        match self {
            Factor::Constant(v) => v,
            Factor::Row(r) => &mut r.table,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By result.
    pub(super) attentions: BTreeMap<ValueId, Attention>,
    /// By result.
    pub(super) ropes: BTreeMap<ValueId, Rope>,
    /// Nodes that are parts of these.
    pub(super) inner: BTreeSet<NodeId>,
}

pub(super) fn refuse(g: &Graph, node: &Node, reason: impl Into<String>, remedy: impl Into<String>) -> CompileError {
    let ty = |v: &ValueId| format!("{}{:?}", g.ty(*v).dtype, g.shape(*v));
    let operands: Vec<String> = node.inputs.iter().map(ty).collect();
    let shape = format!("{} -> {}", operands.join(", "), ty(&node.output));
    let problem = NodeProblem {
        node: g.origin_name(node).to_string(),
        op: node.op.name().to_string(),
        shape,
        reason: reason.into(),
        remedy: remedy.into(),
    };
    problem.into()
}

/// For what no grid would help.
pub(super) const REMEDY: &str = "compile the model as a pipeline";

/// The operand behind nodes that keep the row-major order of elements.
pub(super) fn behind_views(g: &Graph, mut v: ValueId) -> ValueId {
    while let Some(n) = g.producer(v) {
        if !keeps_order(g, n) {
            break;
        }
        v = n.inputs[0];
    }
    v
}

/// True for reshapes, and for transposes that move extents of one alone.
pub(super) fn keeps_order(g: &Graph, n: &Node) -> bool {
    match &n.op {
        Op::Reshape { .. } => true,
        Op::Transpose { perm } => {
            let shape = g.shape(n.inputs[0]);
            let wide: Vec<usize> = perm.iter().copied().filter(|&a| shape[a] != 1).collect();
            wide.is_sorted()
        }
        Op::Broadcast { shape } => shape.iter().product::<usize>() == g.ty(n.inputs[0]).elements(),
        _ => false,
    }
}

/// A constant's values as f32.
pub(super) fn constant(g: &Graph, v: ValueId) -> Option<Vec<f32>> {
    use quadrille_compiler::ir::DType;
    let t = g.constant(v)?;
    match t.dtype {
        DType::F32 => t.as_f32(),
        DType::F16 => {
            let half = |c: &[u8]| quadrille_isa::numerics::f16_to_f32(u16::from_le_bytes([c[0], c[1]]));
            Some(t.data.chunks_exact(2).map(half).collect())
        }
        _ => None,
    }
}

/// The one value of a constant.
pub(super) fn scalar(g: &Graph, v: ValueId) -> Option<f32> {
    (g.ty(v).elements() == 1).then(|| constant(g, v)?.first().copied()).flatten()
}

/// Finds all patterns.
pub(super) fn recognise(g: &Graph) -> Result<Found, CompileError> {
    let mut found = Found::default();
    for n in g.nodes() {
        match n.op {
            Op::Softmax { axis } => {
                let out = mixed(g, n);
                let Some((mix, out)) = out.filter(|_| axis + 1 == g.shape(n.output).len()) else {
                    return Err(refuse(g, n, "it is no attention over the last axis times values", REMEDY));
                };
                let (a, inner) = attention(g, n, mix)?;
                found.inner.extend(inner);
                found.attentions.insert(out, a);
            }
            Op::Binary(Binary::Add) => {
                if let Some((rope, inner)) = rope(g, n) {
                    found.inner.extend(inner);
                    found.ropes.insert(n.output, rope);
                }
            }
            _ => {}
        }
    }
    // What is computed for each position, and looked-up rows, are parts of what reads them.
    let lookups = |n: &&Node| lookup::row(g, n.output).is_some_and(|r| r.width * 2 <= r.table.len());
    let lengths: BTreeSet<usize> = found.attentions.values().map(|a| a.positions).collect();
    for (i, n) in g.nodes().iter().enumerate() {
        let of_positions =
            lengths.iter().any(|&p| position::expression(g, n.output, p).is_some() && reads_whole_numbers(g, n.output));
        let head = found.ropes.values().any(|r| r.reads(g, n.output));
        if of_positions || lookups(&n) && head {
            found.inner.insert(NodeId(i as u32));
        }
    }
    Ok(found)
}

/// True when a scalar input of whole numbers is behind a value.
fn reads_whole_numbers(g: &Graph, v: ValueId) -> bool {
    match g.producer(v) {
        Some(n) => n.inputs.iter().any(|&v| reads_whole_numbers(g, v)),
        None => matches!(g.value(v).def, ValueDef::Input(_)) && !g.ty(v).dtype.is_float(),
    }
}

impl Rope {
    /// True when one of its factors is a looked-up row with this value.
    fn reads(&self, g: &Graph, v: ValueId) -> bool {
        let Some(row) = lookup::row(g, v) else { return false };
        [&self.cos, &self.sin]
            .into_iter()
            .any(|f| matches!(f, Factor::Row(r) if r.input == row.input && r.width == row.width))
    }
}

/// The only reader of a value.
fn reader(g: &Graph, v: ValueId) -> Option<&Node> {
    let mut readers = g.nodes().iter().filter(|n| n.inputs.contains(&v));
    let first = readers.next()?;
    (readers.next().is_none() && g.outputs.iter().all(|o| o.value != v)).then_some(first)
}

/// The product that reads a softmax, and its result.
fn mixed<'a>(g: &'a Graph, softmax: &Node) -> Option<(&'a Node, ValueId)> {
    let mut v = softmax.output;
    loop {
        let n = reader(g, v)?;
        match n.op {
            Op::MatMul { ref epilogue } if epilogue.is_empty() && n.inputs[0] == v => return Some((n, n.output)),
            Op::Cast(_) => v = n.output,
            _ => return None,
        }
    }
}

fn id(g: &Graph, v: ValueId) -> Option<NodeId> {
    match g.value(v).def {
        ValueDef::Node(n) => Some(n),
        _ => None,
    }
}

fn attention(g: &Graph, softmax: &Node, mix: &Node) -> Result<(Attention, BTreeSet<NodeId>), CompileError> {
    let mut inner: BTreeSet<NodeId> = id(g, softmax.output).into_iter().collect();
    let bad = |n: &Node, reason: &str| refuse(g, n, reason, REMEDY);
    let (mut scale, mut mask) = (1f32, None);
    let mut v = softmax.inputs[0];
    // From the softmax up to the product of queries and keys.
    let scores = loop {
        let Some(n) = g.producer(v) else { return Err(bad(softmax, "its operand is no product of queries and keys")) };
        inner.extend(id(g, v));
        let dynamic = |at: usize| g.constant(n.inputs[at]).is_none();
        match n.op {
            Op::MatMul { ref epilogue } if epilogue.is_empty() => break n,
            Op::Cast(_) => v = n.inputs[0],
            Op::Binary(Binary::Mul) if scalar(g, n.inputs[1]).is_some() => {
                scale *= scalar(g, n.inputs[1]).unwrap_or(1.0);
                v = n.inputs[0];
            }
            Op::Binary(Binary::Mul) if scalar(g, n.inputs[0]).is_some() => {
                scale *= scalar(g, n.inputs[0]).unwrap_or(1.0);
                v = n.inputs[1];
            }
            Op::Binary(Binary::Div) if scalar(g, n.inputs[1]).is_some() => {
                scale /= scalar(g, n.inputs[1]).unwrap_or(1.0);
                v = n.inputs[0];
            }
            // Before the scale is seen, so the mask is added to scaled scores.
            Op::Binary(Binary::Add) if scale == 1.0 && mask.is_none() => {
                let whole = |at: usize| g.ty(n.inputs[at]).elements() == g.ty(n.output).elements();
                let is_mask = |at: usize| !dynamic(at) || !whole(at);
                let (x, m) = if is_mask(1) || !is_mask(0) { (0, 1) } else { (1, 0) };
                let positions = g.shape(n.output).last().copied().unwrap_or(0);
                let last = g.shape(n.inputs[m]).last() == Some(&positions);
                mask = position::expression(g, n.inputs[m], positions).filter(|_| last);
                if mask.is_none() {
                    return Err(bad(n, "the mask is not computed from the token's place alone, a value a position"));
                }
                v = n.inputs[x];
            }
            _ => return Err(bad(n, "between the scores and their softmax only a scale and a mask are known")),
        }
    };
    let shape = g.shape(scores.inputs[0]);
    let [1, heads, 1, width] = shape[..] else {
        return Err(bad(scores, "queries are not [1, heads, 1, width]: one token at a time"));
    };
    let positions = g.shape(scores.output)[3];
    let cast_free = |mut v: ValueId| {
        while let Some(n) = g.producer(v).filter(|n| matches!(n.op, Op::Cast(_)) || keeps_order(g, n)) {
            v = n.inputs[0];
        }
        v
    };
    let q = cast_free(scores.inputs[0]);
    let dims = [heads, width, positions];
    let keys = cache(g, scores, dims, true, &mut inner)?;
    let values = cache(g, mix, dims, false, &mut inner)?;
    let kv_heads = g.shape(keys.whole)[1];
    let products = g.ty(scores.output).elements() == heads * positions && g.ty(mix.output).elements() == heads * width;
    if width % 2 == 1
        || width == 0
        || !products
        || g.shape(values.whole)[3] != width
        || g.shape(values.whole)[1] != kv_heads
    {
        return Err(bad(scores, "heads of queries, keys and values differ, or their width is odd"));
    }
    Ok((Attention { q, keys, values, scale, mask, heads, kv_heads, width, positions }, inner))
}

/// Follows the second operand of a product back to past and new positions.
fn cache(
    g: &Graph,
    product: &Node,
    [heads, width, positions]: [usize; 3],
    is_key: bool,
    inner: &mut BTreeSet<NodeId>,
) -> Result<Cache, CompileError> {
    let mut chain = Vec::new();
    let mut v = product.inputs[1];
    let whole = loop {
        let Some(n) = g.producer(v) else {
            return Err(refuse(g, product, "keys or values are not past ones with one more after them", REMEDY));
        };
        inner.extend(id(g, v));
        match n.op {
            Op::Concat { .. } | Op::Binary(Binary::Add) => break n,
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Cast(_) => chain.push(n),
            _ => {
                let reason =
                    "keys and values must be a graph input with this token's appended, or written in its place";
                return Err(refuse(g, n, reason, "export the model with a growing cache (past and present)"));
            }
        }
        v = n.inputs[0];
    };
    let (past, new, here) = match (&whole.op, &whole.inputs[..]) {
        (Op::Concat { axis: 2 }, [past, new]) if g.shape(*new).len() == 4 && g.shape(*new)[2] == 1 => {
            (*past, *new, None)
        }
        (Op::Binary(_), _) => {
            let Some((past, new, here, parts)) = written(g, whole, positions) else {
                let reason = "it is not the past with one position replaced: past * (1 - here) + new * here";
                return Err(refuse(g, whole, reason, REMEDY));
            };
            inner.extend(parts);
            (past, new, Some(here))
        }
        _ => return Err(refuse(g, whole, "it does not append one position along axis 2", REMEDY)),
    };
    let mut input = past;
    while let Some(n) = g.producer(input).filter(|n| matches!(n.op, Op::Cast(_))) {
        inner.extend(id(g, input));
        input = n.inputs[0];
    }
    let ValueDef::Input(past) = g.value(input).def else {
        return Err(refuse(g, whole, "the past positions are no input of the model", REMEDY));
    };
    let shape = g.shape(whole.output);
    let fits = matches!(shape[..], [1, kv, s, w] if kv > 0 && heads.is_multiple_of(kv) && (s, w) == (positions, width));
    if !fits {
        return Err(refuse(g, whole, "caches are not [1, heads, positions, width]", REMEDY));
    }
    // Where every element of the operand comes from.
    let mut from: Vec<u32> = (0..g.ty(whole.output).elements() as u32).collect();
    for n in chain.iter().rev() {
        from = moved(g, n, from);
    }
    let reps = heads / shape[1];
    let is_right = from.iter().enumerate().all(|(i, &f)| {
        let (h, rest) = (i / (width * positions), i % (width * positions));
        let (s, d) = if is_key { (rest % positions, rest / positions) } else { (rest / width, rest % width) };
        f as usize == (h / reps * positions + s) * width + d
    });
    if from.len() != heads * width * positions || !is_right {
        return Err(refuse(g, product, "its operand is not the cache with each head for its queries in turn", REMEDY));
    }
    Ok(Cache { past: past as usize, new, whole: whole.output, here })
}

/// A cache with a position replaced: past, new, where, and the nodes between.
fn written(g: &Graph, add: &Node, positions: usize) -> Option<(ValueId, ValueId, Pos, Vec<NodeId>)> {
    let side = |at: usize| {
        let n = g.producer(add.inputs[at]).filter(|n| n.op == Op::Binary(Binary::Mul))?;
        // One value a position along axis 2.
        let along = |v: &ValueId| {
            let s = g.shape(*v);
            s.len() >= 2 && s[s.len() - 2] == positions && g.ty(*v).elements() == positions
        };
        let e = n.inputs.iter().position(along)?;
        Some((n.inputs[1 - e], position::expression(g, n.inputs[e], positions)?))
    };
    let parts: Vec<NodeId> = add.inputs.iter().filter_map(|&v| id(g, v)).collect();
    for (a, b) in [(0, 1), (1, 0)] {
        let ((past, keep), (new, here)) = (side(a)?, side(b)?);
        let one = g.shape(new).len() == 4 && g.shape(new)[2] == 1;
        if one && g.shape(past) == g.shape(add.output) && here.chooses(&keep, positions) {
            return Some((past, new, here, parts));
        }
    }
    None
}

/// Element numbers behind a node that only moves elements.
fn moved(g: &Graph, n: &Node, from: Vec<u32>) -> Vec<u32> {
    let before = g.shape(n.inputs[0]);
    let after = g.shape(n.output);
    let strides = crate::layout::strides(before);
    let step: Vec<usize> = match &n.op {
        Op::Transpose { perm } => perm.iter().map(|&a| strides[a]).collect(),
        Op::Broadcast { .. } => {
            let lead = after.len() - before.len();
            (0..after.len()).map(|i| if i < lead || before[i - lead] == 1 { 0 } else { strides[i - lead] }).collect()
        }
        _ => return from,
    };
    let mut out = Vec::with_capacity(g.ty(n.output).elements());
    let mut digits = vec![0usize; after.len()];
    let mut at = 0;
    for _ in 0..g.ty(n.output).elements() {
        out.push(from[at]);
        for i in (0..after.len()).rev() {
            digits[i] += 1;
            at += step[i];
            if digits[i] < after[i] {
                break;
            }
            at -= step[i] * after[i];
            digits[i] = 0;
        }
    }
    out
}

/// A product of a value and a constant of one head's width: value and constant.
fn times(g: &Graph, v: ValueId) -> Option<(ValueId, Factor)> {
    let n = g.producer(v)?;
    if n.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let width = *g.shape(n.output).last()?;
    let table = |at: usize| match constant(g, n.inputs[at]) {
        Some(c) => (c.len() == width).then_some(Factor::Constant(c)),
        None => lookup::row(g, behind_views(g, n.inputs[at])).filter(|r| r.width == width).map(Factor::Row),
    };
    match (table(0), table(1)) {
        (None, Some(t)) => Some((n.inputs[0], t)),
        (Some(t), None) => Some((n.inputs[1], t)),
        _ => None,
    }
}

/// One half of the last axis of a value: value and whether it is the first.
fn half(g: &Graph, v: ValueId) -> Option<(ValueId, bool, f32, Vec<NodeId>)> {
    let n = g.producer(v)?;
    let mut inner: Vec<NodeId> = id(g, v).into_iter().collect();
    match &n.op {
        Op::Unary(Unary::Neg) => {
            let (x, first, sign, more) = half(g, n.inputs[0])?;
            inner.extend(more);
            Some((x, first, -sign, inner))
        }
        Op::Slice { start, step, shape } => {
            let full = g.shape(n.inputs[0]);
            let last = full.len() - 1;
            let rest = (0..last).all(|i| start[i] == 0 && shape[i] == full[i]);
            let halves = full[last].is_multiple_of(2) && shape[last] == full[last] / 2;
            let begins = start[last] == 0 || start[last] == full[last] / 2;
            let plain = step.iter().all(|&s| s == 1);
            (rest && halves && begins && plain).then(|| (n.inputs[0], start[last] == 0, 1.0, inner))
        }
        _ => None,
    }
}

fn rope(g: &Graph, add: &Node) -> Option<(Rope, BTreeSet<NodeId>)> {
    for (a, b) in [(0, 1), (1, 0)] {
        let Some((x, cos)) = times(g, add.inputs[a]) else { continue };
        let Some((turned, mut sin)) = times(g, add.inputs[b]) else { continue };
        let Some(n) = g.producer(turned) else { continue };
        let (Op::Concat { axis }, [low, high]) = (&n.op, &n.inputs[..]) else { continue };
        let (Some(low), Some(high)) = (half(g, *low), half(g, *high)) else { continue };
        let shape = g.shape(add.output);
        let width = *shape.last()?;
        if width == 0 || axis + 1 != shape.len() || low.0 != x || high.0 != x || low.1 || !high.1 {
            continue;
        }
        for row in sin.values().chunks_exact_mut(width) {
            let (first, second) = row.split_at_mut(width / 2);
            first.iter_mut().for_each(|s| *s *= low.2);
            second.iter_mut().for_each(|s| *s *= high.2);
        }
        let outer = [add.inputs[0], add.inputs[1], turned].into_iter().filter_map(|v| id(g, v));
        let inner = outer.chain(low.3).chain(high.3).collect();
        return Some((Rope { x, width, cos, sin }, inner));
    }
    None
}
