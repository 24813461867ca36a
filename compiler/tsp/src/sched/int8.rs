//! Matrix products on int8 planes, with their ALU sequence behind.
//!
//! Each plane takes a row a cycle. The planes of a hemisphere share the loads of their weights and run
//! in lock step on two runs of rows; the last pass of both and two copies of the ALU sequence, which
//! share the streams of constants, are one burst. Where that burst cannot be (too few ALUs, or a slice
//! that both would read), each plane has one of its own.

use super::Scheduler;
use super::burst::{At, Burst, InstNo, PlacedNo, StateDef, StateUse};
use super::map::Shared;
use super::memory::FillWord;
use super::pass::BytePass;
use super::rows::Effects;
use super::traffic::NO_TENSOR;
use super::vxm::Plan;
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Pass, Rows, Src, Step};
use quadrille_isa::tsp::{ActType, AluType, Hemisphere, SLOT_STATE, Slice};
use std::ops::Range;

/// Part of its cycles, in 1/16, in which a plane reads what lies outside of the image.
const FILL_SHARE: u32 = 2;

/// A plane's part of a pass: number within the hemisphere, and its rows.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) plane: usize,
    /// Accumulator row of the first.
    pub(super) row: u16,
    pub(super) rows: Range<usize>,
}

/// Accumulator rows, and the instruction that left the sums in them.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) rows: Range<u32>,
    pub(super) acc: PlacedNo,
}

/// What follows the last pass.
#[derive(Clone, Copy)]
pub(super) struct Tail<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ins: &'a [Rows],
    pub(super) steps: &'a [Step],
    pub(super) outs: &'a [(Src, Rows)],
}

impl Burst {
    /// An accumulation of rows from `row` on adds to sums so far, left by one burst or several.
    pub(super) fn uses_sums(&mut self, acc: InstNo, row: u32, n: u32, left: &[Left]) {
        for l in left {
            let (from, to) = (l.rows.start.max(row), l.rows.end.min(row + n));
            if from < to {
                self.state.push(StateUse {
                    inst: acc,
                    slot: SLOT_STATE,
                    first: from - row,
                    count: to - from,
                    def: StateDef::Earlier(l.acc),
                    def_first: from - l.rows.start,
                    def_step: 1,
                });
            }
        }
    }
}

impl Scheduler<'_> {
    /// A word for each plane, west first, from which it reads what lies outside of the image: away from what else the kernel
    /// wants then. None where that cannot be.
    pub(super) fn fill_words(&mut self, here: usize, passes: &[Pass]) -> Vec<FillWord> {
        let outside = passes.iter().map(|p| &p.act).find(|a| a.rows.contains(&FILL));
        let Some(fill) = outside.and_then(|a| self.g.tensor(a.tensor).fill) else { return Vec::new() };
        let planes = self.m.geometry.planes_per_hemisphere as u8;
        let mut words: Vec<FillWord> = Vec::new();
        for (team, part) in (0..2).flat_map(|t| (0..planes).map(move |p| (t, p))) {
            let uses = [self.memory.traffic.all_along(self.g, here, (team, part), NO_TENSOR, FILL_SHARE)];
            let taken: Vec<Slice> = words.iter().map(|w| w.at.slice).collect();
            let Some(word) = self.memory.fill_word(fill as u8, &uses, &taken) else { return Vec::new() };
            words.push(word);
        }
        words
    }

    /// Cycle in which the first rows of a pass could be read, if the others followed one a cycle.
    pub(super) fn ready_for(&self, p: &Pass, runs: &[(usize, Range<usize>)]) -> i64 {
        let t = self.g.tensor(p.act.tensor);
        let ready = &self.memory.homes[self.g.stored(p.act.tensor).0 as usize].ready;
        let at = |row: u32| ready.get(row as usize).map_or(0, |&c| i64::from(c));
        let row_at = |row: u32| match &t.init {
            Init::Gather { sources, groups, .. } => {
                let n = *groups as usize;
                sources[row as usize * n..(row as usize + 1) * n].iter().map(|&s| at(s)).max().unwrap_or(0)
            }
            _ => at(row),
        };
        let run = |(_, r): &(usize, Range<usize>)| {
            r.clone().map(|i| row_at(p.act.rows[i]) - (i - r.start) as i64).max().unwrap_or(0)
        };
        runs.iter().map(run).max().unwrap_or(0)
    }

    /// Number of a hemisphere's plane.
    pub(super) fn plane_of(&self, h: Hemisphere, number: usize) -> u8 {
        let per = self.m.geometry.planes_per_hemisphere as usize;
        (if h == Hemisphere::West { number } else { per + number }) as u8
    }

    /// Loads the first `planes` planes of a hemisphere from the same streams.
    pub(super) fn install_shared(
        &mut self,
        k: &Kernel,
        h: Hemisphere,
        planes: usize,
        p: &Pass,
    ) -> Result<Vec<PlacedNo>, CompileError> {
        let planes: Vec<u8> = (0..planes).map(|n| self.plane_of(h, n)).collect();
        let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
        self.install_once(k, &planes, &tile, self.way.apart)
    }

    /// One pass, in one burst if it can be.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn int8_pass(
        &mut self,
        k: &Kernel,
        h: Hemisphere,
        p: &Pass,
        parts: &[Part],
        installs: &[PlacedNo],
        left: &[Vec<Left>],
        sums: &mut [Vec<Left>],
        tail: Option<Tail<'_>>,
        fills: &[FillWord],
    ) -> Result<(), CompileError> {
        // Planes whose sums stay need not keep step.
        if tail.is_none() && parts.len() > 1 && self.way.apart {
            for part in parts {
                self.int8_pass(k, h, p, std::slice::from_ref(part), installs, left, sums, tail, fills)?;
            }
            return Ok(());
        }
        let mut b = Burst::new(k.node.0);
        let mut e = Effects::default();
        let mut shared = Shared::default();
        let mut made = Vec::new();
        for part in parts {
            made.push(self.int8_part(
                &mut b,
                &mut e,
                h,
                p,
                part,
                installs[part.plane],
                &left[part.plane],
                tail,
                fills,
                &mut shared,
            ));
        }
        let alus = b.insts.iter().filter(|i| matches!(i.at, At::Alu)).count();
        if parts.len() > 1 && (alus > self.m.geometry.alus as usize || b.collides().is_some()) {
            for part in parts {
                self.int8_pass(k, h, p, std::slice::from_ref(part), installs, left, sums, tail, fills)?;
            }
            return Ok(());
        }
        // Rows whose words lie in one slice are read in bursts of their own.
        if parts.iter().any(|p| p.rows.len() > 1) && b.collides().is_some() {
            let part = |p: &Part, first: bool| {
                let middle = p.rows.start + p.rows.len().div_ceil(2);
                let rows = if first { p.rows.start..middle } else { middle..p.rows.end };
                Part { plane: p.plane, row: p.row + (rows.start - p.rows.start) as u16, rows }
            };
            for first in [true, false] {
                let halves: Vec<Part> = parts.iter().map(|p| part(p, first)).filter(|p| !p.rows.is_empty()).collect();
                self.int8_pass(k, h, p, &halves, installs, left, sums, tail, fills)?;
            }
            return Ok(());
        }
        let landing = self.place(k, b, e)?;
        for (part, (acc, act)) in parts.iter().zip(made) {
            let row = u32::from(part.row);
            sums[part.plane].push(Left { rows: row..row + part.rows.len() as u32, acc: landing.inst(acc) });
            let plane = self.plane_of(h, part.plane);
            let first = (i64::from(landing.start) + act) as u32;
            self.times.note_rows(self.now, k.n as usize, part.rows.clone(), first);
            self.takes_rows(k, plane, &landing, act, part.rows.len() as u32);
        }
        Ok(())
    }

    /// First activation of a pass if it were placed now, its weights apart.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn earliest(
        &mut self,
        k: &Kernel,
        h: Hemisphere,
        p: &Pass,
        parts: &[Part],
        left: &[Vec<Left>],
        tail: Option<Tail<'_>>,
        fills: &[FillWord],
    ) -> i64 {
        if tail.is_none() && parts.len() > 1 && self.way.apart {
            let act_free = |s: &Self, p: &Part| i64::from(s.planes[usize::from(s.plane_of(h, p.plane))].act_free);
            let free = parts.iter().map(|p| act_free(self, p)).max().unwrap_or(0);
            let late = |s: &mut Self, part: &Part| {
                let at = s.earliest(k, h, p, std::slice::from_ref(part), left, tail, fills);
                at.saturating_sub(act_free(s, part))
            };
            return free.saturating_add(parts.iter().map(|part| late(self, part)).max().unwrap_or(0));
        }
        let mut b = Burst::new(k.node.0);
        let (mut e, mut shared, mut at) = (Effects::default(), Shared::default(), 0);
        for part in parts {
            let sums = &left[part.plane];
            at = self.int8_part(&mut b, &mut e, h, p, part, PlacedNo(0), sums, tail, fills, &mut shared).1;
        }
        let alus = b.insts.iter().filter(|i| matches!(i.at, At::Alu)).count();
        if parts.len() > 1 && (alus > self.m.geometry.alus as usize || b.collides().is_some()) {
            return self.earliest(k, h, p, &parts[..1], left, tail, fills);
        }
        b.earliest_start(self.m, &mut self.board).map_or(i64::MAX, |start| start + at)
    }

    /// Adds a plane's part; gives its accumulation and the cycle of its first activation.
    #[allow(clippy::too_many_arguments)]
    fn int8_part(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        h: Hemisphere,
        p: &Pass,
        part: &Part,
        install: PlacedNo,
        left: &[Left],
        tail: Option<Tail<'_>>,
        fills: &[FillWord],
        shared: &mut Shared,
    ) -> (InstNo, i64) {
        let n = part.rows.len() as u32;
        let plane = self.plane_of(h, part.plane);
        let column = self.m.mxm_column(h);
        let at = tail.map_or(0, |t| self.meeting(h, t.plan, 0));
        let state = self.planes[usize::from(plane)];
        b.after(Cause::Plane, i64::from(state.act_free) - at);
        b.after(Cause::Load, i64::from(state.last_install.unwrap_or(0)) - at);
        let rows = &p.act.rows[part.rows.clone()];
        let gathered = self.g.stored(p.act.tensor) != p.act.tensor;
        let side = usize::from(h == Hemisphere::East);
        let acts = if gathered {
            self.read_rows(b, e, p.act.tensor, part.plane, rows, h.outward(), 1, column, at)
        } else {
            // What is gathered from elsewhere has a copy for each plane.
            let copy = if self.memory.is_gathered(p.act.tensor) {
                self.memory.own_copy(p.act.tensor, h, part.plane, rows)
            } else {
                self.memory.copy_on(p.act.tensor, h, side)
            };
            let acts = b.stream(h.outward(), 1, 1);
            let fill = fills.get(side * (fills.len() / 2) + part.plane).copied();
            self.read_filled(b, e, acts, 0, (p.act.tensor, copy, 0), rows, fill, column, at);
            acts
        };
        let ty = if self.g.tensor(p.act.tensor).ty == AluType::U8 { ActType::U8 } else { ActType::I8 };
        let emit = tail.map(|_| b.stream(h.inward(), 4, 1));
        let (row, adds) = (part.row, !left.is_empty());
        let acc = self.byte_pass(
            b,
            &BytePass { plane, column, acts, byte: 0, ty, n, at, install, row, adds, alone: false, emit },
        );
        b.uses_sums(acc, u32::from(part.row), n, left);
        if let (Some(s), Some(t)) = (emit, tail) {
            shared.copy = usize::from(h == Hemisphere::East);
            self.alus(b, e, t.plan, &[s], t.ins, t.steps, t.outs, part.rows.clone(), 1, None, shared);
        }
        (acc, at)
    }
}
