//! Routers, links and ramps: one grant per output and cycle, decided on the state at the start
//! of the cycle.
//!
//! Each router keeps, per output, the colors that want it and the colors that have space
//! behind it; a grant is a round-robin choice among both. Knows wavelets, buffers and masks;
//! knows nothing of tasks.

pub(super) mod copies;
mod streams;

use self::streams::Streams;
use super::super::fabric::{Fabric, From, NONE, PORTS, To, opposite};
use super::LinkLoad;
use super::ahead;
use super::bands::Bands;
use super::pages;
use super::sites::Sites;
use quadrille_isa::wafer::{Machine, Pe, Port, Program};

/// The sixth "output" of a router: from the output queues into the ramp.
pub(super) const UP: usize = 5;

/// A FIFO of wavelets in the shared arena.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fifo {
    base: u32,
    cap: u16,
    head: u16,
    /// Wavelets held, on the ramp included.
    pub(super) len: u16,
    /// Wavelets that may leave.
    pub(super) ready: u16,
    /// Wavelets that are taken as they come, without waiting here: see `Engine::drain`.
    drained: u32,
    /// Wavelets still on the ramp that were taken already.
    gone: u16,
    color: u8,
}

impl Fifo {
    fn new(arena: &mut Vec<u32>, cap: u32, color: u8) -> Fifo {
        let base = arena.len() as u32;
        arena.resize(arena.len() + cap as usize, 0);
        Fifo { base, cap: cap as u16, color, ..Fifo::default() }
    }

    pub(super) fn has_space(&self) -> bool {
        self.len < self.cap
    }

    pub(super) fn space(&self) -> u16 {
        self.cap - self.len
    }

    fn push(&mut self, arena: &mut [u32], word: u32) {
        let mut at = self.head + self.len;
        if at >= self.cap {
            at -= self.cap;
        }
        arena[self.base as usize + usize::from(at)] = word;
        self.len += 1;
    }

    fn front(&self, arena: &[u32]) -> u32 {
        arena[self.base as usize + usize::from(self.head)]
    }

    fn pop(&mut self) {
        self.head += 1;
        if self.head == self.cap {
            self.head = 0;
        }
        self.len -= 1;
        self.ready -= 1;
    }
}

/// Words kept in the node itself; a longer buffer lies in the arena.
const NEAR: usize = 4;

/// A node's input buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Buffer {
    near: [u32; NEAR],
    base: u32,
    cap: u16,
    head: u16,
    len: u16,
    /// Wavelets that may leave; the others are on the ramp.
    ready: u16,
}

impl Buffer {
    fn new(arena: &mut Vec<u32>, cap: u32) -> Buffer {
        let base = arena.len() as u32;
        if cap as usize > NEAR {
            arena.resize(arena.len() + cap as usize, 0);
        }
        Buffer { base, cap: cap as u16, ..Buffer::default() }
    }

    fn has_space(&self) -> bool {
        self.len < self.cap
    }

    #[inline]
    fn push(&mut self, arena: &mut [u32], word: u32) {
        let mut at = usize::from(self.head + self.len);
        if at >= usize::from(self.cap) {
            at -= usize::from(self.cap);
        }
        match usize::from(self.cap) <= NEAR {
            true => self.near[at] = word,
            false => arena[self.base as usize + at] = word,
        }
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.head += 1;
        if self.head == self.cap {
            self.head = 0;
        }
        self.len -= 1;
        self.ready -= 1;
    }

    #[inline]
    fn front(&self, arena: &[u32]) -> u32 {
        match usize::from(self.cap) <= NEAR {
            true => self.near[usize::from(self.head)],
            false => arena[self.base as usize + usize::from(self.head)],
        }
    }
}

/// Where a wavelet goes from an output.
enum Goal {
    /// A node of this band.
    Node(u32),
    Queue(u8),
    Host(u16),
    /// A link into another band.
    Away(u32),
    Unused,
}

/// [`Goal`] in a word: what it is in the three highest bits.
#[derive(Clone, Copy, Debug)]
struct Target(u32);

impl Target {
    const SHIFT: u32 = 29;
    const INDEX: u32 = (1 << Target::SHIFT) - 1;

    fn new(goal: Goal) -> Target {
        let (kind, index) = match goal {
            Goal::Node(n) => (0, n),
            Goal::Queue(q) => (1, u32::from(q)),
            Goal::Host(row) => (2, u32::from(row)),
            Goal::Away(link) => (3, link),
            Goal::Unused => (4, 0),
        };
        Target(kind << Target::SHIFT | index & Target::INDEX)
    }

    #[inline]
    fn goal(self) -> Goal {
        let index = self.0 & Target::INDEX;
        match self.0 >> Target::SHIFT {
            0 => Goal::Node(index),
            1 => Goal::Queue(index as u8),
            2 => Goal::Host(index as u16),
            3 => Goal::Away(index),
            _ => Goal::Unused,
        }
    }
}

/// A link into another band. The sender counts what the buffer behind it holds.
#[derive(Clone, Copy, Debug)]
struct Away {
    side: Side,
    /// Node there.
    node: u32,
    cap: u32,
    held: u32,
}

/// Where another band lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Before,
    After,
}

impl Side {
    /// Bands are whole rows, so that what is linked is in the same one or in one beside it.
    fn of(other: usize, band: usize) -> Side {
        debug_assert_eq!(other.abs_diff(band), 1);
        if other < band { Side::Before } else { Side::After }
    }
}

/// What crosses from band to band, seen there in the next cycle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    /// A wavelet for a node.
    Wavelet { node: u32, word: u32 },
    /// What was sent from this site by an output has left the buffer behind it.
    Left { site: u32, out: u8, color: u8 },
}

/// Numbers from here on, other than [`NONE`], are of routers in other bands.
const AWAY: u32 = 1 << 31;

/// A node: its buffer, and its copies still to make. One line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct NodeState {
    fifo: Buffer,
    /// Outputs that the wavelet at the head has yet to go to.
    pending: u8,
    tx: u8,
    color: u8,
    rx: u8,
    site: u32,
    /// Site whose router (or [`NONE`]: the host row; from [`AWAY`] on: a place in `upstream_away`) must hear of freed space.
    upstream: u32,
    to: [Target; 5],
    /// See `streams`.
    flags: u8,
}

/// A router. One line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Router {
    want: [u32; 6],
    space: [u32; 6],
    next_color: [u8; 6],
    /// Its nodes, in order of color, and one bit for the color of each.
    first_node: u32,
    colors: u32,
    /// Outputs that streams take.
    busy: u8,
}

/// Input and output queues of a PE; one that is not bound holds nothing and has no space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeQueues {
    pub(super) input: [Fifo; 8],
    pub(super) output: [Fifo; 6],
}

/// Something that becomes true some cycles later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A wavelet reaches a node's buffer over the ramp.
    Node(u32),
    /// A wavelet reaches an input queue.
    Input(u32, u8),
    /// A word pushed by the datapath can be taken by the ramp.
    Output(u32, u8),
    /// The core has something to do.
    Core(u32),
}

/// A color may leave a router by some outputs in this cycle.
#[derive(Clone, Copy, Debug)]
struct Grant {
    site: u32,
    /// Its node there.
    node: u32,
    outs: u8,
    color: u8,
}

/// One input row of the host: colors with wavelets to send, colors with space.
#[derive(Clone, Copy, Debug, Default)]
struct HostRow {
    want: u32,
    space: u32,
    next_color: u8,
}

/// What a cycle of the network did that others must hear of.
#[derive(Default)]
pub(super) struct Effects {
    /// Words that reach an input queue after the ramp: (site, queue).
    pub(super) to_input: Vec<(u32, u8)>,
    /// Words that an operation takes as they come: (site, word).
    pub(super) drained: Vec<(u32, u32)>,
    /// Words that an operation took, one a cycle, in streams that end: (site, words, cycle of the last).
    pub(super) streamed: Vec<(u32, u32, u64)>,
    /// Nodes that get a wavelet after the ramp.
    pub(super) to_node: Vec<u32>,
    /// Wavelets that left by an output port: (row, color, word).
    pub(super) out: Vec<(u16, u8, u32)>,
    /// Host rows that sent a wavelet of this color and need its successor.
    pub(super) sent: Vec<(u16, u8)>,
    /// Output queues that got space: (site, queue).
    pub(super) freed: Vec<(u32, u8)>,
}

pub(super) struct Network<'a> {
    fabric: &'a Fabric,
    /// First site of the band; sites and nodes are counted from there.
    first_site: usize,
    away: Vec<Away>,
    /// (side, site there) of routers that send from there.
    upstream_away: Vec<(Side, u32)>,
    /// To the band before this one, and to the one after it.
    pub(super) outbox: [Vec<Message>; 2],
    nodes: Vec<NodeState>,
    routers: Vec<Router>,
    pub(super) queues: Vec<PeQueues>,
    arena: Vec<u32>,
    /// Rows of the band's sites, from the first on.
    first_row: u16,
    hosts: Vec<HostRow>,
    host_words: Vec<[u32; 24]>,
    active: Vec<u32>,
    next_active: Sites,
    active_rows: Vec<u16>,
    next_rows: Vec<u16>,
    row_listed: Vec<bool>,
    grants: Vec<Grant>,
    host_grants: Vec<(u16, u8)>,
    pub(super) router_cycles: u64,
    /// PEs that a site stands for; empty where each stands for itself.
    weights: Vec<u64>,
    /// Wavelets by site and port other than the ramp; empty when they are not counted.
    sent: Vec<[u64; 4]>,
    streams: Streams,
}

/// First set bit of `mask` at or after `from`, cyclically.
#[inline]
fn round_robin(mask: u32, from: u8) -> u8 {
    let later = mask & (u32::MAX << from);
    (if later != 0 { later } else { mask }).trailing_zeros() as u8
}

impl<'a> Network<'a> {
    pub(super) fn new(
        fabric: &'a Fabric,
        program: &Program,
        machine: &Machine,
        bands: &Bands,
        band: usize,
    ) -> Network<'a> {
        let mut arena = Vec::new();
        let link = machine.router.link_buffer_wavelets;
        let ramp = machine.router.ramp_cycles;
        let (range, node_range) = (bands.sites(band), bands.nodes(band));
        let (first_site, sites) = (range.start, &fabric.sites[range]);
        let cap_of = |rx: Port| if rx == Port::Ramp { link + ramp } else { link };
        let router = |s: &super::super::fabric::Site| Router {
            want: [0; 6],
            space: [0; 6],
            next_color: [0; 6],
            first_node: s.first_node - node_range.start as u32,
            colors: s.colors,
            busy: 0,
        };
        let mut routers: Vec<Router> = sites.iter().map(router).collect();
        let mut queues = vec![PeQueues::default(); sites.len()];
        for (q, site) in queues.iter_mut().zip(sites) {
            let Some(region) = program.regions.get(site.region as usize) else { continue };
            for (k, color) in region.in_colors.iter().enumerate() {
                let Some(color) = color else { continue };
                // The ramp's own registers hold as many wavelets as it has stages.
                q.input[k] = Fifo::new(&mut arena, machine.queues.input_depth_words[k] + ramp, color.0);
            }
            for (k, color) in region.out_colors.iter().enumerate() {
                let Some(color) = color else { continue };
                q.output[k] = Fifo::new(&mut arena, machine.queues.output_depth_words[k], color.0);
            }
        }
        let first_row = sites.first().map_or(0, |s| s.pe.y);
        let height = sites.last().map_or(0, |s| usize::from(s.pe.y - first_row) + 1);
        let mut hosts = vec![HostRow::default(); height];
        let mut nodes = Vec::with_capacity(node_range.len());
        let (mut away, mut upstream_away) = (Vec::new(), Vec::new());
        for node in &fabric.nodes[node_range.clone()] {
            let site = node.site - first_site as u32;
            let mut tx = 0u8;
            for port in PORTS {
                match node.to[port as usize] {
                    To::Unused => continue,
                    _ => tx |= 1 << port as u8,
                }
                // Downstream buffers begin empty.
                routers[site as usize].space[port as usize] |= 1 << node.color;
            }
            let upstream = match node.from {
                From::Node(_) if bands.are_alone() => {
                    upstream_away.push((Side::Before, site));
                    AWAY + upstream_away.len() as u32 - 1
                }
                From::Node(up) => {
                    let up = fabric.nodes[up as usize].site;
                    match bands.of_site(up) {
                        b if b == band => up - first_site as u32,
                        b => {
                            upstream_away.push((Side::of(b, band), up - bands.sites(b).start as u32));
                            AWAY + upstream_away.len() as u32 - 1
                        }
                    }
                }
                From::Host(row) => {
                    hosts[usize::from(row - first_row)].space |= 1 << node.color;
                    NONE
                }
                _ => {
                    routers[site as usize].space[UP] |= 1 << node.color;
                    site
                }
            };
            let mut target = |port: Port, to: To| match to {
                To::Node(_) if bands.are_alone() => {
                    let node = copies::Link { site, port: port as u8, color: node.color }.number();
                    away.push(Away { side: Side::Before, node, cap: link, held: 0 });
                    Goal::Away(away.len() as u32 - 1)
                }
                To::Queue(q) => Goal::Queue(q),
                To::Host(row) => Goal::Host(row),
                To::Unused => Goal::Unused,
                To::Node(n) if node_range.contains(&(n as usize)) => Goal::Node(n - node_range.start as u32),
                To::Node(n) => {
                    let next = &fabric.nodes[n as usize];
                    let b = bands.of_site(next.site);
                    let node = n - bands.nodes(b).start as u32;
                    away.push(Away { side: Side::of(b, band), node, cap: cap_of(next.rx), held: 0 });
                    Goal::Away(away.len() as u32 - 1)
                }
            };
            nodes.push(NodeState {
                fifo: Buffer::new(&mut arena, cap_of(node.rx)),
                to: PORTS.map(|port| Target::new(target(port, node.to[port as usize]))),
                pending: 0,
                tx,
                color: node.color,
                rx: node.rx as u8,
                site,
                upstream,
                flags: 0,
            });
        }
        Network {
            fabric,
            first_site,
            away,
            upstream_away,
            outbox: Default::default(),
            nodes,
            next_active: Sites::new(routers.len()),
            routers,
            queues,
            arena,
            host_words: vec![[0; 24]; height],
            first_row,
            hosts,
            active: Vec::new(),
            active_rows: Vec::new(),
            next_rows: Vec::new(),
            row_listed: vec![false; height],
            grants: Vec::new(),
            host_grants: Vec::new(),
            router_cycles: 0,
            weights: Vec::new(),
            sent: Vec::new(),
            streams: Streams::default(),
        }
    }

    /// Asks for large pages for all that changes.
    pub(super) fn enlarge_pages(&self) {
        pages::enlarge(&self.nodes);
        pages::enlarge(&self.routers);
        pages::enlarge(&self.queues);
        pages::enlarge(&self.arena);
        self.streams.enlarge_pages();
    }

    /// The row of a site's PE.
    fn row(&self, site: u32) -> u16 {
        self.fabric.sites[self.first_site + site as usize].pe.y
    }

    /// Something came from another band in the cycle before.
    pub(super) fn accept(&mut self, message: Message) {
        match message {
            Message::Wavelet { node, word } => self.arrive(node, word),
            Message::Left { site, out, color } => {
                let Some(node) = self.node(site, color) else { return };
                if let Goal::Away(link) = self.nodes[node as usize].to[usize::from(out)].goal() {
                    self.away[link as usize].held -= 1;
                    self.give_space(site, usize::from(out), 1 << color);
                }
            }
        }
    }

    /// From now on every link's wavelets are counted.
    pub(super) fn count_links(&mut self) {
        self.sent = vec![[0; 4]; self.routers.len()];
    }

    /// The links with most wavelets, those first; equal ones from north-west to south-east.
    pub(super) fn hottest(&self, most: usize) -> Vec<LinkLoad> {
        let busy = self.sent.iter().enumerate().flat_map(|(site, counts)| {
            let count = move |(port, &n): (usize, &u64)| (n > 0).then_some((n, site, port));
            counts.iter().enumerate().filter_map(count)
        });
        let mut busy: Vec<(u64, usize, usize)> = busy.collect();
        let pe = |site: usize| self.fabric.sites[self.first_site + site].pe;
        busy.sort_by_key(|&(n, site, port)| (std::cmp::Reverse(n), pe(site).y, pe(site).x, port));
        busy.truncate(most);
        let load = |(wavelets, site, port): (u64, usize, usize)| {
            let passes = |n: &&NodeState| n.site as usize == site && n.tx >> port & 1 == 1;
            let colors = self.nodes.iter().filter(passes).fold(0, |mask, n| mask | 1 << n.color);
            LinkLoad { pe: pe(site), port: PORTS[port], wavelets, colors }
        };
        busy.into_iter().map(load).collect()
    }

    /// True when a router or a host row may act in the next cycle.
    pub(super) fn busy(&self) -> bool {
        !self.next_active.is_empty() || !self.next_rows.is_empty() || self.streams.busy()
    }

    /// Queues and nodes that hold wavelets, and which.
    pub(super) fn stuck(&self) -> impl Iterator<Item = (Pe, String)> + '_ {
        let pe = |site: usize| self.fabric.sites[self.first_site + site].pe;
        let routers = self.nodes.iter().filter(|n| n.fifo.len > 0).map(move |n| {
            let waits: Vec<String> =
                PORTS.into_iter().filter(|&p| n.pending >> p as u8 & 1 == 1).map(|p| format!("{p:?}")).collect();
            let what = format!("router holds {} wavelets of color {} for {}", n.fifo.len, n.color, waits.join("+"));
            (pe(n.site as usize), what)
        });
        let queues = self.queues.iter().enumerate().flat_map(move |(site, q)| {
            let held = move |way: &'static str, (ix, f): (usize, &Fifo)| {
                let what = || format!("{way} queue {ix} holds {} wavelets of color {}", f.len, f.color);
                (f.len > 0).then(|| (pe(site), what()))
            };
            let inputs = q.input.iter().enumerate().filter_map(move |x| held("input", x));
            inputs.chain(q.output.iter().enumerate().filter_map(move |x| held("output", x)))
        });
        queues.chain(routers)
    }

    /// Asks for a queue that will be needed.
    #[inline]
    pub(super) fn fetch_queue(&self, site: u32, queue: u8, out: bool) {
        let Some(q) = self.queues.get(site as usize) else { return };
        match out {
            true => ahead::fetch(&q.output, usize::from(queue)),
            false => ahead::fetch(&q.input, usize::from(queue)),
        }
    }

    /// Asks for the queues of a site that will be needed.
    #[inline]
    pub(super) fn fetch_queues(&self, site: u32) {
        if let Some(q) = self.queues.get(site as usize) {
            ahead::fetch(&q.input, 0);
            ahead::fetch(&q.output, 0);
        }
    }

    /// Asks for a node that will be needed.
    #[inline]
    pub(super) fn fetch_node(&self, node: u32) {
        ahead::fetch(&self.nodes, node as usize);
    }

    /// Takes a word from an input queue now; its space is given back by [`Network::free_input`]
    /// at the end of the cycle.
    pub(super) fn pop_input(&mut self, site: u32, queue: u8) -> u32 {
        let fifo = &mut self.queues[site as usize].input[usize::from(queue)];
        let word = fifo.front(&self.arena);
        fifo.pop();
        word
    }

    /// Puts a word into an output queue; the ramp sees it when [`Network::output_ready`] says so.
    pub(super) fn push_output(&mut self, site: u32, queue: u8, word: u32) {
        let fifo = &mut self.queues[site as usize].output[usize::from(queue)];
        fifo.push(&mut self.arena, word);
    }

    /// End of cycle: an input queue has space again.
    pub(super) fn free_input(&mut self, site: u32, queue: u8) {
        let color = self.queues[site as usize].input[usize::from(queue)].color;
        self.give_space(site, Port::Ramp as usize, 1 << color);
    }

    /// A pushed word may enter the ramp from the next decision on.
    pub(super) fn output_ready(&mut self, site: u32, queue: u8) {
        let fifo = &mut self.queues[site as usize].output[usize::from(queue)];
        let color = fifo.color;
        fifo.ready += 1;
        let r = &mut self.routers[site as usize];
        r.want[UP] |= 1 << color;
        if r.space[UP] >> color & 1 == 1 {
            self.list(site);
        }
    }

    /// A wavelet on the ramp reaches the router.
    pub(super) fn node_ready(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        n.fifo.ready += 1;
        if n.fifo.ready == 1 {
            self.want_head(node);
        }
    }

    /// A wavelet on the ramp reaches an input queue; false when it was taken already.
    pub(super) fn input_ready(&mut self, site: u32, queue: u8) -> bool {
        let fifo = &mut self.queues[site as usize].input[usize::from(queue)];
        if fifo.gone > 0 {
            fifo.gone -= 1;
            return false;
        }
        fifo.ready += 1;
        true
    }

    /// True when that many wavelets of this queue can be taken as they come: none wait, more come than are on the
    /// ramp, and those on the ramp, one a cycle, are never so many that there is no space.
    pub(super) fn can_drain(&self, site: u32, queue: u8, words: u32, ramp: u64) -> bool {
        let fifo = &self.queues[site as usize].input[usize::from(queue)];
        let waits = fifo.drained == 0 && fifo.gone == 0 && fifo.ready == 0;
        waits && u32::from(fifo.len) < words && u64::from(fifo.len) < ramp && u64::from(fifo.cap) > ramp + 1
    }

    /// From now on so many wavelets are taken as they come. Those on the ramp are taken at once.
    pub(super) fn drain(&mut self, site: u32, queue: u8, words: u32, taken: &mut Vec<u32>) {
        let fifo = &mut self.queues[site as usize].input[usize::from(queue)];
        fifo.drained = words - u32::from(fifo.len);
        while fifo.len > 0 {
            taken.push(fifo.front(&self.arena));
            fifo.ready += 1;
            fifo.pop();
            fifo.gone += 1;
        }
    }

    /// The host has a wavelet of this color for a row.
    pub(super) fn offer(&mut self, row: u16, color: u8, word: u32) {
        let r = usize::from(row - self.first_row);
        self.hosts[r].want |= 1 << color;
        self.host_words[r][usize::from(color)] = word;
        self.list_row(row);
    }

    #[inline]
    fn list(&mut self, site: u32) {
        self.next_active.insert(site);
    }

    /// Node of a color at a site.
    #[inline]
    fn node(&self, site: u32, color: u8) -> Option<u32> {
        let r = &self.routers[site as usize];
        let bit = 1u32 << color;
        (r.colors & bit != 0).then(|| r.first_node + (r.colors & (bit - 1)).count_ones())
    }

    fn list_row(&mut self, row: u16) {
        if !self.row_listed[usize::from(row - self.first_row)] {
            self.row_listed[usize::from(row - self.first_row)] = true;
            self.next_rows.push(row);
        }
    }

    fn want_head(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        n.pending = n.tx;
        let (site, tx, bit) = (n.site, n.tx, 1u32 << n.color);
        let r = &mut self.routers[site as usize];
        let mut may_leave = 0;
        for port in 0..5 {
            let wanted = if tx >> port & 1 == 1 { bit } else { 0 };
            r.want[port] |= wanted;
            may_leave |= wanted & r.space[port];
        }
        let contended = r.busy & tx;
        if may_leave != 0 {
            self.list(site);
        }
        if contended != 0 {
            self.contend(site, contended);
        }
    }

    /// There is space behind an output again.
    #[inline]
    fn give_space(&mut self, site: u32, out: usize, bit: u32) {
        let r = &mut self.routers[site as usize];
        r.space[out] |= bit;
        if r.want[out] & bit != 0 {
            self.list(site);
        }
    }

    /// Makes what was listed up to now the routers of the cycle about to be decided.
    pub(super) fn begin(&mut self, now: u64, effects: &mut Effects) {
        self.begin_streams(now, effects);
        self.next_active.drain(&mut self.active);
        self.active_rows.append(&mut self.next_rows);
    }

    /// Decides and applies one cycle.
    pub(super) fn cycle(&mut self, effects: &mut Effects) {
        let active = std::mem::take(&mut self.active);
        for (k, &site) in active.iter().enumerate() {
            if let Some(&later) = active.get(k + 8) {
                ahead::fetch(&self.routers, later as usize);
            }
            let r = &mut self.routers[site as usize];
            let before = self.grants.len();
            for out in 0..6 {
                let mask = r.want[out] & r.space[out];
                if mask == 0 {
                    continue;
                }
                let color = round_robin(mask, r.next_color[out]);
                r.next_color[out] = if color == 23 { 0 } else { color + 1 };
                // Outputs granted to one color go together, but for what comes from the queues.
                let bit = 1 << out;
                match self.grants[before..].iter_mut().find(|g| out != UP && g.color == color) {
                    Some(grant) => grant.outs |= bit,
                    None => {
                        // Colors that are granted have a node here.
                        let below = r.colors & ((1 << color) - 1);
                        let node = r.first_node + below.count_ones();
                        self.grants.push(Grant { site, node, outs: bit, color });
                        ahead::fetch(&self.nodes, node as usize);
                    }
                }
            }
            if self.grants.len() > before && self.routers[site as usize].busy == 0 {
                self.router_cycles += self.weights.get(site as usize).copied().unwrap_or(1);
            }
        }
        let rows = std::mem::take(&mut self.active_rows);
        for &row in &rows {
            self.row_listed[usize::from(row - self.first_row)] = false;
            let h = &mut self.hosts[usize::from(row - self.first_row)];
            let mask = h.want & h.space;
            if mask != 0 {
                let color = round_robin(mask, h.next_color);
                h.next_color = (color + 1) % 24;
                self.host_grants.push((row, color));
            }
        }
        let grants = std::mem::take(&mut self.grants);
        for (k, &Grant { site, node, outs, color }) in grants.iter().enumerate() {
            if let Some(&later) = grants.get(k + 4) {
                self.look_ahead(later);
            }
            if let Some(sent) = self.sent.get_mut(site as usize) {
                sent.iter_mut().enumerate().for_each(|(out, n)| *n += u64::from(outs >> out & 1));
            }
            if outs == 1 << UP {
                self.take_output(site, node, color, effects);
            } else {
                self.send(site, node, outs, color, effects);
            }
        }
        let host_grants = std::mem::take(&mut self.host_grants);
        for &(row, color) in &host_grants {
            let word = self.host_words[usize::from(row - self.first_row)][usize::from(color)];
            self.hosts[usize::from(row - self.first_row)].want &= !(1 << color);
            self.list_row(row);
            effects.sent.push((row, color));
            let site = self.fabric.site(Pe { x: 0, y: row });
            let site = site.map(|s| s - self.first_site as u32);
            if let Some(node) = site.and_then(|s| self.node(s, color)) {
                self.arrive(node, word);
            }
        }
        self.stream_cycle(effects);
        // Who had to stand back, or has more.
        for &site in &active {
            let r = &self.routers[site as usize];
            if (0..6).any(|out| r.want[out] & r.space[out] != 0) {
                self.next_active.insert(site);
            }
        }
        // Keep the allocations.
        (self.grants, self.host_grants, self.active, self.active_rows) = (grants, host_grants, active, rows);
        self.grants.clear();
        self.host_grants.clear();
        self.active.clear();
        self.active_rows.clear();
    }

    /// Asks for what a grant will touch.
    #[inline]
    fn look_ahead(&self, Grant { site, node, outs, .. }: Grant) {
        if outs == 1 << UP {
            return ahead::fetch_all(&self.queues[site as usize].output, 0);
        }
        let n = &self.nodes[node as usize];
        ahead::fetch(&self.routers, n.upstream as usize);
        for out in 0..5 {
            if outs >> out & 1 == 1 {
                match n.to[out].goal() {
                    Goal::Node(next) => ahead::fetch(&self.nodes, next as usize),
                    Goal::Queue(q) => ahead::fetch(&self.queues[site as usize].input, usize::from(q)),
                    _ => {}
                }
            }
        }
    }

    /// From an output queue into the ramp.
    fn take_output(&mut self, site: u32, node: u32, color: u8, effects: &mut Effects) {
        let q = &mut self.queues[site as usize];
        // Of the queues bound to it one only has words: a color is bound once.
        let Some(ix) = q.output.iter().position(|f| f.color == color && f.ready > 0) else { return };
        let fifo = &mut q.output[ix];
        let word = fifo.front(&self.arena);
        fifo.pop();
        if fifo.ready == 0 {
            self.routers[site as usize].want[UP] &= !(1 << color);
        }
        effects.freed.push((site, ix as u8));
        let n = &mut self.nodes[node as usize];
        n.fifo.push(&mut self.arena, word);
        if !n.fifo.has_space() {
            self.routers[site as usize].space[UP] &= !(1 << color);
        }
        effects.to_node.push(node);
    }

    /// From a router by some of its five outputs.
    fn send(&mut self, site: u32, node: u32, outs: u8, color: u8, effects: &mut Effects) {
        let bit = 1u32 << color;
        self.note_sent(node, outs);
        let n = &mut self.nodes[node as usize];
        let (word, to) = (n.fifo.front(&self.arena), n.to);
        n.pending &= !outs;
        let want = &mut self.routers[site as usize].want;
        want.iter_mut().enumerate().for_each(|(out, w)| *w &= !(u32::from(outs >> out & 1) << color));
        if n.pending == 0 {
            n.fifo.pop();
            let (more, upstream, rx) = (n.fifo.ready > 0, n.upstream, n.rx);
            // Space is there again for the next decision.
            let port = if rx == Port::Ramp as u8 { UP } else { opposite(PORTS[usize::from(rx)]) as usize };
            if upstream == NONE {
                let row = self.row(site);
                self.hosts[usize::from(row - self.first_row)].space |= bit;
                self.list_row(row);
            } else if upstream >= AWAY {
                let (side, site) = self.upstream_away[(upstream - AWAY) as usize];
                self.outbox[side as usize].push(Message::Left { site, out: port as u8, color });
            } else {
                self.give_space(upstream, port, bit);
            }
            if more {
                self.want_head(node);
            }
        }
        let mut left = outs;
        while left != 0 {
            let out = left.trailing_zeros() as usize;
            left &= left - 1;
            match to[out].goal() {
                Goal::Node(next) if self.is_fed(next) => {}
                Goal::Node(next) => self.arrive(next, word),
                Goal::Queue(q) => self.down(site, q, word, bit, effects),
                Goal::Host(row) => effects.out.push((row, color, word)),
                Goal::Away(link) => {
                    let away = &mut self.away[link as usize];
                    away.held += 1;
                    self.outbox[away.side as usize].push(Message::Wavelet { node: away.node, word });
                    if away.held == away.cap {
                        self.routers[site as usize].space[out] &= !bit;
                    }
                }
                Goal::Unused => {}
            }
        }
    }

    /// Down the ramp, to an input queue.
    #[inline]
    fn down(&mut self, site: u32, queue: u8, word: u32, bit: u32, effects: &mut Effects) {
        let fifo = &mut self.queues[site as usize].input[usize::from(queue)];
        if fifo.drained > 0 {
            fifo.drained -= 1;
            effects.drained.push((site, word));
            return;
        }
        fifo.push(&mut self.arena, word);
        if !fifo.has_space() {
            self.routers[site as usize].space[Port::Ramp as usize] &= !bit;
        }
        effects.to_input.push((site, queue));
    }

    /// A wavelet comes over a link into a node's buffer.
    fn arrive(&mut self, node: u32, word: u32) {
        let n = &mut self.nodes[node as usize];
        n.fifo.push(&mut self.arena, word);
        n.fifo.ready += 1;
        let (full, first) = (!n.fifo.has_space(), n.fifo.ready == 1);
        let (color, rx, upstream, site) = (n.color, n.rx, n.upstream, n.site);
        // Another band keeps count itself.
        if full {
            if upstream == NONE {
                let row = self.row(site);
                self.hosts[usize::from(row - self.first_row)].space &= !(1 << color);
            } else if upstream < AWAY {
                let port = opposite(PORTS[usize::from(rx)]) as usize;
                self.routers[upstream as usize].space[port] &= !(1 << color);
            }
        }
        if first {
            self.want_head(node);
        }
    }
}
