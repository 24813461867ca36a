//! For each rule of the checker a program that breaks it and no other.

use super::*;
use quadrille_runtime::tsp::Rule;

fn edit(r: IssueRef, p: &mut Program) -> &mut Issue {
    &mut p.queues.get_mut(&r.queue).expect("a queue of the program")[r.index as usize]
}

/// Continues a finished case.
fn resume(c: Case) -> Build {
    Build { m: c.m, p: c.p }
}

fn at(queue: QueueId, index: u32) -> IssueRef {
    IssueRef { queue, index }
}

const COPY_READ: IssueRef = IssueRef { queue: QueueId::Mem(Slice { hemisphere: W, index: 5 }, Thread::Read), index: 1 };
const COPY_WRITE: IssueRef =
    IssueRef { queue: QueueId::Mem(Slice { hemisphere: E, index: 6 }, Thread::Write), index: 1 };

/// `not` of an immediate, driven on `dst`.
fn constant(dst: Option<StreamGroup>) -> Inst {
    Inst::Alu { op: AluOp::Not, ty: AluType::U8, a: Operand::Imm(9), b: Operand::None, c: Operand::None, dst }
}

fn one(dir: Dir, base: u8) -> Option<StreamGroup> {
    Some(StreamGroup { dir, base, width: 1 })
}

/// The program that breaks `rule` and nothing else.
pub fn negative(rule: Rule) -> (Machine, Program) {
    let mut b = resume(copy());
    let vxm = QueueId::Vxm(0);
    let alu_drive = b.m.latency.vxm_entry + b.m.latency.vxm_alu + b.m.latency.vxm_exit;
    match rule {
        Rule::Machine => b.p.machine_hash = "0".into(),
        Rule::Limit => {
            b.repeat(vxm, 100, constant(None), 1 << 26, 1, 0);
        }
        Rule::Reference => b.p.provenance[0].use_.index = 99,
        Rule::Queue => {
            b.issue(vxm, 100, Inst::Read { addr: 0, stream: east(0) });
        }
        Rule::Operand => {
            b.issue(vxm, 100, constant(Some(StreamGroup { dir: Dir::East, base: 32, width: 1 })));
        }
        Rule::Repeat => {
            b.repeat(vxm, 100, constant(None), 3, 0, 0);
        }
        Rule::Map => {
            b = resume(sxm_cases().remove(2));
            b.p.maps[0][7] = 2;
        }
        Rule::QueueOrder => {
            b.repeat(vxm, 100, constant(None), 3, 2, 0);
            b.issue(vxm, 106, constant(None));
        }
        Rule::Start => {
            b.issue(vxm, b.m.latency.barrier - 1, constant(None));
        }
        Rule::StreamConflict => {
            b.issue(vxm, 100, constant(one(Dir::East, 20)));
            b.issue(QueueId::Vxm(1), 100, constant(one(Dir::East, 20)));
        }
        Rule::StreamEmpty => edit(COPY_WRITE, &mut b.p).cycle += 10,
        Rule::StreamOverrun => {
            let passes = 50 + b.m.latency.mem_read + b.hops(east(7), COPY_READ.queue, vxm);
            b.issue(vxm, passes - alu_drive + 2, constant(one(Dir::East, 7)));
        }
        Rule::StreamProvenance => b.p.provenance[0].def_step = 0,
        Rule::StateProvenance => {
            b = resume(mxm(ActType::I8, 5));
            let acts = QueueId::Mxm(2, MxmPart::Activations);
            let (first, second) = (at(acts, 1), at(acts, 3));
            let entry = b.p.provenance.iter_mut().find(|e| e.slot == SLOT_STATE && e.def == second);
            entry.expect("the second pass names its install").def = first;
        }
        Rule::ProvenanceMissing => b.p.provenance.clear(),
        Rule::ProvenanceTwice => b.p.provenance.push(b.p.provenance[0]),
        Rule::ProvenanceForm => {
            let mut e = b.p.provenance[0];
            e.slot = 3;
            b.p.provenance.push(e);
        }
        Rule::MemProvenance => b.p.mem_provenance[0].addr += 1,
        Rule::MemRange => edit(COPY_READ, &mut b.p).inst = Inst::Read { addr: 510, stream: east(7) },
        Rule::MemBank => {
            // A second write samples the first vector as it is driven, while the reads go on.
            let v = b.value("extra");
            let q = QueueId::Mem(slice(W, 5), Thread::Write);
            let cycle = 50 + b.m.latency.mem_read - b.m.latency.mem_write_sample;
            let w = b.issue(q, cycle, Inst::Write { stream: east(7), addr: 200 });
            b.holds(w, v);
            b.link(w, 0, 1, COPY_READ, 0);
        }
        Rule::MemUnwritten => {
            let v = b.value("nowhere");
            let r = b.issue(QueueId::Mem(slice(E, 0), Thread::Read), 60, Inst::Read { addr: 77, stream: east(0) });
            b.holds(r, v);
        }
        Rule::MemEarly => {
            let q = QueueId::Mem(slice(E, 6), Thread::Read);
            let cycle = b.p.issue(COPY_WRITE).expect("there").cycle + b.m.latency.mem_write_readable - 1;
            // The bank of the word is free for reading in that cycle only if the write thread rests.
            edit(COPY_WRITE, &mut b.p).repeat.d = 3;
            edit(COPY_READ, &mut b.p).repeat.d = 3;
            let r = b.issue(q, cycle, Inst::Read { addr: 300, stream: west(9) });
            b.holds(r, ValueIx(1));
        }
        Rule::MemValue => {
            let q = COPY_READ.queue;
            let r = b.issue(q, 70, Inst::Read { addr: 3, stream: east(8) });
            b.holds(r, ValueIx(1));
        }
        Rule::MemTwice => {
            let c = b.issue(vxm, 100, constant(one(Dir::East, 20)));
            b.write_from(c, 0, east(20), 100 + alu_drive, slice(E, 6), 300, 1, 1, ValueIx(1));
        }
        Rule::MemLanding => {
            b = resume(gather_scatter());
            b.p.outputs.pop();
            let scatter = at(QueueId::Mem(slice(E, 3), Thread::Write), 1);
            let lat = b.m.latency.clone();
            let lands = b.p.issue(scatter).expect("there").cycle + lat.mem_scatter_readable;
            let v = b.value("clash");
            let write = lands - lat.mem_write_readable;
            let sampled = write + lat.mem_write_sample;
            let hops = b.hops(east(20), vxm, scatter.queue);
            let c = b.issue(vxm, sampled - hops - alu_drive, constant(one(Dir::East, 20)));
            b.write_from(c, 0, east(20), sampled - hops, slice(E, 3), 41, 1, 1, v);
        }
        Rule::MemMap => {
            b = resume(gather_scatter());
            let gather = at(QueueId::Mem(slice(W, 0), Thread::Read), 1);
            let inst = &mut edit(gather, &mut b.p).inst;
            if let Inst::Gather { hi, .. } = inst {
                *hi -= 1;
            }
            b.p.mem_provenance.iter_mut().filter(|e| e.issue == gather).for_each(|e| e.step -= 1);
        }
        Rule::AluChain => {
            b = resume(chain());
            let mul = at(QueueId::Vxm(9), 1);
            let none = Operand::None;
            let inst = Inst::Alu { op: AluOp::Neg, ty: AluType::I16, a: Operand::Alu(9), b: none, c: none, dst: None };
            let late = b.issue(QueueId::Vxm(3), 300, inst);
            b.link(late, 0, 1, mul, OUT_CHAIN);
        }
        Rule::MxmLoad => {
            b = resume(mxm(ActType::I8, 5));
            let second = at(QueueId::Mxm(2, MxmPart::Weights), 2);
            if let Inst::LoadWeights { k0, .. } = &mut edit(second, &mut b.p).inst {
                *k0 = 0;
            }
        }
        Rule::MxmInstall => {
            let q = QueueId::Mxm(0, MxmPart::Activations);
            b.issue(q, 100, Inst::InstallWeights);
            b.issue(q, 100 + b.m.latency.mxm_install - 1, Inst::InstallWeights);
        }
        Rule::MxmActivation => {
            // The row enters one cycle before the install that it names.
            let q = QueueId::Mxm(0, MxmPart::Activations);
            let c = b.issue(vxm, 100, constant(one(Dir::West, 3)));
            let t = 100 + alu_drive + b.hops(west(3), vxm, q);
            let row = b.issue(q, t, Inst::Activations { base: 3, ty: ActType::I8 });
            let install = b.issue(q, t + 1, Inst::InstallWeights);
            b.link(row, 0, 1, c, 0);
            b.link(row, SLOT_STATE, 1, install, 0);
            take_sum(&mut b, row, t);
        }
        Rule::MxmWeights => {
            b = resume(mxm(ActType::F16, 4));
            // After the last f16 row, the odd plane multiplies bytes by the high bytes of halves.
            let q = QueueId::Mxm(3, MxmPart::Activations);
            let c = b.issue(vxm, 300, constant(one(Dir::East, 3)));
            let t = 300 + alu_drive + b.hops(east(3), vxm, q);
            let row = b.issue(q, t, Inst::Activations { base: 3, ty: ActType::I8 });
            b.link(row, 0, 1, c, 0);
            b.link(row, SLOT_STATE, 1, at(q, 2), 0);
            take_sum(&mut b, row, t);
        }
        Rule::MxmSum => {
            b = resume(mxm(ActType::I8, 5));
            let q = QueueId::Mxm(2, MxmPart::Accumulators);
            let acc = b.issue(q, 400, Inst::Accumulate { row: 0, mode: AccMode::Over, emit: None });
            b.link(acc, 0, 1, at(QueueId::Mxm(2, MxmPart::Activations), 2), 0);
        }
        Rule::MxmAccumulator => {
            b = resume(mxm(ActType::I8, 5));
            let add = at(QueueId::Mxm(2, MxmPart::Accumulators), 2);
            if let Inst::Accumulate { row, .. } = &mut edit(add, &mut b.p).inst {
                *row = 40;
            }
        }
        Rule::MxmInt32 => return many_passes(),
        Rule::SxmUnit => {
            b = resume(sxm_cases().remove(0));
            let east_q = QueueId::Sxm(E, SxmUnit::Permuter, Dir::East);
            let west_q = QueueId::Sxm(E, SxmUnit::Permuter, Dir::West);
            let t = T0 + b.m.latency.sxm_entry + b.m.latency.sxm_shift;
            // The unit's own output turns round, while the next input comes in.
            let c = b.issue(vxm, t - b.hops(east(9), vxm, east_q) - alu_drive, constant(one(Dir::East, 9)));
            let again = b.issue(east_q, t, Inst::Shift { from: east(9), to: east(10), lanes: 1 });
            b.link(again, 0, 1, c, 0);
            let back = b.issue(west_q, t, Inst::Shift { from: west(0), to: east(11), lanes: 1 });
            b.link(back, 0, 1, at(east_q, 1), 0);
        }
        Rule::Text => b.p.maps = vec![vec![0; b.lanes()]; 600],
        Rule::Layout => {
            b.byte_input("again", slice(W, 5), 5, 1);
        }
        Rule::Output => b.p.outputs[0].placements[0].addr0 += 1,
    }
    (b.m, b.p)
}

/// The accumulate of a single row.
fn take_sum(b: &mut Build, row: IssueRef, entered: u32) {
    let QueueId::Mxm(plane, _) = row.queue else { panic!("a row of a plane") };
    let due = entered + b.m.latency.mxm_activation_to_sum;
    let bypass = Inst::Accumulate { row: 0, mode: AccMode::Bypass, emit: None };
    let acc = b.issue(QueueId::Mxm(plane, MxmPart::Accumulators), due, bypass);
    b.link(acc, 0, 1, row, 0);
}

/// So many passes into one row that 32 bits may not hold the sum.
fn many_passes() -> (Machine, Program) {
    let passes = 2100;
    let mut b = resume(mxm(ActType::U8, 3));
    let acts = QueueId::Mxm(2, MxmPart::Activations);
    let accs = QueueId::Mxm(2, MxmPart::Accumulators);
    let t = 400;
    let (inst, install) = (Inst::Activations { base: 4, ty: ActType::U8 }, at(acts, 3));
    let row = b.repeat(acts, t, inst, passes - 1, 1, 0);
    let source = QueueId::Mem(slice(E, 0), Thread::Read);
    let cycle = t - b.hops(east(4), source, acts) - b.m.latency.mem_read;
    let read = b.repeat(source, cycle, Inst::Read { addr: 0, stream: east(4) }, passes - 1, 1, 0);
    b.holds(read, ValueIx(1));
    b.link(row, 0, 1, read, 0);
    b.link(row, SLOT_STATE, 1, install, 0);
    let due = t + b.m.latency.mxm_activation_to_sum;
    let over = b.issue(accs, due, Inst::Accumulate { row: 90, mode: AccMode::Over, emit: None });
    b.link(over, 0, 1, row, 0);
    let add = Inst::Accumulate { row: 90, mode: AccMode::Add, emit: None };
    let add = b.repeat(accs, due + 1, add, passes - 2, 1, 0);
    let link = |use_, slot, first, count, def, def_first, def_step| Provenance {
        use_,
        slot,
        width: 1,
        first,
        count,
        def,
        out: 0,
        def_first,
        def_step,
    };
    b.p.provenance.push(link(add, 0, 0, passes - 1, row, 1, 1));
    b.p.provenance.push(link(add, SLOT_STATE, 0, 1, over, 0, 0));
    b.p.provenance.push(link(add, SLOT_STATE, 1, passes - 2, add, 0, 1));
    (b.m, b.p)
}
