//! The values of a run, apart from its time: what is in SRAM and in the words of the streams.
//!
//! No value decides when something happens. So the cycles need no values, and the values need no cycles: each PE does
//! its operations in the order in which they were launched, as far as the words that it takes exist; operations in
//! flight at the same time touch no common place (`Engine::launched` sees to that), so their order is of no matter.
//! Knows operations, SRAM and streams; knows nothing of routers and of time.

mod traces;

use self::traces::Traces;
use super::super::fabric::{Fabric, From, NONE, To};
use super::super::lower::{Access, Execution};
use super::super::resident;
use super::Peek;
use super::bulk::{self, Place};
use super::host::Host;
use super::shape::Shape;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Pe, Program};

/// An operation is launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Among all PEs with a program.
    pub(super) core: u32,
    pub(super) shape: u32,
    /// Microthread, or 8 for the task's synchronous operation.
    pub(super) slot: u8,
    /// Slots of the operations in flight at that time, a bit each.
    pub(super) beside: u16,
    pub(super) ex: Execution,
}

/// An operation that is not done.
#[derive(Clone, Debug)]
struct Pending {
    shape: u32,
    slot: u8,
    number: u32,
    /// Numbers of the operations in flight at the launch, by slot; 0 for none.
    beside: [u32; 9],
    ex: Execution,
    n: u64,
    done: u64,
    /// By operand, the first word that it takes or gives.
    first: [u64; 4],
    begun: bool,
}

#[derive(Clone, Debug)]
struct Core {
    start: usize,
    len: u32,
    /// Operations launched so far, and by slot the last of them.
    launched: u32,
    last: [u32; 9],
    readers: [u32; 8],
    streams: [u32; 6],
    pending: Vec<Pending>,
    listed: bool,
    /// Something of a trace is left to do.
    waits: bool,
}

/// All words that an output queue or the host sends on a color, from the first that somebody has yet to take.
#[derive(Clone, Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    /// Number of the first word in `bytes`, and one past the last that is whole.
    base: u64,
    end: u64,
    /// Its readers.
    first: u32,
    count: u32,
    /// Length at which to forget what all have taken.
    full: usize,
    /// Number among all streams, other parts in which somebody takes it, a bit each, and one past the last word sent there.
    source: u32,
    away: u64,
    sent: u64,
}

/// Values may be found in parts of the mesh: this one, of those that begin at these sites.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'p> {
    pub(super) begins: &'p [usize],
    pub(super) me: usize,
}

impl Part<'_> {
    /// Parts that a mesh may have.
    pub(super) const MOST: usize = 64;

    fn of_site(&self, site: u32) -> usize {
        self.begins.partition_point(|&b| b <= site as usize).saturating_sub(1)
    }
}

/// Who takes a stream.
#[derive(Clone, Copy, Debug)]
enum Taker {
    Core(u32),
    Host(u16, u8),
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    stream: u32,
    taker: Taker,
    /// Number of the next word.
    at: u64,
}

/// Least bytes of a stream that are kept before any are forgotten.
const KEEP: usize = 256;

pub(super) struct Values<'a> {
    program: &'a Program,
    shapes: &'a [Shape],
    core_at: Vec<u32>,
    cores: Vec<Core>,
    memory: Vec<u8>,
    streams: Vec<Stream>,
    readers: Vec<Reader>,
    host: Host<'a>,
    /// Cores that may go on.
    list: Vec<u32>,
    traces: Traces,
    /// What streams bring to each other part, by number of the stream.
    outbox: Vec<Vec<(u32, Vec<u8>)>>,
    /// Streams of this part by their number among all.
    sources: Vec<(u32, u32)>,
}

impl Pending {
    fn new(r: &Record, number: u32, beside: [u32; 9]) -> Pending {
        Pending {
            shape: r.shape,
            slot: r.slot,
            number,
            beside,
            ex: r.ex,
            n: r.ex.n(),
            done: 0,
            first: [0; 4],
            begun: false,
        }
    }
}

impl<'a> Values<'a> {
    /// Before the first cycle. `cores` has a site and a length of SRAM for each PE of the part with a program, in order of sites.
    pub(super) fn new(
        program: &'a Program,
        fabric: &Fabric,
        shapes: &'a [Shape],
        inputs: &'a [Tensor],
        cores: impl Iterator<Item = (u32, u32)>,
        part: Part<'_>,
    ) -> Values<'a> {
        let mut core_at = vec![NONE; fabric.sites.len()];
        let mut list = Vec::new();
        let mut start = 0;
        for (site, len) in cores {
            core_at[site as usize] = list.len() as u32;
            list.push(Core {
                start,
                len,
                launched: 0,
                last: [0; 9],
                readers: [NONE; 8],
                streams: [NONE; 6],
                pending: Vec::new(),
                listed: false,
                waits: false,
            });
            start += len as usize;
        }
        let mut values = Values {
            program,
            shapes,
            core_at,
            cores: list,
            memory: Vec::new(),
            streams: Vec::new(),
            readers: Vec::new(),
            host: Host::new(program, inputs),
            list: Vec::new(),
            traces: Traces::default(),
            outbox: vec![Vec::new(); part.begins.len()],
            sources: Vec::new(),
        };
        let place = |pe: Pe, addr: u32| {
            let core = values.core_at[fabric.site(pe)? as usize];
            Some(values.cores.get(core as usize)?.start + addr as usize)
        };
        values.memory = fill(program, inputs, start, place);
        values.connect(fabric, part);
        values
    }

    /// Follows every color from its source to all who take it.
    fn connect(&mut self, fabric: &Fabric, part: Part<'_>) {
        let mut way = Vec::new();
        let mut source = 0;
        for (ix, node) in fabric.nodes.iter().enumerate() {
            let stream = self.streams.len() as u32;
            let row = fabric.sites[node.site as usize].pe.y;
            let mine = part.of_site(node.site) == part.me;
            let from_host = match node.from {
                From::Queue(q) => {
                    let core = self.core_at[node.site as usize];
                    match self.cores.get_mut(core as usize) {
                        Some(core) => core.streams[usize::from(q)] = stream,
                        None if mine => continue,
                        None => {}
                    }
                    false
                }
                From::Host(_) => true,
                _ => continue,
            };
            source += 1;
            let first = self.readers.len() as u32;
            let mut away = 0;
            way.push(ix as u32);
            while let Some(at) = way.pop() {
                let node = &fabric.nodes[at as usize];
                for to in node.to {
                    let taker = match to {
                        To::Node(next) => {
                            way.push(next);
                            continue;
                        }
                        To::Queue(q) => {
                            let there = part.of_site(node.site);
                            if there != part.me {
                                away |= 1 << there;
                                continue;
                            }
                            let ix = self.core_at[node.site as usize];
                            let Some(core) = self.cores.get_mut(ix as usize) else { continue };
                            core.readers[usize::from(q)] = self.readers.len() as u32;
                            Taker::Core(ix)
                        }
                        To::Host(row) => Taker::Host(row, node.color),
                        To::Unused => continue,
                    };
                    self.readers.push(Reader { stream, taker, at: 0 });
                }
            }
            let count = self.readers.len() as u32 - first;
            if !mine && count == 0 {
                continue;
            }
            let away = if mine { away } else { 0 };
            self.sources.push((source, stream));
            self.streams.push(Stream { first, count, full: KEEP, source, away, ..Stream::default() });
            if from_host {
                while let Some(word) = self.host.next(row, node.color) {
                    let s = &mut self.streams[stream as usize];
                    s.bytes.extend_from_slice(&word.to_le_bytes());
                    s.end += 1;
                }
                self.deliver(stream);
            }
        }
    }

    /// Does what was launched, in that order.
    pub(super) fn follow(&mut self, records: &mut Vec<Record>) {
        for record in records.drain(..) {
            self.launch(&record);
            while let Some(core) = self.list.pop() {
                self.cores[core as usize].listed = false;
                self.go_on(core as usize);
            }
        }
    }

    fn launch(&mut self, r: &Record) {
        let core = &mut self.cores[r.core as usize];
        core.launched += 1;
        let alone = core.pending.is_empty();
        let last = core.last;
        let beside = |slot: usize| if !alone && r.beside >> slot & 1 == 1 { last[slot] } else { 0 };
        core.last[usize::from(r.slot)] = core.launched;
        let mut p = Pending::new(r, core.launched, std::array::from_fn(beside));
        // Mostly there are words, and nothing before it.
        if alone && self.advance(r.core as usize, &mut p) {
            return;
        }
        let core = &mut self.cores[r.core as usize];
        core.pending.push(p);
        if !alone && !core.listed {
            core.listed = true;
            self.list.push(r.core);
        }
    }

    /// Does a PE's operations as far as there are words.
    fn go_on(&mut self, ix: usize) {
        let mut pending = std::mem::take(&mut self.cores[ix].pending);
        let mut k = 0;
        while k < pending.len() {
            let (before, rest) = pending.split_at_mut(k);
            let p = &mut rest[0];
            if before.iter().all(|b| p.beside[usize::from(b.slot)] == b.number) && self.advance(ix, p) {
                pending.remove(k);
            } else {
                k += 1;
            }
        }
        self.cores[ix].pending = pending;
    }

    /// Does what can be done of an operation; true when that is all.
    fn advance(&mut self, ix: usize, p: &mut Pending) -> bool {
        let shapes = self.shapes;
        let op = &shapes[p.shape as usize];
        let core = &self.cores[ix];
        let stream_of = |q: u8| core.streams[usize::from(q)] as usize;
        if !p.begun {
            p.begun = true;
            for (k, operand) in op.operands.iter().enumerate() {
                match operand.access.queue() {
                    Some(q) if k == 3 => p.first[k] = self.streams[stream_of(q)].end,
                    Some(q) => p.first[k] = self.readers[core.readers[usize::from(q)] as usize].at,
                    None => {}
                }
            }
        }
        let n0 = u64::from(p.ex.n0);
        let mut until = p.n;
        for (operand, first) in op.operands[..3].iter().zip(p.first) {
            let per = u64::from(operand.ty.per_wavelet());
            let words =
                |q: u8| self.streams[self.readers[core.readers[usize::from(q)] as usize].stream as usize].end - first;
            match operand.access {
                Access::Fabric(q) => until = until.min(words(q) * per),
                Access::FabricRow(q) => until = until.min(words(q) * per * n0),
                _ => {}
            }
        }
        if until <= p.done {
            return false;
        }
        let mut out = None;
        if let Access::Fabric(q) = op.operands[3].access {
            let per = u64::from(op.operands[3].ty.per_wavelet());
            let stream = stream_of(q);
            let s = &mut self.streams[stream];
            s.bytes.resize((p.first[3] + until.div_ceil(per) - s.base) as usize * 4, 0);
            s.end = p.first[3] + if until == p.n { until.div_ceil(per) } else { until / per };
            out = Some((stream, std::mem::take(&mut s.bytes)));
        }
        {
            // Words that were taken may be forgotten, so the first of them may lie before what is kept.
            let start = |k: usize, s: &Stream| (p.first[k] as i64 - s.base as i64) as isize * 4;
            let source = |k: usize| -> (&[u8], isize) {
                let Some(q) = op.operands[k].access.queue() else { return (&[], 0) };
                let s = &self.streams[self.readers[core.readers[usize::from(q)] as usize].stream as usize];
                (&s.bytes, start(k, s))
            };
            let to = out.as_mut().map(|(s, bytes)| (&mut bytes[..], start(3, &self.streams[*s])));
            let memory = &mut self.memory[core.start..core.start + core.len as usize];
            let place = Place { sources: [source(0), source(1), source(2)], memory, to };
            bulk::run(op, &p.ex, p.done..until, place);
        }
        p.done = until;
        let all = until == p.n;
        for (operand, first) in op.operands[..3].iter().zip(p.first) {
            let Some(q) = operand.access.queue() else { continue };
            let per = u64::from(operand.ty.per_wavelet());
            let taken = match operand.access {
                Access::FabricRow(_) => until / n0,
                _ => until,
            };
            let row_begun = matches!(operand.access, Access::FabricRow(_)) && all;
            let words = if all || row_begun { taken.div_ceil(per) } else { taken / per };
            let reader = core.readers[usize::from(q)] as usize;
            self.readers[reader].at = first + words;
        }
        if let Some((stream, bytes)) = out {
            self.streams[stream].bytes = bytes;
            self.deliver(stream as u32);
        }
        all
    }

    /// Tells who takes a stream that it is longer now, and forgets what all have taken.
    fn deliver(&mut self, stream: u32) {
        let s = &mut self.streams[stream as usize];
        let readers = &mut self.readers[s.first as usize..(s.first + s.count) as usize];
        for reader in readers.iter_mut() {
            match reader.taker {
                Taker::Core(core) => {
                    let c = &mut self.cores[core as usize];
                    if !c.listed && (c.waits || !c.pending.is_empty()) {
                        c.listed = true;
                        self.list.push(core);
                    }
                }
                Taker::Host(row, color) => {
                    for word in
                        s.bytes[(reader.at - s.base) as usize * 4..(s.end - s.base) as usize * 4].chunks_exact(4)
                    {
                        self.host.receive(row, color, u32::from_le_bytes([word[0], word[1], word[2], word[3]]), 0);
                    }
                    reader.at = s.end;
                }
            }
        }
        let mut away = s.away;
        while away != 0 {
            let new = s.bytes[(s.sent - s.base) as usize * 4..(s.end - s.base) as usize * 4].to_vec();
            self.outbox[away.trailing_zeros() as usize].push((s.source, new));
            away &= away - 1;
        }
        s.sent = s.end;
        if s.bytes.len() > s.full {
            let least = readers.iter().map(|r| r.at).min().unwrap_or(s.end).min(s.end);
            s.bytes.drain(..(least - s.base) as usize * 4);
            s.base = least;
            s.full = KEEP.max(2 * s.bytes.len());
        }
    }

    /// Part of the SRAM of a PE that runs a program; beyond what the program declares it is zero.
    pub(super) fn peek(&self, site: u32, p: &Peek) -> Option<Vec<u8>> {
        let core = self.cores.get(self.core_at[site as usize] as usize)?;
        let held = &self.memory[core.start..core.start + core.len as usize];
        Some((p.addr as usize..(p.addr + p.len) as usize).map(|at| held.get(at).copied().unwrap_or(0)).collect())
    }

    /// Outputs that left by ports and those in SRAM.
    pub(super) fn outputs(&mut self, fabric: &Fabric) -> Vec<Vec<u8>> {
        let mut outputs = self.host.take_outputs();
        self.unload(fabric, &mut outputs);
        outputs
    }

    /// Outputs in SRAM of this part.
    pub(super) fn unload(&self, fabric: &Fabric, outputs: &mut [Vec<u8>]) {
        let place = |pe: Pe, addr: u32| {
            let core = self.core_at[fabric.site(pe)? as usize];
            Some(self.cores.get(core as usize)?.start + addr as usize)
        };
        resident::unload(self.program, outputs, &self.memory, place);
    }
}

/// SRAM of so many bytes in all before the first cycle; `place` knows where an address of a PE lies.
pub(super) fn fill(
    program: &Program,
    inputs: &[Tensor],
    len: usize,
    place: impl Fn(Pe, u32) -> Option<usize>,
) -> Vec<u8> {
    // Zeroed pages that are never touched cost address space only.
    let mut memory = vec![0u8; len];
    for data in &program.data {
        let len = data.len as usize;
        let shared = data.bytes.len() == len;
        for (k, pe) in data.rect.pes().enumerate() {
            let Some(at) = place(pe, data.addr) else { continue };
            let from = if shared { 0 } else { k * len };
            memory[at..at + len].copy_from_slice(&data.bytes[from..from + len]);
        }
    }
    resident::load(program, inputs, &mut memory, place);
    memory
}
