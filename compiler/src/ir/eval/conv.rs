//! Convolution as a matrix product over gathered columns; channels by themselves go to `depthwise`.

use super::buffer::{narrow, tensor, view, widen};
use super::cast;
use super::depthwise::{self, Taps};
use super::epilogue;
use super::gemm::{self, Gemm, Order, PARALLEL_MACS};
use super::window::Geometry;
use crate::ir::{DType, EpilogueStep, Tensor, TensorType, Window};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a block of gathered columns: about what the second-level cache holds.
const COLUMN_BLOCK: usize = 1 << 17;

/// Planes smaller than this are joined across images even when nothing needs gathering.
const POINTWISE_CELLS: usize = 64;

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
        DType::F64 => conv::<f64>(order, &[x, w], extra, window, groups, steps, ty),
        d if d.is_float() => {
            let wide = TensorType::new(DType::F32, &*ty.shape);
            narrow(conv::<f32>(order, &[&widen(x), &widen(w)], extra, window, groups, steps, &wide), ty.dtype)
        }
        DType::I32 => {
            let (x, w) = (cast::eval(x, DType::I32), cast::eval(w, DType::I32));
            conv::<i32>(order, &[&x, &w], extra, window, groups, steps, ty)
        }
        // 64 bits hold the low bits of every other integer, signed or not.
        d => {
            let wide = TensorType::new(DType::I64, &*ty.shape);
            let (x, w) = (cast::eval(x, DType::I64), cast::eval(w, DType::I64));
            cast::eval(&conv::<i64>(order, &[&x, &w], &[], window, groups, &[], &wide), d)
        }
    }
}

#[allow(clippy::too_many_arguments)] // The operands of one convolution; a struct would only rename them.
fn conv<T: Gemm>(
    order: Order,
    &[x, w]: &[&Tensor; 2],
    extra: &[&Tensor],
    window: &Window,
    groups: usize,
    steps: &[EpilogueStep],
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
        if cg == 1 {
            depthwise::planes(&Taps::new(&g), &mut out, cells, |plane| {
                let (n, m) = (plane / m, plane % m);
                (&xs[(n * c + m / mg) * cells_in..][..cells_in], &ws[m * k..][..k])
            });
        } else {
            for group in 0..groups {
                let images = Images { x: &xs, n: x.shape[0], c, first: group * cg, cg, cells_in };
                let w = &ws[group * mg * k..][..mg * k];
                dense(order, &g, &images, w, &mut out, m, group * mg);
            }
        }
    }
    epilogue::apply(&mut out, &ty.shape, steps, extra);
    tensor(ty.dtype, &ty.shape, out)
}

/// The input channels of one group, in every image of the batch.
struct Images<'a, T> {
    x: &'a [T],
    /// Images.
    n: usize,
    /// Channels of an image.
    c: usize,
    /// First channel of the group.
    first: usize,
    /// Channels of the group.
    cg: usize,
    /// Cells of a channel.
    cells_in: usize,
}

impl<'a, T> Images<'a, T> {
    fn group(&self, n: usize) -> &'a [T] {
        &self.x[(n * self.c + self.first) * self.cells_in..][..self.cg * self.cells_in]
    }
}

/// One group: `w` is `mg x (cg * taps)`; the result goes to channels `first_m..` of the `m` of `out`.
fn dense<T: Gemm>(
    order: Order,
    g: &Geometry,
    images: &Images<'_, T>,
    w: &[T],
    out: &mut [T],
    m: usize,
    first_m: usize,
) {
    let k = images.cg * g.taps();
    let mg = w.len() / k;
    let cells = g.output_cells();
    if g.is_pointwise() && cells >= POINTWISE_CELLS {
        for n in 0..images.n {
            let out = &mut out[(n * m + first_m) * cells..][..mg * cells];
            gemm::product(order, mg, k, cells, w, images.group(n), out);
        }
        return;
    }
    // Blocks of output cells, counted through all images: small enough for the cache, and enough of
    // them for all cores.
    let total = images.n * cells;
    let parallel = mg * k * total >= PARALLEL_MACS;
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let block = (COLUMN_BLOCK / k).clamp(64, 4096).min(total.div_ceil(threads).next_multiple_of(8));
    let starts: Vec<usize> = (0..total).step_by(block).collect();
    let compute = |columns: &mut Vec<T>, &start: &usize| {
        let n = block.min(total - start);
        gather_columns(g, images, start..start + n, columns);
        let mut part = vec![T::ZERO; mg * n];
        T::gemm(order, mg, k, n, w, columns, &mut part);
        part
    };
    // A wave of blocks at a time, so that their results never double the memory of the output.
    for wave in starts.chunks(4 * threads) {
        let parts: Vec<Vec<T>> = if parallel {
            wave.par_iter().map_init(Vec::new, compute).collect()
        } else {
            let mut columns = Vec::new();
            wave.iter().map(|start| compute(&mut columns, start)).collect()
        };
        for (&start, part) in wave.iter().zip(parts) {
            let n = part.len() / mg;
            for (image, here, at) in split(start..start + n, cells) {
                for (i, part) in part.chunks_exact(n).enumerate() {
                    let out = &mut out[(image * m + first_m + i) * cells..][..cells];
                    out[here.clone()].copy_from_slice(&part[at..at + here.len()]);
                }
            }
        }
    }
}

/// A range counted through groups of `size`: for each group its index, the part of it and where that
/// part starts in the range.
fn split(range: Range<usize>, size: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
    (range.start / size..range.end.div_ceil(size)).map(move |i| {
        let part = range.start.max(i * size) - i * size..range.end.min((i + 1) * size) - i * size;
        let at = i * size + part.start - range.start;
        (i, part, at)
    })
}

/// The input cells under the window for a range of output cells, counted through all images:
/// `(cg * taps) x range.len()`.
fn gather_columns<T: Gemm>(g: &Geometry, images: &Images<'_, T>, range: Range<usize>, columns: &mut Vec<T>) {
    let (taps, row, cells) = (g.taps(), g.row(), g.output_cells());
    let n = range.len();
    columns.resize(images.cg * taps * n, T::ZERO);
    for (image, part, at) in split(range, cells) {
        let x = images.group(image);
        for (r, part, within) in split(part, row) {
            let at = at + within;
            for tap in 0..taps {
                let (reads, from) = g.reads(r, tap);
                let (first, end) =
                    (reads.start.max(part.start), reads.end.min(part.end).max(reads.start.max(part.start)));
                let inside = first.min(part.end) - part.start..end.min(part.end) - part.start;
                let from = from + (first - reads.start) * g.row_stride();
                for c in 0..images.cg {
                    let to = &mut columns[(c * taps + tap) * n + at..][..part.len()];
                    to[..inside.start].fill(T::ZERO);
                    to[inside.end..].fill(T::ZERO);
                    if !inside.is_empty() {
                        copy_run(&x[c * images.cells_in + from..], g.row_stride(), &mut to[inside.clone()]);
                    }
                }
            }
        }
    }
}

fn copy_run<T: Copy>(from: &[T], stride: usize, to: &mut [T]) {
    if stride == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(t, &f)| *t = f);
    }
}
