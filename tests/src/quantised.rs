//! Quantised networks, as a quantiser writes them: islands of dequantised operands around float operations.

use quadrille_compiler::ir::{Binary, DType, Graph, Op, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window};

/// Numbers that look random.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// A float graph of quantised islands, as a quantiser writes it.
pub struct Net {
    /// What there is of it.
    pub g: Graph,
    rng: Rng,
    dtype: DType,
    /// Zero points of activations are not zero.
    shifted: bool,
    /// The zero point of all activations.
    pub zero: Option<f32>,
}

/// A dequantised value with its shape.
#[derive(Clone)]
pub struct Value {
    /// The value.
    pub id: ValueId,
    shape: Vec<usize>,
}

impl Net {
    /// Nothing yet.
    pub fn new(seed: u64, dtype: DType, shifted: bool) -> Net {
        let rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Net { g: Graph::new("int8"), rng, dtype, shifted, zero: None }
    }

    /// A node.
    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let origin = self.g.add_origin(&format!("n{}_{}", self.g.nodes().len(), op.name()));
        self.g.add_node(op, inputs, origin).expect("the graph is well typed")
    }

    fn with(&mut self, op: Binary, x: ValueId, c: f32) -> ValueId {
        let c = self.g.add_const("c", Tensor::from_f32(&[], &[c]));
        self.node(Op::Binary(op), &[x, c])
    }

    /// Quantises and dequantises with a scale that uses the range.
    pub fn quantised(&mut self, x: ValueId, scale: f32) -> Value {
        let zero = if self.shifted { self.rng.below(50) as f32 - 20.0 } else { 0.0 };
        let (zero, low, high) =
            if self.dtype == DType::U8 { (zero + 128.0, 0.0, 255.0) } else { (zero, -128.0, 127.0) };
        let zero = self.zero.unwrap_or(zero);
        let y = self.with(Binary::Div, x, scale);
        let y = self.node(Op::Unary(Unary::Round), &[y]);
        let y = self.with(Binary::Add, y, zero);
        let y = self.with(Binary::Max, y, low);
        let y = self.with(Binary::Min, y, high);
        let q = self.node(Op::Cast(self.dtype), &[y]);
        let y = self.node(Op::Cast(DType::F32), &[q]);
        let y = self.with(Binary::Sub, y, zero);
        let id = self.with(Binary::Mul, y, scale);
        Value { id, shape: self.g.shape(id).to_vec() }
    }

    /// An input of the model, quantised.
    pub fn input(&mut self, shape: &[usize]) -> Value {
        let name = format!("x{}", self.g.inputs.len());
        let x = self.g.add_input(name, TensorType::new(DType::F32, shape));
        self.quantised(x, 0.02)
    }

    /// Weights of bytes with a scale each of an axis.
    pub fn weights(&mut self, shape: &[usize], channel: usize) -> ValueId {
        let data: Vec<u8> = (0..shape.iter().product()).map(|_| self.rng.below(256) as u8).collect();
        let w = self.g.add_const("w", Tensor::new(DType::I8, shape.to_vec(), data).unwrap());
        let mut per = vec![1; shape.len()];
        per[channel] = shape[channel];
        let scales: Vec<f32> = (0..shape[channel]).map(|_| 0.001 + self.rng.below(500) as f32 * 1e-5).collect();
        let s = self.g.add_const("s", Tensor::from_f32(&per, &scales));
        let y = self.node(Op::Cast(DType::F32), &[w]);
        self.node(Op::Binary(Binary::Mul), &[y, s])
    }

    /// A convolution before it is quantised.
    pub fn conv(&mut self, x: &Value, m: usize, kernel: usize, stride: usize, groups: usize) -> ValueId {
        let window = Window {
            kernel: vec![kernel; 2],
            stride: vec![stride; 2],
            dilation: vec![1; 2],
            before: vec![kernel / 2; 2],
            after: vec![kernel / 2; 2],
        };
        let w = self.weights(&[m, x.shape[1] / groups, kernel, kernel], 0);
        let y = self.node(Op::Conv { window, groups, epilogue: Vec::new() }, &[x.id, w]);
        let bias: Vec<f32> = (0..m).map(|_| self.rng.below(2000) as f32 / 1000.0 - 1.0).collect();
        let bias = self.g.add_const("b", Tensor::from_f32(&[m, 1, 1], &bias));
        self.node(Op::Binary(Binary::Add), &[y, bias])
    }

    /// Of 3 x 3 with stride 2.
    pub fn max_pool(&mut self, x: &Value) -> ValueId {
        let window = Window {
            kernel: vec![3; 2],
            stride: vec![2; 2],
            dilation: vec![1; 2],
            before: vec![1; 2],
            after: vec![1; 2],
        };
        self.node(Op::Pool { kind: Pool::Max, window }, &[x.id])
    }

    /// What is below zero is zero.
    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.node(Op::Unary(Unary::Relu), &[x])
    }

    /// A window of 16 channels and a product back to 24, added to what comes.
    pub fn residual_block(&mut self, x: &Value) -> Value {
        let y = self.conv(x, 16, 3, 1, 1);
        let y = self.relu(y);
        let y = self.quantised(y, 0.04);
        let y = self.conv(&y, 24, 1, 1, 1);
        let y = self.quantised(y, 0.05);
        let y = self.node(Op::Binary(Binary::Add), &[y.id, x.id]);
        let y = self.relu(y);
        self.quantised(y, 0.05)
    }

    /// The network with that output.
    pub fn with_output(mut self, y: &Value) -> Graph {
        self.g.add_output("y", y.id);
        self.g
    }
}

/// A block with a residual.
pub fn residual(seed: u64, dtype: DType, shifted: bool) -> Graph {
    let mut n = Net::new(seed, dtype, shifted);
    let x = n.input(&[1, 3, 8, 7]);
    let x = n.conv(&x, 24, 1, 1, 1);
    let x = n.quantised(x, 0.02);
    let y = n.residual_block(&x);
    n.with_output(&y)
}

/// Depthwise windows, a pool, a mean and a dense layer.
pub fn classifier(seed: u64, dtype: DType, shifted: bool) -> Graph {
    let mut n = Net::new(seed, dtype, shifted);
    let x = n.input(&[1, 4, 8, 8]);
    let x = n.conv(&x, 12, 1, 1, 1);
    let x = n.quantised(x, 0.03);
    let x = n.conv(&x, 12, 3, 1, 12);
    let x = n.quantised(x, 0.03);
    let x = n.max_pool(&x);
    let x = n.quantised(x, 0.03);
    let x = n.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[x.id]);
    let x = n.node(Op::Reshape { shape: vec![1, 12] }, &[x]);
    let x = n.quantised(x, 0.02);
    let w = n.weights(&[10, 12], 0);
    let w = n.node(Op::Transpose { perm: vec![1, 0] }, &[w]);
    let y = n.node(Op::MatMul { epilogue: Vec::new() }, &[x.id, w]);
    let y = n.quantised(y, 0.01);
    n.with_output(&y)
}

/// Scores of every two positions of some heads, and with them a mix of values, all quantised; scales are powers of two, so that
/// floats are exact.
pub fn scores_and_mix(
    (heads, positions, depth): (usize, usize, usize),
    dtype: DType,
    zero: impl Fn(&str) -> f32,
) -> Graph {
    let mut n = Net::new(3, dtype, false);
    let mut operand = |name: &str, perm: [usize; 4]| {
        let x = n.g.add_input(name, TensorType::new(DType::F32, [1, positions, heads * depth]));
        n.zero = Some(zero(name));
        let x = n.quantised(x, 1.0 / 32.0);
        let x = n.node(Op::Reshape { shape: vec![1, positions, heads, depth] }, &[x.id]);
        n.node(Op::Transpose { perm: perm.to_vec() }, &[x])
    };
    let [q, k, v] = [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])].map(|(x, perm)| operand(x, perm));
    let s = n.node(Op::MatMul { epilogue: Vec::new() }, &[q, k]);
    n.zero = Some(zero("scores"));
    let s = n.quantised(s, 0.25);
    let y = n.node(Op::MatMul { epilogue: Vec::new() }, &[s.id, v]);
    let y = n.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let y = n.node(Op::Reshape { shape: vec![1, positions, heads * depth] }, &[y]);
    n.zero = Some(zero("mix"));
    let y = n.quantised(y, 4.0);
    n.with_output(&y)
}

/// Noise for every input of a network.
pub fn inputs(g: &Graph) -> Vec<Tensor> {
    let mut rng = Rng(77);
    let mut noise = |shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.below(5000) as f32 / 1000.0 - 2.5).collect();
        Tensor::from_f32(shape, &values)
    };
    g.inputs.iter().map(|&v| noise(g.shape(v))).collect()
}
