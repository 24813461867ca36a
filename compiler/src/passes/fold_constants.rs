//! `fold-constants`: computes nodes whose operands are all constants.

use super::Pass;
use crate::ir::builder::{Rebuild, remove_dead};
use crate::ir::eval::eval_op;
use crate::ir::{Graph, Op, Tensor, TypeError, ValueDef};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fold-constants",
    summary: "Replaces nodes whose operands are all constants by their value.",
    details: "The oracle computes the value, with sums in a fixed order, so the result has the same bits on every \
              processor.\n\nA result of more than 64 KiB is folded only when it is no larger than the operands together: \
              a filled or repeated tensor stays an operation on a small constant. Folding stops when it has made four \
              times the bytes of the graph's own constants and 256 MiB. A product of matrices or a convolution \
              of more than 2^24 multiplications stays, to bound the time. An operation that the oracle refuses (an index \
              outside its axis) stays too, and fails when the graph runs.",
    run,
};

/// Bytes up to which any result is folded.
const SMALL: usize = 64 << 10;

/// Multiplications up to which products are folded.
const MACS: usize = 1 << 24;

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    let mut r = Rebuild::new(graph);
    // A small file can ask for results that double at every node.
    let mut budget = fold_budget(graph);
    for node in graph.nodes() {
        let operands: Vec<_> = r.values(&node.inputs);
        let constants: Option<Vec<&Tensor>> = operands.iter().map(|&v| r.graph().constant(v)).collect();
        let bytes = graph.ty(node.output).bytes();
        let value = constants.filter(|c| bytes <= budget && is_worthwhile(&node.op, c, bytes));
        if value.is_some() {
            budget -= bytes;
        }
        match value.and_then(|c| eval_op(&node.op, &c).ok()) {
            Some(t) => {
                let v = r.constant(graph.value(node.output).name.clone(), t);
                r.replace(node, v);
            }
            None => _ = r.keep(node)?,
        }
    }
    Ok(remove_dead(&r.finish()))
}

/// Bytes of results that folding a graph may make altogether.
pub(crate) fn fold_budget(graph: &Graph) -> usize {
    let own = graph.values().iter().filter(|v| matches!(v.def, ValueDef::Const(_))).map(|v| v.ty.bytes());
    own.fold(0, usize::saturating_add).saturating_mul(4).saturating_add(256 << 20)
}

fn is_worthwhile(op: &Op, operands: &[&Tensor], bytes: usize) -> bool {
    let given: usize = operands.iter().map(|t| t.data.len()).sum();
    let macs = match op {
        // Every element of the result is a sum over the second operand's elements per output channel.
        Op::MatMul { .. } => operands[0].len().saturating_mul(*operands[1].shape.last().unwrap_or(&1)),
        Op::Conv { .. } | Op::ConvTranspose { .. } => {
            let channels = operands[1].shape.first().copied().unwrap_or(1).max(1);
            (bytes / operands[0].dtype.size()).saturating_mul(operands[1].len() / channels)
        }
        _ => 0,
    };
    (bytes <= SMALL || bytes <= given) && macs <= MACS
}
