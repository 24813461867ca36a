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
    let pads = || window.before.iter().chain(&window.after).zip(window.kernel.iter().cycle());
    let inside = pads().all(|(pad, size)| pad < size) && window.dilation.iter().all(|&d| d == 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_compiler::ir::eval::eval;
    use quadrille_compiler::ir::{Tensor, TensorType, Window};

    fn pooled(pad: usize) -> Graph {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::new(DType::I8, [1, 2, 5, 5]));
        let o = g.push_origin("o");
        let y = g.add_node(Op::Unary(Unary::Relu), &[x], o).expect("a rectifier");
        let (kernel, stride, dilation) = (vec![3, 3], vec![2, 2], vec![1, 1]);
        let window = Window { kernel, stride, dilation, before: vec![pad; 2], after: vec![pad; 2] };
        let y = g.add_node(Op::Pool { kind: Pool::Max, window }, &[y], o).expect("a pool");
        g.add_output("y", y);
        g
    }

    #[test]
    fn the_rectifier_goes_behind_and_nothing_changes() {
        let g = pooled(1);
        let late = late_relu(g.clone()).expect("it types");
        assert!(matches!(late.nodes()[0].op, Op::Pool { .. }) && late.nodes()[1].op == Op::Unary(Unary::Relu));
        let data: Vec<u8> = (0..50).map(|i| (i * 97 % 251) as u8).collect();
        let x = [Tensor::new(DType::I8, vec![1, 2, 5, 5], data).expect("a tensor")];
        assert_eq!(eval(&late, &x).expect("it runs"), eval(&g, &x).expect("it runs"));
    }

    #[test]
    fn a_window_that_may_lie_outside_keeps_its_rectifier() {
        let g = pooled(3);
        assert_eq!(late_relu(g.clone()).expect("it types").nodes()[0].op, g.nodes()[0].op);
    }
}
