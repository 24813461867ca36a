//! Single random changes to programs for the full mesh: two models as pipelines, a decoder layer in whole-mesh mode.
//! What the checker accepts must run to its end, so that only values are left to the comparison.

mod wafer_support;

use quadrille_isa::Tensor;
use quadrille_isa::container::AnyProgram;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{Options, SimError, SimResult, check, simulate_with};
use quadrille_tests::corpus;
use quadrille_tests::whole::{imported, whole};
use quadrille_wafer::collective::gemv::Grid;
use quadrille_wafer::whole_mesh;
use rayon::prelude::*;
use std::collections::BTreeMap;
use wafer_support::mutate::{Rng, mutate};

struct Case {
    name: &'static str,
    program: Program,
    inputs: Vec<Tensor>,
}

#[derive(Debug)]
enum Verdict {
    Rejected(&'static str),
    Harmless,
    Compared,
    /// Accepted, but the run fails: a hole in the checker.
    Hole(String),
}

impl Case {
    fn pipeline(name: &'static str) -> Case {
        let w = whole(&corpus::model(name), "wafer");
        let AnyProgram::Wafer(program) = w.compiled.program else { panic!("a mesh's program") };
        Case { name, program, inputs: w.inputs }
    }

    fn whole_mesh(name: &'static str, machine: &Machine) -> Case {
        let (graph, feeds, _) = imported(&corpus::model(name));
        let clean = ["clean".to_string()];
        let graph = quadrille::pipeline::run_passes(&graph, None, &clean).expect("the passes run");
        let inputs = feeds.for_graph(&graph, 0).expect("inputs for every input of the graph");
        let grid = Grid { width: 48, height: 40 };
        let mesh = whole_mesh::compile(&graph, machine, grid, &Default::default()).expect("it compiles");
        Case { name, program: mesh.program, inputs }
    }

    fn run(&self, program: &Program, machine: &Machine) -> Result<SimResult, SimError> {
        let options = Options { max_cycles: Some(2_000_000), ..Options::default() };
        simulate_with(program, machine, &self.inputs, &options)
    }

    fn judge(&self, mutant: &Program, machine: &Machine, want: &SimResult) -> Verdict {
        if let Some(e) = check(mutant, machine).errors.first() {
            return Verdict::Rejected(e.rule.id());
        }
        match self.run(mutant, machine) {
            // A changed declaration of an input is not the program's fault.
            Err(SimError::Input(_)) => Verdict::Rejected("input declaration"),
            Err(e) => Verdict::Hole(e.to_string()),
            Ok(r) if r.outputs == want.outputs => Verdict::Harmless,
            Ok(_) => Verdict::Compared,
        }
    }
}

fn mutations(pipelines: &[&'static str], count: u64, seed: u64) {
    let machine = Machine::builtin("wafer").unwrap();
    let mut cases = vec![Case::whole_mesh("decoder-tiny", &machine)];
    cases.extend(pipelines.iter().map(|name| Case::pipeline(name)));
    let wants: Vec<SimResult> = cases.iter().map(|c| c.run(&c.program, &machine).expect("it runs")).collect();
    let judged: Vec<(String, Verdict)> = (0..count)
        .into_par_iter()
        .map(|k| {
            let at = k as usize % cases.len();
            let mutant = mutate(&cases[at].program, &mut Rng(seed + k));
            (format!("{} seed {}", cases[at].name, seed + k), cases[at].judge(&mutant, &machine, &wants[at]))
        })
        .collect();
    let (mut rules, mut harmless, mut compared): (BTreeMap<&str, u32>, _, _) = (BTreeMap::new(), 0, 0);
    let mut holes = Vec::new();
    for (name, v) in &judged {
        match v {
            Verdict::Rejected(rule) => *rules.entry(rule).or_default() += 1,
            Verdict::Harmless => harmless += 1,
            Verdict::Compared => compared += 1,
            Verdict::Hole(e) => holes.push(format!("{name}: {e}")),
        }
    }
    let rejected: u32 = rules.values().sum();
    println!("{count} mutations: {rejected} rejected, {harmless} harmless, {compared} seen in the outputs; {rules:?}");
    assert!(holes.is_empty(), "accepted, but does not run:\n{}", holes.join("\n"));
    assert!(u64::from(rejected) > count / 5, "the mutations test little");
}

#[test]
fn single_mutations_of_full_size_programs_are_all_noticed() {
    mutations(&["silero-vad-op18-ifless"], 24, 1);
}

#[test]
#[ignore = "runs for many minutes"]
fn a_thousand_mutations_of_full_size_programs_are_all_noticed() {
    mutations(&["silero-vad-op18-ifless", "mtcnn-pnet"], 1000, 5_000_000);
}
