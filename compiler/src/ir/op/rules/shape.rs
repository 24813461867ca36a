//! Rules of reductions, of operations along an axis and of everything that only moves elements.

use super::{MAX_BYTES, Operands, broadcast_shapes};
use crate::ir::{DType, Op, PadMode, Reduce, TensorType, TypeError};

pub(super) fn rule(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    match o.op {
        Op::Reduce { kind, axes, keep } => {
            let [x] = o.take()?;
            if matches!(kind, Reduce::Max | Reduce::Min) {
                o.computable(x)?
            } else {
                o.numeric(x)?
            }
            some_axes(o, axes, x)?;
            Ok(TensorType::new(x.dtype, reduced(&x.shape, axes, *keep)))
        }
        Op::ArgReduce { axis, keep, .. } => {
            let [x] = o.take()?;
            o.computable(x)?;
            o.axis(*axis, x)?;
            Ok(TensorType::new(DType::I64, reduced(&x.shape, &[*axis], *keep)))
        }
        Op::CumSum { axis, .. } => {
            let [x] = o.take()?;
            o.numeric(x)?;
            o.axis(*axis, x)?;
            Ok(x.clone())
        }
        Op::Softmax { axis } => {
            let [x] = o.take()?;
            o.float(x)?;
            o.axis(*axis, x)?;
            Ok(x.clone())
        }
        Op::Norm { axes, .. } => {
            let [x] = o.take()?;
            o.float(x)?;
            some_axes(o, axes, x)?;
            Ok(x.clone())
        }
        Op::Reshape { shape } => {
            let [x] = o.take()?;
            let t = TensorType::new(x.dtype, shape.clone());
            if !t.fits() || t.elements() != x.elements() {
                return o.fail(format!("{x} does not have as many elements as {shape:?}"));
            }
            Ok(t)
        }
        Op::Transpose { perm } => {
            let [x] = o.take()?;
            let mut seen = perm.clone();
            seen.sort_unstable();
            if !seen.into_iter().eq(0..x.rank()) {
                return o.fail(format!("{perm:?} is no permutation of the axes of {x}"));
            }
            Ok(TensorType::new(x.dtype, perm.iter().map(|&p| x.shape[p]).collect::<Vec<_>>()))
        }
        Op::Broadcast { shape } => {
            let [x] = o.take()?;
            if broadcast_shapes(&x.shape, shape).as_deref() != Some(shape) {
                return o.fail(format!("{x} does not broadcast to {shape:?}"));
            }
            Ok(TensorType::new(x.dtype, shape.clone()))
        }
        Op::Slice { start, step, shape } => slice(o, start, step, shape),
        Op::Concat { axis } => concat(o, *axis),
        Op::Pad { mode, before, after } => pad(o, *mode, before, after),
        _ => o.fail("does not move elements"),
    }
}

fn some_axes(o: &Operands<'_>, axes: &[usize], x: &TensorType) -> Result<(), TypeError> {
    if axes.iter().any(|&a| a >= x.rank()) || axes.windows(2).any(|w| w[0] >= w[1]) {
        return o.fail(format!("axes {axes:?} are not sorted, unique axes of {x}"));
    }
    Ok(())
}

fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    shape
        .iter()
        .enumerate()
        .filter_map(|(i, &d)| match (axes.contains(&i), keep) {
            (true, true) => Some(1),
            (true, false) => None,
            (false, _) => Some(d),
        })
        .collect()
}

fn slice(o: &Operands<'_>, start: &[usize], step: &[isize], shape: &[usize]) -> Result<TensorType, TypeError> {
    let [x] = o.take()?;
    let inside = |i: usize| {
        let last = start[i] as i128 + step[i] as i128 * (shape[i] as i128 - 1);
        shape[i] == 0 || (start[i] < x.shape[i] && last >= 0 && last < x.shape[i] as i128)
    };
    if [start.len(), step.len(), shape.len()].iter().any(|&n| n != x.rank()) || !(0..x.rank()).all(inside) {
        return o.fail(format!("start {start:?}, step {step:?}, shape {shape:?} leave {x}"));
    }
    Ok(TensorType::new(x.dtype, shape))
}

fn concat(o: &Operands<'_>, axis: usize) -> Result<TensorType, TypeError> {
    let Some(&first) = o.types.first() else { return o.fail("takes at least one operand") };
    o.axis(axis, first)?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for t in o.types {
        let same = t.rank() == first.rank() && (0..t.rank()).all(|i| i == axis || t.shape[i] == first.shape[i]);
        if !same || t.dtype != first.dtype {
            return o.fail(format!("{first} and {t} do not join along axis {axis}"));
        }
        shape[axis] = shape[axis].saturating_add(t.shape[axis]);
    }
    Ok(TensorType::new(first.dtype, shape))
}

fn pad(o: &Operands<'_>, mode: PadMode, before: &[isize], after: &[isize]) -> Result<TensorType, TypeError> {
    let x = match mode {
        PadMode::Constant => {
            let [x, fill] = o.take()?;
            o.same_dtype(x, fill)?;
            if fill.elements() != 1 {
                return o.fail(format!("is filled with one element, got {fill}"));
            }
            x
        }
        _ => o.take::<1>()?[0],
    };
    if before.len() != x.rank() || after.len() != x.rank() {
        return o.fail(format!("pads {before:?}, {after:?} do not fit {x}"));
    }
    let mut shape = Vec::with_capacity(x.rank());
    for (i, &extent) in x.shape.iter().enumerate() {
        let sane = before[i].unsigned_abs() < MAX_BYTES && after[i].unsigned_abs() < MAX_BYTES;
        let e = extent as i128 + before[i] as i128 + after[i] as i128;
        match usize::try_from(e) {
            Ok(e) if sane && (e == 0 || extent > 0 || mode == PadMode::Constant) => shape.push(e),
            _ => return o.fail(format!("pads {before:?}, {after:?} leave no extent of {x}")),
        }
    }
    Ok(TensorType::new(x.dtype, shape))
}
