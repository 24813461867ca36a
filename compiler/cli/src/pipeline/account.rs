//! Where the cycles of a compiled program went.

use crate::figures::grouped;
use serde::Serialize;
use std::fmt;

/// A node of the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeAccount {
    /// Its name.
    pub node: String,
    /// Cycles that its busiest resource needs alone, under the mapping that was chosen.
    pub bound: u64,
    /// What it needs most of: a resource that works for it (`plane`, `load`, `VXM`), or what its planes wait for.
    pub bound_by: &'static str,
    /// Cycles that planes waited before its rows, the mean over the planes, by cause; zeros are left out.
    pub waits: Vec<(&'static str, u64)>,
}

/// Why a program is longer than its planes are busy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Loss {
    /// `load`, `dependency`, `space`, `port`, `VXM`, `stream`: what planes waited for. `plane`: the others of the same
    /// burst. `after`: all that came after their last row.
    pub cause: &'static str,
    /// Cycles, the mean over the planes.
    pub cycles: u64,
    /// The node that they waited longest for.
    pub node: Option<String>,
    /// Its part of the cycles.
    pub node_cycles: Option<u64>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.cause {
            "after" => "after the planes' last row",
            "plane" => "planes that wait for another plane",
            cause => cause,
        };
        write!(f, "{what}: {} cycles", grouped(self.cycles))?;
        match (&self.node, self.node_cycles) {
            (Some(node), Some(n)) if n > 0 => write!(f, ", most before `{node}` ({})", grouped(n)),
            _ => Ok(()),
        }
    }
}

/// What a program on a mesh waits for most.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Busiest {
    /// A node, or an input of the model.
    pub node: String,
    /// `datapath` (of its busiest PE), `stream` (of its results) or `port` (at the edge of the mesh).
    pub resource: &'static str,
    /// Cycles of the whole run in which it works at least.
    pub cycles: u64,
}

impl fmt::Display for Busiest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`: {} cycles", self.resource, self.node, grouped(self.cycles))
    }
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Account {
    /// In the order of the model.
    pub nodes: Vec<NodeAccount>,
    /// Cycles in which planes took rows, the mean over the planes.
    pub busy: u64,
    /// The largest first; with `busy` they add up to the length of the program, but for rounding. Empty where no plane
    /// takes a row.
    pub losses: Vec<Loss>,
}

/// How many losses a summary names.
pub const NAMED: usize = 3;
