//! What the rewriter did: why it stopped, which rules, and what it gained.

use super::cost::{CostModel, GraphCost, RESOURCES, Target};
use super::options::Extraction;
use super::rebuild::{JOINT, Lineage, Step};
use super::rules::TABLE;
use crate::ir::{Graph, NodeId};
use std::collections::BTreeMap;
use std::fmt;

/// Why the rules stopped in a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StopReason {
    /// No rule finds anything new.
    Saturated,
    /// The limit on rounds.
    Iterations(usize),
    /// The limit on terms; the number is how many there were.
    Terms(usize),
    /// Something that does not happen with the limits used here.
    Other,
}

impl StopReason {
    pub(super) fn of(r: Option<egg::StopReason>) -> StopReason {
        match r {
            Some(egg::StopReason::Saturated) => StopReason::Saturated,
            Some(egg::StopReason::IterationLimit(n)) => StopReason::Iterations(n),
            Some(egg::StopReason::NodeLimit(n)) => StopReason::Terms(n),
            Some(egg::StopReason::TimeLimit(_) | egg::StopReason::Other(_)) | None => StopReason::Other,
        }
    }
}

impl StopReason {
    /// A word for scripts.
    pub fn id(self) -> &'static str {
        match self {
            StopReason::Saturated => "saturated",
            StopReason::Iterations(_) => "iteration-limit",
            StopReason::Terms(_) => "term-limit",
            StopReason::Other => "other",
        }
    }

    /// The number of rounds or terms at which a limit stopped the rules.
    pub fn limit(self) -> Option<usize> {
        match self {
            StopReason::Iterations(n) | StopReason::Terms(n) => Some(n),
            StopReason::Saturated | StopReason::Other => None,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::Saturated => f.write_str("saturated"),
            StopReason::Iterations(n) => write!(f, "iteration limit ({n})"),
            StopReason::Terms(n) => write!(f, "term limit ({n})"),
            StopReason::Other => f.write_str("other"),
        }
    }
}

/// One region in one sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionReport {
    /// Sweep, from 0.
    pub sweep: usize,
    /// First node, in the graph that the sweep started from.
    pub first_node: usize,
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// Classes of the e-graph at the end.
    pub classes: usize,
    /// Terms of the e-graph at the end.
    pub terms: usize,
    /// Rounds of rule application.
    pub iterations: usize,
    /// Why it stopped.
    pub stop: StopReason,
    /// Cost of the choice by the sum over its operations, in cycles.
    pub cost_cycles: u64,
    /// What greedy choice and local search alone had reached.
    pub greedy_cycles: u64,
    /// No choice of terms costs less; `None` where the region is too large to tell.
    pub bound_cycles: Option<u64>,
    /// True when the choice by the sum is proven the cheapest.
    pub proven: bool,
    /// The choice that was taken: by the bound on overlap.
    pub overlap: Overlap,
}

/// Scores in cycles, by the objective: the bound on overlap (busiest resource or longest chain), and a part of the sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overlap {
    /// Of the choice by the sum alone.
    pub first_cycles: u64,
    /// Of the choice that was taken.
    pub taken_cycles: u64,
    /// No choice scores less; `None` where the region is too large to tell.
    pub bound_cycles: Option<u64>,
}

/// How often a rule was used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleCount {
    /// The rule.
    pub name: &'static str,
    /// Times that it told the e-graph something new.
    pub applied: usize,
    /// Applications that the new graph rests on.
    pub used: usize,
}

/// One application of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Application {
    /// The rule.
    pub rule: &'static str,
    /// Sweep, from 0.
    pub sweep: usize,
    /// First node of the region, in the graph that the sweep started from.
    pub first_node: usize,
    /// The user's nodes whose term it started from; empty when that serves none by itself.
    pub nodes: Vec<String>,
    /// That term: operation, attributes and type.
    pub before: String,
    /// The term that it was found equal to.
    pub after: String,
}

/// An extraction whose program was made for comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The extraction.
    pub extraction: Extraction,
    /// Cycles of its program; `None` where there is none.
    pub cycles: Option<u64>,
}

/// What the rewriter did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewriteReport {
    /// Target whose cost decided.
    pub target: Target,
    /// What the target decided for all of the graph, if anything.
    pub decided: Option<String>,
    /// Names of its resources.
    pub resources: [&'static str; RESOURCES],
    /// Cost before.
    pub before: GraphCost,
    /// Cost after.
    pub after: GraphCost,
    /// The regions, in order, sweep by sweep.
    pub regions: Vec<RegionReport>,
    /// How each node came to be that rules made, in order of the new graph.
    pub lineage: Vec<Lineage>,
    /// How the form was found.
    pub extraction: Extraction,
    /// Extractions whose programs were compared, each with another graph; empty when none were.
    pub candidates: Vec<Candidate>,
    /// Result of the comparison, when one was asked for.
    pub check: Option<super::check::Check>,
    /// The application that a limit on applications ended with, when it was reached.
    pub last: Option<Application>,
    pub(super) applied: Vec<usize>,
    pub(super) used: Vec<usize>,
}

impl RewriteReport {
    pub(super) fn new(model: &dyn CostModel, before: GraphCost) -> RewriteReport {
        RewriteReport {
            target: model.target(),
            decided: model.decided(),
            resources: model.resources(),
            before,
            after: GraphCost::default(),
            regions: Vec::new(),
            lineage: Vec::new(),
            extraction: Extraction::default(),
            candidates: Vec::new(),
            check: None,
            last: None,
            applied: vec![0; TABLE.len()],
            used: vec![0; TABLE.len()],
        }
    }

    /// Rules that were used, in the order of the table.
    pub fn rules(&self) -> Vec<RuleCount> {
        let count = |i: usize| RuleCount { name: TABLE[i].name, applied: self.applied[i], used: self.used[i] };
        (0..TABLE.len()).map(count).filter(|c| c.applied > 0).collect()
    }

    /// Applications of all rules.
    pub fn applications(&self) -> usize {
        self.applied.iter().sum()
    }

    /// Why the rules stopped: the worst of the regions.
    pub fn stop(&self) -> StopReason {
        self.regions.iter().map(|r| r.stop).max().unwrap_or(StopReason::Saturated)
    }
}

impl fmt::Display for RewriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (b, a) = (&self.before, &self.after);
        writeln!(f, "{}: {} -> {} operations, {}", self.target, b.nodes, a.nodes, self.stop())?;
        for ((what, before), (_, after)) in b.lines().into_iter().zip(a.lines()) {
            writeln!(f, "  cycles, {what}: {before} -> {after}")?;
        }
        for (i, name) in self.resources.iter().enumerate().filter(|(_, n)| **n != "-") {
            writeln!(f, "    {name:<22}{:>12} -> {:>12}", b.busy_cycles[i], a.busy_cycles[i])?;
        }
        for r in self.rules() {
            writeln!(f, "  {:<36} applied {:>6}  used {:>6}", r.name, r.applied, r.used)?;
        }
        Ok(())
    }
}

/// Names of the user's nodes by number, each once.
pub(super) fn names(g: &Graph, numbers: &[u32]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in numbers.iter().flat_map(|&o| g.origins()[o as usize].name.split(JOINT)) {
        if !names.iter().any(|n| n == part) {
            names.push(part.to_string());
        }
    }
    names
}

/// Joins the lineage of two sweeps: a node of the second rests on what the first did for the user's nodes that
/// it serves.
pub(super) fn join_lineage(earlier: &[Lineage], now: Vec<Lineage>, after: &Graph) -> Vec<Lineage> {
    let mut by_name: BTreeMap<&str, Vec<&Lineage>> = BTreeMap::new();
    for l in earlier {
        if let Some(first) = l.serves.first() {
            by_name.entry(first).or_default().push(l);
        }
    }
    let mut by_node: BTreeMap<_, Lineage> = now.into_iter().map(|l| (l.node, l)).collect();
    for (i, n) in after.nodes().iter().enumerate() {
        let node = NodeId(i as u32);
        let serves: Vec<String> = after.origin_name(n).split(JOINT).map(str::to_string).collect();
        let mut steps: Vec<Step> = Vec::new();
        let below = serves.iter().filter_map(|s| by_name.get(s.as_str())).flatten();
        for l in below.filter(|l| l.serves.iter().all(|s| serves.contains(s))) {
            steps.extend(l.steps.iter().filter(|s| !steps.contains(s)).cloned().collect::<Vec<_>>());
        }
        if !steps.is_empty() {
            let l = by_node.entry(node).or_insert_with(|| Lineage { node, serves, steps: Vec::new() });
            let later = std::mem::take(&mut l.steps);
            l.steps = steps;
            l.steps.extend(later);
        }
    }
    by_node.into_values().collect()
}
