//! Elementwise kernels, and the ALU sequence at the end of a matrix product.

use super::Scheduler;
use super::burst::{Arg, At, Burst, Def, InstNo, Proto, StreamNo};
use super::rows::{Effects, repeat, whole};
use super::vxm::{Plan, SlotArg, plan};
use crate::error::CompileError;
use crate::tiled::{Kernel, Rows, Src, Step};
use quadrille_isa::tsp::{AluOp, AluType, Dir, Hemisphere};

/// Rows of a burst at most: short enough to overlap with what follows.
pub(super) const BURST_ROWS: usize = 256;

/// Runs of a long kernel that advance side by side: what follows may start on each.
const RUNS: usize = 4;

/// Bursts of `n` rows, in the order in which they are placed.
fn bursts(n: usize) -> Vec<std::ops::Range<usize>> {
    let runs = if n > RUNS * BURST_ROWS { RUNS } else { 1 };
    let run = n.div_ceil(runs).max(1);
    let part = |first: usize, end: usize| first.min(end)..(first + BURST_ROWS).min(end);
    (0..run)
        .step_by(BURST_ROWS)
        .flat_map(|at| (0..runs).map(move |r| part(r * run + at, ((r + 1) * run).min(n))))
        .filter(|r| !r.is_empty())
        .collect()
}

/// What a burst writes, if not everything: a side, and one byte of what it writes there.
pub(super) type Part = Option<(Option<u8>, Hemisphere)>;

/// Streams of constants that the ALU sequences of one burst have in common.
#[derive(Default)]
pub(super) struct Shared {
    /// (operand, row, length, stream).
    streams: Vec<(usize, u32, usize, StreamNo)>,
    /// Which copy of a constant to read.
    pub(super) copy: usize,
}

/// Direction in which results flow to a hemisphere, and operands flow from the other.
fn towards(h: Hemisphere) -> Dir {
    h.outward()
}

impl Scheduler<'_> {
    pub(super) fn map(
        &mut self,
        k: &Kernel,
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
    ) -> Result<(), CompileError> {
        let plan = plan(steps, ins.len());
        for rows in bursts(k.n as usize) {
            for part in self.parts(outs) {
                self.map_rows(k, &plan, ins, steps, outs, rows.clone(), part)?;
            }
        }
        Ok(())
    }

    /// One burst of rows, or two of half as many where chunks of operands share a slice.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn map_rows(
        &mut self,
        k: &Kernel,
        plan: &Plan,
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: std::ops::Range<usize>,
        part: Part,
    ) -> Result<(), CompileError> {
        let (mut b, mut e) = self.map_burst(k, plan, ins, steps, outs, rows.clone(), part, 0);
        if b.collides().is_some() {
            if rows.len() > 1 {
                let middle = rows.start + rows.len() / 2;
                self.map_rows(k, plan, ins, steps, outs, rows.start..middle, part)?;
                return self.map_rows(k, plan, ins, steps, outs, middle..rows.end, part);
            }
            // A row of one copy may lie beside one of another: operands then start with other copies.
            for first in 1..=ins.len() {
                let other = self.map_burst(k, plan, ins, steps, outs, rows.clone(), part, first);
                if other.0.collides().is_none() {
                    (b, e) = other;
                    break;
                }
            }
        }
        let landing = self.place(k, b, e)?;
        self.times.note_rows(self.now, k.n as usize, rows, landing.start);
        Ok(())
    }

    /// Rows of an elementwise kernel as one burst.
    #[allow(clippy::too_many_arguments)]
    fn map_burst(
        &self,
        k: &Kernel,
        plan: &Plan,
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: std::ops::Range<usize>,
        part: Part,
        first_copy: usize,
    ) -> (Burst, Effects) {
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let mut shared = Shared { copy: first_copy, ..Shared::default() };
        self.alus(&mut b, &mut e, plan, &[], ins, steps, outs, rows, 1, part, &mut shared);
        (b, e)
    }

    /// First step of a burst of rows if it were placed now; none where it is no burst.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn map_start(
        &mut self,
        k: &Kernel,
        plan: &Plan,
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: std::ops::Range<usize>,
        part: Part,
    ) -> Option<i64> {
        let (b, _) = self.map_burst(k, plan, ins, steps, outs, rows, part, 0);
        b.earliest_start(self.m, &mut self.board)
    }

    /// Where the bytes of weights share slices each is written in a burst of its own; on each side.
    pub(super) fn parts(&self, outs: &[(Src, Rows)]) -> Vec<Part> {
        match outs {
            [(_, r)] if self.g.tensor(r.tensor).weights => {
                let sides = self.memory.sides_of(r.tensor).to_vec();
                if self.memory.bytes_apart(self.g, r.tensor) > 0 {
                    return sides.into_iter().map(|h| Some((None, h))).collect();
                }
                let bytes = 0..self.g.tensor(r.tensor).ty.bytes();
                bytes.flat_map(|b| sides.iter().map(move |&h| Some((Some(b), h)))).collect()
            }
            _ => vec![None],
        }
    }

    /// Adds a planned ALU sequence: its first step is at cycle 0 of the burst. Operands
    /// `0 .. given.len()` are streams that arrive by themselves, when the plan takes them.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn alus(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        plan: &Plan,
        given: &[StreamNo],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: std::ops::Range<usize>,
        step: u32,
        part: Part,
        shared: &mut Shared,
    ) {
        let n = rows.len() as u32;
        let vxm = self.m.vxm_column();
        let latency = i64::from(self.m.latency.vxm_alu);
        let mut streams: Vec<Option<StreamNo>> = given.iter().map(|s| Some(*s)).collect();
        let mut seen: Vec<u32> = Vec::new();
        for (number, r) in ins.iter().enumerate() {
            let copy = shared.copy + seen.iter().filter(|&&t| t == r.tensor.0).count();
            seen.push(r.tensor.0);
            let list = &r.rows[rows.clone()];
            let constant = list.iter().all(|x| *x == list[0]);
            let found =
                shared.streams.iter().find(|s| constant && s.0 == number && s.1 == list[0] && s.2 >= list.len());
            if let Some(s) = found {
                streams.push(Some(s.3));
                continue;
            }
            let at = plan.ins_at[given.len() + number];
            streams.push(at.map(|at| {
                let t = i64::from(at) * latency;
                let read = |b: &mut Burst, e: &mut Effects, copy: usize| {
                    let dir = towards(self.memory.side_of(r.tensor, copy)).opposite();
                    self.read_rows(b, e, r.tensor, copy, list, dir, step, vxm, t)
                };
                let copies = self.memory.homes[r.tensor.0 as usize].chunks.first().map_or(1, |c| c.copies.len());
                let often = ins.iter().filter(|x| x.tensor == r.tensor).count() > 1;
                if often && copies > 1 && !self.g.tensor(r.tensor).weights {
                    // Chunks of one copy may share slices with others of the next.
                    for turn in 0..copies {
                        let (mut burst, mut effects) = (b.clone(), e.clone());
                        let stream = read(&mut burst, &mut effects, (copy + turn) % copies);
                        if burst.collides().is_none() {
                            (*b, *e) = (burst, effects);
                            return stream;
                        }
                    }
                }
                read(b, e, copy)
            }));
            if let (true, Some(Some(s))) = (constant, streams.last()) {
                shared.streams.push((number, list[0], list.len(), *s));
            }
        }
        // Which stream carries which step's result where.
        let mut results: Vec<(u16, Dir, Vec<usize>)> = Vec::new();
        for (number, (src, r)) in outs.iter().enumerate() {
            if let Src::Op(s) = src {
                let sides = match part {
                    Some((_, h)) => vec![h],
                    None => self.memory.sides_holding(r.tensor, &r.rows[rows.clone()]),
                };
                for dir in sides.into_iter().map(towards) {
                    match results.iter_mut().find(|x| x.0 == *s && x.1 == dir) {
                        Some(x) => x.2.push(number),
                        None => results.push((*s, dir, vec![number])),
                    }
                }
            }
        }
        let base = b.insts.len();
        let mut slots = plan.slots.clone();
        let mut carried: Vec<(usize, Dir, u8, Vec<usize>)> = Vec::new();
        for (s, dir, numbers) in results {
            let slot = usize::from(plan.of_step[usize::from(s)]);
            let step = &steps[usize::from(s)];
            let width = step.op.result(step.ty).bytes();
            // One slot drives one group; a second direction takes a copy one step later.
            let slot = if carried.iter().any(|c| c.0 == slot) {
                let ty = [AluType::I8, AluType::I8, AluType::I16, AluType::I32, AluType::I32][usize::from(width)];
                let args = [SlotArg::Slot(slot as u16), SlotArg::Imm(0), SlotArg::None];
                slots.push(super::vxm::Slot { op: AluOp::Or, ty, args, at: slots[slot].at + 1 });
                slots.len() - 1
            } else {
                slot
            };
            carried.push((slot, dir, width, numbers));
        }
        for (number, s) in slots.iter().enumerate() {
            let t = i64::from(s.at) * latency;
            let to = carried.iter().find(|c| c.0 == number).map(|c| b.stream(c.1, c.2, step));
            let arg = |a: SlotArg| match a {
                SlotArg::None => Arg::None,
                SlotArg::Imm(v) => Arg::Imm(v),
                // Every operand that a slot takes has a stream.
                SlotArg::In(k) => streams[usize::from(k)].map_or(Arg::None, Arg::Stream),
                SlotArg::Slot(k) => Arg::Chain(InstNo(base + number_of(b, base, usize::from(k)))),
            };
            let args = s.args.map(arg);
            let inst = b.inst(At::Alu, t, repeat(n, step, 0), Proto::Alu { op: s.op, ty: s.ty, args, to }, None);
            for (k, a) in args.iter().enumerate() {
                if let Arg::Stream(stream) = a {
                    b.use_(*stream, whole(inst, 4 * k as u8, s.ty.bytes(), n, vxm));
                }
            }
            if let (Some(stream), Some(c)) = (to, carried.iter().find(|c| c.0 == number)) {
                let drive = t + self.alu_drive();
                let def = Def { inst, byte: 0, bytes: c.2, out: 0, off: 0, n, t: drive, column: vxm };
                b.def(stream, def);
                self.late_writes(b, e, stream, c, outs, &rows, drive, part);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn late_writes(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        stream: StreamNo,
        carried: &(usize, Dir, u8, Vec<usize>),
        outs: &[(Src, Rows)],
        rows: &std::ops::Range<usize>,
        drive: i64,
        part: Part,
    ) {
        let vxm = self.m.vxm_column();
        let side = if carried.1 == Dir::East { Hemisphere::East } else { Hemisphere::West };
        for &number in &carried.3 {
            let r = &outs[number].1;
            let bytes = match part {
                Some((Some(byte), _)) => byte..byte + 1,
                _ => 0..self.g.tensor(r.tensor).ty.bytes(),
            };
            for byte in bytes {
                let list = &r.rows[rows.clone()];
                self.write_byte(b, e, stream, byte, (r.tensor, byte), list, vxm, drive, Some(side));
            }
        }
    }
}

/// Position among the burst's instructions of ALU slot `slot`, counted from `base`.
fn number_of(b: &Burst, base: usize, slot: usize) -> usize {
    let alus = b.insts[base..].iter().enumerate().filter(|(_, i)| matches!(i.at, At::Alu));
    // Slots come in order, and a slot's operands before it.
    alus.map(|(n, _)| n).nth(slot).unwrap_or(0)
}
