//! The kernels run untimed, as wavelet counts through small queues, until all is done or nothing moves.
//!
//! A network of such actors stops in the same state whatever the order they run in, and more room never
//! stops it. So room can be added where it stopped and the run goes on: the state is one that the roomier
//! network passes through, but for one block that a new buffer holds back; who adds room runs the
//! network anew at the end to be sure.

use super::actor::Actor;
use crate::streams::{KernelId, Producer, StreamId, WaferGraph};

/// Wavelets that a reader's queue is assumed to hold.
const ROOM: u64 = 4;

/// More wavelets than any stream carries.
const EVERYTHING: u64 = 1 << 48;

/// Where untimed execution stopped.
pub(super) enum Stop {
    /// Nowhere: every kernel has done everything.
    Done,
    /// At a join, with this operand's queue full while another is awaited.
    Full(KernelId, usize),
    /// At a kernel that no buffer helps.
    Stuck(KernelId),
}

/// A reader of a stream.
struct Reader {
    kernel: usize,
    input: usize,
    taken: u64,
    /// It takes its operands whole, so it has room for all of them.
    drains: bool,
    /// Buffers before it, and wavelets in a block of theirs.
    buffers: u64,
    block: u64,
}

impl Reader {
    /// Wavelets that it takes whatever else happens: the rest of a burst from this stream alone.
    fn sure(&self, actors: &[Actor]) -> u64 {
        let actor = &actors[self.kernel];
        let only = |(i, &n): (usize, &u64)| n == 0 || i == self.input;
        let burst = actor.burst().filter(|b| b.sends == 0 && b.takes.iter().enumerate().all(only));
        burst.map_or(0, |b| b.takes[self.input].saturating_sub(actor.done))
    }

    /// Wavelets that may have been sent to it in all.
    fn limit(&self, actors: &[Actor]) -> u64 {
        if self.drains {
            return u64::MAX;
        }
        match self.buffers {
            // What it is sure to take need not wait in its queue.
            0 => self.taken + self.sure(actors) + ROOM,
            // A buffer takes a block when the one before has left it.
            n => ((self.taken + ROOM) / self.block + n) * self.block + ROOM,
        }
    }

    /// Wavelets that wait for it, of those sent.
    fn waiting(&self, sent: u64) -> u64 {
        // A buffer gives a block on when it has it whole.
        let come = if self.buffers == 0 { sent } else { sent / self.block * self.block };
        come.saturating_sub(self.taken)
    }
}

/// A stream: wavelets sent, and who takes them.
struct Flow {
    sent: u64,
    input: bool,
    readers: Vec<Reader>,
}

impl Flow {
    fn space(&self, actors: &[Actor]) -> u64 {
        let limit = self.readers.iter().map(|r| r.limit(actors)).min();
        limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.sent))
    }

    /// Inputs of the model keep their streams full.
    fn refill(&mut self, actors: &[Actor]) {
        if self.input {
            // Readers that take everything get everything at once.
            self.sent = match self.space(actors) {
                s if s > EVERYTHING => EVERYTHING,
                s => self.sent + s,
            };
        }
    }

    /// The reader that has room for least: kernel and operand.
    fn slowest(&self, actors: &[Actor]) -> Option<(usize, Option<usize>)> {
        self.readers.iter().min_by_key(|r| r.limit(actors)).map(|r| (r.kernel, Some(r.input)))
    }
}

/// The kernels of a graph, part of their work done.
pub(super) struct Network<'g> {
    g: &'g WaferGraph,
    actors: Vec<Actor>,
    flows: Vec<Flow>,
    /// Stream and reader of every operand of every kernel.
    from: Vec<Vec<(usize, usize)>>,
    order: Vec<KernelId>,
    /// Kernels that something has changed for since they could last not go on.
    awake: Awake,
}

/// Kernels that are awake: a bit each, by their places in the order.
struct Awake {
    places: Vec<usize>,
    bits: Vec<u64>,
}

impl Awake {
    /// All of them.
    fn all(order: &[KernelId], kernels: usize) -> Awake {
        let mut awake = Awake { places: vec![0; kernels], bits: vec![0; order.len().div_ceil(64)] };
        for (place, k) in order.iter().enumerate() {
            awake.places[k.0] = place;
            awake.wake(k.0);
        }
        awake
    }

    fn wake(&mut self, k: usize) {
        let place = self.places[k];
        self.bits[place / 64] |= 1 << (place % 64);
    }

    fn sleep(&mut self, k: usize) {
        let place = self.places[k];
        self.bits[place / 64] &= !(1 << (place % 64));
    }

    /// The first place from `from` on of one that is awake.
    fn next(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.bits.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

impl<'g> Network<'g> {
    /// The kernels before they begin.
    pub(super) fn new(g: &'g WaferGraph) -> Network<'g> {
        let mut from: Vec<Vec<(usize, usize)>> = g.kernels.iter().map(|k| vec![(0, 0); k.inputs.len()]).collect();
        let flow = |(i, s): (usize, &crate::streams::Stream)| {
            let readers = s.readers.iter().enumerate().map(|(r, &(k, input))| {
                from[k.0][input] = (i, r);
                let drains = g.kernels[k.0].core.drains();
                Reader { kernel: k.0, input, taken: 0, drains, buffers: 0, block: 1 }
            });
            Flow { sent: 0, input: matches!(s.producer, Producer::Input(_)), readers: readers.collect() }
        };
        let mut flows: Vec<Flow> = g.streams.iter().enumerate().map(flow).collect();
        let actors: Vec<Actor> = (0..g.kernels.len()).map(|k| Actor::new(g, k)).collect();
        flows.iter_mut().for_each(|f| f.refill(&actors));
        let order = g.order();
        let awake = Awake::all(&order, g.kernels.len());
        Network { g, actors, flows, from, order, awake }
    }

    /// One more buffer, of a block of so many wavelets, before an operand.
    pub(super) fn add_room(&mut self, k: KernelId, input: usize, block: u64) {
        let (s, r) = self.from[k.0][input];
        let reader = &mut self.flows[s].readers[r];
        (reader.buffers, reader.block) = (reader.buffers + 1, block.max(1));
        self.flows[s].refill(&self.actors);
        self.wake(s);
    }

    /// Lets the maker and the readers of a stream look again.
    fn wake(&mut self, s: usize) {
        if let Producer::Kernel(p) = self.g.streams[s].producer {
            self.awake.wake(p.0);
        }
        self.flows[s].readers.iter().for_each(|r| self.awake.wake(r.kernel));
    }

    /// Runs until nothing moves.
    pub(super) fn run(&mut self) -> Stop {
        while self.sweep() {}
        self.stopped()
    }

    /// Lets every kernel go on as far as it can; true when something moved.
    fn sweep(&mut self) -> bool {
        let (mut moved, mut from) = (false, 0);
        while let Some(place) = self.awake.next(from) {
            from = place + 1;
            let KernelId(k) = self.order[place];
            self.awake.sleep(k);
            if !self.advance(k) {
                continue;
            }
            moved = true;
            for j in 0..self.from[k].len() {
                self.wake(self.from[k][j].0);
            }
            self.wake(self.g.kernels[k].output.0);
            self.awake.sleep(k);
        }
        moved
    }

    /// Lets a kernel go on as far as it can; true when it moved.
    fn advance(&mut self, k: usize) -> bool {
        let (actors, flows, from) = (&mut self.actors, &mut self.flows, &self.from[k]);
        let out = self.g.kernels[k].output.0;
        let mut moved = false;
        while let Some(b) = actors[k].burst() {
            let total = b.takes.iter().copied().chain([b.sends]).max().unwrap_or(1);
            let done = actors[k].done;
            // Of a side of `n` wavelets, those that go with `p` of the longest side's; and back.
            let part = |n: u64, p: u64| if n == total { p } else { (n * p).div_ceil(total) };
            let whole = |n: u64, p: u64| if n == total { p } else { p * total / n };
            let mut p = total;
            for (&n, &(s, r)) in b.takes.iter().zip(from).filter(|(n, _)| **n > 0) {
                let f = &flows[s];
                p = p.min(whole(n, part(n, done) + f.readers[r].waiting(f.sent).min(n)));
            }
            if b.sends > 0 {
                p = p.min(whole(b.sends, part(b.sends, done) + flows[out].space(actors).min(b.sends)));
            }
            let p = p.clamp(done, total);
            if p == done {
                break;
            }
            for (&n, &(s, r)) in b.takes.iter().zip(from).filter(|(n, _)| **n > 0) {
                flows[s].readers[r].taken += part(n, p) - part(n, done);
            }
            flows[out].sent += part(b.sends, p) - part(b.sends, done);
            moved = true;
            if p == total {
                actors[k].next();
            } else {
                actors[k].done = p;
            }
            for &(s, _) in from {
                flows[s].refill(actors);
            }
        }
        moved
    }

    /// What a kernel that cannot go on waits for: the maker of an operand that is not there, or the reader
    /// whose queue is full.
    fn waits_for(&self, k: usize) -> Option<(usize, Option<usize>)> {
        let takes: &[u64] = self.actors[k].burst().map_or(&[], |b| &b.takes);
        for (_, &(s, r)) in takes.iter().zip(&self.from[k]).filter(|(n, _)| **n > 0) {
            let f = &self.flows[s];
            if f.readers[r].waiting(f.sent) == 0 {
                return match self.g.stream(StreamId(s)).producer {
                    Producer::Kernel(p) => Some((p.0, None)),
                    // An input sends as soon as all its readers have room.
                    Producer::Input(_) | Producer::Gone => f.slowest(&self.actors),
                };
            }
        }
        self.flows[self.g.kernels[k].output.0].slowest(&self.actors)
    }

    /// Why nothing moves: the circle of kernels that wait for each other.
    fn stopped(&self) -> Stop {
        let Some(first) = self.actors.iter().position(|a| a.burst().is_some()) else { return Stop::Done };
        let mut path: Vec<(usize, Option<usize>)> = vec![(first, None)];
        let circle = loop {
            let at = path[path.len() - 1].0;
            let Some(next) = self.waits_for(at) else { return Stop::Stuck(KernelId(at)) };
            if let Some(start) = path.iter().position(|p| p.0 == next.0) {
                path.push(next);
                break path.split_off(start + 1);
            }
            path.push(next);
        };
        // A buffer goes where a queue of the circle is full before a kernel that wants another operand.
        let full = circle.iter().filter_map(|&(k, i)| i.map(|i| (KernelId(k), i)));
        let mut joins = full.filter(|(k, _)| self.g.kernels[k.0].inputs.len() > 1);
        match joins.next() {
            Some((k, i)) => Stop::Full(k, i),
            None => Stop::Stuck(KernelId(first)),
        }
    }
}
