//! `drop-identities`: removes operations that change nothing.

use super::Pass;
use crate::ir::builder::rebuild;
use crate::ir::{Graph, Node, Op, Reduce, TypeError};

/// The pass.
pub const PASS: Pass = Pass {
    name: "drop-identities",
    summary: "Removes operations whose result is their operand: same-type casts, whole slices, pads by nothing and the like.",
    details: "Also removed: reshapes, expansions and transposes to the same shape and order, concatenations of one, and \
              reductions over no axis (a sum, mean, product, maximum or minimum of one element is that element).\n\n\
              Arithmetic identities (`x + 0`, `x * 1`) are the rewrite's business, since they hold only for some values.",
    run,
};

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    rebuild(graph, |r, node| Ok(is_identity(graph, node).then(|| r.value(node.inputs[0]))))
}

fn is_identity(graph: &Graph, node: &Node) -> bool {
    let Some(&x) = node.inputs.first() else { return false };
    if graph.ty(x) != graph.ty(node.output) {
        return false;
    }
    match &node.op {
        Op::Cast(_) | Op::Reshape { .. } | Op::Broadcast { .. } => true,
        Op::Slice { step, shape, .. } => step.iter().zip(shape).all(|(&s, &n)| s == 1 || n <= 1),
        Op::Transpose { perm } => {
            // Axes of extent 1 may trade places freely.
            perm.iter().filter(|&&p| graph.shape(x)[p] != 1).is_sorted()
        }
        Op::Concat { .. } => node.inputs.len() == 1,
        Op::Pad { before, after, .. } => before.iter().chain(after).all(|&n| n == 0),
        Op::Reduce { axes, kind, .. } => {
            let over_ones = axes.iter().all(|&a| graph.shape(x)[a] == 1);
            over_ones && matches!(kind, Reduce::Sum | Reduce::Mean | Reduce::Prod | Reduce::Max | Reduce::Min)
        }
        _ => false,
    }
}
