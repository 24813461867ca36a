//! Products of bytes of few rows, where loading weights takes all the time: the planes of a hemisphere share passes, not rows.
//!
//! Each plane loads weights of its own, so all streams bring weights; the last passes of both are one burst, whose first ALU step
//! adds their sums. Integers are exact in any order.

use super::Scheduler;
use super::burst::{Burst, InstNo, PlacedNo, StateDef, StreamNo};
use super::map::Shared;
use super::pass::BytePass;
use super::rows::Effects;
use super::vxm::plan;
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{FILL, Kernel, Pass, Rows, Src, Step};
use quadrille_isa::tsp::{ActType, AluOp, AluType, Hemisphere, SLOT_STATE, Slice};

/// The sequence behind two sums that it takes added, and its results.
fn joined(steps: &[Step], outs: &[(Src, Rows)]) -> (Vec<Step>, Vec<(Src, Rows)>) {
    let moved = |s: Src| match s {
        Src::In(0) => Src::Op(0),
        Src::In(k) => Src::In(k + 1),
        Src::Op(k) => Src::Op(k + 1),
        s => s,
    };
    let mut all = vec![Step { op: AluOp::Add, ty: AluType::I32, src: [Src::In(0), Src::In(1), Src::None] }];
    all.extend(steps.iter().map(|s| Step { src: s.src.map(moved), ..*s }));
    (all, outs.iter().map(|(s, r)| (moved(*s), r.clone())).collect())
}

/// A plane's pass with the install of its weights.
struct Turn<'p> {
    plane: u8,
    half: usize,
    pass: &'p Pass,
    install: PlacedNo,
}

impl Scheduler<'_> {
    /// True when it could be done; `half` passes are the first plane's.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn few_rows(
        &mut self,
        k: &Kernel,
        side: Hemisphere,
        passes: &[Pass],
        half: usize,
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
    ) -> Result<bool, CompileError> {
        let halves = [&passes[..half], &passes[half..]];
        let count = halves[0].len().max(halves[1].len());
        // Both end together, so the shorter one starts later.
        let pass_of = |h: usize, number: usize| (number + halves[h].len()).checked_sub(count).map(|n| &halves[h][n]);
        let (steps, outs) = joined(steps, outs);
        let plan = plan(&steps, 2 + ins.len());
        let apart = (0..count).all(|n| match (pass_of(0, n), pass_of(1, n)) {
            (Some(a), Some(b)) => self.slices_of(a, side).iter().zip(self.slices_of(b, side)).all(|(a, b)| *a != b),
            _ => true,
        });
        if !apart || plan.slots.len() + outs.len() > self.m.geometry.alus as usize {
            return Ok(false);
        }
        let mut left: [Option<PlacedNo>; 2] = [None; 2];
        let first_plane = self.m.geometry.planes_per_hemisphere as u8 * u8::from(side == Hemisphere::East);
        for number in 0..count {
            let last = number + 1 == count;
            let mut turns = Vec::new();
            for h in 0..halves.len() {
                let Some(pass) = pass_of(h, number) else { continue };
                let plane = first_plane + h as u8;
                let tile = Tile { tensor: pass.weights, loads: &pass.loads, slots: pass.slots };
                let free = self.planes[usize::from(plane)].act_free;
                let install = self.install(k, plane, 0, &tile, free)?;
                turns.push(Turn { plane, half: h, pass, install });
            }
            let at = if last { self.meeting(side, &plan, 0) } else { 0 };
            let mut b = Burst::new(k.node.0);
            let mut e = Effects::default();
            let mut accs = Vec::new();
            let mut sums = Vec::new();
            for t in &turns {
                let (acc, emit) = self.few_rows_pass(&mut b, &mut e, side, t, at, left[t.half], last);
                accs.push((t.half, acc));
                sums.extend(emit);
            }
            if last {
                let mut shared = Shared::default();
                shared.copy = usize::from(side == Hemisphere::East);
                let rows = 0..k.n as usize;
                self.alus(&mut b, &mut e, &plan, &sums, ins, &steps, &outs, rows, 1, None, &mut shared);
            }
            let landing = self.place(k, b, e)?;
            accs.into_iter().for_each(|(h, acc)| left[h] = Some(landing.inst(acc)));
            for t in turns {
                self.takes_rows(k, t.plane, &landing, at, k.n);
            }
        }
        Ok(true)
    }

    /// The copy of its rows that a side reads.
    fn near_copy(&self, p: &Pass, side: Hemisphere) -> usize {
        self.memory.copy_on(p.act.tensor, side, usize::from(side == Hemisphere::East))
    }

    /// Slice of each activation row of a pass.
    fn slices_of(&self, p: &Pass, side: Hemisphere) -> Vec<Slice> {
        let copy = self.near_copy(p, side);
        let chunk = |r: u32| if r == FILL { 0 } else { self.memory.chunk_of(p.act.tensor, r) };
        let place = |&r: &u32| self.memory.place_of(self.g, p.act.tensor, copy, 0, r, chunk(r)).slice;
        p.act.rows.iter().map(place).collect()
    }

    /// Adds a plane's pass; gives its accumulation, and the sums when they are emitted.
    #[allow(clippy::too_many_arguments)]
    fn few_rows_pass(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        side: Hemisphere,
        turn: &Turn<'_>,
        at: i64,
        left: Option<PlacedNo>,
        last: bool,
    ) -> (InstNo, Option<StreamNo>) {
        let act_rows = &turn.pass.act;
        let n = act_rows.rows.len() as u32;
        let column = self.m.mxm_column(side);
        let state = self.planes[usize::from(turn.plane)];
        b.after(Cause::Plane, i64::from(state.act_free) - at);
        b.after(Cause::Load, i64::from(state.last_install.unwrap_or(0)) - at);
        let copy = self.near_copy(turn.pass, side);
        let acts = self.read_rows(b, e, act_rows.tensor, copy, &act_rows.rows, side.outward(), 1, column, at);
        let ty = if self.g.tensor(act_rows.tensor).ty == AluType::U8 { ActType::U8 } else { ActType::I8 };
        let emit = last.then(|| b.stream(side.inward(), 4, 1));
        let (plane, install, adds) = (turn.plane, turn.install, left.is_some());
        let acc = self.byte_pass(
            b,
            &BytePass { plane, column, acts, byte: 0, ty, n, at, install, row: 0, adds, alone: false, emit },
        );
        if let Some(left) = left {
            b.uses_state(acc, SLOT_STATE, StateDef::Earlier(left), 1, n);
        }
        (acc, emit)
    }
}
