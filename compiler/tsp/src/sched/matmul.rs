//! Matrix products on f16 plane pairs, with their ALU sequence behind.
//!
//! A chain is a sum of passes on one hemisphere's pair. With two chains, west and east run side by
//! side and the first ALU step joins their sums. The last passes of all chains and the ALU
//! sequence are one burst: sums never touch SRAM before the sequence has ended.

use super::Scheduler;
use super::burst::{At, Burst, Def, InstNo, Landing, PlacedNo, Proto, StateDef, StreamNo};
use super::int8::Left;
use super::map::Shared;
use super::rows::{Effects, repeat, whole};
use super::vxm::{Plan, plan};
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{Kernel, Pass, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::{AccMode, ActType, Hemisphere, MxmPart, QueueId, SLOT_STATE};
use std::ops::Range;

/// Rows from which on a product with one chain is shared by both hemispheres.
const LEAST_SHARED: usize = 128;

/// An f16 pass in a burst: its activations' first cycle and instructions.
pub(super) struct PassPart {
    pub(super) acc: InstNo,
    pub(super) emit: Option<StreamNo>,
}

impl Scheduler<'_> {
    pub(super) fn matmul(
        &mut self,
        k: &Kernel,
        chains: &[Vec<Pass>],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
    ) -> Result<(), CompileError> {
        let plan = plan(steps, chains.len() + ins.len());
        let block = self.m.geometry.accumulator_rows_per_plane as usize;
        let n = k.n as usize;
        let mut blocks = n.div_ceil(block).max(1);
        // Blocks go to the hemispheres in turn.
        if self.mixed && chains.len() == 1 && n >= LEAST_SHARED {
            blocks = blocks.next_multiple_of(2);
        }
        let size = n.div_ceil(blocks);
        let mut first = 0;
        while first < n {
            let rows = first..n.min(first + size);
            first = rows.end;
            let sides = if chains.len() == 2 {
                vec![Hemisphere::West, Hemisphere::East]
            } else {
                vec![self.side_for(chains.first().and_then(|c| c.first()), rows.clone())]
            };
            self.matmul_rows(k, &plan, chains, &sides, ins, steps, outs, rows)?;
        }
        Ok(())
    }

    /// Rows of a product, each chain on its hemisphere.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn matmul_rows(
        &mut self,
        k: &Kernel,
        plan: &Plan,
        chains: &[Vec<Pass>],
        sides: &[Hemisphere],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: Range<usize>,
    ) -> Result<(), CompileError> {
        let mut left: Vec<Vec<Left>> = vec![Vec::new(); chains.len()];
        let longest = chains.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..longest {
            for (c, passes) in chains.iter().enumerate() {
                if number + 1 < passes.len() {
                    let p = &passes[number];
                    let installs = self.install_pair(k, sides[c], p)?;
                    left[c] = self.sums_that_stay(k, sides[c], c, p, rows.clone(), rows.start, installs, &left[c])?;
                }
            }
        }
        let mut installs = Vec::new();
        for (c, passes) in chains.iter().enumerate() {
            let Some(last) = passes.last() else { continue };
            installs.push(self.install_pair(k, sides[c], last)?);
        }
        self.last_rows(k, plan, chains, sides, ins, steps, outs, rows.clone(), rows.start, &installs, &left)
    }

    /// The last passes of some rows of a run that begins at `first`: rows whose words lie in one slice in bursts of their own.
    #[allow(clippy::too_many_arguments)]
    fn last_rows(
        &mut self,
        k: &Kernel,
        plan: &Plan,
        chains: &[Vec<Pass>],
        sides: &[Hemisphere],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: Range<usize>,
        first: usize,
        installs: &[[PlacedNo; 2]],
        left: &[Vec<Left>],
    ) -> Result<(), CompileError> {
        let (b, e, entries) =
            self.last_passes(k, plan, chains, sides, ins, steps, outs, rows.clone(), first, installs, left);
        if rows.len() > 1 && b.collides().is_some() {
            let middle = rows.start + rows.len() / 2;
            for half in [rows.start..middle, middle..rows.end] {
                self.last_rows(k, plan, chains, sides, ins, steps, outs, half, first, installs, left)?;
            }
            return Ok(());
        }
        let landing = self.place(k, b, e)?;
        for (side, act) in entries {
            self.pair_takes_rows(k, side, &landing, act, rows.len() as u32);
        }
        Ok(())
    }

    /// A pass whose sums stay in the accumulators, of rows of a run that begins at `first`; gives the sums.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn sums_that_stay(
        &mut self,
        k: &Kernel,
        side: Hemisphere,
        chain: usize,
        p: &Pass,
        rows: Range<usize>,
        first: usize,
        installs: [PlacedNo; 2],
        left: &[Left],
    ) -> Result<Vec<Left>, CompileError> {
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let row = (rows.start - first) as u16;
        let part = self.pass(&mut b, &mut e, side, chain, p, rows.clone(), row, 0, installs, left, false);
        if rows.len() > 1 && b.collides().is_some() {
            let middle = rows.start + rows.len() / 2;
            let mut made = self.sums_that_stay(k, side, chain, p, rows.start..middle, first, installs, left)?;
            made.extend(self.sums_that_stay(k, side, chain, p, middle..rows.end, first, installs, left)?);
            return Ok(made);
        }
        let landing = self.place(k, b, e)?;
        self.pair_takes_rows(k, side, &landing, 0, rows.len() as u32);
        let row = u32::from(row);
        Ok(vec![Left { rows: row..row + rows.len() as u32, acc: landing.inst(part.acc) }])
    }

    /// The last passes of all chains with the ALU sequence behind; and the first activation of each.
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    pub(super) fn last_passes(
        &self,
        k: &Kernel,
        plan: &Plan,
        chains: &[Vec<Pass>],
        sides: &[Hemisphere],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: Range<usize>,
        first: usize,
        installs: &[[PlacedNo; 2]],
        left: &[Vec<Left>],
    ) -> (Burst, Effects, Vec<(Hemisphere, i64)>) {
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let (mut given, mut entries) = (Vec::new(), Vec::new());
        for (c, passes) in chains.iter().enumerate() {
            let Some(last) = passes.last() else { continue };
            let act = self.meeting(sides[c], plan, c);
            let row = (rows.start - first) as u16;
            let left = &left[c];
            let part = self.pass(&mut b, &mut e, sides[c], c, last, rows.clone(), row, act, installs[c], left, true);
            given.extend(part.emit);
            entries.push((sides[c], act));
        }
        let step = self.m.latency.mxm_f16_row_interval;
        self.alus(&mut b, &mut e, plan, &given, ins, steps, outs, rows, step, None, &mut Shared::default());
        (b, e, entries)
    }

    /// The hemisphere in which a pass can begin first: weights of the other cross the chip. Equals in turn.
    fn side_for(&mut self, pass: Option<&Pass>, rows: Range<usize>) -> Hemisphere {
        self.turn ^= 1;
        let [first, second] = [Hemisphere::West, Hemisphere::East];
        let turn = if self.turn == 1 { [first, second] } else { [second, first] };
        let Some(pass) = pass else { return turn[0] };
        let ready = &self.memory.homes[pass.weights.0 as usize].ready;
        let group = |&(_, g): &(u16, u32)| ready.iter().skip(g as usize * 16).take(16).copied().max();
        let weights = pass.loads.iter().filter_map(group).max().unwrap_or(0);
        let ready = self.readable(pass.act.tensor, &pass.act.rows[rows]).max(weights);
        let begins = |h: Hemisphere| {
            let pair = usize::from(self.pair(h));
            let free = self.planes[pair].act_free.max(self.planes[pair + 1].act_free);
            free.max(ready) + self.crossing(pass.weights, h)
        };
        if begins(turn[1]) < begins(turn[0]) { turn[1] } else { turn[0] }
    }

    /// Hops by which weights are late that lie on the other side alone.
    pub(super) fn crossing(&self, weights: TensorId, h: Hemisphere) -> u32 {
        let here = self.memory.sides_of(weights).contains(&h);
        if here { 0 } else { u32::from(self.m.columns()) * self.m.latency.hop }
    }

    /// Cycle from which all of some rows can be read.
    pub(super) fn readable(&self, t: TensorId, rows: &[u32]) -> u32 {
        let ready = &self.memory.homes[t.0 as usize].ready;
        rows.iter().filter_map(|&r| ready.get(r as usize)).copied().max().unwrap_or(0)
    }

    pub(super) fn pair(&self, h: Hemisphere) -> u8 {
        if h == Hemisphere::West { 0 } else { self.m.geometry.planes_per_hemisphere as u8 }
    }

    pub(super) fn pair_takes_rows(&mut self, k: &Kernel, h: Hemisphere, landing: &Landing, at: i64, rows: u32) {
        let (first, cycles) = (self.pair(h), rows * self.m.latency.mxm_f16_row_interval);
        (first..first + 2).for_each(|plane| self.takes_rows(k, plane, landing, at, cycles));
    }

    /// True where a hemisphere's planes hold the weights of a pass.
    pub(super) fn holds_pair(&self, h: Hemisphere, p: &Pass) -> bool {
        let plane = self.pair(h);
        let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
        (0..2).all(|byte| self.held(plane + byte, byte, &tile).is_some())
    }

    pub(super) fn install_pair(&mut self, k: &Kernel, h: Hemisphere, p: &Pass) -> Result<[PlacedNo; 2], CompileError> {
        let plane = self.pair(h);
        let free = self.planes[usize::from(plane)].act_free.max(self.planes[usize::from(plane) + 1].act_free);
        let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
        let held = (self.held(plane, 0, &tile), self.held(plane + 1, 1, &tile));
        if let (Some(low), Some(high)) = held {
            return Ok([low, high]);
        }
        Ok([self.install(k, plane, 0, &tile, free)?, self.install(k, plane + 1, 1, &tile, free)?])
    }

    /// Adds one pass whose first activation enters at `at`, into accumulator rows from `row` on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn pass(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        h: Hemisphere,
        chain: usize,
        p: &Pass,
        rows: Range<usize>,
        row: u16,
        at: i64,
        installs: [PlacedNo; 2],
        left: &[Left],
        last: bool,
    ) -> PassPart {
        let n = rows.len() as u32;
        let plane = self.pair(h);
        let column = self.m.mxm_column(h);
        let step = self.m.latency.mxm_f16_row_interval;
        let state = [self.planes[usize::from(plane)], self.planes[usize::from(plane) + 1]];
        for s in state {
            b.after(Cause::Plane, i64::from(s.act_free) - at);
            b.after(Cause::Load, i64::from(s.last_install.unwrap_or(0)) - at);
        }
        let copy = self.memory.copy_on(p.act.tensor, h, chain);
        let acts = self.read_rows(b, e, p.act.tensor, copy, &p.act.rows[rows], h.outward(), step, column, at);
        let queue = |part| At::Queue(QueueId::Mxm(plane, part));
        let act = b.inst(
            queue(MxmPart::Activations),
            at,
            repeat(n, step, 0),
            Proto::Act { from: acts, byte: 0, ty: ActType::F16 },
            None,
        );
        b.use_(acts, whole(act, 0, 2, n, column));
        b.uses_state(act, SLOT_STATE, StateDef::Earlier(installs[0]), 0, n);
        b.uses_state(act, SLOT_STATE + 1, StateDef::Earlier(installs[1]), 0, n);
        let sum = at + i64::from(self.m.latency.mxm_activation_to_sum);
        let emit = last.then(|| b.stream(h.inward(), 4, step));
        // A sum of one pass leaves the accumulators to others.
        let mode = match (left.is_empty(), last) {
            (false, _) => AccMode::Add,
            (true, true) => AccMode::Bypass,
            (true, false) => AccMode::Over,
        };
        let acc = b.inst(queue(MxmPart::Accumulators), sum, repeat(n, step, 1), Proto::Acc { row, mode, emit }, None);
        b.uses_state(acc, 0, StateDef::Here(act), 1, n);
        b.uses_sums(acc, u32::from(row), n, left);
        if let Some(s) = emit {
            let t = sum + i64::from(self.m.latency.mxm_sum_to_stream);
            b.def(s, Def { inst: acc, byte: 0, bytes: 4, out: 0, off: 0, n, t, column });
        }
        PassPart { acc, emit }
    }
}
