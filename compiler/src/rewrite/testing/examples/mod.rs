//! Random graphs for each rule, by theme.

pub(crate) mod activation;
pub(crate) mod algebra;
pub(crate) mod broadcast;
pub(crate) mod convolution;
pub(crate) mod epilogue;
pub(crate) mod fusion;
pub(crate) mod grouped;
pub(crate) mod layout;
pub(crate) mod merging;
pub(crate) mod norm;
pub(crate) mod rotary;
pub(crate) mod selection;
pub(crate) mod sinking;
pub(crate) mod softmax;
pub(crate) mod weighted;

use super::Gen;
use crate::ir::{Binary, Op, Unary, ValueId};

fn unary(g: &mut Gen, u: Unary, x: ValueId) -> Option<ValueId> {
    g.node(Op::Unary(u), &[x])
}

fn binary(g: &mut Gen, b: Binary, x: ValueId, y: ValueId) -> Option<ValueId> {
    g.node(Op::Binary(b), &[x, y])
}

/// With the operands either way round.
pub(crate) fn either(g: &mut Gen, b: Binary, x: ValueId, y: ValueId) -> Option<ValueId> {
    if g.one_in(2) { binary(g, b, x, y) } else { binary(g, b, y, x) }
}
