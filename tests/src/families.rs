//! The graphs that TASO and TENSAT are measured on, by their published layouts: f32, one image or sequence,
//! weights without meaning.

use super::graphs::Writer;
use quadrille_compiler::ir::{Graph, Op, Pool, Unary, ValueId};

/// A published graph.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it has.
    pub what: &'static str,
    /// Published seconds of the search: TASO, TENSAT.
    pub published: (f64, f64),
    /// How it is built.
    pub build: fn() -> Graph,
}

/// All of them.
pub const FAMILIES: [Family; 7] = [
    Family { name: "NasRNN", what: "5 steps, 512 wide", published: (177.3, 0.5), build: nas_rnn },
    Family { name: "BERT", what: "8 layers, 1024 wide, 64 tokens", published: (13.6, 1.4), build: bert },
    Family { name: "ResNeXt-50", what: "16 blocks, 32 groups", published: (25.3, 0.7), build: resnext },
    Family { name: "NasNet-A", what: "18 cells, from 44 channels", published: (1226.0, 10.6), build: nasnet },
    Family { name: "SqueezeNet", what: "8 fire modules", published: (16.4, 0.3), build: squeezenet },
    Family { name: "VGG-19", what: "16 convolutions", published: (8.9, 0.4), build: vgg },
    Family { name: "Inception-v3", what: "11 modules", published: (68.6, 5.1), build: inception },
];

/// Eight gates of products with the input and the state, joined in pairs, as the searched cell has them.
fn nas_rnn() -> Graph {
    let mut w = Writer::new("NasRNN");
    let n = 512;
    let mut h = w.input(&[1, n]);
    for _ in 0..5 {
        let x = w.input(&[1, n]);
        let mut gates = Vec::new();
        for i in 0..8 {
            let (a, b) = (w.dense(x, n), w.dense(h, n));
            let sum = w.add(a, b);
            gates.push(w.unary([Unary::Relu, Unary::Sigmoid, Unary::Tanh][i % 3], sum));
        }
        while gates.len() > 1 {
            let level = gates.len();
            gates = gates.chunks(2).map(|p| if level == 4 { w.mul(p[0], p[1]) } else { w.add(p[0], p[1]) }).collect();
        }
        h = w.unary(Unary::Tanh, gates[0]);
    }
    w.done(&[h])
}

/// Attention and feed-forward, without norms, as in the published graph.
fn bert() -> Graph {
    let mut w = Writer::new("BERT");
    let (s, d, h) = (64, 1024, 16);
    let mut x = w.input(&[s, d]);
    for _ in 0..8 {
        let heads: Vec<ValueId> = (0..3)
            .map(|_| {
                let y = w.dense(x, d);
                let y = w.reshape(y, &[s, h, d / h]);
                w.transpose(y, &[1, 0, 2])
            })
            .collect();
        let k = w.transpose(heads[1], &[0, 2, 1]);
        let scores = w.matmul(heads[0], k);
        let y = w.matmul(scores, heads[2]);
        let y = w.transpose(y, &[1, 0, 2]);
        let y = w.reshape(y, &[s, d]);
        let y = w.dense(y, d);
        x = w.add(x, y);
        let y = w.dense(x, 4 * d);
        let y = w.unary(Unary::Relu, y);
        let y = w.dense(y, d);
        x = w.add(x, y);
    }
    w.done(&[x])
}

fn resnext() -> Graph {
    let mut w = Writer::new("ResNeXt-50");
    let x = w.input(&[1, 3, 224, 224]);
    let x = w.conv(x, 64, [7, 7], 2, 1);
    let mut x = w.pool(Pool::Max, x, 3, 2, true);
    for (stage, (m, blocks)) in [(128, 3), (256, 4), (512, 6), (1024, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = w.conv(x, m, [1, 1], 1, 1);
            let y = w.conv(y, m, [3, 3], stride, 32);
            let y = w.linear(y, 2 * m, [1, 1], 1, 1);
            let short = if block == 0 { w.linear(x, 2 * m, [1, 1], stride, 1) } else { x };
            let sum = w.add(y, short);
            x = w.unary(Unary::Relu, sum);
        }
    }
    w.done(&[x])
}

fn separable(w: &mut Writer, x: ValueId, m: usize, k: usize, stride: usize) -> ValueId {
    let c = w.graph.shape(x)[1];
    let x = w.unary(Unary::Relu, x);
    let y = w.linear(x, c, [k, k], stride, c);
    w.linear(y, m, [1, 1], 1, 1)
}

/// The operand with the channels and the extent of another.
fn squeeze(w: &mut Writer, x: ValueId, to: ValueId, m: usize) -> ValueId {
    let stride = w.graph.shape(x)[2] / w.graph.shape(to)[2];
    let x = w.unary(Unary::Relu, x);
    w.linear(x, m, [1, 1], stride, 1)
}

fn normal_cell(w: &mut Writer, before: ValueId, x: ValueId, m: usize) -> ValueId {
    let (p, q) = (squeeze(w, before, x, m), squeeze(w, x, x, m));
    let mut parts = vec![p];
    let a = separable(w, q, m, 3, 1);
    parts.push(w.add(a, q));
    let (a, b) = (separable(w, p, m, 3, 1), separable(w, q, m, 5, 1));
    parts.push(w.add(a, b));
    let a = w.pool(Pool::AverageIncludePad, q, 3, 1, true);
    parts.push(w.add(a, p));
    let (a, b) = (w.pool(Pool::AverageIncludePad, p, 3, 1, true), w.pool(Pool::AverageIncludePad, p, 3, 1, true));
    parts.push(w.add(a, b));
    let (a, b) = (separable(w, p, m, 5, 1), separable(w, p, m, 3, 1));
    parts.push(w.add(a, b));
    w.node(Op::Concat { axis: 1 }, &parts)
}

fn reduction_cell(w: &mut Writer, before: ValueId, x: ValueId, m: usize) -> ValueId {
    let (p, q) = (squeeze(w, before, x, m), squeeze(w, x, x, m));
    let (a, b) = (separable(w, p, m, 7, 2), separable(w, q, m, 5, 2));
    let first = w.add(a, b);
    let (a, b) = (w.pool(Pool::Max, q, 3, 2, true), separable(w, p, m, 7, 2));
    let second = w.add(a, b);
    let (a, b) = (w.pool(Pool::AverageIncludePad, q, 3, 2, true), separable(w, p, m, 5, 2));
    let third = w.add(a, b);
    let (a, b) = (w.pool(Pool::Max, q, 3, 2, true), separable(w, first, m, 3, 1));
    let fourth = w.add(a, b);
    let a = w.pool(Pool::AverageIncludePad, first, 3, 1, true);
    let fifth = w.add(a, second);
    w.node(Op::Concat { axis: 1 }, &[second, third, fourth, fifth])
}

fn nasnet() -> Graph {
    let mut w = Writer::new("NasNet-A");
    let x = w.input(&[1, 3, 112, 112]);
    let mut x = w.conv(x, 44, [3, 3], 2, 1);
    let mut before = x;
    let mut m = 44;
    for stage in 0..3 {
        for _ in 0..5 {
            let y = normal_cell(&mut w, before, x, m);
            (before, x) = (x, y);
        }
        if stage < 2 {
            m *= 2;
        }
        let y = reduction_cell(&mut w, before, x, m);
        (before, x) = (x, y);
    }
    w.done(&[x])
}

fn squeezenet() -> Graph {
    let mut w = Writer::new("SqueezeNet");
    let x = w.input(&[1, 3, 224, 224]);
    let x = w.conv(x, 64, [3, 3], 2, 1);
    let mut x = w.pool(Pool::Max, x, 3, 2, false);
    for (i, s) in [16, 16, 32, 32, 48, 48, 64, 64].into_iter().enumerate() {
        if i == 2 || i == 4 {
            x = w.pool(Pool::Max, x, 3, 2, false);
        }
        let y = w.conv(x, s, [1, 1], 1, 1);
        let (a, b) = (w.conv(y, 4 * s, [1, 1], 1, 1), w.conv(y, 4 * s, [3, 3], 1, 1));
        x = w.node(Op::Concat { axis: 1 }, &[a, b]);
    }
    w.done(&[x])
}

fn vgg() -> Graph {
    let mut w = Writer::new("VGG-19");
    let mut x = w.input(&[1, 3, 224, 224]);
    for (m, n) in [(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)] {
        for _ in 0..n {
            x = w.conv(x, m, [3, 3], 1, 1);
        }
        x = w.pool(Pool::Max, x, 2, 2, false);
    }
    w.done(&[x])
}

/// Convolutions one after the other: (channels, window, stride).
fn tower(w: &mut Writer, mut x: ValueId, layers: &[(usize, [usize; 2], usize)]) -> ValueId {
    for &(m, k, stride) in layers {
        x = w.conv(x, m, k, stride, 1);
    }
    x
}

fn inception() -> Graph {
    let mut w = Writer::new("Inception-v3");
    let w = &mut w;
    let x = w.input(&[1, 3, 299, 299]);
    let x = tower(w, x, &[(32, [3, 3], 2), (32, [3, 3], 1), (64, [3, 3], 1)]);
    let x = w.pool(Pool::Max, x, 3, 2, false);
    let x = tower(w, x, &[(80, [1, 1], 1), (192, [3, 3], 1)]);
    let mut x = w.pool(Pool::Max, x, 3, 2, false);
    let join = |w: &mut Writer, parts: &[ValueId]| w.node(Op::Concat { axis: 1 }, parts);
    let average = |w: &mut Writer, x| w.pool(Pool::AverageIncludePad, x, 3, 1, true);
    for pooled in [32, 64, 64] {
        let a = tower(w, x, &[(64, [1, 1], 1)]);
        let b = tower(w, x, &[(48, [1, 1], 1), (64, [5, 5], 1)]);
        let c = tower(w, x, &[(64, [1, 1], 1), (96, [3, 3], 1), (96, [3, 3], 1)]);
        let d = average(w, x);
        let d = tower(w, d, &[(pooled, [1, 1], 1)]);
        x = join(w, &[a, b, c, d]);
    }
    let a = tower(w, x, &[(384, [3, 3], 2)]);
    let b = tower(w, x, &[(64, [1, 1], 1), (96, [3, 3], 1), (96, [3, 3], 2)]);
    let c = w.pool(Pool::Max, x, 3, 2, true);
    x = join(w, &[a, b, c]);
    for n in [128, 160, 160, 192] {
        let (wide, tall) = ([1, 7], [7, 1]);
        let a = tower(w, x, &[(192, [1, 1], 1)]);
        let b = tower(w, x, &[(n, [1, 1], 1), (n, wide, 1), (192, tall, 1)]);
        let c = tower(w, x, &[(n, [1, 1], 1), (n, tall, 1), (n, wide, 1), (n, tall, 1), (192, wide, 1)]);
        let d = average(w, x);
        let d = tower(w, d, &[(192, [1, 1], 1)]);
        x = join(w, &[a, b, c, d]);
    }
    let a = tower(w, x, &[(192, [1, 1], 1), (320, [3, 3], 2)]);
    let b = tower(w, x, &[(192, [1, 1], 1), (192, [1, 7], 1), (192, [7, 1], 1), (192, [3, 3], 2)]);
    let c = w.pool(Pool::Max, x, 3, 2, true);
    x = join(w, &[a, b, c]);
    for _ in 0..2 {
        let a = tower(w, x, &[(320, [1, 1], 1)]);
        let b = tower(w, x, &[(384, [1, 1], 1)]);
        let (b0, b1) = (tower(w, b, &[(384, [1, 3], 1)]), tower(w, b, &[(384, [3, 1], 1)]));
        let c = tower(w, x, &[(448, [1, 1], 1), (384, [3, 3], 1)]);
        let (c0, c1) = (tower(w, c, &[(384, [1, 3], 1)]), tower(w, c, &[(384, [3, 1], 1)]));
        let d = average(w, x);
        let d = tower(w, d, &[(192, [1, 1], 1)]);
        x = join(w, &[a, b0, b1, c0, c1, d]);
    }
    w.done(&[x])
}
