//! Which cells of an input a sliding window touches.

use crate::ir::Window;
use std::ops::Range;

/// Spatial geometry of a windowed operation; a window without spatial axes has one of extent 1.
pub(super) struct Geometry {
    pub(super) input: Vec<usize>,
    pub(super) output: Vec<usize>,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
}

impl Geometry {
    /// From the spatial extents of input and output.
    pub(super) fn new(window: &Window, input: &[usize], output: &[usize]) -> Geometry {
        if input.is_empty() {
            let one = || vec![1];
            return Geometry {
                input: one(),
                output: one(),
                kernel: one(),
                stride: one(),
                dilation: one(),
                before: vec![0],
            };
        }
        Geometry {
            input: input.to_vec(),
            output: output.to_vec(),
            kernel: window.kernel.clone(),
            stride: window.stride.clone(),
            dilation: window.dilation.clone(),
            before: window.before.clone(),
        }
    }

    /// Cells of one input plane.
    pub(super) fn input_cells(&self) -> usize {
        self.input.iter().product()
    }

    /// Cells of one output plane.
    pub(super) fn output_cells(&self) -> usize {
        self.output.iter().product()
    }

    /// Cells of the window.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// True when the window is one cell and takes every input cell in order.
    pub(super) fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.stride.iter().all(|&s| s == 1)
            && self.input == self.output
            && self.before.iter().all(|&b| b == 0)
    }

    /// Extent of the innermost output axis.
    pub(super) fn row(&self) -> usize {
        self.output[self.output.len() - 1]
    }

    /// Step through the input along the innermost axis.
    pub(super) fn row_stride(&self) -> usize {
        self.stride[self.stride.len() - 1]
    }

    /// Taps along the innermost axis.
    pub(super) fn inner_taps(&self) -> usize {
        self.kernel[self.kernel.len() - 1]
    }

    /// Extent of the innermost input axis.
    pub(super) fn input_row(&self) -> usize {
        self.input[self.input.len() - 1]
    }

    /// The first cell of the input row that output row `row` (an index over all output axes but the
    /// last) meets with tap `outer` of all axes but the last; `None` outside the input.
    pub(super) fn row_start(&self, row: usize, outer: usize) -> Option<usize> {
        let last = self.output.len() - 1;
        let (mut row, mut tap) = (row, outer);
        let (mut base, mut plane) = (0, self.input[last]);
        for i in (0..last).rev() {
            let (o, t) = (row % self.output[i], tap % self.kernel[i]);
            (row, tap) = (row / self.output[i], tap / self.kernel[i]);
            let at = (o * self.stride[i] + t * self.dilation[i]).checked_sub(self.before[i])?;
            if at >= self.input[i] {
                return None;
            }
            base += at * plane;
            plane *= self.input[i];
        }
        Some(base)
    }

    /// The outputs of a row whose cell for tap `tap` of the innermost axis lies inside the input row,
    /// and the cell of the first of them. The range is empty when none does.
    pub(super) fn inner_reads(&self, tap: usize) -> (Range<usize>, usize) {
        let last = self.output.len() - 1;
        // x * stride + shift - before inside 0..input
        let (shift, stride) = (tap * self.dilation[last], self.stride[last]);
        let first = self.before[last].saturating_sub(shift).div_ceil(stride);
        let end = (self.input[last] + self.before[last]).saturating_sub(shift).div_ceil(stride).min(self.output[last]);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, first * stride + shift - self.before[last])
    }

    /// Where tap `tap` reads for output row `row`: the outputs of that row whose cell lies inside the
    /// input, and the input cell of the first of them.
    pub(super) fn reads(&self, row: usize, tap: usize) -> (Range<usize>, usize) {
        match self.row_start(row, tap / self.inner_taps()) {
            None => (0..0, 0),
            Some(start) => {
                let (range, at) = self.inner_reads(tap % self.inner_taps());
                (range, start + at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_inside_the_input() {
        let w = Window { kernel: vec![3], stride: vec![2], dilation: vec![1], before: vec![1], after: vec![1] };
        let g = Geometry::new(&w, &[5], &[3]);
        // Tap 0 of outputs 0, 1, 2 is at -1, 1, 3; tap 2 at 1, 3, 5.
        assert_eq!(g.reads(0, 0), (1..3, 1));
        assert_eq!(g.reads(0, 1), (0..3, 0));
        assert_eq!(g.reads(0, 2), (0..2, 1));
    }
}
