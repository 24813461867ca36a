//! Pooling over a sliding window.
//!
//! A maximum over no cell at all is the lowest value of the type; an average over none is NaN.

use super::buffer::{narrow, tensor, view, widen, with_num};
use super::num::Num;
use super::window::Geometry;
use crate::ir::{Pool, Tensor, TensorType, Window};
use rayon::prelude::*;

/// Steps that are worth a second thread.
const PARALLEL_STEPS: usize = 1 << 18;

pub(super) fn eval(x: &Tensor, kind: Pool, window: &Window, ty: &TensorType) -> Tensor {
    let wide = widen(x);
    let g = Geometry::new(window, &x.shape[2..], &ty.shape[2..]);
    let y = with_num!(wide.dtype, T => tensor(wide.dtype, &ty.shape, pool::<T>(&view::<T>(&wide), kind, &g, ty)));
    narrow(y, ty.dtype)
}

fn pool<T: Num>(x: &[T], kind: Pool, g: &Geometry, ty: &TensorType) -> Vec<T> {
    let (cells_in, cells) = (g.input_cells(), g.output_cells());
    let mut out = vec![T::ZERO; ty.elements()];
    if out.is_empty() {
        return out;
    }
    let one = |(plane, out): (usize, &mut [T])| {
        let x = &x[plane * cells_in..][..cells_in];
        match kind {
            Pool::Max => largest(x, g, out),
            Pool::AverageExcludePad => average(x, g, false, out),
            Pool::AverageIncludePad => average(x, g, true, out),
        }
    };
    if ty.elements() * g.taps() >= PARALLEL_STEPS {
        out.par_chunks_exact_mut(cells).enumerate().for_each(one);
    } else {
        out.chunks_exact_mut(cells).enumerate().for_each(one);
    }
    out
}

/// Rows first, in full width, then along the row: a window of k x k costs 2k steps instead of k^2.
fn largest<T: Num>(x: &[T], g: &Geometry, out: &mut [T]) {
    let mut columns = vec![T::LOWEST; g.input_row()];
    out.fill(T::LOWEST);
    for (r, out) in out.chunks_exact_mut(g.row()).enumerate() {
        columns.fill(T::LOWEST);
        for outer in 0..g.taps() / g.inner_taps() {
            if let Some(start) = g.row_start(r, outer) {
                columns.iter_mut().zip(&x[start..]).for_each(|(c, &x)| *c = x.maximum(*c));
            }
        }
        for tap in 0..g.inner_taps() {
            let (range, at) = g.inner_reads(tap);
            if range.is_empty() {
                continue;
            }
            let cells = columns[at..].iter().step_by(g.row_stride());
            out[range].iter_mut().zip(cells).for_each(|(o, &x)| *o = x.maximum(*o));
        }
    }
}

fn average<T: Num>(x: &[T], g: &Geometry, include_pad: bool, out: &mut [T]) {
    let mut sums = vec![0f64; g.row()];
    let mut counts = vec![0u32; g.row()];
    for (r, out) in out.chunks_exact_mut(g.row()).enumerate() {
        sums.fill(0.0);
        counts.fill(0);
        for tap in 0..g.taps() {
            let (range, at) = g.reads(r, tap);
            if range.is_empty() {
                continue;
            }
            counts[range.clone()].iter_mut().for_each(|n| *n += 1);
            let cells = x[at..].iter().step_by(g.row_stride());
            sums[range].iter_mut().zip(cells).for_each(|(s, &x)| *s += x.to_f64());
        }
        for ((o, &s), &n) in out.iter_mut().zip(&sums).zip(&counts) {
            let divisor = if include_pad { g.taps() as f64 } else { f64::from(n) };
            // 0 / 0 has a sign that differs between processors.
            *o = T::from_f64(if divisor == 0.0 { f64::NAN } else { s / divisor });
        }
    }
}
