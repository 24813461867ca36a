//! `common-subexpressions`: computes equal things once.

use super::Pass;
use crate::ir::builder::{Rebuild, remove_dead};
use crate::ir::{DType, Graph, Op, Tensor, TypeError, ValueDef, ValueId};
use std::collections::BTreeMap;

/// The pass.
pub const PASS: Pass = Pass {
    name: "common-subexpressions",
    summary: "Merges nodes that apply one operation to the same operands, and constants with the same bytes.",
    details: "The first of equal nodes stays, with its origin: the cycles of the others are then its cycles. Constants are \
              compared by type, shape and bytes.",
    run,
};

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    // The first constant with the same contents, for each that has one.
    let mut first: BTreeMap<(DType, &[usize], &[u8]), ValueId> = BTreeMap::new();
    let mut canonical: Vec<ValueId> = (0..graph.values().len() as u32).map(ValueId).collect();
    for (i, value) in graph.values().iter().enumerate() {
        if let ValueDef::Const(Tensor { dtype, shape, data }) = &value.def {
            canonical[i] = *first.entry((*dtype, shape, data)).or_insert(ValueId(i as u32));
        }
    }
    let mut r = Rebuild::new(graph);
    let mut seen: BTreeMap<(&Op, Vec<ValueId>), ValueId> = BTreeMap::new();
    for node in graph.nodes() {
        let operands: Vec<ValueId> = node.inputs.iter().map(|v| r.value(canonical[v.0 as usize])).collect();
        let new = match seen.get(&(&node.op, operands.clone())) {
            Some(&v) => v,
            None => r.add(node.op.clone(), &operands, node)?,
        };
        r.replace(node, new);
        seen.insert((&node.op, operands), new);
    }
    Ok(remove_dead(&r.finish()))
}
