//! Which form of a model is compiled, where programs are made quickly: the one whose program is the shortest.
//!
//! Knows what "quickly" is, by the cost of a graph. Must not know how forms are found.

use super::{Mapping, backend, run_passes};
use crate::machine::{Machine, Target};
use quadrille_compiler::ir::Graph;
use quadrille_compiler::rewrite::{GraphCost, Judge, Trials};

/// Operations and cycles, one after the other, of graphs that `tsp` schedules in about a second.
const QUICK_TSP: (usize, u64) = (300, 150_000);

/// Operations of graphs that `wafer` plans in seconds.
const QUICK_WAFER: usize = 1_600;

/// Operations of graphs of which some programs are made where costs do not tell which is shorter, in up to half a minute.
const NEAR: usize = 2_000;

/// Makes programs of the forms of a graph.
pub struct Programs<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// How it is to lie on a mesh.
    pub mapping: Mapping,
}

impl Judge for Programs<'_> {
    fn trials(&self, cost: &GraphCost) -> Trials {
        let quick = match self.machine.target() {
            Target::Tsp => cost.nodes <= QUICK_TSP.0 && cost.serial_cycles <= QUICK_TSP.1,
            Target::Wafer => cost.nodes <= QUICK_WAFER,
        };
        match quick {
            true => Trials::All,
            false if cost.nodes <= NEAR => Trials::Near,
            false => Trials::One,
        }
    }

    /// By the schedule, or by the plan.
    fn cycles(&self, g: &Graph) -> Option<u64> {
        let cleaned = run_passes(g, Some(self.machine), &["clean".to_string()]).ok()?;
        backend::expected_as(&cleaned, self.machine, &self.mapping).ok().map(|e| e.cycles)
    }
}
