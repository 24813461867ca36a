//! Examples for products that share an input.

use super::Gen;
use crate::ir::{DType, EpilogueStep, Graph, Op, ValueId, Window};

fn with_steps(g: &mut Gen, p: ValueId, steps: &[EpilogueStep]) -> Option<ValueId> {
    if steps.is_empty() { Some(p) } else { g.with_epilogue(p, steps) }
}

fn some_steps(g: &mut Gen) -> Vec<EpilogueStep> {
    g.pick(&[vec![], vec![EpilogueStep::Add], vec![EpilogueStep::Add, EpilogueStep::Relu]])
}

pub(crate) fn matmuls_share_input(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (m, k) = (g.between(1, 5), g.between(1, 6));
    let mut shape = if g.one_in(2) { vec![g.between(1, 3)] } else { vec![] };
    shape.extend([m, k]);
    let x = g.input(dtype, &shape);
    let steps = some_steps(g);
    let mut outs = Vec::new();
    for _ in 0..g.between(2, 4) {
        let n = g.between(1, 5);
        let w = g.constant(dtype, &[k, n]);
        let p = g.node(Op::MatMul { epilogue: vec![] }, &[x, w])?;
        outs.push(with_steps(g, p, &steps)?);
    }
    g.done_all(&outs)
}

pub(crate) fn convs_share_input(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (n, c) = (g.between(1, 2), g.between(1, 4));
    let kernel = vec![g.between(1, 3), g.between(1, 3)];
    let x = g.input(dtype, &[n, c, 5, 4]);
    let window = Window {
        kernel: kernel.clone(),
        stride: vec![1, g.between(1, 2)],
        dilation: vec![1, 1],
        before: vec![g.below(2), 0],
        after: vec![0, g.below(2)],
    };
    let steps = some_steps(g);
    let mut outs = Vec::new();
    for _ in 0..g.between(2, 3) {
        let m = g.between(1, 4);
        let w = g.constant(dtype, &[m, c, kernel[0], kernel[1]]);
        let p = g.node(Op::Conv { window: window.clone(), groups: 1, epilogue: vec![] }, &[x, w])?;
        outs.push(with_steps(g, p, &steps)?);
    }
    g.done_all(&outs)
}

pub(crate) fn matmul_chain(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F64]);
    // Several results, so that one of them is not the difference of large numbers.
    let (m, k, l, n) = (g.between(3, 6), g.between(1, 5), g.between(1, 5), g.between(4, 6));
    let mut shape = if g.one_in(2) { vec![g.between(1, 3)] } else { vec![] };
    shape.extend([m, k]);
    let x = g.input(dtype, &shape);
    let operand =
        |g: &mut Gen, shape: [usize; 2]| if g.one_in(2) { g.constant(dtype, &shape) } else { g.input(dtype, &shape) };
    let (y, z) = (operand(g, [k, l]), operand(g, [l, n]));
    let plain = || Op::MatMul { epilogue: vec![] };
    let r = if g.one_in(2) {
        let p = g.node(plain(), &[x, y])?;
        g.node(plain(), &[p, z])?
    } else {
        let p = g.node(plain(), &[y, z])?;
        g.node(plain(), &[x, p])?
    };
    g.done(r)
}
