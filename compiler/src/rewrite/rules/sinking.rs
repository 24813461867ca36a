//! Transposes and reshapes sink through operations that do not mind, towards each other.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::sinking as ex;
use crate::ir::Op;
use egg::Id;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "sink-transpose-unary",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A transpose sinks through an elementwise operation of one operand.",
        picture: "relu(transpose<p>(x)) => transpose<p>(relu(x))   likewise every unary operation and cast",
        when: "always",
        roots: &[Kind::Unary, Kind::Cast],
        apply: transpose_unary,
        #[cfg(test)]
        example: ex::transpose_unary,
    },
    Rule {
        name: "sink-transpose-binary",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A transpose sinks through an elementwise operation; constants are transposed back at compile time.",
        picture: "add(transpose<p>(x), transpose<p>(y)) => transpose<p>(add(x, y))\n\
                  add(transpose<p>(x), c) => transpose<p>(add(x, C))   C = c transposed back",
        when: "the other operands are constants, single elements, or transposed alike, of no higher rank",
        roots: &[Kind::Binary, Kind::Select],
        apply: transpose_nary,
        #[cfg(test)]
        example: ex::transpose_nary,
    },
    Rule {
        name: "sink-transpose-axis",
        theme: Theme::Layout,
        rounding: Rounding::Rounds("The evaluator may add in another order."),
        summary: "A transpose sinks through a softmax, a norm or a reduction, whose axes are renamed.",
        picture: "softmax<a>(transpose<p>(x)) => transpose<p>(softmax<p[a]>(x))\n\
                  reduce_max<a>(transpose<p>(x)) => transpose<p'>(reduce_max<p[a]>(x))",
        when: "strict: softmax, maximum, minimum, or a type that is not float",
        roots: &[Kind::Softmax, Kind::Norm, Kind::Reduce],
        apply: transpose_axis,
        #[cfg(test)]
        example: ex::transpose_axis,
    },
    Rule {
        name: "sink-reshape-elementwise",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A reshape sinks through an elementwise operation with single numbers.",
        picture: "relu(reshape<s>(x)) => reshape<s>(relu(x))\nmul(reshape<s>(x), c) => reshape<s>(mul(x, c))",
        when: "the other operand has one element and no higher rank",
        roots: &[Kind::Unary, Kind::Cast, Kind::Binary],
        apply: reshape_elementwise,
        #[cfg(test)]
        example: ex::reshape_elementwise,
    },
    Rule {
        name: "transpose-of-matmul",
        theme: Theme::Layout,
        rounding: Rounding::Rounds("The evaluator may add in another order."),
        summary: "The transpose of a product is the product of the transposes, the other way round.",
        picture: "transpose<..,1,0>(matmul(a, b)) => matmul(transpose<..,1,0>(b), transpose<..,1,0>(a))",
        when: "no epilogue, operands of one rank, only the last two axes are swapped; not strict",
        roots: &[Kind::Transpose],
        apply: transpose_of_matmul,
        #[cfg(test)]
        example: ex::transpose_of_matmul,
    },
];

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inv = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| inv[p] = i);
    inv
}

fn perm_of(cx: &Cx<'_>, t: &Term) -> Option<Vec<usize>> {
    match cx.op(t) {
        Some(Op::Transpose { perm }) => Some(perm.clone()),
        _ => None,
    }
}

fn transpose_unary(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for inner in cx.terms(t.children[0], Kind::Transpose) {
        let perm = perm_of(cx, &inner)?;
        let u = cx.add(op.clone(), &[inner.children[0]], &[t])?;
        let sunk = cx.transpose(u, &perm, &[&inner])?;
        cx.equate(sunk);
    }
    Some(())
}

/// What stands for `x` before the transpose `perm`: its axes moved back. Only where that is free.
fn moved_back(cx: &mut Cx<'_>, x: Id, perm: &[usize]) -> Option<Id> {
    if let Some(same) = cx.terms(x, Kind::Transpose).iter().find(|t| perm_of(cx, t).as_deref() == Some(perm)) {
        return Some(same.children[0]);
    }
    let single = cx.ty(x).elements() == 1;
    if !(cx.fixed(x) || single) || cx.ty(x).rank() > perm.len() {
        return None;
    }
    let mut shape = vec![1; perm.len() - cx.ty(x).rank()];
    shape.extend(cx.shape(x));
    let wide = cx.reshape(x, &shape, &[])?;
    if single { Some(wide) } else { cx.transpose(wide, &inverse(perm), &[]) }
}

fn transpose_nary(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for i in 0..t.children.len() {
        for inner in cx.terms(t.children[i], Kind::Transpose) {
            let perm = perm_of(cx, &inner)?;
            let operands: Option<Vec<Id>> = (0..t.children.len())
                .map(|j| if i == j { Some(inner.children[0]) } else { moved_back(cx, t.children[j], &perm) })
                .collect();
            let Some(operands) = operands else { continue };
            let n = cx.add(op.clone(), &operands, &[t])?;
            let sunk = cx.transpose(n, &perm, &[&inner])?;
            cx.equate(sunk);
        }
    }
    Some(())
}

fn transpose_axis(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let ordered = matches!(op, Op::Softmax { .. })
        || matches!(&op, Op::Reduce { kind: crate::ir::Reduce::Max | crate::ir::Reduce::Min, .. });
    if cx.strict() && !ordered && cx.dtype(t.children[0]).is_float() {
        return None;
    }
    for inner in cx.terms(t.children[0], Kind::Transpose) {
        let perm = perm_of(cx, &inner)?;
        let (new, left) = match &op {
            Op::Softmax { axis } => (Op::Softmax { axis: perm[*axis] }, perm.clone()),
            Op::Norm { axes, centered, epsilon } => {
                (Op::Norm { axes: renamed(axes, &perm), centered: *centered, epsilon: *epsilon }, perm.clone())
            }
            Op::Reduce { kind, axes, keep } => {
                let moved = renamed(axes, &perm);
                // Axes that are left, by the rank that they have in the reduced operand.
                let rank = |a: usize| a - moved.iter().filter(|&&m| m < a).count();
                let left = if *keep {
                    perm.clone()
                } else {
                    (0..perm.len()).filter(|i| !axes.contains(i)).map(|i| rank(perm[i])).collect()
                };
                (Op::Reduce { kind: *kind, axes: moved.clone(), keep: *keep }, left)
            }
            _ => return None,
        };
        let r = cx.add(new, &[inner.children[0]], &[t])?;
        let sunk = cx.transpose(r, &left, &[&inner])?;
        cx.equate(sunk);
    }
    Some(())
}

/// Axes by their names before a transpose, sorted.
fn renamed(axes: &[usize], perm: &[usize]) -> Vec<usize> {
    let mut moved: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
    moved.sort_unstable();
    moved
}

fn reshape_elementwise(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for i in 0..t.children.len() {
        for inner in cx.terms(t.children[i], Kind::Reshape) {
            let x = inner.children[0];
            let to = cx.shape(t.children[i]).to_vec();
            let mut operands = t.children.to_vec();
            operands[i] = x;
            let mut single = true;
            for (j, o) in operands.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                // A wider single element would raise the rank of the result.
                single &= cx.ty(*o).elements() == 1 && cx.ty(t.children[j]).rank() <= to.len();
                if single {
                    *o = cx.reshape(*o, &[], &[])?;
                }
            }
            if single {
                let n = cx.add(op.clone(), &operands, &[t])?;
                let sunk = cx.reshape(n, &to, &[&inner])?;
                cx.equate(sunk);
            }
        }
    }
    Some(())
}

fn transpose_of_matmul(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let perm = perm_of(cx, t)?;
    let r = perm.len();
    let swaps = r >= 2
        && perm[..r - 2].iter().enumerate().all(|(i, &p)| i == p)
        && perm[r - 2] == r - 1
        && perm[r - 1] == r - 2;
    if cx.strict() || !swaps {
        return None;
    }
    for m in cx.terms(t.children[0], Kind::MatMul) {
        if m.children.len() != 2 || !matches!(cx.op(&m), Some(Op::MatMul { epilogue }) if epilogue.is_empty()) {
            continue;
        }
        let mut flipped = [m.children[1], m.children[0]];
        if flipped.iter().any(|&x| cx.ty(x).rank() != r) {
            continue;
        }
        for x in &mut flipped {
            *x = cx.transpose(*x, &perm, &[t])?;
        }
        let n = cx.add(Op::MatMul { epilogue: Vec::new() }, &flipped, &[&m])?;
        cx.equate(n);
    }
    Some(())
}
