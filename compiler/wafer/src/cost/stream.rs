//! What works on streams element by element, and all that the general kernel does.

use super::{Cost, Kernel, Micros, binary, unary};
use crate::partition::shared_rows;
use quadrille_compiler::ir::{Op, TensorType};
use quadrille_compiler::rewrite::{Cycles, Operand};

/// Elements of a round of a general kernel: what a PE holds of its operands.
const ROUND: u64 = 3000;

/// PEs that take the rounds of a general kernel in turn, at most.
const ROUND_PES: u64 = 8;

/// How much dearer a form is that no PE may be able to hold.
const UNFIT: u64 = 16;

impl Cost {
    /// Computed elements that arrive: streams come side by side.
    fn arrives(inputs: &[Operand<'_>]) -> u64 {
        inputs.iter().filter(|i| !i.fixed).map(|i| i.ty.elements() as u64).max().unwrap_or(0)
    }

    /// Blocks of the stream of a value: its two innermost axes.
    fn blocks(t: &TensorType) -> (u64, u64) {
        let rank = t.rank();
        let rows = if rank >= 2 { t.shape[rank - 2] as u64 } else { 1 };
        let blocks = t.shape[..rank.saturating_sub(2)].iter().map(|&d| d as u64).product();
        (blocks, rows)
    }

    /// Steps on a stream, the rows of a block shared by PEs.
    fn map(&self, micros: Micros, result: &TensorType, most: u64) -> Cycles {
        let n = result.elements() as u64;
        let (blocks, rows) = Cost::blocks(result);
        let block = n / blocks.max(1);
        let Some(per) = self.cut(rows, most) else { return Cycles::default() };
        let own = block * per / rows;
        let others = if block > own { 2 * self.launch + 2 * (block - own) } else { 0 };
        let once = self.switch + self.vector(own, 1) + self.steps(micros, own) + self.vector(own, 1) + others;
        self.kernel(Kernel {
            pes: rows.div_ceil(per),
            cycles: blocks * once,
            wavelets: n,
            bytes: blocks * 8 * own * (2 + micros.slow + micros.fast),
        })
    }

    /// Along the innermost axis PEs share the rows of a block; else one has all of it.
    fn softmax(&self, result: &TensorType, axis: usize, most: u64) -> Cycles {
        let n = result.elements() as u64;
        let (blocks, rows) = Cost::blocks(result);
        let along = result.shape.get(axis).map_or(1, |&d| d as u64).max(1);
        let (own, pes) = match axis + 1 == result.rank() {
            true => (along, shared_rows(along as usize) as u64),
            false => (n / blocks.max(1), 1),
        };
        let pes = pes.min(rows).min(most).max(1);
        let others = if pes > 1 { 2 * self.launch + 2 * (pes - 1) * own } else { 0 };
        let once = self.switch + 8 * self.vector(own, 1) + others;
        let turns = n.div_ceil((own * pes).max(1));
        self.kernel(Kernel { pes, cycles: turns * once, wavelets: n, bytes: 64 * n / pes })
    }

    /// The general kernel: operands arrive, `work` operations an element of the result, the result leaves.
    pub(super) fn general(&self, inputs: &[Operand<'_>], result: &TensorType, work: u64, most: u64) -> Cycles {
        let (n, arrives) = (result.elements() as u64, Cost::arrives(inputs));
        let held: u64 = inputs.iter().map(|i| i.ty.elements() as u64).sum::<u64>() + n;
        let rounds = held.div_ceil(ROUND);
        let pes = rounds.min(ROUND_PES).min(most).max(1);
        let compute = (n * work).div_ceil(self.f32_fma) / pes + rounds.div_ceil(pes) * 4 * self.launch * work.min(64);
        self.kernel(Kernel {
            pes,
            cycles: arrives + n + compute + rounds * (self.switch + 2 * self.launch),
            wavelets: n.max(arrives),
            bytes: 12 * n * work / pes,
        })
    }

    /// All operations but windows and products.
    pub(super) fn streamed(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType, most: u64) -> Cycles {
        let computed = inputs.iter().filter(|i| !i.fixed).count();
        let same = inputs.iter().filter(|i| !i.fixed).all(|i| i.ty.elements() == result.elements());
        let n = result.elements() as u64;
        match op {
            // Views of a stream.
            Op::Reshape { .. } | Op::Cast(_) => Cycles::default(),
            // A view too, until somebody needs another order: then a PE holds all of it, if it can.
            Op::Transpose { .. } => {
                let cycles = 2 * n * if 4 * n > self.sram { UNFIT } else { 1 };
                self.kernel(Kernel { pes: 1, cycles, wavelets: n, bytes: 8 * n })
            }
            Op::Unary(u) => self.map(unary(*u), result, most),
            Op::Binary(b) if computed == 1 && same => self.map(binary(*b, true), result, most),
            // Two streams, joined on one PE as they come.
            Op::Binary(b) if same => {
                let micros = binary(*b, false);
                let (blocks, _) = Cost::blocks(result);
                let extra = (micros.slow + micros.fast).saturating_sub(1);
                // One is received and kept, then the other, as it comes.
                let cycles = 2 * n + blocks * (self.switch + self.launch) + extra * 2 * (n + blocks * self.launch);
                self.kernel(Kernel { pes: 1, cycles, wavelets: n, bytes: 12 * n })
            }
            Op::Binary(b) => {
                let micros = binary(*b, false);
                self.general(inputs, result, micros.slow + micros.fast, most)
            }
            Op::Softmax { axis } => self.softmax(result, *axis, most),
            Op::Reduce { axes, .. } => {
                let arrives = Cost::arrives(inputs);
                let (blocks, rows) = inputs.first().map_or((1, 1), |i| Cost::blocks(i.ty));
                let once = self.switch + rows.min(most) * self.launch;
                // Rows of an image are summed as they come; all else is received, then summed.
                let image = inputs.first().is_some_and(|i| i.ty.rank() >= 4) && axes.iter().all(|&a| a >= 2);
                self.kernel(Kernel {
                    pes: 1,
                    cycles: arrives * if image { 1 } else { 2 } + n + blocks * once,
                    wavelets: arrives,
                    bytes: 8 * arrives,
                })
            }
            Op::Concat { .. } => {
                self.kernel(Kernel { pes: 1, cycles: n + self.launch * inputs.len() as u64, wavelets: n, bytes: 8 * n })
            }
            Op::Slice { .. } => {
                let arrives = Cost::arrives(inputs);
                self.kernel(Kernel { pes: 1, cycles: arrives, wavelets: arrives, bytes: 4 * arrives })
            }
            // Every place of the axis is compared with the index.
            Op::Gather { axis } | Op::GatherElements { axis } => {
                let places = inputs[0].ty.shape.get(*axis).map_or(1, |&d| d as u64);
                self.general(inputs, result, 3 * places, most)
            }
            Op::ConvTranspose { .. } => {
                let taps: u64 = inputs[1].ty.shape[1..].iter().map(|&d| d as u64).product();
                self.general(inputs, result, taps, most)
            }
            _ => self.general(inputs, result, 2, most),
        }
    }
}
