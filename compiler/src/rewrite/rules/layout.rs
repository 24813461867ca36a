//! Layout: transposes, reshapes, broadcasts, slices and joins that cancel or compose.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::layout as ex;
use crate::ir::{Op, broadcast_shapes};

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "transpose-identity",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A transpose that keeps every axis in place vanishes.",
        picture: "transpose<0,1,2>(x) => x",
        when: "the permutation is the identity",
        roots: &[Kind::Transpose],
        apply: transpose_identity,
        #[cfg(test)]
        example: ex::transpose_identity,
    },
    Rule {
        name: "transpose-transpose",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "Two transposes become one, or none.",
        picture: "transpose<q>(transpose<p>(x)) => transpose<p[q]>(x)",
        when: "always; the identity vanishes by transpose-identity",
        roots: &[Kind::Transpose],
        apply: transpose_transpose,
        #[cfg(test)]
        example: ex::transpose_transpose,
    },
    Rule {
        name: "transpose-as-reshape",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A transpose that moves only axes of extent 1 moves no element.",
        picture: "transpose<0,2,1>(x: [a,b,1]) => reshape<a,1,b>(x)",
        when: "the axes of other extents stay in order",
        roots: &[Kind::Transpose],
        apply: transpose_as_reshape,
        #[cfg(test)]
        example: ex::transpose_as_reshape,
    },
    Rule {
        name: "reshape-identity",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A reshape or a broadcast to the same shape vanishes.",
        picture: "reshape<s>(x: [s]) => x\nbroadcast<s>(x: [s]) => x",
        when: "the shapes are equal",
        roots: &[Kind::Reshape, Kind::Broadcast],
        apply: same_shape,
        #[cfg(test)]
        example: ex::same_shape,
    },
    Rule {
        name: "reshape-reshape",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "Of two reshapes only the last counts.",
        picture: "reshape<s>(reshape<r>(x)) => reshape<s>(x)",
        when: "always",
        roots: &[Kind::Reshape],
        apply: reshape_reshape,
        #[cfg(test)]
        example: ex::reshape_reshape,
    },
    Rule {
        name: "broadcast-as-reshape",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A broadcast that copies nothing is a reshape.",
        picture: "broadcast<1,a,b>(x: [a,b]) => reshape<1,a,b>(x)",
        when: "the element count stays",
        roots: &[Kind::Broadcast],
        apply: broadcast_as_reshape,
        #[cfg(test)]
        example: ex::broadcast_as_reshape,
    },
    Rule {
        name: "broadcast-into-elementwise",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "Elementwise operations broadcast by themselves.",
        picture: "add(x, broadcast<s>(y)) => add(x, y)   likewise every binary operation and select",
        when: "the result has the same shape without the broadcast",
        roots: &[Kind::Binary, Kind::Select],
        apply: broadcast_into_elementwise,
        #[cfg(test)]
        example: ex::broadcast_into_elementwise,
    },
    Rule {
        name: "slice-whole",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A slice of everything, a pad by nothing and a join of one vanish.",
        picture: "slice<0.., 1, s>(x: [s]) => x\npad<0, 0>(x) => x\nconcat(x) => x",
        when: "steps are 1 and the shape stays",
        roots: &[Kind::Slice, Kind::Pad, Kind::Concat],
        apply: slice_whole,
        #[cfg(test)]
        example: ex::slice_whole,
    },
    Rule {
        name: "slice-slice",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "Two slices become one.",
        picture: "slice<b, t, s>(slice<a, u, r>(x)) => slice<a + b*u, u*t, s>(x)",
        when: "always",
        roots: &[Kind::Slice],
        apply: slice_slice,
        #[cfg(test)]
        example: ex::slice_slice,
    },
    Rule {
        name: "slice-of-concat",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A slice that lies in one part of a join is a slice of that part.",
        picture: "slice<a.., s>(concat(x, y)) => slice<a'.., s>(y)",
        when: "all elements taken along the axis lie in one operand",
        roots: &[Kind::Slice],
        apply: slice_of_concat,
        #[cfg(test)]
        example: ex::slice_of_concat,
    },
    Rule {
        name: "concat-of-slices",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A join of the pieces of one value, in order, is that value.",
        picture: "concat(slice<0..a>(x), slice<a..n>(x)) => x",
        when: "the pieces cover the axis without gap, with step 1, and are whole along the others",
        roots: &[Kind::Concat],
        apply: concat_of_slices,
        #[cfg(test)]
        example: ex::concat_of_slices,
    },
    Rule {
        name: "concat-concat",
        theme: Theme::Layout,
        rounding: Rounding::Exact,
        summary: "A join within a join along the same axis is one join.",
        picture: "concat(x, concat(y, z)) => concat(x, y, z)",
        when: "the axes are equal, and the result has at most 64 operands",
        roots: &[Kind::Concat],
        apply: concat_concat,
        #[cfg(test)]
        example: ex::concat_concat,
    },
];

fn transpose_identity(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Transpose { perm } = cx.op(t)? else { return None };
    if perm.iter().enumerate().all(|(i, &p)| i == p) {
        cx.equate(t.children[0]);
    }
    Some(())
}

fn transpose_transpose(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Transpose { perm: outer } = cx.op(t)?.clone() else { return None };
    for inner in cx.terms(t.children[0], Kind::Transpose) {
        let Some(Op::Transpose { perm }) = cx.op(&inner) else { continue };
        let both: Vec<usize> = outer.iter().map(|&p| perm[p]).collect();
        let one = cx.transpose(inner.children[0], &both, &[t, &inner])?;
        cx.equate(one);
    }
    Some(())
}

fn transpose_as_reshape(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Transpose { perm } = cx.op(t)? else { return None };
    let shape = cx.shape(t.children[0]);
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| shape[p] != 1).collect();
    if moved.windows(2).all(|w| w[0] < w[1]) {
        let to: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
        let r = cx.reshape(t.children[0], &to, &[t])?;
        cx.equate(r);
    }
    Some(())
}

fn same_shape(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let (Op::Reshape { shape } | Op::Broadcast { shape }) = cx.op(t)? else { return None };
    if cx.shape(t.children[0]) == shape {
        cx.equate(t.children[0]);
    }
    Some(())
}

fn reshape_reshape(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Reshape { shape } = cx.op(t)?.clone() else { return None };
    for inner in cx.terms(t.children[0], Kind::Reshape) {
        let one = cx.reshape(inner.children[0], &shape, &[t, &inner])?;
        cx.equate(one);
    }
    Some(())
}

fn broadcast_as_reshape(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Broadcast { shape } = cx.op(t)?.clone() else { return None };
    let x = t.children[0];
    if cx.ty(x).elements() == shape.iter().product::<usize>() {
        let r = cx.reshape(x, &shape, &[t])?;
        cx.equate(r);
    }
    Some(())
}

fn broadcast_into_elementwise(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let shape_of = |cx: &Cx<'_>, operands: &[egg::Id]| {
        operands.iter().try_fold(Vec::new(), |s: Vec<usize>, &c| broadcast_shapes(&s, cx.shape(c)))
    };
    let whole = shape_of(cx, &t.children)?;
    for i in 0..t.children.len() {
        for wide in cx.terms(t.children[i], Kind::Broadcast) {
            let mut operands = t.children.to_vec();
            operands[i] = wide.children[0];
            if shape_of(cx, &operands).as_ref() == Some(&whole) {
                let n = cx.add(op.clone(), &operands, &[t, &wide])?;
                cx.equate(n);
            }
        }
    }
    Some(())
}

fn slice_whole(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let x = *t.children.first()?;
    let whole = match cx.op(t)? {
        Op::Slice { start, step, shape } => {
            start.iter().all(|&s| s == 0) && step.iter().all(|&s| s == 1) && cx.shape(x) == shape
        }
        Op::Pad { before, after, .. } => before.iter().chain(after).all(|&p| p == 0),
        Op::Concat { .. } => t.children.len() == 1,
        _ => false,
    };
    if whole {
        cx.equate(x);
    }
    Some(())
}

fn slice_slice(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Slice { start, step, shape } = cx.op(t)?.clone() else { return None };
    for inner in cx.terms(t.children[0], Kind::Slice) {
        let Some(Op::Slice { start: a, step: u, .. }) = cx.op(&inner) else { continue };
        let (mut first, mut steps) = (Vec::new(), Vec::new());
        for i in 0..a.len() {
            let offset = (start[i] as isize).checked_mul(u[i])?.checked_add(a[i] as isize)?;
            // Where at most one element is taken the step means nothing; a free choice of it would
            // make endlessly many forms of one slice.
            steps.push(if shape[i] > 1 { step[i].checked_mul(u[i])? } else { 1 });
            first.push(if shape[i] > 0 { usize::try_from(offset).ok()? } else { 0 });
        }
        let op = Op::Slice { start: first, step: steps, shape: shape.clone() };
        let one = cx.add(op, &[inner.children[0]], &[t, &inner])?;
        cx.equate(one);
    }
    Some(())
}

fn slice_of_concat(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Slice { start, step, shape } = cx.op(t)?.clone() else { return None };
    if shape.contains(&0) {
        return None;
    }
    for join in cx.terms(t.children[0], Kind::Concat) {
        let Some(&Op::Concat { axis }) = cx.op(&join) else { continue };
        let last = start[axis] as isize + step[axis] * (shape[axis] as isize - 1);
        let (lo, hi) = (start[axis].min(last as usize), start[axis].max(last as usize));
        let mut offset = 0;
        for &part in &join.children {
            let extent = cx.shape(part)[axis];
            if lo >= offset && hi < offset + extent {
                let mut start = start.clone();
                start[axis] -= offset;
                let op = Op::Slice { start, step: step.clone(), shape: shape.clone() };
                let s = cx.add(op, &[part], &[t])?;
                cx.equate(s);
                break;
            }
            offset += extent;
        }
    }
    Some(())
}

fn concat_of_slices(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let &Op::Concat { axis } = cx.op(t)? else { return None };
    let (&head, tail) = t.children.split_first()?;
    for first in cx.terms(head, Kind::Slice) {
        let x = cx.find(first.children[0]);
        let full = cx.shape(x).to_vec();
        let mut next = 0;
        let covers = std::iter::once(head).chain(tail.iter().copied()).all(|part| {
            cx.terms(part, Kind::Slice).iter().any(|s| {
                let Some(Op::Slice { start, step, shape }) = cx.op(s) else { return false };
                let whole = (0..full.len()).all(|i| i == axis || start[i] == 0 && shape[i] == full[i]);
                let hit = cx.find(s.children[0]) == x && whole && start[axis] == next && step.iter().all(|&s| s == 1);
                next += if hit { shape[axis] } else { 0 };
                hit
            })
        });
        if covers && next == full[axis] {
            cx.equate(x);
        }
    }
    Some(())
}

fn concat_concat(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let &Op::Concat { axis } = cx.op(t)? else { return None };
    for i in 0..t.children.len() {
        for inner in cx.terms(t.children[i], Kind::Concat) {
            if !matches!(cx.op(&inner), Some(Op::Concat { axis: a }) if *a == axis) {
                continue;
            }
            let mut parts = t.children.to_vec();
            parts.splice(i..=i, inner.children.iter().copied());
            if parts.len() <= 64 {
                let one = cx.add(Op::Concat { axis }, &parts, &[t, &inner])?;
                cx.equate(one);
            }
        }
    }
    Some(())
}
