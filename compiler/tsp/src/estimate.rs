//! Cycle bounds and sizes of a compiled program.

use super::profile::demand;
use super::sched::Schedule;
use super::sched::permute::crossed;
use super::select::factors;
use super::tiled::TiledGraph;
use quadrille_compiler::ir::{Graph, Node, Op};
use quadrille_isa::tsp::{Inst, Machine, Program};

/// What a program costs, and the least it could.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Estimate {
    /// From the model and machine alone: the largest of multiply-accumulates by the f16 peak, weight
    /// bytes by stream bytes a cycle, and elementwise operations by 16 ALUs of all lanes.
    pub bound_cycles: u64,
    /// Planes, weight loads or ALUs of the mapping that was chosen, whichever takes longest.
    pub mapping_bound_cycles: u64,
    /// From the barrier to the last event, skew included.
    pub cycles: u64,
    /// Most SRAM bytes in use at once, program text apart.
    pub sram_bytes: u64,
    /// Bytes of program text.
    pub program_bytes: u64,
}

pub(crate) fn estimate(g: &Graph, t: &TiledGraph, m: &Machine, s: &Schedule, p: &Program) -> Estimate {
    Estimate {
        bound_cycles: bound(g, m),
        mapping_bound_cycles: mapping_bound(t, m),
        cycles: cycles(m, p),
        sram_bytes: s.memory.peak_bytes(),
        program_bytes: p.text_bytes(m.program.instruction_bytes),
    }
}

fn bound(g: &Graph, m: &Machine) -> u64 {
    // Multiply-accumulates of f16 and of bytes.
    let (mut macs, mut weights, mut elements) = ([0u64; 2], 0u64, 0u64);
    let bytes = |n: &Node| usize::from(g.ty(n.inputs[0]).dtype.size() == 1 || factors(g, n).is_some());
    for n in g.nodes() {
        let out = g.ty(n.output).elements() as u64;
        match &n.op {
            Op::MatMul { .. } => {
                let a = g.shape(n.inputs[0]);
                macs[bytes(n)] += out * a[a.len() - 1] as u64;
            }
            Op::Conv { .. } => {
                let w = g.shape(n.inputs[1]);
                macs[bytes(n)] += out * w[1..].iter().product::<usize>() as u64;
            }
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma => elements += out,
            Op::Pool { window, .. } => elements += out * window.kernel.iter().product::<usize>() as u64,
            Op::Reduce { .. } => elements += g.ty(n.inputs[0]).elements() as u64,
            _ => {}
        }
        if matches!(n.op, Op::MatMul { .. } | Op::Conv { .. }) && g.constant(n.inputs[1]).is_some() {
            weights += (2 - bytes(n) as u64) * g.ty(n.inputs[1]).elements() as u64;
        }
    }
    let lanes = m.lanes() as u64;
    let stream_bytes = 2 * u64::from(m.geometry.streams_per_direction) * lanes;
    let alus = u64::from(m.geometry.alus) * lanes;
    let planes = macs[0].div_ceil(m.peak_f16_macs_per_cycle()) + macs[1].div_ceil(m.peak_i8_macs_per_cycle());
    planes.max(weights.div_ceil(stream_bytes)).max(elements.div_ceil(alus)).max(1)
}

/// The busiest resource of a mapping.
pub(crate) fn mapping_bound(t: &TiledGraph, m: &Machine) -> u64 {
    demand(t, m).busiest(m).1.max(1)
}

/// Length of a program: its last event plus the skew of the superlanes.
pub(crate) fn cycles(m: &Machine, p: &Program) -> u64 {
    let l = &m.latency;
    let mut last = 0u64;
    for issues in p.queues.values() {
        for i in issues {
            let after = match &i.inst {
                Inst::Read { .. } => l.mem_read,
                Inst::Gather { .. } => l.mem_gather,
                Inst::Write { .. } => l.mem_write_readable.max(l.mem_write_sample),
                Inst::Scatter { .. } => l.mem_scatter_readable.max(l.mem_scatter_sample),
                Inst::Alu { dst, .. } => l.vxm_entry + if dst.is_some() { l.vxm_alu + l.vxm_exit } else { 0 },
                Inst::Accumulate { emit, .. } => {
                    if emit.is_some() {
                        l.mxm_sum_to_stream
                    } else {
                        0
                    }
                }
                Inst::Shift { .. } => l.sxm_entry + l.sxm_shift,
                Inst::Select { .. } => l.sxm_entry + l.sxm_select,
                Inst::Rotate { .. } => l.sxm_entry + l.sxm_rotate,
                Inst::Distribute { .. } => l.sxm_entry + l.sxm_distribute,
                Inst::Transpose { .. } => l.sxm_entry + l.sxm_transpose,
                Inst::Permute { map, .. } => {
                    l.sxm_entry + l.sxm_permute + p.maps.get(usize::from(*map)).map_or(0, |map| crossed(map))
                }
                Inst::LoadWeights { .. }
                | Inst::InstallWeights
                | Inst::Activations { .. }
                | Inst::Sync
                | Inst::Notify => 0,
            };
            last = last.max(u64::from(i.last_cycle()) + u64::from(after));
        }
    }
    last + u64::from(m.geometry.superlanes) - 1
}
