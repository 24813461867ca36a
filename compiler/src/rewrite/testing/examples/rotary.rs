//! Examples for signs that meet constants.

use super::{Gen, either, unary};
use crate::ir::{Binary, DType, Graph, Op, Unary};

pub(crate) fn sign_into_constant(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F64, DType::F16, DType::I32]);
    let mut shape = g.shape(1, 4);
    let axis = g.below(shape.len());
    shape[axis] = 2 * g.between(1, 3);
    let half: Vec<usize> = shape.iter().enumerate().map(|(i, &d)| if i == axis { d / 2 } else { d }).collect();
    let x = g.input(dtype, &half);
    let y = g.input(dtype, &half);
    let n = unary(g, Unary::Neg, x)?;
    let parts = if g.one_in(2) { [n, y] } else { [y, n] };
    let joined = g.node(Op::Concat { axis }, &parts)?;
    let held: Vec<usize> =
        shape.iter().enumerate().map(|(i, &d)| if i == axis || g.one_in(2) { d } else { 1 }).collect();
    let skip = g.below(axis + 1);
    let c = g.constant(dtype, &held[skip..]);
    let r = either(g, Binary::Mul, joined, c)?;
    g.done(r)
}
