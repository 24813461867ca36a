//! Examples for transposes and reshapes that sink.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, DType, Graph, Op, Reduce, Unary, ValueId};

fn transposed(g: &mut Gen, dtype: DType, lo: usize) -> Option<(ValueId, Vec<usize>)> {
    let shape = g.shape(lo, 4);
    let x = g.input(dtype, &shape);
    let perm = g.perm(shape.len());
    Some((g.node(Op::Transpose { perm: perm.clone() }, &[x])?, perm))
}

pub(crate) fn transpose_unary(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (t, _) = transposed(g, dtype, 2)?;
    let r = if g.one_in(4) {
        g.node(Op::Cast(DType::F64), &[t])
    } else {
        let u = g.pick(&[Unary::Relu, Unary::Neg, Unary::Tanh, Unary::IsNan]);
        unary(g, u, t)
    }?;
    g.done(r)
}

pub(crate) fn transpose_nary(g: &mut Gen) -> Option<Graph> {
    let dtype = g.number();
    let (t, perm) = transposed(g, dtype, 2)?;
    let shape = g.shape_of(t);
    let other = match g.below(4) {
        0 => {
            let mut before = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(i, &p)| before[p] = shape[i]);
            let y = g.input(dtype, &before);
            g.node(Op::Transpose { perm }, &[y])?
        }
        1 => {
            let rank = g.between(0, shape.len());
            g.input(dtype, &vec![1; rank])
        }
        _ => {
            let narrow = g.narrower(&shape);
            g.constant(dtype, &narrow)
        }
    };
    let r = if g.one_in(4) {
        let flags = g.narrower(&shape);
        let cond = g.constant(DType::Bool, &flags);
        g.node(Op::Select, &[cond, t, other])
    } else {
        let op = g.pick(&[Binary::Add, Binary::Mul, Binary::Sub, Binary::Lt, Binary::Prelu]);
        if op == Binary::Prelu { binary(g, op, t, other) } else { either(g, op, t, other) }
    }?;
    g.done(r)
}

pub(crate) fn transpose_axis(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (t, perm) = transposed(g, dtype, 2)?;
    let r = if g.one_in(2) {
        let axis = g.below(perm.len());
        if g.one_in(2) {
            g.node(Op::Softmax { axis }, &[t])
        } else {
            let centered = g.one_in(2);
            g.node(Op::Norm { axes: vec![axis], centered, epsilon: 0.5f32.to_bits() }, &[t])
        }
    } else {
        let mut axes: Vec<usize> = (0..perm.len()).filter(|_| g.one_in(2)).collect();
        if axes.is_empty() {
            axes.push(0);
        }
        let kind = g.pick(&[Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::Min]);
        let keep = g.one_in(2);
        g.node(Op::Reduce { kind, axes, keep }, &[t])
    }?;
    g.done(r)
}

pub(crate) fn reshape_elementwise(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 3));
    let x = g.input(dtype, &shape);
    let mut to = vec![shape.iter().product::<usize>()];
    to.resize(g.between(1, 3), 1);
    if g.one_in(2) {
        to.reverse();
    }
    let y = g.node(Op::Reshape { shape: to.clone() }, &[x])?;
    let r = match g.below(3) {
        0 => unary(g, Unary::Neg, y),
        1 => {
            let rank = g.between(0, to.len());
            let c = g.constant(dtype, &vec![1; rank]);
            either(g, Binary::Add, y, c)
        }
        _ => {
            // A constant of several elements: no match.
            let narrow = g.narrower(&to);
            let c = g.constant(dtype, &narrow);
            either(g, Binary::Mul, y, c)
        }
    }?;
    g.done(r)
}

pub(crate) fn transpose_of_matmul(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (m, k, n) = (g.between(1, 5), g.between(1, 6), g.between(1, 5));
    let batch: Vec<usize> = (0..g.below(3)).map(|_| g.between(1, 3)).collect();
    let of = |a: usize, b: usize| batch.iter().copied().chain([a, b]).collect::<Vec<_>>();
    let (a, b) = (g.input(dtype, &of(m, k)), g.input(dtype, &of(k, n)));
    let p = g.node(Op::MatMul { epilogue: vec![] }, &[a, b])?;
    let r = batch.len();
    let mut perm: Vec<usize> = (0..r).chain([r + 1, r]).collect();
    if g.one_in(8) {
        perm = g.perm(r + 2);
    }
    let t = g.node(Op::Transpose { perm }, &[p])?;
    g.done(t)
}
