//! Matrix products: passes over planes.

use super::{Cost, LOADS, MXM, SRAM, VXM, mapping};
use quadrille_compiler::ir::TensorType;
use quadrille_compiler::rewrite::{Cycles, Mapping, Operand, RESOURCES};

/// A product as passes: `blocks` kernels of `passes` passes over `rows` rows each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    pub(super) blocks: u64,
    pub(super) passes: u64,
    pub(super) rows: u64,
    /// Plane rows of a pass.
    pub(super) depth: u64,
    /// ALU steps behind the sums, and operands of theirs that are not constants.
    pub(super) steps: u64,
    pub(super) operands: u64,
    /// Products of bytes.
    pub(super) bytes: bool,
}

impl Cost {
    /// Passes of one kernel are shared by the hemispheres; a kernel of one pass goes to one of them, in turn.
    pub(super) fn passes(&self, p: Passes) -> Cycles {
        let load = p.depth.div_ceil(self.superlane) * self.group_load / if p.bytes { 2 } else { 1 };
        // Two rows of bytes a cycle on the planes of a pair; f16 takes both for one row in two.
        let flow = if p.bytes { p.rows.div_ceil(2) } else { p.rows * self.row_interval };
        let in_turn = match (p.bytes, p.passes) {
            (true, n) => (p.blocks * n).div_ceil(self.pairs),
            (false, 0 | 1) => p.blocks.div_ceil(self.pairs),
            (false, n) => p.blocks * n.div_ceil(self.pairs),
        };
        let mut busy = [0; RESOURCES];
        busy[MXM] = in_turn * flow.max(load);
        busy[LOADS] = in_turn * load;
        let out = p.blocks * p.rows;
        let sequences = (p.steps + 1).div_ceil(self.alus);
        busy[VXM] = (out * (p.steps + 1)).div_ceil(self.alus) + (sequences - 1) * out;
        busy[SRAM] = (p.blocks * p.passes * p.rows + out * (1 + p.operands)).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: self.through_planes + load + 3 * p.steps + (sequences - 1) * self.through_alus }
    }

    /// Ways to multiply: which operand is stationary.
    pub(super) fn products(&self, inputs: &[Operand<'_>], result: &TensorType, steps: u64) -> Vec<Mapping> {
        let (a, b) = (inputs[0], inputs[1]);
        let s = &result.shape;
        let u = |x: usize| x as u64;
        let bytes = a.ty.dtype.size() == 1;
        let operands = inputs[2..].iter().filter(|i| !i.fixed).count() as u64;
        let (m, n) = (u(s[s.len() - 2]), u(s[s.len() - 1]));
        let k = u(b.ty.shape[b.ty.rank() - 2]);
        let batch: u64 = s[..s.len() - 2].iter().map(|&d| u(d)).product();
        let passes = |blocks: u64, rows: u64, depth: u64| Passes {
            blocks,
            passes: depth.div_ceil(self.lanes),
            rows,
            depth: depth.min(self.lanes),
            steps,
            operands,
            bytes,
        };
        let shared = |t: &TensorType| t.shape[..t.rank() - 2].iter().all(|&d| d == 1);
        if b.fixed {
            // All rows of a batch meet the same weights.
            let (runs, rows) = if shared(b.ty) { (1, m * batch) } else { (batch, m) };
            return vec![mapping(
                "the right operand stationary",
                self.passes(passes(runs * n.div_ceil(self.lanes), rows, k)),
            )];
        }
        if a.fixed {
            let (runs, rows) = if shared(a.ty) { (1, n * batch) } else { (batch, n) };
            return vec![mapping(
                "the left operand stationary",
                self.passes(passes(runs * m.div_ceil(self.lanes), rows, k)),
            )];
        }
        // A computed operand is copied to where weights are loaded from, batch by batch; its copy and its load
        // are not hidden.
        let mut c = self.passes(passes(batch * n.div_ceil(self.lanes), m, k));
        let copied = batch * (k + k.min(self.lanes).div_ceil(self.superlane) * self.group_load);
        let flow = batch * n.div_ceil(self.lanes) * k.div_ceil(self.lanes) * m * self.row_interval;
        c.busy[MXM] = c.busy[MXM].max(flow + copied);
        c.busy[LOADS] = copied;
        c.fill += self.through_alus;
        vec![mapping("a computed operand stationary", c)]
    }

    /// A transposed convolution is a product over the input's pixels and additions of shifted results.
    pub(super) fn transposed_window(&self, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let (x, w) = (&inputs[0].ty.shape, &inputs[1].ty.shape);
        let pixels = (x[0] * x[2..].iter().product::<usize>()) as u64;
        let taps: u64 = w[2..].iter().map(|&d| d as u64).product();
        let out = self.rows(result);
        let mut c = self.passes(Passes {
            blocks: taps * (w[1] as u64).div_ceil(self.lanes),
            passes: (x[1] as u64).div_ceil(self.lanes),
            rows: pixels,
            depth: (x[1] as u64).min(self.lanes),
            steps: 1,
            operands: 0,
            bytes: false,
        });
        c.busy[VXM] += out;
        c
    }
}
