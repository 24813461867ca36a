//! Examples for broadcasts that sink.

use super::{Gen, unary};
use crate::ir::{DType, Graph, Op, Reduce, Unary};

pub(crate) fn unary_of_broadcast(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(1, 4));
    let narrow = g.narrower(&shape);
    let x = g.input(dtype, &narrow);
    let wide = g.node(Op::Broadcast { shape }, &[x])?;
    let r = if g.one_in(2) {
        g.node(Op::Cast(DType::F64), &[wide])
    } else {
        let u = g.pick(&[Unary::Relu, Unary::Neg, Unary::Tanh]);
        unary(g, u, wide)
    }?;
    g.done(r)
}

pub(crate) fn reduce_of_broadcast(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(1, 4));
    let axes: Vec<usize> = (0..shape.len()).filter(|_| g.one_in(2)).collect();
    if axes.is_empty() {
        return None;
    }
    // Now and then an axis that is reduced is widened.
    let kept = g.one_in(6);
    let narrow: Vec<usize> =
        (0..shape.len()).map(|a| if (axes.contains(&a) && !kept) || g.one_in(2) { shape[a] } else { 1 }).collect();
    let front = (0..=axes[0]).take_while(|&a| a < axes[0] && narrow[a] == 1).count();
    let skip = if front > 0 { g.below(front + 1) } else { 0 };
    let x = g.input(dtype, &narrow[skip..]);
    let wide = g.node(Op::Broadcast { shape }, &[x])?;
    let kind = g.pick(&[Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Mean]);
    let keep = g.one_in(2);
    let r = g.node(Op::Reduce { kind, axes, keep }, &[wide])?;
    g.done(r)
}
