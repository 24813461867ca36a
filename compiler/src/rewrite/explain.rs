//! What became of the user's nodes: which of them went into which of the new, by which rules, at what cost.
//!
//! Knows: the two graphs, the names in their origins, and the report. Must not know how rules are run.

use super::cost::{CostModel, Mapping, Operand, node_costs};
use super::rebuild::{JOINT, Step};
use super::report::RewriteReport;
use crate::ir::{Graph, Node, text};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All groups of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Nodes that belong together, in the order of the rewritten graph.
    pub groups: Vec<Group>,
    /// The user's nodes that no node of the rewritten graph serves: they became constants, or another node gives
    /// their result.
    pub gone: Vec<String>,
}

/// The user's nodes, and those of the rewritten graph that serve them: no node of either graph serves
/// nodes of two groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Names of the user's nodes.
    pub nodes: Vec<String>,
    /// Primitives before, those on constants alone left out.
    pub before: Vec<Made>,
    /// Primitives after, each with the rules that led to it.
    pub after: Vec<Made>,
    /// Sum of the times of those before, in cycles of the target's cost model.
    pub cycles_before: u64,
    /// The same after.
    pub cycles_after: u64,
}

/// A primitive, and how it came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// Operation, attributes and type.
    pub term: String,
    /// Its time, in cycles of the cost model.
    pub cycles: u64,
    /// Applications of rules that led to it, the first first; empty for the user's own.
    pub steps: Vec<Step>,
    /// The ways in which the target can do it, where there are several, by the cost model: those of primitives after.
    pub mappings: Vec<Mapping>,
}

impl Group {
    /// True when rules made one of its primitives, or took one away.
    pub fn is_changed(&self) -> bool {
        self.after.iter().any(|m| !m.steps.is_empty()) || self.before.len() != self.after.len()
    }

    /// True when the group has the user's node of that name, or a part of it (`norm/Mul_3` of `norm`).
    pub fn has(&self, node: &str) -> bool {
        self.nodes.iter().any(|n| is_part(n, node))
    }
}

fn is_part(name: &str, node: &str) -> bool {
    name.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Explanation {
    /// True when the user's node, or a part of it, has gone without a primitive that serves it.
    pub fn is_gone(&self, node: &str) -> bool {
        self.gone.iter().any(|n| is_part(n, node))
    }

    /// Names of all the user's nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|g| &g.nodes).chain(&self.gone).map(String::as_str)
    }
}

/// Puts together what rewriting did to a graph: `before`, `after` and the report of [`optimize`](super::optimize).
pub fn explain(before: &Graph, after: &Graph, report: &RewriteReport, model: &dyn CostModel) -> Explanation {
    let own = model.of_graph(before);
    let model = own.as_deref().unwrap_or(model);
    let mut joined = Joined::default();
    for g in [before, after] {
        g.nodes().iter().for_each(|n| joined.join(parts(g, n)));
    }
    let steps: HashMap<_, _> = report.lineage.iter().map(|l| (l.node.0 as usize, &l.steps)).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, (n, cost)) in after.nodes().iter().zip(node_costs(after, model)).enumerate() {
        let group = group_of(&mut groups, &mut number, joined.root(parts(after, n)));
        let cycles = cost.map_or(0, |c| c.cycles.alone());
        let steps = steps.get(&i).map_or_else(Vec::new, |s| s.to_vec());
        group.cycles_after += cycles;
        let mappings = mappings(after, n, model);
        group.after.push(Made { term: term(after, n), cycles, steps, mappings });
    }
    let mut gone = Vec::new();
    for (n, cost) in before.nodes().iter().zip(node_costs(before, model)) {
        let root = joined.root(parts(before, n));
        let Some(&i) = number.get(&root) else {
            gone.extend(parts(before, n).map(str::to_string));
            continue;
        };
        let group = &mut groups[i];
        group.nodes.extend(parts(before, n).map(str::to_string));
        if let Some(c) = cost {
            let c = c.cycles;
            group.cycles_before += c.alone();
            let (steps, mappings) = (Vec::new(), Vec::new());
            group.before.push(Made { term: term(before, n), cycles: c.alone(), steps, mappings });
        }
    }
    for names in groups.iter_mut().map(|g| &mut g.nodes).chain([&mut gone]) {
        let mut seen = BTreeSet::new();
        names.retain(|n| seen.insert(n.clone()));
    }
    Explanation { groups, gone }
}

fn group_of<'a>(groups: &'a mut Vec<Group>, number: &mut BTreeMap<usize, usize>, root: usize) -> &'a mut Group {
    let i = *number.entry(root).or_insert_with(|| {
        let (nodes, before, after) = (Vec::new(), Vec::new(), Vec::new());
        groups.push(Group { nodes, before, after, cycles_before: 0, cycles_after: 0 });
        groups.len() - 1
    });
    &mut groups[i]
}

fn parts<'a>(g: &'a Graph, n: &Node) -> impl Iterator<Item = &'a str> + use<'a> {
    g.origin_name(n).split(JOINT)
}

fn mappings(g: &Graph, n: &Node, model: &dyn CostModel) -> Vec<Mapping> {
    let inputs: Vec<Operand<'_>> =
        n.inputs.iter().map(|&v| Operand { ty: g.ty(v), fixed: g.constant(v).is_some() }).collect();
    let mut all = model.mappings(&n.op, &inputs, g.ty(n.output));
    all.sort_by_key(|m| m.cycles.alone());
    if all.len() > 1 { all } else { Vec::new() }
}

fn term(g: &Graph, n: &Node) -> String {
    format!("{} : {}", text::operation(&n.op), g.ty(n.output))
}

/// Names that some node joins.
#[derive(Default)]
struct Joined<'a> {
    number: HashMap<&'a str, usize>,
    up: Vec<usize>,
}

impl<'a> Joined<'a> {
    fn find(&mut self, name: &'a str) -> usize {
        let up = &mut self.up;
        let i = *self.number.entry(name).or_insert_with(|| {
            up.push(up.len());
            up.len() - 1
        });
        self.top(i)
    }

    fn top(&mut self, mut i: usize) -> usize {
        while self.up[i] != i {
            self.up[i] = self.up[self.up[i]];
            i = self.up[i];
        }
        i
    }

    fn join(&mut self, names: impl Iterator<Item = &'a str>) {
        let roots: Vec<usize> = names.map(|n| self.find(n)).collect();
        for w in roots.windows(2) {
            let (a, b) = (self.top(w[0]), self.top(w[1]));
            self.up[a.max(b)] = a.min(b);
        }
    }

    fn root(&mut self, mut names: impl Iterator<Item = &'a str>) -> usize {
        let first = names.next().unwrap_or_default();
        self.find(first)
    }
}
