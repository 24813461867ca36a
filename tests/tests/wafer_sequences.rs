//! Transformers on the mesh: attention as one kernel, rows of a sequence in parts. Every program passes the checker, its
//! simulated bits equal the tiled graph's, and those agree with the oracle as f16 products allow.

use quadrille_compiler::ir::{Binary, DType, EpilogueStep, Graph, Op, Reduce, Tensor, Unary, ValueId, eval};
use quadrille_compiler::rewrite::random_inputs;
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer as rt;
use quadrille_tests::graphs::Writer;
use quadrille_wafer::{self as wafer, Options};

/// What f16 products may be off by, as a part of the largest result.
const NEAR: f32 = 5e-3;

/// Cycles of a graph in so many parts, and the text of its tiled graph.
fn run(g: &Graph, parts: Option<usize>) -> (u64, String) {
    run_near(g, parts, NEAR)
}

fn run_near(g: &Graph, parts: Option<usize>, near: f32) -> (u64, String) {
    let m = Machine::builtin("wafer").expect("it ships");
    let options = Options { sequence: parts, ..Options::default() };
    let c = wafer::compile(g, &m, &options).unwrap_or_else(|e| panic!("{} in {parts:?}: {e}", g.name));
    let report = rt::check(&c.program, &m);
    assert!(report.ok(), "{} in {parts:?}: {:?}\n{}", g.name, report.errors.first(), c.tiled);
    let inputs = random_inputs(g, 3);
    let sim = rt::simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{} in {parts:?}: {e}", g.name));
    let tiled = c.tiled.eval(&inputs).expect("inputs fit");
    let oracle = eval::eval(g, &inputs).expect("the oracle evaluates");
    for ((s, t), o) in sim.outputs.iter().zip(&tiled).zip(&oracle) {
        assert_eq!(s.data, t.data, "{} in {parts:?}: simulated and tiled bits\n{}", g.name, c.tiled);
        let (a, b) = (t.as_f32().expect("f32"), o.as_f32().expect("f32"));
        let scale = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(scale > 0.0 && worst <= near * scale, "{} in {parts:?}: off by {worst} at scale {scale}", g.name);
    }
    (sim.cycles, c.tiled.to_string())
}

#[derive(Clone, Copy, Debug)]
enum Masked {
    No,
    /// A constant for each row, the same for all heads, or one for each head.
    Constant(bool),
    /// An input, the same for all rows, or a row for each.
    Input(bool),
    /// An input in which some rows are minus infinity throughout: their weights are zero.
    Dead,
}

/// `[1, rows, width]` by heads: `[1, heads, rows, size]`, or transposed.
fn heads(n: &mut Writer, x: ValueId, [rows, heads, size]: [usize; 3], transposed: bool) -> ValueId {
    let x = n.reshape(x, &[1, rows, heads, size]);
    n.transpose(x, if transposed { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] })
}

/// A value in signed bytes: a step of so much, and a zero.
fn quantised(n: &mut Writer, x: ValueId, step: f32, zero: f32) -> ValueId {
    let number = [step, zero, -128.0, 127.0].map(|v| n.number(v));
    let x = n.binary(Binary::Div, x, number[0]);
    let x = n.node(Op::Unary(Unary::Round), &[x]);
    let x = n.add(x, number[1]);
    let x = n.binary(Binary::Max, x, number[2]);
    let x = n.binary(Binary::Min, x, number[3]);
    let x = n.node(Op::Cast(DType::I8), &[x]);
    let x = n.node(Op::Cast(DType::F32), &[x]);
    let x = n.binary(Binary::Sub, x, number[1]);
    n.mul(x, number[0])
}

/// An attention whose operands, scores and weights are quantised.
fn quantised_attention([rows, count, size]: [usize; 3]) -> Graph {
    let width = count * size;
    let mut n = Writer::new("quantised attention");
    let x = n.input(&[1, rows, width]);
    let operand = |n: &mut Writer, transposed: bool| {
        let y = n.dense(x, width);
        let y = quantised(n, y, 0.02, 3.0);
        let bias = n.weight(&[width]);
        let y = n.add(bias, y);
        let y = heads(n, y, [rows, count, size], transposed);
        quantised(n, y, 0.02, -5.0)
    };
    let (q, k, v) = (operand(&mut n, false), operand(&mut n, true), operand(&mut n, false));
    let scores = n.matmul(q, k);
    let scores = quantised(&mut n, scores, 0.03, 0.0);
    let root = n.number((size as f32).sqrt());
    let scores = n.binary(Binary::Div, scores, root);
    let mask = n.input(&[1, 1, 1, rows]);
    let scores = n.add(scores, mask);
    let p = n.node(Op::Softmax { axis: 3 }, &[scores]);
    let p = quantised(&mut n, p, 1.0 / 255.0, -128.0);
    let y = n.matmul(p, v);
    let y = n.transpose(y, &[0, 2, 1, 3]);
    let y = n.reshape(y, &[1, rows, width]);
    let y = n.dense(y, width);
    n.done(&[y])
}

/// A layer: attention, a residual, a norm, a product with a gelu, a residual.
fn layer(name: &str, [rows, count, size]: [usize; 3], masked: Masked) -> Graph {
    let width = count * size;
    let mut n = Writer::new(name);
    let x = n.input(&[1, rows, width]);
    let dense = |n: &mut Writer| n.dense(x, width);
    let (q, k, v) = (dense(&mut n), dense(&mut n), dense(&mut n));
    let e = [rows, count, size];
    let (q, k, v) = (heads(&mut n, q, e, false), heads(&mut n, k, e, true), heads(&mut n, v, e, false));
    let mut scores = n.matmul(q, k);
    let scale = n.number(1.0 / (size as f32).sqrt());
    scores = n.mul(scores, scale);
    let mask = match masked {
        Masked::No => None,
        Masked::Constant(by_head) => Some(n.weight(&[1, if by_head { count } else { 1 }, rows, rows])),
        Masked::Input(by_row) => Some(n.input(&[1, 1, if by_row { rows } else { 1 }, rows])),
        Masked::Dead => {
            let m = n.input(&[1, 1, rows, rows]);
            // Two rows of three lose all of their places.
            let many = n.number(f32::NEG_INFINITY);
            let zero = n.number(0.0);
            let sign: Vec<f32> = (0..rows).map(|r| if r % 3 == 0 { 0.0 } else { 1.0 }).collect();
            let sign = n.graph.add_const("sign", Tensor::from_f32(&[1, 1, rows, 1], &sign));
            let gone = n.binary(Binary::Gt, sign, zero);
            let m = n.node(Op::Binary(Binary::Min), &[m, zero]);
            Some(n.node(Op::Select, &[gone, many, m]))
        }
    };
    if let Some(m) = mask {
        scores = n.add(scores, m);
    }
    let mut p = n.node(Op::Softmax { axis: 3 }, &[scores]);
    if let Masked::Dead = masked {
        let max = n.node(Op::Reduce { kind: Reduce::Max, axes: vec![3], keep: true }, &[scores]);
        let least = n.number(f32::NEG_INFINITY);
        let empty = n.binary(Binary::Eq, max, least);
        let zero = n.number(0.0);
        p = n.node(Op::Select, &[empty, zero, p]);
    }
    let y = n.matmul(p, v);
    let y = n.transpose(y, &[0, 2, 1, 3]);
    let y = n.reshape(y, &[1, rows, width]);
    let y = n.dense(y, width);
    let y = n.add(x, y);
    let normal = n.node(Op::Norm { axes: vec![2], centered: true, epsilon: 1e-5f32.to_bits() }, &[y]);
    let w = n.weight(&[width, 2 * width]);
    let up = n.node(Op::MatMul { epilogue: vec![EpilogueStep::Gelu] }, &[normal, w]);
    let down = n.dense(up, width);
    let y = n.add(normal, down);
    n.done(&[y])
}

#[test]
fn attention_is_one_kernel() {
    let kinds = [
        Masked::No,
        Masked::Constant(false),
        Masked::Constant(true),
        Masked::Input(false),
        Masked::Input(true),
        Masked::Dead,
    ];
    for masked in kinds {
        for [rows, count, size] in [[12, 3, 8], [6, 1, 16]] {
            let g = layer(&format!("{count} heads of {size}, {rows} rows, {masked:?}"), [rows, count, size], masked);
            let (_, text) = run(&g, Some(1));
            assert!(text.contains(" = attention "), "{}: no attention in\n{text}", g.name);
            assert!(!text.contains(" = softmax "), "{}: a softmax beside it in\n{text}", g.name);
        }
    }
}

/// A step up or down where f16 sums lie near the border between two.
const NEAR_A_STEP: f32 = 3e-2;

#[test]
fn attention_with_quantised_scores_and_weights_is_one_kernel() {
    let g = quantised_attention([24, 2, 8]);
    let (whole, text) = run_near(&g, Some(1), NEAR_A_STEP);
    assert_eq!((text.matches(" = attention ").count(), text.matches(" = softmax ").count()), (1, 0), "{text}");
    let (cycles, text) = run_near(&g, Some(4), NEAR_A_STEP);
    let kernels = text.matches(" = attention ").count();
    assert!(kernels == 4 || kernels == 8, "{kernels} kernels\n{text}");
    assert!(cycles < whole, "{cycles} cycles in parts, {whole} in one");
}

/// What is no sequence yet is made whole, and each part takes its rows of it: those of a stream of rows, and of one of columns.
#[test]
fn a_sequence_may_begin_inside_a_model() {
    for columns in [false, true] {
        let mut n = Writer::new(&format!("begins inside, columns {columns}"));
        let x = n.input(&[1, 16, 40]);
        let mut x = n.node(Op::CumSum { axis: 1, exclusive: false, reverse: false }, &[x]);
        if columns {
            x = n.transpose(x, &[0, 2, 1]);
            let scale = n.weight(&[40, 1]);
            x = n.mul(x, scale);
            x = n.transpose(x, &[0, 2, 1]);
        }
        let normal = n.node(Op::Norm { axes: vec![2], centered: true, epsilon: 1e-5f32.to_bits() }, &[x]);
        let up = n.dense(normal, 64);
        let down = n.dense(up, 40);
        let y = n.add(x, down);
        let y = n.dense(y, 24);
        let g = n.done(&[y]);
        let (_, text) = run(&g, Some(4));
        assert_eq!(text.matches(" = cumsum ").count(), 1, "{text}");
        assert!(text.matches(" = slice ").count() >= 4, "no part takes its rows\n{text}");
        assert_eq!(text.matches("x64x40;").count(), 4, "{text}");
    }
}

/// Rows of more elements than a block has: several PEs share each.
#[test]
fn work_on_long_rows_is_shared() {
    let mut n = Writer::new("long rows");
    let x = n.input(&[24, 1536]);
    let root = n.number(std::f32::consts::SQRT_2);
    let y = n.binary(Binary::Div, x, root);
    let y = n.node(Op::Unary(Unary::Erf), &[y]);
    let y = n.mul(x, y);
    let y = n.node(Op::Softmax { axis: 1 }, &[y]);
    let g = n.done(&[y]);
    let (cycles, text) = run(&g, Some(1));
    // A PE alone takes some 20 cycles an element.
    assert!(cycles < 12 * 24 * 1536, "{cycles} cycles\n{text}");
}

#[test]
fn rows_in_parts_are_faster_and_have_the_same_bits() {
    for masked in [Masked::No, Masked::Input(false), Masked::Input(true), Masked::Constant(false)] {
        let g = layer(&format!("in parts, {masked:?}"), [24, 2, 8], masked);
        let (whole, _) = run(&g, Some(1));
        for parts in [2, 3, 8, 12] {
            let (cycles, text) = run(&g, Some(parts));
            let kernels = text.matches(" = attention ").count();
            assert!(kernels == parts || kernels == parts * 2, "{} in {parts}: {kernels} kernels\n{text}", g.name);
            assert!(cycles < whole, "{} in {parts}: {cycles} cycles, {whole} in one", g.name);
        }
    }
}

/// What looks along the rows takes them whole, and what follows goes in parts again.
#[test]
fn what_looks_along_the_rows_is_done_once() {
    let mut n = Writer::new("along the rows");
    let x = n.input(&[2, 16, 24]);
    let x = n.dense(x, 24);
    let sums = n.node(Op::CumSum { axis: 1, exclusive: false, reverse: false }, &[x]);
    let y = n.dense(sums, 40);
    let mean = n.node(Op::Reduce { kind: Reduce::Mean, axes: vec![1], keep: true }, &[y]);
    let y = n.node(Op::Binary(Binary::Sub), &[y, mean]);
    let y = n.dense(y, 8);
    let g = n.done(&[y]);
    let (_, text) = run(&g, Some(4));
    assert_eq!(text.matches(" = cumsum ").count(), 1, "{text}");
    assert_eq!(text.matches("x24x40;").count(), 4, "{text}");
}
