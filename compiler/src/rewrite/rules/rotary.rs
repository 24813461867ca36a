//! Signs that meet constants: the half-turn of rotary embeddings.

use super::super::fold;
use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::rotary as ex;
use crate::ir::{Binary, Op, Tensor, Unary};
use egg::Id;

pub(super) static RULES: &[Rule] = &[Rule {
    name: "rotary-sign-into-constant",
    theme: Theme::Algebra,
    rounding: Rounding::Exact,
    summary: "The negated half of a rotary embedding takes its sign from the table of sines.",
    picture: "mul(concat<a>(neg(x), y), c) => mul(concat<a>(x, y), C)   C = c with the signs of the first part changed",
    when: "`c` is a constant of a float or signed type that does not repeat along the axis",
    roots: &[Kind::Binary],
    apply: sign_into_constant,
    #[cfg(test)]
    example: ex::sign_into_constant,
}];

fn sign_into_constant(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    if !matches!(cx.op(t)?, Op::Binary(Binary::Mul)) {
        return None;
    }
    let dtype = cx.dtype(t.children[0]);
    if !dtype.is_float() && !dtype.is_signed_int() {
        return None;
    }
    for (joined, c) in [(t.children[0], t.children[1]), (t.children[1], t.children[0])] {
        if !cx.fixed(c) || cx.fixed(joined) {
            continue;
        }
        for concat in cx.terms(joined, Kind::Concat) {
            let Some(&Op::Concat { axis }) = cx.op(&concat) else { continue };
            let (rank, extent) = (cx.ty(joined).rank(), cx.shape(joined)[axis]);
            let from_end = rank - axis;
            let held = cx.shape(c);
            if held.len() < from_end || held[held.len() - from_end] != extent || extent == 1 {
                continue;
            }
            let mut parts: Vec<Id> = Vec::new();
            let mut signs: Vec<bool> = Vec::new();
            let mut lhs: Vec<Term> = vec![t.clone(), concat.clone()];
            for &part in &concat.children {
                let n = cx.shape(part)[axis];
                let neg = cx.unaries(part, Unary::Neg).into_iter().next();
                signs.extend(std::iter::repeat_n(neg.is_some(), n));
                parts.push(neg.as_ref().map_or(part, |(_, x)| *x));
                lhs.extend(neg.map(|(term, _)| term));
            }
            if !signs.contains(&true) {
                continue;
            }
            let (minus, plus) = (fold::scalar(dtype, -1.0)?, fold::scalar(dtype, 1.0)?);
            let bytes: Vec<u8> = signs.iter().flat_map(|&s| if s { &minus } else { &plus }.data.to_vec()).collect();
            let mut shape = vec![extent];
            shape.resize(from_end, 1);
            let signs = cx.add_const(Tensor::new(dtype, shape, bytes).ok()?);
            let turned = cx.add(Op::Binary(Binary::Mul), &[c, signs], &[])?;
            let lhs: Vec<&Term> = lhs.iter().collect();
            let whole = cx.add(Op::Concat { axis }, &parts, &lhs)?;
            let product = cx.add(Op::Binary(Binary::Mul), &[whole, turned], &lhs)?;
            cx.equate(product);
        }
    }
    Some(())
}
