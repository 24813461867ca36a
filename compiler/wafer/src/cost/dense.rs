//! Matrix products: a row at a time.

use super::{Cost, Kernel, epilogue};
use quadrille_compiler::ir::{Op, TensorType};
use quadrille_compiler::rewrite::{Cycles, Operand};

impl Cost {
    pub(super) fn product(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType, most: u64) -> Cycles {
        let u = |x: usize| x as u64;
        let (s, b) = (&result.shape, &inputs[1].ty.shape);
        let (n, k) = (u(s[s.len() - 1]), u(b[b.len() - 2]));
        let rows = u(result.elements()) / n.max(1);
        let shared = b[..b.len() - 2].iter().all(|&d| d == 1);
        let micros = epilogue(op);
        if !inputs[1].fixed || !shared {
            // A constant on the left holds the rows; both computed stay on a PE, row by row, a round for each of the batch.
            let batch: u64 = s[..s.len() - 2].iter().map(|&d| u(d)).product();
            let most = if shared { most } else { most.min(batch) };
            return self.general(inputs, result, k + micros.slow + micros.fast, most);
        }
        let Some(per) = self.cut(n, most) else { return Cycles::default() };
        let passes_on = if n > per { self.vector(n - per, 1) } else { 0 };
        let row = self.switch
            + self.vector(k, 2)
            + self.vector(per, self.f32_mov)
            + self.vector(k * per, self.mixed_fma)
            + self.steps(micros, per)
            + self.vector(per, 1)
            + passes_on;
        self.kernel(Kernel {
            pes: n.div_ceil(per),
            cycles: rows * row,
            wavelets: rows * n.max(k / 2),
            bytes: rows * (2 * k * per + 8 * k * per),
        })
    }
}
