//! Examples for softmax and its logarithm.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, Graph, Op, Reduce, Unary, ValueId};

fn reduce(g: &mut Gen, kind: Reduce, x: ValueId, axis: usize) -> Option<ValueId> {
    g.node(Op::Reduce { kind, axes: vec![axis], keep: true }, &[x])
}

pub(crate) fn softmax_from_exp(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(1, 4));
    let axis = g.below(shape.len());
    let x = g.input(dtype, &shape);
    let u = if g.one_in(3) {
        x
    } else {
        let most = reduce(g, Reduce::Max, x, axis)?;
        binary(g, Binary::Sub, x, most)?
    };
    let e = unary(g, Unary::Exp, u)?;
    // Now and then along another axis, which no softmax is.
    let other = if g.one_in(10) { g.below(shape.len()) } else { axis };
    let sum = reduce(g, Reduce::Sum, e, other)?;
    let r = if g.one_in(2) {
        binary(g, Binary::Div, e, sum)?
    } else {
        let recip = unary(g, Unary::Recip, sum)?;
        either(g, Binary::Mul, e, recip)?
    };
    g.done(r)
}

pub(crate) fn log_softmax(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(1, 4));
    let axis = g.below(shape.len());
    // Of one element it is zero, and tells nothing.
    if shape[axis] < 2 {
        return None;
    }
    let x = g.input(dtype, &shape);
    let s = g.node(Op::Softmax { axis }, &[x])?;
    let r = unary(g, Unary::Log, s)?;
    g.done(r)
}
