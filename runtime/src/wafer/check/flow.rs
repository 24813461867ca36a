//! How far wavelets of each route can get, untimed, with the buffers that are really there.
//!
//! A route is a tree. Wavelet k can enter a router when it has entered the one before and when
//! fewer than a buffer's worth of earlier wavelets still wait there for some output. So with
//! `limit = buffer + min over outputs of their limit` (for an input queue: consumed + its
//! capacity), what has entered a router is the least of what was sent and the limits on the
//! way: one pass up, one pass down. Of those, only the wavelet at the head is copied: it goes to each
//! output when there is space, and leaves when all have it, so no output is more than one wavelet ahead of
//! the slowest. Runs of routers with one output count as one router with the sum of their buffers.

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

/// A receiver of a net.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) net: NetIx,
    pub(super) sink: Sink,
    /// Wavelets that queue and ramp hold; for ports, all that they name.
    pub(super) capacity: u64,
    /// Wavelets taken by operations.
    pub(super) consumed: u64,
    /// Wavelets that have arrived at the queue.
    pub(super) arrived: u64,
}

impl End {
    /// Wavelets that may have arrived here in all, now.
    fn limit(&self) -> u64 {
        match self.sink {
            Sink::Queue(..) => self.consumed.saturating_add(self.capacity),
            Sink::Host(_) => self.capacity,
        }
    }
}

/// A router (or a run of routers with one output) of a net's tree.
#[derive(Clone, Copy, Debug)]
struct Junction {
    /// Index of the one before, in the same tree; [`NONE`] for the first.
    parent: u32,
    buffer: u64,
    limit: u64,
    entered: u64,
    /// The wavelets that some output may have: all that have left, and the head.
    copied: u64,
    /// Receiver here, or [`NONE`].
    end: [EndIx; 2],
}

/// A route from one source to all its receivers.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) color: u8,
    pub(super) source: Source,
    first: u32,
    count: u32,
    pub(super) first_end: EndIx,
    pub(super) end_count: u32,
    /// Wavelets that the output queue holds beyond the tree.
    queue: u64,
    /// Wavelets pushed by the source.
    pub(super) pushed: u64,
    /// For ports: wavelets that will be pushed in all.
    pub(super) offered: u64,
    pub(super) dirty: bool,
}

/// All nets.
pub(super) struct Flows {
    pub(super) nets: Vec<Net>,
    pub(super) ends: Vec<End>,
    junctions: Vec<Junction>,
    /// By site: net of each output queue and end of each input queue.
    pub(super) net_of: Vec<[NetIx; 6]>,
    pub(super) end_of: Vec<[EndIx; 8]>,
}

const UNBOUNDED: u64 = u64::MAX / 4;

impl Flows {
    /// Builds the nets of a network without errors. `offers` gives the wavelets of each input
    /// port row and color, `takes` those of each output port row and color.
    pub(super) fn new(
        fabric: &Fabric,
        machine: &Machine,
        program: &Program,
        offers: impl Fn(u16, u8) -> u64,
        takes: impl Fn(u16, u8) -> u64,
    ) -> Flows {
        let link = u64::from(machine.router.link_buffer_wavelets);
        let ramp = u64::from(machine.router.ramp_cycles);
        let mut flows = Flows {
            nets: Vec::new(),
            ends: Vec::new(),
            junctions: Vec::new(),
            net_of: vec![[NONE; 6]; fabric.sites.len()],
            end_of: vec![[NONE; 8]; fabric.sites.len()],
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
                let mut end = [NONE; 2];
                let site = fabric.nodes[at as usize].site;
                for to in outputs {
                    let (sink, capacity, slot) = match to {
                        To::Unused => continue,
                        To::Node(next) => {
                            open.push((next, junction - first));
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
                    flows.ends.push(End { net, sink, capacity, consumed: 0, arrived: 0 });
                }
                flows.junctions.push(Junction { parent, buffer, limit: 0, entered: 0, copied: 0, end });
            }
            flows.nets.push(Net {
                color: node.color,
                source,
                first,
                count: flows.junctions.len() as u32 - first,
                first_end,
                end_count: flows.ends.len() as u32 - first_end,
                queue,
                pushed: 0,
                offered: match source {
                    Source::Host(row) => offers(row, node.color),
                    Source::Queue(..) => 0,
                },
                dirty: true,
            });
            // Before anything is sent, the limits are those of empty buffers.
            flows.update(net, &mut Vec::new());
        }
        flows
    }

    /// Wavelets that the source of `net` may have pushed in all, now.
    pub(super) fn push_limit(&self, net: NetIx) -> u64 {
        let n = &self.nets[net as usize];
        self.junctions[n.first as usize].limit.saturating_add(n.queue)
    }

    /// Moves wavelets as far as they go. Appends the sites whose queues changed.
    pub(super) fn update(&mut self, net: NetIx, changed: &mut Vec<u32>) {
        let n = &mut self.nets[net as usize];
        n.dirty = false;
        let range = n.first as usize..(n.first + n.count) as usize;
        let tree = &mut self.junctions[range];
        let old_limit = tree[0].limit;
        for j in tree.iter_mut() {
            j.limit = UNBOUNDED;
            for &e in j.end.iter().filter(|&&e| e != NONE) {
                j.limit = j.limit.min(self.ends[e as usize].limit());
            }
        }
        for ix in (0..tree.len()).rev() {
            let j = &mut tree[ix];
            j.limit = j.limit.saturating_add(j.buffer).min(UNBOUNDED);
            let (limit, parent) = (j.limit, j.parent);
            if parent != NONE {
                let p = &mut tree[parent as usize];
                p.limit = p.limit.min(limit);
            }
        }
        let limit = tree[0].limit;
        match n.source {
            Source::Host(_) => n.pushed = n.offered.min(limit),
            Source::Queue(site, _) if limit != old_limit => changed.push(site),
            Source::Queue(..) => {}
        }
        for ix in 0..tree.len() {
            let before = match tree[ix].parent {
                NONE => n.pushed,
                p => tree[p as usize].copied,
            };
            let j = &mut tree[ix];
            j.entered = before.min(j.limit);
            j.copied = j.entered.min(j.limit - j.buffer + 1);
            for &e in j.end.iter().filter(|&&e| e != NONE) {
                let end = &mut self.ends[e as usize];
                let arrived = j.copied.min(end.limit());
                if arrived != end.arrived {
                    end.arrived = arrived;
                    if let Sink::Queue(site, _) = end.sink {
                        changed.push(site);
                    }
                }
            }
        }
        for e in n.first_end..n.first_end + n.end_count {
            let end = &mut self.ends[e as usize];
            if let Sink::Host(_) = end.sink {
                end.consumed = end.arrived;
            }
        }
    }
}
