//! Mutations of a whole model's program on the full machine: of those that change an output, or stop the run, the
//! checker alone rejects nearly all.

mod tsp_mutations;
mod tsp_programs;

use quadrille::machine::Machine;
use quadrille_isa::container::AnyProgram;
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tests::corpus;
use quadrille_tests::whole::whole;
use rayon::prelude::*;
use tsp_mutations::{Mutation, mutate};
use tsp_programs::Noise;

/// What became of one mutation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    /// Accepted; the outputs are the same.
    Harmless,
    /// Rejected, though the outputs are the same.
    Strict,
    /// Rejected; an output differs, or the run stops.
    Caught,
    /// Accepted; an output differs. The change is of what is computed, which no rule can know.
    Computed,
    /// Accepted; an output differs, or the run stops, through when or where something happens.
    Missed,
}

/// Mutates int8 ResNet-50 so many times. A change of when or where something happens must be caught if it changes an
/// output. Gives how many change one, and how many of them the checker rejects.
fn judge(count: u64) -> (usize, usize) {
    let w = whole(&corpus::model("resnet50-int8-qdq"), "tsp");
    let (AnyProgram::Tsp(p), Machine::Tsp(m)) = (&w.compiled.program, &w.machine) else { panic!("a chip's program") };
    assert!(check(p, m).ok());
    let want = simulate(p, m, &w.inputs).expect("accepted").outputs;
    let fates: Vec<(Fate, String)> = (0..count)
        .into_par_iter()
        .map(|n| {
            let Mutation { p, what, dataflow } = mutate(p, &mut Noise(7_000 + n));
            let ok = check(&p, m).ok();
            let same = simulate(&p, m, &w.inputs).is_ok_and(|r| r.outputs == want);
            let fate = match (ok, same) {
                (true, true) => Fate::Harmless,
                (false, true) => Fate::Strict,
                (false, false) => Fate::Caught,
                (true, false) if dataflow => Fate::Missed,
                (true, false) => Fate::Computed,
            };
            (fate, what)
        })
        .collect();
    let number = |f: Fate| fates.iter().filter(|x| x.0 == f).count();
    let all = [Fate::Harmless, Fate::Strict, Fate::Caught, Fate::Computed, Fate::Missed];
    println!("{count} mutations: {:?}", all.map(|f| (f, number(f))));
    let missed: Vec<&String> = fates.iter().filter(|f| f.0 == Fate::Missed).map(|f| &f.1).collect();
    assert_eq!(missed, Vec::<&String>::new(), "accepted, and an output differs");
    let (caught, computed) = (number(Fate::Caught), number(Fate::Computed));
    println!("of {} that change an output the checker rejects {caught}", caught + computed);
    (caught + computed, caught)
}

#[test]
fn the_checker_rejects_mutations_of_a_whole_model() {
    let (changing, caught) = judge(24);
    assert!(changing >= 12 && caught >= 12, "{caught} of {changing}");
}

#[test]
#[ignore = "a thousand checks and runs of ResNet-50: many minutes"]
fn the_checker_rejects_a_thousand_mutations_of_a_whole_model() {
    let (changing, caught) = judge(1000);
    assert!(100 * caught >= 95 * changing, "{caught} of {changing}");
}
