//! Examples for the recognition of primitives.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, Graph, Op, Unary};

pub(crate) fn relu_from_max(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let narrow = g.narrower(&shape);
    let v = if g.one_in(8) { 1.0 } else { 0.0 };
    let c = g.splat(dtype, &narrow, v);
    let r = either(g, Binary::Max, x, c)?;
    g.done(r)
}

pub(crate) fn leaky_from_max(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let v = g.pick(&[0.01, 0.1, 0.2, 0.5, 1.0, 1.5, -0.5]);
    let narrow = g.narrower(&shape);
    let c = g.splat(dtype, &narrow, v);
    let m = either(g, Binary::Mul, x, c)?;
    let r = either(g, Binary::Max, x, m)?;
    g.done(r)
}

pub(crate) fn leaky_from_select(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let narrow = g.narrower(&shape);
    let c = if g.one_in(2) {
        let v = g.pick(&[0.01, 0.25, 1.5, -0.5]);
        g.splat(dtype, &narrow, v)
    } else {
        g.constant(dtype, &narrow)
    };
    let m = either(g, Binary::Mul, x, c)?;
    let narrow = g.narrower(&shape);
    let zero = g.splat(dtype, &narrow, 0.0);
    let op = g.pick(&[Binary::Ge, Binary::Gt, Binary::Lt, Binary::Le]);
    let cond = binary(g, op, x, zero)?;
    let (yes, no) = if matches!(op, Binary::Ge | Binary::Gt) { (x, m) } else { (m, x) };
    let r = g.node(Op::Select, &[cond, yes, no])?;
    g.done(r)
}

pub(crate) fn sigmoid_from_exp(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let n = unary(g, Unary::Neg, x)?;
    let e = unary(g, Unary::Exp, n)?;
    let narrow = g.narrower(&shape);
    let one = g.splat(dtype, &narrow, 1.0);
    let s = either(g, Binary::Add, e, one)?;
    let r = if g.one_in(2) {
        unary(g, Unary::Recip, s)
    } else {
        let one = g.splat(dtype, &[], 1.0);
        binary(g, Binary::Div, one, s)
    }?;
    g.done(r)
}
