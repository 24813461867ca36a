//! The yardstick: rules one after the other, as a peephole pass has them.
//!
//! Each rule in the order of the table rewrites wherever that makes the graph cheaper, again and again until none
//! does. Nothing is kept open: a form that costs as much as another, but would let a later rule help, is lost.

use super::cost::{CostModel, GraphCost, graph_cost};
use super::report::RewriteReport;
use super::rule::Limits;
use super::{RewriteError, RewriteOptions, sweep};
use crate::ir::Graph;

/// Rewrites a graph without alternatives, to be held against [`optimize`](super::optimize).
pub fn optimize_sequentially(
    g: &Graph,
    model: &dyn CostModel,
    options: &RewriteOptions,
) -> Result<(Graph, GraphCost), RewriteError> {
    let own = model.of_graph(g);
    let model = own.as_deref().unwrap_or(model);
    let limits = Limits::of(model, options);
    let once = RewriteOptions { iterations: 1, ..options.clone() };
    let (mut current, mut cost) = (g.clone(), graph_cost(g, model));
    loop {
        let before = cost.serial_cycles;
        for rule in options.rules()? {
            let mut report = RewriteReport::new(model, cost.clone());
            let next = sweep(&current, 0, model, (&[rule], limits), &once, &mut report)?;
            let next_cost = graph_cost(&next, model);
            if next_cost.serial_cycles < cost.serial_cycles {
                (current, cost) = (next, next_cost);
            }
        }
        if cost.serial_cycles == before {
            return Ok((current, cost));
        }
    }
}
