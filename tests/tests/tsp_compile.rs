//! Compiled tsp programs: the checker finds nothing, the simulator gives the bits of the tiled
//! graph, and the tiled graph agrees with the tensor graph within a stated tolerance.

#[path = "tsp_mappings/mod.rs"]
mod mappings;

use quadrille_compiler::ir::{
    Binary, DType, EpilogueStep, Graph, Op, PadMode, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window,
    eval::{eval, eval_all},
};
use quadrille_isa::tsp::{Inst, Machine};
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tsp::{self as tsp, CompileError, Compiled, Options};

/// Values in [-1, 1) that depend on the seed alone.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

struct Build {
    g: Graph,
    seed: u64,
}

impl Build {
    fn new() -> Build {
        Build { g: Graph::new("test"), seed: 1 }
    }

    fn input(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("x{}", self.g.inputs.len());
        self.g.add_input(name, TensorType::new(DType::F32, shape))
    }

    fn weights(&mut self, shape: &[usize], scale: f32) -> ValueId {
        self.seed += 1;
        let values: Vec<f32> = noise(self.seed, shape.iter().product()).iter().map(|x| x * scale).collect();
        self.g.add_const("w", Tensor::from_f32(shape, &values))
    }

    fn scalar(&mut self, v: f32) -> ValueId {
        self.g.add_const("c", Tensor::from_f32(&[], &[v]))
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let origin = self.g.add_origin(&format!("n{}_{}", self.g.nodes().len(), op.name()));
        self.g.add_node(op, inputs, origin).expect("the graph is well typed")
    }

    fn out(mut self, v: &[ValueId]) -> Graph {
        for (n, &v) in v.iter().enumerate() {
            self.g.add_output(format!("y{n}"), v);
        }
        self.g
    }
}

fn inputs_of(g: &Graph) -> Vec<Tensor> {
    g.inputs
        .iter()
        .enumerate()
        .map(|(n, &v)| {
            let ty = g.ty(v);
            let count = ty.elements();
            match ty.dtype {
                DType::I64 => {
                    Tensor::from_i64(&ty.shape, &(0..count as i64).map(|i| (i * 7 + 3) % 10).collect::<Vec<_>>())
                }
                _ => Tensor::from_f32(&ty.shape, &noise(1000 + n as u64, count)),
            }
        })
        .collect()
}

fn compile_on(g: &Graph, machine: &str) -> (Compiled, Machine) {
    let m = Machine::builtin(machine).expect("a built-in machine");
    let c = tsp::compile(g, &m, &Options::default()).unwrap_or_else(|e| panic!("{machine}: {e}"));
    (c, m)
}

/// Compiles, checks, simulates, compares; returns the cycles.
fn prove(g: &Graph, machine: &str, tolerance: f32) -> u64 {
    let inputs = inputs_of(g);
    prove_with(g, machine, &inputs, tolerance)
}

fn prove_with(g: &Graph, machine: &str, inputs: &[Tensor], tolerance: f32) -> u64 {
    let (c, m) = compile_on(g, machine);
    prove_compiled(g, &c, &m, inputs, tolerance)
}

/// Checks, simulates, compares; returns the cycles.
fn prove_compiled(g: &Graph, c: &Compiled, m: &Machine, inputs: &[Tensor], tolerance: f32) -> u64 {
    let machine = &m.name;
    let report = check(&c.program, m);
    if !report.errors.is_empty() {
        let all: Vec<String> = report.errors.iter().take(5).map(|e| e.to_string()).collect();
        panic!("{machine}: {} errors\n{}\n{}", report.errors.len(), all.join("\n"), c.tiled);
    }
    assert_eq!(report.cycles, c.estimate.cycles, "cycles of checker and estimate");
    let tiled = c.tiled.eval(inputs).expect("the tiled graph takes the inputs");
    let sim = simulate(&c.program, m, inputs).unwrap_or_else(|e| panic!("{machine}: {e}"));
    assert_eq!(sim.cycles, report.cycles);
    for (n, (a, b)) in sim.outputs.iter().zip(&tiled).enumerate() {
        assert!(a == b && a.data == b.data, "{machine}: output {n}: simulator and tiled graph differ\n{}", c.tiled);
    }
    let want = eval(g, inputs).expect("the graph evaluates");
    for (n, (a, b)) in tiled.iter().zip(&want).enumerate() {
        assert_eq!((a.dtype, &a.shape), (b.dtype, &b.shape));
        match (a.as_f32(), b.as_f32()) {
            (Some(a), Some(b)) => {
                let scale = b.iter().fold(1f32, |m, x| m.max(x.abs()));
                for (i, (x, y)) in a.iter().zip(&b).enumerate() {
                    assert!(
                        (x - y).abs() <= tolerance * scale,
                        "{machine}: output {n} element {i}: {x} for {y}\n{}",
                        c.tiled
                    );
                }
            }
            _ => assert_eq!(a.data, b.data, "{machine}: output {n}"),
        }
    }
    report.cycles
}

fn both(build: impl Fn() -> Graph, tolerance: f32) {
    prove(&build(), "tsp-small", tolerance);
    prove(&build(), "tsp", tolerance);
}

const EXACT: f32 = 0.0;
const F32: f32 = 2e-6;
/// f16 operands of products of sums of a few dozen terms.
const F16: f32 = 4e-3;

fn unary(u: Unary) -> Op {
    Op::Unary(u)
}

fn binary(b: Binary) -> Op {
    Op::Binary(b)
}

#[test]
fn add_of_two_inputs() {
    both(
        || {
            let mut b = Build::new();
            let (x, y) = (b.input(&[3, 40]), b.input(&[3, 40]));
            let z = b.node(binary(Binary::Add), &[x, y]);
            b.out(&[z])
        },
        EXACT,
    );
}

#[test]
fn chains_of_elementwise_nodes() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[5, 33]);
            let w = b.weights(&[33], 1.0);
            let y = b.node(binary(Binary::Mul), &[x, w]);
            let y = b.node(unary(Unary::Tanh), &[y]);
            let half = b.scalar(0.5);
            let y = b.node(binary(Binary::Sub), &[y, half]);
            let z = b.node(unary(Unary::Sigmoid), &[y]);
            let a = b.node(unary(Unary::Abs), &[x]);
            let s = b.node(binary(Binary::Add), &[z, a]);
            b.out(&[s, z])
        },
        F32,
    );
}

#[test]
fn every_composed_function() {
    use Unary::*;
    for u in [
        Neg, Abs, Sign, Exp, Log, Sqrt, Rsqrt, Recip, Tanh, Sigmoid, Erf, Sin, Cos, Sinh, Cosh, Asinh, Floor, Ceil,
        Round, Relu,
    ] {
        let mut b = Build::new();
        let x = b.input(&[2, 20]);
        let x = if matches!(u, Log | Sqrt | Rsqrt | Recip) {
            let two = b.scalar(1.5);
            b.node(binary(Binary::Add), &[x, two])
        } else {
            x
        };
        let y = b.node(unary(u), &[x]);
        prove(&b.out(&[y]), "tsp-small", F32);
    }
}

#[test]
fn compare_select_and_clip() {
    both(
        || {
            let mut b = Build::new();
            let (x, y) = (b.input(&[4, 17]), b.input(&[4, 17]));
            let c = b.node(binary(Binary::Lt), &[x, y]);
            let s = b.node(Op::Select, &[c, x, y]);
            let lo = b.scalar(-0.25);
            let hi = b.scalar(0.25);
            let k = b.node(binary(Binary::Max), &[s, lo]);
            let k = b.node(binary(Binary::Min), &[k, hi]);
            let p = b.node(binary(Binary::Prelu), &[y, x]);
            b.out(&[c, k, p])
        },
        F32,
    );
}

#[test]
fn gelu_is_cut_into_kernels() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[4, 48]);
            let r = b.scalar(std::f32::consts::FRAC_1_SQRT_2);
            let y = b.node(binary(Binary::Mul), &[x, r]);
            let y = b.node(unary(Unary::Erf), &[y]);
            let one = b.scalar(1.0);
            let y = b.node(binary(Binary::Add), &[y, one]);
            let h = b.scalar(0.5);
            let z = b.node(binary(Binary::Mul), &[x, h]);
            let z = b.node(binary(Binary::Mul), &[z, y]);
            b.out(&[z])
        },
        F32,
    );
}

#[test]
fn dense_with_bias_and_relu() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[6, 48]);
            let w = b.weights(&[48, 40], 0.2);
            let bias = b.weights(&[40], 0.5);
            let y = b.node(Op::MatMul { epilogue: vec![] }, &[x, w]);
            let y = b.node(binary(Binary::Add), &[y, bias]);
            let y = b.node(unary(Unary::Relu), &[y]);
            b.out(&[y])
        },
        F16,
    );
}

#[test]
fn dense_wider_than_the_planes() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[3, 100]);
            let w = b.weights(&[100, 150], 0.1);
            let bias = b.weights(&[150], 0.5);
            let y = b.node(
                Op::MatMul { epilogue: vec![EpilogueStep::Add, EpilogueStep::LeakyRelu(0.2f32.to_bits())] },
                &[x, w, bias],
            );
            let w = b.weights(&[150, 7], 0.1);
            let y = b.node(Op::MatMul { epilogue: vec![] }, &[y, w]);
            b.out(&[y])
        },
        F16,
    );
}

fn window(kernel: [usize; 2], stride: [usize; 2], pad: usize) -> Window {
    Window {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        dilation: vec![1, 1],
        before: vec![pad, pad],
        after: vec![pad, pad],
    }
}

fn conv(w: Window, groups: usize) -> Op {
    Op::Conv { window: w, groups, epilogue: vec![] }
}

#[test]
fn convolution_of_a_channels_last_input() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[1, 8, 9, 3]);
            let x = b.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
            let w = b.weights(&[10, 3, 3, 3], 0.3);
            let bias = b.weights(&[1, 10, 1, 1], 0.3);
            let slope = b.weights(&[1, 10, 1, 1], 0.3);
            let y = b.node(conv(window([3, 3], [1, 1], 0), 1), &[x, w]);
            let y = b.node(binary(Binary::Add), &[y, bias]);
            let y = b.node(binary(Binary::Prelu), &[y, slope]);
            let y = b.node(Op::Pool { kind: Pool::Max, window: window([2, 2], [2, 2], 0) }, &[y]);
            let w = b.weights(&[12, 10, 2, 2], 0.3);
            let y = b.node(conv(window([2, 2], [1, 1], 0), 1), &[y, w]);
            let y = b.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
            b.out(&[y])
        },
        F16,
    );
}

#[test]
fn padded_strided_dilated_grouped_and_depthwise_convolutions() {
    let cases = [
        (8, 8, 1, window([3, 3], [1, 1], 1)),
        (8, 8, 1, window([3, 3], [2, 2], 1)),
        (8, 12, 2, window([3, 1], [1, 2], 0)),
        (8, 8, 8, window([3, 3], [1, 1], 1)),
        (6, 4, 1, Window { dilation: vec![2, 1], ..window([2, 3], [1, 1], 1) }),
        (6, 4, 1, window([1, 1], [1, 1], 0)),
    ];
    for (c, m, groups, w) in cases {
        let mut b = Build::new();
        let x = b.input(&[2, c, 7, 6]);
        let k = b.weights(&[m, c / groups, w.kernel[0], w.kernel[1]], 0.3);
        let y = b.node(conv(w, groups), &[x, k]);
        let y = b.node(unary(Unary::Relu), &[y]);
        prove(&b.out(&[y]), "tsp-small", F16);
    }
}

#[test]
fn pools_with_padding() {
    for (kind, w) in [
        (Pool::Max, window([3, 3], [2, 2], 1)),
        (Pool::Max, window([2, 2], [2, 2], 0)),
        (Pool::AverageExcludePad, window([3, 3], [1, 1], 1)),
        (Pool::AverageIncludePad, window([2, 3], [2, 1], 1)),
    ] {
        both(
            || {
                let mut b = Build::new();
                let x = b.input(&[1, 5, 6, 7]);
                let y = b.node(Op::Pool { kind, window: w.clone() }, &[x]);
                b.out(&[y])
            },
            F32,
        );
    }
}

/// SRAM is handed out fresh words first, so fill words of late tensors cannot be in the image.
#[test]
fn fill_words_in_words_that_were_used_before() {
    let mut b = Build::new();
    let mut y = b.input(&[1, 16, 200, 1]);
    for _ in 0..10 {
        let window = Window { before: vec![1, 0], after: vec![1, 0], ..window([3, 1], [1, 1], 0) };
        y = b.node(Op::Pool { kind: Pool::Max, window }, &[y]);
        y = b.node(unary(Unary::Neg), &[y]);
    }
    let g = b.out(&[y]);
    let (c, m) = compile_on(&g, "tsp-small");
    let fills: Vec<usize> =
        (0..c.program.values.len()).filter(|&v| c.program.values[v].name.ends_with("(fill)")).collect();
    let written = c.program.mem_provenance.iter().filter(|p| {
        let issue = &c.program.queues[&p.issue.queue][p.issue.index as usize];
        fills.contains(&(p.value.0 as usize)) && matches!(issue.inst, Inst::Write { .. })
    });
    assert!(written.count() > 0, "no fill word was written: the test proves nothing");
    prove_compiled(&g, &c, &m, &inputs_of(&g), F32);
}

#[test]
fn flatten_and_dense_after_a_convolution() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[1, 8, 3, 3]);
            let w = b.weights(&[20, 8, 1, 1], 0.3);
            let y = b.node(conv(window([1, 1], [1, 1], 0), 1), &[x, w]);
            let y = b.node(Op::Reshape { shape: vec![1, 180] }, &[y]);
            let w = b.weights(&[180, 16], 0.2);
            let y = b.node(Op::MatMul { epilogue: vec![] }, &[y, w]);
            b.out(&[y])
        },
        F16,
    );
}

#[test]
fn reductions_over_rows_and_lanes() {
    for axes in [vec![0], vec![1], vec![0, 1], vec![2], vec![0, 2]] {
        for kind in [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::Min] {
            for keep in [true, false] {
                let mut b = Build::new();
                let x = b.input(&[3, 5, 12]);
                let y = b.node(Op::Reduce { kind, axes: axes.clone(), keep }, &[x]);
                prove(&b.out(&[y]), "tsp-small", F32);
            }
        }
    }
}

#[test]
fn softmax_over_lanes_and_rows() {
    for (shape, axis) in [(vec![4, 2], 1), (vec![3, 10], 1), (vec![2, 16, 3], 1), (vec![1, 7, 32], 2)] {
        both(
            || {
                let mut b = Build::new();
                let x = b.input(&shape);
                let y = b.node(Op::Softmax { axis }, &[x]);
                b.out(&[y])
            },
            F32,
        );
    }
}

#[test]
fn layer_norm_of_decomposed_nodes() {
    both(
        || {
            let mut b = Build::new();
            let x = b.input(&[1, 6, 32]);
            let mean = b.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2], keep: true }, &[x]);
            let d = b.node(binary(Binary::Sub), &[x, mean]);
            let s = b.node(binary(Binary::Mul), &[d, d]);
            let v = b.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2], keep: true }, &[s]);
            let e = b.scalar(1e-5);
            let v = b.node(binary(Binary::Add), &[v, e]);
            let r = b.node(unary(Unary::Rsqrt), &[v]);
            let y = b.node(binary(Binary::Mul), &[d, r]);
            let w = b.weights(&[32], 1.0);
            let y = b.node(binary(Binary::Mul), &[y, w]);
            b.out(&[y])
        },
        1e-5,
    );
}

fn attention(tokens: usize, heads: usize, width: usize) -> Graph {
    let mut b = Build::new();
    let c = heads * width;
    let x = b.input(&[1, tokens, c]);
    let mut parts = Vec::new();
    for _ in 0..3 {
        let w = b.weights(&[c, c], 0.3);
        let bias = b.weights(&[c], 0.3);
        let y = b.node(Op::MatMul { epilogue: vec![] }, &[x, w]);
        let y = b.node(binary(Binary::Add), &[y, bias]);
        let y = b.node(Op::Reshape { shape: vec![1, tokens, heads, width] }, &[y]);
        parts.push(b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]));
    }
    let k = b.node(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[parts[1]]);
    let s = b.node(Op::MatMul { epilogue: vec![] }, &[parts[0], k]);
    let scale = b.scalar(0.125);
    let s = b.node(binary(Binary::Mul), &[s, scale]);
    let s = b.node(Op::Softmax { axis: 3 }, &[s]);
    let y = b.node(Op::MatMul { epilogue: vec![] }, &[s, parts[2]]);
    let y = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let y = b.node(Op::Reshape { shape: vec![1, tokens, c] }, &[y]);
    let w = b.weights(&[c, c], 0.3);
    let y = b.node(Op::MatMul { epilogue: vec![] }, &[y, w]);
    b.out(&[y])
}

#[test]
fn attention_with_two_heads() {
    prove(&attention(32, 2, 32), "tsp", F16);
}

/// What divides is the end of the product that takes the exponentials, and its two sums take the same rows of them.
#[test]
fn a_softmax_that_one_product_takes_is_divided_behind_it() {
    let (c, _) = compile_on(&attention(32, 2, 32), "tsp");
    let text = c.tiled.to_string();
    let mut kernels: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        match kernels.last_mut() {
            Some(kernel) if line.starts_with(' ') => kernel.push(line.trim()),
            _ => kernels.push(vec![line]),
        }
    }
    kernels.retain(|k| k.iter().any(|line| line.contains(" = recip.")));
    assert!(!kernels.is_empty(), "{text}");
    for kernel in kernels {
        let rows = |chain: &str| -> Vec<&str> {
            let passes = kernel.iter().filter_map(|line| line.strip_prefix(chain));
            passes.filter_map(|pass| pass.split(" * ").next()).collect()
        };
        let (values, ones) = (rows("in0 += "), rows("in1 += "));
        assert!(!values.is_empty() && values == ones, "{kernel:#?}");
    }
}

/// The same weights for the values of two heads: their sums go to the lanes of both.
#[test]
fn one_softmax_mixes_the_values_of_two_heads() {
    let mut b = Build::new();
    let x = b.input(&[1, 1, 48, 48]);
    let s = b.node(Op::Softmax { axis: 3 }, &[x]);
    let v = b.input(&[1, 48, 64]);
    let w = b.weights(&[64, 64], 0.3);
    let v = b.node(Op::MatMul { epilogue: vec![] }, &[v, w]);
    let v = b.node(Op::Reshape { shape: vec![1, 48, 2, 32] }, &[v]);
    let v = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[v]);
    let y = b.node(Op::MatMul { epilogue: vec![] }, &[s, v]);
    prove(&b.out(&[y]), "tsp", F16);
}

/// Scores of 400 columns lie in two blocks of lanes.
#[test]
fn attention_over_more_positions_than_lanes() {
    prove(&attention(400, 2, 32), "tsp", F16);
}

/// Columns that fill no whole superlanes.
#[test]
fn attention_over_an_odd_number_of_positions() {
    prove(&attention(100, 3, 32), "tsp", F16);
    prove(&attention(37, 2, 16), "tsp", F16);
}

/// Rows of several words: arguments of any range, of a narrow one, and of one for which a sum stands for the maximum.
#[test]
fn softmax_over_several_words() {
    for (columns, range) in [(400, None), (400, Some(16.0)), (400, Some(50.0)), (960, Some(40.0)), (640, Some(90.0))] {
        for taken in [false, true] {
            let mut b = Build::new();
            let x = b.input(&[5, columns]);
            // Steps of a quantised tensor, some at both ends.
            let s = range.map_or(x, |range: f32| {
                let [step, ends, scale] = [300.0, 127.0, range / 255.0].map(|v| b.scalar(v));
                let low = b.scalar(-128.0);
                let s = b.node(binary(Binary::Mul), &[x, step]);
                let s = b.node(unary(Unary::Round), &[s]);
                let s = b.node(binary(Binary::Max), &[s, low]);
                let s = b.node(binary(Binary::Min), &[s, ends]);
                b.node(binary(Binary::Mul), &[s, scale])
            });
            let far = b.scalar(if range.is_none() { 300.0 } else { 1.0 });
            let s = b.node(binary(Binary::Mul), &[s, far]);
            let y = b.node(Op::Softmax { axis: 1 }, &[s]);
            let y = if taken {
                let w = b.weights(&[columns, 48], 1.0);
                b.node(Op::MatMul { epilogue: vec![] }, &[y, w])
            } else {
                y
            };
            // Arguments of 300 times log2 e have steps of 3e-5.
            prove(&b.out(&[y]), "tsp", if taken { 1e-3 } else { 1e-5 });
        }
    }
}

/// A constant along the last axis meets an input whose other axis is on lanes.
#[test]
fn one_hot_rows_enter_a_product() {
    prove(
        &{
            let mut b = Build::new();
            let x = b.input(&[1, 300]);
            let x = b.node(Op::Reshape { shape: vec![1, 300, 1] }, &[x]);
            let classes = b.weights(&[1, 1, 257], 1.0);
            let near = b.node(binary(Binary::Max), &[x, classes]);
            let w = b.weights(&[257, 16], 0.3);
            let y = b.node(Op::MatMul { epilogue: vec![] }, &[near, w]);
            b.out(&[y])
        },
        "tsp",
        F16,
    );
}

#[test]
fn data_movement() {
    both(
        || {
            let mut b = Build::new();
            let (x, y) = (b.input(&[2, 6, 10]), b.input(&[2, 6, 4]));
            let a = b.node(Op::Concat { axis: 2 }, &[x, y]);
            let c = b.node(Op::Slice { start: vec![0, 1, 3], step: vec![1, 2, 1], shape: vec![2, 3, 5] }, &[a]);
            let d = b.node(Op::Concat { axis: 1 }, &[c, c]);
            let zero = b.scalar(0.0);
            let e =
                b.node(Op::Pad { mode: PadMode::Constant, before: vec![0, 1, 2], after: vec![0, 0, 1] }, &[d, zero]);
            let one = b.scalar(1.0);
            let f = b.node(binary(Binary::Add), &[e, one]);
            let r = b.node(Op::Reshape { shape: vec![2, 28, 2] }, &[f]);
            b.out(&[a, f, r])
        },
        EXACT,
    );
}

#[test]
fn broadcasts_between_operands() {
    both(
        || {
            let mut b = Build::new();
            let (x, y) = (b.input(&[4, 1, 6]), b.input(&[3, 1]));
            let a = b.node(binary(Binary::Add), &[x, y]);
            let s = b.input(&[1]);
            let m = b.node(binary(Binary::Mul), &[a, s]);
            let w = b.node(Op::Broadcast { shape: vec![2, 4, 3, 6] }, &[m]);
            let one = b.scalar(1.0);
            let z = b.node(binary(Binary::Add), &[w, one]);
            b.out(&[z])
        },
        EXACT,
    );
}

#[test]
fn embedding_by_input_indices() {
    both(
        || {
            let mut b = Build::new();
            let ids = b.g.add_input("ids", TensorType::new(DType::I64, vec![1, 9]));
            let table = b.weights(&[12, 24], 1.0);
            let e = b.node(Op::Gather { axis: 0 }, &[table, ids]);
            let p = b.weights(&[9, 24], 1.0);
            let y = b.node(binary(Binary::Add), &[e, p]);
            b.out(&[y])
        },
        EXACT,
    );
}

#[test]
fn casts_of_narrow_64_bit_inputs() {
    both(
        || {
            let mut b = Build::new();
            let ids = b.g.add_input("mask", TensorType::new(DType::I64, vec![1, 9]));
            let x = b.input(&[3, 9]);
            let f = b.node(Op::Cast(DType::F32), &[ids]);
            let y = b.node(binary(Binary::Add), &[x, f]);
            b.out(&[y])
        },
        EXACT,
    );
}

#[test]
fn what_cannot_run_is_named_with_reason_and_remedy() {
    let mut b = Build::new();
    let x = b.g.add_input("x", TensorType::new(DType::F64, vec![4]));
    let y = b.node(unary(Unary::Neg), &[x]);
    let z = b.g.add_input("z", TensorType::new(DType::I64, vec![4]));
    let t = b.node(unary(Unary::Abs), &[z]);
    let u = b.node(Op::Cast(DType::F32), &[t]);
    let g = b.out(&[y, u]);
    let m = Machine::builtin("tsp-small").expect("built in");
    let all = tsp::check(&g, &m);
    let bad: Vec<&str> = all.iter().filter(|s| s.unsupported.is_some()).map(|s| s.op.as_str()).collect();
    assert_eq!(bad, ["neg", "abs"], "the node behind a failed one is not at fault");
    match tsp::compile(&g, &m, &Options::default()) {
        Err(CompileError::Unsupported { node, op, reason, remedy, .. }) => {
            assert_eq!((node.as_str(), op.as_str()), ("n0_neg", "neg"));
            assert!(reason.contains("f64") && !remedy.is_empty(), "{reason}; {remedy}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_much_for_the_sram_says_how_much() {
    let mut b = Build::new();
    let x = b.input(&[20_000, 64]);
    let y = b.node(unary(Unary::Exp), &[x]);
    let g = b.out(&[y]);
    let m = Machine::builtin("tsp-small").expect("built in");
    match tsp::compile(&g, &m, &Options::default()) {
        Err(CompileError::DoesNotFit { need, have, .. }) => assert!(need > have, "{need} of {have}"),
        other => panic!("{other:?}"),
    }
}

/// True for graphs in which the rounding of an operand may decide between results far apart.
fn jumps(g: &Graph) -> bool {
    g.nodes().iter().any(|n| {
        matches!(
            n.op,
            Op::Binary(Binary::Mod | Binary::Rem)
                | Op::ArgReduce { .. }
                | Op::TopKValues { .. }
                | Op::TopKIndices { .. }
        )
    })
}

/// True where a product takes an operand that is not finite: a zero weight times it is NaN, and planes multiply
/// lanes that the product does not mean with zeros.
fn spreads(g: &Graph, inputs: &[Tensor]) -> bool {
    let product = |op: &Op| matches!(op, Op::Conv { .. } | Op::ConvTranspose { .. } | Op::MatMul { .. });
    let values = eval_all(g, inputs).expect("random graphs evaluate");
    let finite = |v: ValueId| values[v.0 as usize].as_f32().is_none_or(|x| x.iter().all(|x| x.abs() < 6e4));
    g.nodes().iter().any(|n| product(&n.op) && !n.inputs.iter().all(|&v| finite(v)))
}

/// Random graphs of all primitives: what compiles is clean, exact and close; what does not says why.
#[test]
fn random_graphs() {
    use quadrille_compiler::ir::arbitrary::{Config, Rng, graph, inputs};
    let mut compiled = 0;
    for (seeds, nodes, max_extent) in [(0..120, 3, 4), (1000..1060, 8, 4), (2000..2060, 3, 20), (3000..3030, 2, 70)] {
        for seed in seeds {
            let mut rng = Rng::new(seed);
            let g = graph(&mut rng, &Config { nodes, max_extent, ..Config::f32() });
            let inputs = inputs(&mut rng, &g);
            for machine in ["tsp-small", "tsp"] {
                let m = Machine::builtin(machine).expect("built in");
                let c = match tsp::compile(&g, &m, &Options::default()) {
                    Ok(c) => c,
                    Err(CompileError::Unsupported { node, reason, remedy, .. }) => {
                        assert!(!node.is_empty() && !reason.is_empty() && !remedy.is_empty());
                        assert!(!reason.contains("bug of the compiler") && !remedy.contains("bug of the compiler"));
                        continue;
                    }
                    Err(CompileError::DoesNotFit { need, have, reason, .. }) => {
                        assert!(need > have || reason.contains("slices"), "seed {seed}: {reason}");
                        continue;
                    }
                };
                compiled += 1;
                let report = check(&c.program, &m);
                assert!(report.errors.is_empty(), "seed {seed} on {machine}: {}\n{}", report.errors[0], c.tiled);
                assert_eq!(report.cycles, c.estimate.cycles, "seed {seed} on {machine}");
                let tiled = c.tiled.eval(&inputs).expect("the inputs are the graph's");
                let sim = simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert!(sim.outputs == tiled, "seed {seed} on {machine}: bits differ\n{}", c.tiled);
                if jumps(&g) || spreads(&g, &inputs) {
                    continue;
                }
                for (a, b) in tiled.iter().zip(&eval(&g, &inputs).expect("random graphs evaluate")) {
                    let (Some(a), Some(b)) = (a.as_f32(), b.as_f32()) else {
                        assert_eq!(a, b, "seed {seed} on {machine}");
                        continue;
                    };
                    // Where f16 operands overflow or a pole is near, no tolerance says anything.
                    let usual = |x: &f32| x.is_finite() && x.abs() < 1e4;
                    let scale = b.iter().filter(|x| usual(x)).fold(1f32, |m, x| m.max(x.abs()));
                    for (x, y) in a.iter().zip(&b).filter(|(_, y)| usual(y)) {
                        assert!(
                            (x - y).abs() <= 0.03 * scale,
                            "seed {seed} on {machine}: {x} for {y}\n{}",
                            quadrille_compiler::ir::text::print(&g)
                        );
                    }
                }
            }
        }
    }
    assert!(compiled > 250, "{compiled} graphs compiled");
}

#[test]
fn the_same_graph_gives_the_same_program() {
    let a = compile_on(&attention(32, 2, 32), "tsp").0;
    let b = compile_on(&attention(32, 2, 32), "tsp").0;
    assert_eq!(a.program, b.program);
    assert_eq!(a.tiled.to_string(), b.tiled.to_string());
}
