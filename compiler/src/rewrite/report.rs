//! What the rewriter did: why it stopped, which rules, and what it gained.

use super::cost::{CostModel, GraphCost, RESOURCES, Target};
use super::rebuild::Lineage;
use super::rules::TABLE;
use crate::ir::Graph;
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
    /// Cost of what was chosen: sum over its operations, in cycles.
    pub cost_cycles: u64,
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

/// What the rewriter did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewriteReport {
    /// Target whose cost decided.
    pub target: Target,
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
    /// Result of the comparison, when one was asked for.
    pub check: Option<super::check::Check>,
    pub(super) applied: Vec<usize>,
    pub(super) used: Vec<usize>,
}

impl RewriteReport {
    pub(super) fn new(target: Target, model: &dyn CostModel, before: GraphCost) -> RewriteReport {
        RewriteReport {
            target,
            resources: model.resources(),
            before,
            after: GraphCost::default(),
            regions: Vec::new(),
            lineage: Vec::new(),
            check: None,
            applied: vec![0; TABLE.len()],
            used: vec![0; TABLE.len()],
        }
    }

    /// Rules that were used, in the order of the table.
    pub fn rules(&self) -> Vec<RuleCount> {
        let count = |i: usize| RuleCount { name: TABLE[i].name, applied: self.applied[i], used: self.used[i] };
        (0..TABLE.len()).map(count).filter(|c| c.applied > 0).collect()
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
        writeln!(f, "  cycles without overlap  {:>12} -> {:>12}", b.serial_cycles, a.serial_cycles)?;
        writeln!(f, "  cycles, perfect overlap {:>12} -> {:>12}", b.overlapped_cycles(), a.overlapped_cycles())?;
        for (i, name) in self.resources.iter().enumerate().filter(|(_, n)| **n != "-") {
            writeln!(f, "    {name:<22}{:>12} -> {:>12}", b.busy_cycles[i], a.busy_cycles[i])?;
        }
        for r in self.rules() {
            writeln!(f, "  {:<36} applied {:>6}  used {:>6}", r.name, r.applied, r.used)?;
        }
        Ok(())
    }
}

/// Joins the lineage of two sweeps: a node of the second that the first had made, keeps its
/// rules. Nodes are recognised by the names of the user's nodes that they serve.
pub(super) fn join_lineage(earlier: Vec<Lineage>, now: Vec<Lineage>, _: &Graph, after: &Graph) -> Vec<Lineage> {
    let mut by_origin: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for l in earlier {
        let rules = by_origin.entry(l.serves.join(super::JOINT)).or_default();
        for r in l.rules {
            if !rules.contains(&r) {
                rules.push(r);
            }
        }
    }
    let mut by_node: BTreeMap<_, Lineage> = now.into_iter().map(|l| (l.node, l)).collect();
    for (i, n) in after.nodes().iter().enumerate() {
        let node = crate::ir::NodeId(i as u32);
        let Some(first) = by_origin.get(after.origin_name(n)) else { continue };
        let l = by_node.entry(node).or_insert_with(|| Lineage {
            node,
            rules: Vec::new(),
            serves: vec![after.origin_name(n).to_string()],
        });
        let later = std::mem::take(&mut l.rules);
        l.rules = first.iter().copied().chain(later.into_iter().filter(|r| !first.contains(r))).collect();
    }
    by_node.into_values().collect()
}
