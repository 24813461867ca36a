//! The official ONNX node tests on the machines, those that the oracle gets right (`corpus/node-pass.txt`), one test a
//! case and target; see `machine_lists`. A word on the command line filters by name:
//! `cargo test --test onnx_machines -- wafer::test_reduce`.

use quadrille_tests::node_cases::{NodeCase, node_cases};
use quadrille_tests::{corpus, machine_lists};
use std::collections::BTreeSet;
use std::process::ExitCode;

fn right() -> Result<Vec<NodeCase>, String> {
    let path = corpus::repository().join("tests/corpus/node-pass.txt");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let right: BTreeSet<&str> = text.lines().collect();
    let all = node_cases().map_err(|e| format!("the ONNX node tests cannot be generated: {e}"))?;
    Ok(all.into_iter().filter(|c| right.contains(c.name.as_str())).collect())
}

fn main() -> ExitCode {
    machine_lists::main("", right())
}
