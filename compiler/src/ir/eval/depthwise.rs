//! Convolution of each channel by itself: sums of shifted rows.
//!
//! Taps are added in order, one rounding per operation, so that every processor gives the same bits.

use super::gemm::PARALLEL_MACS;
use super::num::Num;
use super::simd::{Loop, widest};
use super::window::Geometry;
use rayon::prelude::*;
use std::ops::Range;

/// Outputs whose sums are kept in registers together.
const LANES: usize = 16;

/// Where the taps read, worked out once for all channels.
pub(super) struct Taps {
    taps: usize,
    inner_taps: usize,
    row: usize,
    stride: usize,
    /// For each output row and tap of all axes but the last: the input row's first cell.
    starts: Vec<Option<usize>>,
    /// For each tap of the last axis: the outputs inside, and the cell that the first of them reads.
    reads: Vec<(Range<usize>, usize)>,
    /// Outputs for which every tap of the last axis is inside.
    interior: Range<usize>,
}

impl Taps {
    pub(super) fn new(g: &Geometry) -> Taps {
        let outer = g.taps() / g.inner_taps();
        let rows = g.output_cells() / g.row().max(1);
        let starts = (0..rows * outer).map(|i| g.row_start(i / outer, i % outer)).collect();
        let reads: Vec<(Range<usize>, usize)> = (0..g.inner_taps()).map(|t| g.inner_reads(t)).collect();
        let first = reads.iter().map(|(r, _)| r.start).max().unwrap_or(0);
        let end = reads.iter().map(|(r, _)| r.end).min().unwrap_or(0);
        let interior = first.min(end)..end;
        Taps {
            taps: g.taps(),
            inner_taps: g.inner_taps(),
            row: g.row(),
            stride: g.row_stride(),
            starts,
            reads,
            interior,
        }
    }
}

/// All planes of `out`, which holds zeros; `plane(i)` gives the input cells and the weights, one a
/// tap, of plane `i`.
pub(super) fn planes<'a, T: Num>(
    taps: &Taps,
    out: &mut [T],
    cells: usize,
    plane: impl Fn(usize) -> (&'a [T], &'a [T]) + Sync,
) {
    let one = |(i, out): (usize, &mut [T])| {
        let (x, w) = plane(i);
        widest(Plane { taps, x, w, out });
    };
    if out.len() * taps.taps >= PARALLEL_MACS / 4 {
        out.par_chunks_exact_mut(cells).enumerate().for_each(one);
    } else {
        out.chunks_exact_mut(cells).enumerate().for_each(one);
    }
}

struct Plane<'a, T> {
    taps: &'a Taps,
    x: &'a [T],
    w: &'a [T],
    out: &'a mut [T],
}

impl<T: Num> Loop for Plane<'_, T> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let Plane { taps, x, w, out } = self;
        let outer = taps.taps / taps.inner_taps;
        // First cell and weight of each tap inside, for the row's interior.
        let mut active: Vec<(usize, T)> = Vec::with_capacity(taps.taps);
        for (r, out) in out.chunks_exact_mut(taps.row).enumerate() {
            let starts = &taps.starts[r * outer..][..outer];
            active.clear();
            for (o, start) in starts.iter().enumerate() {
                let Some(start) = start else { continue };
                for (i, (range, at)) in taps.reads.iter().enumerate() {
                    let (range_start, w) = (range.start, w[o * taps.inner_taps + i]);
                    if taps.interior.is_empty() {
                        continue;
                    }
                    active.push((start + at + (taps.interior.start - range_start) * taps.stride, w));
                }
            }
            let interior = &mut out[taps.interior.clone()];
            match taps.stride {
                1 => row::<T, 1>(&active, x, interior),
                2 => row::<T, 2>(&active, x, interior),
                s => strided(&active, x, s, interior),
            }
            // The columns beside the interior, where some taps are outside.
            for column in (0..taps.interior.start).chain(taps.interior.end..taps.row) {
                let mut sum = T::ZERO;
                for (o, start) in starts.iter().enumerate() {
                    let Some(start) = start else { continue };
                    for (i, (range, at)) in taps.reads.iter().enumerate() {
                        if range.contains(&column) {
                            let cell = x[start + at + (column - range.start) * taps.stride];
                            sum = sum.add(w[o * taps.inner_taps + i].mul(cell));
                        }
                    }
                }
                out[column] = sum;
            }
        }
    }
}

#[inline(always)]
fn row<T: Num, const STRIDE: usize>(active: &[(usize, T)], x: &[T], out: &mut [T]) {
    let mut chunks = out.chunks_exact_mut(LANES);
    let mut shift = 0;
    for out in &mut chunks {
        let mut sums = [T::ZERO; LANES];
        for &(at, w) in active {
            let cells = &x[at + shift..][..(LANES - 1) * STRIDE + 1];
            for (i, s) in sums.iter_mut().enumerate() {
                *s = s.add(w.mul(cells[i * STRIDE]));
            }
        }
        out.copy_from_slice(&sums);
        shift += LANES * STRIDE;
    }
    for (i, out) in chunks.into_remainder().iter_mut().enumerate() {
        *out = active.iter().fold(T::ZERO, |s, &(at, w)| s.add(w.mul(x[at + shift + i * STRIDE])));
    }
}

#[inline(always)]
fn strided<T: Num>(active: &[(usize, T)], x: &[T], stride: usize, out: &mut [T]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = active.iter().fold(T::ZERO, |s, &(at, w)| s.add(w.mul(x[at + i * stride])));
    }
}
