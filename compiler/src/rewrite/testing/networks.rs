//! Random networks: layers as importers leave them, with what the rules are there to undo.

use super::Gen;
use super::examples::either;
use crate::ir::{Binary, DType, Graph, Op, PadMode, Reduce, Unary, ValueId, Window};

const F32: DType = DType::F32;

/// A convolutional network of so many blocks; residuals, batch-norm spelled out, several
/// activations, transposes to the other layout and back.
pub(crate) fn convolutional(g: &mut Gen, blocks: usize) -> Option<Graph> {
    let mut c = 4;
    let mut x = g.input(F32, &[1, c, 6, 6]);
    let mut outs = Vec::new();
    for _ in 0..blocks {
        let before = x;
        let m = g.pick(&[4, 4, 4, 6]);
        x = conv(g, x, c, m)?;
        if g.one_in(2) {
            // Batch-norm.
            let (s, b) = (g.constant(F32, &[1, m, 1, 1]), g.constant(F32, &[m, 1, 1]));
            x = either(g, Binary::Mul, x, s)?;
            x = either(g, Binary::Add, x, b)?;
        } else {
            let b = g.constant(F32, &[1, m, 1, 1]);
            x = either(g, Binary::Add, x, b)?;
        }
        // Keeps values near one, whatever the depth.
        x = g.node(Op::Unary(Unary::Tanh), &[x])?;
        if m == c && g.one_in(3) {
            x = either(g, Binary::Add, x, before)?;
        }
        c = m;
        x = activation(g, x)?;
        if g.one_in(4) {
            x = g.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])?;
            x = activation(g, x)?;
            x = g.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x])?;
        }
        if g.one_in(6) {
            let head = conv(g, x, c, 2)?;
            outs.push(g.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[head])?);
        }
    }
    let flat = c * 36;
    let y = g.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])?;
    let y = g.node(Op::Reshape { shape: vec![1, flat] }, &[y])?;
    let w = g.constant(F32, &[flat, 3]);
    let y = g.node(Op::MatMul { epilogue: vec![] }, &[y, w])?;
    outs.push(g.node(Op::Softmax { axis: 1 }, &[y])?);
    g.done_all(&outs)
}

fn conv(g: &mut Gen, mut x: ValueId, c: usize, m: usize) -> Option<ValueId> {
    let k = g.pick(&[1, 3]);
    let mut p = k / 2;
    if k == 3 && g.one_in(3) {
        let pads = vec![0, 0, 1, 1];
        let zero = g.splat(F32, &[], 0.0);
        x = g.node(Op::Pad { mode: PadMode::Constant, before: pads.clone(), after: pads }, &[x, zero])?;
        p = 0;
    }
    let window =
        Window { kernel: vec![k, k], stride: vec![1, 1], dilation: vec![1, 1], before: vec![p, p], after: vec![p, p] };
    let w = g.constant(F32, &[m, c, k, k]);
    g.node(Op::Conv { window, groups: 1, epilogue: vec![] }, &[x, w])
}

fn activation(g: &mut Gen, x: ValueId) -> Option<ValueId> {
    let zero = g.splat(F32, &[], 0.0);
    match g.below(5) {
        0 => g.node(Op::Unary(Unary::Relu), &[x]),
        1 => {
            let slope = g.splat(F32, &[1], 0.25);
            let scaled = either(g, Binary::Mul, x, slope)?;
            either(g, Binary::Max, x, scaled)
        }
        2 => {
            let six = g.splat(F32, &[], 6.0);
            let low = either(g, Binary::Max, x, zero)?;
            either(g, Binary::Min, low, six)
        }
        3 => g.node(Op::Unary(Unary::Sigmoid), &[x]),
        _ => {
            let slope = g.splat(F32, &[], 0.1);
            let scaled = either(g, Binary::Mul, x, slope)?;
            let cond = g.node(Op::Binary(Binary::Ge), &[x, zero])?;
            g.node(Op::Select, &[cond, x, scaled])
        }
    }
}

/// Encoder layers of a transformer, everything spelled out.
pub(crate) fn transformer(g: &mut Gen, layers: usize) -> Option<Graph> {
    let (s, d, h) = (4, 8, 2);
    let mut x = g.input(F32, &[1, s, d]);
    for _ in 0..layers {
        let qkv: Option<Vec<ValueId>> = (0..3)
            .map(|_| {
                let y = dense(g, x, d, d)?;
                let y = g.node(Op::Reshape { shape: vec![1, s, h, d / h] }, &[y])?;
                g.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])
            })
            .collect();
        let [q, k, v] = qkv?.try_into().ok()?;
        let k = g.node(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k])?;
        let scores = g.node(Op::MatMul { epilogue: vec![] }, &[q, k])?;
        let root = g.splat(F32, &[], 2.0);
        let scores = g.node(Op::Binary(Binary::Div), &[scores, root])?;
        let weights = g.node(Op::Softmax { axis: 3 }, &[scores])?;
        let y = g.node(Op::MatMul { epilogue: vec![] }, &[weights, v])?;
        let y = g.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])?;
        let y = g.node(Op::Reshape { shape: vec![1, s, d] }, &[y])?;
        let y = dense(g, y, d, d)?;
        let y = either(g, Binary::Add, x, y)?;
        x = norm(g, y, d)?;
        let y = dense(g, x, d, 2 * d)?;
        let y = gelu(g, y)?;
        let y = dense(g, y, 2 * d, d)?;
        let y = either(g, Binary::Add, x, y)?;
        x = norm(g, y, d)?;
    }
    g.done(x)
}

fn dense(g: &mut Gen, x: ValueId, k: usize, n: usize) -> Option<ValueId> {
    let w = g.constant(F32, &[n, k]);
    let w = g.node(Op::Transpose { perm: vec![1, 0] }, &[w])?;
    let y = g.node(Op::MatMul { epilogue: vec![] }, &[x, w])?;
    let b = g.constant(F32, &[n]);
    either(g, Binary::Add, y, b)
}

fn gelu(g: &mut Gen, x: ValueId) -> Option<ValueId> {
    let root = g.splat(F32, &[], std::f64::consts::SQRT_2);
    let u = g.node(Op::Binary(Binary::Div), &[x, root])?;
    let e = g.node(Op::Unary(Unary::Erf), &[u])?;
    let one = g.splat(F32, &[], 1.0);
    let bell = either(g, Binary::Add, e, one)?;
    let y = either(g, Binary::Mul, x, bell)?;
    let half = g.splat(F32, &[], 0.5);
    either(g, Binary::Mul, y, half)
}

fn norm(g: &mut Gen, x: ValueId, d: usize) -> Option<ValueId> {
    let mean = |g: &mut Gen, x| g.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2], keep: true }, &[x]);
    let m = mean(g, x)?;
    let c = g.node(Op::Binary(Binary::Sub), &[x, m])?;
    let sq = g.node(Op::Binary(Binary::Mul), &[c, c])?;
    let v = mean(g, sq)?;
    let eps = g.splat(F32, &[], 1e-5);
    let v = either(g, Binary::Add, v, eps)?;
    let s = g.node(Op::Unary(Unary::Sqrt), &[v])?;
    let n = g.node(Op::Binary(Binary::Div), &[c, s])?;
    let (w, b) = (g.constant(F32, &[d]), g.constant(F32, &[d]));
    let y = either(g, Binary::Mul, n, w)?;
    either(g, Binary::Add, y, b)
}
