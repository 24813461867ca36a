//! Layer, instance, group and root-mean-square norms, spelled out.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::norm as ex;
use crate::ir::{Binary, DType, Op, Reduce, Unary};
use egg::Id;

const BINARY: &[Kind] = &[Kind::Binary];

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "norm",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds(
            "A sum times 1/n, a power, a factor that came first or a narrow type rounds elsewhere; the rest has the same bits.",
        ),
        summary: "A value times the inverse root of the mean of its squares is a norm; less its mean first, a centred one.",
        picture: "mul(x, rsqrt(add(mean<a>(mul(x, x)), e))) => norm<a, e>(x)\n\
                  mul(d, rsqrt(add(mean<a>(mul(d, d)), e))) => norm<a, e, centered>(x)   d = sub(x, mean<a>(x))\n\
                  mul(x, mul(rsqrt(...), c)) => mul(norm<a, e>(x), c)",
        when: "the means are over the same axes, kept; `e` is one number, exact in f32; \
               squares are products or powers, means are means or sums times 1/n",
        roots: BINARY,
        apply: norm,
        #[cfg(test)]
        example: ex::norm,
    },
    Rule {
        name: "norm-from-moments",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("The mean is taken off first, which cancels less."),
        summary: "A scale and a shift made of a value's own mean and variance are a centred norm.",
        picture: "add(mul(x, g), sub(b, mul(m, g))) => add(mul(norm<a, e, centered>(x), c), b)   \
                  m = mean<a>(x), g = mul(rsqrt(add(mean<a>(mul(d, d)), e)), c), d = sub(x, m)",
        when: "as for `norm`; not strict",
        roots: BINARY,
        apply: from_moments,
        #[cfg(test)]
        example: ex::from_moments,
    },
];

/// A match inside: the terms that it took, and whether it has the bits of the norm's own steps.
#[derive(Clone)]
struct Found {
    terms: Vec<Term>,
    of: Id,
    axes: Vec<usize>,
    exact: bool,
}

impl Found {
    fn behind(&self, before: &[&Term], exact: bool) -> Found {
        let mut terms: Vec<Term> = before.iter().map(|&t| t.clone()).collect();
        terms.extend(self.terms.iter().cloned());
        Found { terms, of: self.of, axes: self.axes.clone(), exact: self.exact && exact }
    }
}

fn orders(a: Id, b: Id) -> [(Id, Id); 2] {
    [(a, b), (b, a)]
}

/// What a class is the mean of, along axes that it keeps with extent 1.
fn means(cx: &Cx<'_>, class: Id) -> Vec<Found> {
    let mut found = Vec::new();
    let reductions = |class: Id, wanted: Reduce, kept: bool| -> Vec<Found> {
        let all = cx.terms(class, Kind::Reduce).into_iter();
        let each = all.filter_map(|t| match cx.op(&t) {
            Some(Op::Reduce { kind, axes, keep }) if *kind == wanted && *keep == kept => {
                Some(Found { of: cx.find(t.children[0]), axes: axes.clone(), exact: true, terms: vec![t] })
            }
            _ => None,
        });
        each.collect()
    };
    found.extend(reductions(class, Reduce::Mean, true));
    for view in cx.terms(class, Kind::Reshape) {
        for f in reductions(view.children[0], Reduce::Mean, false) {
            let mut shape = cx.shape(f.of).to_vec();
            f.axes.iter().for_each(|&a| shape[a] = 1);
            if cx.shape(class) == shape {
                found.push(f.behind(&[&view], true));
            }
        }
    }
    let mut scaled: Vec<(Term, Id, f64)> = Vec::new();
    for (t, a, b) in cx.binaries(class, Binary::Mul) {
        scaled.extend(orders(a, b).into_iter().filter_map(|(x, c)| Some((t.clone(), x, cx.splat(c)?))));
    }
    for (t, x, c) in cx.binaries(class, Binary::Div) {
        scaled.extend(cx.splat(c).map(|v| (t, x, 1.0 / v)));
    }
    for (t, sum, factor) in scaled {
        for f in reductions(sum, Reduce::Sum, true) {
            let n: usize = f.axes.iter().map(|&a| cx.shape(f.of)[a]).product();
            // A reciprocal as the model's type has it.
            let slack = if keeps_bits(cx.dtype(sum)) { 1e-6 } else { 4e-3 };
            if (factor * n as f64 - 1.0).abs() <= slack && cx.shape(sum) == cx.shape(class) {
                found.push(f.behind(&[&t], false));
            }
        }
    }
    found
}

/// What a class is the square of, with its term and whether that is a product.
fn squares(cx: &Cx<'_>, class: Id) -> Vec<(Term, Id, bool)> {
    let products = cx.binaries(class, Binary::Mul).into_iter().filter(|&(_, a, b)| cx.find(a) == cx.find(b));
    let mut found: Vec<(Term, Id, bool)> = products.map(|(t, a, _)| (t, cx.find(a), true)).collect();
    let powers = cx.binaries(class, Binary::Pow).into_iter();
    found.extend(powers.filter(|&(_, _, n)| cx.splat(n) == Some(2.0)).map(|(t, x, _)| (t, cx.find(x), false)));
    found
}

/// What a class is the mean square of.
fn mean_squares(cx: &Cx<'_>, class: Id) -> Vec<Found> {
    let mut found = Vec::new();
    for m in means(cx, class) {
        for (square, of, exact) in squares(cx, m.of) {
            if cx.shape(of) == cx.shape(m.of) {
                found.push(Found { of, ..m.behind(&[&square], exact) });
            }
        }
    }
    found
}

/// What a class is less its mean along these axes.
fn centred(cx: &Cx<'_>, d: Id, axes: &[usize]) -> Vec<Found> {
    let mut found = Vec::new();
    for (sub, x, m) in cx.binaries(d, Binary::Sub) {
        let same = |f: &Found| f.of == cx.find(x) && f.axes == axes;
        found.extend(means(cx, m).iter().filter(|f| same(f)).map(|f| f.behind(&[&sub], true)));
    }
    found
}

/// What a class is the variance of.
fn variances(cx: &Cx<'_>, class: Id) -> Vec<Found> {
    let mut found = Vec::new();
    for s in mean_squares(cx, class) {
        for f in centred(cx, s.of, &s.axes) {
            found.push(Found { of: f.of, ..s.behind(&f.terms.iter().collect::<Vec<_>>(), f.exact) });
        }
    }
    found
}

/// Classes whose inverse root, epsilon added, a class is: the terms, the class, epsilon, and whether the bits are those
/// of the norm.
fn inverse_roots(cx: &Cx<'_>, class: Id) -> Vec<(Vec<Term>, Id, u32, bool)> {
    let mut roots: Vec<(Term, Id, bool)> =
        cx.unaries(class, Unary::Rsqrt).into_iter().map(|(t, x)| (t, x, true)).collect();
    let powers = cx.binaries(class, Binary::Pow).into_iter();
    roots.extend(powers.filter(|&(_, _, n)| cx.splat(n) == Some(-0.5)).map(|(t, x, _)| (t, x, false)));
    let mut found = Vec::new();
    for (root, sum, exact) in roots {
        for (add, a, b) in cx.binaries(sum, Binary::Add) {
            for (v, c) in orders(a, b) {
                let Some(e) = cx.splat(c).filter(|&e| f64::from(e as f32) == e) else { continue };
                if cx.shape(v) == cx.shape(sum) {
                    found.push((vec![root.clone(), add.clone()], cx.find(v), (e as f32).to_bits(), exact));
                }
            }
        }
    }
    found
}

/// A class as it is, and without one of its factors.
fn factors(cx: &Cx<'_>, class: Id) -> Vec<(Option<Term>, Id, Option<Id>)> {
    let mut found = vec![(None, class, None)];
    for (t, a, b) in cx.binaries(class, Binary::Mul) {
        found.extend(orders(a, b).map(|(r, c)| (Some(t.clone()), r, Some(c))));
    }
    found
}

/// True for types in which a norm has the bits of its steps.
fn keeps_bits(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

fn norm(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(Binary::Mul)) || !cx.dtype(t.children[0]).is_float() {
        return None;
    }
    for (u, g) in orders(t.children[0], t.children[1]) {
        if cx.fixed(u) || cx.fixed(g) {
            continue;
        }
        for (product, r, c) in factors(cx, g) {
            for (root, v, epsilon, exact) in inverse_roots(cx, r) {
                let mut matches: Vec<(Found, bool)> = Vec::new();
                for s in mean_squares(cx, v).into_iter().filter(|s| s.of == cx.find(u)) {
                    let inside = centred(cx, u, &s.axes);
                    let own = |f: &Found| Found { of: f.of, ..s.behind(&f.terms.iter().collect::<Vec<_>>(), f.exact) };
                    match inside.iter().find(|f| f.exact).or(inside.first()) {
                        Some(f) => matches.push((own(f), true)),
                        None => matches.push((s, false)),
                    }
                }
                for (f, centered) in matches {
                    let same = f.exact && exact && product.is_none() && keeps_bits(cx.dtype(u));
                    if cx.strict() && !same {
                        continue;
                    }
                    let mut lhs: Vec<&Term> = vec![t];
                    lhs.extend(product.iter().chain(&root).chain(&f.terms));
                    let n = cx.add(Op::Norm { axes: f.axes.clone(), centered, epsilon }, &[f.of], &lhs)?;
                    let y = match c {
                        Some(c) => cx.add(Op::Binary(Binary::Mul), &[n, c], &[t])?,
                        None => n,
                    };
                    cx.equate(y);
                }
            }
        }
    }
    Some(())
}

fn from_moments(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !matches!(cx.op(t)?, Op::Binary(Binary::Add)) || !cx.dtype(t.children[0]).is_float() {
        return None;
    }
    for (scaled, shift) in orders(t.children[0], t.children[1]) {
        for (sub, b, y) in cx.binaries(shift, Binary::Sub) {
            for (inner, p, q) in cx.binaries(y, Binary::Mul) {
                for (m, g) in orders(p, q) {
                    for mean in means(cx, m) {
                        let outer = cx.binaries(scaled, Binary::Mul).into_iter().find(|&(_, p, q)| {
                            orders(p, q).iter().any(|&(x, h)| cx.find(x) == mean.of && cx.find(h) == cx.find(g))
                        });
                        let Some((outer, ..)) = outer else { continue };
                        for (product, r, c) in factors(cx, g) {
                            for (root, v, epsilon, _) in inverse_roots(cx, r) {
                                let fits = |s: &Found| s.of == mean.of && s.axes == mean.axes;
                                let Some(s) = variances(cx, v).into_iter().find(fits) else { continue };
                                let mut lhs: Vec<&Term> = vec![t, &sub, &inner, &outer];
                                lhs.extend(product.iter().chain(&root).chain(&mean.terms).chain(&s.terms));
                                let op = Op::Norm { axes: s.axes.clone(), centered: true, epsilon };
                                let mut n = cx.add(op, &[s.of], &lhs)?;
                                if let Some(c) = c {
                                    n = cx.add(Op::Binary(Binary::Mul), &[n, c], &[&outer])?;
                                }
                                let y = cx.add(Op::Binary(Binary::Add), &[n, b], &[t])?;
                                cx.equate(y);
                            }
                        }
                    }
                }
            }
        }
    }
    Some(())
}
