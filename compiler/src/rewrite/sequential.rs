//! The yardstick: rules one after the other, as a peephole pass has them.
//!
//! Each rule in the order of the table rewrites wherever that makes the graph cheaper, again and again until none
//! does. Nothing is kept open: a form that costs as much as another, but would let a later rule help, is lost.

use super::cost::{CostModel, graph_cost};
use super::report::RewriteReport;
use super::rule::Limits;
use super::{RewriteError, RewriteOptions, sweep};
use crate::ir::Graph;

/// Rewrites a graph without alternatives. Applications that made nothing cheaper count, too.
pub(super) fn one_rule_at_a_time(
    g: &Graph,
    model: &dyn CostModel,
    (rules, limits): (&[usize], Limits),
    options: &RewriteOptions,
    report: &mut RewriteReport,
) -> Result<Graph, RewriteError> {
    let once = RewriteOptions { iterations: 1, ..options.clone() };
    let (mut current, mut cycles) = (g.clone(), report.before.serial_cycles);
    loop {
        let before = cycles;
        for rule in rules {
            let mut tried = report.clone();
            let next = sweep(&current, 0, model, (std::slice::from_ref(rule), limits), &once, &mut tried)?;
            // What stopped one rule is no reason why all stopped.
            tried.regions.clear();
            let next_cycles = graph_cost(&next, model).serial_cycles;
            if next_cycles < cycles {
                (current, cycles, *report) = (next, next_cycles, tried);
            } else {
                (report.applied, report.last) = (tried.applied, tried.last);
            }
        }
        if cycles == before {
            return Ok(current);
        }
    }
}
