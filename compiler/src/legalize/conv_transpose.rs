//! A transposed convolution is a convolution over the input with zeros between its cells, by the kernel
//! turned around.

use super::build::Builder;
use crate::ir::{Op, TypeError, ValueId, Window};

impl Builder<'_> {
    pub(super) fn conv_transpose(
        &mut self,
        w: &Window,
        groups: usize,
        extra: &[usize],
        x: &[ValueId],
    ) -> Result<Option<ValueId>, TypeError> {
        let (shape, kernels) = (self.shape(x[0]), self.shape(x[1]));
        let spatial = shape.len() - 2;
        // Cells apart: an axis of its own for the zeros, then one axis again.
        let mut y = x[0];
        for i in 0..spatial {
            let (a, s) = (i + 2, w.stride[i]);
            if s == 1 || shape[a] == 1 {
                continue;
            }
            let now = self.shape(y);
            let mut apart = now.clone();
            apart.insert(a + 1, 1);
            y = self.reshape(y, &apart)?;
            let mut after = vec![0; apart.len()];
            after[a + 1] = s as isize - 1;
            y = self.zeros_around(y, vec![0; apart.len()], after)?;
            let mut joined = now;
            joined[a] *= s;
            y = self.reshape(y, &joined)?;
            y = self.part(y, a, 0, (shape[a] - 1) * s + 1)?;
        }
        // [C, M/g, k] -> [M, C/g, k], turned around.
        let (per_in, per_out) = (kernels[0] / groups, kernels[1]);
        let mut split = vec![groups, per_in, per_out];
        split.extend(&kernels[2..]);
        let k = self.reshape(x[1], &split)?;
        let mut perm: Vec<usize> = (0..split.len()).collect();
        perm.swap(1, 2);
        let k = self.transpose(k, &perm)?;
        let mut own = vec![groups * per_out, per_in];
        own.extend(&kernels[2..]);
        let k = self.reshape(k, &own)?;
        let k = self.reversed(k, 2..own.len())?;
        // What is cut from the full result is padding that is not there.
        let (mut crop_before, mut crop_after) = (vec![0isize; spatial + 2], vec![0isize; spatial + 2]);
        let mut window = Window { stride: vec![1; spatial], ..w.clone() };
        for i in 0..spatial {
            let reach = (w.dilation[i] * (w.kernel[i] - 1)) as isize;
            let before = reach - w.before[i] as isize;
            let after = reach - w.after[i] as isize + extra[i] as isize;
            (window.before[i], window.after[i]) = (before.max(0) as usize, after.max(0) as usize);
            (crop_before[i + 2], crop_after[i + 2]) = (before.min(0), after.min(0));
        }
        y = self.zeros_around(y, crop_before, crop_after)?;
        self.op(Op::Conv { window, groups, epilogue: Vec::new() }, &[y, k]).map(Some)
    }
}
