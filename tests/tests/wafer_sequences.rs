//! Transformers on the mesh: attention as one kernel, rows of a sequence in parts. Every program passes the checker, its
//! simulated bits equal the tiled graph's, and those agree with the oracle as f16 products allow.

use quadrille_compiler::ir::{Binary, EpilogueStep, Graph, Op, Reduce, Tensor, ValueId, eval};
use quadrille_compiler::rewrite::random_inputs;
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer as rt;
use quadrille_tests::graphs::Writer;
use quadrille_wafer::{self as wafer, Options};

/// Cycles of a graph in so many parts, and the text of its tiled graph.
fn run(g: &Graph, parts: Option<usize>) -> (u64, String) {
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
        assert!(scale > 0.0 && worst <= 5e-3 * scale, "{} in {parts:?}: off by {worst} at scale {scale}", g.name);
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
