//! Single random changes to accepted `wafer` programs: each must be rejected by the checker,
//! be harmless, or be seen in the outputs. A program that the checker accepts must also run to
//! its end: what is left to the comparison is values alone. Nothing may panic or hang.

#[path = "wafer_support/compiled.rs"]
mod compiled;
mod wafer_support;

use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{CheckReport, Options, Rule, check, check_stepwise, simulate, simulate_with};
use std::collections::{BTreeMap, BTreeSet};
use wafer_support::mutate::{Rng, mutate};
use wafer_support::samples;

#[derive(Debug, PartialEq)]
enum Verdict {
    Rejected(&'static str),
    Harmless,
    Compared,
    /// Accepted, but the run fails: a hole in the checker.
    Hole(String),
}

fn judge(program: &Program, machine: &Machine, inputs: &[Tensor], want: &[Tensor]) -> Verdict {
    let report = check(program, machine);
    let plain = check_stepwise(program, machine);
    let rules = |r: &CheckReport| r.errors.iter().map(|e| e.rule).collect::<BTreeSet<Rule>>();
    assert_eq!(rules(&report), rules(&plain), "{:?}\n{:?}", report.errors, plain.errors);
    assert!(!report.ok() || report.operations == plain.operations);
    let run = simulate_with(program, machine, inputs, &Options { max_cycles: Some(2_000_000), ..Options::default() });
    match (report.errors.first(), run) {
        (Some(e), _) => Verdict::Rejected(e.rule.id()),
        // A changed declaration of an input is not the program's fault.
        (None, Err(quadrille_runtime::wafer::SimError::Input(_))) => Verdict::Rejected("input declaration"),
        (None, Err(e)) => Verdict::Hole(e.to_string()),
        (None, Ok(r)) if r.outputs == want => Verdict::Harmless,
        (None, Ok(_)) => Verdict::Compared,
    }
}

/// A program, a name for messages, inputs.
type Case = (&'static str, Program, Vec<Tensor>);

fn by_hand() -> Vec<Case> {
    samples::all().into_iter().map(|s| (s.name, s.builder.program, s.inputs)).collect()
}

fn by_compiler() -> Vec<Case> {
    compiled::all().into_iter().map(|s| (s.name, s.program, s.inputs)).collect()
}

fn mutations(cases: &[Case], count: u64, seed: u64) {
    let machine = Machine::builtin("wafer-small").unwrap();
    let (mut rejected, mut harmless, mut compared) = (0, 0, 0);
    let mut rules: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut holes = Vec::new();
    let mut wants = Vec::new();
    for (name, program, inputs) in cases {
        let report = check(program, &machine);
        assert!(report.ok(), "{name}: {:?}", report.errors);
        wants.push(simulate(program, &machine, inputs).unwrap().outputs);
    }
    for k in 0..count {
        let which = k as usize % cases.len();
        let (name, program, inputs) = &cases[which];
        let mutant = mutate(program, &mut Rng(seed.wrapping_add(k)));
        match judge(&mutant, &machine, inputs, &wants[which]) {
            Verdict::Rejected(rule) => {
                rejected += 1;
                *rules.entry(rule).or_default() += 1;
            }
            Verdict::Harmless => harmless += 1,
            Verdict::Compared => compared += 1,
            Verdict::Hole(e) => holes.push(format!("{name} seed {}: {e}", seed.wrapping_add(k))),
        }
    }
    println!("{count} mutations: {rejected} rejected, {harmless} harmless, {compared} seen in the outputs; {rules:?}");
    assert!(holes.is_empty(), "accepted, but does not run:\n{}", holes.join("\n"));
    assert!(rejected > count / 4 && compared > 0, "the mutations test little");
}

#[test]
fn two_hundred_single_mutations_are_all_noticed() {
    mutations(&by_hand(), 200, 1);
}

#[test]
fn many_more_mutations_are_all_noticed() {
    mutations(&by_hand(), 4000, 1_000_000);
}

#[test]
fn two_hundred_mutations_of_compiled_programs_are_all_noticed() {
    mutations(&by_compiler(), 200, 1);
}

#[test]
fn many_more_mutations_of_compiled_programs_are_all_noticed() {
    mutations(&by_compiler(), 1000, 2_000_000);
}

#[test]
fn heavily_damaged_programs_never_panic_or_hang() {
    let samples = samples::all();
    for k in 0..2000 {
        let s = &samples[k % samples.len()];
        let mut rng = Rng(k as u64);
        let mut p = s.builder.program.clone();
        for _ in 0..2 + rng.below(12) {
            p = mutate(&p, &mut rng);
        }
        let accepted = check(&p, &s.builder.machine).ok();
        let run = simulate_with(
            &p,
            &s.builder.machine,
            &s.inputs,
            &Options { max_cycles: Some(200_000), ..Options::default() },
        );
        if let (true, Err(e)) = (accepted, &run) {
            assert!(matches!(e, quadrille_runtime::wafer::SimError::Input(_)), "{k}: {e}");
        }
    }
}
