//! Convolution as a matrix product over gathered columns; depthwise convolution as row sums.

use super::buffer::{narrow, tensor, view, widen};
use super::cast;
use super::epilogue;
use super::gemm::{self, Gemm, Order};
use super::window::Geometry;
use crate::ir::{DType, EpilogueStep, Tensor, TensorType, Window};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a block of gathered columns: about what the second-level cache holds.
const COLUMN_BLOCK: usize = 1 << 17;

pub(super) fn eval(
    order: Order,
    inputs: &[&Tensor],
    window: &Window,
    groups: usize,
    steps: &[EpilogueStep],
    ty: &TensorType,
) -> Tensor {
    let (x, w) = (inputs[0], inputs[1]);
    let extra = &inputs[2..];
    match ty.dtype {
        DType::F64 => conv::<f64>(order, x, w, window, groups, steps, extra, ty),
        d if d.is_float() => {
            let wide = TensorType::new(DType::F32, &*ty.shape);
            narrow(conv::<f32>(order, &widen(x), &widen(w), window, groups, steps, extra, &wide), ty.dtype)
        }
        DType::I32 => {
            let (x, w) = (cast::eval(x, DType::I32), cast::eval(w, DType::I32));
            conv::<i32>(order, &x, &w, window, groups, steps, extra, ty)
        }
        // 64 bits hold the low bits of every other integer, signed or not.
        d => {
            let wide = TensorType::new(DType::I64, &*ty.shape);
            let (x, w) = (cast::eval(x, DType::I64), cast::eval(w, DType::I64));
            cast::eval(&conv::<i64>(order, &x, &w, window, groups, &[], &[], &wide), d)
        }
    }
}

fn conv<T: Gemm>(
    order: Order,
    x: &Tensor,
    w: &Tensor,
    window: &Window,
    groups: usize,
    steps: &[EpilogueStep],
    extra: &[&Tensor],
    ty: &TensorType,
) -> Tensor {
    let (xs, ws) = (view::<T>(x), view::<T>(w));
    let g = Geometry::new(window, &x.shape[2..], &ty.shape[2..]);
    let (c, m) = (x.shape[1], ty.shape[1]);
    let (cg, mg) = (c / groups, m / groups);
    let (cells_in, cells) = (g.input_cells(), g.output_cells());
    let mut out = vec![T::ZERO; ty.elements()];
    let k = cg * g.taps();
    if !out.is_empty() && k > 0 {
        for n in 0..x.shape[0] {
            let x = &xs[n * c * cells_in..][..c * cells_in];
            let out = &mut out[n * m * cells..][..m * cells];
            if cg == 1 {
                out.par_chunks_exact_mut(cells).enumerate().for_each(|(m, out)| {
                    let x = &x[m / mg * cells_in..][..cells_in];
                    depthwise(&g, x, &ws[m * k..][..k], out);
                });
            } else {
                for group in 0..groups {
                    let x = &x[group * cg * cells_in..][..cg * cells_in];
                    let w = &ws[group * mg * k..][..mg * k];
                    dense(order, &g, cg, mg, x, w, &mut out[group * mg * cells..][..mg * cells]);
                }
            }
        }
    }
    epilogue::apply(&mut out, &ty.shape, steps, extra);
    tensor(ty.dtype, &ty.shape, out)
}

/// One group of one image: `w` is `mg x (cg * taps)`, `out` is `mg x cells`.
fn dense<T: Gemm>(order: Order, g: &Geometry, cg: usize, mg: usize, x: &[T], w: &[T], out: &mut [T]) {
    let k = cg * g.taps();
    let cells = g.output_cells();
    if g.is_pointwise() {
        gemm::product(order, mg, k, cells, w, x, out);
        return;
    }
    // Blocks of output cells, small enough for the cache and enough of them for all cores.
    let block =
        (COLUMN_BLOCK / k).clamp(64, 4096).min(cells.div_ceil(rayon::current_num_threads()).next_multiple_of(8));
    let starts: Vec<usize> = (0..cells).step_by(block).collect();
    // A wave of blocks at a time, so that their results never double the memory of the output.
    for wave in starts.chunks(4 * rayon::current_num_threads()) {
        let parts: Vec<Vec<T>> = wave
            .par_iter()
            .map(|&start| {
                let range = start..(start + block).min(cells);
                let n = range.len();
                let mut part = vec![T::ZERO; mg * n];
                T::gemm(order, mg, k, n, w, &columns(g, cg, x, range), &mut part);
                part
            })
            .collect();
        for (&start, part) in wave.iter().zip(parts) {
            let n = part.len() / mg;
            for (m, part) in part.chunks_exact(n).enumerate() {
                out[m * cells + start..][..n].copy_from_slice(part);
            }
        }
    }
}

/// The input cells under the window for a range of output cells: `(cg * taps) x range.len()`.
fn columns<T: Gemm>(g: &Geometry, cg: usize, x: &[T], cells: Range<usize>) -> Vec<T> {
    let (taps, row, cells_in) = (g.taps(), g.row(), g.input_cells());
    let n = cells.len();
    let mut columns = vec![T::ZERO; cg * taps * n];
    for r in cells.start / row..cells.end.div_ceil(row) {
        // The part of this output row that lies in the range, and where it starts in the block.
        let part = cells.start.max(r * row) - r * row..cells.end.min((r + 1) * row) - r * row;
        let block = r * row + part.start - cells.start;
        for tap in 0..taps {
            let (range, at) = g.reads(r, tap);
            let (first, end) = (range.start.max(part.start), range.end.min(part.end));
            if first >= end {
                continue;
            }
            let at = at + (first - range.start) * g.row_stride();
            let to = block + first - part.start..block + end - part.start;
            for c in 0..cg {
                let to = &mut columns[(c * taps + tap) * n..][to.clone()];
                copy_run(&x[c * cells_in + at..], g.row_stride(), to);
            }
        }
    }
    columns
}

fn copy_run<T: Copy>(from: &[T], stride: usize, to: &mut [T]) {
    if stride == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(t, &f)| *t = f);
    }
}

/// One channel: `w` has one weight a tap.
fn depthwise<T: Gemm>(g: &Geometry, x: &[T], w: &[T], out: &mut [T]) {
    for (r, out) in out.chunks_exact_mut(g.row()).enumerate() {
        for (tap, &w) in w.iter().enumerate() {
            let (range, at) = g.reads(r, tap);
            if range.is_empty() {
                continue;
            }
            let out = &mut out[range];
            if g.row_stride() == 1 {
                out.iter_mut().zip(&x[at..]).for_each(|(o, &x)| *o = o.add(w.mul(x)));
            } else {
                out.iter_mut().zip(x[at..].iter().step_by(g.row_stride())).for_each(|(o, &x)| *o = o.add(w.mul(x)));
            }
        }
    }
}
