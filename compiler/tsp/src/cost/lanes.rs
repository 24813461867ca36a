//! What works across lanes or changes where elements lie: reductions, softmax, movement.

use super::{Cost, MXM, SRAM, VXM};
use quadrille_compiler::ir::{Op, Reduce, TensorType};
use quadrille_compiler::rewrite::{Cycles, Operand, RESOURCES, as_chain};

impl Cost {
    /// Rows through planes of zeros and ones, four byte planes each.
    pub(super) fn moves(&self, rows: u64, stages: u64) -> Cycles {
        let mut busy = [0; RESOURCES];
        busy[MXM] = 2 * rows * stages;
        busy[SRAM] = (2 * rows * stages).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: stages * self.through_maps }
    }

    /// A butterfly of moves over lanes.
    fn across(&self, extent: u64, rows: u64) -> Cycles {
        self.moves(rows, u64::from(extent.clamp(1, self.lanes).next_power_of_two().trailing_zeros()))
    }

    /// A sum over lanes by planes of ones: each f32 as two f16.
    fn lane_sum(&self, rows: u64) -> Cycles {
        let mut busy = [0; RESOURCES];
        busy[MXM] = self.row_interval * rows;
        busy[VXM] = 2 * rows;
        busy[SRAM] = (3 * rows).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: self.through_alus + self.through_planes }
    }

    /// A fold over rows, halves at a time.
    fn fold(&self, extent: u64, rows: u64) -> Cycles {
        let stages = u64::from(extent.max(1).next_power_of_two().trailing_zeros());
        let mut busy = [0; RESOURCES];
        busy[VXM] = rows;
        busy[SRAM] = (2 * rows).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: stages.max(1) * self.through_alus }
    }

    pub(super) fn reduction(
        &self,
        kind: Reduce,
        axes: &[usize],
        inputs: &[Operand<'_>],
        result: &TensorType,
    ) -> Cycles {
        let Some(x) = inputs.first().map(|i| i.ty) else { return Cycles::default() };
        let lane = self.lane_axis(x);
        let mut c = Cycles::default();
        let on_rows: u64 = axes.iter().filter(|&&a| a != lane).map(|&a| x.shape[a] as u64).product();
        if on_rows > 1 {
            c = one_after_the_other(c, self.fold(on_rows, self.rows(x)));
        }
        if axes.contains(&lane) && x.shape[lane] > 1 {
            let rows = self.rows(x) / on_rows.max(1);
            let one = match kind {
                Reduce::Sum | Reduce::Mean => self.lane_sum(rows),
                _ => self.across(x.shape[lane] as u64, rows),
            };
            c = one_after_the_other(c, one);
        }
        if c == Cycles::default() { self.map(1, self.rows(result), 1) } else { c }
    }

    /// The largest and the sum, each by a butterfly, and the elementwise rest.
    pub(super) fn softmax(&self, axis: usize, result: &TensorType) -> Cycles {
        let rows = self.rows(result);
        let extent = result.shape[axis] as u64;
        let last = result.rank() - 1;
        // Attention leaves the last axis on lanes whatever the rank.
        let (most, total) = if axis == last || axis == self.lane_axis(result) {
            let rows = result.elements() as u64 / extent.max(1) * extent.div_ceil(self.lanes);
            // The maximum is that of bytes, which a quarter of the planes' time moves.
            let mut most = self.across(extent, rows);
            most.busy[MXM] /= 4;
            (most, self.lane_sum(rows))
        } else {
            (self.fold(extent, rows), self.fold(extent, rows))
        };
        one_after_the_other(one_after_the_other(most, total), self.map(6, rows, 1))
    }

    /// A norm: a pass for each sum, the first over what the kernel in front writes for it.
    pub(super) fn norm(&self, axes: &[usize], centered: bool, result: &TensorType) -> Cycles {
        let last = result.rank().saturating_sub(1);
        if *axes != [last] || result.shape[last] < 4 || self.lane_axis(result) != last {
            return as_chain(self, axes, centered, result);
        }
        let extent = result.shape[last] as u64;
        let (values, blocks) = (result.elements() as u64 / extent.max(1), extent.div_ceil(self.lanes));
        let rows = values * blocks;
        let sums = 1 + u64::from(centered);
        let mut busy = [0; RESOURCES];
        busy[MXM] = sums * self.row_interval * values;
        // The halves of what is summed, the differences, and the product with the inverse root.
        busy[VXM] = (6 * values + 2 * rows).div_ceil(self.alus) + sums * values;
        busy[SRAM] = (3 * sums * rows).div_ceil(2 * self.words_at_once);
        let mut fill = sums * self.through_planes + 12;
        if blocks > 1 {
            // Rows are folded before, and the roots are written and read again.
            busy[VXM] += values + rows;
            fill += 2 * self.through_alus;
        }
        Cycles { busy, fill }
    }

    /// Movement: a change of view where one can say it, else rows through maps.
    pub(super) fn movement(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let rows = self.rows(result);
        let Some(x) = inputs.first().map(|i| i.ty) else { return Cycles::default() };
        let lane = self.lane_axis(x);
        match op {
            // A part of the lanes meets others only when it has been moved, pixel by pixel where several share a word.
            Op::Slice { start, shape, .. } if shape.get(lane) != x.shape.get(lane) => {
                let aligned = start.get(lane).is_some_and(|&s| (s as u64).is_multiple_of(self.lanes));
                let pixels = result.elements() as u64 / (shape[lane] as u64).max(1);
                let packed = x.rank() >= 4 && self.pixels_a_word(x.shape[lane] as u64) > 1;
                if aligned && !packed { Cycles::default() } else { self.moves(pixels.max(rows), 1) }
            }
            // Axes change places, rows are left out or repeated: views.
            Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. } => Cycles::default(),
            Op::Reshape { shape } => {
                let kept = |a: &[usize], b: &[usize]| a.iter().filter(|&&d| d != 1).eq(b.iter().filter(|&&d| d != 1));
                // A lane axis that is split stays where it is; one that is joined with rows moves.
                let splits = shape.len() >= x.rank() || kept(&x.shape, shape);
                let images = x.rank() >= 3 && shape.len() >= 2 && x.shape[..2] == shape[..2];
                // Every pixel that joins others on lanes passes a map of its own.
                let pixels = x.elements() as u64 / (x.shape.get(lane).copied().unwrap_or(1) as u64).max(1);
                if splits || images || rows <= 1 { Cycles::default() } else { self.moves(rows.max(pixels), 1) }
            }
            // Along rows the parts are written where they belong; along lanes they pass a map each.
            Op::Concat { axis } if *axis != lane => self.map(1, rows, 1),
            Op::Concat { .. } => {
                let parts: u64 = inputs.iter().map(|i| self.rows(i.ty)).sum();
                let mut c = self.moves(parts, 1);
                c.busy[MXM] /= 2;
                c
            }
            Op::Gather { .. } => self.map(1, rows, 1),
            Op::Pad { .. } => self.map(1, rows, 1),
            _ => self.moves(rows, 2),
        }
    }
}

/// One after the other.
pub(crate) fn one_after_the_other(a: Cycles, b: Cycles) -> Cycles {
    let mut busy = a.busy;
    busy.iter_mut().zip(b.busy).for_each(|(x, y)| *x += y);
    Cycles { busy, fill: a.fill + b.fill }
}
