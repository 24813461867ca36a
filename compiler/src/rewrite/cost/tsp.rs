//! Cycles on the TSP-style chip, in f16 with f32 sums.
//!
//! Layout assumed: the channel axis (axis 1) of a value of rank 3 or more lies across the
//! lanes, else the last axis; one lane row is one vector.

use super::{CostModel, Cycles, Operand, Product, RESOURCES};
use crate::ir::{Op, Pool, Reduce, TensorType, Unary};
use quadrille_isa::tsp::Machine;

/// Cost model of a `tsp` machine.
#[derive(Clone, Debug)]
pub struct Tsp {
    lanes: u64,
    row_interval: u64,
    pairs: u64,
    load_cycles: u64,
    fill: u64,
    alus: u64,
}

const MXM: usize = 0;
const VXM: usize = 1;
const SXM: usize = 2;
const SRAM: usize = 3;

/// f32 rows that the streams carry from and to SRAM in one cycle: four byte streams a row, 32
/// streams each way.
const ROWS_PER_CYCLE: u64 = 8;

impl Default for Tsp {
    fn default() -> Tsp {
        Tsp::new(&Machine::builtin("tsp").expect("the description ships with the compiler"))
    }
}

impl Tsp {
    /// The model of a machine.
    pub fn new(m: &Machine) -> Tsp {
        let l = &m.latency;
        Tsp {
            lanes: m.lanes() as u64,
            row_interval: u64::from(l.mxm_f16_row_interval),
            pairs: u64::from(m.geometry.planes_per_hemisphere),
            // Two byte planes, 16 rows a cycle each.
            load_cycles: 2 * (m.lanes() as u64).div_ceil(u64::from(m.geometry.weight_rows_per_load)),
            // Out of SRAM, across half the chip to the units, and back.
            fill: u64::from(l.mem_read + l.vxm_entry + l.vxm_alu + l.mem_write_readable) + u64::from(m.columns()),
            alus: u64::from(m.geometry.alus),
        }
    }

    /// Vectors that a value takes.
    fn rows(&self, t: &TensorType) -> u64 {
        let lane = match t.rank() {
            0 => return 1,
            1 | 2 => t.shape[t.rank() - 1],
            _ => t.shape[1],
        } as u64;
        (t.elements() as u64).checked_div(lane).map_or(0, |rows| rows * lane.div_ceil(self.lanes))
    }

    fn elementwise(&self, ops: u64, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let rows = self.rows(result);
        let moved = rows + inputs.iter().filter(|i| !i.fixed).map(|i| self.rows(i.ty)).sum::<u64>();
        let mut busy = [0; RESOURCES];
        // One burst moves one row a cycle through a chain of ALUs, however few it uses.
        busy[VXM] = rows.max((rows * ops).div_ceil(self.alus));
        busy[SRAM] = moved.div_ceil(ROWS_PER_CYCLE);
        Cycles { busy, fill: self.fill }
    }

    fn relayout(&self, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let rows = self.rows(result).max(inputs.iter().map(|i| self.rows(i.ty)).max().unwrap_or(0));
        let mut busy = [0; RESOURCES];
        // The lane axis changes: a permutation or a transposition for each row.
        busy[SXM] = 2 * rows;
        busy[SRAM] = (2 * rows).div_ceil(ROWS_PER_CYCLE);
        Cycles { busy, fill: self.fill }
    }
}

impl CostModel for Tsp {
    fn resources(&self) -> [&'static str; RESOURCES] {
        ["mxm", "vxm", "sxm", "sram"]
    }

    fn epilogue_steps(&self) -> usize {
        8
    }

    fn epilogue_operands(&self) -> bool {
        true
    }

    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        if let Some(p) = Product::of(op, inputs, result) {
            let steps = match op {
                Op::MatMul { epilogue } | Op::Conv { epilogue, .. } => epilogue.len() as u64,
                _ => 0,
            };
            let tiles = p.batch * p.k.div_ceil(self.lanes) * p.n.div_ceil(self.lanes);
            let mut busy = [0; RESOURCES];
            busy[MXM] = (tiles * (p.m * self.row_interval).max(self.load_cycles)).div_ceil(self.pairs);
            let depthwise = p.batch > 1 && p.k < 64;
            if depthwise {
                // A group fills a sliver of a plane; the vector unit takes the taps instead.
                let vxm = p.k * p.m * (p.batch * p.n).div_ceil(self.lanes);
                if vxm < busy[MXM] {
                    busy[MXM] = 0;
                    busy[VXM] = vxm;
                }
            }
            let out_rows = p.batch * p.m * p.n.div_ceil(self.lanes);
            busy[VXM] += (out_rows * (1 + steps)).div_ceil(self.alus);
            let operands: u64 = inputs[2..].iter().filter(|i| !i.fixed).map(|i| self.rows(i.ty)).sum();
            busy[SRAM] = (tiles * p.m + out_rows + operands).div_ceil(ROWS_PER_CYCLE);
            return Cycles { busy, fill: 2 * self.fill };
        }
        match op {
            Op::Unary(u) => self.elementwise(unary_ops(*u), inputs, result),
            Op::Binary(_) | Op::Fma | Op::Cast(_) => self.elementwise(1, inputs, result),
            Op::Select => self.elementwise(2, inputs, result),
            Op::Softmax { .. } => self.elementwise(3, inputs, result).times(4),
            Op::Pool { kind, window } => {
                let taps = window.kernel.iter().map(|&k| k as u64).product::<u64>();
                let extra = u64::from(*kind != Pool::Max);
                self.elementwise(1, inputs, result).times(taps + extra)
            }
            Op::Reduce { kind, .. } => {
                let rows = inputs.first().map_or(0, |i| self.rows(i.ty));
                let mut c = self.elementwise(1, inputs, result);
                c.busy[VXM] = rows + u64::from(*kind == Reduce::Mean);
                c
            }
            Op::Reshape { shape } => {
                let from = &inputs[0].ty.shape;
                let lanes_kept = from.last() == shape.last() && from.len() < 3 && shape.len() < 3
                    || from.len() >= 3 && shape.len() >= 3 && from[..2] == shape[..2]
                    || from.iter().filter(|&&d| d != 1).eq(shape.iter().filter(|&&d| d != 1));
                if lanes_kept { Cycles::default() } else { self.relayout(inputs, result) }
            }
            Op::Broadcast { .. } | Op::Concat { .. } | Op::Slice { .. } | Op::Pad { .. } => {
                let mut c = self.elementwise(1, inputs, result);
                c.busy[SXM] = self.rows(result);
                c
            }
            _ => self.relayout(inputs, result),
        }
    }
}

impl Cycles {
    fn times(mut self, n: u64) -> Cycles {
        for b in &mut self.busy {
            *b = b.saturating_mul(n);
        }
        self
    }
}

/// ALU operations of a unary primitive: one for what the units have, more for what is composed.
fn unary_ops(u: Unary) -> u64 {
    use Unary::*;
    match u {
        Neg | Abs | Not | Rsqrt | Recip | Tanh | Sin | Floor | Round | Relu => 1,
        Sign | Exp | Log | Sqrt | Cos | Ceil | IsNan | IsInf => 2,
        Sigmoid => 4,
        _ => 12,
    }
}
