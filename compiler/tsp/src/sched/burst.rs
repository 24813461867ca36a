//! A burst: instructions whose offsets from each other are fixed, with the streams between them.
//!
//! A burst is built with times relative to its start; [`Burst::place`] finds the earliest start at
//! which every queue, bank and stream it needs is free, books them, and names the streams and
//! ALUs. Knows the chip's resources; knows nothing of kernels.

use super::board::{Board, Flow, Unit};
use super::waits::{Cause, Idle, Waits};
use quadrille_isa::tsp::{
    AccMode, ActType, AluOp, AluType, Column, Dir, Inst, Machine, NodeIx, OUT_CHAIN, Operand, QueueId, Repeat, Slice,
    Stream, StreamGroup, ValueIx,
};

/// A stream (group) of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StreamNo(pub(super) usize);

/// An instruction of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InstNo(pub(super) usize);

/// An instruction of the whole program, in the order of placing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct PlacedNo(pub(crate) u32);

/// Operand of an ALU before streams and ALUs have names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    None,
    Imm(u32),
    Stream(StreamNo),
    /// Result of another ALU instruction of the burst.
    Chain(InstNo),
}

/// An instruction before streams and ALUs have names.
#[derive(Clone, Debug)]
pub(super) enum Proto {
    Read { addr: u16, to: StreamNo, byte: u8 },
    Write { addr: u16, from: StreamNo, byte: u8 },
    Gather { map: StreamNo, map_byte: u8, lo: u16, hi: u16, to: StreamNo, byte: u8 },
    Alu { op: AluOp, ty: AluType, args: [Arg; 3], to: Option<StreamNo> },
    Load { k0: u16, from: [(StreamNo, u8); 16] },
    Install,
    Act { from: StreamNo, byte: u8, ty: ActType },
    Acc { row: u16, mode: AccMode, emit: Option<StreamNo> },
    Transpose { from: StreamNo, to: StreamNo },
    Permute { map: u16, from: StreamNo, to: StreamNo },
    Distribute { map: u16, from: StreamNo, to: StreamNo },
}

/// Where an instruction runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Queue(QueueId),
    /// Any ALU.
    Alu,
}

/// SRAM words that an instruction touches: execution k at `addr + k * step`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) slice: Slice,
    pub(super) bank: u8,
    pub(super) value: ValueIx,
    pub(super) addr: u16,
    pub(super) step: i32,
}

#[derive(Clone, Debug)]
pub(super) struct BurstInst {
    pub(super) at: At,
    /// Relative to the start of the burst.
    pub(super) t: i64,
    pub(super) repeat: Repeat,
    pub(super) proto: Proto,
    pub(super) touch: Option<Touch>,
}

/// Rows `off .. off+n` of a stream come from an instruction: bytes `byte .. byte+bytes` are its
/// results `out ..`. Row `off` is at `column` in cycle `t`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Def {
    pub(super) inst: InstNo,
    pub(super) byte: u8,
    pub(super) bytes: u8,
    pub(super) out: u8,
    pub(super) off: u32,
    pub(super) n: u32,
    pub(super) t: i64,
    pub(super) column: Column,
}

/// Rows `off .. off+n` of a stream are sampled by executions 0.. of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) inst: InstNo,
    pub(super) slot: u8,
    pub(super) byte: u8,
    pub(super) bytes: u8,
    pub(super) off: u32,
    pub(super) n: u32,
    pub(super) column: Column,
}

#[derive(Clone, Debug)]
pub(super) struct BurstStream {
    pub(super) dir: Dir,
    pub(super) width: u8,
    /// Cycles from row to row.
    pub(super) step: u32,
    pub(super) defs: Vec<Def>,
    pub(super) uses: Vec<Use>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Burst {
    pub(super) node: u32,
    pub(super) insts: Vec<BurstInst>,
    pub(super) streams: Vec<BurstStream>,
    /// Earliest start that each of [`Cause::FIXED`] allows.
    pub(super) earliest: [i64; Cause::FIXED],
    /// Provenance between instructions that is not a stream.
    pub(super) state: Vec<StateUse>,
}

/// Executions `first .. first + count` of an instruction use what executions `def_first, def_first + def_step, …` of
/// another left in its unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateUse {
    pub(super) inst: InstNo,
    pub(super) slot: u8,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) def: StateDef,
    pub(super) def_first: u32,
    pub(super) def_step: u32,
}

/// Definition of a piece of unit state.
#[derive(Clone, Copy, Debug)]
pub(super) enum StateDef {
    Here(InstNo),
    Earlier(PlacedNo),
}

/// An instruction in its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) queue: QueueId,
    pub(crate) cycle: u32,
    pub(crate) inst: Inst,
    pub(crate) repeat: Repeat,
    pub(crate) node: NodeIx,
}

/// A provenance entry with instructions by [`PlacedNo`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) use_: PlacedNo,
    pub(crate) slot: u8,
    pub(crate) width: u8,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) def: PlacedNo,
    pub(crate) out: u8,
    pub(crate) def_first: u32,
    pub(crate) def_step: u32,
}

/// An SRAM provenance entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemLink {
    pub(crate) inst: PlacedNo,
    pub(crate) value: ValueIx,
    pub(crate) addr: u16,
    pub(crate) step: i32,
}

/// The program so far.
#[derive(Clone, Default)]
pub(crate) struct Placements {
    /// Number of the first instruction: those before it are elsewhere.
    base: u32,
    pub(crate) insts: Vec<Placed>,
    pub(crate) links: Vec<Link>,
    pub(crate) mem: Vec<MemLink>,
    /// Idle cycles of planes.
    pub(crate) idle: Vec<Idle>,
}

/// A burst that collides with itself: a mistake of the compiler, reported and never panicked on.
#[derive(Clone, Debug)]
pub(crate) struct NoPlace {
    pub(crate) what: String,
}

/// Byte of the group, first and last column, cycle of the first row, rows.
type Stretch = (u8, Column, Column, i64, u32);

/// Where a burst landed.
pub(super) struct Landing {
    pub(super) start: u32,
    /// Number of the burst's instruction 0; the others follow.
    pub(super) first: PlacedNo,
    /// Starts that each fixed cause would have allowed.
    pub(super) earliest: [i64; Cause::FIXED],
    /// Cycles lost to each unit that was taken.
    pub(super) waits: Waits,
}

impl Placements {
    fn next(&self) -> u32 {
        self.base + self.insts.len() as u32
    }

    /// What will follow these.
    pub(super) fn following(&self) -> Placements {
        // About as many again.
        let (insts, links) = (Vec::with_capacity(self.insts.len()), Vec::with_capacity(self.links.len()));
        Placements { base: self.next(), insts, links, ..Placements::default() }
    }

    pub(super) fn append(&mut self, mut more: Placements) {
        self.insts.append(&mut more.insts);
        self.links.append(&mut more.links);
        self.mem.append(&mut more.mem);
        self.idle.append(&mut more.idle);
    }

    /// Cycles in which units but slices begin, added up.
    pub(crate) fn begins(&self) -> u64 {
        let units = self.insts.iter().filter(|i| !matches!(i.queue, QueueId::Mem(..)));
        units.map(|i| u64::from(i.cycle)).sum()
    }

    /// Cycle after the last issue.
    pub(crate) fn end(&self) -> u32 {
        self.insts.iter().map(|i| i.cycle + i.repeat.n * i.repeat.d + 1).max().unwrap_or(0)
    }
}

impl Landing {
    pub(super) fn inst(&self, i: InstNo) -> PlacedNo {
        PlacedNo(self.first.0 + i.0 as u32)
    }
}

/// A place for a burst, its streams marked.
struct Found {
    start: i64,
    alus: Vec<Option<u8>>,
    bases: Vec<u8>,
    marked: Vec<Flow>,
    waits: Waits,
}

/// A queue or bank for some cycles from `t` on, counted from the start of the burst.
struct Want {
    unit: Unit,
    t: i64,
    len: u32,
}

/// All that a burst wants, and which of it is looked at next: what was taken last is likely to be taken again.
struct Wants {
    list: Vec<Want>,
    next: usize,
}

impl Wants {
    /// The earliest start, from `start` on, at which all are free.
    fn free_from(&mut self, board: &Board, mut start: i64) -> i64 {
        let mut free = 0;
        while free < self.list.len() {
            let want = &self.list[self.next];
            // Whatever begins before the last cycle that is taken has that cycle in it.
            if let Some(last) = board.taken(want.unit, (start + want.t) as u32, want.len) {
                start = i64::from(last) + 1 - want.t;
                free = 0;
            } else {
                free += 1;
                self.next = if self.next + 1 < self.list.len() { self.next + 1 } else { 0 };
            }
        }
        start
    }
}

fn span(i: &BurstInst) -> u32 {
    i.repeat.n * i.repeat.d + 1
}

impl Burst {
    pub(super) fn new(node: u32) -> Burst {
        Burst { node, earliest: [i64::MIN; Cause::FIXED], ..Burst::default() }
    }

    /// Starts no earlier than `t`, because of `why`.
    pub(super) fn after(&mut self, why: Cause, t: i64) {
        let held = &mut self.earliest[why as usize];
        *held = (*held).max(t);
    }

    pub(super) fn stream(&mut self, dir: Dir, width: u8, step: u32) -> StreamNo {
        self.streams.push(BurstStream { dir, width, step, defs: Vec::new(), uses: Vec::new() });
        StreamNo(self.streams.len() - 1)
    }

    pub(super) fn inst(&mut self, at: At, t: i64, repeat: Repeat, proto: Proto, touch: Option<Touch>) -> InstNo {
        self.insts.push(BurstInst { at, t, repeat, proto, touch });
        InstNo(self.insts.len() - 1)
    }

    /// The first `count` executions of an instruction use the state that those of another left, step by step.
    pub(super) fn uses_state(&mut self, inst: InstNo, slot: u8, def: StateDef, def_step: u32, count: u32) {
        self.state.push(StateUse { inst, slot, first: 0, count, def, def_first: 0, def_step });
    }

    pub(super) fn def(&mut self, s: StreamNo, d: Def) {
        self.streams[s.0].defs.push(d);
    }

    pub(super) fn use_(&mut self, s: StreamNo, u: Use) {
        self.streams[s.0].uses.push(u);
    }

    /// Stretches of stream that the burst needs, with ids counted from the group's base and times
    /// from the start.
    fn flows(&self, s: &BurstStream) -> Vec<Stretch> {
        let mut out = Vec::new();
        for d in &s.defs {
            for byte in d.byte..d.byte + d.bytes {
                let reaches = s.uses.iter().filter(|u| {
                    (u.byte..u.byte + u.bytes).contains(&byte) && u.off < d.off + d.n && d.off < u.off + u.n
                });
                let far = match s.dir {
                    Dir::East => reaches.map(|u| u.column).max(),
                    Dir::West => reaches.map(|u| u.column).min(),
                };
                out.push((byte, d.column, far.unwrap_or(d.column), d.t, d.n));
            }
        }
        out
    }

    /// A queue or bank that two instructions of the burst want in one cycle.
    pub(super) fn collides(&self) -> Option<String> {
        let mut queues: Vec<(QueueId, i64, i64)> = Vec::with_capacity(self.insts.len());
        let mut banks: Vec<(Slice, u8, i64, i64)> = Vec::with_capacity(self.insts.len());
        for i in &self.insts {
            let end = i.t + i64::from(span(i));
            if let (At::Queue(q), false) = (i.at, matches!(i.proto, Proto::Install)) {
                queues.push((q, i.t, end));
            }
            if let Some(t) = i.touch {
                banks.push((t.slice, t.bank, i.t, end));
            }
        }
        queues.sort_unstable();
        banks.sort_unstable();
        let queue = queues.windows(2).find(|w| w[0].0 == w[1].0 && w[1].1 < w[0].2);
        let bank = banks.windows(2).find(|w| (w[0].0, w[0].1) == (w[1].0, w[1].1) && w[1].2 < w[0].3);
        queue.map(|w| format!("{}", w[0].0)).or(bank.map(|w| format!("{} bank {}", w[0].0, w[0].1)))
    }

    /// Last cycle, from the start.
    pub(super) fn last(&self) -> i64 {
        self.insts.iter().map(|i| i.t + i64::from(span(i))).max().unwrap_or(0)
    }

    /// Finds the earliest start, books it, and adds the instructions to the program.
    pub(super) fn place(self, m: &Machine, board: &mut Board, out: &mut Placements) -> Result<Landing, NoPlace> {
        let found = self.find(m, board)?;
        Ok(self.settle(board, out, found))
    }

    /// The same, unless that is too late: `late` knows the start that the fixed causes allow, and the one that was found, which
    /// then is what is given.
    pub(super) fn place_unless(
        self,
        m: &Machine,
        board: &mut Board,
        out: &mut Placements,
        late: impl Fn(i64, i64) -> bool,
    ) -> Result<Result<Landing, i64>, NoPlace> {
        let found = self.find(m, board)?;
        if late(self.not_before(m), found.start) {
            found.marked.iter().for_each(|f| board.mark_stream(f, false));
            return Ok(Err(found.start));
        }
        Ok(Ok(self.settle(board, out, found)))
    }

    fn settle(self, board: &mut Board, out: &mut Placements, found: Found) -> Landing {
        let earliest = self.earliest;
        let landing = self.commit(board, out, found.start, &found.alus, &found.bases);
        Landing { earliest, waits: found.waits, ..landing }
    }

    /// The start that the fixed causes allow.
    fn not_before(&self, m: &Machine) -> i64 {
        let least = self.insts.iter().map(|i| i.t).min().unwrap_or(0);
        let not_before = self.earliest.iter().copied().max().unwrap_or(i64::MIN);
        not_before.max(i64::from(m.latency.barrier) - least)
    }

    /// The earliest start; nothing is booked.
    pub(super) fn earliest_start(&self, m: &Machine, board: &mut Board) -> Option<i64> {
        let found = self.find(m, board).ok()?;
        found.marked.iter().for_each(|f| board.mark_stream(f, false));
        Some(found.start)
    }

    /// Finds the earliest start and marks its streams.
    fn find(&self, m: &Machine, board: &mut Board) -> Result<Found, NoPlace> {
        let mut waits = Waits::default();
        let mut start = self.not_before(m);
        let flows: Vec<_> = self.streams.iter().map(|s| self.flows(s)).collect();
        if let Some(what) = self.collides() {
            return Err(NoPlace { what });
        }
        let mut wants = Wants { list: self.wants(board), next: 0 };
        let alus: Vec<Unit> = (0..m.geometry.alus as u8).map(|a| board.queue(QueueId::Vxm(a))).collect();
        let mut tries = 0u32;
        loop {
            tries += 1;
            if tries > 2_000_000 {
                return Err(NoPlace { what: "streams or ALUs: more than the chip has".into() });
            }
            let free = wants.free_from(board, start);
            waits.add(Cause::Port, (free - start) as u32);
            start = free;
            let Some(alus) = self.pick_alus(&alus, board, start) else {
                start += 1;
                waits.add(Cause::Vxm, 1);
                continue;
            };
            match self.pick_streams(board, &flows, start) {
                Some((bases, marked)) => return Ok(Found { start, alus, bases, marked, waits }),
                None => {
                    start += 1;
                    waits.add(Cause::Stream, 1);
                }
            }
        }
    }

    /// The queues and banks that the burst needs: from when on, and for how long.
    fn wants(&self, board: &Board) -> Vec<Want> {
        let mut wants = Vec::with_capacity(2 * self.insts.len());
        for i in &self.insts {
            let mut want = |unit| wants.push(Want { unit, t: i.t, len: span(i) });
            if let (At::Queue(q), false) = (i.at, matches!(i.proto, Proto::Install)) {
                want(board.queue(q));
            }
            if let Some(touch) = i.touch {
                want(board.bank(touch.slice, touch.bank));
            }
        }
        wants
    }

    fn pick_alus(&self, alus: &[Unit], board: &Board, start: i64) -> Option<Vec<Option<u8>>> {
        let mut chosen: Vec<Option<u8>> = vec![None; self.insts.len()];
        let mut used = 0u32;
        for (n, i) in self.insts.iter().enumerate() {
            if matches!(i.at, At::Alu) {
                let (t, len) = ((start + i.t) as u32, span(i));
                let mut free = alus.iter().enumerate().filter(|(a, _)| used >> a & 1 == 0);
                let (free, _) = free.find(|(_, unit)| board.taken(**unit, t, len).is_none())?;
                used |= 1 << free;
                chosen[n] = Some(free as u8);
            }
        }
        Some(chosen)
    }

    fn pick_streams(&self, board: &mut Board, flows: &[Vec<Stretch>], start: i64) -> Option<(Vec<u8>, Vec<Flow>)> {
        let mut bases = Vec::with_capacity(flows.len());
        let mut marked: Vec<Flow> = Vec::new();
        for (s, parts) in self.streams.iter().zip(flows) {
            let flow = |base: u8, &(byte, from, to, t, n): &Stretch| Flow {
                stream: Stream { dir: s.dir, id: base + byte },
                from,
                to,
                t: (start + t) as u32,
                n,
                step: s.step,
            };
            let base =
                (0..32 / s.width).map(|k| k * s.width).find(|&b| parts.iter().all(|p| board.stream_free(&flow(b, p))));
            let Some(base) = base else {
                marked.iter().for_each(|f| board.mark_stream(f, false));
                return None;
            };
            for p in parts {
                board.mark_stream(&flow(base, p), true);
                marked.push(flow(base, p));
            }
            bases.push(base);
        }
        Some((bases, marked))
    }

    fn commit(self, board: &mut Board, out: &mut Placements, start: i64, alus: &[Option<u8>], bases: &[u8]) -> Landing {
        let landing = Landing {
            start: start as u32,
            first: PlacedNo(out.next()),
            earliest: self.earliest,
            waits: Waits::default(),
        };
        let group = |s: StreamNo| {
            let b = &self.streams[s.0];
            StreamGroup { dir: b.dir, base: bases[s.0], width: b.width }
        };
        let byte = |s: StreamNo, k: u8| group(s).stream(k);
        for (n, i) in self.insts.iter().enumerate() {
            let queue = match i.at {
                At::Queue(q) => q,
                // Every ALU instruction was given an ALU.
                At::Alu => QueueId::Vxm(alus[n].unwrap_or(0)),
            };
            let cycle = (start + i.t) as u32;
            // An install shares its cycle with the activation after it; the planes' own books keep order.
            if !matches!(i.proto, Proto::Install) {
                board.take(board.queue(queue), cycle, span(i));
            }
            if let Some(t) = i.touch {
                board.take(board.bank(t.slice, t.bank), cycle, span(i));
                out.mem.push(MemLink { inst: landing.inst(InstNo(n)), value: t.value, addr: t.addr, step: t.step });
            }
            let inst = match &i.proto {
                Proto::Read { addr, to, byte: k } => Inst::Read { addr: *addr, stream: byte(*to, *k) },
                Proto::Write { addr, from, byte: k } => Inst::Write { stream: byte(*from, *k), addr: *addr },
                Proto::Gather { map, map_byte, lo, hi, to, byte: k } => {
                    Inst::Gather { map: byte(*map, *map_byte), lo: *lo, hi: *hi, stream: byte(*to, *k) }
                }
                Proto::Alu { op, ty, args, to } => {
                    let arg = |a: Arg| match a {
                        Arg::None => Operand::None,
                        Arg::Imm(v) => Operand::Imm(v),
                        Arg::Stream(s) => Operand::Stream(group(s)),
                        Arg::Chain(i) => Operand::Alu(alus[i.0].unwrap_or(0)),
                    };
                    for (k, a) in args.iter().enumerate() {
                        if let Arg::Chain(def) = a {
                            out.links.push(Link {
                                use_: landing.inst(InstNo(n)),
                                slot: 4 * k as u8,
                                width: 1,
                                first: 0,
                                count: i.repeat.n + 1,
                                def: landing.inst(*def),
                                out: OUT_CHAIN,
                                def_first: 0,
                                def_step: 1,
                            });
                        }
                    }
                    Inst::Alu {
                        op: *op,
                        ty: *ty,
                        a: arg(args[0]),
                        b: arg(args[1]),
                        c: arg(args[2]),
                        dst: to.map(group),
                    }
                }
                Proto::Load { k0, from } => Inst::LoadWeights { k0: *k0, streams: from.map(|(s, k)| byte(s, k).id) },
                Proto::Install => Inst::InstallWeights,
                Proto::Act { from, byte: k, ty } => Inst::Activations { base: byte(*from, *k).id, ty: *ty },
                Proto::Acc { row, mode, emit } => {
                    Inst::Accumulate { row: *row, mode: *mode, emit: emit.map(|s| group(s).base) }
                }
                Proto::Permute { map, from, to } => Inst::Permute { map: *map, from: byte(*from, 0), to: byte(*to, 0) },
                Proto::Distribute { map, from, to } => {
                    Inst::Distribute { map: *map, from: byte(*from, 0), to: byte(*to, 0) }
                }
                Proto::Transpose { from, to } => Inst::Transpose { from: byte(*from, 0), to: byte(*to, 0) },
            };
            out.insts.push(Placed { queue, cycle, inst, repeat: i.repeat, node: NodeIx(self.node) });
        }
        for s in &self.streams {
            for u in &s.uses {
                for d in &s.defs {
                    let (lo, hi) = (u.off.max(d.off), (u.off + u.n).min(d.off + d.n));
                    let (b0, b1) = (u.byte.max(d.byte), (u.byte + u.bytes).min(d.byte + d.bytes));
                    if lo < hi && b0 < b1 {
                        out.links.push(Link {
                            use_: landing.inst(u.inst),
                            slot: u.slot + (b0 - u.byte),
                            width: b1 - b0,
                            first: lo - u.off,
                            count: hi - lo,
                            def: landing.inst(d.inst),
                            out: d.out + (b0 - d.byte),
                            def_first: lo - d.off,
                            def_step: 1,
                        });
                    }
                }
            }
        }
        for u in &self.state {
            let def = match u.def {
                StateDef::Here(i) => landing.inst(i),
                StateDef::Earlier(p) => p,
            };
            out.links.push(Link {
                use_: landing.inst(u.inst),
                slot: u.slot,
                width: 1,
                first: u.first,
                count: u.count,
                def,
                out: 0,
                def_first: u.def_first,
                def_step: u.def_step,
            });
        }
        landing
    }
}
