//! Rewriting by equality saturation: many forms of the graph at once, then the cheapest.
//!
//! Region by region, the graph becomes an e-graph (`load`), the rules add equal forms
//! ([`rules`]), the extraction takes the forms that cost least on the target (`extract`,
//! [`cost`]), and what it took becomes nodes again (`rebuild`). Everything is decided by
//! counts, never by the clock, so the same graph gives the same result on any machine.
//!
//! Must not know: how a target schedules. It learns only cycles, from a [`CostModel`].
//!
//! docs/rewriting.md tells the whole, docs/rules.md lists the rules.

mod analysis;
mod check;
pub mod cost;
pub mod docs;
mod exact;
mod explain;
mod extract;
mod fold;
mod judged;
mod language;
mod load;
mod options;
mod overlap;
mod quantised;
mod rebuild;
mod region;
mod report;
mod rule;
pub mod rules;
mod sequential;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use check::{Check, Difference, compare_graphs, random_inputs};
pub use cost::{CostModel, Cycles, GraphCost, Mapping, Objective, Operand, Product, RESOURCES, Target, Wait, as_chain};
pub use explain::{Explanation, Group, Made, explain};
pub use judged::{Judge, Trials, optimize_judged, worth_a_program};
pub use options::{Extraction, RewriteOptions};
pub use rebuild::{JOINT, Lineage, Step};
pub use report::{Application, Candidate, Overlap, RegionReport, RewriteReport, RuleCount, StopReason};
pub use rule::{Rounding, Rule, Theme};

use crate::ir::{Graph, ValueId};
use analysis::{Read, Region, Terms};
use egg::{Id, Iteration, Runner, SimpleScheduler};
use extract::{Choice, Problem};
use language::Kind;
use load::Loaded;
use overlap::Overlapped;
use rayon::prelude::*;
use rebuild::{Builder, Chosen};
use rule::Limits;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Why a graph was not rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// `only_rules` or `disable_rules` names no rule and no theme.
    #[error("no rule and no theme is called `{name}`; did you mean `{nearest}`? (docs/rules.md lists them)")]
    UnknownRule {
        /// Name given.
        name: String,
        /// The name most like it.
        nearest: &'static str,
    },
    /// Before and after differ on seeded random inputs.
    #[error("rewriting changed the result: {difference}")]
    Changed {
        /// Where and how much.
        difference: Difference,
    },
    /// A graph could not be evaluated for the check.
    #[error("the graph {which} rewriting cannot be evaluated: {reason}")]
    NotEvaluated {
        /// `before` or `after`.
        which: &'static str,
        /// The oracle's reason.
        reason: String,
    },
    /// A rule or the rewriter itself is wrong; the graph is unchanged.
    #[error("internal error in rewriting (please report it; --disable-rule is a way around): {reason}")]
    Bug {
        /// What was found.
        reason: String,
    },
}

impl RewriteError {
    fn bug(reason: impl Into<String>) -> RewriteError {
        RewriteError::Bug { reason: reason.into() }
    }
}

/// Rewrites a graph by a target's costs.
pub fn optimize(
    g: &Graph,
    model: &dyn CostModel,
    options: &RewriteOptions,
) -> Result<(Graph, RewriteReport), RewriteError> {
    let rules = options.rules()?;
    let own = model.of_graph(g);
    let model = own.as_deref().unwrap_or(model);
    let limits = Limits::of(model, options);
    let mut report = RewriteReport::new(model, cost::graph_cost(g, model));
    report.extraction = options.extraction.unwrap_or_default();
    let current = match report.extraction {
        Extraction::Untouched => g.clone(),
        Extraction::Sequential => sequential::one_rule_at_a_time(g, model, (&rules, limits), options, &mut report)?,
        Extraction::By(_) => saturated(g, model, (&rules, limits), options, &mut report)?,
    };
    report.after = cost::graph_cost(&current, model);
    if let Some(seed) = options.check {
        report.check = Some(compare_graphs(g, &current, &random_inputs(g, seed), options.strict_float)?);
    }
    Ok((current, report))
}

/// The best form of all that the rules find.
fn saturated(
    g: &Graph,
    model: &dyn CostModel,
    rules: (&[usize], Limits),
    options: &RewriteOptions,
    report: &mut RewriteReport,
) -> Result<Graph, RewriteError> {
    let mut current = g.clone();
    for sweep in 0..SWEEPS {
        let cut = current.nodes().len() > region::REGION_NODES;
        let mut swept = report.clone();
        let next = self::sweep(&current, sweep, model, rules, options, &mut swept)?;
        // What is best for each region may be worse for all of them: a chain that is long in one may be what the others wait for.
        let minimised = |g: &Graph| options.objective().cycles(&cost::graph_cost(g, model));
        if cut && minimised(&next) > minimised(&current) {
            break;
        }
        (current, *report) = (next, swept);
        // The second sweep has other cuts; the third, of a graph that has become small enough, none.
        if !cut || sweep > 0 && current.nodes().len() > region::REGION_NODES {
            break;
        }
    }
    Ok(current)
}

/// Sweeps over a graph, at most.
const SWEEPS: usize = 3;

/// Regions whose e-graphs are in memory at once. A constant, so that memory does not depend on the
/// machine; the result never does.
const REGIONS_AT_ONCE: usize = 8;

fn sweep(
    g: &Graph,
    sweep: usize,
    model: &dyn CostModel,
    rules: (&[usize], Limits),
    options: &RewriteOptions,
    report: &mut RewriteReport,
) -> Result<Graph, RewriteError> {
    let mut builder = Builder::new(g, rules::TABLE.len());
    let last_uses = region::last_uses(g);
    let decides = quantised::decides_a_step(g);
    // With applications counted, a region must know how many the earlier ones made.
    let at_once = if options.applications.is_some() { 1 } else { REGIONS_AT_ONCE };
    for ranges in region::cut(g, sweep % 2 == 1).chunks(at_once) {
        let fuel = options.applications.map(|most| most - report.applications());
        // No region depends on what another becomes; only the building goes in order.
        let found: Vec<_> = ranges
            .par_iter()
            .map(|r| {
                let mut loaded = load::load(g, r, &decides);
                loaded.egraph.analysis.fuel = fuel;
                search(loaded, region::roots(g, r, &last_uses), model, rules, options)
            })
            .collect();
        for (range, found) in ranges.iter().zip(found) {
            let mut found = found?;
            for it in &found.iterations {
                for (name, n) in &it.applied {
                    if let Some(i) = rules::TABLE.iter().position(|r| r.name == name.as_str()) {
                        report.applied[i] += n;
                    }
                }
            }
            if let Some(last) = found.loaded.egraph.analysis.last.take() {
                report.last = Some(Application {
                    rule: rules::TABLE[last.rule as usize].name,
                    sweep,
                    first_node: range.start,
                    nodes: report::names(g, &last.serves),
                    before: last.before,
                    after: last.after,
                });
            }
            let nodes_before = builder.out.nodes().len();
            builder.region(&mut found.loaded, &found.chosen, &found.roots, |r| rules::TABLE[r as usize].name)?;
            report.regions.push(RegionReport {
                sweep,
                first_node: range.start,
                nodes_before: range.len(),
                nodes_after: builder.out.nodes().len() - nodes_before,
                classes: found.loaded.egraph.number_of_classes(),
                terms: found.loaded.egraph.total_number_of_nodes(),
                iterations: found.iterations.len(),
                stop: StopReason::of(found.stop),
                cost_cycles: extract::to_cycles(found.solved.sum.cost),
                greedy_cycles: extract::to_cycles(found.solved.sum.greedy),
                bound_cycles: found.solved.sum.bound.map(extract::to_cycles),
                proven: found.solved.sum.bound == Some(found.solved.sum.cost),
                overlap: Overlap {
                    first_cycles: overlap::score_to_cycles(found.solved.first),
                    taken_cycles: overlap::score_to_cycles(found.solved.score),
                    bound_cycles: found.solved.bound.map(overlap::score_to_cycles),
                },
            });
        }
    }
    builder.finish()?;
    for (sum, n) in report.used.iter_mut().zip(&builder.used) {
        *sum += n;
    }
    report.lineage = report::join_lineage(&report.lineage, builder.lineage, &builder.out);
    Ok(builder.out)
}

/// A region with its cheapest form.
struct Found {
    roots: Vec<ValueId>,
    loaded: Loaded,
    iterations: Vec<Iteration<()>>,
    stop: Option<egg::StopReason>,
    solved: Overlapped,
    chosen: Chosen,
}

/// Adds equal forms to a region and chooses among them.
fn search(
    loaded: Loaded,
    roots: Vec<ValueId>,
    model: &dyn CostModel,
    (numbers, limits): (&[usize], Limits),
    options: &RewriteOptions,
) -> Result<Found, RewriteError> {
    let limits = Limits { terms: options.node_limit(loaded.egraph.total_size()), ..limits };
    let rewrites: Vec<_> = numbers.iter().map(|&i| rule::adapt(rules::TABLE[i], i, limits)).collect();
    // egg has no way to switch its clock off, so it gets a limit that no run reaches.
    let runner = Runner::<_, _, ()>::new(Region::default())
        .with_egraph(loaded.egraph)
        .with_iter_limit(options.iterations)
        .with_node_limit(limits.terms)
        .with_time_limit(Duration::from_secs(u32::MAX.into()))
        .with_scheduler(SimpleScheduler)
        .run(&rewrites);
    let (iterations, stop, egraph) = (runner.iterations, runner.stop_reason, runner.egraph);
    if let Some(fault) = egraph.analysis.faults.first() {
        return Err(RewriteError::bug(format!("a rule joined values of different types: {fault}")));
    }
    let loaded = Loaded { egraph, ..loaded };
    let classes: HashMap<_, _> = loaded.values.iter().copied().collect();
    let root_classes: Vec<Id> = roots.iter().map(|v| loaded.egraph.find(classes[v])).collect();
    let mut cost_of = |egraph: &Terms, c: Id, t: &language::Term| term_cost(egraph, c, t, model);
    let (solved, chosen) =
        extraction(&loaded.egraph, &root_classes, (model.shared(), options.objective()), &mut cost_of)
            .ok_or_else(|| RewriteError::bug("no choice of terms without a cycle"))?;
    Ok(Found { roots, loaded, iterations, stop, solved, chosen })
}

/// What a term costs in the units of [`extract`], what it takes of each resource, and what waits for it.
type TermCost = (u64, Cycles, Wait);

/// Cost of a term in the extraction's units, and what it takes of each resource.
fn term_cost(egraph: &Terms, class: Id, term: &language::Term, model: &dyn CostModel) -> TermCost {
    match egraph.op(term) {
        None => (0, Cycles::default(), Wait::default()),
        Some(_) if rebuild::is_folded(egraph, class, term) => (1, Cycles::default(), Wait::default()),
        Some(op) => {
            let inputs: Vec<Operand<'_>> = term
                .children
                .iter()
                .map(|&c| Operand { ty: &egraph.facts(c).ty, fixed: egraph.facts(c).fixed })
                .collect();
            let cycles = model.joined(op, &inputs, &egraph.facts(class).ty);
            (extract::in_units(cycles.alone()).saturating_add(2), cycles, model.wait(op, &inputs, cycles))
        }
    }
}

/// Chooses a term for each class that the roots need.
fn extraction(
    egraph: &Terms,
    roots: &[Id],
    (shared, objective): ([bool; RESOURCES], Objective),
    cost: &mut dyn FnMut(&Terms, Id, &language::Term) -> TermCost,
) -> Option<(Overlapped, Chosen)> {
    let mut number: HashMap<Id, u32> = HashMap::new();
    let mut ids: Vec<Id> = Vec::new();
    let mut of = |c: Id, ids: &mut Vec<Id>| {
        *number.entry(c).or_insert_with(|| {
            ids.push(c);
            ids.len() as u32 - 1
        })
    };
    let roots = roots.iter().map(|&r| of(r, &mut ids)).collect();
    let mut problem = Problem { roots, shared, objective, ..Problem::default() };
    let births = egraph.analysis.births.iter().zip(egraph.nodes()).filter(|(b, _)| b.rule.is_none());
    let given: HashSet<language::Term> =
        births.map(|(_, t)| egg::Language::map_children(t.clone(), |c| egraph.find(c))).collect();
    let mut terms: Vec<Vec<&language::Term>> = Vec::new();
    let mut next = 0;
    while next < ids.len() {
        let class = ids[next];
        next += 1;
        let known = egraph.facts(class).value.is_some();
        // A known constant or a leaf needs no other form.
        let free = |t: &&language::Term| matches!(t.kind, Kind::Const | Kind::Leaf);
        let all: Vec<&language::Term> = match egraph[class].nodes.iter().find(free) {
            Some(t) if known || t.kind == Kind::Leaf => vec![t],
            _ => egraph[class].nodes.iter().collect(),
        };
        let choices = all
            .iter()
            .map(|t| {
                let mut children: Vec<u32> = t.children.iter().map(|&k| of(egraph.find(k), &mut ids)).collect();
                children.sort_unstable();
                children.dedup();
                let (cost, cycles, wait) = cost(egraph, class, t);
                Choice { cost, cycles, wait, children }
            })
            .collect();
        problem.classes.push(choices);
        problem.given.push(all.iter().position(|t| given.contains(*t)).unwrap_or(0) as u32);
        terms.push(all);
    }
    let solved = overlap::solve(&problem)?;
    let picked = ids.iter().zip(terms).zip(&solved.solution);
    let chosen = picked.map(|((&id, ts), &i)| (id, ts[i as usize].clone())).collect();
    Some((solved, chosen))
}
