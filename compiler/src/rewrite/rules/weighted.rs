//! Sums over places, each with a weight: the pooling of a sentence's tokens.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::weighted as ex;
use crate::ir::{Binary, Op, Reduce};

pub(super) static RULES: &[Rule] = &[Rule {
    name: "weighted-sum-as-product",
    theme: Theme::Fusion,
    rounding: Rounding::Rounds(
        "Operands of products are rounded as the target rounds them, and sums may be added in another order.",
    ),
    summary: "A sum of rows, each times a number, is the product of the row of those numbers with the matrix.",
    picture: "reduce_sum<-2>(mul(x: [.., n, c], w: [.., n, 1])) => matmul(w: [.., 1, n], x)",
    when: "float; `x` has the shape of the product, `w` one number for each row; not strict",
    roots: &[Kind::Reduce],
    apply: weighted_sum,
    #[cfg(test)]
    example: ex::weighted_sum,
}];

fn weighted_sum(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Reduce { kind: Reduce::Sum, axes, .. } = cx.op(t)?.clone() else { return None };
    let shape = cx.shape(t.children[0]).to_vec();
    let rows = shape.len().checked_sub(2)?;
    if axes != [rows] || cx.strict() || !cx.dtype(t.children[0]).is_float() || shape[rows] < 2 || shape[rows + 1] < 2 {
        return None;
    }
    let mut numbers = shape[..rows].to_vec();
    numbers.extend([1, shape[rows]]);
    for (product, a, b) in cx.binaries(t.children[0], Binary::Mul) {
        for (x, w) in [(a, b), (b, a)] {
            let held = cx.shape(w);
            let one_each = held.len() == shape.len() && held[..=rows] == shape[..=rows] && held[rows + 1] == 1;
            if cx.shape(x) != shape || !one_each {
                continue;
            }
            let row = cx.reshape(w, &numbers, &[&product])?;
            let sums = cx.add(Op::MatMul { epilogue: Vec::new() }, &[row, x], &[t, &product])?;
            let to = cx.shape(cx.root()).to_vec();
            let sums = cx.reshape(sums, &to, &[t])?;
            cx.equate(sums);
        }
    }
    Some(())
}
