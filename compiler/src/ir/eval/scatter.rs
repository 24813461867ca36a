//! Writing at indices that are data; repeated indices apply in order.

use super::buffer::{narrow, tensor, view, widen, with_num};
use super::gather::{element_offsets, slice_offsets};
use super::num::Num;
use crate::ir::{DType, ScatterMode, Tensor};

/// One element per index along an axis.
pub(super) fn elements(
    x: &Tensor,
    index: &Tensor,
    updates: &Tensor,
    axis: usize,
    mode: ScatterMode,
) -> Result<Tensor, String> {
    let offsets = element_offsets(&x.shape, index, axis)?;
    Ok(write(x, updates, &offsets, 1, mode))
}

/// One slice per index tuple.
pub(super) fn nd(x: &Tensor, index: &Tensor, updates: &Tensor, mode: ScatterMode) -> Result<Tensor, String> {
    let (offsets, run) = slice_offsets(&x.shape, index, 0)?;
    Ok(write(x, updates, &offsets, run, mode))
}

fn write(x: &Tensor, updates: &Tensor, offsets: &[usize], run: usize, mode: ScatterMode) -> Tensor {
    let (wide, updates) = (widen(x), widen(updates));
    let y = with_num!(wide.dtype, T => {
        let mut values = view::<T>(&wide).into_owned();
        let join = join::<T>(mode, x.dtype);
        let updates = view::<T>(&updates);
        for (i, &o) in offsets.iter().enumerate() {
            let from = &updates[i * run..][..run];
            values[o * run..][..run].iter_mut().zip(from).for_each(|(v, &u)| *v = join(*v, u));
        }
        tensor(wide.dtype, &x.shape, values)
    });
    narrow(y, x.dtype)
}

fn join<T: Num>(mode: ScatterMode, dtype: DType) -> fn(T, T) -> T {
    match (mode, dtype) {
        (ScatterMode::Replace, _) => |_, u| u,
        (ScatterMode::Add, DType::Bool) => T::or,
        (ScatterMode::Add, _) => T::add,
        (ScatterMode::Mul, _) => T::mul,
        (ScatterMode::Max, _) => |v, u| u.maximum(v),
        (ScatterMode::Min, _) => |v, u| u.minimum(v),
    }
}
