//! Examples for convolutions as products and back.

use super::Gen;
use crate::ir::{DType, EpilogueStep, Graph, Op, PadMode, ValueId, Window};

fn window(kernel: &[usize]) -> Window {
    let n = kernel.len();
    Window { kernel: kernel.to_vec(), stride: vec![1; n], dilation: vec![1; n], before: vec![0; n], after: vec![0; n] }
}

/// With or without a bias per channel, a relu, or a residual.
fn finish(g: &mut Gen, p: ValueId) -> Option<Graph> {
    let r = match g.below(4) {
        0 => g.with_epilogue(p, &[EpilogueStep::Add, EpilogueStep::Relu])?,
        1 => {
            let node = g.producer(p)?;
            let mut op = node.op.clone();
            if let Op::Conv { epilogue, .. } | Op::MatMul { epilogue } = &mut op {
                *epilogue = vec![EpilogueStep::Add];
            }
            let (dtype, shape) = (g.dtype_of(p), g.shape_of(p));
            let residual = g.input(dtype, &shape);
            g.node(op, &[node.inputs[0], node.inputs[1], residual])?
        }
        _ => p,
    };
    g.done(r)
}

pub(crate) fn pad_into_window(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::I8]);
    let conv = g.conv(dtype)?;
    let node = g.producer(conv)?;
    let x = node.inputs[0];
    let rank = g.shape_of(x).len();
    let mut pads = || {
        let mut p: Vec<isize> = (0..rank).map(|i| if i < 2 { 0 } else { g.below(3) as isize }).collect();
        if g.one_in(12) {
            p[rank - 1] = -1;
        }
        p
    };
    let (before, after) = (pads(), pads());
    let v = if g.one_in(10) { 1.0 } else { 0.0 };
    let fill = g.splat(dtype, &[], v);
    let padded = g.node(Op::Pad { mode: PadMode::Constant, before, after }, &[x, fill])?;
    let r = g.node(node.op.clone(), &[padded, node.inputs[1]])?;
    g.done(r)
}

pub(crate) fn conv_as_matmul(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let spatial = g.between(1, 2);
    let (n, c, m) = (g.between(1, 2), g.between(1, 5), g.between(1, 5));
    let shape: Vec<usize> = [n, c].into_iter().chain((0..spatial).map(|_| g.between(1, 5))).collect();
    let x = g.input(dtype, &shape);
    let kernel = vec![1; spatial];
    let w: Vec<usize> = [m, c].into_iter().chain(kernel.clone()).collect();
    let w = g.constant(dtype, &w);
    let mut win = window(&kernel);
    if g.one_in(10) {
        win.stride[0] = 2;
    }
    let p = g.node(Op::Conv { window: win, groups: 1, epilogue: vec![] }, &[x, w])?;
    finish(g, p)
}

pub(crate) fn window_as_matmul(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let spatial = g.between(1, 2);
    let (n, c, m) = (g.between(1, 3), g.between(1, 4), g.between(1, 5));
    let kernel: Vec<usize> = (0..spatial).map(|_| g.between(1, 4)).collect();
    let shape: Vec<usize> = [n, c].into_iter().chain(kernel.clone()).collect();
    let x = g.input(dtype, &shape);
    let w: Vec<usize> = [m, c].into_iter().chain(kernel.clone()).collect();
    let w = g.constant(dtype, &w);
    let mut win = window(&kernel);
    if g.one_in(10) {
        win.before[0] = 1;
    }
    let p = g.node(Op::Conv { window: win, groups: 1, epilogue: vec![] }, &[x, w])?;
    finish(g, p)
}

pub(crate) fn matmul_as_window(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let spatial = g.between(1, 2);
    let (n, c, m) = (g.between(1, 3), g.between(1, 4), g.between(1, 5));
    let shape: Vec<usize> = [n, c].into_iter().chain((0..spatial).map(|_| g.between(1, 4))).collect();
    let x = g.input(dtype, &shape);
    let k = shape[1..].iter().product();
    let flat = g.node(Op::Reshape { shape: vec![n, k] }, &[x])?;
    let w = g.constant(dtype, &[k, m]);
    let p = g.node(Op::MatMul { epilogue: vec![] }, &[flat, w])?;
    finish(g, p)
}

pub(crate) fn flatten_order_into_weights(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let shape = g.shape(3, 4);
    let x = g.input(dtype, &shape);
    let mut perm: Vec<usize> = g.perm(shape.len() - 1).iter().map(|p| p + 1).collect();
    perm.insert(0, 0);
    if g.one_in(10) {
        perm = g.perm(shape.len());
    }
    let t = g.node(Op::Transpose { perm }, &[x])?;
    let n = g.shape_of(t)[0];
    let k: usize = g.shape_of(t)[1..].iter().product();
    let flat = g.node(Op::Reshape { shape: vec![n, k] }, &[t])?;
    let m = g.between(1, 5);
    let w = g.constant(dtype, &[k, m]);
    let p = g.node(Op::MatMul { epilogue: vec![] }, &[flat, w])?;
    finish(g, p)
}
