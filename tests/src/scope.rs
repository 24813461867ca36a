//! Which node-test cases a machine with lanes of at most 32 bits can be asked to run.
//!
//! Decided from the imported graph alone, never from what a compiler accepts. Out of scope are
//! cases whose every output is a constant or an input once constants are folded (a machine would
//! compute nothing), cases with 64-bit floats or unsigned integers or with elements that lanes do
//! not have (floats below 16 bits, integers below 8), and arithmetic on 64-bit integers. 64-bit
//! integers that are only moved, cast, used as indices or produced as indices are in scope.

use quadrille_compiler::ir::{DType, Graph, Op};

/// Why a cleaned graph is out of scope; `None` when it is in.
pub fn out_of_scope(graph: &Graph) -> Option<String> {
    if graph.nodes().is_empty() {
        return Some("every output is a constant or an input".to_string());
    }
    for node in graph.nodes() {
        let types = node.inputs.iter().chain([&node.output]).map(|&v| graph.ty(v).dtype);
        for d in types {
            if matches!(d, DType::F64 | DType::U64) || d.is_narrow() {
                return Some(format!("{d} elements"));
            }
        }
        // An index operand of 64 bits is not computed with; what is gathered or scattered is the first.
        let computed = node.inputs.iter().any(|&v| graph.ty(v).dtype == DType::I64);
        if computed && is_arithmetic(&node.op) {
            return Some(format!("64-bit integer arithmetic ({})", node.op.name()));
        }
    }
    None
}

fn is_arithmetic(op: &Op) -> bool {
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::MatMul { .. }
        | Op::Conv { .. }
        | Op::ConvTranspose { .. }
        | Op::Pool { .. }
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::CumSum { .. }
        | Op::Softmax { .. }
        | Op::Norm { .. }
        | Op::TopKValues { .. }
        | Op::TopKIndices { .. } => true,
        Op::Select
        | Op::Fma
        | Op::Cast(_)
        | Op::BitCast(_)
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Broadcast { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherNd { .. }
        | Op::ScatterElements { .. }
        | Op::ScatterNd { .. } => false,
    }
}

/// True when floats are multiplied in planes: there a machine's products are of f16.
pub fn has_products(graph: &Graph) -> bool {
    let product = |op: &Op| matches!(op, Op::MatMul { .. } | Op::Conv { .. } | Op::ConvTranspose { .. });
    graph.nodes().iter().any(|n| product(&n.op) && graph.ty(n.output).dtype.is_float())
}
