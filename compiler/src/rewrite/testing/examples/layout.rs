//! Examples for the rules of layout.

use super::{Gen, binary};
use crate::ir::{Binary, Graph, Op, PadMode};

pub(crate) fn transpose_identity(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 4));
    let x = g.input(dtype, &shape);
    let perm = if g.one_in(8) { g.perm(shape.len()) } else { (0..shape.len()).collect() };
    let r = g.node(Op::Transpose { perm }, &[x])?;
    g.done(r)
}

pub(crate) fn transpose_transpose(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 5));
    let x = g.input(dtype, &shape);
    let (p, q) = (g.perm(shape.len()), g.perm(shape.len()));
    let a = g.node(Op::Transpose { perm: p }, &[x])?;
    let r = g.node(Op::Transpose { perm: q }, &[a])?;
    g.done(r)
}

pub(crate) fn transpose_as_reshape(g: &mut Gen) -> Option<Graph> {
    let dtype = g.number();
    let mut shape = g.shape(2, 4);
    for d in &mut shape {
        if g.one_in(2) {
            *d = 1;
        }
    }
    let x = g.input(dtype, &shape);
    let perm = g.perm(shape.len());
    let r = g.node(Op::Transpose { perm }, &[x])?;
    g.done(r)
}

pub(crate) fn same_shape(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let op = if g.one_in(2) { Op::Reshape { shape } } else { Op::Broadcast { shape } };
    let r = g.node(op, &[x])?;
    g.done(r)
}

/// Another shape of as many elements.
fn reshaped(g: &mut Gen, shape: &[usize]) -> Vec<usize> {
    let n: usize = shape.iter().product();
    let mut new = Vec::new();
    let mut left = n;
    while left > 1 && new.len() < 3 {
        let divisors: Vec<usize> = (1..=left).filter(|d| left.is_multiple_of(*d)).collect();
        let d = g.pick(&divisors);
        new.push(d);
        left /= d;
    }
    new.push(left);
    if g.one_in(4) {
        new.insert(0, 1);
    }
    new
}

pub(crate) fn reshape_reshape(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let (a, b) = (reshaped(g, &shape), reshaped(g, &shape));
    let y = g.node(Op::Reshape { shape: a }, &[x])?;
    let r = g.node(Op::Reshape { shape: b }, &[y])?;
    g.done(r)
}

pub(crate) fn broadcast_as_reshape(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 3));
    let x = g.input(dtype, &shape);
    let mut wide = vec![1; g.between(1, 2)];
    if g.one_in(6) {
        wide[0] = 2;
    }
    wide.extend(&shape);
    let r = g.node(Op::Broadcast { shape: wide }, &[x])?;
    g.done(r)
}

pub(crate) fn broadcast_into_elementwise(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 4));
    let narrow = g.narrower(&shape);
    let n = g.input(dtype, &narrow);
    let wide = g.node(Op::Broadcast { shape: shape.clone() }, &[n])?;
    let other = if g.one_in(5) { g.narrower(&shape) } else { shape.clone() };
    let x = g.input(dtype, &other);
    let r = if g.one_in(3) {
        let cond = g.input(crate::ir::DType::Bool, &shape);
        g.node(Op::Select, &[cond, x, wide])
    } else {
        let op = g.pick(&[Binary::Add, Binary::Mul, Binary::Max, Binary::Lt]);
        binary(g, op, x, wide)
    }?;
    g.done(r)
}

pub(crate) fn slice_whole(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 4));
    let x = g.input(dtype, &shape);
    let zeros = vec![0isize; shape.len()];
    let r = match g.below(3) {
        0 => g.node(Op::Slice { start: vec![0; shape.len()], step: vec![1; shape.len()], shape }, &[x]),
        1 => {
            let mode = g.pick(&[PadMode::Constant, PadMode::Edge]);
            let mut operands = vec![x];
            if mode == PadMode::Constant {
                operands.push(g.splat(dtype, &[], 1.0));
            }
            g.node(Op::Pad { mode, before: zeros.clone(), after: zeros }, &operands)
        }
        _ => {
            let axis = g.below(shape.len());
            g.node(Op::Concat { axis }, &[x])
        }
    }?;
    g.done(r)
}

/// A slice of `shape`.
fn slice(g: &mut Gen, shape: &[usize]) -> Op {
    let (mut start, mut step, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for &d in shape {
        let s = g.pick(&[1isize, 1, 1, 2, -1, -2]);
        let first = g.below(d);
        let room = if s > 0 { (d - 1 - first) / s as usize } else { first / s.unsigned_abs() };
        start.push(first);
        step.push(s);
        out.push(1 + g.below(room + 1));
    }
    Op::Slice { start, step, shape: out }
}

pub(crate) fn slice_slice(g: &mut Gen) -> Option<Graph> {
    let rank = g.between(1, 3);
    let shape: Vec<usize> = (0..rank).map(|_| g.between(2, 9)).collect();
    let dtype = g.number();
    let x = g.input(dtype, &shape);
    let op = slice(g, &shape);
    let a = g.node(op, &[x])?;
    let inner = g.shape_of(a);
    let op = slice(g, &inner);
    let r = g.node(op, &[a])?;
    g.done(r)
}

pub(crate) fn slice_of_concat(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 3));
    let axis = g.below(shape.len());
    let parts: Vec<_> = (0..g.between(2, 3))
        .map(|_| {
            let mut s = shape.clone();
            s[axis] = g.between(1, 5);
            g.input(dtype, &s)
        })
        .collect();
    let c = g.node(Op::Concat { axis }, &parts)?;
    let whole = g.shape_of(c);
    let op = slice(g, &whole);
    let r = g.node(op, &[c])?;
    g.done(r)
}

pub(crate) fn concat_of_slices(g: &mut Gen) -> Option<Graph> {
    let (dtype, mut shape) = (g.number(), g.shape(1, 3));
    let axis = g.below(shape.len());
    shape[axis] = g.between(2, 8);
    let x = g.input(dtype, &shape);
    let mut cuts = vec![0, shape[axis]];
    cuts.extend((0..g.between(1, 2)).map(|_| g.between(1, shape[axis] - 1)));
    cuts.sort_unstable();
    cuts.dedup();
    let mut parts = Vec::new();
    for w in cuts.windows(2) {
        let (mut start, mut s) = (vec![0; shape.len()], shape.clone());
        (start[axis], s[axis]) = (w[0], w[1] - w[0]);
        parts.push(g.node(Op::Slice { start, step: vec![1; shape.len()], shape: s }, &[x])?);
    }
    if g.one_in(6) {
        parts.reverse();
    }
    let r = g.node(Op::Concat { axis }, &parts)?;
    g.done(r)
}

pub(crate) fn concat_concat(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 3));
    let axis = g.below(shape.len());
    let inner_axis = if g.one_in(6) { g.below(shape.len()) } else { axis };
    let inputs: Vec<_> = (0..4).map(|_| g.input(dtype, &shape)).collect();
    let a = g.node(Op::Concat { axis: inner_axis }, &inputs[..2])?;
    let mut parts = vec![inputs[2], inputs[3]];
    parts.insert(g.below(3), a);
    let r = g.node(Op::Concat { axis }, &parts)?;
    g.done(r)
}
