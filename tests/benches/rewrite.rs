//! How long rewriting takes on graphs of 1,000, 3,000 and 10,000 nodes, and how much memory it needs.
//!
//! `cargo bench -p quadrille-tests --bench rewrite` prints, for each graph and target, seconds by the clock and of the
//! processor (all threads), operations before and after, and the most memory the process has had.

use quadrille_compiler::ir::Graph;
use quadrille_compiler::rewrite::{CostModel, RewriteOptions, optimize};
use quadrille_tests::graphs;
use quadrille_tests::measure::used;
use std::time::Instant;

fn main() {
    let models: [(&str, Box<dyn CostModel>); 2] =
        [("tsp", Box::new(quadrille_tsp::Cost::default())), ("wafer", Box::new(quadrille_wafer::Cost::default()))];
    println!("| graph | target | nodes | seconds | processor seconds | operations after | regions | peak MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, build) in [("residual", graphs::residual as fn(usize) -> Graph), ("transformer", graphs::transformer)] {
        for nodes in [1_000, 3_000, 10_000] {
            let g = build(nodes);
            for (target, model) in &models {
                let (start, before) = (Instant::now(), used().0);
                let (after, report) = optimize(&g, &**model, &RewriteOptions::default()).expect("it rewrites");
                let (seconds, (processor, peak)) = (start.elapsed().as_secs_f64(), used());
                println!(
                    "| {name} | {target} | {} | {seconds:.2} | {:.2} | {} | {} | {peak} |",
                    g.nodes().len(),
                    processor - before,
                    after.nodes().len(),
                    report.regions.len()
                );
            }
        }
    }
}
