//! Kernels beside products of bytes, a few rows at a time: elementwise ones, products of floats with one pass a chain, moves and
//! transposes.
//!
//! A piece can go when all that it reads is in its place in the schedule, and goes when its ALU steps can start before those
//! of any other. So norms and attention run row by row behind the products that feed them.

use super::Scheduler;
use super::burst::PlacedNo;
use super::map::BURST_ROWS;
use super::products::Job;
use super::split::{map_cuts, part_of};
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Kind, NOTHING, Pass, Rows, TensorId, TiledGraph};
use quadrille_isa::tsp::Hemisphere;
use std::ops::Range;

/// Rows of a kernel.
#[derive(Clone)]
pub(super) struct Piece {
    /// Position among the kernels of its group.
    pub(super) job: usize,
    pub(super) rows: Range<usize>,
    /// What it reads is in its place.
    pub(super) there: bool,
    /// Its steps can start no earlier than this.
    pub(super) at: i64,
}

/// Rows of a product of floats that go at once: they hide the load of the next weights.
const PRODUCT_ROWS: usize = 32;

/// Cycles that loading weights may cost a product that could start at once elsewhere.
const LOAD: i64 = 16;

/// Cycles from the first row that a transposer takes to the first that it gives, with hops.
const TURN: i64 = 60;

/// Rows that a kernel writes.
pub(super) fn each_written(k: &Kernel, mut f: impl FnMut(TensorId, &[u32])) {
    match &k.kind {
        Kind::Map { outs, .. } | Kind::MatMul { outs, .. } => outs.iter().for_each(|(_, r)| f(r.tensor, &r.rows)),
        Kind::Move { out, .. } | Kind::Gather { out, .. } => f(out.tensor, &out.rows),
        Kind::Transpose { out, groups, .. } => {
            f(*out, &groups.iter().flat_map(|&a| 16 * a..16 * a + 16).collect::<Vec<_>>());
        }
    }
}

/// The pieces of a kernel, in the order in which they are tried.
pub(super) fn cut(g: &TiledGraph, k: &Kernel, wave: (usize, usize)) -> Vec<Range<usize>> {
    let n = k.n as usize;
    let even = |most: usize| {
        let parts = n.div_ceil(most).max(1);
        (0..parts).map(|p| n * p / parts..n * (p + 1) / parts).collect()
    };
    match &k.kind {
        Kind::Map { outs, .. } if outs.iter().any(|(_, r)| g.tensor(r.tensor).weights) => even(BURST_ROWS),
        Kind::Map { .. } => {
            let (cuts, waves) = map_cuts(n, wave);
            let parts = (0..waves).flat_map(|w| (0..cuts.len() - 1).map(move |p| (p, w)));
            parts.map(|(p, w)| part_of(&cuts, p, w, waves)).filter(|r| !r.is_empty()).collect()
        }
        Kind::MatMul { .. } => even(PRODUCT_ROWS),
        _ => even(usize::MAX),
    }
}

impl<'a> Scheduler<'a> {
    /// True when all rows that a piece reads have been placed.
    pub(super) fn piece_there(&self, job: &Job<'a>, rows: &Range<usize>) -> bool {
        let run = [(0, rows.clone())];
        let rows_there = |r: &Rows| self.in_place(r, &run);
        let whole = |t: TensorId| self.pending.get(&self.g.stored(t)).is_none_or(|waits| !waits.contains(&true));
        match &job.k.kind {
            Kind::Map { ins, .. } => ins.iter().all(rows_there),
            Kind::MatMul { chains, ins, .. } => {
                chains.iter().flatten().all(|p| self.weights_there(p) && rows_there(&p.act))
                    && ins.iter().all(rows_there)
            }
            Kind::Move { passes, .. } => passes.iter().all(|p| rows_there(&p.from) && whole(p.weights)),
            Kind::Gather { ids, table, .. } => rows_there(ids) && whole(*table),
            Kind::Transpose { from, .. } => whole(*from),
        }
    }

    /// True when all rows of weights that a pass loads have been placed.
    pub(super) fn weights_there(&self, p: &Pass) -> bool {
        let Some(waits) = self.pending.get(&p.weights) else { return true };
        let slots = u32::from(p.slots.0)..u32::from(p.slots.0 + p.slots.1);
        p.loads.iter().all(|&(_, r)| slots.clone().all(|s| !waits.get((r * 16 + s) as usize).is_some_and(|w| *w)))
    }

    /// When the ALUs, or what takes their place, could start on a piece if it were placed now; nothing where it is no burst.
    pub(super) fn piece_start(&mut self, job: &Job<'a>, rows: &Range<usize>) -> Option<i64> {
        let k = job.k;
        match &k.kind {
            Kind::Map { .. } => {
                let part = self.parts(job.outs).first().copied().flatten();
                self.map_start(k, &job.plan, job.ins, job.steps, job.outs, rows.clone(), part)
            }
            Kind::MatMul { chains, .. } => {
                let sides = self.chain_sides(chains, rows);
                let none = vec![[PlacedNo(0); 2]; chains.len()];
                let (plan, left, ins, steps) = (&job.plan, vec![Vec::new(); chains.len()], job.ins, job.steps);
                let (b, ..) = self.last_passes(
                    k,
                    plan,
                    chains,
                    &sides,
                    ins,
                    steps,
                    job.outs,
                    rows.clone(),
                    rows.start,
                    &none,
                    &left,
                );
                b.earliest_start(self.m, &mut self.board)
            }
            Kind::Move { passes, .. } => {
                if let Some(start) = self.permute_start(job.number, k) {
                    return Some(start);
                }
                if let Some((_, start)) = self.move_start(k) {
                    return Some(start);
                }
                let free = self.planes.iter().map(|p| p.act_free).min().unwrap_or(0);
                let ready = passes.iter().map(|p| self.last_ready(&p.from, rows)).max().unwrap_or(0);
                Some(i64::from(free.max(ready)) + self.to_alus(Hemisphere::East))
            }
            Kind::Gather { ids, .. } => Some(i64::from(self.last_ready(ids, rows))),
            Kind::Transpose { from, .. } => {
                let all: Vec<u32> = (0..self.g.tensor(*from).rows).collect();
                Some(i64::from(self.readable(*from, &all)) + TURN)
            }
        }
    }

    /// Places a piece.
    pub(super) fn place_piece(&mut self, job: &Job<'a>, rows: Range<usize>) -> Result<(), CompileError> {
        let k = job.k;
        let Kind::MatMul { chains, .. } = &k.kind else {
            if !matches!(k.kind, Kind::Map { .. }) {
                return self.kernel(job.number, k);
            }
            for part in self.parts(job.outs) {
                self.map_rows(k, &job.plan, job.ins, job.steps, job.outs, rows.clone(), part)?;
            }
            return Ok(());
        };
        let sides = self.chain_sides(chains, &rows);
        self.matmul_rows(k, &job.plan, chains, &sides, job.ins, job.steps, job.outs, rows)
    }

    /// Hemispheres of the chains of a product: west and east of two, else the one that can begin first.
    fn chain_sides(&self, chains: &[Vec<Pass>], rows: &Range<usize>) -> Vec<Hemisphere> {
        let both = [Hemisphere::West, Hemisphere::East];
        let [chain] = chains else { return both.to_vec() };
        let Some(p) = chain.first() else { return both.to_vec() };
        let begins = |h: &Hemisphere| {
            let pair = usize::from(self.pair(*h));
            let free = i64::from(self.planes[pair].act_free.max(self.planes[pair + 1].act_free));
            let free = free.max(i64::from(self.last_ready(&p.act, rows)));
            if self.holds_pair(*h, p) { free } else { free + LOAD + i64::from(self.crossing(p.weights, *h)) }
        };
        both.into_iter().min_by_key(begins).into_iter().collect()
    }

    /// Cycle from which all of some rows can be read, of a gathered tensor those that it is put together of.
    fn last_ready(&self, r: &Rows, rows: &Range<usize>) -> u32 {
        let t = self.g.stored(r.tensor);
        match &self.g.tensor(r.tensor).init {
            Init::Gather { sources, groups, .. } => {
                let n = *groups as usize;
                let all = r.rows[rows.clone()].iter().flat_map(|&i| &sources[i as usize * n..(i as usize + 1) * n]);
                let own: Vec<u32> = all.copied().filter(|&s| s < NOTHING).collect();
                self.readable(t, &own)
            }
            _ => {
                let own: Vec<u32> = r.rows[rows.clone()].iter().copied().filter(|&s| s != FILL).collect();
                self.readable(t, &own)
            }
        }
    }
}
