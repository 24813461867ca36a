//! Rules of operations that read or write at indices, and of those that give indices.

use super::Operands;
use crate::ir::{DType, Op, ScatterMode, TensorType, TypeError};

pub(super) fn rule(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    match o.op {
        Op::Gather { axis } => {
            let [x, ix] = o.take()?;
            o.axis(*axis, x)?;
            indices(o, ix)?;
            let mut shape = x.shape[..*axis].to_vec();
            shape.extend(&ix.shape);
            shape.extend(&x.shape[axis + 1..]);
            Ok(TensorType::new(x.dtype, shape))
        }
        Op::GatherElements { axis } => {
            let [x, ix] = o.take()?;
            elements(o, x, ix, *axis)?;
            Ok(TensorType::new(x.dtype, ix.shape.clone()))
        }
        Op::GatherNd { batch_dims } => gather_nd(o, *batch_dims),
        Op::ScatterElements { axis, mode } => {
            let [x, ix, updates] = o.take()?;
            elements(o, x, ix, *axis)?;
            updated(o, x, updates, *mode)?;
            if ix.shape != updates.shape {
                return o.fail(format!("indices {ix} and updates {updates} do not fit {x}"));
            }
            Ok(x.clone())
        }
        Op::ScatterNd { mode } => {
            let [x, ix, updates] = o.take()?;
            indices(o, ix)?;
            updated(o, x, updates, *mode)?;
            let Some((&depth, tuples)) = ix.shape.split_last() else {
                return o.fail(format!("indices {ix} have no axis"));
            };
            if depth > x.rank() || updates.shape != [tuples, &x.shape[depth..]].concat() {
                return o.fail(format!("indices {ix} and updates {updates} do not fit {x}"));
            }
            Ok(x.clone())
        }
        Op::TopKValues { k, axis, .. } | Op::TopKIndices { k, axis, .. } => {
            let [x] = o.take()?;
            o.computable(x)?;
            o.axis(*axis, x)?;
            let mut t = x.clone();
            if *k > t.shape[*axis] {
                return o.fail(format!("k = {k} is more than axis {axis} of {t}"));
            }
            t.shape[*axis] = *k;
            if matches!(o.op, Op::TopKIndices { .. }) {
                t.dtype = DType::I64;
            }
            Ok(t)
        }
        _ => o.fail("has no indices"),
    }
}

fn indices(o: &Operands<'_>, t: &TensorType) -> Result<(), TypeError> {
    if matches!(t.dtype, DType::I32 | DType::I64) { Ok(()) } else { o.fail(format!("indices are i32 or i64, got {t}")) }
}

/// Indices of single elements: the other axes may not reach outside the data.
fn elements(o: &Operands<'_>, x: &TensorType, ix: &TensorType, axis: usize) -> Result<(), TypeError> {
    o.axis(axis, x)?;
    indices(o, ix)?;
    if ix.rank() != x.rank() {
        return o.fail(format!("{x} and indices {ix} differ in rank"));
    }
    if (0..x.rank()).any(|d| d != axis && ix.shape[d] > x.shape[d]) {
        return o.fail(format!("indices {ix} reach outside {x}"));
    }
    Ok(())
}

fn updated(o: &Operands<'_>, x: &TensorType, updates: &TensorType, mode: ScatterMode) -> Result<(), TypeError> {
    o.same_dtype(x, updates)?;
    match mode {
        ScatterMode::Mul => o.numeric(x),
        ScatterMode::Add | ScatterMode::Max | ScatterMode::Min => o.computable(x),
        ScatterMode::Replace => Ok(()),
    }
}

fn gather_nd(o: &Operands<'_>, batch_dims: usize) -> Result<TensorType, TypeError> {
    let [x, ix] = o.take()?;
    indices(o, ix)?;
    let depth = ix.shape.last().copied().unwrap_or(0);
    let fits = ix.rank() > batch_dims
        && batch_dims.checked_add(depth).is_some_and(|n| n <= x.rank())
        && ix.shape[..batch_dims] == x.shape[..batch_dims];
    if !fits {
        return o.fail(format!("indices {ix} do not fit {x} with {batch_dims} batch axes"));
    }
    let mut shape = ix.shape[..ix.rank() - 1].to_vec();
    shape.extend(&x.shape[batch_dims + depth..]);
    Ok(TensorType::new(x.dtype, shape))
}
