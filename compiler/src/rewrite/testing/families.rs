//! The graphs that TASO and TENSAT are measured on, by their published layouts: f32, one image or sequence,
//! weights without meaning. Depth is cut where blocks only repeat; each says what it has.

use super::Gen;
use crate::ir::{Binary, DType, Graph, Op, Pool, Tensor, Unary, ValueId, Window};

const F32: DType = DType::F32;

/// Name, what it has, and how it is built.
pub(crate) type Family = (&'static str, &'static str, fn(&mut Gen) -> Option<Graph>);

/// All of them.
pub(crate) const FAMILIES: [Family; 7] = [
    ("NasRNN", "5 steps, 512 wide", nas_rnn),
    ("BERT", "2 layers, 512 wide, 64 tokens", bert),
    ("ResNeXt-50", "one block of each stage, 32 groups", resnext),
    ("NasNet-A", "2 cells, 44 channels", nasnet),
    ("SqueezeNet", "8 fire modules", squeezenet),
    ("VGG-19", "16 convolutions", vgg),
    ("Inception-v3", "3 blocks of 35 x 35", inception),
];

/// A weight that varies, so that nothing takes it for one number.
fn weight(g: &mut Gen, shape: &[usize]) -> ValueId {
    let n: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..n).flat_map(|i| ((i % 7) as f32 / 64.0 - 0.04).to_le_bytes()).collect();
    g.graph.add_const("w", Tensor::new(F32, shape.to_vec(), bytes).unwrap())
}

fn unary(g: &mut Gen, u: Unary, x: ValueId) -> Option<ValueId> {
    g.node(Op::Unary(u), &[x])
}

fn add(g: &mut Gen, x: ValueId, y: ValueId) -> Option<ValueId> {
    g.node(Op::Binary(Binary::Add), &[x, y])
}

fn mul(g: &mut Gen, x: ValueId, y: ValueId) -> Option<ValueId> {
    g.node(Op::Binary(Binary::Mul), &[x, y])
}

fn dense(g: &mut Gen, x: ValueId, n: usize) -> Option<ValueId> {
    let k = *g.shape_of(x).last()?;
    let w = weight(g, &[k, n]);
    g.node(Op::MatMul { epilogue: vec![] }, &[x, w])
}

fn window(k: [usize; 2], stride: usize, pad: bool) -> Window {
    let p: Vec<usize> = k.iter().map(|&k| if pad { k / 2 } else { 0 }).collect();
    Window { kernel: k.to_vec(), stride: vec![stride; 2], dilation: vec![1, 1], before: p.clone(), after: p }
}

/// Convolution and relu.
fn conv(g: &mut Gen, x: ValueId, m: usize, k: [usize; 2], stride: usize, groups: usize) -> Option<ValueId> {
    let y = linear(g, x, m, k, stride, groups)?;
    unary(g, Unary::Relu, y)
}

fn linear(g: &mut Gen, x: ValueId, m: usize, k: [usize; 2], stride: usize, groups: usize) -> Option<ValueId> {
    let c = g.shape_of(x)[1];
    let w = weight(g, &[m, c / groups, k[0], k[1]]);
    g.node(Op::Conv { window: window(k, stride, true), groups, epilogue: vec![] }, &[x, w])
}

fn pool(g: &mut Gen, kind: Pool, x: ValueId, k: usize, stride: usize, pad: bool) -> Option<ValueId> {
    g.node(Op::Pool { kind, window: window([k, k], stride, pad) }, &[x])
}

/// Eight gates of products with the input and the state, joined in pairs, as the searched cell has them.
fn nas_rnn(g: &mut Gen) -> Option<Graph> {
    let n = 512;
    let mut h = g.input(F32, &[1, n]);
    for _ in 0..5 {
        let x = g.input(F32, &[1, n]);
        let mut gates = Vec::new();
        for i in 0..8 {
            let (a, b) = (dense(g, x, n)?, dense(g, h, n)?);
            let sum = add(g, a, b)?;
            gates.push(unary(g, [Unary::Relu, Unary::Sigmoid, Unary::Tanh][i % 3], sum)?);
        }
        while gates.len() > 1 {
            let level = gates.len();
            gates = gates
                .chunks(2)
                .map(|p| if level == 4 { mul(g, p[0], p[1]) } else { add(g, p[0], p[1]) })
                .collect::<Option<_>>()?;
        }
        h = unary(g, Unary::Tanh, gates[0])?;
    }
    g.done(h)
}

/// Attention and feed-forward, without norms, as in the published graph.
fn bert(g: &mut Gen) -> Option<Graph> {
    let (s, d, h) = (64, 512, 8);
    let mut x = g.input(F32, &[s, d]);
    for _ in 0..2 {
        let mut heads = Vec::new();
        for _ in 0..3 {
            let y = dense(g, x, d)?;
            let y = g.node(Op::Reshape { shape: vec![s, h, d / h] }, &[y])?;
            heads.push(g.node(Op::Transpose { perm: vec![1, 0, 2] }, &[y])?);
        }
        let k = g.node(Op::Transpose { perm: vec![0, 2, 1] }, &[heads[1]])?;
        let scores = g.node(Op::MatMul { epilogue: vec![] }, &[heads[0], k])?;
        let y = g.node(Op::MatMul { epilogue: vec![] }, &[scores, heads[2]])?;
        let y = g.node(Op::Transpose { perm: vec![1, 0, 2] }, &[y])?;
        let y = g.node(Op::Reshape { shape: vec![s, d] }, &[y])?;
        let y = dense(g, y, d)?;
        x = add(g, x, y)?;
        let y = dense(g, x, 4 * d)?;
        let y = unary(g, Unary::Relu, y)?;
        let y = dense(g, y, d)?;
        x = add(g, x, y)?;
    }
    g.done(x)
}

fn resnext(g: &mut Gen) -> Option<Graph> {
    let mut x = g.input(F32, &[1, 64, 56, 56]);
    for (i, m) in [128, 256, 512, 1024].into_iter().enumerate() {
        let stride = if i == 0 { 1 } else { 2 };
        let y = conv(g, x, m, [1, 1], 1, 1)?;
        let y = conv(g, y, m, [3, 3], stride, 32)?;
        let y = linear(g, y, 2 * m, [1, 1], 1, 1)?;
        let short = linear(g, x, 2 * m, [1, 1], stride, 1)?;
        let sum = add(g, y, short)?;
        x = unary(g, Unary::Relu, sum)?;
    }
    g.done(x)
}

fn separable(g: &mut Gen, x: ValueId, k: usize) -> Option<ValueId> {
    let c = g.shape_of(x)[1];
    let x = unary(g, Unary::Relu, x)?;
    let y = linear(g, x, c, [k, k], 1, c)?;
    linear(g, y, c, [1, 1], 1, 1)
}

fn nasnet(g: &mut Gen) -> Option<Graph> {
    let c = 44;
    let mut before = g.input(F32, &[1, c, 28, 28]);
    let mut x = before;
    for _ in 0..2 {
        let (p, q) = (conv(g, before, c, [1, 1], 1, 1)?, conv(g, x, c, [1, 1], 1, 1)?);
        let mut parts = vec![p];
        let (a, b) = (separable(g, q, 3)?, q);
        parts.push(add(g, a, b)?);
        let (a, b) = (separable(g, p, 3)?, separable(g, q, 5)?);
        parts.push(add(g, a, b)?);
        let a = pool(g, Pool::AverageIncludePad, q, 3, 1, true)?;
        parts.push(add(g, a, p)?);
        let (a, b) = (separable(g, p, 5)?, separable(g, p, 3)?);
        parts.push(add(g, a, b)?);
        (before, x) = (x, g.node(Op::Concat { axis: 1 }, &parts)?);
    }
    g.done(x)
}

fn squeezenet(g: &mut Gen) -> Option<Graph> {
    let mut x = g.input(F32, &[1, 64, 55, 55]);
    for (i, s) in [16, 16, 32, 32, 48, 48, 64, 64].into_iter().enumerate() {
        if i == 2 || i == 4 {
            x = pool(g, Pool::Max, x, 3, 2, false)?;
        }
        let y = conv(g, x, s, [1, 1], 1, 1)?;
        let (a, b) = (conv(g, y, 4 * s, [1, 1], 1, 1)?, conv(g, y, 4 * s, [3, 3], 1, 1)?);
        x = g.node(Op::Concat { axis: 1 }, &[a, b])?;
    }
    g.done(x)
}

fn vgg(g: &mut Gen) -> Option<Graph> {
    let mut x = g.input(F32, &[1, 3, 224, 224]);
    for (m, n) in [(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)] {
        for _ in 0..n {
            x = conv(g, x, m, [3, 3], 1, 1)?;
        }
        x = pool(g, Pool::Max, x, 2, 2, false)?;
    }
    g.done(x)
}

fn inception(g: &mut Gen) -> Option<Graph> {
    let mut x = g.input(F32, &[1, 192, 35, 35]);
    for pooled in [32, 64, 64] {
        let a = conv(g, x, 64, [1, 1], 1, 1)?;
        let b = conv(g, x, 48, [1, 1], 1, 1)?;
        let b = conv(g, b, 64, [5, 5], 1, 1)?;
        let c = conv(g, x, 64, [1, 1], 1, 1)?;
        let c = conv(g, c, 96, [3, 3], 1, 1)?;
        let c = conv(g, c, 96, [3, 3], 1, 1)?;
        let d = pool(g, Pool::AverageIncludePad, x, 3, 1, true)?;
        let d = conv(g, d, pooled, [1, 1], 1, 1)?;
        x = g.node(Op::Concat { axis: 1 }, &[a, b, c, d])?;
    }
    g.done(x)
}
