//! SRAM: which slices and words hold the rows of each tensor.
//!
//! A tensor's bytes lie in as many slices as an element has bytes, in as many copies as one
//! kernel reads it at once; long tensors are cut into chunks in different slices, so that several
//! kernels find free ports. Words are used again after the last read. Knows no instruction.

mod bytes;
mod cut;
mod gathered;
mod search;
mod wished;

use super::maps::Maps;
use super::shortage::{constants, shortage};
use super::split::{
    alone, cuts, first_half, int8_passes, map_cuts, mixed, plane_rows, product_runs, segment, shared_passes,
    wave_count, wave_of,
};
use super::traffic::{Access, Traffic};
use super::{Hints, Way};
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Kind, NOTHING, RowTensor, Rows, Src, TensorId, TiledGraph};
use cut::{Cut, Written};
use quadrille_isa::tsp::{Hemisphere, Machine, Slice, ValueIx};
use std::collections::BTreeMap;
use std::sync::Arc;
pub(crate) use wished::Wish;

/// A run of words of one slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    pub(crate) slice: Slice,
    pub(crate) base: u16,
}

/// `[hemisphere][plane][row]`, west first.
type Needed = [Vec<Vec<bool>>; 2];

/// A word that holds one byte in every lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FillWord {
    pub(crate) at: Region,
    pub(crate) value: ValueIx,
}

/// For each chunk slices with a bank.
type Sets = Vec<Vec<(Slice, u32)>>;

/// A side, and where each chunk may lie there.
type Found = (Hemisphere, Sets);

/// Rows of a tensor that lie in one set of slices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// `copies[c][byte]`; for weights `copies[0][byte * slices + k]` holds rows k, k + slices, ….
    pub(crate) copies: Vec<Vec<Region>>,
    /// Cycle from which the words may be written.
    pub(crate) free_at: u32,
}

impl Chunk {
    /// True where something held the words before: the image cannot say what they hold.
    pub(crate) fn used_before(&self) -> bool {
        self.free_at > 0
    }
}

/// The place of a tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    /// Rows of a chunk, of the longest where rows have `places`.
    pub(crate) chunk_rows: u32,
    /// Chunk and word of each row, where chunks are no runs of equal length.
    places: Vec<(u16, u16)>,
    pub(crate) chunks: Vec<Chunk>,
    /// Sides on which any part lies, east first.
    sides: Vec<Hemisphere>,
    /// Side of each copy.
    copy_sides: Vec<Hemisphere>,
    /// Words of each region.
    pub(crate) words: u32,
    pub(crate) hemisphere: Option<Hemisphere>,
    /// Number of the SRAM value.
    pub(crate) value: u32,
    /// Value of the fill word, which follows the rows of each region.
    pub(crate) fill: Option<u32>,
    /// Cycle from which the fill words can be read.
    pub(crate) fill_ready: u32,
    /// Cycle from which each row can be read.
    pub(crate) ready: Vec<u32>,
    /// Last cycle in which something reads the tensor.
    pub(crate) last_read: u32,
}

impl Home {
    fn note_sides(&mut self) {
        let regions = || self.chunks.iter().flat_map(|c| c.copies.iter().flatten());
        let lies = |h: &Hemisphere| regions().any(|r| r.slice.hemisphere == *h);
        self.sides = [Hemisphere::East, Hemisphere::West].into_iter().filter(lies).collect();
        let copies = self.chunks.first().map_or(&[][..], |c| &c.copies);
        self.copy_sides = copies.iter().map(|c| c.first().map_or(Hemisphere::East, |r| r.slice.hemisphere)).collect();
    }
}

#[derive(Clone, Debug, Default)]
struct BankSpace {
    bump: u32,
    /// Words at the end that are not handed out.
    reserved: u32,
    free: Vec<(u32, u32, u32)>,
}

/// All homes and what is left.
#[derive(Clone)]
pub(crate) struct Memory {
    machine: Machine,
    usable: u32,
    bank_words: u32,
    space: Vec<BankSpace>,
    turn: [u32; 2],
    pub(crate) homes: Vec<Arc<Home>>,
    copies: Vec<u32>,
    /// Tensors that one kernel reads together, and that it reads while it writes.
    together: Arc<Vec<Vec<u32>>>,
    across: Arc<Vec<Vec<u32>>>,
    last_use: Vec<usize>,
    used: Vec<bool>,
    values: u32,
    peak_bytes: u64,
    now_bytes: u64,
    /// Words of zeros, by slice, with their value.
    pub(crate) zeros: BTreeMap<Slice, (u16, ValueIx)>,
    /// Words of bytes that stand for what lies outside of images, with the byte.
    pub(crate) fills: Vec<(u8, FillWord)>,
    /// Words that are kept for bytes that instructions copy, with the value of those that are.
    bytes: Vec<(u8, Region, Option<ValueIx>)>,
    /// Tensors that lie across the VXM from another.
    opposite: Vec<Option<TensorId>>,
    /// Tensors of which a gather reads: one run of words, the same in every slice, on both sides.
    gathered: Vec<bool>,
    /// Rows that the copy for each plane of each hemisphere (west first) must hold; nothing where every copy holds all.
    needed: Arc<Vec<Option<Needed>>>,
    /// Segments in which a plane's copy to gather from lies: waves read of one while another is written.
    segments: Vec<usize>,
    /// Who uses which slice when.
    pub(super) traffic: Traffic,
    way: Way,
    /// Rows of a wave, and how many more do not make another.
    wave: (usize, usize),
    /// Waves in which a plane's rows of a tensor are written.
    waves: Vec<u32>,
    /// True for what elementwise kernels write beside products of bytes.
    by_map: Vec<bool>,
    /// Who writes each row, of tensors that products of bytes write.
    written: Arc<Vec<Vec<Option<Written>>>>,
    by_time: bool,
    /// Other kernels go beside products of bytes.
    mixes: bool,
    /// Products of floats and moves, too.
    mixed: bool,
    /// Address maps of gathered tensors.
    pub(super) maps: Maps,
    /// Chunks as long as it takes to leave half of the slices to other tensors.
    compact: bool,
    /// Constants lie together, so that what is read with many of them finds slices that hold none.
    tight: bool,
    /// Constants take most of SRAM: what is computed leaves words that nothing has held to what must be there from the start.
    thrifty: bool,
    /// Words of a bank in which something was gathered from: how many, the bank, and the first.
    bases: Vec<(u32, u32, u32)>,
    /// What is allocated now leaves the words that address maps may need.
    keeps: bool,
    /// And a few in every bank.
    keeps_some: bool,
    /// Tables that one index goes to lie on one side.
    beside: Vec<Option<TensorId>>,
    /// Rows of a chunk at most, so that rows read or written at once are in different slices.
    apart: Vec<u32>,
    /// Where tensors are to lie, if they can.
    wishes: Arc<Vec<Option<Wish>>>,
    /// Hemispheres that load a weights tensor, east last.
    loaders: Arc<Vec<Vec<Hemisphere>>>,
    /// Weights of second planes, which are loaded while the first ones are.
    second: Vec<bool>,
}

/// How many streams of 16 a weight load fills from slices of this machine.
pub(crate) fn weight_slices(m: &Machine) -> u32 {
    let usable = m.geometry.mem_slices_per_hemisphere - m.program.reserved_slices_per_hemisphere;
    if 2 * usable >= 24 { 16 } else { 8 }
}

/// The other side of the VXM.
fn across_vxm(h: Hemisphere) -> Hemisphere {
    if h == Hemisphere::East { Hemisphere::West } else { Hemisphere::East }
}

/// What [`Memory::choose`] is asked for: `n` slices a chunk.
#[derive(Clone, Copy)]
struct Ask {
    words: u32,
    chunks: u32,
    n: u32,
    bank: u32,
    reuse: bool,
    weights: bool,
    table: bool,
    /// In the first slices that will do.
    first: bool,
    /// Rows may lie in the slices for weights too.
    all: bool,
    /// Slices of both hemispheres.
    both: bool,
    /// From this word of the bank on.
    base: Option<u32>,
}

/// One in so many words of a bank is kept from computed tensors where room is short.
const KEPT: u32 = 16;

/// One in so many words of some banks is kept for address maps.
const KEPT_FOR_MAPS: u32 = 4;

/// Room is short where constants take more than one part in so many of SRAM.
const THRIFTY: u64 = 2;

/// Rows of a chunk at least, where room is short.
const FEWEST_CHUNK_ROWS: u32 = 32;

/// A kernel of fewer than one in so many rows of a tensor does not say how its chunks are cut.
const FEW_OF: u32 = 32;

/// What the loads of weights count for where an address map may go: they read all of the outer slices.
const OUTER: u64 = 32;

/// Segments of what a plane gathers from.
const SEGMENTS: usize = 2;

/// Times as many slices for what elementwise kernels write beside products: they run ahead.
const MAP_PIECES: u32 = 2;

/// Rows of a chunk of what no product of bytes writes.
const PIECE_ROWS: u32 = 64;

/// Rows of a product of bytes at most for which each hemisphere reads its own copy.
const SHORT_ROWS: u32 = 64;

impl Memory {
    pub(super) fn new(
        g: &TiledGraph,
        m: &Machine,
        sides: &Arc<Vec<Vec<Hemisphere>>>,
        plan: crate::Plan,
        way: Way,
        hints: &Hints,
    ) -> Memory {
        let crate::Plan { compact, tight, .. } = plan;
        let n = g.tensors.len();
        let usable = m.geometry.mem_slices_per_hemisphere - m.program.reserved_slices_per_hemisphere;
        let mut mem = Memory {
            machine: m.clone(),
            usable,
            bank_words: m.words_per_bank(),
            space: vec![BankSpace::default(); 4 * m.geometry.mem_slices_per_hemisphere as usize],
            turn: [0, 0],
            homes: vec![Arc::default(); n],
            copies: vec![1; n],
            together: Arc::default(),
            across: Arc::default(),
            last_use: vec![usize::MAX; n],
            used: vec![false; n],
            values: 0,
            peak_bytes: 0,
            now_bytes: 0,
            zeros: BTreeMap::new(),
            fills: Vec::new(),
            bytes: Vec::new(),
            opposite: vec![None; n],
            gathered: vec![false; n],
            traffic: Traffic::new(g, m, sides, hints.times.as_ref()),
            way,
            wave: wave_of(g, sides),
            waves: vec![0; n],
            written: Arc::new(vec![Vec::new(); n]),
            by_map: vec![false; n],
            by_time: way.by_time && usable >= 32 && !compact && !tight,
            mixes: way.by_time && usable >= 32 && !compact,
            mixed: mixed(g),
            needed: Arc::default(),
            segments: vec![1; n],
            maps: Maps::default(),
            compact,
            tight,
            thrifty: false,
            bases: Vec::new(),
            keeps: false,
            keeps_some: false,
            beside: vec![None; n],
            apart: vec![u32::MAX; n],
            wishes: hints.wishes.clone(),
            loaders: Arc::new(vec![Vec::new(); n]),
            second: vec![false; n],
        };
        for t in &g.tensors {
            if let Init::Gather { from, .. } = &t.init {
                mem.gathered[from.0 as usize] = true;
                mem.copies[from.0 as usize] = 2;
            }
        }
        let (mut together, mut across) = (vec![Vec::new(); n], vec![Vec::new(); n]);
        for (number, k) in g.kernels.iter().enumerate() {
            let mut reads: Vec<u32> = Vec::new();
            mem.sided_wants(g, k, &sides[number]);
            mem.chain_sides(k);
            match &k.kind {
                Kind::Map { ins, .. } => reads.extend(ins.iter().map(|r| r.tensor.0)),
                Kind::MatMul { chains, ins, .. } => {
                    for p in 0..chains.iter().map(Vec::len).max().unwrap_or(0) {
                        let now: Vec<u32> =
                            chains.iter().filter_map(|c| c.get(p)).map(|p| g.stored(p.act.tensor).0).collect();
                        mem.count_copies(&now);
                        reads.extend(now);
                    }
                    let last = chains.iter().filter_map(|c| c.last()).map(|p| g.stored(p.act.tensor).0);
                    let joint: Vec<u32> = last.chain(ins.iter().map(|r| r.tensor.0)).collect();
                    mem.count_copies(&joint);
                    reads.sort_unstable();
                    reads.dedup();
                    reads.extend(
                        ins.iter()
                            .map(|r| r.tensor.0)
                            .filter(|t| !joint.is_empty() && !reads.contains(t))
                            .collect::<Vec<_>>(),
                    );
                }
                Kind::Move { passes, .. } => {
                    reads.extend(passes.iter().map(|p| g.stored(p.from.tensor).0));
                    reads.sort_unstable();
                    reads.dedup();
                }
                Kind::Gather { ids, table, out } => {
                    // The map flows from one side to the table on the other, the rows flow back.
                    match mem.opposite[ids.tensor.0 as usize] {
                        Some(first) if first != *table => mem.beside[table.0 as usize] = Some(first),
                        _ => mem.opposite[ids.tensor.0 as usize] = Some(*table),
                    }
                    mem.opposite[out.tensor.0 as usize] = Some(*table);
                    reads.extend([ids.tensor.0, table.0]);
                }
                Kind::Transpose { from, .. } => reads.push(from.0),
            }
            if matches!(k.kind, Kind::Map { .. }) {
                mem.count_copies(&reads);
            }
            let mut writes = Vec::new();
            k.each_write(|t| writes.push(t.0));
            let whole = {
                let mut w = Vec::new();
                k.each_whole(|t| w.push(t.0));
                w
            };
            for &t in reads.iter().chain(&writes).chain(&whole) {
                mem.last_use[t as usize] = number;
                mem.used[t as usize] = true;
            }
            for &a in &reads {
                for &b in &reads {
                    if a != b {
                        together[a as usize].push(b);
                    }
                }
                for &b in &writes {
                    across[a as usize].push(b);
                    across[b as usize].push(a);
                }
            }
            for &a in &writes {
                for &b in &writes {
                    if a != b {
                        together[a as usize].push(b);
                    }
                }
            }
        }
        mem.copies_for_sides(g, sides);
        mem.reserve_bytes(g);
        for number in product_runs(g, sides, mem.mixes).into_iter().flatten() {
            if let Kind::Map { outs, .. } = &g.kernels[number].kind
                && outs.iter().all(|(_, r)| !g.tensor(r.tensor).weights)
            {
                let (cuts, waves) = map_cuts(g.kernels[number].n as usize, mem.wave);
                cut::note_written(&mut Arc::make_mut(&mut mem.written)[..], g, outs, (&cuts, waves));
                outs.iter().for_each(|(_, r)| mem.by_map[r.tensor.0 as usize] = true);
            }
        }
        mem.needed_rows(g, sides);
        for o in &g.outputs {
            mem.last_use[o.tensor.0 as usize] = usize::MAX;
            mem.used[o.tensor.0 as usize] = true;
        }
        for v in together.iter_mut().chain(across.iter_mut()) {
            v.sort_unstable();
            v.dedup();
        }
        (mem.together, mem.across) = (Arc::new(together), Arc::new(across));
        mem.thrifty = !tight && !compact && constants(g, m) * THRIFTY > mem.capacity();
        mem
    }

    /// Chooses slices in another way from here on.
    pub(super) fn turn_to(&mut self, way: Way) {
        self.way = way;
        self.traffic.drift = way.drift;
    }

    /// What the planes of a product with one chain read and write at once lies apart; constants have a copy for each
    /// hemisphere, and weights lie on the side that loads them.
    fn sided_wants(&mut self, g: &TiledGraph, k: &Kernel, sides: &[Hemisphere]) {
        let (Some((passes, bytes)), Kind::MatMul { ins, outs, .. }) = (shared_passes(g, k), &k.kind) else { return };
        let planes = if bytes { self.machine.geometry.planes_per_hemisphere } else { 1 };
        let cuts = cuts(g, k, sides.len() * planes as usize);
        if bytes {
            let count = wave_count(&cuts, self.wave);
            cut::note_written(&mut Arc::make_mut(&mut self.written)[..], g, outs, (&cuts, count));
            let count = count as u32;
            outs.iter().for_each(|(_, r)| self.waves[r.tensor.0 as usize] = self.waves[r.tensor.0 as usize].max(count));
        }
        for r in passes.iter().map(|p| &p.act).chain(ins).chain(outs.iter().map(|(_, r)| r)) {
            let pairs = cuts.windows(3).flat_map(|w| r.rows[w[0]..w[1]].iter().zip(&r.rows[w[1]..w[2]]));
            let gaps = pairs.filter(|(a, b)| **a != FILL && **b != FILL);
            let least = gaps.map(|(a, b)| a.abs_diff(*b)).min().unwrap_or(u32::MAX);
            let t = r.tensor.0 as usize;
            // Shorter chunks would cost more instructions than they save cycles, and a kernel of few rows of many
            // must not cut the tensor for the others.
            if least >= 4 && k.n * FEW_OF >= g.tensor(r.tensor).rows {
                self.apart[t] = self.apart[t].min(least);
            }
            if self.usable >= 32 && matches!(g.tensor(r.tensor).init, Init::Const(_)) {
                self.copies[t] = self.copies[t].max(2);
            }
        }
        // Blocks of one node, one a hemisphere, read the same rows at once: a copy for each, where a pass is so short
        // that waiting for the other block's reads would show. Longer ones pass each other, and copies cost ports.
        if sides.len() == 1 && k.n <= SHORT_ROWS && self.usable >= 32 && !self.compact {
            for p in passes.iter().filter(|p| matches!(g.tensor(p.act.tensor).init, Init::Computed)) {
                let copies = &mut self.copies[p.act.tensor.0 as usize];
                *copies = (*copies).max(2);
            }
        }
        // Planes that share passes read rows of two passes at once, and load weights at once.
        if let Some(half) = first_half(g, k) {
            passes[half..].iter().for_each(|p| self.second[p.weights.0 as usize] = true);
            for (a, b) in passes[..half].iter().zip(&passes[half..]) {
                let least = a.act.rows.iter().zip(&b.act.rows).map(|(a, b)| a.abs_diff(*b)).min().unwrap_or(0);
                let apart = &mut self.apart[a.act.tensor.0 as usize];
                *apart = (*apart).min(least.max(1));
            }
        }
        // A gather names one run of words, so each plane has a copy to gather from.
        for t in passes.iter().filter(|p| g.stored(p.act.tensor) != p.act.tensor).map(|p| g.stored(p.act.tensor)) {
            let copies = 2 * self.machine.geometry.planes_per_hemisphere;
            self.copies[t.0 as usize] = self.copies[t.0 as usize].max(copies);
        }
        for p in passes {
            let loaders = &mut Arc::make_mut(&mut self.loaders)[p.weights.0 as usize];
            loaders.extend(sides);
            loaders.sort_unstable();
            loaders.dedup();
        }
    }

    /// Rows that several products of floats take, each on the hemisphere that is free, have a copy on each side.
    fn copies_for_sides(&mut self, g: &TiledGraph, sides: &[Vec<Hemisphere>]) {
        let mut seen: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for number in product_runs(g, sides, self.mixes).into_iter().flatten() {
            let Kind::MatMul { chains, .. } = &g.kernels[number].kind else { continue };
            let [passes] = &chains[..] else { continue };
            if int8_passes(g, &g.kernels[number]).is_some() {
                continue;
            }
            for r in passes.iter().map(|p| &p.act).filter(|r| g.stored(r.tensor) == r.tensor) {
                let times = seen.entry((r.tensor.0, r.rows.first().copied().unwrap_or(0))).or_insert(0);
                *times += 1;
                if *times == 2 && matches!(g.tensor(r.tensor).init, Init::Computed) {
                    self.copies[r.tensor.0 as usize] = self.copies[r.tensor.0 as usize].max(2);
                }
            }
        }
    }

    /// Two chains run one a hemisphere: their weights lie there.
    fn chain_sides(&mut self, k: &Kernel) {
        let Kind::MatMul { chains, .. } = &k.kind else { return };
        let [west, east] = &chains[..] else { return };
        for (chain, h) in [(west, Hemisphere::West), (east, Hemisphere::East)] {
            for p in chain {
                let loaders = &mut Arc::make_mut(&mut self.loaders)[p.weights.0 as usize];
                loaders.push(h);
                loaders.sort_unstable();
                loaders.dedup();
            }
        }
    }

    /// What the planes gather, each from a copy of its own: a copy then need not hold what others gather, and the
    /// writes of planes that work side by side go to different slices.
    fn needed_rows(&mut self, g: &TiledGraph, sides: &[Vec<Hemisphere>]) {
        let planes = self.machine.geometry.planes_per_hemisphere as usize;
        // What is taken all at once, or in one wave, leaves nothing to be gathered before it.
        let mut whole = vec![false; g.kernels.len()];
        product_runs(g, sides, self.mixes).iter().filter(|r| alone(g, r)).for_each(|r| whole[r.clone()].fill(true));
        let mut segments = vec![if self.by_time { SEGMENTS } else { 1 }; g.tensors.len()];
        for (number, k) in g.kernels.iter().enumerate() {
            let Some(passes) = int8_passes(g, k) else { continue };
            let waves = wave_count(&cuts(g, k, sides[number].len() * planes), self.wave);
            if whole[number] || waves < SEGMENTS {
                passes.iter().for_each(|p| segments[g.stored(p.act.tensor).0 as usize] = 1);
            }
        }
        let blank = |t: usize| [0, 1].map(|_| vec![vec![false; g.tensors[t].rows as usize]; planes * segments[t]]);
        let mut all_needed: Vec<Option<Needed>> = vec![None; g.tensors.len()];
        let mut all: Vec<bool> = self.gathered.iter().map(|g| !g).collect();
        g.outputs.iter().for_each(|o| all[o.tensor.0 as usize] = true);
        for (number, k) in g.kernels.iter().enumerate() {
            k.each_whole(|t| all[t.0 as usize] = true);
            let (Some(passes), Kind::MatMul { ins, .. }) = (int8_passes(g, k), &k.kind) else {
                k.each_read(|r| all[g.stored(r.tensor).0 as usize] = true);
                continue;
            };
            ins.iter().for_each(|r| all[r.tensor.0 as usize] = true);
            let cuts = cuts(g, k, sides[number].len() * planes);
            for r in passes.iter().map(|p| &p.act) {
                let stored = g.stored(r.tensor).0 as usize;
                if all[stored] {
                    continue;
                }
                let needed = all_needed[stored].get_or_insert_with(|| blank(stored));
                for (h, plane, part) in plane_rows(&cuts, &sides[number], planes) {
                    let waves = wave_count(&cuts, self.wave);
                    for i in part.clone() {
                        let row = r.rows[i];
                        let own =
                            plane * segments[stored] + segment(i - part.start, part.len(), waves, segments[stored]);
                        let marks = &mut needed[usize::from(h == Hemisphere::East)][own];
                        let words = match &g.tensor(r.tensor).init {
                            Init::Gather { sources, groups, .. } => {
                                let groups = *groups as usize;
                                &sources[row as usize * groups..(row as usize + 1) * groups]
                            }
                            _ => &[row],
                        };
                        words.iter().filter(|&&w| w < NOTHING).for_each(|&w| marks[w as usize] = true);
                    }
                }
            }
        }
        all_needed.iter_mut().zip(all).filter(|(_, all)| *all).for_each(|(n, _)| *n = None);
        for (t, n) in all_needed.iter().enumerate().filter(|(_, n)| n.is_some()) {
            self.segments[t] = segments[t];
            self.copies[t] = n.iter().flatten().map(|side| side.len() as u32).sum();
        }
        self.needed = Arc::new(all_needed);
    }

    /// True when a copy of a tensor must hold a row.
    pub(super) fn holds(&self, t: TensorId, copy: usize, row: u32) -> bool {
        self.held_rows(t, copy).is_none_or(|rows| rows[row as usize])
    }

    /// Which rows of a tensor a copy must hold; none where that is all of them.
    pub(super) fn held_rows(&self, t: TensorId, copy: usize) -> Option<&[bool]> {
        let needed = self.needed[t.0 as usize].as_ref()?;
        let h = self.side_of(t, copy);
        let plane = copy - self.copy_on(t, h, 0);
        needed[usize::from(h == Hemisphere::East)].get(plane).map(Vec::as_slice)
    }

    /// The copy from which a plane of a hemisphere reads some rows of what is gathered from.
    pub(super) fn own_copy(&self, t: TensorId, h: Hemisphere, plane: usize, rows: &[u32]) -> usize {
        let segments = self.segments[t.0 as usize];
        let first = self.copy_on(t, h, usize::from(h == Hemisphere::East)) + plane * segments;
        // Rows of one wave are in one segment.
        let holds = |s: &usize| {
            let held = self.held_rows(t, first + s);
            held.is_none_or(|held| rows.iter().all(|&r| r >= NOTHING || held[r as usize]))
        };
        first + (0..segments).find(holds).unwrap_or(0)
    }

    /// Segments of what a plane gathers from.
    pub(super) fn segments(&self, t: TensorId) -> usize {
        self.segments[t.0 as usize]
    }

    /// Sides on which a copy of a tensor must hold one of the rows, east first.
    pub(super) fn sides_holding(&self, t: TensorId, rows: &[u32]) -> Vec<Hemisphere> {
        let mut sides = self.sides_of(t).to_vec();
        if self.needed[t.0 as usize].is_some() {
            let copies = self.homes[t.0 as usize].chunks.first().map_or(0, |c| c.copies.len());
            sides
                .retain(|h| (0..copies).any(|c| self.side_of(t, c) == *h && rows.iter().any(|&r| self.holds(t, c, r))));
        }
        sides
    }

    fn count_copies(&mut self, reads: &[u32]) {
        for &t in reads {
            let n = reads.iter().filter(|&&x| x == t).count() as u32;
            self.copies[t as usize] = self.copies[t as usize].max(n);
        }
    }

    /// Number of a bank of a slice.
    fn number(&self, s: Slice, bank: u32) -> usize {
        let h = u32::from(s.hemisphere == Hemisphere::East);
        ((h * self.machine.geometry.mem_slices_per_hemisphere + u32::from(s.index)) * 2 + bank) as usize
    }

    fn bank(&mut self, s: Slice, bank: u32) -> &mut BankSpace {
        let number = self.number(s, bank);
        &mut self.space[number]
    }

    /// Slices over which the rows of weights go in turn.
    pub(crate) fn weight_slices(&self) -> u32 {
        weight_slices(&self.machine)
    }

    /// Bank of a word.
    pub(crate) fn bank_of(&self, addr: u16) -> u8 {
        (u32::from(addr) / self.bank_words) as u8
    }

    /// Names one more SRAM value.
    pub(crate) fn new_value(&mut self) -> u32 {
        self.values += 1;
        self.values - 1
    }

    /// Number of values named so far.
    pub(crate) fn values(&self) -> u32 {
        self.values
    }

    /// SRAM bytes for tensors.
    pub(super) fn capacity(&self) -> u64 {
        u64::from(self.bank_words) * 4 * u64::from(self.usable) * self.machine.lanes() as u64
    }

    /// SRAM bytes in use now.
    pub(super) fn now_bytes(&self) -> u64 {
        self.now_bytes
    }

    /// Most SRAM bytes in use at once.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Slices (and banks) that the tensor must keep clear of.
    fn clashes(&self, t: usize, slice: Slice, bank: u8) -> bool {
        let holds = |other: &u32, banked: bool| {
            self.homes[*other as usize]
                .chunks
                .iter()
                .flat_map(|c| &c.copies)
                .flatten()
                .any(|r| r.slice == slice && (!banked || self.bank_of(r.base) == bank))
        };
        self.together[t].iter().any(|o| holds(o, false)) || self.across[t].iter().any(|o| holds(o, true))
    }

    /// A slice that computed weights, which take many, keep clear of where room is short: maps there meet no write.
    pub(super) fn for_maps(&self, s: Slice) -> bool {
        self.tight && u32::from(s.index) + 16 < self.usable && s.index % 12 == 3
    }

    /// Words of a bank that what is allocated now leaves alone, if it can.
    fn kept(&self, s: Slice, bank: u32) -> u32 {
        let inner = u32::from(s.index) + 16 < self.usable;
        match (self.keeps && inner && bank == 1 && s.index % 4 == 3, self.keeps_some) {
            (true, _) => self.bank_words / KEPT_FOR_MAPS,
            (_, true) => self.bank_words / KEPT,
            _ => 0,
        }
    }

    /// Words of a bank that are handed out.
    fn limit(&mut self, s: Slice, bank: u32) -> u32 {
        self.bank_words - self.bank(s, bank).reserved
    }

    fn room(&mut self, s: Slice, bank: u32, words: u32, reuse: bool) -> Option<u32> {
        let (limit, kept) = (self.limit(s, bank), self.kept(s, bank));
        let b = self.bank(s, bank);
        if b.bump + words + kept <= limit {
            return Some(0);
        }
        if !reuse {
            return None;
        }
        b.free.iter().filter(|f| f.1 >= words).map(|f| f.2).min()
    }

    /// How often so many words find room.
    fn runs(&mut self, s: Slice, bank: u32, words: u32, reuse: bool) -> u32 {
        let (limit, kept, words) = (self.limit(s, bank), self.kept(s, bank), words.max(1));
        let b = self.bank(s, bank);
        let again = if reuse { b.free.iter().map(|f| f.1 / words).sum() } else { 0 };
        limit.saturating_sub(b.bump + kept) / words + again
    }

    fn take(&mut self, s: Slice, bank: u32, words: u32) -> Region {
        let (limit, kept) = (self.limit(s, bank), self.kept(s, bank));
        let b = self.bank(s, bank);
        let again = b.free.iter().any(|f| f.1 >= words);
        let base = if b.bump + words + if again { kept } else { 0 } <= limit {
            b.bump += words;
            b.bump - words
        } else {
            // `room` found a run; the one that is free first is taken.
            let best =
                (0..b.free.len()).filter(|&i| b.free[i].1 >= words).min_by_key(|&i| (b.free[i].2, i)).unwrap_or(0);
            let (base, len, at) = b.free[best];
            if len == words {
                b.free.remove(best);
            } else {
                b.free[best] = (base + words, len - words, at);
            }
            base
        };
        Region { slice: s, base: (bank * self.bank_words + base) as u16 }
    }

    /// Weights that no plane asks for in particular get a home in this hemisphere, if it has room.
    pub(crate) fn prefer(&mut self, g: &TiledGraph, t: TensorId, h: Hemisphere) {
        let i = t.0 as usize;
        if g.tensors[i].weights && self.loaders[i].is_empty() {
            Arc::make_mut(&mut self.loaders)[i].push(h);
        }
    }

    /// Finds a home for a tensor. `hint` is the hemisphere to try first.
    pub(crate) fn allocate(&mut self, g: &TiledGraph, t: TensorId) -> Result<(), CompileError> {
        let i = t.0 as usize;
        let info = &g.tensors[i];
        if !self.homes[i].chunks.is_empty() {
            return Ok(());
        }
        let width = u32::from(info.ty.bytes());
        let value = self.new_value();
        let fill = info.fill.map(|_| self.new_value());
        let gathered = self.gathered[i];
        // A gather names one value, so the fill word of its source is a word of that value.
        let fill = if gathered { info.fill.map(|_| value) } else { fill };
        let extra = u32::from(info.fill.is_some());
        let spread = info.weights && self.usable < weight_slices(&self.machine);
        // Weights that both hemispheres load have a home in each, but for computed ones: these are written once.
        let once = matches!(info.init, Init::Computed);
        let homes: Vec<Option<Hemisphere>> = match &self.loaders[i][..] {
            [] => vec![None],
            [_, _] if once => vec![None],
            _ if spread => vec![None],
            l => l.iter().map(|h| Some(*h)).collect(),
        };
        let most = self.chunk_most(i, info, extra);
        let per_chunk = if info.weights { weight_slices(&self.machine) } else { width * self.copies[i] };
        let whole = info.weights || info.table || gathered;
        // Some words are left for what must be there from the start: address maps, words of zeros.
        self.keeps = self.tight;
        self.keeps_some = (self.tight || self.thrifty) && matches!(info.init, Init::Computed);
        let mut chunk_rows = if info.weights { info.rows } else { info.rows.min(most).max(1) };
        let (mut words, mut chunks, mut found) = (0, 0, None);
        let mut places = Vec::new();
        let per_copy = if info.weights { weight_slices(&self.machine) } else { width };
        if let Some(wish) = self.wishes.get(i).copied().flatten() {
            chunk_rows = if info.weights { info.rows } else { info.rows.div_ceil(wish.chunks).clamp(1, most) };
            words = if info.weights { info.rows.div_ceil(per_copy) * width } else { chunk_rows + extra };
            chunks = if info.weights { 1 } else { info.rows.div_ceil(chunk_rows).max(1) };
            found = self.wished(i, wish, (per_chunk / per_copy, per_copy, words, chunks));
        }
        // In short chunks whose slices are chosen by time, if they can be.
        let first = self.tight && matches!(info.init, Init::Const(_));
        if found.is_none() && self.by_time && !info.weights && !info.table && !first {
            let even = Cut::even(info.rows, chunk_rows.min(self.piece(i, info)).max(1));
            let passing = matches!(info.init, Init::Computed) && !g.outputs.iter().any(|o| o.tensor == t);
            let pieces = self.way.pieces * if self.by_map[i] { MAP_PIECES } else { 1 };
            let by_wave = (passing && !gathered && (self.by_map[i] || self.way.by_wave))
                .then(|| cut::by_wave(&self.written[i], pieces))
                .flatten();
            for cut in by_wave.into_iter().filter(|c| c.rows <= most).chain([even]) {
                (words, chunks) = (cut.rows + extra, cut.chunks());
                let uses = self.uses(g, t, chunks, &|row| cut.chunk_of(row));
                found = self.search_by_time(i, info.rows, (width, per_chunk, words), &cut.banks, &uses);
                if found.is_some() {
                    (chunk_rows, places) = (cut.rows, cut.places);
                    break;
                }
            }
        }
        while found.is_none() {
            words = if info.weights { info.rows.div_ceil(per_chunk) * width } else { chunk_rows + extra };
            chunks = if info.weights { 1 } else { info.rows.div_ceil(chunk_rows).max(1) };
            let sizes = (width, per_chunk, words, chunks, spread);
            for own in &homes {
                let Some((h, sets)) = self.search(i, info, *own, sizes) else {
                    // One home must do where there is no room for a second.
                    continue;
                };
                found = match found {
                    None => Some((h, sets)),
                    // Of weights: one chunk, whose second copy follows the first.
                    Some((first, mut all)) => {
                        all.iter_mut().zip(sets).for_each(|(a, b): (&mut Vec<_>, _)| a.extend(b));
                        Some((first, all))
                    }
                };
            }
            if found.is_none() && !self.loaders[i].is_empty() {
                found = self.search(i, info, None, sizes);
            }
            if found.is_some() {
                break;
            }
            // What is left of full slices may do for shorter chunks; at last, what was to be left alone.
            if !whole && chunk_rows > FEWEST_CHUNK_ROWS {
                chunk_rows = (chunk_rows / 2).max(FEWEST_CHUNK_ROWS);
            } else if self.keeps || self.keeps_some {
                (self.keeps, self.keeps_some) = (false, false);
            } else {
                break;
            }
        }
        // What others wish for may leave no slice that meets nothing.
        if found.is_none() && !self.wishes.is_empty() && !gathered && !info.table {
            found = self.wished(i, Wish::at(Hemisphere::East, 0), (per_chunk / per_copy, per_copy, words, chunks));
        }
        let regions = per_chunk * chunks;
        let lanes = self.machine.lanes() as u64;
        let need = u64::from(words) * u64::from(regions) * lanes;
        let fail = |mem: &Memory, reason: &str| shortage(mem, (g, &mem.machine), (t, need), reason);
        if (info.table || gathered) && info.rows + extra > self.bank_words {
            return Err(fail(self, &format!("a gather reads one bank of {} words", self.bank_words)));
        }
        let Some((h, sets)) = found else {
            let reason = "no hemisphere has enough slices with room that keep clear of the tensors read with it";
            return Err(fail(self, reason));
        };
        let mut home = Home {
            chunk_rows,
            places,
            words,
            value,
            fill,
            hemisphere: Some(h),
            ready: vec![0; info.rows as usize],
            ..Home::default()
        };
        for set in sets {
            let free_at = set.iter().filter_map(|&(s, bank)| self.room(s, bank, words, true)).max().unwrap_or(0);
            let base = if gathered { self.common_base(&set, words, true) } else { None };
            if let Some((base, _)) = base.filter(|_| self.thrifty) {
                let known = (words, set[0].1, base);
                if !self.bases.contains(&known) {
                    self.bases.push(known);
                }
            }
            let (free_at, taken) = match base {
                Some((base, at)) => (at, set.iter().map(|&(s, bank)| self.take_at(s, bank, base, words)).collect()),
                None => (free_at, set.iter().map(|&(s, bank)| self.take(s, bank, words)).collect::<Vec<Region>>()),
            };
            self.now_bytes += u64::from(words) * taken.len() as u64 * lanes;
            let copies = taken.chunks(per_copy as usize).map(<[Region]>::to_vec).collect();
            home.chunks.push(Chunk { copies, free_at });
        }
        home.note_sides();
        (self.keeps, self.keeps_some) = (false, false);
        self.peak_bytes = self.peak_bytes.max(self.now_bytes);
        self.homes[i] = Arc::new(home);
        if self.by_time && !info.weights {
            self.note_uses(g, t);
        } else if self.by_time && self.thrifty {
            self.note_loads(g, t);
        }
        Ok(())
    }

    /// Books the loads of weights that lie among rows.
    fn note_loads(&mut self, g: &TiledGraph, t: TensorId) {
        let loads = self.traffic.loads(g, t);
        let regions = self.homes[t.0 as usize].chunks.iter().flat_map(|c| c.copies.iter().flatten());
        let inner: Vec<Region> = regions.filter(|r| u32::from(r.slice.index) + 16 < self.usable).copied().collect();
        for r in inner {
            self.traffic.add(r.slice, self.bank_of(r.base), &loads);
        }
    }

    /// Rows of a chunk at most.
    fn chunk_most(&self, i: usize, info: &RowTensor, extra: u32) -> u32 {
        if info.weights {
            return info.rows;
        }
        if info.table || self.gathered[i] {
            return self.bank_words - extra;
        }
        let n = u32::from(info.ty.bytes()) * self.copies[i];
        let slices = if self.usable >= 32 { self.usable - 16 } else { self.usable };
        let sets = (slices / (2 * n)).max(1);
        let chunk = self.way.chunk;
        let rows = if self.compact { chunk.max(info.rows.div_ceil(sets) + extra) } else { chunk };
        rows.min(self.bank_words).min(self.apart[i].saturating_add(extra)) - extra
    }

    /// A bank with words that nothing has held yet, in a slice that `fits` takes, for what lies in the image and is used so;
    /// and what that costs.
    pub(super) fn fresh(
        &mut self,
        words: u32,
        uses: &[Access],
        mut fits: impl FnMut(Slice, u8) -> bool,
    ) -> Option<(u64, Slice, u32)> {
        let turn = self.turn[0];
        let mut best: Option<(u64, Slice, u32)> = None;
        for k in 0..self.usable {
            for hemisphere in [Hemisphere::East, Hemisphere::West] {
                let s = Slice { hemisphere, index: ((turn + k) % self.usable) as u8 };
                for bank in 0..2 {
                    if !fits(s, bank as u8) || self.room(s, bank, words, false).is_none() {
                        continue;
                    }
                    if !self.by_time {
                        return Some((0, s, bank));
                    }
                    let outer = u32::from(s.index) + 16 >= self.usable;
                    let cost = self.traffic.cost(s, bank as u8, uses);
                    let Some(cost) = cost.map(|c| c + if outer { OUTER * Traffic::cells_of(uses) } else { 0 }) else {
                        continue;
                    };
                    if best.is_none_or(|b| cost < b.0) {
                        best = Some((cost, s, bank));
                    }
                }
            }
        }
        best
    }

    /// Takes what [`Memory::fresh`] found.
    pub(super) fn take_fresh(&mut self, s: Slice, bank: u32, words: u32, uses: &[Access]) -> Region {
        self.turn[0] += 1;
        self.traffic.add(s, bank as u8, uses);
        self.take(s, bank, words)
    }

    /// Rows of a chunk where slices are chosen by time: as many as some waves of a plane, since a bank is read or written.
    fn piece(&self, i: usize, info: &RowTensor) -> u32 {
        if self.gathered[i] {
            return u32::MAX;
        }
        let part = info.rows.div_ceil(2 * self.machine.geometry.planes_per_hemisphere);
        let waves = if self.waves[i] > 0 { self.waves[i] } else { (part / PIECE_ROWS).max(1) };
        part.div_ceil(waves.div_ceil(waves.div_ceil(self.way.pieces))).max(1)
    }

    /// When the chunks of a tensor's copies are used; copies to gather from by plane, west first.
    fn uses(&self, g: &TiledGraph, t: TensorId, chunks: u32, chunk_of: &dyn Fn(u32) -> u32) -> Vec<Vec<Vec<Access>>> {
        let i = t.0 as usize;
        let needed = &self.needed[i];
        let holds = |team: usize, plane: usize, row: u32| {
            needed.as_ref().is_none_or(|n| n[team.min(1)].get(plane).is_none_or(|rows| rows[row as usize]))
        };
        self.traffic.accesses(g, t, (chunk_of, chunks, self.copies[i]), (self.gathered[i], self.segments[i], holds))
    }

    /// The uses of a copy, the `n`-th on its side.
    fn uses_of_copy<'u>(
        &self,
        i: usize,
        uses: &'u [Vec<Access>],
        side: Hemisphere,
        n: usize,
        copy: usize,
    ) -> &'u [Access] {
        let by_plane = usize::from(side == Hemisphere::East) * (uses.len() / 2) + n;
        let at = if self.gathered[i] { by_plane } else { copy };
        uses.get(at.min(uses.len().saturating_sub(1))).map_or(&[], Vec::as_slice)
    }

    /// Books the uses of a tensor that has its home.
    fn note_uses(&mut self, g: &TiledGraph, t: TensorId) {
        let i = t.0 as usize;
        let chunks = self.homes[i].chunks.clone();
        let last = chunks.len().saturating_sub(1);
        let uses = self.uses(g, t, chunks.len() as u32, &|row| self.split(t, row).0.min(last) as u32);
        for (chunk, uses) in chunks.iter().zip(&uses) {
            for (copy, regions) in chunk.copies.iter().enumerate() {
                let side = regions[0].slice.hemisphere;
                let n = chunk.copies[..copy].iter().filter(|c| c[0].slice.hemisphere == side).count();
                let own = self.uses_of_copy(i, uses, side, n, copy).to_vec();
                for r in regions {
                    self.traffic.add(r.slice, self.bank_of(r.base), &own);
                }
            }
        }
    }

    /// The copy of a tensor on a side; `otherwise` where all lie on one side.
    pub(super) fn copy_on(&self, t: TensorId, h: Hemisphere, otherwise: usize) -> usize {
        let home = &self.homes[t.0 as usize];
        if home.sides.len() < 2 { otherwise } else { home.copy_sides.iter().position(|s| *s == h).unwrap_or(otherwise) }
    }

    /// Gives back the words of tensors whose last kernel was `kernel`.
    pub(crate) fn release(&mut self, g: &TiledGraph, kernel: usize) {
        for t in 0..g.tensors.len() {
            if self.last_use[t] != kernel || self.homes[t].chunks.is_empty() {
                continue;
            }
            if self.hand_over(g, t) {
                continue;
            }
            let (words, at) = (self.homes[t].words, self.homes[t].last_read + 1);
            let regions: Vec<Region> =
                self.homes[t].chunks.iter().flat_map(|c| c.copies.iter().flatten().copied()).collect();
            self.now_bytes -= u64::from(words) * regions.len() as u64 * self.machine.lanes() as u64;
            for r in regions {
                let bank = u32::from(self.bank_of(r.base));
                let base = u32::from(r.base) - bank * self.bank_words;
                let list = &mut self.bank(r.slice, bank).free;
                list.push((base, words, at));
                list.sort_unstable();
                let mut merged: Vec<(u32, u32, u32)> = Vec::with_capacity(list.len());
                for f in list.drain(..) {
                    match merged.last_mut() {
                        Some(m) if m.0 + m.1 == f.0 => *m = (m.0, m.1 + f.1, m.2.max(f.2)),
                        _ => merged.push(f),
                    }
                }
                *list = merged;
            }
            // Weights keep their home: the image is written from it.
        }
    }

    /// Slice and word of byte `byte` of a row; the fill row is the one of chunk `near`.
    pub(crate) fn place_of(&self, g: &TiledGraph, t: TensorId, copy: usize, byte: u8, row: u32, near: usize) -> Region {
        let h = &self.homes[t.0 as usize];
        if g.tensor(t).weights {
            let p = weight_slices(&self.machine);
            let copies = &h.chunks[0].copies;
            let turn = u32::from(byte) * self.bytes_apart(g, t);
            let r = copies[copy.min(copies.len() - 1)][((row + turn) % p) as usize];
            let rows = h.words / u32::from(g.tensor(t).ty.bytes());
            return Region { slice: r.slice, base: r.base + (u32::from(byte) * rows + row / p) as u16 };
        }
        let (chunk, word) = if row == FILL { (near, h.chunk_rows) } else { self.split(t, row) };
        let copies = &h.chunks[chunk].copies;
        let r = copies[copy.min(copies.len() - 1)][usize::from(byte)];
        Region { slice: r.slice, base: r.base + word as u16 }
    }

    /// Slices by which the high byte of computed f16 weights lies further on than the low one, so that both are written at once.
    pub(super) fn bytes_apart(&self, g: &TiledGraph, t: TensorId) -> u32 {
        let (info, slices) = (g.tensor(t), weight_slices(&self.machine));
        let both = info.weights && info.ty.bytes() == 2 && matches!(info.init, Init::Computed);
        if self.mixed && both && slices == 16 && self.usable >= slices { slices / 2 } else { 0 }
    }

    fn split(&self, t: TensorId, row: u32) -> (usize, u32) {
        let home = &self.homes[t.0 as usize];
        if let Some(&(chunk, word)) = home.places.get(row as usize) {
            return (chunk.into(), word.into());
        }
        let rows = home.chunk_rows.max(1);
        ((row / rows) as usize, row % rows)
    }

    /// Chunk of a row.
    pub(crate) fn chunk_of(&self, t: TensorId, row: u32) -> usize {
        self.split(t, row).0
    }

    /// True when a kernel or an output takes the tensor.
    pub(crate) fn used(&self, t: TensorId) -> bool {
        self.used[t.0 as usize]
    }

    /// Side of a copy of a tensor.
    pub(crate) fn side_of(&self, t: TensorId, copy: usize) -> Hemisphere {
        let sides = &self.homes[t.0 as usize].copy_sides;
        sides.get(copy.min(sides.len().saturating_sub(1))).copied().unwrap_or(Hemisphere::East)
    }

    /// Sides on which any part of a tensor lies, east first.
    pub(crate) fn sides_of(&self, t: TensorId) -> &[Hemisphere] {
        &self.homes[t.0 as usize].sides
    }

    /// A word of zeros in a slice that is none of `not`.
    pub(crate) fn zero_word(&mut self, not: &[Slice]) -> Option<(Slice, u16, ValueIx)> {
        if let Some((s, z)) = self.zeros.iter().find(|(s, _)| !not.contains(s)) {
            return Some((*s, z.0, z.1));
        }
        for index in (0..self.usable).rev() {
            for hemisphere in [Hemisphere::East, Hemisphere::West] {
                let s = Slice { hemisphere, index: index as u8 };
                for bank in 0..2 {
                    // Only words that nothing has held: the zeros are there from the start.
                    if !not.contains(&s) && self.room(s, bank, 1, false).is_some() {
                        let r = self.take(s, bank, 1);
                        let value = ValueIx(self.new_value());
                        self.zeros.insert(s, (r.base, value));
                        return Some((s, r.base, value));
                    }
                }
            }
        }
        None
    }

    /// A word of some byte in one of the slices for rows that is none of `not`, on a machine with slices to spare, for
    /// what reads it so.
    pub(super) fn fill_word(&mut self, byte: u8, uses: &[Access], not: &[Slice]) -> Option<FillWord> {
        if self.usable < 32 {
            return None;
        }
        let known = self.fills.iter().filter(|(b, f)| *b == byte && !not.contains(&f.at.slice)).map(|(_, f)| *f);
        let cost = |f: &FillWord| self.traffic.cost(f.at.slice, self.bank_of(f.at.base), uses);
        let known = known.filter_map(|f| cost(&f).map(|c| (c, f))).min_by_key(|(c, _)| *c);
        let inner = self.usable - 16;
        let fresh = self.fresh(1, uses, |s, _| u32::from(s.index) < inner && !not.contains(&s));
        match (known, fresh) {
            (Some((cost, f)), fresh) if fresh.is_none_or(|n| cost <= n.0) => {
                let bank = self.bank_of(f.at.base);
                self.traffic.add(f.at.slice, bank, uses);
                Some(f)
            }
            (_, Some((_, s, bank))) => {
                let at = self.take_fresh(s, bank, 1, uses);
                let fill = FillWord { at, value: ValueIx(self.new_value()) };
                self.fills.push((byte, fill));
                Some(fill)
            }
            _ => None,
        }
    }

    /// Slices that hold rows of tensors.
    pub(super) fn slices_of(&self, t: TensorId) -> impl Iterator<Item = Slice> {
        self.homes[t.0 as usize].chunks.iter().flat_map(|c| c.copies.iter().flatten()).map(|r| r.slice)
    }

    /// Rows of a wave, and how many more do not make another.
    pub(super) fn wave(&self) -> (usize, usize) {
        self.wave
    }

    /// True where constants take most of SRAM.
    pub(super) fn is_thrifty(&self) -> bool {
        self.thrifty
    }

    /// True where constants lie together.
    pub(super) fn is_tight(&self) -> bool {
        self.tight
    }

    /// True where slices are chosen by when else they are used.
    pub(super) fn by_time(&self) -> bool {
        self.by_time
    }

    /// True where other kernels go beside products of bytes.
    pub(super) fn mixes(&self) -> bool {
        self.mixes
    }

    /// Banks that hold rows of tensors.
    pub(super) fn banks_of(&self, t: TensorId) -> Vec<(Slice, u8)> {
        let regions = self.homes[t.0 as usize].chunks.iter().flat_map(|c| c.copies.iter().flatten());
        regions.map(|r| (r.slice, self.bank_of(r.base))).collect()
    }

    /// True when a tensor is gathered from.
    pub(super) fn is_gathered(&self, t: TensorId) -> bool {
        self.gathered[t.0 as usize]
    }

    /// True when the tensor lies in SRAM from the start.
    pub(crate) fn is_initial(g: &TiledGraph, t: TensorId) -> bool {
        matches!(g.tensor(t).init, Init::Const(_) | Init::Input { .. })
    }
}
