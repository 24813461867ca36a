//! Examples for sums of rows with weights.

use super::{Gen, either};
use crate::ir::{Binary, Graph, Op, Reduce};

pub(crate) fn weighted_sum(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (batch, n, c) = (g.shape(0, 2), g.between(2, 5), g.between(2, 5));
    let of = |last: [usize; 2]| [&batch[..], &last].concat();
    let x = g.input(dtype, &of([n, c]));
    // Now and then one number for each column.
    let one_each = if g.one_in(6) { of([1, c]) } else { of([n, 1]) };
    let w = g.input(dtype, &one_each);
    let product = either(g, Binary::Mul, x, w)?;
    let (axes, keep) = (vec![batch.len()], g.one_in(2));
    let r = g.node(Op::Reduce { kind: Reduce::Sum, axes, keep }, &[product])?;
    g.done(r)
}
