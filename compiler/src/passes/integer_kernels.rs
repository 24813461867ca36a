//! `integer-kernels`: quantised islands become integer products with an exact epilogue.
//!
//! A pass and not a rule of the rewriter: which of a float node and its integer twin is right is
//! decided by the precision asked for, not by cost, and the two differ in rounding, so they cannot
//! share a class of equals. It must see the graph as it was imported, before constants are folded.

mod constants;
mod pointwise;
mod product;
mod recognise;
#[cfg(test)]
pub(super) mod tests;

use super::Pass;
use crate::ir::builder::{Rebuild, rebuild, scalar, use_counts};
use crate::ir::{Binary, DType, Graph, Node, Op, PadMode, Pool, Reduce, TypeError, Unary, ValueId};
use recognise::{Target, dequantised, quantise};

pub(super) use constants::integers;
pub(super) use product::column_sums;
pub(super) use recognise::range;

/// The pass.
pub const PASS: Pass = Pass {
    name: "integer-kernels",
    summary: "Turns quantised islands (DequantizeLinear, an operation, QuantizeLinear; QLinear and Integer products) into \
              integer products and their exact epilogue.",
    details: "A product of dequantised operands that is quantised again becomes `i8` or `u8` times `i8` in `i32`, plus the bias in \
              `i32`, times one `f32` factor (a channel its own), rounded to even, plus the zero point, saturated: \
              `y = sat(rne(f32(acc + bias) * m) + zp)` with `m = f32(sx * sw / sy)`. Zero points of activations go into the \
              bias, and padding is then with the zero point. A clip is a bound of the result, since quantising keeps order; \
              movements and maxima are taken on the integers.\n\n\
              A sum rescales both sides by one `fma`, one rounding and one saturation. If one side is a product that nothing \
              else reads, its own rounding and saturation are dropped. A product that is quantised before its bias is added, and \
              nothing else reads, is not rounded there: the bias goes into the `i32` sum, and where sums alone \
              follow the scaled sum is bounded by what the quantised product and the bias could be. An average is an `i32` sum and one factor.\n\n\
              Products of integers that were widened to `i32` (QLinearConv, ConvInteger and so on) are narrowed again. \
              A product of dequantised operands that no quantisation follows (the gates of a recurrent cell, a last layer) is \
              the integer sum times one factor. Weights with zero points that do not fit `i8` after subtraction, computed \
              weights, and other operations that no quantisation follows stay as they are.\n\n\
              The result is within one quantum of the float graph for each quantisation; a graph that neither quantises nor \
              multiplies integers is left as it is.",
    run,
};

/// What becomes of the quantisation of a product that goes into a sum and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Roundings {
    /// The product joins the sum as it is.
    Dropped,
    /// It is quantised, so that both sides of the sum are narrow.
    Kept,
}

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    with(graph, Roundings::Dropped)
}

/// The graph in integers.
pub(super) fn with(graph: &Graph, roundings: Roundings) -> Result<Graph, TypeError> {
    let islands = Islands { old: graph, roundings, uses: use_counts(graph), only_summed: only_summed(graph) };
    rebuild(graph, |r, node| match islands.integer_product(r, node)? {
        Some(v) => Ok(Some(v)),
        None => match islands.quantisation(r, node)? {
            Some(v) => Ok(Some(v)),
            None => islands.float_product(r, node),
        },
    })
}

/// True when the graph has something that [`PASS`] would make integer: a quantisation of a float value, or a product of
/// integers that were widened.
pub fn applies(graph: &Graph) -> bool {
    quantises_at_all(graph) || multiplies(graph)
}

/// True when the graph quantises a float value, and has no product of integers that were widened.
pub(super) fn quantises(graph: &Graph) -> bool {
    quantises_at_all(graph) && !multiplies(graph)
}

fn quantises_at_all(graph: &Graph) -> bool {
    graph.nodes().iter().any(|n| quantise(graph, n).is_some())
}

fn multiplies(graph: &Graph) -> bool {
    let roundings = Roundings::Dropped;
    let islands = Islands { old: graph, roundings, uses: Vec::new(), only_summed: Vec::new() };
    graph.nodes().iter().any(|n| islands.is_integer_product(n))
}

/// An integer value of the new graph: it stands for `(q - zero) * scale`.
#[derive(Clone, Copy, Debug)]
struct Quant {
    q: ValueId,
    dtype: DType,
    scale: f64,
    zero: i32,
}

struct Islands<'a> {
    old: &'a Graph,
    roundings: Roundings,
    uses: Vec<usize>,
    only_summed: Vec<bool>,
}

/// By value: nothing but sums takes it.
fn only_summed(g: &Graph) -> Vec<bool> {
    let mut all = vec![true; g.values().len()];
    let others = g.nodes().iter().filter(|n| !matches!(n.op, Op::Binary(Binary::Add | Binary::Sub)));
    others.flat_map(|n| &n.inputs).for_each(|v| all[v.0 as usize] = false);
    all
}

type Made<T> = Result<Option<T>, TypeError>;

impl Islands<'_> {
    /// The integer result of a quantisation, if `node` ends one that can be had without floats.
    fn quantisation(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<ValueId> {
        let Some((x, target)) = quantise(self.old, node) else { return Ok(None) };
        self.quantised(r, x, target, node, 0)
    }

    /// The float value `x` of the old graph, quantised.
    fn quantised(&self, r: &mut Rebuild<'_>, x: ValueId, t: Target, root: &Node, depth: u32) -> Made<ValueId> {
        if depth > 32 {
            return Ok(None);
        }
        if let Some(d) = dequantised(self.old, x) {
            return self.requantised(r, &d, t, root);
        }
        let Some(node) = self.old.producer(x) else { return self.float_input(r, x, t, root) };
        let inner = |r: &mut Rebuild<'_>, v, t| self.quantised(r, v, t, root, depth + 1);
        match &node.op {
            // Quantising keeps order, so a bound on the float is one on the integer.
            Op::Unary(Unary::Relu) => inner(r, node.inputs[0], t.at_least(0.0)),
            Op::Binary(b @ (Binary::Max | Binary::Min)) => {
                let Some((v, bound)) = self.with_scalar(node) else { return Ok(None) };
                inner(r, v, if *b == Binary::Max { t.at_least(bound) } else { t.at_most(bound) })
            }
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Broadcast { .. }
            | Op::Pool { kind: Pool::Max, .. }
            | Op::Reduce { kind: Reduce::Max | Reduce::Min, .. } => {
                let Some(q) = inner(r, node.inputs[0], t)? else { return Ok(None) };
                r.add(node.op.clone(), &[q], node).map(Some)
            }
            Op::Concat { .. } => {
                let mut parts = Vec::new();
                for &v in &node.inputs {
                    let Some(q) = inner(r, v, t)? else { return Ok(None) };
                    parts.push(q);
                }
                r.add(node.op.clone(), &parts, node).map(Some)
            }
            Op::Reduce { kind: Reduce::Mean, axes, .. } => self.mean(r, node, axes, t),
            Op::Pool { .. } => self.average(r, node, t),
            Op::Conv { .. } | Op::MatMul { .. } => self.product(r, x, t),
            Op::Binary(Binary::Add | Binary::Sub) => match self.product(r, x, t)? {
                Some(q) => Ok(Some(q)),
                None => self.sum(r, node, t),
            },
            Op::Binary(Binary::Mul) => self.scaled_product(r, node, t),
            _ => Ok(None),
        }
    }

    /// A dequantised value that nothing but movement lies behind, on the integers.
    fn activation(&self, r: &mut Rebuild<'_>, x: ValueId, depth: u32) -> Made<Quant> {
        if let Some(d) = dequantised(self.old, x) {
            let (Some(scale), Some(zero)) = (d.scale(), d.zero()) else { return Ok(None) };
            if !matches!(d.dtype, DType::I8 | DType::U8) || self.old.constant(d.q).is_some() {
                return Ok(None);
            }
            return Ok(Some(Quant { q: r.value(d.q), dtype: d.dtype, scale, zero }));
        }
        let Some(node) = self.old.producer(x) else { return Ok(None) };
        if depth > 32 {
            return Ok(None);
        }
        match &node.op {
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Broadcast { .. }
            | Op::Pool { kind: Pool::Max, .. } => {
                let Some(a) = self.activation(r, node.inputs[0], depth + 1)? else { return Ok(None) };
                let q = r.add(node.op.clone(), &[a.q], node)?;
                Ok(Some(Quant { q, ..a }))
            }
            // Real zero is the zero point exactly.
            Op::Pad { mode: PadMode::Constant, .. } if self.scalar(node.inputs[1]) == Some(0.0) => {
                let Some(a) = self.activation(r, node.inputs[0], depth + 1)? else { return Ok(None) };
                let fill = r.constant("", scalar(a.dtype, f64::from(a.zero)));
                let q = r.add(node.op.clone(), &[a.q, fill], node)?;
                Ok(Some(Quant { q, ..a }))
            }
            _ => Ok(None),
        }
    }

    /// The operand of a binary node whose other operand is a scalar constant, and that constant.
    fn with_scalar(&self, node: &Node) -> Option<(ValueId, f64)> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        match (self.scalar(a), self.scalar(b)) {
            (None, Some(s)) => Some((a, s)),
            (Some(s), None) => Some((b, s)),
            _ => None,
        }
    }
}
