//! Promises that operations give only together.
//!
//! An operation that takes two streams takes a word of one when a word of the other has come; whoever sends both
//! waits for room. Each alone can promise no more than what has come of the other, though together they take all:
//! word for word, as the k-th of any stream needs no more than earlier ones to be gone. So what may move is the most
//! that contradicts nothing: all sides are taken to do their whole operations, and less where another does less,
//! until nothing changes.

use super::super::super::fabric::NONE;
use super::super::super::lower::Access;
use super::super::flow::{EndIx, NetIx, Sink, Source};
use super::Exec;

/// Nets that are looked at together at most.
const MOST: usize = 1 << 13;

/// A net, and the wavelets of it that will be taken by all its receivers.
struct Moving {
    net: NetIx,
    words: u64,
}

/// A source of an operation in flight: net, receiver, wavelets taken before, elements of a wavelet, wavelets of the
/// whole operation and those like it that follow.
#[derive(Clone, Copy)]
struct Side {
    moving: usize,
    end: EndIx,
    before: u64,
    elements: u64,
    all: u64,
    /// What it can promise.
    words: u64,
}

/// An operation in flight.
struct Party {
    sides: Vec<Side>,
    /// Net, wavelets before, elements of a wavelet, wavelets of the whole operation.
    out: Option<(usize, u64, u64, u64)>,
    /// Elements of the operation.
    n: u64,
}

/// Marks for nets that are already looked at, and how often it was of no use.
pub(super) struct Together {
    place: Vec<u32>,
    /// Attempts to leave out, by PE.
    rest: std::collections::HashMap<u32, (u32, u32)>,
}

impl Together {
    pub(super) fn new(nets: usize) -> Together {
        Together { place: vec![NONE; nets], rest: std::collections::HashMap::new() }
    }
}

impl Exec<'_> {
    /// Lets the operations around a PE's give the promises that they can give together.
    pub(super) fn promise_together(&mut self, pe: usize) {
        if !self.flows.looks_ahead || !self.takes_two(pe) {
            return;
        }
        let (wait, next) = self.together.rest.get(&(pe as u32)).copied().unwrap_or((0, 1));
        if wait > 0 {
            self.together.rest.insert(pe as u32, (wait - 1, next));
            return;
        }
        let (mut moving, parties) = self.around(pe);
        for m in &moving {
            self.together.place[m.net as usize] = NONE;
        }
        let (mut parties, mut helps) = (parties, false);
        if moving.len() < MOST {
            while settle(&mut moving, &mut parties) {}
            let mut changed = std::mem::take(&mut self.changed);
            for s in parties.iter().flat_map(|p| &p.sides) {
                let end = &self.flows.ends[s.end as usize];
                let promised = s.before + s.words;
                if promised > end.promised {
                    helps = true;
                    let due = if end.due == 0 { s.before + s.all } else { end.due };
                    self.flows.taken(s.end, [end.consumed, promised, due], &mut changed);
                }
            }
            self.changed = changed;
        }
        let rest = if helps { (0, 1) } else { (next, (next * 2).min(64)) };
        self.together.rest.insert(pe as u32, rest);
    }

    fn takes_two(&self, pe: usize) -> bool {
        let two = |f| {
            let op = self.low_op(pe, f);
            op.operands[..3].iter().filter(|o| o.access.queue().is_some()).count() > 1
        };
        self.pes[pe].flights.iter().filter(|f| f.done < f.n).any(two)
    }

    /// All nets that operations in flight connect with those of a PE, and these operations.
    fn around(&mut self, pe: usize) -> (Vec<Moving>, Vec<Party>) {
        let (mut moving, mut parties) = (Vec::new(), Vec::new());
        let mut seen: std::collections::BTreeSet<(u32, usize)> = std::collections::BTreeSet::new();
        let mut place = std::mem::take(&mut self.together.place);
        let mut open = Vec::new();
        for f in 0..self.pes[pe].flights.len() {
            open.push((pe as u32, f));
        }
        let mut next_net = 0;
        loop {
            while let Some((p, f)) = open.pop() {
                let flight = &self.pes[p as usize].flights[f];
                if flight.done == flight.n || !seen.insert((p, f)) {
                    continue;
                }
                parties.push(self.party(p as usize, f, &mut moving, &mut place));
            }
            let Some(m) = moving.get(next_net) else { break };
            next_net += 1;
            if moving.len() >= MOST {
                break;
            }
            let net = &self.flows.nets[m.net as usize];
            let flight_on = |site: u32, bit: u16| {
                let p = self.pe_of[site as usize];
                let flights = self.pes.get(p as usize).map_or(&[][..], |s| &s.flights);
                let on = |f: &super::Flight| f.done < f.n && self.low_op(p as usize, f).queues >> bit & 1 == 1;
                flights.iter().position(on).map(|f| (p, f))
            };
            if let Source::Queue(site, q) = net.source {
                open.extend(flight_on(site, 8 + u16::from(q)));
            }
            for e in net.first_end..net.first_end + net.end_count {
                if let Sink::Queue(site, q) = self.flows.ends[e as usize].sink {
                    open.extend(flight_on(site, u16::from(q)));
                }
            }
        }
        self.together.place = place;
        // What each net can bring at most: what its source sends, and what receivers without operations let pass.
        for m in &mut moving {
            let net = &self.flows.nets[m.net as usize];
            m.words = match net.source {
                Source::Host(_) => net.offered,
                Source::Queue(..) => net.pushed.max(net.due),
            };
            for e in net.first_end..net.first_end + net.end_count {
                let end = &self.flows.ends[e as usize];
                let most = match end.sink {
                    Sink::Queue(..) if end.due > 0 => end.due,
                    Sink::Queue(..) => end.promised,
                    Sink::Host(_) => end.capacity,
                };
                m.words = m.words.min(most);
            }
        }
        (moving, parties)
    }

    fn party(&self, pe: usize, flight: usize, moving: &mut Vec<Moving>, place: &mut [u32]) -> Party {
        let f = &self.pes[pe].flights[flight];
        let op = self.low_op(pe, f);
        let mut at = |net: NetIx| {
            let slot = &mut place[net as usize];
            if *slot == NONE {
                *slot = moving.len() as u32;
                moving.push(Moving { net, words: 0 });
            }
            *slot as usize
        };
        let mut sides = Vec::new();
        for (operand, before) in op.operands[..3].iter().zip(f.taken_before) {
            let per = u64::from(operand.ty.per_wavelet());
            let (q, elements) = match operand.access {
                Access::Fabric(q) => (q, per),
                Access::FabricRow(q) => (q, per * u64::from(f.ex.n0.max(1))),
                _ => continue,
            };
            let end = self.end(pe, q);
            let all = f.n.div_ceil(elements) + f.ahead;
            sides.push(Side { moving: at(self.flows.ends[end as usize].net), end, before, elements, all, words: all });
        }
        let dst = &op.operands[3];
        let out = dst.access.queue().map(|q| {
            let per = u64::from(dst.ty.per_wavelet());
            (at(self.net(pe, q)), f.pushed_before, per, f.n.div_ceil(per))
        });
        Party { sides, out, n: f.n }
    }
}

/// Lowers what does not go together; false when all does.
fn settle(moving: &mut [Moving], parties: &mut [Party]) -> bool {
    let mut changed = false;
    for forward in [true, false] {
        for i in 0..parties.len() {
            let p = &mut parties[if forward { i } else { parties.len() - 1 - i }];
            changed |= p.settle(moving);
        }
    }
    changed
}

impl Party {
    fn settle(&mut self, moving: &mut [Moving]) -> bool {
        let mut changed = false;
        let out_elements = match self.out {
            Some((m, before, per, all)) => match moving[m].words.saturating_sub(before) {
                w if w >= all => self.n,
                w => w * per,
            },
            None => u64::MAX,
        };
        let come: Vec<u64> = self.sides.iter().map(|s| moving[s.moving].words.saturating_sub(s.before)).collect();
        for k in 0..self.sides.len() {
            let s = self.sides[k];
            let mut words = s.all;
            for (o, &come) in self.sides.iter().zip(&come).enumerate().filter(|(o, _)| *o != k).map(|(_, x)| x) {
                // Word for word where they are alike, so that what follows counts too.
                words = words.min(if come >= o.all {
                    s.all
                } else if o.elements == s.elements {
                    come
                } else {
                    (come * o.elements).min(self.n) / s.elements
                });
            }
            if out_elements < self.n {
                words = words.min(out_elements / s.elements);
            }
            if words < s.words {
                self.sides[k].words = words;
                changed = true;
            }
            let m = &mut moving[s.moving].words;
            if s.before + words < *m {
                *m = s.before + words;
                changed = true;
            }
        }
        if let Some((m, before, per, all)) = self.out {
            let come = self.sides.iter().zip(&come).map(|(s, c)| c.saturating_mul(s.elements)).min();
            let elements = come.map_or(self.n, |c| c.min(self.n));
            let words = if elements == self.n { all } else { elements / per };
            if before + words < moving[m].words {
                moving[m].words = before + words;
                changed = true;
            }
        }
        changed
    }
}
