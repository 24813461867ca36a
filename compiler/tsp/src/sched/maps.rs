//! Constant gathers: address maps in SRAM, and rows put together superlane by superlane.
//!
//! A gathered tensor is never stored. For each of its rows a map word says which word of the source
//! each superlane reads. Maps lie upstream of the source, so that one map stream serves all bytes, and
//! equal maps are one: tensors of one geometry at one base share them. Knows no kernel.

use super::Scheduler;
use super::burst::{At, Burst, Def, Proto, StreamNo, Touch, Use};
use super::memory::{Memory, Region};
use super::rows::{Effects, repeat, runs};
use super::split::int8_passes;
use super::traffic::{NO_TENSOR, Traffic};
use super::waits::Cause;
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Kind, NOTHING, TensorId, TiledGraph};
use quadrille_isa::tsp::{Column, Dir, Hemisphere, MAP_NONE, QueueId, Slice, Thread, ValueIx};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a map of its own may save for each cell of its use, in squares of 1/16, before it is worth its words.
const SHARED: u64 = 1;

/// Maps on each side for a place from which many tensors are gathered, one after another: where one of them is not clear of
/// what a kernel reads and writes, another may be.
const MAPS_A_SIDE: usize = 4;

/// A map in SRAM.
#[derive(Clone, Debug)]
pub(crate) struct MapHome {
    pub(crate) at: Region,
    pub(crate) value: ValueIx,
    /// Word addresses, one a superlane, row after row.
    pub(crate) words: Arc<[u16]>,
    /// Superlanes of a row.
    pub(crate) groups: usize,
}

/// Home of a map of some rows, and these.
type Part = (usize, Arc<Vec<u32>>);

/// All maps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maps {
    pub(crate) homes: Vec<MapHome>,
    /// Homes of equal content.
    same: BTreeMap<Arc<[u16]>, Vec<usize>>,
    /// Home for a gathered tensor whose rows flow in a direction, for each reader of a hemisphere.
    of: BTreeMap<(u32, bool, usize), usize>,
    /// Of kernels that read few of the rows: a home for just these, and which they are.
    part: BTreeMap<(usize, u32, bool), Part>,
}

/// A kernel that reads no more than one in so many rows of a gathered tensor has a map of these.
const PART: usize = 4;

/// The rows of a gathered tensor that a kernel reads, in ascending order, where they are few.
fn few_rows(g: &TiledGraph, k: &Kernel, t: TensorId) -> Option<Arc<Vec<u32>>> {
    let mut rows = Vec::new();
    k.each_read(|r| {
        if r.tensor == t {
            rows.extend(&r.rows);
        }
    });
    rows.sort_unstable();
    rows.dedup();
    (rows.len() * PART <= g.tensor(t).rows as usize).then(|| Arc::new(rows))
}

impl Memory {
    /// Word addresses of a gathered tensor's rows.
    fn map_words(&self, g: &TiledGraph, t: TensorId) -> Option<(Arc<[u16]>, usize)> {
        let Init::Gather { from, sources, groups } = &g.tensor(t).init else { return None };
        let home = &self.homes[from.0 as usize];
        let base = home.chunks.first()?.copies.first()?.first()?.base;
        let word = |&s: &u32| match s {
            NOTHING => MAP_NONE,
            FILL => base + home.chunk_rows as u16,
            s => base + s as u16,
        };
        Some((sources.iter().map(word).collect(), *groups as usize))
    }

    /// Slices of a side that are kept for maps.
    fn free_for_maps(&self, hemisphere: Hemisphere) -> Vec<Slice> {
        (0..u8::MAX).map(|index| Slice { hemisphere, index }).filter(|&s| self.for_maps(s)).collect()
    }

    /// Puts a map into the image.
    fn new_map(&mut self, at: Region, words: Arc<[u16]>, groups: usize) -> usize {
        let value = ValueIx(self.new_value());
        let n = self.maps.homes.len();
        self.maps.homes.push(MapHome { at, value, words: words.clone(), groups });
        self.maps.same.entry(words).or_default().push(n);
        n
    }

    /// Maps of what is gathered from a tensor, some on each side, while there is room.
    pub(super) fn spread_maps(&mut self, g: &TiledGraph, from: TensorId) {
        let mut busy: Vec<Slice> = self.slices_of(from).collect();
        for n in 0..g.tensors.len() as u32 {
            let gathered = TensorId(n);
            if g.stored(gathered) != from || gathered == from {
                continue;
            }
            let Some((words, groups)) = self.map_words(g, gathered) else { continue };
            let rows = (words.len() / groups.max(1)) as u32;
            for h in [Hemisphere::West, Hemisphere::East].into_iter().cycle().take(2 * MAPS_A_SIDE) {
                let apart: Vec<Slice> = self.free_for_maps(h);
                let mut fits = |all: bool| {
                    self.fresh(rows, &[], |s, _| s.hemisphere == h && !busy.contains(&s) && (all || apart.contains(&s)))
                };
                if let Some((_, slice, bank)) = fits(false).or_else(|| fits(true)) {
                    let at = self.take_fresh(slice, bank, rows, &[]);
                    busy.push(at.slice);
                    self.new_map(at, words.clone(), groups);
                }
            }
        }
    }

    /// Address maps of every program word: for the image.
    pub(crate) fn map_homes(&self) -> &[MapHome] {
        &self.maps.homes
    }

    /// The map by which a kernel reads a gathered tensor, and its rows where these are not all.
    fn map_of(&self, here: usize, t: TensorId, dir: Dir, reader: usize) -> Option<(&MapHome, Option<&[u32]>)> {
        let east = dir == Dir::East;
        if let Some((n, rows)) = self.maps.part.get(&(here, t.0, east)) {
            return Some((&self.maps.homes[*n], Some(rows)));
        }
        self.maps.of.get(&(t.0, east, reader)).map(|&n| (&self.maps.homes[n], None))
    }
}

impl Scheduler<'_> {
    /// Gives the maps of a kernel their words, clear of all that the kernel reads and writes.
    pub(super) fn place_maps(&mut self, here: usize) -> Result<(), CompileError> {
        let k = &self.g.kernels[here];
        let mut wanted: Vec<TensorId> = Vec::new();
        k.each_read(|r| wanted.push(r.tensor));
        wanted.sort_unstable();
        wanted.dedup();
        let used: Vec<TensorId> = wanted.iter().map(|&t| self.g.stored(t)).collect();
        wanted.retain(|&t| self.g.stored(t) != t);
        if wanted.is_empty() {
            return Ok(());
        }
        if !matches!(k.kind, Kind::MatMul { .. } | Kind::Move { .. }) {
            return Err(self.no_map(k, "only activations are gathered"));
        }
        // Who takes bytes has slices chosen by time.
        let bytes = int8_passes(self.g, k).is_some();
        let mut busy: Vec<Slice> = Vec::new();
        let mut written: Vec<(Slice, u8)> = Vec::new();
        if !bytes || !self.memory.by_time() {
            used.into_iter().for_each(|t| busy.extend(self.memory.slices_of(t)));
            // A slice may be read and written at once in different banks.
            k.each_write(|t| written.extend(self.memory.banks_of(t)));
        }
        // Planes that take bytes read rows of their own, each with a map of its own.
        let planes = self.m.geometry.planes_per_hemisphere as usize;
        let readers = if bytes { planes } else { 1 };
        let mut maps: Vec<(TensorId, Slice)> = Vec::new();
        for (dir, reader) in [Dir::East, Dir::West].into_iter().flat_map(|d| (0..readers).map(move |r| (d, r))) {
            for &t in &wanted {
                let Some((mut words, groups)) = self.memory.map_words(self.g, t) else { continue };
                let key = (t.0, dir == Dir::East, reader);
                let part = if bytes || self.memory.is_tight() { None } else { few_rows(self.g, k, t) };
                if let Some(rows) = &part {
                    words = rows
                        .iter()
                        .flat_map(|&r| &words[r as usize * groups..(r as usize + 1) * groups])
                        .copied()
                        .collect();
                }
                let note = |maps: &mut Maps, n: usize| match &part {
                    Some(rows) => _ = maps.part.insert((here, t.0, key.1), (n, rows.clone())),
                    None => _ = maps.of.insert(key, n),
                };
                let upstream = |s: Slice, bank: u8| {
                    s.hemisphere.inward() == dir && !busy.contains(&s) && !written.contains(&(s, bank))
                };
                // Clear of the other maps, or at least of those that are read at the same time.
                let clear = |s: Slice, all: bool| !maps.iter().any(|m| m.1 == s && (all || m.0 == t));
                // A plane reads one map at a time.
                let share = (16 / wanted.len() as u32).max(1);
                let team = u8::from(dir == Dir::East);
                let uses = [self.memory.traffic.all_along(self.g, here, (team, reader as u8), NO_TENSOR, share)];
                let free = |s: Slice, bank: u8, all: bool| upstream(s, bank) && clear(s, all);
                let known = self.memory.maps.same.get(&words).map(Vec::as_slice).unwrap_or_default();
                let known: Vec<(usize, Region)> = known.iter().map(|&n| (n, self.memory.maps.homes[n].at)).collect();
                let cost = |r: &Region| {
                    if !self.memory.by_time() {
                        return Some(0);
                    }
                    self.memory.traffic.cost(r.slice, self.memory.bank_of(r.base), &uses)
                };
                let shared = [true, false].iter().find_map(|&all| {
                    let known = known.iter().filter(|(_, r)| free(r.slice, self.memory.bank_of(r.base), all));
                    known.filter_map(|&(n, r)| cost(&r).map(|c| (c, n, r))).min_by_key(|&(c, n, _)| (c, n))
                });
                let rows = (words.len() / groups.max(1)) as u32;
                let mut fresh = self.memory.fresh(rows, &uses, |s, bank| free(s, bank, true));
                if fresh.is_none() && shared.is_none() {
                    fresh = self.memory.fresh(rows, &uses, |s, bank| free(s, bank, false));
                }
                if let Some((cost, n, at)) = shared
                    && fresh.is_none_or(|f| cost <= f.0 + SHARED * Traffic::cells_of(&uses))
                {
                    let bank = self.memory.bank_of(at.base);
                    self.memory.traffic.add(at.slice, bank, &uses);
                    maps.push((t, at.slice));
                    note(&mut self.memory.maps, n);
                    continue;
                }
                let Some((_, slice, bank)) = fresh else {
                    return Err(self.no_map(k, "no slice upstream has room for an address map"));
                };
                let at = self.memory.take_fresh(slice, bank, rows, &uses);
                maps.push((t, at.slice));
                let n = self.memory.new_map(at, words, groups);
                note(&mut self.memory.maps, n);
            }
        }
        Ok(())
    }

    fn no_map(&self, k: &Kernel, reason: &str) -> CompileError {
        CompileError::DoesNotFit {
            what: format!("a gather of node `{}`", self.g.nodes[k.node.0 as usize]),
            need: 1,
            have: 0,
            reason: reason.into(),
            remedy: "a machine description with more SRAM or more slices".into(),
        }
    }

    /// Reads rows of a gathered tensor, by a reader of the hemisphere that they flow to, so that row 0 is at `dest` in cycle `at`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn gather_rows(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        (t, reader): (TensorId, usize),
        rows: &[u32],
        dir: Dir,
        step: u32,
        dest: Column,
        at: i64,
    ) -> StreamNo {
        self.gather_bytes(b, e, (t, reader), 0..self.g.tensor(t).ty.bytes(), rows, dir, step, dest, at)
    }

    /// The same with some bytes of the elements.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn gather_bytes(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        (t, reader): (TensorId, usize),
        bytes: std::ops::Range<u8>,
        rows: &[u32],
        dir: Dir,
        step: u32,
        dest: Column,
        at: i64,
    ) -> StreamNo {
        let stream = b.stream(dir, bytes.len() as u8, step);
        // `place_maps` came before, and the source lies on both sides.
        let (Some((map, of)), Init::Gather { from, sources, groups }) =
            (self.memory.map_of(self.now, t, dir, reader), &self.g.tensor(t).init)
        else {
            return stream;
        };
        let home = &self.memory.homes[from.0 as usize];
        let side =
            if dir == Dir::East { quadrille_isa::tsp::Hemisphere::East } else { quadrille_isa::tsp::Hemisphere::West };
        let groups_of = |row: u32| &sources[row as usize * *groups as usize..(row as usize + 1) * *groups as usize];
        let read: Vec<u32> = rows.iter().flat_map(|&r| groups_of(r)).copied().collect();
        let copy = self.memory.own_copy(*from, side, reader, &read);
        let n = rows.len() as u32;
        let gather = i64::from(self.m.latency.mem_gather);
        // One map stream serves all slices: map and rows flow the same way.
        let map_stream = b.stream(dir, 1, step);
        let column = self.m.slice_column(map.at.slice);
        let drive = at - gather - self.hops(dir, column, dest);
        // The rows of a part are those that its kernel reads.
        let word = |r: u32| of.map_or(r as usize, |of| of.partition_point(|&x| x < r)) as u16;
        let places: Vec<(Region, bool)> =
            rows.iter().map(|&r| (Region { slice: map.at.slice, base: map.at.base + word(r) }, false)).collect();
        for run in runs(&places, |addr| self.memory.bank_of(addr)) {
            let t = drive + i64::from(run.off * step);
            let touch = Touch {
                slice: run.at.slice,
                bank: self.memory.bank_of(run.at.base),
                value: map.value,
                addr: run.at.base,
                step: run.step,
            };
            let proto = Proto::Read { addr: run.at.base, to: map_stream, byte: 0 };
            let queue = At::Queue(QueueId::Mem(run.at.slice, Thread::Read));
            let issue = t - i64::from(self.m.latency.mem_read);
            let inst = b.inst(queue, issue, repeat(run.n, step, run.step), proto, Some(touch));
            b.def(map_stream, Def { inst, byte: 0, bytes: 1, out: 0, off: run.off, n: run.n, t, column });
        }
        let words = home.words as u16;
        let mut first = i64::MAX;
        let regions = &home.chunks[0].copies[copy][usize::from(bytes.start)..usize::from(bytes.end)];
        for (byte, r) in regions.iter().enumerate() {
            let column = self.m.slice_column(r.slice);
            let drive = at - self.hops(dir, column, dest);
            let issue = drive - gather;
            first = first.min(issue);
            let proto = Proto::Gather {
                map: map_stream,
                map_byte: 0,
                lo: r.base,
                hi: r.base + words,
                to: stream,
                byte: byte as u8,
            };
            let touch = Touch {
                slice: r.slice,
                bank: self.memory.bank_of(r.base),
                value: ValueIx(home.value),
                addr: r.base,
                step: i32::from(words),
            };
            let queue = At::Queue(QueueId::Mem(r.slice, Thread::Read));
            let inst = b.inst(queue, issue, repeat(n, step, 0), proto, Some(touch));
            b.use_(map_stream, Use { inst, slot: 0, byte: 0, bytes: 1, off: 0, n, column });
            b.def(stream, Def { inst, byte: byte as u8, bytes: 1, out: 0, off: 0, n, t: drive, column });
            self.note_read(e, *from, issue + i64::from((n - 1) * step));
        }
        for (k, &row) in rows.iter().enumerate() {
            let ready = groups_of(row).iter().map(|&s| match s {
                NOTHING => 0,
                FILL => home.fill_ready,
                s => home.ready[s as usize],
            });
            b.after(Cause::Data, i64::from(ready.max().unwrap_or(0)) - first - i64::from(k as u32 * step));
        }
        stream
    }
}
