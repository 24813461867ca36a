//! The official ONNX node tests, one test a case.
//!
//! `corpus/node-pass.txt` names the cases that must pass, `corpus/node-fail.txt` those known not
//! to, each with its reason; a case of the second list that starts to pass fails here, so that
//! the lists stay true. `BLESS_NODE_TESTS=1` runs everything and rewrites both.

use libtest_mimic::{Arguments, Failed, Trial};
use quadrille_tests::node_cases::{NodeCase, node_cases};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

fn main() -> ExitCode {
    let cases = match node_cases() {
        Ok(cases) => cases,
        Err(e) => {
            eprintln!("the ONNX node tests cannot be generated: {e}");
            return ExitCode::FAILURE;
        }
    };
    if std::env::var_os("BLESS_NODE_TESTS").is_some() {
        return bless(&cases);
    }
    let (pass, fail) = match lists() {
        Ok(lists) => lists,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let arguments = Arguments::from_args();
    let trials = cases
        .into_iter()
        .map(|case| {
            let (must_pass, must_fail) = (pass.contains(&case.name), fail.contains_key(&case.name));
            Trial::test(case.name.clone(), move || judge(&case, must_pass, must_fail))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn judge(case: &NodeCase, must_pass: bool, must_fail: bool) -> Result<(), Failed> {
    if must_pass == must_fail {
        return Err("the case must be in exactly one of node-pass.txt and node-fail.txt".into());
    }
    match (case.run(), must_pass) {
        (Ok(()), true) | (Err(_), false) => Ok(()),
        (Err(e), true) => Err(e.into()),
        (Ok(()), false) => Err("passes now: move it from node-fail.txt to node-pass.txt".into()),
    }
}

fn lists() -> Result<(BTreeSet<String>, BTreeMap<String, String>), String> {
    let read = |name: &str| std::fs::read_to_string(corpus(name)).map_err(|e| format!("{name}: {e}"));
    let pass = read("node-pass.txt")?.lines().map(str::to_string).collect();
    let mut fail = BTreeMap::new();
    for line in read("node-fail.txt")?.lines() {
        let (name, reason) = line.split_once(": ").ok_or_else(|| format!("node-fail.txt: '{line}' has no reason"))?;
        fail.insert(name.to_string(), reason.to_string());
    }
    Ok((pass, fail))
}

fn bless(cases: &[NodeCase]) -> ExitCode {
    let results: Vec<Result<(), String>> = cases.par_iter().map(NodeCase::run).collect();
    let core = std::fs::read_to_string(corpus("node-core.txt")).unwrap_or_default();
    let core: BTreeSet<&str> = core.lines().collect();
    let (mut pass, mut fail, mut core_passes) = (String::new(), String::new(), 0);
    for (case, result) in cases.iter().zip(&results) {
        match result {
            Ok(()) => {
                pass.push_str(&format!("{}\n", case.name));
                core_passes += usize::from(core.contains(case.name.as_str()));
            }
            Err(reason) => {
                let first = reason.lines().next().unwrap_or("no reason given");
                fail.push_str(&format!("{}: {first}\n", case.name));
            }
        }
    }
    let passes = results.iter().filter(|r| r.is_ok()).count();
    println!("{passes} of {} pass, {core_passes} of the {} core cases", cases.len(), core.len());
    for (name, text) in [("node-pass.txt", pass), ("node-fail.txt", fail)] {
        if let Err(e) = std::fs::write(corpus(name), text) {
            eprintln!("{name}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
