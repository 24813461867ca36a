//! What each node of the model asks of the machine, and when its instructions run.
//!
//! The demand is counted on the tiled graph, resource by resource; the time is read off the program.

use super::tiled::{Kernel, Kind, TiledGraph};
use super::{Compiled, Waits};
use quadrille_isa::tsp::{Inst, Machine};

/// Cycles that work would take on each resource alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Rows through planes, all pairs of planes busy.
    pub planes: u64,
    /// Loads of weights, all planes busy.
    pub loads: u64,
    /// ALU steps on all ALUs.
    pub alus: u64,
    /// Rows written by the VXM, one a cycle.
    pub writes: u64,
}

impl Demand {
    /// The resource that takes longest, and its cycles.
    pub fn busiest(&self) -> (&'static str, u64) {
        let all = [("planes", self.planes), ("loads", self.loads), ("alus", self.alus), ("writes", self.writes)];
        all.into_iter().fold(all[0], |best, x| if x.1 > best.1 { x } else { best })
    }
}

/// A node's share of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeProfile {
    /// Name in the user's model.
    pub node: String,
    /// Kernels that it became.
    pub kernels: usize,
    /// What it asks of each resource.
    pub demand: Demand,
    /// First and last cycle in which an instruction of it issues.
    pub cycles: (u32, u32),
    /// Cycles by which it moved the end of the program so far.
    pub actual: u32,
    /// Cycles that planes stood still before its rows, summed over the planes, by cause.
    pub waits: Waits,
}

/// Demand of one kernel, in cycles times `scale` (so that sums of small kernels do not round away).
pub(crate) fn demand(t: &TiledGraph, m: &Machine, k: &Kernel, scale: u64) -> Demand {
    let pairs = (u64::from(m.planes()) / 2).max(1);
    let alus = u64::from(m.geometry.alus).max(1);
    let interval = u64::from(m.latency.mxm_f16_row_interval);
    let n = u64::from(k.n) * scale;
    match &k.kind {
        Kind::Map { steps, .. } => Demand { alus: n * steps.len() as u64 / alus, writes: n, ..Demand::default() },
        Kind::MatMul { chains, steps, .. } => {
            let passes = || chains.iter().flatten();
            let loads: u64 = passes().map(|p| p.loads.len() as u64).sum();
            Demand {
                planes: n * passes().count() as u64 * interval / pairs,
                loads: 2 * loads * scale / pairs,
                alus: n * steps.len() as u64 * interval / alus,
                writes: 0,
            }
        }
        Kind::Move { passes, out } => {
            let bytes = u64::from(t.tensor(out.tensor).ty.bytes());
            let loads: u64 = passes.iter().map(|p| p.loads.len() as u64).sum();
            Demand {
                planes: n * passes.len() as u64 * bytes / (2 * pairs),
                loads: loads * scale / pairs,
                ..Demand::default()
            }
        }
        Kind::Gather { .. } | Kind::Transpose { .. } => Demand { writes: n, ..Demand::default() },
    }
}

/// Every node that has kernels, in the order of the model.
pub fn profile(c: &Compiled, m: &Machine) -> Vec<NodeProfile> {
    const SCALE: u64 = 64;
    let mut all: Vec<NodeProfile> = (c.tiled.nodes.iter())
        .map(|n| NodeProfile {
            node: n.clone(),
            kernels: 0,
            demand: Demand::default(),
            cycles: (u32::MAX, 0),
            actual: 0,
            waits: Waits::default(),
        })
        .collect();
    for k in &c.tiled.kernels {
        let d = demand(&c.tiled, m, k, SCALE);
        let Some(p) = all.get_mut(k.node.0 as usize) else { continue };
        p.kernels += 1;
        p.demand.planes += d.planes;
        p.demand.loads += d.loads;
        p.demand.alus += d.alus;
        p.demand.writes += d.writes;
    }
    for i in c.program.queues.values().flatten() {
        if matches!(i.inst, Inst::Sync | Inst::Notify) {
            continue;
        }
        let Some(p) = all.get_mut(i.node.0 as usize) else { continue };
        p.cycles = (p.cycles.0.min(i.cycle), p.cycles.1.max(i.last_cycle()));
    }
    for i in &c.idle {
        let Some(p) = all.get_mut(i.node.0 as usize) else { continue };
        p.waits.0.iter_mut().zip(i.waits.0).for_each(|(sum, w)| *sum += w);
    }
    let mut end = 0;
    for p in &mut all {
        p.actual = p.cycles.1.saturating_sub(end);
        end = end.max(p.cycles.1);
        let d = &mut p.demand;
        for x in [&mut d.planes, &mut d.loads, &mut d.alus, &mut d.writes] {
            *x = x.div_ceil(SCALE);
        }
    }
    all.retain(|p| p.kernels > 0);
    all
}
