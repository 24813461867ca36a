//! Broadcasts sink: what is done to copies is done once.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::broadcast as ex;
use crate::ir::Op;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "sink-broadcast-unary",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A broadcast sinks through an elementwise operation of one operand.",
        picture: "cast(broadcast<s>(x)) => broadcast<s>(cast(x))   likewise every unary operation",
        when: "always",
        roots: &[Kind::Unary, Kind::Cast],
        apply: unary,
        #[cfg(test)]
        example: ex::unary_of_broadcast,
    },
    Rule {
        name: "sink-broadcast-reduce",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A broadcast sinks through a reduction along axes that it does not widen.",
        picture: "reduce_sum<1>(broadcast<b, n, c>(x: [b, n, 1])) => broadcast<b, c>(reduce_sum<1>(x))",
        when: "the operand has the extents of the result along the axes that are reduced",
        roots: &[Kind::Reduce],
        apply: reduce,
        #[cfg(test)]
        example: ex::reduce_of_broadcast,
    },
];

fn unary(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    for wide in cx.terms(t.children[0], Kind::Broadcast) {
        let Some(copies) = cx.op(&wide).cloned() else { continue };
        let once = cx.add(op.clone(), &[wide.children[0]], &[t])?;
        let sunk = cx.add(copies, &[once], &[&wide])?;
        cx.equate(sunk);
    }
    Some(())
}

fn reduce(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Reduce { kind, axes, keep } = cx.op(t)?.clone() else { return None };
    let shape = cx.shape(t.children[0]).to_vec();
    for wide in cx.terms(t.children[0], Kind::Broadcast) {
        let x = wide.children[0];
        let held = cx.shape(x);
        // Axes in front that the operand has not are widened, too.
        let Some(front) = shape.len().checked_sub(held.len()) else { continue };
        if axes.iter().any(|&a| a < front || held[a - front] != shape[a]) {
            continue;
        }
        let own: Vec<usize> = axes.iter().map(|a| a - front).collect();
        let once = cx.add(Op::Reduce { kind, axes: own, keep }, &[x], &[t])?;
        let to = cx.shape(cx.root()).to_vec();
        let sunk = cx.add(Op::Broadcast { shape: to }, &[once], &[&wide])?;
        cx.equate(sunk);
    }
    Some(())
}
