//! Convolution as a matrix product over gathered columns; depthwise convolution as row sums.

use super::buffer::{narrow, tensor, view, widen};
use super::cast;
use super::epilogue;
use super::gemm::Gemm;
use super::window::Geometry;
use crate::ir::{DType, EpilogueStep, Tensor, TensorType, Window};
use rayon::prelude::*;

/// Elements of a block of gathered columns: about what the second-level cache holds.
const COLUMN_BLOCK: usize = 1 << 17;

pub(super) fn eval(
    inputs: &[&Tensor],
    window: &Window,
    groups: usize,
    steps: &[EpilogueStep],
    ty: &TensorType,
) -> Tensor {
    let (x, w) = (inputs[0], inputs[1]);
    let extra = &inputs[2..];
    match ty.dtype {
        DType::F64 => conv::<f64>(x, w, window, groups, steps, extra, ty),
        d if d.is_float() => {
            let wide = TensorType::new(DType::F32, &*ty.shape);
            narrow(conv::<f32>(&widen(x), &widen(w), window, groups, steps, extra, &wide), ty.dtype)
        }
        DType::I32 => {
            let (x, w) = (cast::eval(x, DType::I32), cast::eval(w, DType::I32));
            conv::<i32>(&x, &w, window, groups, steps, extra, ty)
        }
        // 64 bits hold the low bits of every other integer, signed or not.
        d => {
            let wide = TensorType::new(DType::I64, &*ty.shape);
            let (x, w) = (cast::eval(x, DType::I64), cast::eval(w, DType::I64));
            cast::eval(&conv::<i64>(&x, &w, window, groups, &[], &[], &wide), d)
        }
    }
}

fn conv<T: Gemm>(
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
                    dense(&g, cg, mg, x, w, &mut out[group * mg * cells..][..mg * cells]);
                }
            }
        }
    }
    epilogue::apply(&mut out, &ty.shape, steps, extra);
    tensor(ty.dtype, &ty.shape, out)
}

/// One group of one image: `w` is `mg x (cg * taps)`, `out` is `mg x cells`.
fn dense<T: Gemm>(g: &Geometry, cg: usize, mg: usize, x: &[T], w: &[T], out: &mut [T]) {
    let k = cg * g.taps();
    let cells = g.output_cells();
    if g.is_pointwise() {
        super::gemm::product(mg, k, cells, w, x, out);
        return;
    }
    let rows = cells / g.row();
    // Blocks of whole output rows, small enough for the cache and enough of them for all cores.
    let fit = (COLUMN_BLOCK / k / g.row()).max(1);
    let block = fit.min(rows.div_ceil(rayon::current_num_threads()));
    let blocks: Vec<usize> = (0..rows.div_ceil(block)).collect();
    // A wave of blocks at a time, so that their results never double the memory of the output.
    for wave in blocks.chunks(4 * rayon::current_num_threads()) {
        let parts: Vec<Vec<T>> = wave
            .par_iter()
            .map(|&b| {
                let rows = b * block..((b + 1) * block).min(rows);
                let n = rows.len() * g.row();
                let columns = columns(g, cg, x, rows);
                let mut part = vec![T::ZERO; mg * n];
                T::gemm(mg, k, n, w, &columns, &mut part);
                part
            })
            .collect();
        for (&b, part) in wave.iter().zip(parts) {
            let n = part.len() / mg;
            for (m, part) in part.chunks_exact(n).enumerate() {
                out[m * cells + b * block * g.row()..][..n].copy_from_slice(part);
            }
        }
    }
}

/// The input cells under the window for the given output rows: `(cg * taps) x (rows * row)`.
fn columns<T: Gemm>(g: &Geometry, cg: usize, x: &[T], rows: std::ops::Range<usize>) -> Vec<T> {
    let (taps, row, cells_in) = (g.taps(), g.row(), g.input_cells());
    let n = rows.len() * row;
    let mut columns = vec![T::ZERO; cg * taps * n];
    for tap in 0..taps {
        for (i, r) in rows.clone().enumerate() {
            let (range, at) = g.reads(r, tap);
            if range.is_empty() {
                continue;
            }
            for c in 0..cg {
                let to = &mut columns[(c * taps + tap) * n + i * row..][range.clone()];
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
