//! When the words of each tensor are read and written, roughly: what is wanted at one time should not share a slice.
//!
//! Nodes are thought to run one after another, each as long as its busiest resource, and every row of a kernel at its
//! part of that time. What one burst would want twice is a clash; the rest has a cost, the cycles that would be lost. Knows
//! the tiled graph and who takes which rows; knows no word and no instruction.

use super::cells::Cells;
use super::split::{cuts, int8_passes, plane_rows, segment, wave_count, wave_of};
use super::times::Times;
use crate::tiled::{FILL, Kind, TensorId, TiledGraph};
use quadrille_isa::tsp::{Hemisphere, Machine, Slice};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Cycles of a cell of the books.
const CELL: u32 = 16;

/// Cells of a block of the books.
const BLOCK: usize = 64;

/// Cycles by which what one burst wants at different places may differ.
const MEASURED: u32 = 24;

/// Rows of a product that one burst may hold, and those of other kernels.
const BURST: [u32; 2] = [40, 256];

/// Cycles after which the rows of a kernel are there.
const AFTER: u32 = 64;

/// Runs of a long elementwise kernel that advance side by side.
const RUNS: usize = 4;

/// Part of its cycles, in 1/16, in which a product loads weights.
const LOAD_SHARE: u32 = 4;

/// Loads are bursts of their own: no team's, no part's.
const LOADS: u8 = u8::MAX;

/// What is no tensor: address maps and fill words.
pub(super) const NO_TENSOR: u32 = u32::MAX;

/// A use of some words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Access {
    kernel: u32,
    /// Bursts hold rows of one team only.
    team: u8,
    /// Within a team: rows of one part of one tensor follow each other.
    part: u8,
    tensor: u32,
    from: u32,
    to: u32,
    /// Part of these cycles in which it takes place, in 1/16.
    share: u32,
    write: bool,
}

/// Chunk, copy, kernel, team, part, and whether it writes.
type UseOf = (u32, usize, u32, u8, u8, bool);

/// A use that has a place.
#[derive(Clone, Copy, Debug)]
struct Booked {
    slice: usize,
    bank: u8,
    access: Access,
}

/// Who reads and writes what, and when.
#[derive(Clone)]
pub(super) struct Traffic {
    before: Option<Arc<Times>>,
    /// Cycles by which a use may come earlier or later than thought.
    pub(super) drift: u32,
    /// Hemispheres of each product with one chain.
    sides: Arc<Vec<Vec<Hemisphere>>>,
    wave: (usize, usize),
    /// Planes of a hemisphere.
    planes: usize,
    slices: usize,
    begin: Vec<u32>,
    length: Vec<u32>,
    /// Cycles that a burst of each kernel may take.
    burst: Vec<u32>,
    /// Kernels that read or write each tensor.
    users: Arc<Vec<Vec<u32>>>,
    /// Of each bank of each slice, reads, then writes: use of each cell in 1/16.
    cells: Cells<u32, BLOCK>,
    /// By kernel.
    booked: Vec<Arc<Vec<Booked>>>,
}

/// Blocks that some cells lie in, each with its own of them.
fn in_blocks(cells: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    (cells.start / BLOCK..cells.end.div_ceil(BLOCK)).map(move |block| {
        let begin = block * BLOCK;
        (block, cells.start.max(begin) - begin..cells.end.min(begin + BLOCK) - begin)
    })
}

/// Number of a list of cells.
fn list(slice: usize, bank: u8, write: bool) -> usize {
    4 * slice + 2 * usize::from(bank) + usize::from(write)
}

impl Traffic {
    pub(super) fn new(
        g: &TiledGraph,
        m: &Machine,
        sides: &Arc<Vec<Vec<Hemisphere>>>,
        before: Option<&Arc<Times>>,
    ) -> Traffic {
        let slices = m.geometry.mem_slices_per_hemisphere as usize;
        let (planes, alus) = (u64::from(m.planes()).max(1), u64::from(m.geometry.alus).max(1));
        let count = g.kernels.len();
        let (mut begin, mut length, mut burst) = (vec![0; count], vec![1; count], vec![1; count]);
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); g.tensors.len()];
        let (mut first, mut now) = (0, 0u32);
        // A node before that leaves the planes alone: when it began, and how long it takes.
        let mut beside: Option<(u32, u32)> = None;
        let mut last: Option<(u32, u32)> = None;
        while first < count {
            let mut end = first;
            let mut written: Vec<TensorId> = Vec::new();
            let (mut on_planes, mut on_alus, mut least) = (0u64, 0u64, 32u64);
            while end < count {
                let k = &g.kernels[end];
                let mut own = k.node == g.kernels[first].node;
                k.each_read(|r| own &= !written.contains(&g.stored(r.tensor)));
                if !own && end > first {
                    break;
                }
                k.each_write(|t| written.push(t));
                let n = u64::from(k.n);
                match &k.kind {
                    Kind::Map { steps, .. } => {
                        on_alus += n * steps.len() as u64;
                        least = least.max(n / RUNS as u64);
                    }
                    Kind::MatMul { chains, steps, .. } => {
                        let bytes = int8_passes(g, k).is_some();
                        let times = if bytes { 1 } else { 4 };
                        on_planes += n * times * chains.iter().map(Vec::len).sum::<usize>() as u64;
                        on_alus += n * steps.len() as u64;
                    }
                    Kind::Move { .. } | Kind::Gather { .. } | Kind::Transpose { .. } => least = least.max(n),
                }
                end += 1;
            }
            let mut cycles = (on_planes / planes).max(on_alus / alus).max(least) as u32;
            // What the planes and what the ALUs do goes on side by side.
            if let Some((begun, long)) = beside.filter(|_| on_planes > 0) {
                (now, cycles) = (begun + AFTER, cycles.max(long));
            } else if let (0, Some((begun, long))) = (on_planes, last) {
                (now, cycles) = (begun + AFTER, cycles.max(long));
            }
            beside = (on_planes == 0).then_some((now, cycles));
            last = (on_planes > 0).then_some((now, cycles));
            for n in first..end {
                (begin[n], length[n]) = (now, cycles);
                let k = &g.kernels[n];
                let parts = if matches!(k.kind, Kind::Map { .. }) { RUNS } else { planes as usize } as u32;
                let rows = BURST[usize::from(!matches!(k.kind, Kind::MatMul { .. }))];
                burst[n] = (u64::from(cycles) * u64::from(rows) / u64::from((k.n / parts).max(1)))
                    .min(u64::from(cycles)) as u32;
                let mut add = |t: TensorId| {
                    let list = &mut users[g.stored(t).0 as usize];
                    if list.last() != Some(&(n as u32)) {
                        list.push(n as u32);
                    }
                };
                k.each_read(|r| add(r.tensor));
                k.each_write(&mut add);
                k.each_whole(&mut add);
            }
            now += cycles;
            first = end;
        }
        if let Some(t) = before {
            for n in 0..count {
                let (from, to) = t.kernel(n);
                (begin[n], length[n]) = (from, to.saturating_sub(from).max(1));
                let rows = BURST[usize::from(!matches!(g.kernels[n].kind, Kind::MatMul { .. }))];
                burst[n] = length[n].min(rows + MEASURED);
            }
        }
        Traffic {
            before: before.cloned(),
            drift: 0,
            sides: sides.clone(),
            wave: wave_of(g, sides),
            planes: m.geometry.planes_per_hemisphere as usize,
            slices,
            begin,
            length,
            burst,
            users: Arc::new(users),
            cells: Cells::new(8 * slices),
            booked: vec![Arc::default(); count],
        }
    }

    /// Who takes which rows of a kernel: team, part, rows.
    fn parts(&self, g: &TiledGraph, number: usize) -> Vec<(u8, u8, Range<usize>)> {
        let (k, sides, planes) = (&g.kernels[number], &self.sides[number], self.planes);
        let n = k.n as usize;
        match &k.kind {
            Kind::MatMul { .. } if int8_passes(g, k).is_some() && !sides.is_empty() => {
                let rows = plane_rows(&cuts(g, k, sides.len() * planes), sides, planes);
                rows.into_iter().map(|(h, p, r)| (u8::from(h == Hemisphere::East), p as u8, r)).collect()
            }
            Kind::Map { .. } => {
                let run = n.div_ceil(RUNS).max(1);
                (0..RUNS).map(|r| (r as u8, 0, (r * run).min(n)..((r + 1) * run).min(n))).collect()
            }
            _ => vec![(0, 0, 0..n)],
        }
    }

    /// What happens to each chunk of each copy of a tensor, `chunk_of` a row; `planes` of a hemisphere have copies of their
    /// own to gather from, and hold what `holds` says.
    pub(super) fn accesses(
        &self,
        g: &TiledGraph,
        t: TensorId,
        (chunk_of, chunks, copies): (&dyn Fn(u32) -> u32, u32, u32),
        (gathered, segments, holds): (bool, usize, impl Fn(usize, usize, u32) -> bool),
    ) -> Vec<Vec<Vec<Access>>> {
        let (copies, planes) = (copies.max(1) as usize, self.planes);
        // First and last cycle, and how often.
        let mut seen: BTreeMap<UseOf, (u32, u32, u32)> = BTreeMap::new();
        for &number in &self.users[t.0 as usize] {
            let k = &g.kernels[number as usize];
            let waves = wave_count(&cuts(g, k, self.sides[number as usize].len() * planes), self.wave);
            let (begin, length) = (self.begin[number as usize], self.length[number as usize]);
            for (team, part, range) in self.parts(g, number as usize) {
                let step = length / range.len().max(1) as u32;
                let at = |i: usize| match &self.before {
                    Some(t) => {
                        let (from, to) = t.row(number as usize, i);
                        (from, to + 1)
                    }
                    None => {
                        let at =
                            begin + (u64::from(length) * (i - range.start) as u64 / range.len().max(1) as u64) as u32;
                        (at, at + step)
                    }
                };
                let mut note = |chunk: u32, copy: usize, write: bool, from: u32, to: u32, times: u32| {
                    let x = seen.entry((chunk, copy, number, team, part, write)).or_insert((from, to, 0));
                    *x = (x.0.min(from), x.1.max(to), x.2 + times);
                };
                let rows = |note: &mut dyn FnMut(u32, usize, bool, u32, u32, u32),
                            list: &[u32],
                            write: bool,
                            copy: &dyn Fn(u32) -> Vec<usize>| {
                    for i in range.clone() {
                        let row = list[i];
                        if row != FILL {
                            let c = chunk_of(row);
                            let (from, to) = at(i);
                            let from = if write { from.max(to.saturating_sub(step + 1)) } else { from };
                            copy(row).into_iter().for_each(|x| note(c, x, write, from, to, 1));
                        }
                    }
                };
                let on_side = |copy: usize| copy.min(copies - 1);
                match &k.kind {
                    Kind::MatMul { chains, ins, outs, .. } => {
                        for p in chains.iter().flatten().filter(|p| g.stored(p.act.tensor) == t) {
                            if gathered {
                                let first = (usize::from(team) * planes + usize::from(part)) * segments;
                                for i in range.clone() {
                                    let (from, to) = at(i);
                                    let copy = first + segment(i - range.start, range.len(), waves, segments);
                                    note(0, on_side(copy), false, from, to, 1);
                                }
                            } else {
                                rows(&mut note, &p.act.rows, false, &|_| vec![on_side(usize::from(team))]);
                            }
                        }
                        for r in ins.iter().filter(|r| r.tensor == t) {
                            rows(&mut note, &r.rows, false, &|_| vec![on_side(usize::from(team))]);
                        }
                        for (_, r) in outs.iter().filter(|(_, r)| r.tensor == t) {
                            rows(&mut note, &r.rows, true, &|row| {
                                let own = planes * segments;
                                (0..copies).filter(|&c| !gathered || holds(c / own, c % own, row)).collect()
                            });
                        }
                    }
                    Kind::Map { ins, outs, .. } => {
                        for (n, r) in ins.iter().filter(|r| r.tensor == t).enumerate() {
                            rows(&mut note, &r.rows, false, &|_| vec![on_side(n)]);
                        }
                        for (_, r) in outs.iter().filter(|(_, r)| r.tensor == t) {
                            rows(&mut note, &r.rows, true, &|_| (0..copies).collect());
                        }
                    }
                    _ => {
                        let mut write = false;
                        k.each_write(|w| write |= w == t);
                        for c in 0..chunks {
                            (0..copies).for_each(|x| note(c, x, write, begin, begin + length, range.len() as u32));
                        }
                    }
                }
            }
        }
        let mut out = vec![vec![Vec::new(); copies]; chunks as usize];
        for ((chunk, copy, kernel, team, part, write), (from, to, times)) in seen {
            let share = (16 * times / (to - from).max(1)).clamp(1, 16);
            out[chunk as usize][copy].push(Access { kernel, team, part, tensor: t.0, from, to, share, write });
        }
        out
    }

    /// A read by a kernel all the while, by a plane of a team or by all.
    pub(super) fn all_along(
        &self,
        g: &TiledGraph,
        kernel: usize,
        (team, part): (u8, u8),
        tensor: u32,
        share: u32,
    ) -> Access {
        let (mut from, mut to) = (self.begin[kernel], self.begin[kernel] + self.length[kernel]);
        let parts = self.parts(g, kernel);
        let rows = parts.iter().find(|p| (p.0, p.1) == (team, part) && !p.2.is_empty());
        if let (Some(t), Some((_, _, rows))) = (&self.before, rows) {
            let spans = rows.clone().map(|i| t.row(kernel, i));
            (from, to) = spans.fold((u32::MAX, 0), |a, b| (a.0.min(b.0), a.1.max(b.1 + 1)));
        }
        Access { kernel: kernel as u32, team, part, tensor, from, to, share, write: false }
    }

    /// The loads of weights, while the kernels that need them go on.
    pub(super) fn loads(&self, g: &TiledGraph, t: TensorId) -> Vec<Access> {
        let load = |&n: &u32| {
            let (from, length) = (self.begin[n as usize], self.length[n as usize]);
            let (team, part) = (LOADS, LOADS);
            Access { kernel: n, team, part, tensor: t.0, from, to: from + length, share: LOAD_SHARE, write: false }
        };
        let takes = |n: &&u32| matches!(g.kernels[**n as usize].kind, Kind::MatMul { .. });
        self.users[t.0 as usize].iter().filter(takes).map(load).collect()
    }

    /// Cells that uses take, as far as they are shared.
    pub(super) fn cells_of(uses: &[Access]) -> u64 {
        uses.iter().map(|a| u64::from((a.to - a.from) / CELL + 1) * u64::from(a.share)).sum()
    }

    /// Cycles in which a use may take place.
    fn window(&self, a: &Access) -> (u32, u32) {
        (a.from.saturating_sub(self.drift), a.to + self.drift)
    }

    fn slice(&self, s: Slice) -> usize {
        usize::from(s.hemisphere == Hemisphere::East) * self.slices + usize::from(s.index)
    }

    /// Cycles that would be lost if words used like this lay in a bank; none where a burst would want them together
    /// with what is there.
    pub(super) fn cost(&self, s: Slice, bank: u8, accesses: &[Access]) -> Option<u64> {
        let slice = self.slice(s);
        let mut sum = 0;
        for a in accesses {
            let slack = self.burst[a.kernel as usize];
            for b in self.booked[a.kernel as usize].iter().filter(|b| b.slice == slice) {
                let o = &b.access;
                let meets = b.bank == bank || o.write == a.write;
                let follows = (o.tensor, o.part, o.write) == (a.tensor, a.part, a.write);
                if meets && o.team == a.team && !follows && o.from < a.to + slack && a.from < o.to + slack {
                    return None;
                }
            }
            let (from, to) = self.window(a);
            let (own, other) = (list(slice, bank, false), list(slice, 1 - bank, a.write));
            // As many cells wherever the first begins.
            let cells = (from / CELL) as usize..(from / CELL + (to - from) / CELL + 1) as usize;
            for list in [own, own + 1, other] {
                sum += self.sum(list, cells.clone()) * u64::from(a.share);
            }
        }
        Some(sum)
    }

    /// Use of some cells of a list.
    fn sum(&self, list: usize, cells: Range<usize>) -> u64 {
        let parts = in_blocks(cells).filter_map(|(block, own)| Some(&self.cells.part(block, list)?[own]));
        parts.map(|own| own.iter().map(|&c| u64::from(c)).sum::<u64>()).sum()
    }

    fn change(&mut self, s: Slice, bank: u8, accesses: &[Access], more: bool) {
        let slice = self.slice(s);
        for &access in accesses {
            let (from, to) = self.window(&access);
            let list = list(slice, bank, access.write);
            for (block, cells) in in_blocks((from / CELL) as usize..(to / CELL) as usize + 1) {
                for c in &mut self.cells.parts_mut(block, list, 1)[0][cells] {
                    *c = if more { *c + access.share } else { c.saturating_sub(access.share) };
                }
            }
            let list = Arc::make_mut(&mut self.booked[access.kernel as usize]);
            if more {
                list.push(Booked { slice, bank, access });
            } else if let Some(n) = list.iter().rposition(|b| b.slice == slice && b.bank == bank && b.access == access)
            {
                list.remove(n);
            }
        }
    }

    /// Notes that words used like this lie in a bank.
    pub(super) fn add(&mut self, s: Slice, bank: u8, accesses: &[Access]) {
        self.change(s, bank, accesses, true);
    }

    pub(super) fn remove(&mut self, s: Slice, bank: u8, accesses: &[Access]) {
        self.change(s, bank, accesses, false);
    }
}
