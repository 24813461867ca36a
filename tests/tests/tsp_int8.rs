//! Quantised networks on the tsp machines: the checker finds nothing, and the simulator gives the bits of
//! the integer graph's oracle, element for element.

use quadrille_compiler::ir::{
    Binary, DType, Graph, Op, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window, eval::eval,
};
use quadrille_compiler::passes::run_pipeline;
use quadrille_isa::tsp::Machine;
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tsp::{self as tsp, CompileError, Options};

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
struct Net {
    g: Graph,
    rng: Rng,
    dtype: DType,
    /// Zero points of activations are not zero.
    shifted: bool,
    /// The zero point of all activations.
    zero: Option<f32>,
}

/// A dequantised value with its shape.
#[derive(Clone)]
struct Value {
    id: ValueId,
    shape: Vec<usize>,
}

impl Net {
    fn new(seed: u64, dtype: DType, shifted: bool) -> Net {
        let rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Net { g: Graph::new("int8"), rng, dtype, shifted, zero: None }
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let origin = self.g.add_origin(&format!("n{}_{}", self.g.nodes().len(), op.name()));
        self.g.add_node(op, inputs, origin).expect("the graph is well typed")
    }

    fn with(&mut self, op: Binary, x: ValueId, c: f32) -> ValueId {
        let c = self.g.add_const("c", Tensor::from_f32(&[], &[c]));
        self.node(Op::Binary(op), &[x, c])
    }

    /// Quantises and dequantises with a scale that uses the range.
    fn quantised(&mut self, x: ValueId, scale: f32) -> Value {
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

    fn input(&mut self, shape: &[usize]) -> Value {
        let name = format!("x{}", self.g.inputs.len());
        let x = self.g.add_input(name, TensorType::new(DType::F32, shape));
        self.quantised(x, 0.02)
    }

    fn weights(&mut self, shape: &[usize], channel: usize) -> ValueId {
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
    fn conv(&mut self, x: &Value, m: usize, kernel: usize, stride: usize, groups: usize) -> ValueId {
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
    fn max_pool(&mut self, x: &Value) -> ValueId {
        let window = Window {
            kernel: vec![3; 2],
            stride: vec![2; 2],
            dilation: vec![1; 2],
            before: vec![1; 2],
            after: vec![1; 2],
        };
        self.node(Op::Pool { kind: Pool::Max, window }, &[x.id])
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.node(Op::Unary(Unary::Relu), &[x])
    }

    /// The integer graph, as it is compiled.
    fn finish(mut self, y: &Value) -> Graph {
        self.g.add_output("y", y.id);
        run_pipeline(&mut self.g, &["integer-kernels", "clean"]).unwrap();
        let float =
            self.g.nodes().iter().any(|n| {
                matches!(n.op, Op::Conv { .. } | Op::MatMul { .. }) && self.g.ty(n.inputs[0]).dtype == DType::F32
            });
        assert!(!float, "a product stayed float");
        self.g
    }
}

fn inputs(g: &Graph) -> Vec<Tensor> {
    let mut rng = Rng(77);
    let mut noise = |s: &[usize]| (0..s.iter().product()).map(|_| rng.below(5000) as f32 / 1000.0 - 2.5).collect();
    g.inputs
        .iter()
        .map(|&v| {
            Tensor::from_f32(g.shape(v), &{
                let n: Vec<f32> = noise(g.shape(v));
                n
            })
        })
        .collect()
}

/// Compiles, checks, simulates; the outputs are the oracle's to the bit. Gives the cycles.
fn prove(g: &Graph, machine: &str) -> u64 {
    prove_with(g, machine, &Options::default()).0
}

/// The same with options; also the tiled graph.
fn prove_with(g: &Graph, machine: &str, options: &Options) -> (u64, String) {
    let m = Machine::builtin(machine).expect("a built-in machine");
    let c = tsp::compile(g, &m, options).unwrap_or_else(|e| panic!("{machine}: {e}"));
    let report = check(&c.program, &m);
    let errors: Vec<String> = report.errors.iter().take(5).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{machine}: {}\n{}", errors.join("\n"), c.tiled);
    assert_eq!(report.cycles, c.estimate.cycles, "cycles of checker and estimate");
    let inputs = inputs(g);
    let want = eval(g, &inputs).unwrap();
    let tiled = c.tiled.eval(&inputs).unwrap();
    assert!(tiled == want, "{machine}: the tiled graph is not the oracle\n{}", c.tiled);
    let sim = simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{machine}: {e}"));
    assert!(sim.outputs == want, "{machine}: the simulator is not the oracle\n{}", c.tiled);
    (report.cycles, c.tiled.to_string())
}

/// `small`: also on the machine of few slices, where the operands of a residual find no slices apart.
fn both(small: bool, build: impl Fn(u64, DType, bool) -> Graph) {
    for (n, (dtype, shifted)) in
        [(DType::I8, false), (DType::U8, false), (DType::I8, true), (DType::U8, true)].into_iter().enumerate()
    {
        let g = build(n as u64 + 1, dtype, shifted);
        if small {
            prove(&g, "tsp-small");
        }
        prove(&g, "tsp");
    }
}

#[test]
fn a_convolution_from_the_input() {
    both(true, |seed, dtype, shifted| {
        let mut n = Net::new(seed, dtype, shifted);
        let x = n.input(&[1, 3, 9, 10]);
        let y = n.conv(&x, 20, 3, 2, 1);
        let y = n.relu(y);
        let y = n.quantised(y, 0.03);
        n.finish(&y)
    });
}

#[test]
fn a_block_with_a_residual() {
    both(false, |seed, dtype, shifted| {
        let mut n = Net::new(seed, dtype, shifted);
        let x = n.input(&[1, 3, 8, 7]);
        let x = n.conv(&x, 24, 1, 1, 1);
        let x = n.quantised(x, 0.02);
        let y = n.conv(&x, 16, 3, 1, 1);
        let y = n.relu(y);
        let y = n.quantised(y, 0.04);
        let y = n.conv(&y, 24, 1, 1, 1);
        let y = n.quantised(y, 0.05);
        let y = n.node(Op::Binary(Binary::Add), &[y.id, x.id]);
        let y = n.relu(y);
        let y = n.quantised(y, 0.05);
        n.finish(&y)
    });
}

#[test]
fn depthwise_pools_and_a_dense_layer() {
    both(true, |seed, dtype, shifted| {
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
        n.finish(&y)
    });
}

/// With a zero point of -128 everything between the first quantisation and the last is kept from 0: padding, maxima, residuals and
/// the bias follow.
#[test]
fn the_lowest_zero_point_is_kept_as_zero() {
    let build = |zero: f32| {
        let mut n = Net::new(5, DType::I8, true);
        n.zero = Some(zero);
        let x = n.input(&[1, 3, 12, 11]);
        let x = n.conv(&x, 24, 3, 1, 1);
        let x = n.relu(x);
        let x = n.quantised(x, 0.03);
        let x = n.max_pool(&x);
        let x = n.quantised(x, 0.03);
        let y = n.conv(&x, 16, 3, 1, 1);
        let y = n.relu(y);
        let y = n.quantised(y, 0.04);
        let y = n.conv(&y, 24, 1, 1, 1);
        let y = n.quantised(y, 0.05);
        let y = n.node(Op::Binary(Binary::Add), &[y.id, x.id]);
        let y = n.relu(y);
        let y = n.quantised(y, 0.05);
        let y = n.conv(&y, 9, 1, 1, 1);
        let y = n.quantised(y, 0.05);
        n.finish(&y)
    };
    let m = Machine::builtin("tsp").expect("a built-in machine");
    let bytes = |g: &Graph| {
        let c = tsp::compile(g, &m, &Options::default()).expect("it compiles");
        format!("{}", c.tiled).lines().filter(|l| l.contains(": u8[")).count()
    };
    let (lowest, other) = (build(-128.0), build(-127.0));
    assert!(bytes(&lowest) > 0, "nothing is kept from 0");
    assert_eq!(bytes(&other), 0, "only the lowest zero point can be");
    for g in [&lowest, &other] {
        prove(g, "tsp");
    }
}

/// More rows than accumulators, more channels than lanes, an odd number of output blocks.
#[test]
fn wide_and_long_products() {
    let mut n = Net::new(9, DType::I8, false);
    let x = n.input(&[1, 2, 30, 23]);
    let x = n.conv(&x, 70, 1, 1, 1);
    let x = n.quantised(x, 0.02);
    let x = n.conv(&x, 130, 1, 1, 1);
    let y = n.quantised(x, 0.1);
    let g = n.finish(&y);
    prove(&g, "tsp");
    let mut n = Net::new(10, DType::I8, false);
    let x = n.input(&[1, 2, 60, 50]);
    let x = n.conv(&x, 400, 1, 1, 1);
    let x = n.quantised(x, 0.02);
    let x = n.conv(&x, 700, 1, 1, 1);
    let y = n.quantised(x, 0.1);
    prove(&n.finish(&y), "tsp");
}

/// Passes of the inner axis whole and halved, columns in five even blocks and in three as wide as the planes.
#[test]
fn products_of_bytes_in_every_way() {
    for shape in [[24, 352, 815], [3, 700, 128]] {
        let mut n = Net::new(11, DType::I8, true);
        let x = n.input(&shape[..2]);
        let w = n.weights(&shape[1..], 1);
        let y = n.node(Op::MatMul { epilogue: Vec::new() }, &[x.id, w]);
        let y = n.quantised(y, 0.1);
        let g = n.finish(&y);
        let mut programs = std::collections::BTreeMap::new();
        for way in quadrille_tsp::ProductWay::all() {
            let options = Options { product: Some(way), ..Options::default() };
            let (cycles, tiled) = prove_with(&g, "tsp", &options);
            programs.entry(tiled).or_insert((way.to_string(), cycles));
        }
        println!("{shape:?}: {:?}", programs.values());
        assert!(programs.len() >= if shape[2] > 320 { 4 } else { 2 }, "{:?}", programs.values());
    }
}

#[test]
fn what_is_not_mapped_is_named() {
    let mut g = Graph::new("computed");
    let a = g.add_input("a", TensorType::new(DType::I8, [2, 4]));
    let b = g.add_input("b", TensorType::new(DType::I8, [4, 3]));
    let o = g.add_origin("product");
    let y = g.add_node(Op::MatMul { epilogue: Vec::new() }, &[a, b], o).unwrap();
    g.add_output("y", y);
    let m = Machine::builtin("tsp").unwrap();
    match tsp::compile(&g, &m, &Options::default()) {
        Err(CompileError::Unsupported { node, reason, .. }) => {
            assert_eq!(node, "product");
            assert!(reason.contains("two computed operands"), "{reason}");
        }
        r => panic!("{r:?}"),
    }
}
