//! A chip: every issue of every queue belongs to a node.

use super::Usage;
use quadrille_isa::tsp::{ActType, Inst, Issue, Machine, Program};
use std::ops::AddAssign;

/// What is counted.
const UNITS: &[&str] =
    &["plane-cycles", "ALU operations", "weight loads", "SRAM accesses", "vectors on streams", "instructions"];

/// Cycles for which one execution holds its unit.
pub(crate) fn occupancy(inst: &Inst, m: &Machine) -> u64 {
    match inst {
        Inst::Activations { ty: ActType::F16, .. } => u64::from(m.latency.mxm_f16_row_interval),
        _ => 1,
    }
}

/// Planes that an execution holds: f16 rows take both of a hemisphere.
pub(crate) fn planes(inst: &Inst) -> u64 {
    if matches!(inst, Inst::Activations { ty: ActType::F16, .. }) { 2 } else { 1 }
}

/// Vectors that one execution drives onto streams.
pub(crate) fn driven(inst: &Inst) -> u64 {
    match inst {
        Inst::Read { .. } | Inst::Gather { .. } | Inst::Shift { .. } | Inst::Select { .. } => 1,
        Inst::Permute { .. } | Inst::Distribute { .. } => 1,
        Inst::Alu { dst, .. } => dst.map_or(0, |g| u64::from(g.width)),
        Inst::Accumulate { emit: Some(_), .. } => 4,
        Inst::Rotate { n, .. } => u64::from(*n) * u64::from(*n),
        Inst::Transpose { .. } => 16,
        _ => 0,
    }
}

/// What something takes, all executions together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Plane-cycles, and the rows that pass them.
    pub(crate) plane: u64,
    pub(crate) rows: u64,
    /// ALU operations.
    pub(crate) alu: u64,
    /// Weight loads.
    pub(crate) load: u64,
    /// SRAM accesses.
    pub(crate) sram: u64,
    /// Vectors on streams.
    pub(crate) stream: u64,
}

impl Work {
    pub(crate) fn of(issue: &Issue, m: &Machine) -> Work {
        let times = u64::from(issue.executions());
        let mut w = Work { stream: times * driven(&issue.inst), ..Work::default() };
        match &issue.inst {
            Inst::Activations { .. } => {
                (w.plane, w.rows) = (times * occupancy(&issue.inst, m) * planes(&issue.inst), times);
            }
            Inst::Alu { .. } => w.alu = times,
            Inst::LoadWeights { .. } => w.load = times,
            Inst::Read { .. } | Inst::Write { .. } | Inst::Gather { .. } | Inst::Scatter { .. } => w.sram = times,
            _ => {}
        }
        w
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, o: Work) {
        self.plane += o.plane;
        self.rows += o.rows;
        self.alu += o.alu;
        self.load += o.load;
        self.sram += o.sram;
        self.stream += o.stream;
    }
}

/// True for instructions that only keep time.
pub(crate) fn is_barrier(inst: &Inst) -> bool {
    matches!(inst, Inst::Sync | Inst::Notify)
}

/// Counts a program.
pub(crate) fn usage(p: &Program, m: &Machine) -> Usage {
    let mut u = Usage { units: UNITS, ..Usage::default() };
    for issue in p.queues.values().flatten().filter(|i| !is_barrier(&i.inst)) {
        let w = Work::of(issue, m);
        let name = p.nodes.get(issue.node.0 as usize).map_or("?", String::as_str);
        let span = (u64::from(issue.cycle), u64::from(issue.last_cycle()));
        u.add(name, Some(span), &[w.plane, w.alu, w.load, w.sram, w.stream, 1]);
    }
    u
}
