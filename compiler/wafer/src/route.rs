//! Static routes: for every stream a tree from its source along the chains of its readers and
//! to its ports, and for every chain the hops between neighbours.
//!
//! Each branch is a cheapest path: free routers and unused links first. Knows places; colors
//! come later.

use super::place::Placement;
use quadrille_isa::wafer::{Machine, Pe, Port, PortSet};
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};

/// Where a router of a tree takes a color from and sends it to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    pub(crate) rx: Port,
    pub(crate) tx: PortSet,
}

/// A tree of routers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub(crate) hops: BTreeMap<Pe, Hop>,
}

/// Where a tree begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A port on the west edge, by row.
    West(u16),
    Pe(Pe),
}

/// Where a tree ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sink {
    /// All PEs of a kernel's chain, by kernel.
    Chain(usize),
    /// A port on the east edge, by row.
    East(u16),
}

/// Makes trees on a mesh with placed kernels.
pub(crate) struct Router<'a> {
    width: usize,
    height: usize,
    placement: &'a Placement,
    occupied: Vec<bool>,
    /// Trees through each router; `None` where crowded routers cost no more than others.
    crowd: Option<Vec<u16>>,
    /// Trees over each link, by router and direction it leaves in.
    load: Vec<[u8; 4]>,
    /// Routers that the tree being made reaches along chains only: those that carry its number.
    closed: Vec<u32>,
    /// Routers of its readers that are chains of one PE: it may go on from there, where there is no other way.
    single: Vec<u32>,
    trees: u32,
    /// Trees through each router, and one through which more go than there are colors.
    through: Vec<u16>,
    colors: u32,
    pub(crate) overfull: Option<Pe>,
}

const DIRECTIONS: [(Port, i32, i32, Port); 4] = [
    (Port::North, 0, -1, Port::South),
    (Port::East, 1, 0, Port::West),
    (Port::South, 0, 1, Port::North),
    (Port::West, -1, 0, Port::East),
];

/// Cost of a hop, of a router that has a kernel, of a tree that shares the link.
const COST: (u32, u32, u32) = (4, 6, 16);

impl<'a> Router<'a> {
    /// For a placement; `spreads` to keep away from routers that many trees cross, whose colors are few.
    pub(crate) fn new(m: &Machine, placement: &'a Placement, spreads: bool) -> Router<'a> {
        let (width, height) = (m.geometry.width_pes as usize, m.geometry.height_pes as usize);
        let mut occupied = vec![false; width * height];
        for p in placement.chains.iter().flatten() {
            occupied[usize::from(p.y) * width + usize::from(p.x)] = true;
        }
        // The hops of its own chain cross every router of a kernel.
        let crowd = spreads.then(|| occupied.iter().map(|&o| if o { 2 } else { 0 }).collect());
        Router {
            width,
            height,
            placement,
            occupied,
            crowd,
            load: vec![[0; 4]; width * height],
            closed: vec![0; width * height],
            single: vec![0; width * height],
            trees: 0,
            through: vec![0; width * height],
            colors: m.geometry.colors,
            overfull: None,
        }
    }

    fn index(&self, p: Pe) -> usize {
        usize::from(p.y) * self.width + usize::from(p.x)
    }

    /// The tree of one stream; `None` when a sink cannot be reached.
    pub(crate) fn tree(&mut self, source: Source, sinks: &[Sink]) -> Option<Tree> {
        let mut tree = Tree::default();
        let (at, rx) = match source {
            Source::West(y) => (Pe { x: 0, y }, Port::West),
            Source::Pe(p) => (p, Port::Ramp),
        };
        tree.hops.insert(at, Hop { rx, tx: PortSet::default() });
        self.crosses(at);
        // The PEs of the readers get the color from their own chain only.
        self.trees += 1;
        for s in sinks {
            if let Sink::Chain(k) = s {
                let chain = &self.placement.chains[*k];
                for &p in chain {
                    let i = self.index(p);
                    let marks = if chain.len() == 1 { &mut self.single } else { &mut self.closed };
                    marks[i] = self.trees;
                }
            }
        }
        for s in sinks {
            let target = match *s {
                Sink::Chain(k) => *self.placement.chains[k].first()?,
                Sink::East(y) => Pe { x: self.width as u16 - 1, y },
            };
            self.reach(&mut tree, target)?;
            match *s {
                Sink::Chain(k) => {
                    let chain = &self.placement.chains[k];
                    tree.hops.get_mut(&target)?.tx = tree.hops[&target].tx.with(Port::Ramp);
                    for pair in chain.windows(2) {
                        self.step(&mut tree, pair[0], pair[1]);
                        let h = tree.hops.get_mut(&pair[1])?;
                        h.tx = h.tx.with(Port::Ramp);
                    }
                }
                Sink::East(_) => {
                    let h = tree.hops.get_mut(&target)?;
                    h.tx = h.tx.with(Port::East);
                }
            }
        }
        Some(tree)
    }

    /// From the first to the last of some neighbours on a chain, past those between.
    pub(crate) fn along(&mut self, chain: &[Pe]) -> Tree {
        let mut tree = Tree::default();
        let (Some(&from), Some(to)) = (chain.first(), chain.last()) else { return tree };
        tree.hops.insert(from, Hop { rx: Port::Ramp, tx: PortSet::default() });
        chain.windows(2).for_each(|pair| self.step(&mut tree, pair[0], pair[1]));
        if let Some(h) = tree.hops.get_mut(to) {
            h.tx = h.tx.with(Port::Ramp);
        }
        tree
    }

    /// One more tree through a router.
    fn crosses(&mut self, p: Pe) {
        let i = self.index(p);
        self.through[i] = self.through[i].saturating_add(1);
        if u32::from(self.through[i]) > self.colors {
            self.overfull = self.overfull.or(Some(p));
        }
        if let Some(c) = &mut self.crowd {
            c[i] = c[i].saturating_add(1);
        }
    }

    /// What a crowded router costs more.
    fn crowding(&self, i: usize) -> u32 {
        let trees = self.crowd.as_ref().map_or(0, |c| u32::from(c[i]));
        2 * trees + 60 * trees.saturating_sub(10)
    }

    /// Adds the link between neighbours to a tree.
    fn step(&mut self, tree: &mut Tree, from: Pe, to: Pe) {
        let (dx, dy) = (i32::from(to.x) - i32::from(from.x), i32::from(to.y) - i32::from(from.y));
        let Some((d, &(out, _, _, back))) = DIRECTIONS.iter().enumerate().find(|(_, d)| (d.1, d.2) == (dx, dy)) else {
            return;
        };
        if let Some(h) = tree.hops.get_mut(&from) {
            h.tx = h.tx.with(out);
        }
        if let Entry::Vacant(new) = tree.hops.entry(to) {
            new.insert(Hop { rx: back, tx: PortSet::default() });
            self.crosses(to);
        }
        let i = self.index(from);
        self.load[i][d] = self.load[i][d].saturating_add(1);
    }

    /// Grows the tree to `target` by a cheapest path.
    fn reach(&mut self, tree: &mut Tree, target: Pe) -> Option<()> {
        if tree.hops.contains_key(&target) {
            // Only a source may already be there: its chain would start where the stream does.
            return Some(());
        }
        let near = |margin: usize| {
            let xs = tree.hops.keys().map(|p| usize::from(p.x)).chain([usize::from(target.x)]);
            let ys = tree.hops.keys().map(|p| usize::from(p.y)).chain([usize::from(target.y)]);
            let (x0, x1) = xs.fold((usize::MAX, 0), |(a, b), x| (a.min(x), b.max(x)));
            let (y0, y1) = ys.fold((usize::MAX, 0), |(a, b), y| (a.min(y), b.max(y)));
            (
                x0.saturating_sub(margin),
                y0.saturating_sub(margin),
                (x1 + margin).min(self.width - 1),
                (y1 + margin).min(self.height - 1),
            )
        };
        let all = (0, 0, self.width - 1, self.height - 1);
        let path = self
            .search(tree, target, near(if self.crowd.is_some() { 16 } else { 3 }), false)
            .or_else(|| self.search(tree, target, all, false))
            .or_else(|| self.search(tree, target, all, true))?;
        for pair in path.windows(2) {
            self.step(tree, pair[0], pair[1]);
        }
        Some(())
    }

    /// Cheapest path from any router of the tree to `target` inside a box.
    ///
    /// Routers are looked at by the cost of the way there and the least that is left (A*). Of ways of one cost the one whose
    /// last router before is cheapest, then first in order, is taken, so that the path does not depend on the order of looking.
    fn search(
        &self,
        tree: &Tree,
        target: Pe,
        (x0, y0, x1, y1): (usize, usize, usize, usize),
        past_single: bool,
    ) -> Option<Vec<Pe>> {
        let w = x1 - x0 + 1;
        let local = |p: Pe| (usize::from(p.y) - y0) * w + usize::from(p.x) - x0;
        let left = |p: Pe| COST.0 * (u32::from(p.x.abs_diff(target.x)) + u32::from(p.y.abs_diff(target.y)));
        let mut cost = vec![u32::MAX; w * (y1 - y0 + 1)];
        let mut from = vec![u8::MAX; cost.len()];
        let before = |q: Pe, d: u8| {
            let (_, dx, dy, _) = DIRECTIONS[usize::from(d)];
            Pe { x: (i32::from(q.x) - dx) as u16, y: (i32::from(q.y) - dy) as u16 }
        };
        let mut heap = BinaryHeap::new();
        for &p in tree.hops.keys() {
            cost[local(p)] = 0;
            heap.push(Reverse((left(p), 0u32, p)));
        }
        while let Some(Reverse((least, c, p))) = heap.pop() {
            if least > cost[local(target)] {
                break;
            }
            if c > cost[local(p)] || p == target {
                continue;
            }
            for (d, &(_, dx, dy, _)) in DIRECTIONS.iter().enumerate() {
                let (x, y) = (i32::from(p.x) + dx, i32::from(p.y) + dy);
                if x < x0 as i32 || x > x1 as i32 || y < y0 as i32 || y > y1 as i32 {
                    continue;
                }
                let q = Pe { x: x as u16, y: y as u16 };
                let i = self.index(q);
                let shut = self.closed[i] == self.trees || (!past_single && self.single[i] == self.trees);
                if q != target && shut {
                    continue;
                }
                let step = COST.0
                    + if self.occupied[i] { COST.1 } else { 0 }
                    + self.crowding(i)
                    + COST.2 * u32::from(self.load[self.index(p)][d]);
                let total = c + step;
                let l = local(q);
                if total < cost[l] {
                    (cost[l], from[l]) = (total, d as u8);
                    heap.push(Reverse((total + left(q), total, q)));
                } else if total == cost[l] && total > 0 {
                    let now = before(q, from[l]);
                    if (c, p) < (cost[local(now)], now) {
                        from[l] = d as u8;
                    }
                }
            }
        }
        if cost[local(target)] == u32::MAX {
            return None;
        }
        let mut path = vec![target];
        let mut at = target;
        while cost[local(at)] != 0 {
            at = before(at, from[local(at)]);
            path.push(at);
        }
        path.reverse();
        Some(path)
    }
}
