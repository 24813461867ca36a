//! Windows over images: a row of results at a time.

use super::{Cost, Kernel, epilogue, fastest};
use quadrille_compiler::ir::{Op, TensorType, Window};
use quadrille_compiler::rewrite::{Cycles, Operand};

/// A window with extents, one spatial axis counted as an image of one row.
struct Shape {
    images: u64,
    channels: u64,
    width: u64,
    outputs: u64,
    out_rows: u64,
    out_width: u64,
    rows: u64,
    columns: u64,
    row_stride: u64,
}

impl Shape {
    fn of(window: &Window, x: &[usize], out: &[usize]) -> Shape {
        let u = |x: usize| x as u64;
        let last = window.kernel.len() - 1;
        let outer = |v: &[usize]| v[..last].iter().map(|&d| u(d)).product::<u64>();
        Shape {
            images: u(x[0]),
            channels: u(x[1]),
            width: u(x[2 + last]),
            outputs: u(out[1]),
            out_rows: outer(&out[2..]),
            out_width: u(out[2 + last]),
            rows: outer(&window.kernel),
            columns: u(window.kernel[last]),
            row_stride: if last == 0 { 1 } else { u(window.stride[last - 1]) },
        }
    }
}

impl Cost {
    pub(super) fn convolution(
        &self,
        op: &Op,
        window: &Window,
        groups: u64,
        inputs: &[Operand<'_>],
        result: &TensorType,
        most: u64,
    ) -> Cycles {
        let s = Shape::of(window, &inputs[0].ty.shape, &result.shape);
        if !inputs[1].fixed {
            return self.general(inputs, result, s.rows * s.columns * s.channels / groups, most);
        }
        let (per_group, taps) = (s.channels / groups, s.rows * s.columns);
        let depthwise = per_group == 1 && s.outputs == groups;
        let micros = epilogue(op);
        let kernel = |per: u64, parts: u64| {
            let width = s.out_width.div_ceil(parts);
            let (own, all) = (per * width, s.outputs * s.out_width);
            // Rows arrive whole, two f16 a wavelet; a PE keeps the channels that it needs.
            let arrives = s.row_stride * s.channels * s.width.next_multiple_of(2) / 2;
            let taken = self.launch * if per_group < s.channels { 3 } else { 1 };
            let sums = if depthwise {
                taps * self.vector(own, self.mixed_fma)
            } else if per_group == 1 {
                per * s.rows * self.vector(s.columns * width, self.mixed_fma)
            } else {
                per * taps * self.vector(per_group * width, self.mixed_fma)
            };
            let kept = s.rows.saturating_sub(s.row_stride);
            let held = per_group * per.div_ceil(s.outputs / groups);
            let moved = if kept > 0 { self.vector(kept * held * (width + s.columns), self.f16_mov) } else { 0 };
            let rest = self.vector(own, self.f32_mov) + self.steps(micros, own) + self.vector(own, 1);
            let passes_on = if all > own { self.vector(all - own, 1) } else { 0 };
            let row = self.switch + arrives + taken + sums + moved + rest + passes_on;
            let times = s.images * s.out_rows;
            Kernel {
                pes: s.outputs.div_ceil(per) * parts,
                cycles: times * row,
                wavelets: (times * all).max(times * arrives),
                bytes: times * (8 * taps * per_group * own + 4 * arrives),
            }
        };
        // Narrow parts drown in launches.
        let most_parts = (s.out_width / 8).clamp(if s.out_width < 4 { 1 } else { 2 }, 8);
        let whole = self.cut(s.outputs, most).map(|per| kernel(per, 1));
        let parts = (2..=most_parts).filter(|p| s.outputs * p <= most).map(|p| kernel(1, p));
        fastest(whole.into_iter().chain(parts)).map_or_else(Cycles::default, |k| self.kernel(k))
    }

    /// Units a PE, with as many PEs as there may be.
    pub(super) fn cut(&self, units: u64, most: u64) -> Option<u64> {
        (units > 0).then(|| units.div_ceil(units.min(most).max(1)))
    }

    pub(super) fn pool(&self, window: &Window, inputs: &[Operand<'_>], result: &TensorType, most: u64) -> Cycles {
        let s = Shape::of(window, &inputs[0].ty.shape, &result.shape);
        let taps = s.rows * s.columns;
        let Some(per) = self.cut(s.channels, most) else { return Cycles::default() };
        let (own, all) = (per * s.out_width, s.channels * s.out_width);
        let arrives = s.row_stride * s.channels * s.width;
        let kept = s.rows.saturating_sub(s.row_stride);
        let moved = if kept > 0 { self.vector(kept * per * s.width, self.f32_mov) } else { 0 };
        let passes_on = if all > own { self.vector(all - own, 1) } else { 0 };
        let row = self.switch
            + 3 * self.launch
            + arrives
            + taps * self.vector(own, 1)
            + moved
            + self.vector(own, 1)
            + passes_on;
        let times = s.images * s.out_rows;
        self.kernel(Kernel {
            pes: s.channels.div_ceil(per),
            cycles: times * row,
            wavelets: times * arrives.max(all),
            bytes: times * 12 * taps * own,
        })
    }
}
