//! What each node of the model asks of the machine, and what its planes waited for.
//!
//! The demand is counted on the tiled graph, resource by resource; the waits were noted while the schedule was made.

use super::sched::first_half;
use super::sched::permute::permutes;
use super::tiled::{Kernel, Kind, TiledGraph};
use super::{Cause, Compiled, Waits};
use quadrille_isa::tsp::{ActType, Inst, Machine};
use std::ops::AddAssign;

/// Work by resource, in what one unit of it does in a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Cycles in which a plane takes a row.
    pub planes: u64,
    /// Cycles in which a hemisphere's streams carry weights.
    pub loads: u64,
    /// Vectors through ALUs.
    pub alus: u64,
}

impl Demand {
    fn of(t: &TiledGraph, m: &Machine, k: &Kernel) -> Demand {
        let n = u64::from(k.n);
        match &k.kind {
            Kind::Map { steps, .. } => Demand { alus: n * steps.len() as u64, ..Demand::default() },
            Kind::MatMul { chains, steps, .. } => {
                let passes = chains.iter().flatten();
                let count = passes.clone().count() as u64;
                let own: u64 = passes.clone().map(|p| p.loads.len() as u64).sum();
                let bytes = passes.clone().all(|p| t.tensor(p.weights).ty.bytes() == 1);
                // A pair of planes takes a row of f16 in an interval, two rows of bytes in a cycle.
                let interval = if bytes { 1 } else { u64::from(m.latency.mxm_f16_row_interval) };
                // Planes that share passes load different weights at once.
                let at_once = if first_half(t, k).is_some() { 2 } else { 1 };
                Demand {
                    planes: if bytes { n * count } else { 2 * n * count * interval },
                    loads: if bytes { own.div_ceil(at_once) } else { 2 * own },
                    alus: n * steps.len() as u64 * interval,
                }
            }
            // Permuters take these, if planes have more to do.
            Kind::Move { passes, .. } if permutes(passes, m) => Demand::default(),
            Kind::Move { passes, out } => Demand {
                planes: n * passes.len() as u64 * u64::from(t.tensor(out.tensor).ty.bytes()),
                loads: passes.iter().map(|p| p.loads.len() as u64).sum(),
                alus: 0,
            },
            Kind::Gather { .. } | Kind::Transpose { .. } => Demand::default(),
        }
    }

    /// Cycles that each resource needs alone, all of its units busy.
    pub fn cycles(&self, m: &Machine) -> [(Cause, u64); 3] {
        let planes = u64::from(m.planes()).max(1);
        [
            (Cause::Plane, self.planes / planes),
            (Cause::Load, self.loads / (planes / 2).max(1)),
            (Cause::Vxm, self.alus / u64::from(m.geometry.alus).max(1)),
        ]
    }

    /// The resource that takes longest, and its cycles.
    pub fn busiest(&self, m: &Machine) -> (Cause, u64) {
        let all = self.cycles(m);
        all.into_iter().fold(all[0], |best, x| if x.1 > best.1 { x } else { best })
    }
}

impl AddAssign for Demand {
    fn add_assign(&mut self, o: Demand) {
        self.planes += o.planes;
        self.loads += o.loads;
        self.alus += o.alus;
    }
}

/// Of all kernels together.
pub(crate) fn demand(t: &TiledGraph, m: &Machine) -> Demand {
    let mut sum = Demand::default();
    t.kernels.iter().for_each(|k| sum += Demand::of(t, m, k));
    sum
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
    /// Cycles that planes stood still before its rows, summed over the planes, by cause.
    pub waits: Waits,
}

impl NodeProfile {
    /// What it needs most of: a resource that works for it, or something that its planes wait for.
    pub fn bound_by(&self, m: &Machine) -> Cause {
        let planes = u64::from(m.planes()).max(1);
        let mut most = self.demand.busiest(m);
        for (cause, cycles) in self.waits.by_cause().map(|(c, sum)| (c, sum / planes)) {
            if cycles > most.1 {
                most = (cause, cycles);
            }
        }
        most.0
    }
}

/// Why a program is longer than its planes are busy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// What planes waited for; `None` for the time after their last row.
    pub cause: Option<Cause>,
    /// Cycles, the mean over the planes.
    pub cycles: u64,
    /// The node before whose rows they waited longest, and its part. For the time after the last row there is none.
    pub most: Option<(String, u64)>,
}

/// Where the cycles of a program went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Every node that has kernels, in the order of the model.
    pub nodes: Vec<NodeProfile>,
    /// Cycles in which planes took rows, the mean over the planes.
    pub busy: u64,
    /// All other cycles, largest first. Empty for a program without products.
    pub losses: Vec<Loss>,
}

/// Reads it off a compiled model.
pub fn profile(c: &Compiled, m: &Machine) -> Profile {
    let mut nodes: Vec<NodeProfile> = (c.tiled.nodes.iter())
        .map(|n| NodeProfile { node: n.clone(), kernels: 0, demand: Demand::default(), waits: Waits::default() })
        .collect();
    for k in &c.tiled.kernels {
        let Some(p) = nodes.get_mut(k.node.0 as usize) else { continue };
        p.kernels += 1;
        p.demand += Demand::of(&c.tiled, m, k);
    }
    for i in &c.idle {
        let Some(p) = nodes.get_mut(i.node.0 as usize) else { continue };
        p.waits.0.iter_mut().zip(i.waits.0).for_each(|(sum, w)| *sum += w);
    }
    nodes.retain(|p| p.kernels > 0);
    let busy = plane_cycles(c, m);
    let losses = if busy == 0 { Vec::new() } else { losses(&nodes, busy, c.estimate.cycles, m) };
    Profile { nodes, busy: busy / u64::from(m.planes()).max(1), losses }
}

/// Cycles in which planes took rows, summed over the planes.
fn plane_cycles(c: &Compiled, m: &Machine) -> u64 {
    let issues = c.program.queues.values().flatten();
    let rows = issues.map(|i| match i.inst {
        Inst::Activations { ty: ActType::F16, .. } => {
            2 * u64::from(i.executions()) * u64::from(m.latency.mxm_f16_row_interval)
        }
        Inst::Activations { .. } => u64::from(i.executions()),
        _ => 0,
    });
    rows.sum()
}

fn losses(nodes: &[NodeProfile], busy: u64, cycles: u64, m: &Machine) -> Vec<Loss> {
    let planes = u64::from(m.planes()).max(1);
    let mut all: Vec<Loss> = Vec::new();
    let mut waited = 0;
    for cause in Cause::ALL {
        let of = |n: &NodeProfile| u64::from(n.waits.0[cause as usize]);
        let sum: u64 = nodes.iter().map(of).sum();
        waited += sum;
        // The first of equals.
        let most = nodes.iter().rev().max_by_key(|n| of(n)).map(|n| (n.node.clone(), of(n) / planes));
        all.push(Loss { cause: Some(cause), cycles: sum / planes, most });
    }
    let after = (cycles * planes).saturating_sub(busy + waited);
    all.push(Loss { cause: None, cycles: after / planes, most: None });
    all.retain(|l| l.cycles > 0);
    all.sort_by_key(|l| std::cmp::Reverse(l.cycles));
    all
}
