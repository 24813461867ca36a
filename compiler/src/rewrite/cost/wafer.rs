//! Cycles on the wafer-scale mesh, in pipeline mode.
//!
//! All kernels are resident, so a kernel's time is its work over the PEs it may expect, and
//! the stream that feeds it; what is fused needs neither PEs nor a stream of its own.

use super::{CostModel, Cycles, Operand, Product, RESOURCES};
use crate::ir::{Op, TensorType};
use quadrille_isa::wafer::Machine;

/// Cost model of a `wafer` machine.
#[derive(Clone, Debug)]
pub struct Wafer {
    pes: u64,
    rows: u64,
    fma: u64,
    add: u64,
    special: u64,
    fill: u64,
}

const COMPUTE: usize = 0;
const LINK: usize = 1;
const MEMORY: usize = 2;

/// Kernels that share the mesh, for the share that one may expect.
const KERNELS: u64 = 32;

/// Rows of the mesh that one stream between kernels uses side by side.
const STREAM_ROWS: u64 = 16;

/// Bytes that a PE reads and writes in one cycle.
const BYTES_PER_CYCLE: u64 = 24;

impl Default for Wafer {
    fn default() -> Wafer {
        Wafer::new(&Machine::builtin("wafer").expect("the description ships with the compiler"))
    }
}

impl Wafer {
    /// The model of a machine.
    pub fn new(m: &Machine) -> Wafer {
        let g = &m.geometry;
        Wafer {
            pes: (u64::from(g.width_pes) * u64::from(g.height_pes) / KERNELS).max(1),
            rows: STREAM_ROWS.min(u64::from(g.height_pes)),
            fma: u64::from(m.rate.f16_mixed_fma),
            add: u64::from(m.rate.f32_add),
            special: u64::from(m.rate.exp2),
            fill: u64::from(m.latency.vector_launch + m.latency.task_switch + 2 * m.router.ramp_cycles)
                + u64::from(g.width_pes) / KERNELS,
        }
    }

    fn kernel(&self, compute: u64, width: u64, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let streamed: u64 =
            inputs.iter().filter(|i| !i.fixed).map(|i| i.ty.elements() as u64).sum::<u64>() + result.elements() as u64;
        let stored: u64 = inputs.iter().filter(|i| i.fixed).map(|i| 2 * i.ty.elements() as u64).sum();
        // A kernel cannot use more PEs than it has independent results.
        let pes = self.pes.min(width.max(1));
        let mut busy = [0; RESOURCES];
        busy[COMPUTE] = compute.div_ceil(pes);
        busy[LINK] = streamed.div_ceil(self.rows);
        busy[MEMORY] = (stored + 4 * streamed).div_ceil(pes * BYTES_PER_CYCLE);
        Cycles { busy, fill: self.fill }
    }
}

impl CostModel for Wafer {
    fn resources(&self) -> [&'static str; RESOURCES] {
        ["compute", "link", "memory", "-"]
    }

    fn epilogue_steps(&self) -> usize {
        8
    }

    fn epilogue_operands(&self) -> bool {
        false
    }

    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let out = result.elements() as u64;
        if let Some(p) = Product::of(op, inputs, result) {
            let steps = match op {
                Op::MatMul { epilogue } | Op::Conv { epilogue, .. } => epilogue.len() as u64,
                _ => 0,
            };
            let work = (p.batch * p.m * p.k * p.n).div_ceil(self.fma) + out * steps;
            return self.kernel(work, p.batch * p.k * p.n, inputs, result);
        }
        match op {
            // A view of the same stream of elements.
            Op::Reshape { .. } => Cycles::default(),
            Op::Unary(_) => self.kernel(out.div_ceil(self.special), out, inputs, result),
            Op::Softmax { .. } => self.kernel(4 * out, out, inputs, result),
            Op::Pool { window, .. } => {
                let taps = window.kernel.iter().map(|&k| k as u64).product::<u64>();
                self.kernel(out * taps, out, inputs, result)
            }
            Op::Reduce { .. } => {
                let n = inputs.first().map_or(0, |i| i.ty.elements() as u64);
                self.kernel(n.div_ceil(self.add), out, inputs, result)
            }
            _ => self.kernel(out.div_ceil(self.add), out, inputs, result),
        }
    }
}
