//! The tsp judge on hand-built programs: what it accepts, what it computes, what it refuses.

#![allow(clippy::needless_range_loop)] // Definitions by index are easier to hold against the page.

mod tsp_programs;

use half::f16;
use quadrille_isa::tsp::alu::alu as scalar;
use quadrille_isa::tsp::*;
use quadrille_runtime::tsp::{CheckReport, Rule, SimError, check, simulate};
use std::collections::BTreeSet;
use tsp_programs::negatives::negative;
use tsp_programs::*;

/// Runs a case that must be accepted and gives the outputs.
fn run(c: &Case) -> Vec<Vec<u8>> {
    let report = check(&c.p, &c.m);
    assert!(report.ok(), "{}: {report}", c.name);
    let result = simulate(&c.p, &c.m, &c.inputs).unwrap_or_else(|e| panic!("{}: {e}", c.name));
    assert_eq!(result.cycles, report.cycles, "{}: lengths", c.name);
    result.outputs.iter().map(|t| t.data.to_vec()).collect()
}

#[test]
fn hand_built_programs_are_accepted_and_run() {
    for c in all_cases() {
        run(&c);
    }
}

#[test]
fn a_copy_copies_and_has_the_length_that_the_page_says() {
    let c = copy();
    assert_eq!(run(&c)[0], c.inputs[0].data);
    // The last read issues at 53 and drives at 55; 1 + 1 + 2 + 1 hops later the write samples, and lands
    // one cycle after that; three superlanes of skew.
    let hops = c.m.hops(Dir::East, c.m.slice_column(slice(W, 5)), c.m.slice_column(slice(E, 6))).expect("downstream");
    assert_eq!(check(&c.p, &c.m).cycles, u64::from(55 + hops + 1 + 3));
}

#[test]
fn gather_and_scatter_take_each_superlane_its_own_word() {
    let c = gather_scatter();
    let out = run(&c);
    let x = &c.inputs[0].data;
    let want = |s: usize| {
        let word = (s * 3 + 1) % 4;
        if s == 1 { vec![0; 16] } else { x[word * 64 + s * 16..word * 64 + s * 16 + 16].to_vec() }
    };
    assert_eq!(out[0], (0..4).flat_map(want).collect::<Vec<u8>>());
    assert_eq!(out[1], [0, 1, 3].into_iter().flat_map(want).collect::<Vec<u8>>());
}

#[test]
fn a_dynamic_gather_reads_by_data_and_traps_outside_its_range() {
    let c = dynamic_gather();
    let table = &c.inputs[0].data;
    let want: Vec<u8> = (0..4).flat_map(|s| table[((5 * s + 2) % 8) * 64 + s * 16..][..16].to_vec()).collect();
    assert_eq!(run(&c)[0], want);
    let mut inputs = c.inputs.clone();
    let mut ids = inputs[1].data.to_vec();
    ids[16] = 24;
    inputs[1] = bytes(&c.m, ids);
    match simulate(&c.p, &c.m, &inputs) {
        Err(SimError::Trap { reason, .. }) => assert!(reason.contains("word 24 in superlane 1"), "{reason}"),
        other => panic!("no trap: {other:?}"),
    }
}

/// Every operation on every type that it takes.
#[test]
fn every_alu_operation_gives_its_scalar_meaning_in_every_lane() {
    use AluOp::*;
    let types = [AluType::I8, AluType::U8, AluType::I16, AluType::F16, AluType::I32, AluType::F32];
    let mut ops = vec![
        Add, AddSat, Sub, SubSat, Mul, MulSat, Fma, Min, Max, Abs, Neg, And, Or, Xor, Not, Shl, Shr, CmpEq, CmpNe,
        CmpLt, CmpLe, CmpGt, CmpGe, Select, Relu, Exp2, Log2, Rsqrt, Recip, Tanh, Sin, Floor, Round,
    ];
    ops.extend(types.map(Cast));
    let mut noise = Noise(31);
    let specials =
        [0, 1, 0x80, 0x7F, 0xFF, 0x8000, 0x7FFF, 0x7C00, 0xFC00, 0x7E01, 0x8000_0000, 0x7F80_0000, 0x7FC1_0000];
    let floats = [1.0f32, -2.5, 0.1, 3e38, 1e-40, 65519.9, -0.0];
    let mut tried = 0;
    for op in ops {
        for ty in types {
            let values = |noise: &mut Noise| -> Vec<u32> {
                let mut v: Vec<u32> = specials.to_vec();
                v.extend(
                    floats
                        .map(|f| if ty == AluType::F16 { u32::from(f16::from_f32(f).to_bits()) } else { f.to_bits() }),
                );
                v.extend((0..44).map(|_| noise.next() << 1 ^ noise.next()));
                let turn = noise.below(64);
                v.rotate_left(turn);
                v
            };
            let (a, b, c) = (values(&mut noise), values(&mut noise), noise.next());
            let mut case = alu(op, ty, [&a, &b], c);
            if !op.takes(ty) {
                assert_eq!(rules(&check(&case.p, &case.m)), [Rule::Operand].into(), "{op:?} {ty:?}");
                continue;
            }
            case.name = "alu";
            let out = run(&case);
            for lane in 0..64 {
                let got = out.iter().enumerate().fold(0u32, |e, (k, plane)| e | u32::from(plane[lane]) << (8 * k));
                let want = scalar(op, ty, a[lane % a.len()], b[lane % b.len()], c);
                assert_eq!(got, want, "{op:?} {ty:?} of {:#x} {:#x} {c:#x}", a[lane], b[lane]);
            }
            tried += 1;
        }
    }
    assert!(tried > 180, "{tried} combinations");
}

#[test]
fn chained_alus_hand_results_on_without_streams() {
    let c = chain();
    let out = run(&c);
    let element = |n: usize, i: usize| i16::from_le_bytes([c.inputs[2 * n].data[i], c.inputs[2 * n + 1].data[i]]);
    for i in 0..8 * 64 {
        let want = element(0, i).wrapping_add(element(1, i)).wrapping_mul(3).max(0);
        assert_eq!(i16::from_le_bytes([out[0][i], out[1][i]]), want);
    }
}

/// Weights of one pass of [`mxm`], from the image: `[k][n]` bytes of one plane.
fn pass_weights(c: &Case, pass: usize, plane: usize, planes: usize) -> Vec<Vec<u8>> {
    let mut rows = vec![vec![0u8; 64]; 64];
    for block in 0..2 {
        let addr = 100 + (pass * planes + plane) * 2 + block;
        let words: Vec<&[u8]> =
            c.p.image.iter().filter(|s| usize::from(s.addr) == addr).map(|s| &s.words[..]).collect();
        assert_eq!(words.len(), 14);
        for i in 0..16 {
            rows[32 * block + i] = words[i % 14].to_vec();
        }
    }
    rows
}

#[test]
fn integer_planes_sum_exactly_over_two_passes() {
    for (ty, rows) in [(ActType::I8, 5), (ActType::U8, 3)] {
        let c = mxm(ty, rows);
        let out = &run(&c)[0];
        let weights = [pass_weights(&c, 0, 0, 1), pass_weights(&c, 1, 0, 1)];
        for r in 0..rows as usize {
            for n in 0..64 {
                let mut want = 0i32;
                for (pass, w) in weights.iter().enumerate() {
                    for k in 0..64 {
                        let x = c.inputs[0].data[(pass * rows as usize + r) * 64 + k];
                        let x = if ty == ActType::I8 { i32::from(x as i8) } else { i32::from(x) };
                        want += x * i32::from(w[k][n] as i8);
                    }
                }
                let at = (r * 64 + n) * 4;
                assert_eq!(i32::from_le_bytes(out[at..at + 4].try_into().expect("four")), want, "row {r} column {n}");
            }
        }
    }
}

#[test]
fn f16_pair_sums_in_f64_and_rounds_once_a_pass() {
    let rows = 4;
    let c = mxm(ActType::F16, rows);
    let out = &run(&c)[0];
    let half = |l: u8, h: u8| f16::from_le_bytes([l, h]).to_f64();
    for r in 0..rows as usize {
        for n in 0..64 {
            let pass = |p: usize| {
                let (low, high) = (pass_weights(&c, p, 0, 2), pass_weights(&c, p, 1, 2));
                let mut sum = 0f64;
                for k in 0..64 {
                    let at = ((p * rows as usize + r) * 64 + k) * 2;
                    sum += half(c.inputs[0].data[at], c.inputs[0].data[at + 1]) * half(low[k][n], high[k][n]);
                }
                sum as f32
            };
            let want = pass(0) + pass(1);
            let at = (r * 64 + n) * 4;
            assert_eq!(out[at..at + 4], want.to_le_bytes(), "row {r} column {n}");
        }
    }
}

#[test]
fn sxm_moves_lanes_as_the_page_says() {
    for c in sxm_cases() {
        let out = run(&c);
        let x: Vec<&[u8]> = c.inputs.iter().map(|t| &t.data[..]).collect();
        let map = c.p.maps.first().map(|m| m.iter().map(|&v| usize::from(v)).collect::<Vec<_>>()).unwrap_or_default();
        let first = if matches!(c.name, "rotate4" | "transpose-end") { 2 } else { 0 };
        for (n, y) in out.iter().enumerate() {
            let o = n + first;
            let superlane = |i: usize| i / 16 * 16;
            let want = |i: usize| match c.name {
                "shift-up" => i.checked_sub(5).map_or(0, |j| x[0][j]),
                "shift-down" => x[0].get(i + 21).copied().unwrap_or(0),
                "select" => x[map[i]][i],
                "permute" => x[0][map[i]],
                "distribute" if map[i] == 0xFFFF => 0,
                "distribute" => x[0][superlane(i) + map[i]],
                "rotate3" => x[o / 3][superlane(i) + (i + o % 3) % 16],
                "rotate4" => x[o / 4][superlane(i) + (i + o % 4) % 16],
                // Inputs 14 and 15 are constants from the VXM.
                "transpose" | "transpose-end" => x.get(i % 16).map_or(!((i % 16) as u8 * 7), |x| x[superlane(i) + o]),
                other => panic!("no meaning for {other}"),
            };
            assert_eq!(*y, (0..64).map(want).collect::<Vec<u8>>(), "{} output {o}", c.name);
        }
    }
}

fn rules(report: &CheckReport) -> BTreeSet<Rule> {
    report.by_rule.keys().copied().collect()
}

#[test]
fn each_rule_has_a_program_that_breaks_it_alone() {
    for &rule in Rule::ALL {
        let (m, p) = negative(rule);
        let report = check(&p, &m);
        assert_eq!(rules(&report), [rule].into(), "{}: {report}", rule.id());
        let e = &report.errors[0];
        assert!(!e.message.is_empty() && !e.unit.is_empty(), "{e}");
        // What follows values names an instruction and a cycle; most name a second instruction.
        let table =
            [Rule::Machine, Rule::Limit, Rule::Reference, Rule::ProvenanceForm, Rule::Text, Rule::Layout, Rule::Output];
        if !table.contains(&rule) {
            assert!(e.cycle.is_some(), "{}: {e}", rule.id());
        }
    }
}

#[test]
fn conflicts_name_both_instructions() {
    for rule in [Rule::StreamConflict, Rule::StreamOverrun, Rule::StreamProvenance, Rule::MemBank, Rule::MemTwice] {
        let (m, p) = negative(rule);
        let report = check(&p, &m);
        let e = &report.errors[0];
        let (at, other) = (e.at.as_ref().expect("one"), e.other.as_ref().expect("the other"));
        assert_ne!((at.issue, at.execution), (other.issue, other.execution), "{e}");
    }
}

/// The one published end-to-end figure: weights of all four planes, from SRAM to installed, in under 40
/// cycles at superlane 0, on the full-size machine.
#[test]
fn four_planes_install_from_sram_in_under_forty_cycles() {
    let mut b = Build::on("tsp");
    let weights = b.value("weights");
    let loads = b.lanes() as u32 / b.m.geometry.weight_rows_per_load;
    let start = 100;
    let mut installed = Vec::new();
    for hemisphere in [W, E] {
        let planes = if hemisphere == W { [0, 1] } else { [2, 3] };
        let dir = hemisphere.outward();
        // 32 slices near the MXM, each on a stream of its own; 16 feed a plane. A word a load.
        let data = 44 - b.m.program.reserved_slices_per_hemisphere;
        let far = b.m.queue_column(QueueId::Mem(slice(hemisphere, data as u8 - 32), Thread::Read));
        let mxm = b.m.mxm_column(hemisphere);
        let arrive = start + b.m.latency.mem_read + b.m.hops(dir, far, mxm).expect("outward");
        for (which, plane) in planes.into_iter().enumerate() {
            let q = QueueId::Mxm(plane, MxmPart::Weights);
            let mut refs = Vec::new();
            let mut streams = [0u8; 16];
            for i in 0..16u8 {
                let id = 16 * which as u8 + i;
                streams[usize::from(i)] = id;
                let s = slice(hemisphere, (data as u8 - 32) + id);
                let words = Noise(u64::from(id)).bytes(loads as usize * b.lanes());
                b.image(weights, s, 0, words);
                refs.push(b.read_for(s, 0, Stream { dir, id }, q, arrive, loads, weights));
            }
            let mut issued = Vec::new();
            for n in 0..loads {
                let load = b.issue(q, arrive + n, Inst::LoadWeights { k0: 16 * n as u16, streams });
                for (slot, read) in refs.iter().enumerate() {
                    b.p.provenance.push(Provenance {
                        use_: load,
                        slot: slot as u8,
                        width: 1,
                        first: 0,
                        count: 1,
                        def: *read,
                        out: 0,
                        def_first: n,
                        def_step: 1,
                    });
                }
                issued.push(load);
            }
            let at = arrive + loads - 1 + b.m.latency.mxm_weight_row;
            let install = b.issue(QueueId::Mxm(plane, MxmPart::Activations), at, Inst::InstallWeights);
            for (n, load) in issued.into_iter().enumerate() {
                b.link(install, n as u8, 1, load, 0);
            }
            installed.push(at);
        }
    }
    let report = check(&b.p, &b.m);
    assert!(report.ok(), "{report}");
    simulate(&b.p, &b.m, &[]).expect("it runs");
    let first_read = b.p.queues.iter().filter(|(q, _)| matches!(q, QueueId::Mem(..))).map(|(_, i)| i[1].cycle).min();
    let cycles = installed.into_iter().max().expect("four installs") - first_read.expect("reads");
    assert!(cycles < 40, "{cycles} cycles");
    assert_eq!(cycles, 32, "the figure that docs/isa-tsp.md states");
}

#[test]
fn the_simulator_refuses_inputs_that_do_not_fit() {
    let mut c = copy();
    assert!(matches!(simulate(&c.p, &c.m, &[]), Err(SimError::Program { .. })));
    let short = bytes(&c.m, vec![0; 64]);
    assert!(matches!(simulate(&c.p, &c.m, &[short]), Err(SimError::Input { .. })));
    // A 64-bit input kept in one byte: -3 fits, 300 does not.
    c.p.inputs[0].dtype = quadrille_isa::DType::I64;
    assert!(check(&c.p, &c.m).ok());
    let fits = quadrille_isa::Tensor::from_i64(&[4, 64], &[-3; 256]);
    assert_eq!(simulate(&c.p, &c.m, &[fits]).expect("fits").outputs[0].data, vec![0xFD; 256]);
    let wide = quadrille_isa::Tensor::from_i64(&[4, 64], &[300; 256]);
    assert!(matches!(simulate(&c.p, &c.m, &[wide]), Err(SimError::Input { .. })));
}

/// A long program of a million executions on the full-size machine: what a large model needs.
fn long_program() -> (Machine, Program) {
    let mut b = Build::on("tsp");
    let n = 60_000;
    let lat = b.m.latency.clone();
    let x = b.value("x");
    let group = |dir, base| StreamGroup { dir, base, width: 4 };
    let add = QueueId::Vxm(0);
    let word = |i: u8| f32::from(i).to_le_bytes();
    let mut reads = Vec::new();
    for (operand, (hemisphere, dir)) in [(W, Dir::East), (E, Dir::West)].into_iter().enumerate() {
        for k in 0..4u8 {
            let s = slice(hemisphere, k);
            let lanes = b.lanes();
            b.image(x, s, 0, (0..lanes).map(|i| word(i as u8)[usize::from(k)]).collect());
            let stream = Stream { dir, id: k };
            let q = QueueId::Mem(s, Thread::Read);
            let cycle = 200 - b.hops(stream, q, add) - lat.mem_read;
            let r = b.repeat(q, cycle, Inst::Read { addr: 0, stream }, n - 1, 1, 0);
            b.holds(r, x);
            reads.push((4 * operand as u8 + k, r));
        }
    }
    let (a, c) = (Operand::Stream(group(Dir::East, 0)), Operand::Stream(group(Dir::West, 0)));
    let (ty, none) = (AluType::F32, Operand::None);
    let first = b.repeat(add, 200, Inst::Alu { op: AluOp::Add, ty, a, b: c, c: none, dst: None }, n - 1, 1, 0);
    for (slot, r) in reads {
        b.link(first, slot, 1, r, 0);
    }
    let mut last = first;
    for i in 1..6u8 {
        let (op, bb) = if i % 2 == 0 { (AluOp::Relu, none) } else { (AluOp::Mul, Operand::Imm(1.5f32.to_bits())) };
        let dst = (i == 5).then_some(group(Dir::East, 8));
        let inst = Inst::Alu { op, ty, a: Operand::Alu(i - 1), b: bb, c: none, dst };
        let next = b.repeat(QueueId::Vxm(i), 200 + u32::from(i) * lat.vxm_alu, inst, n - 1, 1, 0);
        b.link(next, 0, 1, last, OUT_CHAIN);
        last = next;
    }
    // The low halves of the result enter a pair as f16 rows, every second cycle.
    let acts = QueueId::Mxm(2, MxmPart::Activations);
    let driven = 200 + 5 * lat.vxm_alu + lat.vxm_entry + lat.vxm_alu + lat.vxm_exit;
    let enter = driven + b.hops(east(8), last.queue, acts);
    let installs = [2u8, 3].map(|p| b.issue(QueueId::Mxm(p, MxmPart::Activations), enter - 1, Inst::InstallWeights));
    let rows = b.repeat(acts, enter, Inst::Activations { base: 10, ty: ActType::F16 }, n / 2 - 1, 2, 0);
    for (slot, out) in [(0, 2), (1, 3)] {
        b.link(rows, slot, 1, last, out);
        b.p.provenance.last_mut().expect("just made").def_step = 2;
    }
    b.link(rows, SLOT_STATE, 1, installs[0], 0);
    b.link(rows, SLOT_STATE + 1, 1, installs[1], 0);
    let over = Inst::Accumulate { row: 0, mode: AccMode::Over, emit: Some(0) };
    let accs =
        b.repeat(QueueId::Mxm(2, MxmPart::Accumulators), enter + lat.mxm_activation_to_sum, over, n / 2 - 1, 2, 0);
    b.link(accs, 0, 1, rows, 0);
    (b.m, b.p)
}

#[test]
fn a_million_executions_are_checked_and_run_in_seconds() {
    let (m, p) = long_program();
    let start = std::time::Instant::now();
    let report = check(&p, &m);
    let checked = start.elapsed();
    assert!(report.ok(), "{report}");
    assert!(report.executions > 890_000, "{}", report.executions);
    let start = std::time::Instant::now();
    let run = simulate(&p, &m, &[]).expect("it runs");
    let simulated = start.elapsed();
    assert_eq!(run.cycles, report.cycles);
    println!(
        "{} executions, {} samples: {checked:?} to check, {simulated:?} to simulate",
        report.executions, report.samples
    );
    // Ten times what it takes on two idle cores, so that only a change of order fails.
    assert!(checked.as_secs() < 10 && simulated.as_secs() < 30, "{checked:?} {simulated:?}");
}

/// The simulator does not read the tables; what breaks the machine itself it notices alone.
#[test]
fn the_simulator_traps_without_the_checker() {
    let by_the_machine = [
        Rule::Machine,
        Rule::Queue,
        Rule::Operand,
        Rule::Repeat,
        Rule::Map,
        Rule::QueueOrder,
        Rule::Start,
        Rule::StreamConflict,
        Rule::StreamEmpty,
        Rule::MemRange,
        Rule::MemBank,
        Rule::MemUnwritten,
        Rule::MemEarly,
        Rule::MemLanding,
        Rule::MemMap,
        Rule::AluChain,
        Rule::MxmLoad,
        Rule::MxmInstall,
        Rule::MxmActivation,
        Rule::MxmSum,
        Rule::MxmAccumulator,
        Rule::SxmUnit,
        Rule::Output,
    ];
    for &rule in Rule::ALL {
        let (m, p) = negative(rule);
        let zeros = |t: &TensorLayout| {
            let bytes = t.shape.iter().product::<usize>() * t.dtype.size();
            quadrille_isa::Tensor::new(t.dtype, t.shape.clone(), vec![0u8; bytes]).expect("as declared")
        };
        let inputs: Vec<_> = p.inputs.iter().map(zeros).collect();
        // A long run that only the checker's bound refuses is left out here.
        if rule == Rule::Limit {
            continue;
        }
        let run = simulate(&p, &m, &inputs);
        assert_eq!(run.is_err(), by_the_machine.contains(&rule), "{}: {run:?}", rule.id());
    }
}
