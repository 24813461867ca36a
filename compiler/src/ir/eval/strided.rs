//! Copies along strides: transposition, expansion and slicing are all one loop.

use super::broadcast::strides_in;
use super::buffer::{reshaped, tensor, view, with_bits};
use crate::ir::Tensor;

/// Reads `src` from `offset` along one signed stride per axis of `shape`, into row-major order.
///
/// Every element so addressed must lie inside `src`.
pub(super) fn gather<T: Copy + Default>(src: &[T], offset: usize, strides: &[isize], shape: &[usize]) -> Vec<T> {
    let total: usize = shape.iter().product();
    let mut out = Vec::with_capacity(total);
    if total == 0 {
        return out;
    }
    // Merge axes that are contiguous in the source, so that the inner loop is long.
    let mut axes: Vec<(usize, isize)> = Vec::new();
    for (&n, &s) in shape.iter().zip(strides) {
        if n == 1 {
            continue;
        }
        match axes.last_mut() {
            Some((m, t)) if *t == s * n as isize => (*m, *t) = (*m * n, s),
            _ => axes.push((n, s)),
        }
    }
    // A transposition is done by blocks: rows of both sides stay in the cache.
    if let Some(across) = axes.iter().position(|&(n, s)| s == 1 && n >= BLOCK / 2)
        && axes.last().is_some_and(|&(n, s)| s > 1 && n >= BLOCK / 2)
    {
        return transpose_blocks(src, offset, &axes, across, total);
    }
    let (inner, step) = axes.pop().unwrap_or((1, 1));
    let mut index = vec![0usize; axes.len()];
    let mut base = offset as isize;
    loop {
        let at = base as usize;
        match step {
            1 => out.extend_from_slice(&src[at..at + inner]),
            0 => out.extend(std::iter::repeat_n(src[at], inner)),
            _ => out.extend((0..inner as isize).map(|i| src[(base + i * step) as usize])),
        }
        let mut axis = axes.len();
        loop {
            if axis == 0 {
                return out;
            }
            axis -= 1;
            index[axis] += 1;
            base += axes[axis].1;
            if index[axis] < axes[axis].0 {
                break;
            }
            base -= axes[axis].1 * index[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// Rows and columns of a block of a transposition.
const BLOCK: usize = 16;

/// [`gather`] where the innermost axis steps through the source and axis `across` is contiguous there.
fn transpose_blocks<T: Copy + Default>(
    src: &[T],
    offset: usize,
    axes: &[(usize, isize)],
    across: usize,
    total: usize,
) -> Vec<T> {
    let mut out = vec![T::default(); total];
    let extents: Vec<usize> = axes.iter().map(|&(n, _)| n).collect();
    let steps = row_major(&extents);
    let last = axes.len() - 1;
    let (rows, columns, from_step, to_step) = (axes[across].0, axes[last].0, axes[last].1 as usize, steps[across]);
    let others: Vec<usize> = (0..last).filter(|&i| i != across).collect();
    for plane in 0..others.iter().map(|&i| extents[i]).product::<usize>() {
        let (mut rest, mut from, mut to) = (plane, offset as isize, 0);
        for &i in others.iter().rev() {
            let at = rest % extents[i];
            rest /= extents[i];
            from += at as isize * axes[i].1;
            to += at * steps[i];
        }
        let (src, out) = (&src[from as usize..], &mut out[to..]);
        for first_row in (0..rows).step_by(BLOCK) {
            for first in (0..columns).step_by(BLOCK) {
                let width = BLOCK.min(columns - first);
                for row in first_row..rows.min(first_row + BLOCK) {
                    let to = &mut out[row * to_step + first..][..width];
                    to.iter_mut()
                        .zip(src[row + first * from_step..].iter().step_by(from_step))
                        .for_each(|(t, &s)| *t = s);
                }
            }
        }
    }
    out
}

/// Row-major strides of a shape.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

fn copy(x: &Tensor, offset: usize, strides: &[isize], shape: &[usize]) -> Tensor {
    with_bits!(x.dtype, T => tensor(x.dtype, shape, gather::<T>(&view::<T>(x), offset, strides, shape)))
}

/// Axis `i` of the result is axis `perm[i]` of `x`.
pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Tensor {
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape[p]).collect();
    // Moving only axes of extent 1 leaves the bytes as they are.
    if perm.iter().filter(|&&p| x.shape[p] != 1).is_sorted() {
        return reshaped(x, &shape);
    }
    let strides = row_major(&x.shape);
    let strides: Vec<isize> = perm.iter().map(|&p| strides[p] as isize).collect();
    copy(x, 0, &strides, &shape)
}

/// Numpy-style expansion.
pub(super) fn broadcast(x: &Tensor, shape: &[usize]) -> Tensor {
    if x.len() == shape.iter().product::<usize>() {
        return reshaped(x, shape);
    }
    let strides: Vec<isize> = strides_in(&x.shape, shape).into_iter().map(|s| s as isize).collect();
    copy(x, 0, &strides, shape)
}

/// The elements `start + i * step` along each axis.
pub(super) fn slice(x: &Tensor, start: &[usize], step: &[isize], shape: &[usize]) -> Tensor {
    if shape == x.shape && step.iter().all(|&s| s == 1) {
        return x.clone();
    }
    if shape.contains(&0) {
        return Tensor { dtype: x.dtype, shape: shape.to_vec(), data: bytes::Bytes::new() };
    }
    let strides = row_major(&x.shape);
    let offset = start.iter().zip(&strides).map(|(a, b)| a * b).sum();
    let steps: Vec<isize> = step
        .iter()
        .zip(strides.iter().zip(shape))
        // The step of an axis that is read once is never taken, and could be anything.
        .map(|(&k, (&s, &n))| if n == 1 { 0 } else { k * s as isize })
        .collect();
    copy(x, offset, &steps, shape)
}

/// The permutation that moves `axes` (sorted) behind all others, and its inverse.
pub(super) fn axes_last(rank: usize, axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut perm: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    perm.extend(axes);
    let mut inverse = vec![0; rank];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    (perm, inverse)
}
