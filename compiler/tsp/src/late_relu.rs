//! The maximum over a window goes before a rectifier, which then has fewer elements. Exact for integers: both only choose.
//!
//! Knows the tensor graph alone.

use quadrille_compiler::ir::builder::{rebuild, use_counts};
use quadrille_compiler::ir::{DType, Graph, Node, Op, Pool, TypeError, Unary};

/// The rectifier whose result a node alone takes the maxima of.
fn rectifier<'a>(graph: &'a Graph, uses: &[usize], node: &Node) -> Option<&'a Node> {
    let Op::Pool { kind: Pool::Max, window, .. } = &node.op else { return None };
    let relu = graph.producer(node.inputs[0])?;
    let whole = matches!(graph.ty(relu.output).dtype, DType::I8 | DType::I16 | DType::I32);
    // Every window has an element inside.
    let inside = |(&size, &pad): (&usize, &usize)| pad < size;
    let inside =
        window.kernel.iter().zip(&window.before).all(inside) && window.kernel.iter().zip(&window.after).all(inside);
    (relu.op == Op::Unary(Unary::Relu) && uses[relu.output.0 as usize] == 1 && whole && inside).then_some(relu)
}

/// The graph with such rectifiers behind.
pub(crate) fn late_relu(graph: Graph) -> Result<Graph, TypeError> {
    let uses = use_counts(&graph);
    let late: Vec<Option<&Node>> = graph.nodes().iter().map(|n| rectifier(&graph, &uses, n)).collect();
    if late.iter().all(Option::is_none) {
        return Ok(graph);
    }
    let pools: Vec<_> = graph.nodes().iter().zip(&late).filter_map(|(n, l)| l.map(|l| (n.output, l))).collect();
    rebuild(&graph, |r, node| {
        if pools.iter().any(|(_, relu)| relu.output == node.output) {
            return Ok(Some(r.value(node.inputs[0])));
        }
        let Some((_, relu)) = pools.iter().find(|(pool, _)| *pool == node.output) else { return Ok(None) };
        let x = r.value(node.inputs[0]);
        let most = r.add(node.op.clone(), &[x], node)?;
        r.add(relu.op.clone(), &[most], relu).map(Some)
    })
}
