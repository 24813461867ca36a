//! Examples for what is repeated.

use super::{Gen, either};
use crate::ir::{Binary, Graph, Op, ValueId};

/// A value whose second axis is repeated, each index several times in a row, or now and then all of it.
fn repeat(g: &mut Gen, x: ValueId, times: usize) -> Option<ValueId> {
    let s = g.shape_of(x);
    let whole = g.one_in(10);
    let at = if whole { 1 } else { 2 };
    let mut one = s.clone();
    one.insert(at, 1);
    let y = g.node(Op::Reshape { shape: one.clone() }, &[x])?;
    one[at] = times;
    let y = g.node(Op::Broadcast { shape: one }, &[y])?;
    g.node(Op::Reshape { shape: vec![s[0], s[1] * times, s[2], s[3]] }, &[y])
}

pub(crate) fn grouped_heads(g: &mut Gen) -> Option<Graph> {
    let dtype = g.number();
    let (batch, heads, times) = (g.between(1, 2), g.between(1, 3), g.between(2, 3));
    let (t, d, s) = (g.between(1, 4), g.between(1, 5), g.between(1, 4));
    let q = g.input(dtype, &[batch, heads * times, t, d]);
    let turned = g.one_in(2);
    let k = g.input(dtype, &if turned { [batch, heads, s, d] } else { [batch, heads, d, s] });
    let mut k = repeat(g, k, times)?;
    if turned {
        k = g.node(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k])?;
    }
    if g.one_in(3) {
        let c = g.splat(dtype, &[], 2.0);
        k = either(g, Binary::Mul, k, c)?;
    }
    let y = g.node(Op::MatMul { epilogue: vec![] }, &[q, k])?;
    g.done(y)
}
