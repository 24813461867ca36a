//! Wavelets that pass one a cycle, all together.
//!
//! A node *streams* when it gets a wavelet and sends one by all its outputs every cycle, nobody else wants these outputs,
//! and there is space behind them. Nothing about it changes then, so nothing is done for it. Whatever could change that
//! takes a cycle to come from a neighbour, and ends the streaming of just that node in time:
//!
//! - another color wants one of its outputs;
//! - a buffer behind it is full: its streaming neighbour goes on to feed it, cycle by cycle, until then;
//! - the node before it, which does not stream, has not sent: it is *watched*, cycle by cycle;
//! - the operation that takes its words as they come waits for the last one.
//!
//! So the first wavelet of a burst and the last decide each node's cycles, and those between cost nothing. Knows counts only:
//! words have no values here.

use super::super::pages;
use super::{AWAY, Effects, Goal, NONE, Network, NodeState, Port};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Could stream: it gets wavelets from a node here, and sends to nodes here and to an input queue.
const ABLE: u8 = 1;
const STREAMS: u8 = 2;
/// Gets a wavelet every cycle without being sent any, as it or the node before it streams.
const FED: u8 = 4;
/// In the list of nodes that are fed and do not stream.
const IN_FED: u8 = 8;
/// In the list of nodes that do not stream and feed some that do.
const WATCHED: u8 = 16;

#[derive(Default)]
pub(super) struct Streams {
    on: bool,
    now: u64,
    fed: Vec<u32>,
    watched: Vec<u32>,
    ends: Vec<u32>,
    /// Nodes that sent by all their outputs in this cycle.
    tries: Vec<u32>,
    /// First cycle of streaming, by node.
    since: Vec<u64>,
    /// When a watched node sent last, and by which outputs.
    sent: Vec<(u64, u8)>,
    /// Since when a router has streams, by site.
    from: Vec<u64>,
    /// When words of an operation run out: cycle, node, its first cycle of streaming.
    due: BinaryHeap<Reverse<(u64, u32, u64)>>,
}

impl Streams {
    pub(super) fn enlarge_pages(&self) {
        pages::enlarge(&self.since);
        pages::enlarge(&self.sent);
        pages::enlarge(&self.from);
    }

    pub(super) fn busy(&self) -> bool {
        !self.fed.is_empty() || !self.watched.is_empty()
    }
}

impl Network<'_> {
    /// From now on wavelets have no values, and streams are moved together.
    pub(in super::super) fn stream(&mut self) {
        let able = |n: &NodeState| {
            let near = n.upstream != NONE && n.upstream < AWAY && n.rx != Port::Ramp as u8;
            near && n.to.iter().all(|to| matches!(to.goal(), Goal::Node(_) | Goal::Queue(_) | Goal::Unused))
        };
        for node in &mut self.nodes {
            node.flags = if able(node) { ABLE } else { 0 };
        }
        // Words of no value may lie on each other.
        let longest = self.nodes.iter().map(|n| usize::from(n.fifo.cap)).max().unwrap_or(0);
        let queues = self.queues.iter_mut().flat_map(|q| q.input.iter_mut().chain(&mut q.output));
        let longest = queues.map(|f| (f.base = 0, usize::from(f.cap)).1).max().unwrap_or(0).max(longest);
        self.nodes.iter_mut().for_each(|n| n.fifo.base = 0);
        self.arena = vec![0; longest];
        self.streams = Streams {
            on: true,
            since: vec![0; self.nodes.len()],
            sent: vec![(u64::MAX, 0); self.nodes.len()],
            from: vec![0; self.routers.len()],
            ..Streams::default()
        };
    }

    /// Before the decisions of a cycle.
    pub(super) fn begin_streams(&mut self, now: u64, effects: &mut Effects) {
        self.streams.now = now;
        while let Some(&Reverse((at, node, since))) = self.streams.due.peek()
            && at <= now
        {
            self.streams.due.pop();
            if self.streams.since[node as usize] == since {
                self.streams.ends.push(node);
            }
        }
        self.end_streams(now, effects);
    }

    /// True when a node's wavelets come without being sent.
    #[inline]
    pub(super) fn is_fed(&self, node: u32) -> bool {
        self.nodes[node as usize].flags & FED != 0
    }

    /// A node sends by some outputs, or by all.
    #[inline]
    pub(super) fn note_sent(&mut self, node: u32, outs: u8) {
        let n = &self.nodes[node as usize];
        if n.flags & WATCHED != 0 {
            let sent = &mut self.streams.sent[node as usize];
            *sent = (self.streams.now, if sent.0 == self.streams.now { sent.1 | outs } else { outs });
        }
        if n.flags & ABLE != 0 && outs == n.tx {
            self.streams.tries.push(node);
        }
    }

    /// Another color wants some outputs that are taken by streams.
    #[cold]
    pub(super) fn contend(&mut self, site: u32, outs: u8) {
        let r = &self.routers[site as usize];
        for node in r.first_node..r.first_node + r.colors.count_ones() {
            let n = &self.nodes[node as usize];
            if n.flags & STREAMS != 0 && n.tx & outs != 0 {
                self.streams.ends.push(node);
            }
        }
    }

    /// After all that a cycle did otherwise.
    pub(super) fn stream_cycle(&mut self, effects: &mut Effects) {
        if !self.streams.on {
            return;
        }
        let now = self.streams.now;
        let mut fed = std::mem::take(&mut self.streams.fed);
        fed.retain(|&node| {
            let n = &mut self.nodes[node as usize];
            if n.flags & (FED | STREAMS) != FED {
                n.flags &= !IN_FED;
                return false;
            }
            self.arrive(node, 0);
            if !self.nodes[node as usize].fifo.has_space()
                && let Some(before) = self.before(node)
            {
                self.streams.ends.push(before);
            }
            true
        });
        self.streams.fed = fed;
        let mut watched = std::mem::take(&mut self.streams.watched);
        watched.retain(|&node| {
            let (at, outs) = self.streams.sent[node as usize];
            let outs = if at == now { outs } else { 0 };
            let mut feeds = self.nodes[node as usize].flags & STREAMS == 0;
            if feeds {
                feeds = false;
                for out in 0..4 {
                    let Goal::Node(next) = self.nodes[node as usize].to[out].goal() else { continue };
                    let n = &mut self.nodes[next as usize];
                    if n.flags & STREAMS == 0 {
                        continue;
                    }
                    feeds = true;
                    if outs >> out & 1 == 0 {
                        n.fifo.len -= 1;
                        n.fifo.ready -= 1;
                        self.streams.ends.push(next);
                    }
                }
            }
            if !feeds {
                self.nodes[node as usize].flags &= !WATCHED;
            }
            feeds
        });
        self.streams.watched = watched;
        self.end_streams(now + 1, effects);
        let mut tries = std::mem::take(&mut self.streams.tries);
        tries.drain(..).for_each(|node| self.try_stream(node));
        self.streams.tries = tries;
    }

    /// The node that sends to this one, in this band.
    fn before(&self, node: u32) -> Option<u32> {
        let n = &self.nodes[node as usize];
        self.node(n.upstream, n.color)
    }

    /// A node streams from the next cycle on, if it can.
    fn try_stream(&mut self, node: u32) {
        let n = &self.nodes[node as usize];
        let (site, bit, tx, to, flags) = (n.site, 1u32 << n.color, n.tx, n.to, n.flags);
        if flags & STREAMS != 0 || n.fifo.ready == 0 || !n.fifo.has_space() {
            return;
        }
        let r = &self.routers[site as usize];
        let alone = |out: usize| r.want[out] & !bit == 0 && r.space[out] & bit != 0;
        if r.busy & tx != 0 || !(0..5).all(|out| tx >> out & 1 == 0 || alone(out)) {
            return;
        }
        let Some(before) = self.before(node) else { return };
        let steps = self.nodes[before as usize].flags & STREAMS == 0;
        if steps && self.nodes[before as usize].fifo.ready == 0 {
            return;
        }
        let now = self.streams.now;
        for goal in to {
            if let Goal::Queue(q) = goal.goal() {
                let drained = self.queues[site as usize].input[usize::from(q)].drained;
                if drained < 4 {
                    return;
                }
                self.streams.due.push(Reverse((now + u64::from(drained), node, now + 1)));
            }
        }
        self.streams.since[node as usize] = now + 1;
        self.nodes[node as usize].flags |= STREAMS | FED;
        if steps {
            self.watch(before);
        }
        let r = &mut self.routers[site as usize];
        r.want[..5].iter_mut().for_each(|want| *want &= !bit);
        if r.busy == 0 {
            self.streams.from[site as usize] = now + 1;
        }
        r.busy |= tx;
        for goal in to {
            if let Goal::Node(next) = goal.goal() {
                let n = &mut self.nodes[next as usize];
                if n.flags & STREAMS == 0 {
                    n.flags |= FED;
                    self.list_fed(next);
                }
            }
        }
    }

    fn list_fed(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        if n.flags & IN_FED == 0 {
            n.flags |= IN_FED;
            self.streams.fed.push(node);
        }
    }

    fn watch(&mut self, node: u32) {
        let n = &mut self.nodes[node as usize];
        if n.flags & WATCHED == 0 {
            n.flags |= WATCHED;
            self.streams.watched.push(node);
        }
    }

    /// Nodes that no longer stream from cycle `from` on.
    fn end_streams(&mut self, from: u64, effects: &mut Effects) {
        while let Some(node) = self.streams.ends.pop() {
            let n = &mut self.nodes[node as usize];
            if n.flags & STREAMS == 0 {
                continue;
            }
            n.flags &= !STREAMS;
            let (site, tx, to, ready) = (n.site, n.tx, n.to, n.fifo.ready);
            let passed = from - self.streams.since[node as usize];
            self.streams.since[node as usize] = u64::MAX;
            if let Some(sent) = self.sent.get_mut(site as usize) {
                sent.iter_mut().enumerate().for_each(|(out, n)| *n += u64::from(tx >> out & 1) * passed);
            }
            let r = &mut self.routers[site as usize];
            r.busy &= !tx;
            if r.busy == 0 {
                self.router_cycles += from - self.streams.from[site as usize];
            }
            let fed_on = self.before(node).is_some_and(|b| self.nodes[b as usize].flags & STREAMS != 0);
            match fed_on {
                true => self.list_fed(node),
                false => self.nodes[node as usize].flags &= !FED,
            }
            for goal in to {
                match goal.goal() {
                    Goal::Node(next) if self.nodes[next as usize].flags & STREAMS != 0 => self.watch(node),
                    Goal::Node(next) => self.nodes[next as usize].flags &= !FED,
                    Goal::Queue(q) if passed > 0 => {
                        self.queues[site as usize].input[usize::from(q)].drained -= passed as u32;
                        effects.streamed.push((site, passed as u32, from - 1));
                    }
                    _ => {}
                }
            }
            if ready > 0 {
                self.want_head(node);
            }
        }
    }
}
