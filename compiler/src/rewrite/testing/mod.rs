//! Random graphs for the property tests of rules.
//!
//! Each rule has an example: a function that draws a small graph of the shape that the rule
//! looks for, now and then one that just misses its preconditions. The test counts how many of
//! the draws the rule really changed.

mod cost;
pub(crate) mod examples;
pub(crate) mod networks;

pub(crate) use cost::PlainCost;

use super::check::Random;
use crate::ir::{DType, EpilogueStep, Graph, Node, Op, Tensor, TensorType, ValueId, Window};

/// Draws graphs.
pub(crate) struct Gen {
    random: Random,
    graph: Graph,
    /// Draw infinities, NaN and both zeros now and then.
    specials: bool,
}

/// Element types that most operations take.
pub(crate) const FLOATS: [DType; 4] = [DType::F32, DType::F32, DType::F64, DType::F16];
const NUMBERS: [DType; 7] = [DType::F32, DType::F32, DType::F64, DType::F16, DType::I32, DType::I64, DType::I8];

impl Gen {
    pub(crate) fn new(seed: u64, specials: bool) -> Gen {
        Gen { random: Random::new(seed), graph: Graph::new("example"), specials }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.random.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// An element.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(crate) fn float(&mut self) -> DType {
        self.pick(&FLOATS)
    }

    pub(crate) fn number(&mut self) -> DType {
        self.pick(&NUMBERS)
    }

    /// From `lo` to `hi`.
    pub(crate) fn between(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    /// A shape of a rank in the range, of small extents.
    pub(crate) fn shape(&mut self, lo: usize, hi: usize) -> Vec<usize> {
        let rank = self.between(lo, hi);
        (0..rank).map(|_| self.between(1, 5)).collect()
    }

    /// A shape that broadcasts to `shape` without widening it.
    pub(crate) fn narrower(&mut self, shape: &[usize]) -> Vec<usize> {
        let skip = self.below(shape.len() + 1);
        shape[skip..].iter().map(|&d| if self.one_in(3) { 1 } else { d }).collect()
    }

    /// A permutation.
    pub(crate) fn perm(&mut self, rank: usize) -> Vec<usize> {
        let mut p: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            let j = self.below(i + 1);
            p.swap(i, j);
        }
        p
    }

    fn value(&mut self, dtype: DType) -> f64 {
        if dtype.is_float() {
            if self.specials && self.one_in(40) {
                return self.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0]);
            }
            return self.random.signed_unit() * 3.0;
        }
        match dtype {
            DType::Bool => self.below(2) as f64,
            d if d.is_signed_int() => self.between(0, 200) as f64 - 100.0,
            _ => self.below(200) as f64,
        }
    }

    /// Random elements.
    pub(crate) fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let mut bytes = Vec::new();
        for _ in 0..n {
            let v = self.value(dtype);
            push(&mut bytes, dtype, v);
        }
        Tensor::new(dtype, shape.to_vec(), bytes).unwrap()
    }

    pub(crate) fn input(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let name = format!("in{}", self.graph.inputs.len());
        self.graph.add_input(name, TensorType::new(dtype, shape))
    }

    pub(crate) fn constant(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let t = self.tensor(dtype, shape);
        self.graph.add_const("c", t)
    }

    /// A constant of one number everywhere.
    pub(crate) fn splat(&mut self, dtype: DType, shape: &[usize], v: f64) -> ValueId {
        let mut bytes = Vec::new();
        (0..shape.iter().product()).for_each(|_| push(&mut bytes, dtype, v));
        self.graph.add_const("s", Tensor::new(dtype, shape.to_vec(), bytes).unwrap())
    }

    /// A node of an origin of its own; `None` when the operands do not fit.
    pub(crate) fn node(&mut self, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let origin = self.graph.add_origin(&format!("{}_{}", op.name(), self.graph.nodes().len()));
        self.graph.add_node(op, inputs, origin).ok()
    }

    pub(crate) fn shape_of(&self, v: ValueId) -> Vec<usize> {
        self.graph.shape(v).to_vec()
    }

    pub(crate) fn producer(&self, v: ValueId) -> Option<Node> {
        self.graph.producer(v).cloned()
    }

    pub(crate) fn dtype_of(&self, v: ValueId) -> DType {
        self.graph.ty(v).dtype
    }

    /// The graph with one output.
    pub(crate) fn done(&mut self, v: ValueId) -> Option<Graph> {
        self.done_all(&[v])
    }

    /// The graph with several outputs.
    pub(crate) fn done_all(&mut self, vs: &[ValueId]) -> Option<Graph> {
        let mut g = std::mem::replace(&mut self.graph, Graph::new("example"));
        vs.iter().enumerate().for_each(|(i, &v)| g.add_output(format!("out{i}"), v));
        Some(g)
    }

    /// Inputs for a graph.
    pub(crate) fn inputs_for(&mut self, g: &Graph) -> Vec<Tensor> {
        g.inputs.iter().map(|&v| self.tensor(g.ty(v).dtype, g.shape(v))).collect()
    }

    /// A convolution or a matrix product with constant weights, plain or with an epilogue.
    pub(crate) fn product(&mut self, dtype: DType) -> Option<ValueId> {
        if self.one_in(2) { self.matmul(dtype) } else { self.conv(dtype) }
    }

    pub(crate) fn matmul(&mut self, dtype: DType) -> Option<ValueId> {
        let (m, k, n) = (self.between(1, 5), self.between(1, 6), self.between(1, 5));
        let mut a = if self.one_in(2) { vec![self.between(1, 3)] } else { vec![] };
        a.extend([m, k]);
        let x = self.input(dtype, &a);
        let w = self.constant(dtype, &[k, n]);
        self.node(Op::MatMul { epilogue: vec![] }, &[x, w])
    }

    pub(crate) fn conv(&mut self, dtype: DType) -> Option<ValueId> {
        let spatial = self.between(1, 2);
        let groups = self.pick(&[1, 1, 1, 2]);
        let (c, m) = (groups * self.between(1, 3), groups * self.between(1, 3));
        let kernel: Vec<usize> = (0..spatial).map(|_| self.between(1, 3)).collect();
        let window = Window {
            stride: (0..spatial).map(|_| self.between(1, 2)).collect(),
            dilation: (0..spatial).map(|_| self.between(1, 2)).collect(),
            before: (0..spatial).map(|_| self.below(2)).collect(),
            after: (0..spatial).map(|_| self.below(2)).collect(),
            kernel: kernel.clone(),
        };
        let mut x = vec![self.between(1, 2), c];
        x.extend((0..spatial).map(|_| self.between(4, 7)));
        let mut w = vec![m, c / groups];
        w.extend(&kernel);
        let (x, w) = (self.input(dtype, &x), self.constant(dtype, &w));
        self.node(Op::Conv { window, groups, epilogue: vec![] }, &[x, w])
    }

    /// Shape of a constant per channel of a product's result.
    pub(crate) fn channel_shape(&mut self, product: ValueId) -> Vec<usize> {
        let shape = self.shape_of(product);
        let conv = matches!(self.graph.producer(product).map(|n| &n.op), Some(Op::Conv { .. }));
        let axis = if conv { 1 } else { shape.len() - 1 };
        let full: Vec<usize> = (0..shape.len()).map(|i| if i == axis { shape[i] } else { 1 }).collect();
        full[if self.one_in(2) { axis } else { 0 }..].to_vec()
    }

    /// The product with steps in its epilogue and random constants per channel for them.
    pub(crate) fn with_epilogue(&mut self, product: ValueId, steps: &[EpilogueStep]) -> Option<ValueId> {
        let node = self.graph.producer(product)?.clone();
        let mut op = node.op.clone();
        if let Op::Conv { epilogue, .. } | Op::MatMul { epilogue } = &mut op {
            *epilogue = steps.to_vec();
        }
        let dtype = self.dtype_of(product);
        let mut inputs = node.inputs.clone();
        for _ in steps.iter().filter(|s| s.takes_operand()) {
            let shape = self.channel_shape(product);
            inputs.push(self.constant(dtype, &shape));
        }
        self.node(op, &inputs)
    }
}

fn push(bytes: &mut Vec<u8>, dtype: DType, v: f64) {
    match dtype {
        DType::F16 => bytes.extend(half::f16::from_f64(v).to_le_bytes()),
        DType::BF16 => bytes.extend(half::bf16::from_f64(v).to_le_bytes()),
        DType::F32 => bytes.extend((v as f32).to_le_bytes()),
        DType::F64 => bytes.extend(v.to_le_bytes()),
        d if d.is_signed_int() => bytes.extend(&(v as i64).to_le_bytes()[..d.size()]),
        d => bytes.extend(&(v as u64).to_le_bytes()[..d.size()]),
    }
}
