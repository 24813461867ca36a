//! How far wavelets of each route can get, untimed, with the buffers that are really there.
//!
//! A route is a tree. Wavelet k can enter a router when it has entered the one before and when
//! fewer than a buffer's worth of earlier wavelets still wait there for some output. So with
//! `limit = buffer + min over outputs of their limit` (for an input queue: consumed + its
//! capacity), what has entered a router is the least of what was sent and the limits on the
//! way: one pass up, one pass down. Of those, only the wavelet at the head is copied: it goes to each
//! output when there is space, and leaves when all have it, so no output is more than one wavelet ahead of
//! the slowest. Runs of routers with one output count as one router with the sum of their buffers.
//!
//! An operation in flight that will take so many wavelets whenever they come (a receiver's *promise*) needs no
//! queue for them, so limits count from what it promises: a burst moves in one step, not a queue's worth at a time.
//! What moves at last is the same, as limits only grow and promises are kept. A change at one end of a tree is
//! followed only as far as it changes something.

use super::super::fabric::{Fabric, From, NONE, To};
use quadrille_isa::wafer::{Machine, Port, Program};

/// Index into [`Flows::nets`].
pub(super) type NetIx = u32;
/// Index into [`Flows::ends`].
pub(super) type EndIx = u32;

/// Where a net's wavelets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// Output queue of a site.
    Queue(u32, u8),
    /// Input port of a row.
    Host(u16),
}

/// Where copies of a net's wavelets end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sink {
    /// Input queue of a site.
    Queue(u32, u8),
    /// Output port of a row.
    Host(u16),
}

/// What a change at a queue means for the PE there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum News {
    /// Wavelets have come that no operation in flight takes: a task may start.
    Start,
    /// An operation in flight can go on, but not to its end.
    Part,
    /// An operation in flight has all that it needs of this queue.
    Whole,
}

/// A receiver of a net.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) net: NetIx,
    pub(super) sink: Sink,
    /// Wavelets that queue and ramp hold; for ports, all that they name.
    pub(super) capacity: u64,
    /// Wavelets taken by operations.
    pub(super) consumed: u64,
    /// Wavelets that will be taken if they come: at least those consumed.
    pub(super) promised: u64,
    /// With this many in all the operation in flight has all it takes; 0 without one.
    pub(super) due: u64,
    /// The router that it hangs on, among all.
    junction: u32,
    /// Wavelets that have arrived at the queue.
    pub(super) arrived: u64,
}

impl End {
    /// What it means that as many have arrived as have.
    fn news(&self) -> News {
        match self.due {
            0 => News::Start,
            due if self.arrived >= due => News::Whole,
            _ => News::Part,
        }
    }

    /// Wavelets that may have arrived here in all, now.
    fn limit(&self) -> u64 {
        match self.sink {
            Sink::Queue(..) => self.promised.saturating_add(self.capacity),
            Sink::Host(_) => self.capacity,
        }
    }
}

/// A router (or a run of routers with one output) of a net's tree.
#[derive(Clone, Copy, Debug)]
struct Junction {
    net: NetIx,
    /// The one before; [`NONE`] for the first.
    parent: u32,
    /// The first of those after it, and the next of those after the same one.
    first_child: u32,
    sibling: u32,
    buffer: u64,
    limit: u64,
    entered: u64,
    /// The wavelets that some output may have: all that have left, and the head.
    copied: u64,
    /// Receiver here, or [`NONE`].
    end: [EndIx; 2],
    /// Its limit has changed since `entered` was found.
    stale: bool,
}

/// A route from one source to all its receivers.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) color: u8,
    pub(super) source: Source,
    first: u32,
    pub(super) first_end: EndIx,
    pub(super) end_count: u32,
    /// Wavelets that the output queue holds beyond the tree.
    queue: u64,
    /// Wavelets pushed by the source.
    pub(super) pushed: u64,
    /// Wavelets pushed in all when the operation in flight has ended; 0 without one.
    pub(super) due: u64,
    /// For ports: wavelets that will be pushed in all.
    pub(super) offered: u64,
}

/// All nets.
pub(super) struct Flows {
    pub(super) nets: Vec<Net>,
    pub(super) ends: Vec<End>,
    junctions: Vec<Junction>,
    /// By site: net of each output queue and end of each input queue.
    pub(super) net_of: Vec<[NetIx; 6]>,
    pub(super) end_of: Vec<[EndIx; 8]>,
    /// Junctions to look at, while a change is followed.
    open: Vec<u32>,
    /// Promises are believed.
    pub(super) looks_ahead: bool,
}

const UNBOUNDED: u64 = u64::MAX / 4;

impl Flows {
    /// Builds the nets of a network without errors. `offers` gives the wavelets of each input
    /// port row and color, `takes` those of each output port row and color. Promises count only if it `looks_ahead`.
    pub(super) fn new(
        fabric: &Fabric,
        machine: &Machine,
        program: &Program,
        offers: impl Fn(u16, u8) -> u64,
        takes: impl Fn(u16, u8) -> u64,
        looks_ahead: bool,
    ) -> Flows {
        let link = u64::from(machine.router.link_buffer_wavelets);
        let ramp = u64::from(machine.router.ramp_cycles);
        let mut flows = Flows {
            nets: Vec::new(),
            ends: Vec::new(),
            junctions: Vec::new(),
            net_of: vec![[NONE; 6]; fabric.sites.len()],
            end_of: vec![[NONE; 8]; fabric.sites.len()],
            open: Vec::new(),
            looks_ahead,
        };
        let depth = |list: &[u32], q: u8| u64::from(list.get(usize::from(q)).copied().unwrap_or(0));
        let bound = |site: u32| program.regions.get(fabric.sites[site as usize].region as usize).is_some();
        for root in 0..fabric.nodes.len() as u32 {
            let node = fabric.nodes[root as usize];
            let (source, queue) = match node.from {
                From::Queue(q) if bound(node.site) => {
                    (Source::Queue(node.site, q), depth(&machine.queues.output_depth_words, q))
                }
                From::Host(row) => (Source::Host(row), 0),
                _ => continue,
            };
            let net = flows.nets.len() as u32;
            if let Source::Queue(site, q) = source {
                flows.net_of[site as usize][usize::from(q)] = net;
            }
            let (first, first_end) = (flows.junctions.len() as u32, flows.ends.len() as u32);
            // (node, parent junction), in an order that puts parents first.
            let mut open = vec![(root, NONE)];
            while let Some((mut at, parent)) = open.pop() {
                let mut buffer = 0;
                // Follow the run of routers with one output, which leads to a router.
                let outputs = loop {
                    let n = &fabric.nodes[at as usize];
                    buffer += if n.rx == Port::Ramp { link + ramp } else { link };
                    let mut used = n.to.iter().copied().filter(|&t| t != To::Unused);
                    match (used.next(), used.next()) {
                        (Some(To::Node(next)), None) => at = next,
                        _ => break n.to,
                    }
                };
                let junction = flows.junctions.len() as u32;
                let sibling = match flows.junctions.get_mut(parent as usize) {
                    Some(p) => std::mem::replace(&mut p.first_child, junction),
                    None => NONE,
                };
                let mut end = [NONE; 2];
                let site = fabric.nodes[at as usize].site;
                for to in outputs {
                    let (sink, capacity, slot) = match to {
                        To::Unused => continue,
                        To::Node(next) => {
                            open.push((next, junction));
                            continue;
                        }
                        To::Queue(q) => {
                            flows.end_of[site as usize][usize::from(q)] = flows.ends.len() as u32;
                            let capacity = depth(&machine.queues.input_depth_words, q) + ramp;
                            (Sink::Queue(site, q), capacity, 0)
                        }
                        To::Host(row) => (Sink::Host(row), takes(row, node.color), 1),
                    };
                    end[slot] = flows.ends.len() as u32;
                    flows.ends.push(End {
                        net,
                        sink,
                        capacity,
                        consumed: 0,
                        promised: 0,
                        due: 0,
                        junction,
                        arrived: 0,
                    });
                }
                flows.junctions.push(Junction {
                    net,
                    parent,
                    first_child: NONE,
                    sibling,
                    buffer,
                    limit: 0,
                    entered: 0,
                    copied: 0,
                    end,
                    stale: true,
                });
            }
            flows.nets.push(Net {
                color: node.color,
                source,
                first,
                first_end,
                end_count: flows.ends.len() as u32 - first_end,
                queue,
                pushed: 0,
                due: 0,
                offered: match source {
                    Source::Host(row) => offers(row, node.color),
                    Source::Queue(..) => 0,
                },
            });
            // Before anything is sent, the limits are those of empty buffers; ports send at once.
            for junction in (first..flows.junctions.len() as u32).rev() {
                flows.junctions[junction as usize].limit = flows.limit_of(junction);
            }
            flows.feed(net);
            flows.descend(first, &mut Vec::new());
        }
        flows
    }

    /// Wavelets that the source of `net` may have pushed in all, now.
    pub(super) fn push_limit(&self, net: NetIx) -> u64 {
        let n = &self.nets[net as usize];
        self.junctions[n.first as usize].limit.saturating_add(n.queue)
    }

    /// An operation took wavelets at an end, will take up to `promised` in all if they come, and ends with `due`.
    /// Moves wavelets as far as they go; appends the sites whose queues changed.
    pub(super) fn taken(&mut self, end: EndIx, [consumed, promised, due]: [u64; 3], changed: &mut Vec<(u32, News)>) {
        let e = &mut self.ends[end as usize];
        e.due = if consumed == due { 0 } else { due };
        // A promise is kept, whoever gave it.
        let promised = if self.looks_ahead { promised.max(consumed).max(e.promised) } else { consumed };
        if e.consumed == consumed && e.promised == promised {
            return;
        }
        e.consumed = consumed;
        e.promised = promised;
        // Up, as long as what is behind was what limited it.
        let (mut top, mut at) = (e.junction, e.junction);
        while at != NONE {
            let limit = self.limit_of(at);
            let j = &mut self.junctions[at as usize];
            if limit == j.limit {
                break;
            }
            j.limit = limit;
            j.stale = true;
            top = at;
            at = j.parent;
        }
        if at == NONE {
            let net = self.junctions[top as usize].net;
            match self.nets[net as usize].source {
                Source::Host(_) => self.feed(net),
                Source::Queue(site, _) => {
                    let due = self.nets[net as usize].due;
                    // What is not in flight looks for itself when it begins.
                    if due > 0 {
                        let whole = self.push_limit(net) >= due;
                        changed.push((site, if whole { News::Whole } else { News::Part }));
                    }
                }
            }
        }
        self.descend(top, changed);
    }

    /// The source of `net` has pushed so many wavelets in all, of those `due` when its operation ends.
    pub(super) fn sent(&mut self, net: NetIx, [pushed, due]: [u64; 2], changed: &mut Vec<(u32, News)>) {
        let n = &mut self.nets[net as usize];
        n.due = if pushed == due { 0 } else { due };
        if n.pushed != pushed {
            n.pushed = pushed;
            let first = n.first;
            self.descend(first, changed);
        }
    }

    /// A port pushes what there is room for.
    fn feed(&mut self, net: NetIx) {
        let n = &mut self.nets[net as usize];
        if let Source::Host(_) = n.source {
            n.pushed = n.offered.min(self.junctions[n.first as usize].limit);
        }
    }

    fn limit_of(&self, junction: u32) -> u64 {
        let j = &self.junctions[junction as usize];
        let mut limit = UNBOUNDED;
        for &e in j.end.iter().filter(|&&e| e != NONE) {
            limit = limit.min(self.ends[e as usize].limit());
        }
        let mut child = j.first_child;
        while child != NONE {
            let c = &self.junctions[child as usize];
            limit = limit.min(c.limit);
            child = c.sibling;
        }
        limit.saturating_add(j.buffer).min(UNBOUNDED)
    }

    /// From a junction on, as far as something changes.
    fn descend(&mut self, junction: u32, changed: &mut Vec<(u32, News)>) {
        let mut open = std::mem::take(&mut self.open);
        open.push(junction);
        while let Some(at) = open.pop() {
            let j = &self.junctions[at as usize];
            let before = match j.parent {
                NONE => self.nets[j.net as usize].pushed,
                p => self.junctions[p as usize].copied,
            };
            let j = &mut self.junctions[at as usize];
            j.stale = false;
            j.entered = before.min(j.limit);
            let copied = j.entered.min(j.limit - j.buffer + 1);
            let more = std::mem::replace(&mut j.copied, copied) != copied;
            for &e in j.end.iter().filter(|&&e| e != NONE) {
                let end = &mut self.ends[e as usize];
                let arrived = copied.min(end.limit());
                if arrived == end.arrived {
                    continue;
                }
                end.arrived = arrived;
                match end.sink {
                    Sink::Queue(site, _) => changed.push((site, end.news())),
                    Sink::Host(_) => end.consumed = arrived,
                }
            }
            let mut child = j.first_child;
            while child != NONE {
                let c = &self.junctions[child as usize];
                if more || c.stale {
                    open.push(child);
                }
                child = c.sibling;
            }
        }
        self.open = open;
    }
}
