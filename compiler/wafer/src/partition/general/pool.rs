//! Pooling over any number of spatial axes.

use super::asm::{A, Asm, T};
use super::product::Spatial;
use quadrille_compiler::ir::{DType, Pool, Window};
use quadrille_isa::numerics::recip_f32;
use quadrille_isa::wafer::PeOp;
use std::sync::Arc;

impl Asm {
    pub(super) fn pool(&mut self, x: &T, kind: Pool, w: &Window, out: &[usize]) -> T {
        let s = Spatial { rank: w.kernel.len(), out: out[2..].to_vec() };
        let max = kind == Pool::Max;
        let (op, fill) = if max { (PeOp::Max, f32::NEG_INFINITY) } else { (PeOp::Add, 0.0) };
        let p = self.padded(x, w, &s.out, fill);
        let p = self.dense(&p, &p.dims.clone());
        let cells = Self::windows(&p, w, &s);
        let acc = self.fresh(x.dtype, out);
        self.to(&acc, PeOp::Mov, &[A::F(fill)]);
        let mut into = acc.clone();
        for _ in 0..s.rank {
            into = into.with_axis(2);
        }
        let dims = cells.dims.clone();
        self.over(&dims, op, &into, &[A::T(&into), A::T(&cells)]);
        if max {
            return acc;
        }
        // Reciprocal of the number of cells of each window.
        let inside = kind == Pool::AverageExcludePad;
        let count = |i: usize, o: usize| {
            let cells = (0..w.kernel[i]).map(|k| o * w.stride[i] + k * w.dilation[i]);
            cells.filter(|c| !inside || (w.before[i]..w.before[i] + x.dims[i + 2]).contains(c)).count()
        };
        let total: usize = s.out.iter().product();
        let scale = (0..total).map(|mut o| {
            let mut n = 1;
            for i in (0..s.rank).rev() {
                n *= count(i, o % s.out[i]);
                o /= s.out[i];
            }
            recip_f32(n as f32).to_bits()
        });
        let scale = self.constant(DType::F32, &s.out, Arc::new(scale.collect()));
        self.to(&acc, PeOp::Mul, &[A::T(&acc), A::T(&scale)]);
        self.fit(&acc, x.dtype)
    }
}
