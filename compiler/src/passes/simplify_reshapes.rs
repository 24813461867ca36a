//! `simplify-reshapes`: one reshape where there were several.

use super::Pass;
use crate::ir::builder::rebuild;
use crate::ir::{Graph, Op, Reduce, TypeError, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "simplify-reshapes",
    summary: "Merges chains of reshapes, and turns operations that only add or drop axes of extent 1 into reshapes.",
    details: "A reshape reads what the chain of reshapes before it read. Transposes that move only axes of extent 1, \
              expansions that only add such axes and reductions over them become reshapes, so that they join a chain. \
              Reshapes are free on both machines; the aim is that patterns behind them are seen.",
    run,
};

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    rebuild(graph, |r, node| {
        let Some(&x) = node.inputs.first() else { return Ok(None) };
        let moves_nothing = match &node.op {
            Op::Reshape { .. } => true,
            Op::Transpose { perm } => perm.iter().filter(|&&p| graph.shape(x)[p] != 1).is_sorted(),
            Op::Broadcast { .. } => graph.ty(x).elements() == graph.ty(node.output).elements(),
            Op::Reduce { axes, kind, .. } => {
                let exact = matches!(kind, Reduce::Sum | Reduce::Mean | Reduce::Prod | Reduce::Max | Reduce::Min);
                exact && !axes.is_empty() && axes.iter().all(|&a| graph.shape(x)[a] == 1)
            }
            _ => false,
        };
        if !moves_nothing {
            return Ok(None);
        }
        let x = r.value(x);
        let source = source(r.graph(), x);
        let shape = graph.shape(node.output);
        if r.graph().shape(source) == shape {
            return Ok(Some(source));
        }
        r.add(Op::Reshape { shape: shape.to_vec() }, &[source], node).map(Some)
    })
}

/// What a chain of reshapes reads in the end.
fn source(graph: &Graph, mut v: ValueId) -> ValueId {
    while let Some(node) = graph.producer(v)
        && matches!(node.op, Op::Reshape { .. })
    {
        v = node.inputs[0];
    }
    v
}
