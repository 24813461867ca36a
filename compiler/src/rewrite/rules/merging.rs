//! Merging: products that share an operand become one wider product, and slices of it.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::merging as ex;
use super::epilogue::steps;
use crate::ir::Op;
use egg::Id;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "matmuls-share-input",
        theme: Theme::Merging,
        rounding: Rounding::Rounds("The evaluator may add in another order."),
        summary: "Matrix products of one value with several constants become one, and slices of it.",
        picture: "matmul(x, w), matmul(x, v) => y = matmul(x, C), slice(y), slice(y)   C = concat(w, v)",
        when: "2 to 16 products with the same steps; weights are constants of two axes, epilogue operands constants per \
               column; not strict",
        roots: &[Kind::MatMul],
        apply: matmuls_share_input,
        #[cfg(test)]
        example: ex::matmuls_share_input,
    },
    Rule {
        name: "convs-share-input",
        theme: Theme::Merging,
        rounding: Rounding::Rounds("The evaluator may add in another order."),
        summary: "Convolutions of one value with the same window become one, and slices of it.",
        picture: "conv(x, w), conv(x, v) => y = conv(x, C), slice(y), slice(y)   C = concat(w, v)",
        when: "2 to 16 convolutions with the same window and steps, one group; weights are constants, epilogue operands \
               constants per channel; not strict",
        roots: &[Kind::Conv],
        apply: convs_share_input,
        #[cfg(test)]
        example: ex::convs_share_input,
    },
    Rule {
        name: "matmul-chain",
        theme: Theme::Merging,
        rounding: Rounding::Rounds("Other sums are rounded in between."),
        summary: "A chain of matrix products is multiplied in the order that costs least.",
        picture: "matmul(matmul(x, y), z) => matmul(x, matmul(y, z))\nmatmul(x, matmul(y, z)) => matmul(matmul(x, y), z)",
        when: "a float type; the product inside has no epilogue; not strict",
        roots: &[Kind::MatMul],
        apply: matmul_chain,
        #[cfg(test)]
        example: ex::matmul_chain,
    },
];

fn matmul_chain(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let (a, b) = (t.children[0], t.children[1]);
    if cx.strict() || !cx.dtype(a).is_float() {
        return None;
    }
    let plain = Op::MatMul { epilogue: vec![] };
    for (place, class) in [(0, a), (1, b)] {
        for inner in cx.terms(class, Kind::MatMul) {
            if cx.op(&inner).is_none_or(|o| !steps(o).is_empty()) || cx.fixed(class) {
                continue;
            }
            let (x, y) = (inner.children[0], inner.children[1]);
            let (pair, first) = if place == 0 { ([y, b], true) } else { ([a, x], false) };
            let Some(between) = cx.add(plain.clone(), &pair, &[t, &inner]) else { continue };
            let mut operands = t.children.to_vec();
            (operands[0], operands[1]) = if first { (x, between) } else { (between, y) };
            if let Some(m) = cx.add(op.clone(), &operands, &[t, &inner]) {
                cx.equate(m);
            }
        }
    }
    Some(())
}

/// Products merged into one, at most.
const WIDEST: usize = 16;

fn matmuls_share_input(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.ty(t.children[1]).rank() != 2 {
        return None;
    }
    // Columns of the weights, and of the result, are the last axis.
    let rank = result_rank(cx, t)?;
    merge(cx, t, 1, rank - 1, &[])
}

fn convs_share_input(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Conv { groups: 1, .. } = cx.op(t)? else { return None };
    let rank = cx.ty(t.children[1]).rank();
    merge(cx, t, 0, 1, &vec![1; rank - 2])
}

fn result_rank(cx: &Cx<'_>, t: &Term) -> Option<usize> {
    let types: Vec<_> = t.children.iter().map(|&c| cx.ty(c)).collect();
    Some(cx.op(t)?.result_type(&types).ok()?.rank())
}

/// Merges all products like `t` that share its first operand. Weights join along `weight_axis`,
/// results along `result_axis`; an epilogue operand has its channels first, then `tail`.
fn merge(cx: &mut Cx<'_>, t: &Term, weight_axis: usize, result_axis: usize, tail: &[usize]) -> Option<()> {
    if cx.strict() || !cx.dtype(t.children[0]).is_float() {
        return None;
    }
    let op = cx.op(t)?.clone();
    let x = cx.find(t.children[0]);
    let mut group: Vec<(Term, Id)> = Vec::new();
    for (u, class) in cx.users(x, t.kind) {
        let like = u.payload == t.payload && u.children[0] == x && cx.find(u.children[1]) != x;
        let seen = group.iter().any(|(_, c)| *c == class);
        if like && !seen && mergeable(cx, &u, weight_axis, result_axis) && !cx.made_by_this_rule(&u) {
            group.push((u, class));
        }
    }
    // The group is made once, from its first member.
    if !(2..=WIDEST).contains(&group.len()) || group[0].0 != *t {
        return None;
    }
    let weights: Vec<Id> = group.iter().map(|(u, _)| u.children[1]).collect();
    let extents: Vec<usize> = weights.iter().map(|&w| cx.shape(w)[weight_axis]).collect();
    let mut operands = vec![x, cx.add(Op::Concat { axis: weight_axis }, &weights, &[])?];
    for k in 2..t.children.len() {
        let mut parts = Vec::new();
        for ((u, _), &n) in group.iter().zip(&extents) {
            let shape: Vec<usize> = std::iter::once(n).chain(tail.iter().copied()).collect();
            parts.push(cx.reshape(u.children[k], &shape, &[])?);
        }
        operands.push(cx.add(Op::Concat { axis: 0 }, &parts, &[])?);
    }
    let lhs: Vec<&Term> = group.iter().map(|(u, _)| u).collect();
    let all = cx.add(op, &operands, &lhs)?;
    let mut offset = 0;
    for ((u, class), n) in group.iter().zip(extents) {
        let mut shape = cx.shape(all).to_vec();
        let mut start = vec![0; shape.len()];
        (shape[result_axis], start[result_axis]) = (n, offset);
        let step = vec![1; shape.len()];
        let part = cx.add(Op::Slice { start, step, shape }, &[all], &[u])?;
        cx.equate_both(*class, part);
        offset += n;
    }
    Some(())
}

/// True when weights and epilogue operands are constants that can be joined channel by channel.
fn mergeable(cx: &Cx<'_>, u: &Term, weight_axis: usize, result_axis: usize) -> bool {
    let w = u.children[1];
    let (n, Some(rank)) = (cx.shape(w)[weight_axis], result_rank(cx, u)) else { return false };
    let per_channel = |o: &Id| {
        let shape = cx.shape(*o);
        cx.fixed(*o)
            && cx.ty(*o).elements() == n
            && shape.iter().rev().enumerate().all(|(i, &d)| d == 1 || i == rank - 1 - result_axis)
    };
    cx.fixed(w)
        && cx.ty(w).rank() == cx.ty(u.children[1]).rank()
        && (u.kind != Kind::MatMul || cx.ty(w).rank() == 2)
        && cx.op(u).is_some_and(|op| steps(op).len() <= cx.limits().epilogue_steps)
        && u.children[2..].iter().all(per_channel)
}
