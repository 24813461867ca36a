//! Recognition: several primitives that spell one.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::selection as ex;
use crate::ir::{Binary, Op, Unary};
use egg::Id;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "relu-from-max",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A maximum with zero is a relu.",
        picture: "max(x, 0) => relu(x)",
        when: "the constant is +0 everywhere, a float or signed type, and does not widen the shape",
        roots: &[Kind::Binary],
        apply: relu_from_max,
        #[cfg(test)]
        example: ex::relu_from_max,
    },
    Rule {
        name: "leaky-relu-from-max",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A maximum of a value and a fraction of it is a leaky relu.",
        picture: "max(x, mul(x, c)) => prelu(x, c)",
        when: "`c` is one number everywhere, 0 < c <= 1, a float type",
        roots: &[Kind::Binary],
        apply: leaky_from_max,
        #[cfg(test)]
        example: ex::leaky_from_max,
    },
    Rule {
        name: "leaky-relu-from-select",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A choice by sign between a value and a multiple of it is a parametric relu.",
        picture: "select(ge(x, 0), x, mul(x, c)) => prelu(x, c)\nselect(lt(x, 0), mul(x, c), x) => prelu(x, c)\n\
                  gt, le: the same for c > 0",
        when: "float type; `c` does not widen the shape; with gt and le `c` is one positive number",
        roots: &[Kind::Select],
        apply: leaky_from_select,
        #[cfg(test)]
        example: ex::leaky_from_select,
    },
    Rule {
        name: "sigmoid-from-exp",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("One rounding instead of three."),
        summary: "The logistic function, spelled out, is a sigmoid.",
        picture: "recip(add(1, exp(neg(x)))) => sigmoid(x)\ndiv(1, add(1, exp(neg(x)))) => sigmoid(x)",
        when: "not strict",
        roots: &[Kind::Unary, Kind::Binary],
        apply: sigmoid_from_exp,
        #[cfg(test)]
        example: ex::sigmoid_from_exp,
    },
];

fn relu_from_max(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(Binary::Max)) {
        return None;
    }
    for (x, c) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        let d = cx.dtype(x);
        let zero = cx.splat(c).is_some_and(|v| v == 0.0 && v.is_sign_positive());
        // A wider constant would give a result of another shape.
        let fits = crate::ir::broadcast_shapes(cx.shape(x), cx.shape(c)).as_deref() == Some(cx.shape(x));
        if zero && fits && (d.is_float() || d.is_signed_int()) {
            let r = cx.add(Op::Unary(Unary::Relu), &[x], &[t])?;
            cx.equate(r);
        }
    }
    Some(())
}

/// Terms `mul(x, c)` of a class, either way round, with the constant.
fn multiples(cx: &Cx<'_>, of: Id, class: Id) -> Vec<(Term, Id)> {
    let of = cx.find(of);
    cx.binaries(class, Binary::Mul)
        .into_iter()
        .flat_map(|(t, a, b)| [(t.clone(), a, b), (t, b, a)])
        .filter(|&(_, x, c)| cx.find(x) == of && cx.facts(class).ty == cx.facts(x).ty && cx.find(c) != of)
        .map(|(t, _, c)| (t, c))
        .collect()
}

fn leaky_from_max(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(Binary::Max)) || !cx.dtype(t.children[0]).is_float() {
        return None;
    }
    for (x, m) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        for (mul, c) in multiples(cx, x, m) {
            if cx.splat(c).is_some_and(|v| v > 0.0 && v <= 1.0) {
                let p = cx.add(Op::Binary(Binary::Prelu), &[x, c], &[t, &mul])?;
                cx.equate(p);
            }
        }
    }
    Some(())
}

fn leaky_from_select(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let (cond, yes, no) = (t.children[0], t.children[1], t.children[2]);
    if !cx.dtype(yes).is_float() {
        return None;
    }
    for compare in cx.terms(cond, Kind::Binary) {
        let Some(&Op::Binary(op)) = cx.op(&compare) else { continue };
        let (x, zero) = (compare.children[0], compare.children[1]);
        if cx.splat(zero) != Some(0.0) || cx.facts(cond).ty.shape != cx.facts(x).ty.shape {
            continue;
        }
        let (kept, scaled) = match op {
            Binary::Ge | Binary::Gt => (yes, no),
            Binary::Lt | Binary::Le => (no, yes),
            _ => continue,
        };
        if cx.find(kept) != cx.find(x) {
            continue;
        }
        for (mul, c) in multiples(cx, x, scaled) {
            // Where zero goes to the multiple, it must stay the same zero.
            let positive = cx.splat(c).is_some_and(|v| v > 0.0);
            if positive || matches!(op, Binary::Ge | Binary::Lt) {
                let p = cx.add(Op::Binary(Binary::Prelu), &[x, c], &[t, &compare, &mul])?;
                cx.equate(p);
            }
        }
    }
    Some(())
}

fn sigmoid_from_exp(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() {
        return None;
    }
    let below = match cx.op(t)? {
        Op::Unary(Unary::Recip) => t.children[0],
        Op::Binary(Binary::Div) if cx.splat(t.children[0]) == Some(1.0) => t.children[1],
        _ => return None,
    };
    for (sum, a, b) in cx.binaries(below, Binary::Add) {
        for (one, e) in [(a, b), (b, a)] {
            if cx.splat(one) != Some(1.0) {
                continue;
            }
            for (exp, n) in cx.unaries(e, Unary::Exp) {
                for (neg, x) in cx.unaries(n, Unary::Neg) {
                    let s = cx.add(Op::Unary(Unary::Sigmoid), &[x], &[t, &sum, &exp, &neg])?;
                    if cx.ty(s) == cx.ty(below) {
                        cx.equate(s);
                    }
                }
            }
        }
    }
    Some(())
}
