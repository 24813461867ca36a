//! Graphs that no model file brings: networks of any size, and the published ones of [`families`](super::families).

use quadrille_compiler::ir::{
    Binary, DType, Graph, Op, OriginId, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window,
};

const F32: DType = DType::F32;

/// A graph being written down, every node a node of the user's.
pub struct Writer {
    /// What there is so far.
    pub graph: Graph,
    numbers: usize,
    /// Weights by shape: all of one shape share their bytes, so that large graphs are small in memory.
    weights: Vec<Tensor>,
}

impl Writer {
    /// An empty graph.
    pub fn new(name: &str) -> Writer {
        Writer { graph: Graph::new(name), numbers: 0, weights: Vec::new() }
    }

    fn origin(&mut self, op: &Op) -> OriginId {
        self.numbers += 1;
        self.graph.push_origin(format!("{}_{}", op.name(), self.numbers))
    }

    /// A node; panics where the operands do not fit.
    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let origin = self.origin(&op);
        self.graph.add_node(op, inputs, origin).expect("the network is well typed")
    }

    /// An input.
    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("in{}", self.graph.inputs.len());
        self.graph.add_input(name, TensorType::new(F32, shape))
    }

    /// Weights that vary, so that nothing takes them for one number.
    pub fn weight(&mut self, shape: &[usize]) -> ValueId {
        let t = match self.weights.iter().find(|t| t.shape == shape) {
            Some(t) => t.clone(),
            None => {
                let n: usize = shape.iter().product();
                let values: Vec<f32> = (0..n).map(|i| (i % 7) as f32 / 64.0 - 0.04).collect();
                let t = Tensor::from_f32(shape, &values);
                self.weights.push(t.clone());
                t
            }
        };
        self.graph.add_const("w", t)
    }

    /// One number.
    pub fn number(&mut self, v: f32) -> ValueId {
        self.graph.add_const("c", Tensor::from_f32(&[], &[v]))
    }

    /// An elementwise operation.
    pub fn unary(&mut self, u: Unary, x: ValueId) -> ValueId {
        self.node(Op::Unary(u), &[x])
    }

    /// An elementwise operation of two.
    pub fn binary(&mut self, b: Binary, x: ValueId, y: ValueId) -> ValueId {
        self.node(Op::Binary(b), &[x, y])
    }

    /// A sum.
    pub fn add(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.binary(Binary::Add, x, y)
    }

    /// A product element by element.
    pub fn mul(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.binary(Binary::Mul, x, y)
    }

    /// A matrix product with weights.
    pub fn dense(&mut self, x: ValueId, n: usize) -> ValueId {
        let k = self.graph.shape(x).last().copied().unwrap_or(1);
        let w = self.weight(&[k, n]);
        self.matmul(x, w)
    }

    /// A matrix product.
    pub fn matmul(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.node(Op::MatMul { epilogue: vec![] }, &[x, y])
    }

    /// A convolution without bias.
    pub fn linear(&mut self, x: ValueId, m: usize, k: [usize; 2], stride: usize, groups: usize) -> ValueId {
        let c = self.graph.shape(x)[1];
        let w = self.weight(&[m, c / groups, k[0], k[1]]);
        self.node(Op::Conv { window: window(k, stride, true), groups, epilogue: vec![] }, &[x, w])
    }

    /// A convolution and a relu.
    pub fn conv(&mut self, x: ValueId, m: usize, k: [usize; 2], stride: usize, groups: usize) -> ValueId {
        let y = self.linear(x, m, k, stride, groups);
        self.unary(Unary::Relu, y)
    }

    /// A pool.
    pub fn pool(&mut self, kind: Pool, x: ValueId, k: usize, stride: usize, pad: bool) -> ValueId {
        self.node(Op::Pool { kind, window: window([k, k], stride, pad) }, &[x])
    }

    /// Reshape.
    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        self.node(Op::Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Transpose.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        self.node(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// The graph with these results.
    pub fn done(&mut self, outputs: &[ValueId]) -> Graph {
        for (i, &v) in outputs.iter().enumerate() {
            self.graph.add_output(format!("out{i}"), v);
        }
        std::mem::replace(&mut self.graph, Graph::new(""))
    }
}

fn window(k: [usize; 2], stride: usize, pad: bool) -> Window {
    let p: Vec<usize> = k.iter().map(|&k| if pad { k / 2 } else { 0 }).collect();
    Window { kernel: k.to_vec(), stride: vec![stride; 2], dilation: vec![1, 1], before: p.clone(), after: p }
}

/// A residual network of at least so many nodes: batch-norm spelled out, several activations, 1 x 1 and 3 x 3
/// windows.
pub fn residual(nodes: usize) -> Graph {
    let mut w = Writer::new("residual");
    let c = 32;
    let mut x = w.input(&[1, c, 14, 14]);
    let mut block = 0;
    while w.graph.nodes().len() < nodes {
        let before = x;
        for k in [1, 3, 1] {
            let y = w.linear(x, c, [k, k], 1, 1);
            // Batch-norm as exporters leave it.
            let (mean, root) = (w.weight(&[1, c, 1, 1]), w.weight(&[c, 1, 1]));
            let y = w.binary(Binary::Sub, y, mean);
            let y = w.mul(y, root);
            let shift = w.weight(&[c, 1, 1]);
            x = w.add(y, shift);
            x = match block % 3 {
                0 => w.unary(Unary::Relu, x),
                1 => {
                    let s = w.unary(Unary::Sigmoid, x);
                    w.mul(x, s)
                }
                _ => {
                    let (zero, six) = (w.number(0.0), w.number(6.0));
                    let y = w.binary(Binary::Max, x, zero);
                    w.binary(Binary::Min, y, six)
                }
            };
        }
        x = w.add(x, before);
        block += 1;
    }
    w.done(&[x])
}

/// Encoder layers of a transformer, of at least so many nodes: norms and gelu spelled out.
pub fn transformer(nodes: usize) -> Graph {
    let mut w = Writer::new("transformer");
    let (s, d, h) = (32, 64, 4);
    let mut x = w.input(&[1, s, d]);
    while w.graph.nodes().len() < nodes {
        x = encoder(&mut w, x, s, d, h);
    }
    w.done(&[x])
}

fn encoder(w: &mut Writer, x: ValueId, s: usize, d: usize, h: usize) -> ValueId {
    let bias = |w: &mut Writer, y: ValueId, n: usize| {
        let b = w.weight(&[n]);
        w.add(y, b)
    };
    let heads: Vec<ValueId> = (0..3)
        .map(|_| {
            let y = w.dense(x, d);
            let y = bias(w, y, d);
            let y = w.reshape(y, &[1, s, h, d / h]);
            w.transpose(y, &[0, 2, 1, 3])
        })
        .collect();
    let k = w.transpose(heads[1], &[0, 1, 3, 2]);
    let scores = w.matmul(heads[0], k);
    let root = w.number(((d / h) as f32).sqrt());
    let scores = w.binary(Binary::Div, scores, root);
    let weights = w.node(Op::Softmax { axis: 3 }, &[scores]);
    let y = w.matmul(weights, heads[2]);
    let y = w.transpose(y, &[0, 2, 1, 3]);
    let y = w.reshape(y, &[1, s, d]);
    let y = w.dense(y, d);
    let y = bias(w, y, d);
    let y = w.add(x, y);
    let x = norm(w, y, d);
    let y = w.dense(x, 4 * d);
    let y = bias(w, y, 4 * d);
    let root = w.number(std::f32::consts::SQRT_2);
    let u = w.binary(Binary::Div, y, root);
    let e = w.unary(Unary::Erf, u);
    let (one, half) = (w.number(1.0), w.number(0.5));
    let bell = w.add(e, one);
    let y = w.mul(y, bell);
    let y = w.mul(y, half);
    let y = w.dense(y, d);
    let y = bias(w, y, d);
    let y = w.add(x, y);
    norm(w, y, d)
}

fn norm(w: &mut Writer, x: ValueId, d: usize) -> ValueId {
    let mean = |w: &mut Writer, x| w.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2], keep: true }, &[x]);
    let m = mean(w, x);
    let c = w.binary(Binary::Sub, x, m);
    let sq = w.mul(c, c);
    let v = mean(w, sq);
    let eps = w.number(1e-5);
    let v = w.add(v, eps);
    let root = w.unary(Unary::Sqrt, v);
    let n = w.binary(Binary::Div, c, root);
    let (g, b) = (w.weight(&[d]), w.weight(&[d]));
    let y = w.mul(n, g);
    w.add(y, b)
}
