//! Products of f16 with one chain: each hemisphere's pair takes blocks, or rows of one block, of its own.
//!
//! Where two chains meet row by row, a hemisphere with fewer passes waits for the other. Here none does.

use super::Scheduler;
use super::burst::{Burst, PlacedNo};
use super::int8::Left;
use super::map::Shared;
use super::rows::Effects;
use super::split::{cuts, waves};
use super::vxm::{Plan, plan};
use crate::error::CompileError;
use crate::tiled::{Kernel, Pass, Rows, Src, Step};
use quadrille_isa::tsp::Hemisphere;
use std::ops::Range;

/// The ALU sequence behind a product.
type Tail<'a> = (&'a Plan, &'a [Rows], &'a [Step], &'a [(Src, Rows)]);

impl Scheduler<'_> {
    pub(super) fn pair_product(
        &mut self,
        k: &Kernel,
        sides: &[Hemisphere],
        passes: &[Pass],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
    ) -> Result<(), CompileError> {
        let plan = plan(steps, 1 + ins.len());
        let most = self.m.geometry.accumulator_rows_per_plane as usize;
        for wave in waves(&cuts(self.g, k, sides.len()), sides, 1, (most, 0)) {
            // Rows whose words lie in one slice are read in bursts of their own.
            let shares: Vec<(Hemisphere, Range<usize>)> = wave.iter().map(|s| (s.side, s.runs[0].1.clone())).collect();
            let mut left: Vec<Vec<Left>> = vec![Vec::new(); shares.len()];
            let Some((last, before)) = passes.split_last() else { continue };
            for p in before {
                for ((side, rows), left) in shares.iter().zip(&mut left) {
                    let (installs, copy) = (self.install_pair(k, *side, p)?, usize::from(*side == Hemisphere::East));
                    *left = self.sums_that_stay(k, *side, copy, p, rows.clone(), rows.start, installs, left)?;
                }
            }
            let parts: Vec<Vec<Range<usize>>> = (shares.iter().zip(&left))
                .map(|((side, rows), left)| {
                    self.apart(k, *side, last, (&plan, ins, steps, outs), left, rows.clone(), rows.start)
                })
                .collect();
            for turn in 0..parts.iter().map(Vec::len).max().unwrap_or(0) {
                for (n, (side, all)) in shares.iter().enumerate() {
                    let Some(rows) = parts[n].get(turn) else { continue };
                    let installs = self.install_pair(k, *side, last)?;
                    let tail = (&plan, ins, steps, outs);
                    let (b, e, at) = self.pair_burst(k, *side, last, rows.clone(), all.start, installs, &left[n], tail);
                    let landing = self.place(k, b, e)?;
                    self.pair_takes_rows(k, *side, &landing, at, rows.len() as u32);
                }
            }
        }
        Ok(())
    }

    /// The last pass of some rows of a run that begins at `first`, with the ALU sequence behind; and its first activation.
    #[allow(clippy::too_many_arguments)]
    fn pair_burst(
        &self,
        k: &Kernel,
        side: Hemisphere,
        p: &Pass,
        rows: Range<usize>,
        first: usize,
        installs: [PlacedNo; 2],
        left: &[Left],
        (plan, ins, steps, outs): Tail<'_>,
    ) -> (Burst, Effects, i64) {
        let interval = self.m.latency.mxm_f16_row_interval;
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let at = self.meeting(side, plan, 0);
        let copy = usize::from(side == Hemisphere::East);
        let row = (rows.start - first) as u16;
        let part = self.pass(&mut b, &mut e, side, copy, p, rows.clone(), row, at, installs, left, true);
        if let Some(sums) = part.emit {
            let mut shared = Shared::default();
            shared.copy = copy;
            self.alus(&mut b, &mut e, plan, &[sums], ins, steps, outs, rows, interval, None, &mut shared);
        }
        (b, e, at)
    }

    /// Rows in as few parts, halves of halves, as do not ask a slice twice in a cycle.
    #[allow(clippy::too_many_arguments)]
    fn apart(
        &self,
        k: &Kernel,
        side: Hemisphere,
        last: &Pass,
        tail: Tail<'_>,
        left: &[Left],
        rows: Range<usize>,
        first: usize,
    ) -> Vec<Range<usize>> {
        let (b, ..) = self.pair_burst(k, side, last, rows.clone(), first, [PlacedNo(0); 2], left, tail);
        if rows.len() < 2 || b.collides().is_none() {
            return vec![rows];
        }
        let middle = rows.start + rows.len() / 2;
        let mut parts = self.apart(k, side, last, tail, left, rows.start..middle, first);
        parts.extend(self.apart(k, side, last, tail, left, middle..rows.end, first));
        parts
    }
}
