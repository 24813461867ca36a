//! Moving elements about: broadcasts, slices, concatenation, padding, and selection by
//! constant indices.

use super::asm::{Asm, T};
use quadrille_compiler::ir::PadMode;

impl Asm {
    pub(super) fn slice(&mut self, x: &T, start: &[usize], step: &[isize], shape: &[usize]) -> T {
        let mut t = x.clone();
        for a in 0..x.rank() {
            t = t.slice(a, start[a], step[a], shape[a]);
        }
        let dims = t.dims.clone();
        self.dense(&t, &dims)
    }

    pub(super) fn concat(&mut self, parts: &[T], axis: usize, dims: &[usize]) -> T {
        let out = self.fresh(parts[0].dtype, dims);
        let mut at = 0;
        for p in parts {
            let n = p.dims[axis];
            self.copy(&out.slice(axis, at, 1, n), p);
            at += n;
        }
        out
    }

    /// The elements of an axis at the given places; what runs in even steps is one operation.
    pub(super) fn take(&mut self, x: &T, axis: usize, places: &[usize]) -> T {
        let mut dims = x.dims.clone();
        dims[axis] = places.len();
        let out = self.fresh_as(x.elem(), x.dtype, &dims);
        let mut i = 0;
        while i < places.len() {
            let step = |k: usize| places[k + 1] as isize - places[k] as isize;
            let mut n = 1;
            while i + n < places.len() && (n == 1 || step(i + n - 1) == step(i)) {
                n += 1;
            }
            let by = if n > 1 { step(i) } else { 1 };
            self.copy(&out.slice(axis, i, 1, n), &x.slice(axis, places[i], by, n));
            i += n;
        }
        out
    }

    /// Padding; negative entries crop.
    pub(super) fn pad(&mut self, x: &T, mode: PadMode, before: &[isize], after: &[isize], fill: Option<&T>) -> T {
        let mut t = x.clone();
        for a in 0..x.rank() {
            let (b, e) = (before[a], after[a]);
            let cut = (-b).max(0) as usize;
            let cut_end = (-e).max(0) as usize;
            if cut + cut_end > 0 {
                let n = t.dims[a].saturating_sub(cut + cut_end);
                t = t.slice(a, cut, 1, n);
            }
            let (b, e) = (b.max(0) as usize, e.max(0) as usize);
            if b + e == 0 {
                continue;
            }
            let n = t.dims[a] as isize;
            if mode == PadMode::Constant {
                let mut dims = t.dims.clone();
                dims[a] += b + e;
                let out = self.fresh(t.dtype, &dims);
                if let Some(f) = fill {
                    for (at, len) in [(0, b), (b + t.dims[a], e)] {
                        self.copy(&out.slice(a, at, 1, len), f);
                    }
                }
                self.copy(&out.slice(a, b, 1, t.dims[a]), &t);
                t = out;
                continue;
            }
            let place = |i: isize| -> usize {
                let p = match mode {
                    PadMode::Edge => i.clamp(0, n - 1),
                    PadMode::Wrap => i.rem_euclid(n),
                    _ => {
                        let period = (2 * (n - 1)).max(1);
                        let r = i.rem_euclid(period);
                        if r < n { r } else { period - r }
                    }
                };
                p as usize
            };
            let places: Vec<usize> = (-(b as isize)..n + e as isize).map(place).collect();
            t = self.take(&t, a, &places);
        }
        let dims = t.dims.clone();
        self.dense(&t, &dims)
    }
}
