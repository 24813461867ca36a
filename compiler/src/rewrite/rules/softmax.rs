//! Softmax and its logarithm, spelled out.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::softmax as ex;
use crate::ir::{Binary, Op, Reduce, Unary};
use egg::Id;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "softmax-from-exp",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds(
            "One rounding instead of four, and no overflow where the maximum was not taken off.",
        ),
        summary: "Exponentials over their sum along one axis, with or without the maximum taken off, are a softmax.",
        picture: "div(e, sum<a>(e)) => softmax<a>(x)   e = exp(sub(x, max<a>(x)))\n\
                  mul(exp(x), recip(sum<a>(exp(x)))) => softmax<a>(x)",
        when: "the sum keeps its one axis; a float type; not strict",
        roots: &[Kind::Binary],
        apply: softmax_from_exp,
        #[cfg(test)]
        example: ex::softmax_from_exp,
    },
    Rule {
        name: "log-softmax",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds(
            "Another order of roundings; what was minus infinity for want of range is a number.",
        ),
        summary: "The logarithm of a softmax takes logarithms of the sums alone.",
        picture: "log(softmax<a>(x)) => sub(z, log(sum<a>(exp(z))))   z = sub(x, max<a>(x))",
        when: "a float type; not strict",
        roots: &[Kind::Unary],
        apply: log_softmax,
        #[cfg(test)]
        example: ex::log_softmax,
    },
];

/// Reductions of `of` in a class that keep their one axis, with it.
fn reductions(cx: &Cx<'_>, class: Id, kind: Reduce, of: Id) -> Vec<(Term, usize)> {
    let of = cx.find(of);
    let found = cx.terms(class, Kind::Reduce).into_iter().filter_map(|t| match cx.op(&t) {
        Some(Op::Reduce { kind: k, axes, keep: true }) if *k == kind && cx.find(t.children[0]) == of => {
            match axes[..] {
                [axis] => Some((t, axis)),
                _ => None,
            }
        }
        _ => None,
    });
    found.collect()
}

fn softmax_from_exp(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !cx.dtype(t.children[0]).is_float() {
        return None;
    }
    // The exponentials, the class of their sum, and the term between, if there is one.
    let mut quotients: Vec<(Id, Id, Option<Term>)> = Vec::new();
    match cx.op(t)? {
        Op::Binary(Binary::Div) => quotients.push((t.children[0], t.children[1], None)),
        Op::Binary(Binary::Mul) => {
            for (e, r) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
                quotients.extend(cx.unaries(r, Unary::Recip).into_iter().map(|(recip, sum)| (e, sum, Some(recip))));
            }
        }
        _ => return None,
    }
    for (e, sum, between) in quotients {
        for (total, axis) in reductions(cx, sum, Reduce::Sum, e) {
            for (exp, u) in cx.unaries(e, Unary::Exp) {
                let mut lhs: Vec<&Term> = vec![t, &total, &exp];
                lhs.extend(&between);
                let s = cx.add(Op::Softmax { axis }, &[u], &lhs)?;
                cx.equate(s);
                for (sub, x, most) in cx.binaries(u, Binary::Sub) {
                    for (max, a) in reductions(cx, most, Reduce::Max, x) {
                        if a == axis {
                            let mut lhs = lhs.clone();
                            lhs.extend([&sub, &max]);
                            let s = cx.add(Op::Softmax { axis }, &[x], &lhs)?;
                            cx.equate(s);
                        }
                    }
                }
            }
        }
    }
    Some(())
}

fn log_softmax(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !matches!(cx.op(t)?, Op::Unary(Unary::Log)) {
        return None;
    }
    for softmax in cx.terms(t.children[0], Kind::Softmax) {
        let Some(&Op::Softmax { axis }) = cx.op(&softmax) else { continue };
        let x = softmax.children[0];
        let lhs = [t, &softmax];
        let reduce = |kind| Op::Reduce { kind, axes: vec![axis], keep: true };
        let most = cx.add(reduce(Reduce::Max), &[x], &lhs)?;
        let z = cx.add(Op::Binary(Binary::Sub), &[x, most], &lhs)?;
        let e = cx.add(Op::Unary(Unary::Exp), &[z], &lhs)?;
        let total = cx.add(reduce(Reduce::Sum), &[e], &lhs)?;
        let log = cx.add(Op::Unary(Unary::Log), &[total], &lhs)?;
        let y = cx.add(Op::Binary(Binary::Sub), &[z, log], &lhs)?;
        cx.equate(y);
    }
    Some(())
}
