//! The tsp judge on hand-built programs: what it accepts, what it computes, what it refuses.

mod tsp_programs;

use quadrille_runtime::tsp::{check, simulate};
use tsp_programs::*;

/// Runs a case that must be accepted and gives the outputs.
fn run(c: &Case) -> Vec<Vec<u8>> {
    let report = check(&c.p, &c.m);
    assert!(report.ok(), "{}: {report}", c.name);
    let result = simulate(&c.p, &c.m, &c.inputs).unwrap_or_else(|e| panic!("{}: {e}", c.name));
    assert_eq!(result.cycles, report.cycles, "{}: lengths", c.name);
    result.outputs.iter().map(|t| t.data.to_vec()).collect()
}

#[test]
fn hand_built_programs_are_accepted_and_run() {
    for c in all_cases() {
        run(&c);
    }
}
