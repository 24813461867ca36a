//! What each node of a model took of a machine: when it ran, and how much of every unit.
//!
//! Counted from a program (`tsp`) or from a run (`wafer`). Must not know how a schedule came about.

pub mod supply;
pub(crate) mod tsp;
pub(crate) mod wafer;

use std::collections::BTreeMap;

/// Name of what comes after the last node.
pub const AFTER: &str = "(after the last node)";

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUse {
    /// First and last cycle in which something of it happens.
    pub span: Option<(u64, u64)>,
    /// Amounts in the order of [`Usage::units`].
    pub work: Vec<u64>,
}

/// All nodes of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What is counted, in words.
    pub units: &'static [&'static str],
    /// By the name that the user gave the node.
    pub nodes: BTreeMap<String, NodeUse>,
}

impl Usage {
    /// Adds to a node; parts that share a name are one node.
    fn add(&mut self, name: &str, span: Option<(u64, u64)>, work: &[u64]) {
        let node = self.nodes.entry(name.to_string()).or_default();
        node.work.resize(self.units.len(), 0);
        node.work.iter_mut().zip(work).for_each(|(a, b)| *a += b);
        node.span = match (node.span, span) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    /// What comes after the last node (results on their way) is a node of its own, so that the shares add up to `cycles`.
    pub(crate) fn close(&mut self, cycles: u64) {
        let end = self.nodes.values().filter_map(|n| n.span).map(|s| s.1 + 1).max().unwrap_or(0);
        if end < cycles {
            self.add(AFTER, Some((end, cycles - 1)), &[]);
        }
    }

    /// By how many cycles each node moves the end: from the last cycle of all that end before it to its own. The
    /// shares add up to the cycle in which the last node ends, plus one.
    pub fn shares(&self) -> BTreeMap<&str, u64> {
        let mut ends: Vec<(u64, &str)> =
            self.nodes.iter().filter_map(|(name, n)| Some((n.span?.1 + 1, name.as_str()))).collect();
        ends.sort_unstable();
        let mut before = 0;
        let mut shares = BTreeMap::new();
        for (end, name) in ends {
            shares.insert(name, end - before);
            before = end;
        }
        shares
    }
}
