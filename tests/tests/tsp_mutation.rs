//! Mutations: single random changes of accepted programs. Whatever changes an output has to be
//! noticed by the checker, by a trap, or by the comparison of outputs; and no change, nor any
//! garbage, makes a judge panic or hang.

mod tsp_mutations;
mod tsp_programs;

use quadrille_isa::Tensor;
use quadrille_isa::tsp::*;
use quadrille_runtime::tsp::{check, simulate};
use tsp_mutations::{Mutation, mutate, pick_issue};
use tsp_programs::*;

/// What became of mutations.
#[derive(Default, Debug)]
struct Tally {
    rejected: usize,
    trapped: usize,
    harmless: usize,
    compared: usize,
}

impl Tally {
    /// Judges one mutation of an accepted program with known outputs.
    fn judge(&mut self, m: &Machine, mutation: &Mutation, inputs: &[Tensor], want: &[Tensor], name: &str) {
        let Mutation { p, what, dataflow } = mutation;
        let what = format!("{name}: {what}");
        let report = check(p, m);
        let run = simulate(p, m, inputs);
        match run {
            _ if !report.ok() => self.rejected += 1,
            // The checker proves that a program runs: only data may stop it then.
            Err(e) => {
                let text = e.to_string();
                let by_data = ["outside [", "input ", "is for machine", "inputs"].iter().any(|t| text.contains(t));
                assert!(by_data, "{what}: accepted, but {text}");
                self.trapped += 1;
            }
            Ok(r) => {
                assert_eq!(r.cycles, report.cycles, "{what}: lengths");
                if r.outputs == want {
                    self.harmless += 1;
                } else {
                    assert!(!dataflow, "{what}: accepted, and changes an output");
                    self.compared += 1;
                }
            }
        }
    }
}

#[test]
fn single_mutations_of_hand_built_programs_are_noticed() {
    let mut total = Tally::default();
    for (n, c) in all_cases().into_iter().enumerate() {
        assert!(check(&c.p, &c.m).ok(), "{}", c.name);
        let want = simulate(&c.p, &c.m, &c.inputs).expect("accepted").outputs;
        let mut noise = Noise(1000 + n as u64);
        for _ in 0..200 {
            total.judge(&c.m, &mutate(&c.p, &mut noise), &c.inputs, &want, c.name);
        }
    }
    println!("{total:?}");
    assert!(total.rejected > 0 && total.compared > 0, "{total:?}");
}

/// A change of when or where something happens is never left to the comparison of outputs: the
/// provenance says what each sample must see.
#[test]
fn moved_issues_are_rejected_or_harmless() {
    for (n, c) in all_cases().into_iter().enumerate() {
        let want = simulate(&c.p, &c.m, &c.inputs).expect("accepted").outputs;
        let mut noise = Noise(5000 + n as u64);
        for _ in 0..100 {
            let mut p = c.p.clone();
            let r = pick_issue(&mut noise, &p);
            let issue = &mut p.queues.get_mut(&r.queue).expect("picked")[r.index as usize];
            let by = [1i64, -1, 2, -3, 40][noise.below(5)];
            issue.cycle = (i64::from(issue.cycle) + by).max(0) as u32;
            if !check(&p, &c.m).ok() {
                continue;
            }
            let got = simulate(&p, &c.m, &c.inputs).expect("accepted").outputs;
            assert_eq!(got, want, "{}: {}[{}] moved by {by}", c.name, r.queue, r.index);
        }
    }
}

/// Many mutations on top of each other, down to garbage: any answer, but an answer.
#[test]
fn garbage_never_panics_a_judge() {
    for (n, c) in all_cases().into_iter().enumerate() {
        let mut noise = Noise(90_000 + n as u64);
        for _ in 0..60 {
            let mut p = c.p.clone();
            for _ in 0..2 + noise.below(30) {
                p = mutate(&p, &mut noise).p;
                if p.queues.values().all(Vec::is_empty) || p.outputs.is_empty() {
                    break;
                }
            }
            let report = check(&p, &c.m);
            let run = simulate(&p, &c.m, &c.inputs);
            assert!(!report.ok() || run.is_ok() || run.is_err());
        }
    }
}

/// A number at an edge of what the field can hold, or any.
fn edge(noise: &mut Noise) -> u64 {
    let any = u64::from(noise.next()) << 32 | u64::from(noise.next());
    [0, 1, 2, 15, 16, 31, 32, 63, 64, 0x7FFF_FFFF, 0x8000_0000, u64::MAX, u64::MAX - 1, any, 1 << 63, any >> 40]
        [noise.below(16)]
}

/// Sets one number of a program to an edge of its type.
fn to_the_edge(p: &mut Program, noise: &mut Noise) {
    let v = edge(noise);
    let r = pick_issue(noise, p);
    let count = p.provenance.len();
    match noise.below(14) {
        0 => p.queues.get_mut(&r.queue).expect("picked")[r.index as usize].cycle = v as u32,
        1 => p.queues.get_mut(&r.queue).expect("picked")[r.index as usize].repeat.n = v as u32,
        2 => p.queues.get_mut(&r.queue).expect("picked")[r.index as usize].repeat.d = v as u32,
        3 => p.queues.get_mut(&r.queue).expect("picked")[r.index as usize].repeat.a = v as i32,
        4 => p.queues.get_mut(&r.queue).expect("picked")[r.index as usize].node.0 = v as u32,
        5 if count > 0 => p.provenance[noise.below(count)].first = v as u32,
        6 if count > 0 => p.provenance[noise.below(count)].count = v as u32,
        7 if count > 0 => p.provenance[noise.below(count)].def_first = v as u32,
        8 if count > 0 => p.provenance[noise.below(count)].def_step = v as u32,
        9 if count > 0 => p.provenance[noise.below(count)].width = v as u8,
        10 if count > 0 => p.provenance[noise.below(count)].slot = v as u8,
        11 => {
            let list = if noise.below(2) == 0 { &mut p.inputs } else { &mut p.outputs };
            if let Some(t) = list.first_mut() {
                match noise.below(6) {
                    0 => t.device_bytes = v as u8,
                    1 => t.shape.push(v as usize),
                    2 => t.placements[0].elem0 = v,
                    3 => t.placements[0].loops[0].elem_step = v as i64,
                    4 => t.placements[0].loops[0].count = v as u32,
                    _ => t.placements[0].loops[0].addr_step = v as i32,
                }
            }
        }
        12 if !p.maps.is_empty() => p.maps[0].truncate(v as usize % 70),
        _ => {
            // A queue that may not exist, with an instruction that may not fit it.
            let inst = p.queues[&r.queue][r.index as usize].clone();
            let queue = match noise.below(4) {
                0 => QueueId::Mem(slice(W, v as u8), Thread::Read),
                1 => QueueId::Vxm(v as u8),
                2 => QueueId::Mxm(v as u8, MxmPart::Weights),
                _ => QueueId::Sxm(E, SxmUnit::Transposer(v as u8), Dir::West),
            };
            p.queues.entry(queue).or_default().push(inst);
        }
    }
}

/// Extreme numbers: no overflow, no runaway loop, no allocation by a declared size.
#[test]
fn extreme_numbers_never_panic_a_judge() {
    for (n, c) in all_cases().into_iter().enumerate() {
        let mut noise = Noise(70_000 + n as u64);
        for _ in 0..150 {
            let mut p = c.p.clone();
            for _ in 0..1 + noise.below(3) {
                to_the_edge(&mut p, &mut noise);
            }
            let start = std::time::Instant::now();
            let _ = check(&p, &c.m);
            let _ = simulate(&p, &c.m, &c.inputs);
            assert!(start.elapsed().as_secs() < 60, "{}: a judge hangs", c.name);
        }
    }
}
