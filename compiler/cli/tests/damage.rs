//! Programs of a real model with damaged bytes: read, check and simulate say what is wrong, and
//! never panic or hang.

use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{self, Feeds, Preparation};
use quadrille_compiler::ir::Tensor;
use quadrille_isa::container::{self, AnyProgram};
use std::collections::BTreeMap;
use std::path::Path;

fn digits(machine: &Machine) -> (AnyProgram, Vec<Tensor>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/digits.onnx");
    let model = pipeline::load(&path).expect("the model");
    let feeds = Feeds::default();
    let graph = pipeline::import(&path, &model, &BTreeMap::new(), &feeds).expect("it imports");
    let inputs = feeds.for_graph(&graph, 0).expect("seeded inputs");
    let graph = pipeline::prepare(&graph, machine, &Preparation::default()).expect("it is rewritten");
    (pipeline::compile(&graph, machine).expect("it compiles").program, inputs)
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn survives_damage(target: Target, seed: u64) {
    let machine = Machine::full_size(target);
    let (program, inputs) = digits(&machine);
    let good = container::write(&program).expect("it has a binary form");
    let expected = pipeline::simulate(&program, &machine, &inputs).expect("it runs").outputs;
    let live: Vec<usize> = (0..good.len()).filter(|&i| good[i] != 0).collect();
    let (mut state, mut unread, mut refused, mut harmless, mut different) = (seed, 0, 0, 0, 0);
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + splitmix(&mut state) % 2 {
            let at = live[(splitmix(&mut state) % live.len() as u64) as usize];
            bytes[at] ^= 1 << (splitmix(&mut state) % 8);
        }
        let Ok(damaged) = container::read(&bytes.into()) else {
            unread += 1;
            continue;
        };
        let checked = pipeline::check(&damaged, &machine).expect("a checker for the target");
        if checked.error_count > 0 {
            refused += 1;
            continue;
        }
        // Seeded inputs may no longer fit what a damaged program declares; that is an answer too.
        match pipeline::simulate(&damaged, &machine, &inputs) {
            Ok(run) if run.outputs == expected => harmless += 1,
            // Damaged weights and names change no rule.
            Ok(_) | Err(_) => different += 1,
        }
    }
    assert_eq!(unread + refused + harmless + different, 400);
    assert!(unread + refused > 0, "nothing was noticed");
}

#[test]
fn damaged_chip_programs() {
    survives_damage(Target::Tsp, 1);
}

#[test]
fn damaged_mesh_programs() {
    survives_damage(Target::Wafer, 2);
}
