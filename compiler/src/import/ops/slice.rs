//! `Slice`: bounds are attributes before version 10, operands since.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Op;

pub(super) const OPS: &[OpDef] = &[onnx("Slice", 1, slice)];

fn slice(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = c.x(0)?;
    let (starts, ends, list, steps) = if c.opset < 10 {
        c.at_most(1)?;
        let missing = |n: &str| Fail::invalid(format!("attribute '{n}' is missing"));
        let starts = c.int_list("starts")?.ok_or_else(|| missing("starts"))?;
        let ends = c.int_list("ends")?.ok_or_else(|| missing("ends"))?;
        (starts, ends, c.int_list("axes")?, None)
    } else {
        c.at_most(5)?;
        (
            c.known_ints(1, "the starts")?,
            c.known_ints(2, "the ends")?,
            c.known_ints_opt(3, "the axes")?,
            c.known_ints_opt(4, "the steps")?,
        )
    };
    let n = starts.len();
    let list = list.unwrap_or_else(|| (0..n as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; n]);
    if [ends.len(), list.len(), steps.len()] != [n; 3] {
        return Err(Fail::invalid("starts, ends, axes and steps differ in length"));
    }
    let mut shape = c.shape(x);
    let rank = shape.len();
    let mut start = vec![0; rank];
    let mut step = vec![1; rank];
    let mut seen = vec![false; rank];
    for i in 0..n {
        let a = axis(list[i], rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(Fail::invalid(format!("axis {a} is sliced twice")));
        }
        let (first, count, by) = bounds(starts[i], ends[i], steps[i], shape[a])?;
        (start[a], shape[a], step[a]) = (first, count, by);
    }
    if step.iter().all(|&s| s == 1) && shape == c.shape(x) {
        return one(x);
    }
    one(c.op(Op::Slice { start, step, shape }, &[x])?)
}

/// First index, number of elements and step, after numpy's clamping.
fn bounds(start: i64, end: i64, step: i64, extent: usize) -> Result<(usize, usize, isize), Fail> {
    if step == 0 {
        return Err(Fail::invalid("a step is zero"));
    }
    let n = extent as i64;
    let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (first, last) = if step > 0 {
        (wrap(start).clamp(0, n), wrap(end).clamp(0, n))
    } else {
        (wrap(start).clamp(-1, n - 1), wrap(end).clamp(-1, n - 1))
    };
    let span = if step > 0 { last - first } else { first - last };
    let count = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
    // With one element or none the step does not matter, and a huge one would not be usable.
    let step = if count <= 1 { 1 } else { step as isize };
    Ok((first.max(0) as usize, count, step))
}
