//! Fusion: what follows a product is done on its sum, before it leaves the unit.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::epilogue as ex;
use crate::ir::{Binary, DType, EpilogueStep, Op, Unary};
use egg::Id;

const NARROW: Rounding = Rounding::Rounds("In f16 and bf16 the value in between is not rounded.");

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "epilogue-add",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A bias, or a residual, is added in the epilogue.",
        picture: "add(conv(x, w), c) => conv(x, w, c; add)   likewise matmul, and after earlier steps",
        when: "the operand broadcasts to the result; it is a constant, or the target takes others; steps are left",
        roots: &[Kind::Binary],
        apply: epilogue_add,
        #[cfg(test)]
        example: ex::epilogue_add,
    },
    Rule {
        name: "epilogue-mul",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A scale is applied in the epilogue.",
        picture: "mul(conv(x, w), c) => conv(x, w, c; mul)",
        when: "as for epilogue-add",
        roots: &[Kind::Binary],
        apply: epilogue_mul,
        #[cfg(test)]
        example: ex::epilogue_mul,
    },
    Rule {
        name: "epilogue-relu",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A relu is applied in the epilogue.",
        picture: "relu(conv(x, w, c; add)) => conv(x, w, c; add, relu)",
        when: "steps are left",
        roots: &[Kind::Unary],
        apply: epilogue_relu,
        #[cfg(test)]
        example: ex::epilogue_relu,
    },
    Rule {
        name: "epilogue-prelu",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A leaky or parametric relu is applied in the epilogue.",
        picture: "prelu(conv(x, w), 0.1) => conv(x, w; leaky_relu 0.1)\nprelu(conv(x, w), c) => conv(x, w, c; prelu)",
        when: "as for epilogue-add; one slope everywhere that is exact in f32 becomes part of the step",
        roots: &[Kind::Binary],
        apply: epilogue_prelu,
        #[cfg(test)]
        example: ex::epilogue_prelu,
    },
    Rule {
        name: "epilogue-clip",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A maximum or a minimum with one number is applied in the epilogue; a clip is both.",
        picture: "min(max(conv(x, w), 0), 6) => conv(x, w; max 0, min 6)",
        when: "the constant is one number everywhere, exact in f32, and does not widen the shape",
        roots: &[Kind::Binary],
        apply: epilogue_clip,
        #[cfg(test)]
        example: ex::epilogue_clip,
    },
    Rule {
        name: "epilogue-sigmoid-tanh",
        theme: Theme::Fusion,
        rounding: NARROW,
        summary: "A sigmoid or a tanh is applied in the epilogue.",
        picture: "sigmoid(conv(x, w)) => conv(x, w; sigmoid)\ntanh(conv(x, w)) => conv(x, w; tanh)",
        when: "a float type; steps are left",
        roots: &[Kind::Unary],
        apply: epilogue_unary,
        #[cfg(test)]
        example: ex::epilogue_unary,
    },
    Rule {
        name: "epilogue-gelu",
        theme: Theme::Fusion,
        rounding: Rounding::Rounds("One rounding instead of five; the constants may be off by their own rounding."),
        summary: "A gelu with erf, spelled out in any order, is applied in the epilogue.",
        picture: "mul(mul(y, add(1, erf(mul(y, 0.7071)))), 0.5) => conv(x, w; gelu)   y = conv(x, w)",
        when: "the three factors come in any order, `y / 1.4142` for the product too; not strict",
        roots: &[Kind::Binary],
        apply: epilogue_gelu,
        #[cfg(test)]
        example: ex::epilogue_gelu,
    },
];

/// Products in a class: convolutions and matrix products.
pub(super) fn products(cx: &Cx<'_>, id: Id) -> Vec<Term> {
    let mut p = cx.terms(id, Kind::Conv);
    p.extend(cx.terms(id, Kind::MatMul));
    p
}

/// Steps of a product.
pub(super) fn steps(op: &Op) -> &[EpilogueStep] {
    match op {
        Op::Conv { epilogue, .. } | Op::MatMul { epilogue } => epilogue,
        _ => &[],
    }
}

/// The same product with other steps.
pub(super) fn with_steps(op: &Op, new: Vec<EpilogueStep>) -> Op {
    let mut op = op.clone();
    if let Op::Conv { epilogue, .. } | Op::MatMul { epilogue } = &mut op {
        *epilogue = new;
    }
    op
}

/// True when the sum and the stored result have the same precision, so that fusion changes no bit.
fn keeps_bits(dtype: DType) -> bool {
    !matches!(dtype, DType::F16 | DType::BF16)
}

/// Appends a step to every product in `class` and says that the root is equal to it.
fn fuse(cx: &mut Cx<'_>, root: &Term, class: Id, step: EpilogueStep, operand: Option<Id>) -> Option<()> {
    if cx.strict() && !keeps_bits(cx.dtype(class)) {
        return None;
    }
    if operand.is_some_and(|o| !cx.fixed(o) && !cx.limits().epilogue_operands) {
        return None;
    }
    for p in products(cx, class) {
        let op = cx.op(&p)?.clone();
        let mut all = steps(&op).to_vec();
        if all.len() >= cx.limits().epilogue_steps {
            continue;
        }
        all.push(step);
        let mut operands = p.children.to_vec();
        operands.extend(operand);
        // An operand that would widen the result does not type, and there is no match.
        if let Some(f) = cx.add(with_steps(&op, all), &operands, &[&p, root]) {
            cx.equate(f);
        }
    }
    Some(())
}

fn binary_step(cx: &mut Cx<'_>, t: &Term, op: Binary, step: EpilogueStep) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(b) if *b == op) {
        return None;
    }
    for (p, o) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        fuse(cx, t, p, step, Some(o));
    }
    Some(())
}

fn epilogue_add(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    binary_step(cx, t, Binary::Add, EpilogueStep::Add)
}

fn epilogue_mul(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    binary_step(cx, t, Binary::Mul, EpilogueStep::Mul)
}

fn epilogue_relu(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Unary(Unary::Relu)) {
        return None;
    }
    fuse(cx, t, t.children[0], EpilogueStep::Relu, None)
}

/// The number that a constant is everywhere, as f32 bits, when it is exact and does not widen `class`.
fn number(cx: &Cx<'_>, class: Id, c: Id) -> Option<u32> {
    let v = cx.splat(c)?;
    let fits = crate::ir::broadcast_shapes(cx.shape(class), cx.shape(c)).as_deref() == Some(cx.shape(class));
    (fits && f64::from(v as f32) == v).then(|| (v as f32).to_bits())
}

fn epilogue_prelu(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(Binary::Prelu)) {
        return None;
    }
    let (x, slope) = (t.children[0], t.children[1]);
    match number(cx, x, slope) {
        Some(bits) if cx.dtype(x).is_float() => fuse(cx, t, x, EpilogueStep::LeakyRelu(bits), None),
        _ => fuse(cx, t, x, EpilogueStep::Prelu, Some(slope)),
    }
}

fn epilogue_clip(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let step: fn(u32) -> EpilogueStep = match cx.op(t)? {
        Op::Binary(Binary::Max) => EpilogueStep::MaxConst,
        Op::Binary(Binary::Min) => EpilogueStep::MinConst,
        _ => return None,
    };
    for (x, c) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        if let Some(bits) = number(cx, x, c) {
            fuse(cx, t, x, step(bits), None);
        }
    }
    Some(())
}

fn epilogue_unary(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let step = match cx.op(t)? {
        Op::Unary(Unary::Sigmoid) => EpilogueStep::Sigmoid,
        Op::Unary(Unary::Tanh) => EpilogueStep::Tanh,
        _ => return None,
    };
    fuse(cx, t, t.children[0], step, None)
}

fn epilogue_gelu(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if cx.strict() || !matches!(cx.op(t)?, Op::Binary(Binary::Mul)) {
        return None;
    }
    // The product of three factors, in either grouping.
    for (pair, third) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        for (mul, a, b) in cx.binaries(pair, Binary::Mul) {
            let factors = [(a, b, third), (a, third, b), (b, a, third), (b, third, a), (third, a, b), (third, b, a)];
            for (y, half, bell) in factors {
                if !cx.splat(half).is_some_and(|v| close(v, 0.5)) || cx.ty(y) != cx.ty(pair) {
                    continue;
                }
                for chain in gelu_bell(cx, y, bell) {
                    for p in products(cx, y) {
                        let op = cx.op(&p)?.clone();
                        let mut all = steps(&op).to_vec();
                        if all.len() >= cx.limits().epilogue_steps {
                            continue;
                        }
                        all.push(EpilogueStep::Gelu);
                        let mut lhs: Vec<&Term> = vec![&p, t, &mul];
                        lhs.extend(&chain);
                        let f = cx.add(with_steps(&op, all), &p.children, &lhs)?;
                        cx.equate(f);
                    }
                }
            }
        }
    }
    Some(())
}

/// Constants in models are rounded to the type of the model, f16 at the worst.
pub(super) fn close(v: f64, want: f64) -> bool {
    (v - want).abs() <= 1e-3 * want.abs()
}

/// Terms of `1 + erf(y / sqrt 2)` in a class.
fn gelu_bell(cx: &Cx<'_>, y: Id, class: Id) -> Vec<Vec<Term>> {
    let y = cx.find(y);
    let mut found = Vec::new();
    for (sum, a, b) in cx.binaries(class, Binary::Add) {
        for (one, e) in [(a, b), (b, a)] {
            if cx.splat(one) != Some(1.0) {
                continue;
            }
            for (erf, u) in cx.unaries(e, Unary::Erf) {
                let scaled = cx.binaries(u, Binary::Mul).into_iter().find(|&(_, p, q)| {
                    let times = |p: Id, q: Id| {
                        cx.find(p) == y && cx.splat(q).is_some_and(|v| close(v, std::f64::consts::FRAC_1_SQRT_2))
                    };
                    times(p, q) || times(q, p)
                });
                let divided = cx.binaries(u, Binary::Div).into_iter().find(|&(_, p, q)| {
                    cx.find(p) == y && cx.splat(q).is_some_and(|v| close(v, std::f64::consts::SQRT_2))
                });
                if let Some((s, ..)) = scaled.or(divided) {
                    found.push(vec![sum.clone(), erf.clone(), s]);
                }
            }
        }
    }
    found
}
