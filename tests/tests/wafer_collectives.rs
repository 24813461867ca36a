//! Collectives of the wafer: data, checker, and declared against simulated cycles.

use quadrille_isa::wafer::{Machine, Pe};
use quadrille_runtime::wafer::{Options, Peek, check, simulate_with};
use quadrille_wafer::collective::{self, Collective, Costs, Kind, Scheme, cost::LowerBound};

const PES: [u16; 9] = [4, 7, 8, 32, 61, 64, 128, 256, 512];
const LENGTHS: [u32; 9] = [1, 2, 8, 32, 100, 256, 512, 1024, 4096];

fn machine() -> Machine {
    Machine::builtin("wafer").unwrap()
}

/// Values whose sums round, so that a wrong order shows.
fn values(n: usize) -> Vec<f32> {
    let value = |k: usize| ((k as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.3;
    (0..n).map(value).collect()
}

/// Checks and runs; the result must be right, bit for bit, wherever it belongs. Returns the cycles.
fn run(machine: &Machine, c: &mut Collective, kind: Kind) -> u64 {
    let values = values(usize::from(c.width) * usize::from(c.height) * c.length as usize);
    c.fill(&values);
    let report = check(&c.program, machine);
    assert!(report.ok(), "{kind:?} {}x{} x {}: {:?}", c.width, c.height, c.length, report.errors);
    let corners =
        [(0, 0), (c.width - 1, 0), (0, c.height - 1), (c.width / 2, c.height / 2), (c.width - 1, c.height - 1)];
    let places: Vec<(u16, u16)> = match kind {
        Kind::Reduce(_) => vec![(0, 0)],
        _ if c.height == 1 => (0..c.width).map(|x| (x, 0)).collect(),
        _ => corners.to_vec(),
    };
    let peeks = places.iter().map(|&(x, y)| Peek { pe: Pe { x, y }, addr: 0, len: c.length * 4 }).collect();
    let r = simulate_with(&c.program, machine, &[], &Options { peeks, ..Options::default() }).unwrap();
    let want = match kind {
        Kind::Broadcast => values[..c.length as usize].to_vec(),
        _ => c.sum(&values),
    };
    let want: Vec<u8> = want.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (got, at) in r.peeked.iter().zip(&places) {
        assert!(*got == want, "{kind:?} {}x{} x {} at {at:?}", c.width, c.height, c.length);
    }
    r.kernel_cycles
}

/// The tolerance of the published model: 4 %, or 8 cycles.
fn agrees(declared: u64, simulated: u64) -> bool {
    declared.abs_diff(simulated) <= (simulated as f64 * 0.04).max(8.0) as u64
}

#[test]
fn broadcasts_take_what_is_declared() {
    let machine = machine();
    for p in PES {
        for b in LENGTHS {
            let mut c = collective::compile(&machine, p, 1, b, Kind::Broadcast).unwrap();
            let got = run(&machine, &mut c, Kind::Broadcast);
            assert!(agrees(c.declared_cycles, got), "P {p} B {b}: declared {}, {got}", c.declared_cycles);
        }
    }
}

/// Runs every scheme; returns lines that are out of tolerance.
fn reduce_all(scheme: Scheme) {
    let machine = machine();
    let costs = Costs::of(&machine);
    let bound = LowerBound::new(512, costs);
    let mut wrong = Vec::new();
    for p in PES {
        for b in LENGTHS {
            let kind = Kind::Reduce(scheme);
            let mut c = match collective::compile(&machine, p, 1, b, kind) {
                Ok(c) => c,
                Err(e) => panic!("{scheme:?} P {p} B {b}: {e}"),
            };
            let got = run(&machine, &mut c, kind);
            let tree = c.rows.as_ref().unwrap();
            let formula = tree.counts(b, &costs).cycles(&costs);
            let low = bound.cycles(p, b);
            let line = format!(
                "{scheme:?} P {p} B {b}: simulated {got}, declared {}, formula {formula:.0} ({:+.1} %), bound {low:.0}, ratio {:.3}",
                c.declared_cycles,
                (formula / got as f64 - 1.0) * 100.0,
                got as f64 / low
            );
            println!("{line}");
            if !agrees(c.declared_cycles, got) || scheme == Scheme::Auto && got as f64 > 1.4 * low {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn star_reductions_take_what_is_declared() {
    reduce_all(Scheme::Star);
}

#[test]
fn chain_reductions_take_what_is_declared() {
    reduce_all(Scheme::Chain);
}

#[test]
fn binary_reductions_take_what_is_declared() {
    reduce_all(Scheme::Binary);
}

#[test]
fn two_phase_reductions_take_what_is_declared() {
    reduce_all(Scheme::TwoPhase);
}

#[test]
fn the_automatic_scheme_is_within_the_bound() {
    reduce_all(Scheme::Auto);
}

#[test]
fn all_reductions_take_what_is_declared() {
    let machine = machine();
    for p in [4, 7, 32, 61, 128, 512] {
        for b in [1, 8, 100, 512, 4096] {
            let kind = Kind::AllReduce(Scheme::Auto);
            let mut c = collective::compile(&machine, p, 1, b, kind).unwrap();
            let got = run(&machine, &mut c, kind);
            println!("all-reduce P {p} B {b}: simulated {got}, declared {}", c.declared_cycles);
            assert!(agrees(c.declared_cycles, got), "P {p} B {b}: declared {}, {got}", c.declared_cycles);
        }
    }
}

#[test]
fn rectangles_take_what_is_declared() {
    let machine = machine();
    for (w, h) in [(4, 4), (16, 9), (31, 32)] {
        for b in [1, 16, 128, 1024] {
            for kind in [
                Kind::Broadcast,
                Kind::Reduce(Scheme::Chain),
                Kind::Reduce(Scheme::Auto),
                Kind::AllReduce(Scheme::Auto),
            ] {
                let mut c = collective::compile(&machine, w, h, b, kind).unwrap();
                let got = run(&machine, &mut c, kind);
                let (w, h, b) = (f64::from(w), f64::from(h), f64::from(b));
                let bound = b.max(b / 8.0 + w + h - 1.0 + 5.0);
                println!(
                    "{kind:?} {w} x {h} B {b}: simulated {got}, declared {}, {:.2} times the bound of a reduction",
                    c.declared_cycles,
                    got as f64 / bound
                );
                assert!(
                    agrees(c.declared_cycles, got),
                    "{kind:?} {w}x{h} B {b}: declared {}, {got}",
                    c.declared_cycles
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let machine = machine();
    for (w, h, b) in [(751, 1, 1), (4, 995, 1), (0, 1, 1), (4, 4, 0), (4, 4, 12_288), (4, 4, u32::MAX / 4)] {
        let e = collective::compile(&machine, w, h, b, Kind::Reduce(Scheme::Auto)).unwrap_err().to_string();
        assert!(e.contains("does not fit"), "{e}");
    }
}
