//! Heads that share keys and values: what is repeated for every query head meets all of them as it is.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::grouped as ex;
use crate::ir::{Binary, Op};
use egg::Id;

pub(super) static RULES: &[Rule] = &[Rule {
    name: "grouped-heads",
    theme: Theme::Merging,
    rounding: Rounding::Rounds("The evaluator may add in another order."),
    summary: "A product with a value that is repeated along its innermost batch axis meets the value itself, with the rows \
                  of all repetitions under one another.",
    picture: "matmul(q[b, h g, t, d], reshape(broadcast(k[b, h, 1, d, s]))) =>\n  \
                  reshape[b, h g, t, s](matmul(reshape[b, h, g t, d](q), reshape[b, h, d, s](k)))\n\
                  the same where the repeated value is transposed, or scaled by one number",
    when: "the repetitions of an index of the value follow one another; both operands have the same rank; \
               the epilogue has no operands; strict: not a float",
    roots: &[Kind::MatMul],
    apply: grouped_heads,
    #[cfg(test)]
    example: ex::grouped_heads,
}];

/// A product with one number, and the number.
type Scaled = Option<(Term, Id)>;

/// A value that is repeated, without the axis of its repetitions, the terms that repeat it, and how often.
struct Repeated {
    terms: Vec<Term>,
    value: Id,
    shape: Vec<usize>,
    times: usize,
}

/// Values that a class repeats along axis `axis`, each index several times in a row.
fn repeated(cx: &Cx<'_>, class: Id, axis: usize) -> Vec<Repeated> {
    let shape = cx.shape(class).to_vec();
    let mut found = Vec::new();
    for view in cx.terms(class, Kind::Reshape) {
        for copies in cx.terms(view.children[0], Kind::Broadcast) {
            let value = copies.children[0];
            let (own, wide) = (cx.shape(value), cx.shape(view.children[0]));
            if own.len() != shape.len() + 1 || wide.len() != own.len() || own[axis + 1] != 1 {
                continue;
            }
            let only = (0..own.len()).all(|a| a == axis + 1 || own[a] == wide[a]);
            let mut joined = wide.to_vec();
            let times = joined.remove(axis + 1);
            joined[axis] *= times;
            if only && joined == shape {
                let mut shape = own.to_vec();
                shape.remove(axis + 1);
                found.push(Repeated { terms: vec![view.clone(), copies.clone()], value, shape, times });
            }
        }
    }
    found
}

fn grouped_heads(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let [a, b] = t.children[..] else { return None };
    let (rank, rows) = (cx.ty(b).rank(), cx.shape(a).to_vec());
    if rank < 3 || rows.len() != rank || cx.strict() && cx.dtype(a).is_float() {
        return None;
    }
    let axis = rank - 3;
    let mut swap: Vec<usize> = (0..rank).collect();
    swap.swap(rank - 2, rank - 1);
    // The right operand, or one that it is a multiple of.
    let mut bases: Vec<(Scaled, Id)> = vec![(None, b)];
    for (mul, x, y) in cx.binaries(b, Binary::Mul) {
        let scaled = [(x, y), (y, x)].into_iter().filter(|&(x, c)| cx.splat(c).is_some() && cx.ty(x) == cx.ty(b));
        bases.extend(scaled.map(|(x, c)| (Some((mul.clone(), c)), x)));
    }
    let mut all: Vec<(Scaled, Option<Term>, Repeated)> = Vec::new();
    for (scale, b) in bases {
        all.extend(repeated(cx, b, axis).into_iter().map(|r| (scale.clone(), None, r)));
        for turned in cx.terms(b, Kind::Transpose) {
            if matches!(cx.op(&turned), Some(Op::Transpose { perm }) if *perm == swap) {
                let found = repeated(cx, turned.children[0], axis).into_iter();
                all.extend(found.map(|r| (scale.clone(), Some(turned.clone()), r)));
            }
        }
    }
    for (scale, turned, r) in all {
        if rows[axis] != r.shape[axis] * r.times {
            continue;
        }
        let mut lhs: Vec<&Term> = vec![t];
        lhs.extend(scale.iter().map(|(mul, _)| mul).chain(&turned).chain(&r.terms));
        let mut under = rows.clone();
        under[axis] = r.shape[axis];
        under[axis + 1] *= r.times;
        let q = cx.reshape(a, &under, &lhs)?;
        let mut k = cx.reshape(r.value, &r.shape, &lhs)?;
        if turned.is_some() {
            k = cx.transpose(k, &swap, &lhs)?;
        }
        if let Some((_, c)) = scale {
            k = cx.add(Op::Binary(Binary::Mul), &[k, c], &lhs)?;
        }
        let product = cx.add(op.clone(), &[q, k], &lhs)?;
        let shape = cx.shape(cx.root()).to_vec();
        let y = cx.reshape(product, &shape, &lhs)?;
        cx.equate(y);
    }
    Some(())
}
