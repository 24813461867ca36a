//! Cases on the machines, with committed lists of what runs, one test a case and target: `tsp::test_relu`.
//!
//! `corpus/{tsp,wafer}STEM-pass.txt` names the cases that run on a machine, each with the machine, and
//! `…-refused.txt` the others, each with its reason: out of scope, refused by the compiler, or a bug. A case
//! that changes its list fails here, so that the lists stay true.
//!
//! `BLESS_MACHINE_TESTS=tsp|wafer|all` runs everything of a target, rewrites its lists and prints
//! how many cases each reason for refusal stands in the way of.

use crate::corpus;
use crate::machine_cases::{Machines, Verdict};
use crate::node_cases::NodeCase;
use libtest_mimic::{Arguments, Failed, Trial};
use quadrille::machine::Target;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

type Lists = BTreeMap<String, Verdict>;

const KINDS: [&str; 2] = ["pass", "refused"];

/// Runs or blesses the cases, all of which the oracle gets right; `stem` is that of the lists.
pub fn main(stem: &str, cases: Result<Vec<NodeCase>, String>) -> ExitCode {
    match cases.and_then(|cases| run(stem, &cases)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// The verdicts on all cases of a target.
pub fn read(stem: &str, target: Target) -> Result<BTreeMap<String, Verdict>, String> {
    let mut lists = Lists::new();
    for kind in KINDS {
        let path = path(stem, target, kind);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for line in text.lines() {
            let entry = line.split_once(": ").and_then(|(n, v)| Some((n, Verdict::parse(v)?)));
            let Some((case, verdict)) = entry else { return Err(format!("{}: cannot read '{line}'", path.display())) };
            if verdict.is_right() != (kind == KINDS[0]) || lists.insert(case.to_string(), verdict).is_some() {
                return Err(format!("{}: '{case}' is in the wrong list or twice", path.display()));
            }
        }
    }
    Ok(lists)
}

fn path(stem: &str, target: Target, kind: &str) -> PathBuf {
    corpus::repository().join("tests/corpus").join(format!("{}{stem}-{kind}.txt", target.name()))
}

fn run(stem: &str, cases: &[NodeCase]) -> Result<ExitCode, String> {
    let targets = [Target::Tsp, Target::Wafer];
    if let Some(which) = std::env::var_os("BLESS_MACHINE_TESTS") {
        for target in targets.into_iter().filter(|t| which == t.name() || which == "all") {
            bless(stem, cases, target)?;
        }
        return summary(cases.len(), &targets.map(|t| (t, read(stem, t)))).map(|()| ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let mut results = Vec::new();
    for target in targets {
        let listed = Arc::new(read(stem, target)?);
        let machines = Arc::new(Machines::of(target));
        let found = Arc::new(Mutex::new(Lists::new()));
        for case in cases {
            let (case, listed) = (case.clone(), listed.clone());
            let (machines, found) = (machines.clone(), found.clone());
            trials.push(Trial::test(format!("{}::{}", target.name(), case.name), move || {
                let verdict = machines.judge(&case);
                let result = judge(listed.get(&case.name), &verdict);
                found.lock().map_err(|e| e.to_string())?.insert(case.name.clone(), verdict);
                result
            }));
        }
        // A name that no case has is a test that never runs.
        let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
        let unknown: Vec<String> = listed.keys().filter(|n| !names.contains(n.as_str())).cloned().collect();
        trials.push(Trial::test(format!("{}::every_listed_case_exists", target.name()), move || {
            if unknown.is_empty() { Ok(()) } else { Err(format!("no such case, or not right: {unknown:?}").into()) }
        }));
        results.push((target, found));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        let found: Vec<_> =
            results.iter().map(|(t, f)| (*t, f.lock().map(|l| l.clone()).map_err(|e| e.to_string()))).collect();
        let most = found.iter().filter_map(|(_, l)| l.as_ref().ok()).map(Lists::len).max().unwrap_or(0);
        summary(most, &found)?;
    }
    Ok(conclusion.exit_code())
}

fn judge(listed: Option<&Verdict>, found: &Verdict) -> Result<(), Failed> {
    let Some(listed) = listed else {
        return Err(format!("in no list; now {found}; bless with BLESS_MACHINE_TESTS").into());
    };
    if listed.same_kind(found) { Ok(()) } else { Err(format!("was {listed}; now {found}").into()) }
}

/// The numbers that belong together.
fn summary(right: usize, lists: &[(Target, Result<Lists, String>)]) -> Result<(), String> {
    println!("imported and right: {right}");
    for (target, list) in lists {
        let list = list.as_ref().map_err(Clone::clone)?;
        let count = |f: fn(&Verdict) -> bool| list.values().filter(|v| f(v)).count();
        let pass = count(|v| matches!(v, Verdict::Pass(_)));
        let out = count(|v| matches!(v, Verdict::OutOfScope(_)));
        let bugs = count(|v| matches!(v, Verdict::Bug(_)));
        let beyond = count(|v| matches!(v, Verdict::Beyond(_)));
        let scope = list.len() - out - beyond;
        let percent = 100.0 * pass as f64 / scope.max(1) as f64;
        println!("on {}: {pass} of {scope} in scope ({percent:.1} %), {bugs} bugs, {out} out of scope", target.name());
    }
    Ok(())
}

fn bless(stem: &str, cases: &[NodeCase], target: Target) -> Result<(), String> {
    let machines = Machines::of(target);
    // Panics are verdicts; their traces would bury the summary.
    std::panic::set_hook(Box::new(|_| {}));
    let verdicts: Vec<Verdict> = cases.par_iter().map(|c| machines.judge(c)).collect();
    let (mut pass, mut refused) = (String::new(), String::new());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(&verdicts) {
        let list = if verdict.is_right() { &mut pass } else { &mut refused };
        *list += &format!("{}: {verdict}\n", case.name);
        // Numbers are figures of one case.
        let reason: String = verdict.to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    for (reason, count) in reasons {
        println!("{count:5} {} {reason}", target.name());
    }
    for (kind, text) in KINDS.into_iter().zip([pass, refused]) {
        let path = path(stem, target, kind);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
