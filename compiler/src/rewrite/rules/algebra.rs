//! Algebra of elementwise operations: identities, and constants that meet.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::algebra as ex;
use crate::ir::{Binary, Op, Unary};
use egg::Id;

const BINARY: &[Kind] = &[Kind::Binary];
const UNARY: &[Kind] = &[Kind::Unary];

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "mul-one",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A product with one, or a quotient by one, is its other operand.",
        picture: "mul(x, 1) => x\ndiv(x, 1) => x",
        when: "the constant is 1 everywhere and does not widen the shape",
        roots: BINARY,
        apply: mul_one,
        #[cfg(test)]
        example: ex::mul_one,
    },
    Rule {
        name: "add-zero",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A sum with zero, or a difference from it, is its other operand.",
        picture: "add(x, 0) => x\nsub(x, 0) => x",
        when: "the constant is 0 everywhere and does not widen the shape",
        roots: BINARY,
        apply: add_zero,
        #[cfg(test)]
        example: ex::add_zero,
    },
    Rule {
        name: "neg-neg",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "Two operations that undo each other vanish, and one that repeats is done once.",
        picture: "neg(neg(x)) => x\nnot(not(x)) => x\nabs(neg(x)) => abs(x)\nf(f(x)) => f(x)   for f in abs, relu, floor, ceil, round",
        when: "`not` on `bool` or integers; the others on any type that has them",
        roots: UNARY,
        apply: unary_pairs,
        #[cfg(test)]
        example: ex::unary_pairs,
    },
    Rule {
        name: "sub-constant",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "Subtracting a constant is adding its negation, so that the rules for sums apply.",
        picture: "sub(x, c) => add(x, C)   C = neg(c)",
        when: "`c` is a constant of a signed type",
        roots: BINARY,
        apply: sub_constant,
        #[cfg(test)]
        example: ex::sub_constant,
    },
    Rule {
        name: "add-neg",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A negation under a sum or a difference joins it.",
        picture: "add(x, neg(y)) => sub(x, y)\nsub(x, neg(y)) => add(x, y)",
        when: "always",
        roots: BINARY,
        apply: add_neg,
        #[cfg(test)]
        example: ex::add_neg,
    },
    Rule {
        name: "div-constant",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("The reciprocal is rounded, unless it is a power of two."),
        summary: "Dividing by a constant is multiplying with its reciprocal.",
        picture: "div(x, c) => mul(x, C)   C = recip(c)",
        when: "`c` is a constant of a float type; strict: a power of two with a normal reciprocal",
        roots: BINARY,
        apply: div_constant,
        #[cfg(test)]
        example: ex::div_constant,
    },
    Rule {
        name: "constants-meet",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("One rounding instead of two; integers wrap the same."),
        summary: "Two constants applied one after the other become one.",
        picture: "add(add(x, c), d) => add(x, C)   C = add(c, d)\nmul(mul(x, c), d) => mul(x, C)   C = mul(c, d)\n\
                  max(max(x, c), d) => max(x, C)   and min alike",
        when: "both are constants; strict: `max` and `min`, or an integer type",
        roots: BINARY,
        apply: constants_meet,
        #[cfg(test)]
        example: ex::constants_meet,
    },
    Rule {
        name: "scale-before-shift",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("The shift is scaled at compile time and rounded there; integers wrap the same."),
        summary: "A shift and then a scale become a scale and then a shift, which products can absorb.",
        picture: "mul(add(x, c), d) => add(mul(x, d), C)   C = mul(c, d)",
        when: "both are constants and neither widens the shape",
        roots: BINARY,
        apply: scale_before_shift,
        #[cfg(test)]
        example: ex::scale_before_shift,
    },
    Rule {
        name: "rsqrt",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("One rounding instead of two."),
        summary: "A reciprocal of a root, or a quotient by a root, uses the reciprocal root.",
        picture: "recip(sqrt(x)) => rsqrt(x)\ndiv(y, sqrt(x)) => mul(y, rsqrt(x))",
        when: "not strict",
        roots: &[Kind::Unary, Kind::Binary],
        apply: rsqrt,
        #[cfg(test)]
        example: ex::rsqrt,
    },
    Rule {
        name: "cast-cast",
        theme: Theme::Algebra,
        rounding: Rounding::Exact,
        summary: "A cast to the same type vanishes, as does one to a wider type that is undone.",
        picture: "cast<T>(x: T) => x\ncast<T>(cast<U>(x: T)) => x   when U holds every T",
        when: "U holds every value of T: f16, bf16 -> f32, f64; f32 -> f64; integers to wider ones of the same sign",
        roots: &[Kind::Cast],
        apply: cast_cast,
        #[cfg(test)]
        example: ex::cast_cast,
    },
    Rule {
        name: "scale-into-matmul",
        theme: Theme::Algebra,
        rounding: Rounding::Rounds("The constant operand is scaled and rounded at compile time."),
        summary: "A scalar factor of one operand of a product moves into its constant operand.",
        picture: "matmul(mul(x, c), w) => matmul(x, C)   C = mul(w, c)",
        when: "`c` is one number everywhere, `w` a constant of a float type; not strict",
        roots: &[Kind::MatMul],
        apply: scale_into_matmul,
        #[cfg(test)]
        example: ex::scale_into_matmul,
    },
];

/// The two operands in both orders, for operations that commute.
fn orders(t: &Term) -> [(Id, Id); 2] {
    [(t.children[0], t.children[1]), (t.children[1], t.children[0])]
}

fn binary(cx: &Cx<'_>, t: &Term) -> Option<Binary> {
    match cx.op(t) {
        Some(Op::Binary(b)) => Some(*b),
        _ => None,
    }
}

fn mul_one(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let sides = match binary(cx, t)? {
        Binary::Mul => orders(t).to_vec(),
        Binary::Div => vec![(t.children[0], t.children[1])],
        _ => return None,
    };
    let whole = result_type(cx, t)?;
    for (x, c) in sides {
        if cx.splat(c) == Some(1.0) && *cx.ty(x) == whole {
            cx.equate(x);
        }
    }
    Some(())
}

fn result_type(cx: &Cx<'_>, t: &Term) -> Option<crate::ir::TensorType> {
    let types: Vec<_> = t.children.iter().map(|&c| cx.ty(c)).collect();
    cx.op(t)?.result_type(&types).ok()
}

fn add_zero(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let sides = match binary(cx, t)? {
        Binary::Add => orders(t).to_vec(),
        Binary::Sub => vec![(t.children[0], t.children[1])],
        _ => return None,
    };
    let whole = result_type(cx, t)?;
    for (x, c) in sides {
        if cx.splat(c) == Some(0.0) && *cx.ty(x) == whole {
            cx.equate(x);
        }
    }
    Some(())
}

fn unary_pairs(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    use Unary::*;
    let Some(Op::Unary(outer)) = cx.op(t).cloned() else { return None };
    let x = t.children[0];
    for inner in cx.terms(x, Kind::Unary) {
        let Some(Op::Unary(u)) = cx.op(&inner).cloned() else { continue };
        match (outer, u) {
            (Neg, Neg) | (Not, Not) => cx.equate(inner.children[0]),
            (Abs, Abs) | (Relu, Relu) | (Floor, Floor) | (Ceil, Ceil) | (Round, Round) => cx.equate(x),
            (Abs, Neg) => {
                if let Some(a) = cx.add(Op::Unary(Abs), &[inner.children[0]], &[t, &inner]) {
                    cx.equate(a);
                }
            }
            _ => {}
        }
    }
    Some(())
}

fn sub_constant(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let (x, c) = (t.children[0], t.children[1]);
    let signed = cx.dtype(c).is_float() || cx.dtype(c).is_signed_int();
    if binary(cx, t)? != Binary::Sub || !cx.fixed(c) || !signed {
        return None;
    }
    let neg = cx.add(Op::Unary(Unary::Neg), &[c], &[])?;
    let sum = cx.add(Op::Binary(Binary::Add), &[x, neg], &[t])?;
    cx.equate(sum);
    Some(())
}

fn add_neg(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let (sides, new) = match binary(cx, t)? {
        Binary::Add => (orders(t).to_vec(), Binary::Sub),
        Binary::Sub => (vec![(t.children[0], t.children[1])], Binary::Add),
        _ => return None,
    };
    for (x, n) in sides {
        for (neg, y) in cx.unaries(n, Unary::Neg) {
            let s = cx.add(Op::Binary(new), &[x, y], &[t, &neg])?;
            cx.equate(s);
        }
    }
    Some(())
}

fn div_constant(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let (x, c) = (t.children[0], t.children[1]);
    if binary(cx, t)? != Binary::Div || !cx.fixed(c) || !cx.dtype(c).is_float() {
        return None;
    }
    if cx.strict() && !cx.splat(c).is_some_and(is_power_of_two) {
        return None;
    }
    let r = cx.add(Op::Unary(Unary::Recip), &[c], &[])?;
    let product = cx.add(Op::Binary(Binary::Mul), &[x, r], &[t])?;
    cx.equate(product);
    Some(())
}

/// True for powers of two whose reciprocal is normal in every float type.
fn is_power_of_two(v: f64) -> bool {
    let a = v.abs();
    (2f64.powi(-13)..=2f64.powi(13)).contains(&a) && a.to_bits() & ((1 << 52) - 1) == 0
}

fn constants_meet(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = binary(cx, t)?;
    let reassociates = matches!(op, Binary::Add | Binary::Mul);
    if !reassociates && !matches!(op, Binary::Max | Binary::Min) {
        return None;
    }
    for (inner, d) in orders(t) {
        if !cx.fixed(d) || (cx.strict() && reassociates && cx.dtype(d).is_float()) {
            continue;
        }
        for (inside, a, b) in cx.binaries(inner, op) {
            for (x, c) in [(a, b), (b, a)] {
                if cx.fixed(c) && !cx.fixed(x) {
                    let both = cx.add(Op::Binary(op), &[c, d], &[])?;
                    let one = cx.add(Op::Binary(op), &[x, both], &[t, &inside])?;
                    cx.equate(one);
                }
            }
        }
    }
    Some(())
}

fn scale_before_shift(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if binary(cx, t)? != Binary::Mul {
        return None;
    }
    let whole = result_type(cx, t)?;
    for (sum, d) in orders(t) {
        if !cx.fixed(d) || *cx.ty(sum) != whole || (cx.strict() && whole.dtype.is_float()) {
            continue;
        }
        for (inside, a, b) in cx.binaries(sum, Binary::Add) {
            for (x, c) in [(a, b), (b, a)] {
                if cx.fixed(c) && !cx.fixed(x) && *cx.ty(x) == whole {
                    let shift = cx.add(Op::Binary(Binary::Mul), &[c, d], &[])?;
                    let scaled = cx.add(Op::Binary(Binary::Mul), &[x, d], &[t])?;
                    let s = cx.add(Op::Binary(Binary::Add), &[scaled, shift], &[&inside])?;
                    cx.equate(s);
                }
            }
        }
    }
    Some(())
}

fn rsqrt(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() {
        return None;
    }
    match cx.op(t)? {
        Op::Unary(Unary::Recip) => {
            for (root, x) in cx.unaries(t.children[0], Unary::Sqrt) {
                let r = cx.add(Op::Unary(Unary::Rsqrt), &[x], &[t, &root])?;
                cx.equate(r);
            }
        }
        Op::Binary(Binary::Div) => {
            for (root, x) in cx.unaries(t.children[1], Unary::Sqrt) {
                let r = cx.add(Op::Unary(Unary::Rsqrt), &[x], &[&root])?;
                let q = cx.add(Op::Binary(Binary::Mul), &[t.children[0], r], &[t])?;
                cx.equate(q);
            }
        }
        _ => return None,
    }
    Some(())
}

fn cast_cast(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    use crate::ir::DType::*;
    let Some(&Op::Cast(to)) = cx.op(t) else { return None };
    let x = t.children[0];
    if cx.dtype(x) == to {
        cx.equate(x);
    }
    let mid = cx.dtype(x);
    let holds = match (to, mid) {
        (F16 | BF16, F32 | F64) | (F32, F64) => true,
        (a, b) if a.is_int() && b.is_int() => a.is_signed_int() == b.is_signed_int() && a.size() < b.size(),
        _ => false,
    };
    for inner in cx.terms(x, Kind::Cast) {
        if holds && cx.dtype(inner.children[0]) == to {
            cx.equate(inner.children[0]);
        }
    }
    Some(())
}

fn scale_into_matmul(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let [a, b] = [t.children[0], t.children[1]];
    if cx.strict() || !cx.dtype(a).is_float() {
        return None;
    }
    for (scaled, w, place) in [(a, b, 0), (b, a, 1)] {
        if !cx.fixed(w) || cx.fixed(scaled) {
            continue;
        }
        for (mul, p, q) in cx.binaries(scaled, Binary::Mul) {
            for (x, c) in [(p, q), (q, p)] {
                let Some(v) = cx.splat(c) else { continue };
                if cx.ty(x) != cx.ty(scaled) {
                    continue;
                }
                let dtype = cx.dtype(w);
                let s = cx.add_scalar(dtype, v)?;
                let folded = cx.add(Op::Binary(Binary::Mul), &[w, s], &[])?;
                let mut operands = t.children.to_vec();
                operands[place] = x;
                operands[1 - place] = folded;
                let m = cx.add(op.clone(), &operands, &[t, &mul])?;
                cx.equate(m);
            }
        }
    }
    Some(())
}
