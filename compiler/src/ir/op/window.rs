//! Sliding windows and pooling.

/// A window over the spatial axes (those after batch and channel). All vectors have one entry
/// a spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Cells added before and after; `after` includes what `ceil_mode` needs.
    pub before: Vec<usize>,
    pub after: Vec<usize>,
}

/// Pooling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Pool {
    Max,
    /// Divides by the window's cells inside the unpadded input.
    AverageExcludePad,
    /// Divides by all cells of the window, padding included. ONNX's `count_include_pad` together
    /// with `ceil_mode` (whose extra cells do not count) is a `Pad` by zeros and `AverageExcludePad`.
    AverageIncludePad,
}

impl Window {
    /// Extent of the result along spatial axis `i` for an input extent, `None` when the window
    /// does not fit. `i` is an axis of a consistent window.
    pub fn out_extent(&self, i: usize, input: usize) -> Option<usize> {
        let span = self.dilation[i].checked_mul(self.kernel[i].checked_sub(1)?)?.checked_add(1)?;
        let padded = input.checked_add(self.before[i])?.checked_add(self.after[i])?;
        Some(padded.checked_sub(span)? / self.stride[i].max(1) + 1)
    }

    /// True when every vector has one entry a spatial axis, kernel, stride and dilation are positive
    /// and the window has fewer than 2^32 cells.
    pub fn is_consistent(&self, spatial: usize) -> bool {
        let cells = self.kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k));
        [&self.kernel, &self.stride, &self.dilation, &self.before, &self.after].iter().all(|v| v.len() == spatial)
            && self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&x| x > 0)
            && cells.is_some_and(|n| n < 1 << 32)
    }

    /// A window of one cell that takes every input cell in order, over `spatial` axes.
    pub fn pointwise(spatial: usize) -> Window {
        let (one, zero) = (vec![1; spatial], vec![0; spatial]);
        Window { kernel: one.clone(), stride: one.clone(), dilation: one, before: zero.clone(), after: zero }
    }
}
