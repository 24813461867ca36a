//! How long the way of a convolutional network to a checked and simulated program takes as the network grows.
//!
//! `cargo bench -p quadrille-tests --bench tsp` prints, for int8 ResNets of 18 to 152 layers on the full-size machine, the cycles,
//! and the seconds by the clock of each step: file to graph, graph to program, checker, simulator with data. Medians of three runs.

use quadrille::machine::Machine;
use quadrille::pipeline;
use quadrille_isa::container::AnyProgram;
use quadrille_tests::corpus;
use quadrille_tests::measure::used;
use quadrille_tests::whole::{compiled, prepared};
use std::time::Instant;

const RUNS: usize = 3;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let machine = Machine::load("tsp").expect("a machine that ships with the compiler");
    println!(
        "| model | nodes | instructions | cycles | mapping bound | import | compile | us an instruction | check | simulate | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for layers in [18, 50, 101, 152] {
        let name = format!("resnet{layers}-int8-qdq");
        let files = corpus::model(&name);
        let mut steps: [Vec<f64>; 4] = Default::default();
        let mut row = None;
        for _ in 0..RUNS {
            let mut last = Instant::now();
            let mut lap = |step: usize| {
                steps[step].push(last.elapsed().as_secs_f64());
                last = Instant::now();
            };
            let ready = prepared(&files, &machine);
            lap(0);
            let w = compiled(ready, Machine::load("tsp").expect("as above"));
            lap(1);
            let checked = pipeline::check(&w.compiled.program, &machine).expect("the checker runs");
            assert_eq!(checked.error_count, 0, "{:?}", checked.errors);
            lap(2);
            let simulated = pipeline::simulate(&w.compiled.program, &machine, &w.inputs).expect("it runs");
            lap(3);
            let AnyProgram::Tsp(program) = &w.compiled.program else { unreachable!("the machine is a chip") };
            let instructions = program.queues.values().map(Vec::len).sum::<usize>();
            row =
                Some((w.graph.nodes().len(), instructions, simulated.cycles, w.compiled.estimate.mapping_bound_cycles));
        }
        let Some((nodes, instructions, cycles, bound)) = row else { continue };
        let [import, compile, check, simulate] = steps.map(median);
        let each = 1e6 * compile / instructions as f64;
        println!(
            "| {name} | {nodes} | {instructions} | {cycles} | {bound} | {import:.2} | {compile:.2} | {each:.1} | {check:.2} | {simulate:.2} | {} |",
            used().1
        );
    }
}
