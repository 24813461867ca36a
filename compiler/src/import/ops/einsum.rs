//! `Einsum`, as matrix products of two operands at a time.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, Reduce, ValueId};
use std::collections::BTreeMap;

pub(super) const OPS: &[OpDef] = &[onnx("Einsum", 12, einsum)];

/// An axis: a letter, or a place in the ellipsis counted from its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// An operand with the label of each axis, all different.
#[derive(Clone)]
struct Term {
    v: ValueId,
    labels: Vec<Label>,
}

fn einsum(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let equation = c.string("equation", "")?;
    let text: String = equation.chars().filter(|ch| !ch.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l.to_string(), Some(r.to_string())),
        None => (text, None),
    };
    let operands = c.all()?;
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != operands.len() || operands.is_empty() {
        return Err(Fail::invalid(format!("'{equation}' does not fit {} operands", operands.len())));
    }
    let mut extents: BTreeMap<Label, usize> = BTreeMap::new();
    let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
    let mut terms = Vec::new();
    for (part, &v) in parts.iter().zip(&operands) {
        let labels = labels(part, Some(c.rank(v)), 0)?;
        for (&l, &d) in labels.iter().zip(&c.shape(v)) {
            *counts.entry(l).or_default() += 1;
            let e = extents.entry(l).or_insert(d);
            if *e == 1 {
                *e = d;
            } else if d != *e && d != 1 {
                return Err(Fail::invalid(format!("'{equation}': an axis is {} in one place, {d} in another", *e)));
            }
        }
        terms.push(Term { v, labels });
    }
    let dots = extents.keys().filter(|l| matches!(l, Label::Ellipsis(_))).count();
    let output = match right {
        Some(r) => labels(&r, None, dots)?,
        None => {
            let mut out: Vec<Label> = (0..dots).rev().map(Label::Ellipsis).collect();
            out.extend(counts.iter().filter(|(l, n)| matches!(l, Label::Letter(_)) && **n == 1).map(|(l, _)| *l));
            out
        }
    };
    if let Some(l) = output.iter().find(|l| !extents.contains_key(l)) {
        return Err(Fail::invalid(format!("'{equation}': {l:?} of the result is in no operand")));
    }
    let mut terms = terms.into_iter().map(|t| without_repeats(c, t)).collect::<Result<Vec<_>, _>>()?;
    let mut acc = terms.remove(0);
    let mut rest = terms;
    loop {
        let later: Vec<Label> = rest.iter().flat_map(|t| t.labels.clone()).chain(output.clone()).collect();
        acc = sum_out(c, acc, &later)?;
        if rest.is_empty() {
            break;
        }
        let next = rest.remove(0);
        let later: Vec<Label> = rest.iter().flat_map(|t| t.labels.clone()).chain(output.clone()).collect();
        let keep: Vec<Label> = later.iter().chain(&acc.labels).copied().collect();
        let next = sum_out(c, next, &keep)?;
        acc = contract(c, acc, next, &later, &extents)?;
    }
    let y = arranged(c, &acc, &output, &extents)?;
    one(y)
}

fn labels(part: &str, rank: Option<usize>, dots: usize) -> Result<Vec<Label>, Fail> {
    let bad = || Fail::invalid(format!("'{part}' does not describe its operand"));
    let (before, after, has_dots) = match part.split_once("...") {
        Some((b, a)) => (b, a, true),
        None => (part, "", false),
    };
    if !before.chars().chain(after.chars()).all(|ch| ch.is_ascii_alphabetic()) {
        return Err(bad());
    }
    let letters = before.len() + after.len();
    let dots = match rank {
        Some(r) => r.checked_sub(letters).ok_or_else(bad)?,
        None => dots,
    };
    if !has_dots && rank.is_some() && dots > 0 {
        return Err(bad());
    }
    let middle = if has_dots { dots } else { 0 };
    Ok(before
        .chars()
        .map(Label::Letter)
        .chain((0..middle).rev().map(Label::Ellipsis))
        .chain(after.chars().map(Label::Letter))
        .collect())
}

/// Takes the diagonal wherever a label stands twice.
fn without_repeats(c: &mut Call<'_, '_>, mut t: Term) -> Result<Term, Fail> {
    while let Some((i, j)) =
        (0..t.labels.len()).flat_map(|j| (0..j).map(move |i| (i, j))).find(|&(i, j)| t.labels[i] == t.labels[j])
    {
        let shape = c.shape(t.v);
        let n = shape[i];
        if shape[j] != n {
            return Err(Fail::invalid("a diagonal needs a square"));
        }
        let mut perm: Vec<usize> = (0..shape.len()).filter(|&a| a != i && a != j).collect();
        perm.extend([i, j]);
        let v = c.transpose(t.v, &perm)?;
        let mut flat: Vec<usize> = perm[..perm.len() - 2].iter().map(|&a| shape[a]).collect();
        flat.push(n * n);
        let v = c.reshape(v, &flat)?;
        let last = flat.len() - 1;
        let mut step = vec![1; flat.len()];
        step[last] = n as isize + 1;
        let mut out = flat.clone();
        out[last] = n;
        t.v = c.op(Op::Slice { start: vec![0; flat.len()], step, shape: out }, &[v])?;
        t.labels = perm[..perm.len() - 1].iter().map(|&a| t.labels[a]).collect();
    }
    Ok(t)
}

/// Sums over the axes that nothing needs any more.
fn sum_out(c: &mut Call<'_, '_>, t: Term, keep: &[Label]) -> Result<Term, Fail> {
    let gone: Vec<usize> = (0..t.labels.len()).filter(|&i| !keep.contains(&t.labels[i])).collect();
    let v = c.reduce(Reduce::Sum, t.v, &gone, false)?;
    let labels = t.labels.into_iter().filter(|l| keep.contains(l)).collect();
    Ok(Term { v, labels })
}

/// The product of two terms, summed over what both have and nothing needs later.
fn contract(
    c: &mut Call<'_, '_>,
    a: Term,
    b: Term,
    later: &[Label],
    extents: &BTreeMap<Label, usize>,
) -> Result<Term, Fail> {
    let shared = |l: &Label| a.labels.contains(l) && b.labels.contains(l);
    let batch: Vec<Label> = a.labels.iter().filter(|l| shared(l) && later.contains(l)).copied().collect();
    let inner: Vec<Label> = a.labels.iter().filter(|l| shared(l) && !later.contains(l)).copied().collect();
    let rows: Vec<Label> = a.labels.iter().filter(|l| !shared(l)).copied().collect();
    let columns: Vec<Label> = b.labels.iter().filter(|l| !shared(l)).copied().collect();
    let size = |ls: &[Label]| ls.iter().map(|l| extents[l]).product::<usize>();
    let order = |parts: [&[Label]; 3]| parts.concat();
    let left = arranged(c, &a, &order([&batch, &rows, &inner]), extents)?;
    let left = c.reshape(left, &[size(&batch), size(&rows), size(&inner)])?;
    let right = arranged(c, &b, &order([&batch, &inner, &columns]), extents)?;
    let right = c.reshape(right, &[size(&batch), size(&inner), size(&columns)])?;
    let y = if c.dtype(left).is_float() && !inner.is_empty() {
        c.matmul(left, right)?
    } else {
        // Outer products need no sum; integers wider than the primitive's are summed one by one.
        let l = c.reshape(left, &[size(&batch), size(&rows), size(&inner), 1])?;
        let r = c.reshape(right, &[size(&batch), 1, size(&inner), size(&columns)])?;
        let p = c.mul(l, r)?;
        c.reduce(Reduce::Sum, p, &[2], false)?
    };
    let labels = order([&batch, &rows, &columns]);
    let shape: Vec<usize> = labels.iter().map(|l| extents[l]).collect();
    Ok(Term { v: c.reshape(y, &shape)?, labels })
}

/// The term with its axes in the given order; labels it does not have, and extents of one where
/// others have more, are broadcast.
fn arranged(
    c: &mut Call<'_, '_>,
    t: &Term,
    order: &[Label],
    extents: &BTreeMap<Label, usize>,
) -> Result<ValueId, Fail> {
    let perm: Vec<usize> = order.iter().filter_map(|l| t.labels.iter().position(|x| x == l)).collect();
    if perm.len() != t.labels.len() {
        return Err(Fail::invalid("a label of the result stands twice"));
    }
    let v = c.transpose(t.v, &perm)?;
    let shape = c.shape(v);
    let mut have = perm.iter().enumerate();
    let with_ones: Vec<usize> =
        order.iter().map(|l| if t.labels.contains(l) { have.next().map_or(1, |(i, _)| shape[i]) } else { 1 }).collect();
    let v = c.reshape(v, &with_ones)?;
    let full: Vec<usize> = order.iter().map(|l| extents[l]).collect();
    c.broadcast(v, &full)
}
