//! Fusion: activations that are spelled out and gate a sum by a function of itself.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::activation as ex;
use super::epilogue::{close, products, steps, with_steps};
use crate::ir::{Binary, EpilogueStep, Op, Unary};
use egg::Id;

const BINARY: &[Kind] = &[Kind::Binary];

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "epilogue-silu",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("One rounding instead of two or three."),
        summary: "A value times the sigmoid of it, or of a multiple of it, is a step of the epilogue (silu; gelu by a sigmoid).",
        picture: "mul(y, sigmoid(y)) => conv(x, w; silu 1)   y = conv(x, w)\n\
                  mul(y, sigmoid(mul(y, 1.702))) => conv(x, w; silu 1.702)",
        when: "the multiple is one number everywhere, exact in f32; steps are left; not strict",
        roots: BINARY,
        apply: silu,
        #[cfg(test)]
        example: ex::silu,
    },
    Rule {
        name: "epilogue-hard-swish",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("One rounding instead of five."),
        summary: "A hard swish, spelled out, is a step of the epilogue.",
        picture: "mul(y, min(max(add(mul(y, 0.1667), 0.5), 0), 1)) => conv(x, w; hard_swish)   y = conv(x, w)\n\
                  mul(mul(y, min(max(add(y, 3), 0), 6)), 0.1667) => conv(x, w; hard_swish)   any grouping; `div 6` too",
        when: "steps are left; not strict",
        roots: BINARY,
        apply: hard_swish,
        #[cfg(test)]
        example: ex::hard_swish,
    },
    Rule {
        name: "epilogue-gelu-tanh",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("One rounding instead of eight; the constants may be off by their own rounding."),
        summary: "A gelu with tanh, spelled out in any order, is a step of the epilogue.",
        picture: "mul(mul(y, 0.5), add(1, tanh(mul(add(y, mul(pow(y, 3), 0.0447)), 0.7979)))) => conv(x, w; gelu_tanh)   \
                  y = conv(x, w)",
        when: "the three factors come in any order; the cube is a power or products; steps are left; not strict",
        roots: BINARY,
        apply: gelu_tanh,
        #[cfg(test)]
        example: ex::gelu_tanh,
    },
];

/// Appends a step to every product in the class of `y`.
fn append(cx: &mut Cx<'_>, y: Id, step: EpilogueStep, lhs: &[&Term]) -> Option<()> {
    for p in products(cx, y) {
        let op = cx.op(&p)?.clone();
        let mut all = steps(&op).to_vec();
        if all.len() >= cx.limits().epilogue_steps {
            continue;
        }
        all.push(step);
        let mut from: Vec<&Term> = vec![&p];
        from.extend(lhs);
        let f = cx.add(with_steps(&op, all), &p.children, &from)?;
        cx.equate(f);
    }
    Some(())
}

/// True when a class may be gated: a float that products make.
fn may_be_gated(cx: &Cx<'_>, y: Id) -> bool {
    cx.dtype(y).is_float() && !products(cx, y).is_empty()
}

/// Terms of a class that are a product of `of` with one number, with that number: a division counts by its reciprocal.
fn multiples(cx: &Cx<'_>, of: Id, class: Id) -> Vec<(Term, f64)> {
    let of = cx.find(of);
    let same = |x: Id| cx.find(x) == of && cx.ty(x) == cx.ty(class);
    let mut found = Vec::new();
    for (t, a, b) in cx.binaries(class, Binary::Mul) {
        for (x, c) in [(a, b), (b, a)] {
            if let Some(v) = cx.splat(c).filter(|_| same(x)) {
                found.push((t.clone(), v));
            }
        }
    }
    for (t, x, c) in cx.binaries(class, Binary::Div) {
        if let Some(v) = cx.splat(c).filter(|_| same(x)) {
            found.push((t, 1.0 / v));
        }
    }
    found
}

/// Terms of a class that are `of` plus one number.
fn shifted(cx: &Cx<'_>, class: Id) -> Vec<(Term, Id, f64)> {
    let mut found = Vec::new();
    for (t, a, b) in cx.binaries(class, Binary::Add) {
        for (x, c) in [(a, b), (b, a)] {
            if let Some(v) = cx.splat(c).filter(|_| cx.ty(x) == cx.ty(class)) {
                found.push((t.clone(), x, v));
            }
        }
    }
    found
}

/// What a class cuts to `[0, most]`, with the terms that do.
fn clipped(cx: &Cx<'_>, class: Id, most: f64) -> Vec<(Vec<Term>, Id)> {
    let bound = |class: Id, op: Binary, v: f64| -> Vec<(Term, Id)> {
        let mut found = Vec::new();
        for (t, a, b) in cx.binaries(class, op) {
            for (x, c) in [(a, b), (b, a)] {
                if cx.splat(c) == Some(v) && cx.ty(x) == cx.ty(class) {
                    found.push((t.clone(), x));
                }
            }
        }
        found
    };
    let above = |class: Id| {
        let mut found = bound(class, Binary::Max, 0.0);
        found.extend(cx.unaries(class, Unary::Relu));
        found
    };
    let below = |class: Id| bound(class, Binary::Min, most);
    let mut found = Vec::new();
    for (outer, mid) in below(class) {
        found.extend(above(mid).into_iter().map(|(inner, x)| (vec![outer.clone(), inner], x)));
    }
    for (outer, mid) in above(class) {
        found.extend(below(mid).into_iter().map(|(inner, x)| (vec![outer.clone(), inner], x)));
    }
    found
}

fn is_mul(cx: &Cx<'_>, t: &Term) -> bool {
    matches!(cx.op(t), Some(Op::Binary(Binary::Mul)))
}

fn silu(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !is_mul(cx, t) {
        return None;
    }
    for (y, gate) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        if !may_be_gated(cx, y) || cx.ty(y) != cx.ty(gate) {
            continue;
        }
        for (sigmoid, u) in cx.unaries(gate, Unary::Sigmoid) {
            if cx.find(u) == cx.find(y) {
                append(cx, y, EpilogueStep::Silu(1f32.to_bits()), &[t, &sigmoid])?;
            }
            for (scaled, a) in multiples(cx, y, u) {
                // The number as the model's type has it.
                if f64::from(a as f32) == a {
                    append(cx, y, EpilogueStep::Silu((a as f32).to_bits()), &[t, &sigmoid, &scaled])?;
                }
            }
        }
    }
    Some(())
}

/// The three factors of a product, in all orders; of two with a division by one number too. The term inside
/// comes with them.
fn factors(cx: &Cx<'_>, t: &Term) -> Vec<(Term, [Id; 3])> {
    let mut found = Vec::new();
    for (pair, third) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        for (mul, a, b) in cx.binaries(pair, Binary::Mul) {
            let orders = [[a, b, third], [a, third, b], [b, a, third], [b, third, a], [third, a, b], [third, b, a]];
            found.extend(orders.map(|o| (mul.clone(), o)));
        }
    }
    found
}

fn hard_swish(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let root = cx.op(t)?.clone();
    if cx.strict() || !matches!(root, Op::Binary(Binary::Mul | Binary::Div)) {
        return None;
    }
    if is_mul(cx, t) {
        for (y, gate) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
            if !may_be_gated(cx, y) || cx.ty(y) != cx.ty(gate) {
                continue;
            }
            // y * clip(y / 6 + 1/2, 0, 1)
            for (cuts, z) in clipped(cx, gate, 1.0) {
                for (sum, scaled, half) in shifted(cx, z) {
                    for (mul, sixth) in multiples(cx, y, scaled) {
                        if close(half, 0.5) && close(sixth, 1.0 / 6.0) {
                            append(cx, y, EpilogueStep::HardSwish, &[t, &cuts[0], &cuts[1], &sum, &mul])?;
                        }
                    }
                }
            }
            // y * (clip(y + 3, 0, 6) / 6)
            for (wide, sixth) in every_multiple(cx, gate) {
                if close(sixth.1, 1.0 / 6.0) {
                    gate_of_six(cx, t, y, wide, &sixth.0)?;
                }
            }
        }
        // (y * clip(y + 3, 0, 6)) * 1/6, in any grouping
        for (inside, [y, gate, sixth]) in factors(cx, t) {
            let fits =
                cx.splat(sixth).is_some_and(|v| close(v, 1.0 / 6.0)) && cx.facts(t.children[0]).ty.dtype.is_float();
            if fits && may_be_gated(cx, y) && cx.ty(y) == cx.ty(gate) {
                gate_of_six(cx, t, y, gate, &inside)?;
            }
        }
    } else if cx.splat(t.children[1]).is_some_and(|v| close(v, 6.0)) {
        for (inside, a, b) in cx.binaries(t.children[0], Binary::Mul) {
            for (y, gate) in [(a, b), (b, a)] {
                if may_be_gated(cx, y) && cx.ty(y) == cx.ty(gate) {
                    gate_of_six(cx, t, y, gate, &inside)?;
                }
            }
        }
    }
    Some(())
}

/// Terms of a class that are a multiple of something by one number: that something, the term and the number.
fn every_multiple(cx: &Cx<'_>, class: Id) -> Vec<(Id, (Term, f64))> {
    let mut found = Vec::new();
    for (t, a, b) in cx.binaries(class, Binary::Mul) {
        for (x, c) in [(a, b), (b, a)] {
            if let Some(v) = cx.splat(c).filter(|_| cx.ty(x) == cx.ty(class)) {
                found.push((x, (t.clone(), v)));
            }
        }
    }
    for (t, x, c) in cx.binaries(class, Binary::Div) {
        if let Some(v) = cx.splat(c).filter(|_| cx.ty(x) == cx.ty(class)) {
            found.push((x, (t, 1.0 / v)));
        }
    }
    found
}

/// The hard swish of `y`, where `gate` is y + 3 cut to [0, 6].
fn gate_of_six(cx: &mut Cx<'_>, t: &Term, y: Id, gate: Id, inside: &Term) -> Option<()> {
    for (cuts, z) in clipped(cx, gate, 6.0) {
        for (sum, x, three) in shifted(cx, z) {
            if close(three, 3.0) && cx.find(x) == cx.find(y) {
                append(cx, y, EpilogueStep::HardSwish, &[t, inside, &cuts[0], &cuts[1], &sum])?;
            }
        }
    }
    Some(())
}

fn gelu_tanh(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !is_mul(cx, t) {
        return None;
    }
    for (inside, [y, half, bell]) in factors(cx, t) {
        if !cx.splat(half).is_some_and(|v| close(v, 0.5)) || !may_be_gated(cx, y) || cx.ty(y) != cx.ty(bell) {
            continue;
        }
        for (one, tanh_class, _) in shifted(cx, bell).into_iter().filter(|s| s.2 == 1.0) {
            for (tanh, u) in cx.unaries(tanh_class, Unary::Tanh) {
                for chain in argument(cx, y, u) {
                    let mut lhs: Vec<&Term> = vec![t, &inside, &one, &tanh];
                    lhs.extend(&chain);
                    append(cx, y, EpilogueStep::GeluTanh, &lhs)?;
                }
            }
        }
    }
    Some(())
}

/// Terms of `sqrt(2 / pi) (y + 0.044715 y^3)` in a class.
fn argument(cx: &Cx<'_>, y: Id, class: Id) -> Vec<Vec<Term>> {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let mut found = Vec::new();
    for (sum, (scaled, v)) in every_multiple(cx, class) {
        if !close(v, root) {
            continue;
        }
        for (add, a, b) in cx.binaries(sum, Binary::Add) {
            for (x, rest) in [(a, b), (b, a)] {
                if cx.find(x) != cx.find(y) {
                    continue;
                }
                for (cube, (mul, k)) in every_multiple(cx, rest) {
                    if let Some(c) = cubes(cx, y, cube).filter(|_| close(k, 0.044715)) {
                        found.push(vec![scaled.clone(), add.clone(), mul, c]);
                    }
                }
            }
        }
    }
    found
}

/// A term of `y^3` in a class.
fn cubes(cx: &Cx<'_>, y: Id, class: Id) -> Option<Term> {
    let y = cx.find(y);
    let is = |x: Id| cx.find(x) == y;
    let power = cx.binaries(class, Binary::Pow).into_iter().find(|&(_, x, n)| is(x) && cx.splat(n) == Some(3.0));
    let square = |class: Id| {
        cx.binaries(class, Binary::Mul).iter().any(|&(_, a, b)| is(a) && is(b))
            || cx.binaries(class, Binary::Pow).iter().any(|&(_, x, n)| is(x) && cx.splat(n) == Some(2.0))
    };
    let product = || {
        let all = cx.binaries(class, Binary::Mul);
        all.into_iter().find(|&(_, a, b)| is(a) && square(b) || is(b) && square(a))
    };
    power.or_else(product).map(|(t, ..)| t)
}
