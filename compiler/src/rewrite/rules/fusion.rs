//! Folding: constants of an epilogue meet each other and the weights.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::fusion as ex;
use super::epilogue::{steps, with_steps};
use crate::ir::{Binary, EpilogueStep, Op};
use egg::Id;

const PRODUCTS: &[Kind] = &[Kind::Conv, Kind::MatMul];

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "fold-scale-into-weights",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("The weights are scaled and rounded at compile time."),
        summary: "A scale per output channel right after the sum moves into the weights (batch-norm, first half).",
        picture: "conv(x, w, c; mul, ..) => conv(x, C; ..)   C = w scaled by output channel\n\
                  matmul(x, w, c; mul, ..) => matmul(x, C; ..)   C = w scaled by column",
        when: "weights and scale are constants of a float type, the scale varies along the channel only; not strict",
        roots: PRODUCTS,
        apply: scale_into_weights,
        #[cfg(test)]
        example: ex::scale_into_weights,
    },
    Rule {
        name: "fold-epilogue-scale-first",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("The shift is scaled at compile time and rounded there; integers wrap the same."),
        summary: "In an epilogue a shift and then a scale become a scale and then a shift (batch-norm, second half).",
        picture: "conv(x, w, c, d; add, mul, ..) => conv(x, w, d, C; mul, add, ..)   C = mul(c, d)",
        when: "shift and scale are constants; strict: an integer type",
        roots: PRODUCTS,
        apply: scale_first,
        #[cfg(test)]
        example: ex::scale_first,
    },
    Rule {
        name: "fold-epilogue-constants",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("One rounding instead of two; integers wrap the same."),
        summary: "Two shifts, or two scales, in a row become one.",
        picture: "conv(x, w, c, d; add, add, ..) => conv(x, w, C; add, ..)   C = add(c, d); mul alike",
        when: "both operands are constants; strict: an integer type",
        roots: PRODUCTS,
        apply: epilogue_constants,
        #[cfg(test)]
        example: ex::epilogue_constants,
    },
    Rule {
        name: "fold-input-scale",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("The weights are scaled and rounded at compile time."),
        summary: "A scale per input channel moves into the weights of the convolution that follows.",
        picture: "conv(mul(x, c), w) => conv(x, C)   C = w scaled by input channel",
        when: "one group; weights and scale are finite constants of a float type, the scale varies along the channel \
               only; not strict",
        roots: &[Kind::Conv],
        apply: input_scale,
        #[cfg(test)]
        example: ex::input_scale,
    },
];

/// The extent of the result along which weights can be scaled, and the axis counted from the end.
fn channel(cx: &Cx<'_>, t: &Term) -> Option<(usize, usize)> {
    let w = cx.shape(t.children[1]);
    match cx.op(t)? {
        Op::Conv { .. } => Some((w[0], w.len() - 2)),
        Op::MatMul { .. } => Some((w[w.len() - 1], 0)),
        _ => None,
    }
}

/// True when a value varies only along the axis that is `from_end` from the end.
fn only_along(shape: &[usize], from_end: usize) -> bool {
    shape.iter().rev().enumerate().all(|(i, &d)| d == 1 || i == from_end)
}

fn scale_into_weights(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let (&first, rest) = steps(&op).split_first()?;
    let (w, scale) = (t.children[1], *t.children.get(2)?);
    let (extent, from_end) = channel(cx, t)?;
    let fits = first == EpilogueStep::Mul && cx.fixed(w) && cx.fixed(scale) && cx.dtype(w).is_float();
    if !fits || cx.strict() || !only_along(cx.shape(scale), from_end) {
        return None;
    }
    let n = cx.ty(scale).elements();
    let shape = match op {
        // Scales of M output channels stand before the weights [M, C, kernel].
        Op::Conv { .. } => {
            let mut s = vec![1; cx.ty(w).rank()];
            s[0] = n;
            s
        }
        _ => vec![n],
    };
    if n != extent && n != 1 {
        return None;
    }
    let by = cx.reshape(scale, &shape, &[])?;
    let scaled = cx.add(Op::Binary(Binary::Mul), &[w, by], &[])?;
    let mut operands = vec![t.children[0], scaled];
    operands.extend(&t.children[3..]);
    let folded = cx.add(with_steps(&op, rest.to_vec()), &operands, &[t])?;
    cx.equate(folded);
    Some(())
}

/// Positions of two operand-taking steps in a row, with the places of their operands.
fn neighbours(op: &Op) -> Vec<(usize, usize)> {
    let steps = steps(op);
    let mut operand = 2;
    let mut found = Vec::new();
    for (i, s) in steps.iter().enumerate() {
        if s.takes_operand() {
            if steps.get(i + 1).is_some_and(|n| n.takes_operand()) {
                found.push((i, operand));
            }
            operand += 1;
        }
    }
    found
}

/// True when constants may be joined without changing bits, or bits may change.
fn may_join(cx: &Cx<'_>, t: &Term, at: usize) -> bool {
    let (c, d) = (t.children[at], t.children[at + 1]);
    cx.fixed(c) && cx.fixed(d) && !(cx.strict() && cx.dtype(c).is_float())
}

fn scale_first(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for (i, at) in neighbours(&op) {
        if steps(&op)[i..i + 2] != [EpilogueStep::Add, EpilogueStep::Mul] || !may_join(cx, t, at) {
            continue;
        }
        let (c, d) = (t.children[at], t.children[at + 1]);
        let shift = cx.add(Op::Binary(Binary::Mul), &[c, d], &[])?;
        let mut new = steps(&op).to_vec();
        new.swap(i, i + 1);
        let mut operands = t.children.to_vec();
        (operands[at], operands[at + 1]) = (d, shift);
        if let Some(f) = cx.add(with_steps(&op, new), &operands, &[t]) {
            cx.equate(f);
        }
    }
    Some(())
}

fn epilogue_constants(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for (i, at) in neighbours(&op) {
        let join = match steps(&op)[i..i + 2] {
            [EpilogueStep::Add, EpilogueStep::Add] => Binary::Add,
            [EpilogueStep::Mul, EpilogueStep::Mul] => Binary::Mul,
            _ => continue,
        };
        if !may_join(cx, t, at) {
            continue;
        }
        let both = cx.add(Op::Binary(join), &[t.children[at], t.children[at + 1]], &[])?;
        let mut new = steps(&op).to_vec();
        new.remove(i);
        let mut operands = t.children.to_vec();
        operands[at] = both;
        operands.remove(at + 1);
        if let Some(f) = cx.add(with_steps(&op, new), &operands, &[t]) {
            cx.equate(f);
        }
    }
    Some(())
}

fn input_scale(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let Op::Conv { groups: 1, .. } = op else { return None };
    let (scaled, w): (Id, Id) = (t.children[0], t.children[1]);
    if cx.strict() || !cx.fixed(w) || !cx.dtype(w).is_float() {
        return None;
    }
    let rank = cx.ty(w).rank();
    for (mul, a, b) in cx.binaries(scaled, Binary::Mul) {
        for (x, c) in [(a, b), (b, a)] {
            let n = cx.ty(c).elements();
            let fits = cx.fixed(c) && cx.ty(x) == cx.ty(scaled) && only_along(cx.shape(c), rank - 2);
            if !fits || (n != 1 && n != cx.shape(w)[1]) {
                continue;
            }
            let mut shape = vec![1; rank];
            shape[1] = n;
            let by = cx.reshape(c, &shape, &[])?;
            let folded = cx.add(Op::Binary(Binary::Mul), &[w, by], &[])?;
            let mut operands = t.children.to_vec();
            (operands[0], operands[1]) = (x, folded);
            let f = cx.add(op.clone(), &operands, &[t, &mul])?;
            cx.equate(f);
        }
    }
    Some(())
}
