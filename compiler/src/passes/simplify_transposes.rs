//! `simplify-transposes`: one transpose where there were several.

use super::Pass;
use crate::ir::builder::rebuild;
use crate::ir::{Graph, Op, TypeError};

/// The pass.
pub const PASS: Pass = Pass {
    name: "simplify-transposes",
    summary: "Merges a transpose of a transpose into one, or into none where they undo each other.",
    details: "Moving a transpose past other operations, to meet another, is the rewrite's business: there it is weighed \
              against what it costs.",
    run,
};

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    rebuild(graph, |r, node| {
        let Op::Transpose { perm } = &node.op else { return Ok(None) };
        let x = r.value(node.inputs[0]);
        let (x, perm) = match r.graph().producer(x) {
            // The inner result's axis p is the source's axis inner[p].
            Some(inner) => match &inner.op {
                Op::Transpose { perm: first } => (inner.inputs[0], perm.iter().map(|&p| first[p]).collect()),
                _ => return Ok(None),
            },
            None => return Ok(None),
        };
        let perm: Vec<usize> = perm;
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(Some(x));
        }
        r.add(Op::Transpose { perm }, &[x], node).map(Some)
    })
}
