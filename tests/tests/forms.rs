//! Forms that models spell out in primitives. Norms: every spelling ends as the one primitive, whose mapping on the chip takes
//! fewer cycles than the chain. Grouped heads: keys and values are never repeated.

use quadrille::machine::{Machine, Target};
use quadrille::pipeline;
use quadrille_compiler::ir::eval::eval;
use quadrille_compiler::ir::{Binary, EpilogueStep, Graph, Op, PadMode, Reduce, Unary, ValueId, Window, text};
use quadrille_compiler::rewrite::{RewriteOptions, optimize, random_inputs};
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tests::graphs::Writer;

const EPSILON: f32 = 1e-5;

/// A layer norm as frameworks write it.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// The function of ONNX.
    Rsqrt,
    /// PyTorch's old exporter: a power, a root and a quotient.
    Powers,
    /// Sums over their number.
    Sums,
    /// Means that lose their axis, and get it back.
    Squeezed,
    /// TensorFlow's: scale and shift first.
    Moments,
}

const SPELLINGS: [Spelling; 5] =
    [Spelling::Rsqrt, Spelling::Powers, Spelling::Sums, Spelling::Squeezed, Spelling::Moments];

fn spelled(b: &mut Writer, x: ValueId, spelling: Spelling, centered: bool) -> ValueId {
    let shape = b.graph.shape(x).to_vec();
    let axis = shape.len() - 1;
    let n = shape[axis] as f32;
    let mean = |b: &mut Writer, v: ValueId| match spelling {
        Spelling::Sums => {
            let s = b.node(Op::Reduce { kind: Reduce::Sum, axes: vec![axis], keep: true }, &[v]);
            let n = b.number(1.0 / n);
            b.binary(Binary::Mul, s, n)
        }
        Spelling::Squeezed => {
            let m = b.node(Op::Reduce { kind: Reduce::Mean, axes: vec![axis], keep: false }, &[v]);
            let mut kept = shape.clone();
            kept[axis] = 1;
            b.node(Op::Reshape { shape: kept }, &[m])
        }
        _ => b.node(Op::Reduce { kind: Reduce::Mean, axes: vec![axis], keep: true }, &[v]),
    };
    let square = |b: &mut Writer, v: ValueId| {
        if matches!(spelling, Spelling::Powers) {
            let two = b.number(2.0);
            return b.binary(Binary::Pow, v, two);
        }
        b.binary(Binary::Mul, v, v)
    };
    let m = mean(b, x);
    let d = if centered { b.binary(Binary::Sub, x, m) } else { x };
    let v = square(b, d);
    let v = mean(b, v);
    let e = b.number(EPSILON);
    let v = b.binary(Binary::Add, v, e);
    let (g, h) = (b.weight(&[shape[axis]]), b.weight(&[shape[axis]]));
    match spelling {
        Spelling::Powers => {
            let root = b.node(Op::Unary(Unary::Sqrt), &[v]);
            let y = b.binary(Binary::Div, d, root);
            let y = b.binary(Binary::Mul, y, g);
            b.binary(Binary::Add, y, h)
        }
        Spelling::Moments => {
            let r = b.node(Op::Unary(Unary::Rsqrt), &[v]);
            let r = b.binary(Binary::Mul, r, g);
            let y = b.binary(Binary::Mul, x, r);
            if !centered {
                return b.binary(Binary::Add, y, h);
            }
            let shift = b.binary(Binary::Mul, m, r);
            let shift = b.binary(Binary::Sub, h, shift);
            b.binary(Binary::Add, y, shift)
        }
        _ => {
            let r = b.node(Op::Unary(Unary::Rsqrt), &[v]);
            let y = b.binary(Binary::Mul, d, r);
            let y = b.binary(Binary::Mul, y, g);
            b.binary(Binary::Add, y, h)
        }
    }
}

fn graph(shape: &[usize], spelling: Spelling, centered: bool) -> Graph {
    let mut b = Writer::new("forms");
    let x = b.input(shape);
    let y = spelled(&mut b, x, spelling, centered);
    b.done(&[y])
}

fn rewritten(g: &Graph, target: Target, off: &[&str]) -> Graph {
    let disable_rules = off.iter().map(|s| s.to_string()).collect();
    let options = RewriteOptions { disable_rules, check: Some(1), ..Default::default() };
    optimize(g, &*pipeline::cost_model(&Machine::full_size(target)), &options).expect("it rewrites").0
}

fn cycles(g: &Graph, target: Target) -> u64 {
    let g = pipeline::run_passes(g, Some(&Machine::full_size(target)), &["clean".to_string()]).expect("the passes run");
    let machine = Machine::full_size(target);
    let compiled = pipeline::compile(&g, &machine).unwrap_or_else(|e| panic!("{e}\n{g:?}"));
    if target == Target::Tsp {
        return compiled.estimate.cycles;
    }
    pipeline::simulate(&compiled.program, &machine, &random_inputs(&g, 1)).expect("it runs").cycles
}

/// On `tsp`; the mesh takes norms apart again, so there the cheapest spelling may stay as it is.
#[test]
fn every_spelling_ends_as_the_same_norm() {
    let target = Target::Tsp;
    for centered in [true, false] {
        let mut first = None;
        for spelling in SPELLINGS {
            let g = rewritten(&graph(&[1, 6, 64], spelling, centered), target, &[]);
            let norms: Vec<_> = g.nodes().iter().filter(|n| matches!(n.op, Op::Norm { .. })).collect();
            assert_eq!(norms.len(), 1, "{spelling:?}, centred: {centered}\n{g:?}");
            let is = |c: bool| matches!(norms[0].op, Op::Norm { centered, .. } if centered == c);
            assert!(is(centered), "{spelling:?}");
            assert!(!g.nodes().iter().any(|n| matches!(n.op, Op::Reduce { .. })), "{spelling:?}");
            let c = cycles(&g, target);
            assert_eq!(*first.get_or_insert(c), c, "{spelling:?}, centred: {centered}");
        }
    }
}

#[test]
fn norms_take_fewer_cycles_than_their_chains() {
    for (shape, centered) in [
        (vec![1, 128, 128], true),
        (vec![1, 77, 512], true),
        (vec![1, 128, 768], true),
        (vec![1, 64, 1024], true),
        (vec![1, 128, 128], false),
        (vec![1, 32, 768], false),
        (vec![4, 300], true),
    ] {
        let g = graph(&shape, Spelling::Rsqrt, centered);
        let norm = cycles(&rewritten(&g, Target::Tsp, &[]), Target::Tsp);
        let chain = cycles(&rewritten(&g, Target::Tsp, &["norm", "norm-from-moments"]), Target::Tsp);
        println!("{shape:?} centred {centered}: {chain} -> {norm}");
        // Several words without a mean: the same kernels.
        let same = shape[shape.len() - 1] > 320 && !centered;
        assert!(norm < chain || same && norm == chain, "{shape:?} centred {centered}: {chain} -> {norm}");
    }
}

fn prove(g: &Graph, machine: &str, tolerance: f32) {
    let m = quadrille_isa::tsp::Machine::builtin(machine).expect("a built-in machine");
    let c = quadrille_tsp::compile(g, &m, &Default::default()).unwrap_or_else(|e| panic!("{machine}: {e}"));
    let report = check(&c.program, &m);
    assert!(report.errors.is_empty(), "{machine}: {}\n{}", report.errors[0], c.tiled);
    let inputs = random_inputs(g, 7);
    let tiled = c.tiled.eval(&inputs).expect("the tiled graph takes the inputs");
    let sim = simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{machine}: {e}"));
    let want = eval(g, &inputs).expect("it evaluates");
    for ((a, b), w) in sim.outputs.iter().zip(&tiled).zip(&want) {
        assert_eq!(a.data, b.data, "{machine}: simulator and tiled graph differ\n{}", c.tiled);
        let (a, w) = (a.as_f32().expect("floats"), w.as_f32().expect("floats"));
        let scale = w.iter().fold(1f32, |m, x| m.max(x.abs()));
        for (i, (x, y)) in a.iter().zip(&w).enumerate() {
            assert!((x - y).abs() <= tolerance * scale, "{machine} element {i}: {x} for {y}\n{}", c.tiled);
        }
    }
}

fn norm(axes: &[usize], centered: bool) -> Op {
    Op::Norm { axes: axes.to_vec(), centered, epsilon: EPSILON.to_bits() }
}

#[test]
fn norms_wherever_the_axis_lies() {
    for centered in [true, false] {
        for (shape, axes) in [
            (vec![5, 40], vec![1]),
            (vec![3, 2], vec![1]),
            (vec![1, 7, 320], vec![2]),
            (vec![1, 6, 512], vec![2]),
            (vec![2, 5, 768], vec![2]),
            (vec![1, 3, 1024], vec![2]),
            (vec![1, 2, 2000], vec![2]),
            (vec![4, 6, 10], vec![1]),
            (vec![2, 6, 4, 5], vec![2, 3]),
            (vec![1, 3, 8, 16], vec![3]),
            (vec![3, 331], vec![1]),
        ] {
            let mut b = Writer::new("forms");
            let x = b.input(&shape);
            let y = b.node(norm(&axes, centered), &[x]);
            prove(&b.done(&[y]), "tsp", 1e-5);
        }
        let mut b = Writer::new("forms");
        let x = b.input(&[3, 24]);
        let y = b.node(norm(&[1], centered), &[x]);
        prove(&b.done(&[y]), "tsp-small", 1e-5);
    }
}

#[test]
fn norms_of_what_is_not_finished_and_used_again() {
    for (tokens, width, out) in [(9, 64, 48), (5, 512, 96), (6, 768, 40)] {
        let mut b = Writer::new("forms");
        let x = b.input(&[1, tokens, width]);
        let w = b.weight(&[width, width]);
        let y = b.node(Op::MatMul { epilogue: vec![] }, &[x, w]);
        let sum = b.binary(Binary::Add, x, y);
        let n = b.node(norm(&[2], true), &[sum]);
        let g = b.weight(&[width]);
        let n = b.binary(Binary::Mul, n, g);
        let w = b.weight(&[width, out]);
        let z = b.node(Op::MatMul { epilogue: vec![] }, &[n, w]);
        // The sum goes past the norm, too, and is normalised again.
        let again = b.node(norm(&[2], false), &[sum]);
        prove(&b.done(&[z, sum, again]), "tsp", 4e-3);
    }
}

/// Attention of `heads` query heads over `shared` heads of keys and values, which are repeated as exporters write it.
fn grouped(t: usize, (heads, shared): (usize, usize), masked: bool, scale_keys: bool) -> Graph {
    let d = 32;
    let mut b = Writer::new("grouped");
    let x = b.input(&[1, t, heads * d]);
    let split = |b: &mut Writer, n: usize| {
        let y = b.dense(x, n * d);
        let y = b.node(Op::Reshape { shape: vec![1, t, n, d] }, &[y]);
        b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])
    };
    let (q, k, v) = (split(&mut b, heads), split(&mut b, shared), split(&mut b, shared));
    let times = heads / shared;
    let repeat = |b: &mut Writer, x: ValueId| {
        let y = b.node(Op::Reshape { shape: vec![1, shared, 1, t, d] }, &[x]);
        let y = b.node(Op::Broadcast { shape: vec![1, shared, times, t, d] }, &[y]);
        b.node(Op::Reshape { shape: vec![1, heads, t, d] }, &[y])
    };
    let (k, v) = (repeat(&mut b, k), repeat(&mut b, v));
    let mut k = b.node(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k]);
    let root = b.number(if scale_keys { 0.42 } else { 0.177 });
    if scale_keys {
        k = b.mul(k, root);
    }
    let scores = b.matmul(q, k);
    let mut scores = b.mul(scores, root);
    if masked {
        let mask = b.input(&[1, 1, t, t]);
        scores = b.add(scores, mask);
    }
    let weights = b.node(Op::Softmax { axis: 3 }, &[scores]);
    let y = b.matmul(weights, v);
    let y = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let y = b.node(Op::Reshape { shape: vec![1, t, heads * d] }, &[y]);
    let y = b.dense(y, 64);
    b.done(&[y])
}

#[test]
fn grouped_heads_are_not_repeated() {
    for target in [Target::Tsp, Target::Wafer] {
        for (masked, scale_keys) in [(false, false), (true, false), (true, true)] {
            // There the transpose of scaled keys cannot stream, grouped or not.
            if target == Target::Wafer && scale_keys {
                continue;
            }
            // A chip turns the repeated keys of few positions sooner than it brings the queries of a group together.
            let positions = if target == Target::Tsp { 128 } else { 24 };
            let before = grouped(positions, (8, 2), masked, scale_keys);
            let g = rewritten(&before, target, &[]);
            // The mesh takes more PEs for more products, and repeats what streams to them.
            if target == Target::Tsp {
                assert!(!g.nodes().iter().any(|n| matches!(n.op, Op::Broadcast { .. })), "masked: {masked}");
                let products = g.nodes().iter().filter(|n| matches!(n.op, Op::MatMul { .. }));
                let batches = products.map(|n| g.shape(n.inputs[1])).filter(|s| s.len() == 4);
                assert!(batches.clone().count() == 2 && batches.clone().all(|s| s[1] == 2), "masked: {masked}");
            }
            let (with, without) = (cycles(&g, target), cycles(&rewritten(&before, target, &["grouped-heads"]), target));
            println!("{target:?} masked: {masked}, keys scaled: {scale_keys}: {without} -> {with}");
            assert!(with <= without, "{target:?} masked: {masked}: {without} -> {with}");
        }
    }
    prove(&rewritten(&grouped(24, (8, 2), true, false), Target::Tsp, &[]), "tsp", 4e-3);
}

/// A form that a rule recognises: a graph that spells it out, the rules without which it stays as it is, and how to tell.
struct Form {
    what: &'static str,
    rules: &'static [&'static str],
    graph: fn(&mut Writer) -> ValueId,
    made: fn(&Graph) -> bool,
}

fn count(g: &Graph, is: impl Fn(&Op) -> bool) -> usize {
    g.nodes().iter().filter(|n| is(&n.op)).count()
}

fn has_step(g: &Graph, step: EpilogueStep) -> bool {
    count(g, |op| matches!(op, Op::MatMul { epilogue } | Op::Conv { epilogue, .. } if epilogue.contains(&step))) > 0
}

fn products(g: &Graph) -> usize {
    count(g, |op| matches!(op, Op::MatMul { .. } | Op::Conv { .. }))
}

fn is(g: &Graph, op: &Op) -> usize {
    count(g, |o| o == op)
}

/// A dense layer for an activation to follow.
fn layer(w: &mut Writer) -> ValueId {
    let x = w.input(&[8, 64]);
    w.dense(x, 48)
}

fn image(w: &mut Writer) -> ValueId {
    w.input(&[1, 16, 12, 12])
}

const FORMS: &[Form] = &[
    Form {
        what: "gelu with erf",
        rules: &["epilogue-gelu"],
        graph: |w| {
            let y = layer(w);
            let (root, one, half) = (w.number(std::f32::consts::SQRT_2), w.number(1.0), w.number(0.5));
            let u = w.binary(Binary::Div, y, root);
            let e = w.unary(Unary::Erf, u);
            let e = w.add(e, one);
            let y = w.mul(y, half);
            w.mul(y, e)
        },
        made: |g| has_step(g, EpilogueStep::Gelu),
    },
    Form {
        what: "gelu with tanh",
        rules: &["epilogue-gelu-tanh"],
        graph: |w| {
            let y = layer(w);
            let (three, k, root, one, half) =
                (w.number(3.0), w.number(0.044715), w.number(0.797_884_6), w.number(1.0), w.number(0.5));
            let u = w.binary(Binary::Pow, y, three);
            let u = w.mul(u, k);
            let u = w.add(y, u);
            let u = w.mul(u, root);
            let t = w.unary(Unary::Tanh, u);
            let t = w.add(t, one);
            let h = w.mul(y, half);
            w.mul(h, t)
        },
        made: |g| has_step(g, EpilogueStep::GeluTanh),
    },
    Form {
        what: "gelu with a sigmoid",
        rules: &["epilogue-silu"],
        graph: |w| {
            let y = layer(w);
            let c = w.number(1.702);
            let u = w.mul(y, c);
            let s = w.unary(Unary::Sigmoid, u);
            w.mul(y, s)
        },
        made: |g| has_step(g, EpilogueStep::Silu(1.702f32.to_bits())),
    },
    Form {
        what: "silu",
        rules: &["epilogue-silu"],
        graph: |w| {
            let y = layer(w);
            let s = w.unary(Unary::Sigmoid, y);
            w.mul(y, s)
        },
        made: |g| has_step(g, EpilogueStep::Silu(1f32.to_bits())),
    },
    Form {
        what: "hard swish",
        rules: &["epilogue-hard-swish"],
        graph: |w| {
            let y = layer(w);
            let (three, zero, six) = (w.number(3.0), w.number(0.0), w.number(6.0));
            let u = w.add(y, three);
            let u = w.binary(Binary::Max, u, zero);
            let u = w.binary(Binary::Min, u, six);
            let u = w.mul(y, u);
            w.binary(Binary::Div, u, six)
        },
        made: |g| has_step(g, EpilogueStep::HardSwish),
    },
    Form {
        what: "softmax",
        rules: &["softmax-from-exp"],
        graph: |w| {
            let x = w.input(&[8, 64]);
            let most = w.node(Op::Reduce { kind: Reduce::Max, axes: vec![1], keep: true }, &[x]);
            let d = w.binary(Binary::Sub, x, most);
            let e = w.unary(Unary::Exp, d);
            let s = w.node(Op::Reduce { kind: Reduce::Sum, axes: vec![1], keep: true }, &[e]);
            w.binary(Binary::Div, e, s)
        },
        made: |g| is(g, &Op::Softmax { axis: 1 }) == 1 && is(g, &Op::Unary(Unary::Exp)) == 0,
    },
    Form {
        what: "rotary embedding",
        rules: &["rotary-sign-into-constant"],
        graph: |w| {
            let x = w.input(&[1, 4, 8, 32]);
            let half = |w: &mut Writer, at: usize| {
                w.node(Op::Slice { start: vec![0, 0, 0, at], step: vec![1; 4], shape: vec![1, 4, 8, 16] }, &[x])
            };
            let (first, second) = (half(w, 0), half(w, 16));
            let minus = w.unary(Unary::Neg, second);
            let turned = w.node(Op::Concat { axis: 3 }, &[minus, first]);
            let (cos, sin) = (w.weight(&[8, 32]), w.weight(&[1, 1, 8, 32]));
            let (a, b) = (w.mul(x, cos), w.mul(turned, sin));
            w.add(a, b)
        },
        made: |g| is(g, &Op::Unary(Unary::Neg)) == 0,
    },
    Form {
        what: "batch norm behind a convolution",
        rules: &["fold-scale-into-weights"],
        graph: |w| {
            let x = image(w);
            let y = w.linear(x, 16, [3, 3], 1, 1);
            let (a, b) = (w.weight(&[16, 1, 1]), w.weight(&[16, 1, 1]));
            let y = w.mul(y, a);
            w.add(y, b)
        },
        made: |g| g.nodes().len() == 1 && !has_step(g, EpilogueStep::Mul),
    },
    Form {
        what: "a scale in front of a convolution",
        rules: &["fold-input-scale"],
        graph: |w| {
            let x = image(w);
            let a = w.weight(&[16, 1, 1]);
            let x = w.mul(x, a);
            w.linear(x, 16, [3, 3], 1, 1)
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "a scale moved through a product",
        rules: &["scale-into-matmul"],
        graph: |w| {
            let x = w.input(&[8, 64]);
            let c = w.number(0.125);
            let x = w.mul(x, c);
            w.dense(x, 48)
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "a padding in front of a convolution",
        rules: &["pad-into-window"],
        graph: |w| {
            let x = image(w);
            let zero = w.number(0.0);
            let around = vec![0, 0, 1, 1];
            let x = w.node(Op::Pad { mode: PadMode::Constant, before: around.clone(), after: around }, &[x, zero]);
            let k = w.weight(&[16, 16, 3, 3]);
            w.node(
                Op::Conv { window: Window { kernel: vec![3, 3], ..Window::pointwise(2) }, groups: 1, epilogue: vec![] },
                &[x, k],
            )
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "bias, residual and rectifier behind a product",
        rules: &["epilogue-add"],
        graph: |w| {
            let y = layer(w);
            let (b, r) = (w.weight(&[48]), w.input(&[8, 48]));
            let y = w.add(y, b);
            let y = w.add(y, r);
            w.unary(Unary::Relu, y)
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "a clip behind a product",
        rules: &["epilogue-clip"],
        graph: |w| {
            let y = layer(w);
            let (zero, six) = (w.number(-1.0), w.number(6.0));
            let y = w.binary(Binary::Max, y, zero);
            w.binary(Binary::Min, y, six)
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "products of one value",
        rules: &["matmuls-share-input"],
        graph: |w| {
            let x = w.input(&[32, 64]);
            let (a, b) = (w.dense(x, 64), w.dense(x, 48));
            w.node(Op::Concat { axis: 1 }, &[a, b])
        },
        made: |g| products(g) == 1,
    },
    Form {
        what: "convolutions of one value",
        rules: &["convs-share-input"],
        graph: |w| {
            let x = image(w);
            let (a, b) = (w.conv(x, 16, [1, 1], 1, 1), w.conv(x, 24, [1, 1], 1, 1));
            w.node(Op::Concat { axis: 1 }, &[a, b])
        },
        made: |g| products(g) == 1,
    },
    Form {
        what: "a chain of products",
        rules: &["matmul-chain"],
        graph: |w| {
            // Two tall factors: their product is small, and so are both products then.
            let (a, b, c) = (w.input(&[320, 8]), w.input(&[8, 320]), w.input(&[320, 8]));
            let ab = w.matmul(a, b);
            w.matmul(ab, c)
        },
        made: |g| !g.nodes().iter().any(|n| g.shape(n.output) == [320, 320]),
    },
    Form {
        what: "transposes that meet",
        rules: &["transpose-transpose"],
        graph: |w| {
            let x = w.input(&[2, 8, 16]);
            let y = w.transpose(x, &[0, 2, 1]);
            let y = w.unary(Unary::Tanh, y);
            w.transpose(y, &[0, 2, 1])
        },
        made: |g| g.nodes().len() == 1,
    },
    Form {
        what: "a flattened image in front of a product",
        rules: &["matmul-as-window", "flatten-order-into-weights"],
        graph: |w| {
            let x = w.input(&[1, 16, 3, 3]);
            let y = w.transpose(x, &[0, 2, 3, 1]);
            let y = w.reshape(y, &[1, 144]);
            w.dense(y, 32)
        },
        made: |g| count(g, |op| matches!(op, Op::Transpose { .. })) == 0,
    },
    Form {
        what: "constants that meet",
        rules: &["constants-meet"],
        graph: |w| {
            let x = w.input(&[8, 64]);
            let (a, b) = (w.weight(&[64]), w.number(3.0));
            let y = w.mul(x, a);
            w.mul(y, b)
        },
        made: |g| g.nodes().len() == 1,
    },
];

#[test]
fn every_form_is_recognised_and_needs_its_rule() {
    let mut wrong = Vec::new();
    for f in FORMS {
        let mut w = Writer::new("form");
        let y = (f.graph)(&mut w);
        let before = w.done(&[y]);
        let (with, without) = (rewritten(&before, Target::Tsp, &[]), rewritten(&before, Target::Tsp, f.rules));
        if !(f.made)(&with) {
            wrong.push(format!("{}: not recognised\n{}", f.what, text::print(&with)));
        }
        if (f.made)(&without) {
            wrong.push(format!("{}: made without {:?}\n{}", f.what, f.rules, text::print(&without)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The mesh makes a logarithm of twenty operations: of a log-softmax whose rows no two PEs share only the sums get one. On the chip, where it is two, the
/// logarithm of each element stays.
#[test]
fn log_softmax_takes_logarithms_of_sums() {
    let mut w = Writer::new("log-softmax");
    let x = w.input(&[1, 12, 2200]);
    let s = w.node(Op::Softmax { axis: 2 }, &[x]);
    let y = w.unary(Unary::Log, s);
    let before = w.done(&[y]);
    let logarithms = |g: &Graph| -> usize {
        let logs = g.nodes().iter().filter(|n| n.op == Op::Unary(Unary::Log));
        logs.map(|n| g.ty(n.output).elements()).sum()
    };
    let (with, without) = (rewritten(&before, Target::Wafer, &[]), rewritten(&before, Target::Wafer, &["log-softmax"]));
    assert_eq!((logarithms(&with), is(&with, &Op::Softmax { axis: 2 })), (12, 0), "{}", text::print(&with));
    assert_eq!((logarithms(&without), is(&without, &Op::Softmax { axis: 2 })), (26400, 1), "{}", text::print(&without));
    let (fewer, more) = (cycles(&with, Target::Wafer), cycles(&without, Target::Wafer));
    println!("log-softmax on the mesh: {more} -> {fewer}");
    assert!(fewer < more, "{more} -> {fewer}");
    // The results of the program are those of the graph.
    let machine = Machine::full_size(Target::Wafer);
    let g = pipeline::run_passes(&with, Some(&machine), &["clean".to_string()]).expect("the passes run");
    let inputs = random_inputs(&g, 3);
    let program = pipeline::compile(&g, &machine).unwrap_or_else(|e| panic!("{e}")).program;
    let got = pipeline::simulate(&program, &machine, &inputs).expect("it runs").outputs;
    let (got, want) = (got[0].as_f32().expect("floats"), eval(&before, &inputs).expect("it evaluates"));
    for (a, b) in got.iter().zip(want[0].as_f32().expect("floats")) {
        assert!((a - b).abs() <= 2e-3 * b.abs().max(1.0), "{a} for {b}");
    }
}
