//! Outside tests with committed lists of what passes and what does not.
//!
//! `corpus/NAME-pass.txt` names the cases that must pass, `corpus/NAME-fail.txt` those known not to,
//! each with its reason; a case of the second list that starts to pass fails, so that the lists stay
//! true. With the environment variable `BLESS_NODE_TESTS` everything is run and both are rewritten.

use crate::corpus;
use crate::node_cases::NodeCase;
use libtest_mimic::{Arguments, Failed, Trial};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

fn path(name: &str) -> PathBuf {
    corpus::repository().join("tests/corpus").join(name)
}

/// Runs or blesses the cases, one test a case; `name` is that of the lists.
pub fn main(name: &str, cases: Result<Vec<NodeCase>, String>) -> ExitCode {
    match run(name, cases) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, cases: Result<Vec<NodeCase>, String>) -> Result<ExitCode, String> {
    let cases = cases.map_err(|e| format!("the tests of onnx cannot be generated: {e}"))?;
    if std::env::var_os("BLESS_NODE_TESTS").is_some() {
        return bless(name, &cases).map(|()| ExitCode::SUCCESS);
    }
    let (pass, fail) = lists(name)?;
    let known: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    let unknown: Vec<&String> = pass.iter().chain(fail.keys()).filter(|n| !known.contains(n.as_str())).collect();
    if !unknown.is_empty() {
        return Err(format!("the lists name cases that do not exist: {unknown:?}"));
    }
    let arguments = Arguments::from_args();
    let trials = cases
        .into_iter()
        .map(|case| {
            let (must_pass, must_fail) = (pass.contains(&case.name), fail.contains_key(&case.name));
            let name = name.to_string();
            Trial::test(case.name.clone(), move || judge(&name, &case, must_pass, must_fail))
        })
        .collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn judge(name: &str, case: &NodeCase, must_pass: bool, must_fail: bool) -> Result<(), Failed> {
    if must_pass == must_fail {
        return Err(format!("the case must be in exactly one of {name}-pass.txt and {name}-fail.txt").into());
    }
    match (case.run(), must_pass) {
        (Ok(()), true) | (Err(_), false) => Ok(()),
        (Err(e), true) => Err(e.into()),
        (Ok(()), false) => Err(format!("passes now: move it from {name}-fail.txt to {name}-pass.txt").into()),
    }
}

/// Names that pass, and names that fail with their reasons.
fn lists(name: &str) -> Result<(BTreeSet<String>, BTreeMap<String, String>), String> {
    let read = |file: &str| std::fs::read_to_string(path(file)).map_err(|e| format!("{file}: {e}"));
    let pass = read(&format!("{name}-pass.txt"))?.lines().map(str::to_string).collect();
    let mut fail = BTreeMap::new();
    for line in read(&format!("{name}-fail.txt"))?.lines() {
        let (case, reason) = line.split_once(": ").ok_or_else(|| format!("{name}-fail.txt: '{line}' has no reason"))?;
        fail.insert(case.to_string(), reason.to_string());
    }
    Ok((pass, fail))
}

fn bless(name: &str, cases: &[NodeCase]) -> Result<(), String> {
    let results: Vec<Result<(), String>> = cases.par_iter().map(NodeCase::run).collect();
    // The cases of ordinary inference, where a list of them is kept.
    let core = std::fs::read_to_string(path(&format!("{name}-core.txt"))).unwrap_or_default();
    let core: BTreeSet<&str> = core.lines().collect();
    let (mut pass, mut fail, mut core_passes) = (String::new(), String::new(), 0);
    let mut suites: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, result) in cases.iter().zip(&results) {
        let suite = suites.entry(case.name.split_once("::").map_or("", |(s, _)| s)).or_default();
        suite.1 += 1;
        match result {
            Ok(()) => {
                suite.0 += 1;
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
    for (suite, (passes, all)) in suites.iter().filter(|(s, _)| !s.is_empty()) {
        println!("{suite}: {passes} of {all}");
    }
    for (kind, text) in [("pass", pass), ("fail", fail)] {
        let file = format!("{name}-{kind}.txt");
        std::fs::write(path(&file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}
