//! Matrix products on f16 plane pairs, with their ALU sequence behind.
//!
//! A chain is a sum of passes on one hemisphere's pair. With two chains, west and east run side by
//! side and the first ALU step joins their sums. The last passes of all chains and the ALU
//! sequence are one burst: sums never touch SRAM before the sequence has ended.

use super::Scheduler;
use super::burst::{At, Burst, Def, InstNo, Landing, PlacedNo, Proto, StateDef, StreamNo};
use super::map::Shared;
use super::rows::{Effects, repeat, whole};
use super::vxm::plan;
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{Init, Kernel, Pass, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::{AccMode, ActType, Hemisphere, MxmPart, QueueId, SLOT_STATE};
use std::ops::Range;

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
        let blocks = n.div_ceil(block).max(1);
        let size = n.div_ceil(blocks);
        let mut first = 0;
        while first < n {
            let rows = first..n.min(first + size);
            first = rows.end;
            let sides: Vec<Hemisphere> = if chains.len() == 2 {
                vec![Hemisphere::West, Hemisphere::East]
            } else {
                vec![self.side_for(chains.first().and_then(|c| c.first()), rows.clone())]
            };
            let longest = chains.iter().map(Vec::len).max().unwrap_or(0);
            let mut left: Vec<Option<PlacedNo>> = vec![None; chains.len()];
            for number in 0..longest {
                for (c, passes) in chains.iter().enumerate() {
                    if number + 1 < passes.len() {
                        let installs = self.install_pair(k, sides[c], &passes[number])?;
                        let mut b = Burst::new(k.node.0);
                        let mut e = Effects::default();
                        let part = self.pass(
                            &mut b,
                            &mut e,
                            sides[c],
                            c,
                            &passes[number],
                            rows.clone(),
                            0,
                            installs,
                            left[c],
                            false,
                        );
                        let landing = self.place(k, b, e)?;
                        left[c] = Some(landing.inst(part.acc));
                        self.pair_takes_rows(k, sides[c], &landing, 0, rows.len() as u32);
                    }
                }
            }
            let mut b = Burst::new(k.node.0);
            let mut e = Effects::default();
            let mut given = Vec::new();
            let mut entries = Vec::new();
            for (c, passes) in chains.iter().enumerate() {
                let Some(last) = passes.last() else { continue };
                let installs = self.install_pair(k, sides[c], last)?;
                let act = self.meeting(sides[c], &plan, c);
                let part = self.pass(&mut b, &mut e, sides[c], c, last, rows.clone(), act, installs, left[c], true);
                given.extend(part.emit);
                entries.push((sides[c], act));
            }
            let step = self.m.latency.mxm_f16_row_interval;
            self.alus(
                &mut b,
                &mut e,
                &plan,
                &given,
                ins,
                steps,
                outs,
                rows.clone(),
                step,
                None,
                &mut Shared::default(),
            );
            let landing = self.place(k, b, e)?;
            for (side, act) in entries {
                self.pair_takes_rows(k, side, &landing, act, rows.len() as u32);
            }
        }
        Ok(())
    }

    /// The hemisphere in which a pass can begin first: constant weights of the other cross the chip. The others in turn.
    fn side_for(&mut self, pass: Option<&Pass>, rows: Range<usize>) -> Hemisphere {
        self.turn ^= 1;
        let [first, second] = [Hemisphere::West, Hemisphere::East];
        let turn = if self.turn == 1 { [first, second] } else { [second, first] };
        let constant = |p: &&Pass| !matches!(self.g.tensor(p.weights).init, Init::Computed);
        let Some(pass) = pass.filter(constant) else { return turn[0] };
        let ready = self.readable(pass.act.tensor, &pass.act.rows[rows]);
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

    fn pair(&self, h: Hemisphere) -> u8 {
        if h == Hemisphere::West { 0 } else { self.m.geometry.planes_per_hemisphere as u8 }
    }

    pub(super) fn pair_takes_rows(&mut self, k: &Kernel, h: Hemisphere, landing: &Landing, at: i64, rows: u32) {
        let (first, cycles) = (self.pair(h), rows * self.m.latency.mxm_f16_row_interval);
        (first..first + 2).for_each(|plane| self.takes_rows(k, plane, landing, at, cycles));
    }

    pub(super) fn install_pair(&mut self, k: &Kernel, h: Hemisphere, p: &Pass) -> Result<[PlacedNo; 2], CompileError> {
        let plane = self.pair(h);
        let free = self.planes[usize::from(plane)].act_free.max(self.planes[usize::from(plane) + 1].act_free);
        let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
        Ok([self.install(k, plane, 0, &tile, free)?, self.install(k, plane + 1, 1, &tile, free)?])
    }

    /// Adds one pass whose first activation enters at `at`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn pass(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        h: Hemisphere,
        chain: usize,
        p: &Pass,
        rows: Range<usize>,
        at: i64,
        installs: [PlacedNo; 2],
        left: Option<PlacedNo>,
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
            Proto::Act { from: acts, ty: ActType::F16 },
            None,
        );
        b.use_(acts, whole(act, 0, 2, n, column));
        b.uses_state(act, SLOT_STATE, StateDef::Earlier(installs[0]), 0, n);
        b.uses_state(act, SLOT_STATE + 1, StateDef::Earlier(installs[1]), 0, n);
        let sum = at + i64::from(self.m.latency.mxm_activation_to_sum);
        let emit = last.then(|| b.stream(h.inward(), 4, step));
        // The last pass of a sum leaves its row behind too; nothing reads it.
        let mode = if left.is_some() { AccMode::Add } else { AccMode::Over };
        let acc =
            b.inst(queue(MxmPart::Accumulators), sum, repeat(n, step, 1), Proto::Acc { row: 0, mode, emit }, None);
        b.uses_state(acc, 0, StateDef::Here(act), 1, n);
        if let Some(left) = left {
            b.uses_state(acc, SLOT_STATE, StateDef::Earlier(left), 1, n);
        }
        if let Some(s) = emit {
            let t = sum + i64::from(self.m.latency.mxm_sum_to_stream);
            b.def(s, Def { inst: acc, byte: 0, bytes: 4, out: 0, off: 0, n, t, column });
        }
        PassPart { acc, emit }
    }
}
