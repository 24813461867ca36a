//! The official ONNX node tests in whole-mesh mode: each is refused by name, or right. Nothing may panic.

use quadrille::compare::{Precision, Tolerance, compare};
use quadrille::pipeline;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer::{check, simulate};
use quadrille_tests::corpus;
use quadrille_tests::node_cases::{DataSet, NodeCase, node_cases};
use quadrille_wafer::collective::gemv::Grid;
use quadrille_wafer::whole_mesh;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `None` when the graph is refused.
fn run(case: &NodeCase, set: &DataSet, machine: &Machine) -> Option<Result<(), String>> {
    let graph = pipeline::run_passes(&set.graph, None, &["clean".to_string()]).ok()?;
    if graph.nodes().is_empty() {
        return None;
    }
    let grid = Grid { width: 5, height: 4 };
    let mesh = match whole_mesh::compile(&graph, machine, grid, &Default::default()) {
        Ok(mesh) => mesh,
        Err(e) => {
            let text = e.to_string();
            return (text.len() < 20).then(|| Err(format!("refused with `{text}`")));
        }
    };
    let judge = || -> Result<(), String> {
        let report = check(&mesh.program, machine);
        if let Some(e) = report.errors.first() {
            return Err(e.to_string());
        }
        let got = simulate(&mesh.program, machine, &set.inputs).map_err(|e| e.to_string())?.outputs;
        if got != mesh.eval(&set.inputs)? {
            return Err("simulated bits differ from the declared ones".to_string());
        }
        let triples: Vec<(&str, &Tensor, &Tensor)> =
            set.expected.iter().zip(&got).map(|((n, want), got)| (n.as_str(), got, want)).collect();
        match compare(&triples, Tolerance::of(Precision::F16)).map_err(|e| format!("{e:?}"))? {
            Some(c) if !c.ok => Err(format!("too far off: {c:?}")),
            _ => Ok(()),
        }
    };
    Some(judge().map_err(|e| format!("{}: {e}", case.name)))
}

#[test]
fn node_tests_are_refused_or_right() {
    let list = corpus::repository().join("tests/corpus/node-pass.txt");
    let text = std::fs::read_to_string(list).expect("the list is in the repository");
    let right: BTreeSet<&str> = text.lines().collect();
    let machine = Machine::builtin("wafer-small").unwrap();
    let cases = node_cases().unwrap_or_else(|e| panic!("{e}"));
    let judged: Vec<(String, Option<Result<(), String>>)> = cases
        .par_iter()
        .filter(|c| right.contains(c.name.as_str()))
        .map(|case| {
            let verdict = catch_unwind(AssertUnwindSafe(|| {
                let sets = case.data_sets().ok()?;
                sets.iter()
                    .map(|set| run(case, set, &machine))
                    .find(|v| !matches!(v, Some(Ok(()))))
                    .unwrap_or(Some(Ok(())))
            }));
            (case.name.clone(), verdict.unwrap_or_else(|_| Some(Err(format!("{}: panic", case.name)))))
        })
        .collect();
    let wrong: Vec<&String> = judged.iter().filter_map(|j| j.1.as_ref()?.as_ref().err()).collect();
    let passed = judged.iter().filter(|j| matches!(j.1, Some(Ok(())))).count();
    println!("{passed} of {} cases are right, the others are refused", judged.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(passed >= 100, "only {passed} are right");
}
