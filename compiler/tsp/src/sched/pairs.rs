//! Products of f16 with one chain: each hemisphere's pair takes blocks, or rows of one block, of its own.
//!
//! Where two chains meet row by row, a hemisphere with fewer passes waits for the other. Here none does.

use super::Scheduler;
use super::burst::{Burst, InstNo, PlacedNo};
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
            let shares: Vec<(Hemisphere, Vec<Range<usize>>)> = (wave.iter())
                .map(|s| (s.side, self.apart(k, &plan, s.side, passes, ins, steps, outs, s.runs[0].1.clone())))
                .collect();
            let most = shares.iter().map(|s| s.1.len()).max().unwrap_or(0);
            for turn in 0..most {
                let mut left: Vec<Option<PlacedNo>> = vec![None; shares.len()];
                for (number, p) in passes.iter().enumerate() {
                    let last = number + 1 == passes.len();
                    for ((side, parts), left) in shares.iter().zip(&mut left) {
                        let Some(rows) = parts.get(turn) else { continue };
                        let installs = self.install_pair(k, *side, p)?;
                        let tail = last.then_some((&plan, ins, steps, outs));
                        let (b, e, acc, at) = self.pair_burst(k, *side, p, rows.clone(), installs, *left, tail);
                        let landing = self.place(k, b, e)?;
                        *left = Some(landing.inst(acc));
                        self.pair_takes_rows(k, *side, &landing, at, rows.len() as u32);
                    }
                }
            }
        }
        Ok(())
    }

    /// A pass of some rows, the last with the ALU sequence behind; its sums, and its first activation.
    #[allow(clippy::too_many_arguments)]
    fn pair_burst(
        &self,
        k: &Kernel,
        side: Hemisphere,
        p: &Pass,
        rows: Range<usize>,
        installs: [PlacedNo; 2],
        left: Option<PlacedNo>,
        tail: Option<Tail<'_>>,
    ) -> (Burst, Effects, InstNo, i64) {
        let interval = self.m.latency.mxm_f16_row_interval;
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let at = tail.map_or(0, |(plan, ..)| self.meeting(side, plan, 0));
        let copy = usize::from(side == Hemisphere::East);
        let part = self.pass(&mut b, &mut e, side, copy, p, rows.clone(), at, installs, left, tail.is_some());
        if let (Some(sums), Some((plan, ins, steps, outs))) = (part.emit, tail) {
            let mut shared = Shared::default();
            shared.copy = copy;
            self.alus(&mut b, &mut e, plan, &[sums], ins, steps, outs, rows, interval, None, &mut shared);
        }
        (b, e, part.acc, at)
    }

    /// Rows in as few parts, halves of halves, as do not ask a slice twice in a cycle.
    #[allow(clippy::too_many_arguments)]
    fn apart(
        &self,
        k: &Kernel,
        plan: &Plan,
        side: Hemisphere,
        passes: &[Pass],
        ins: &[Rows],
        steps: &[Step],
        outs: &[(Src, Rows)],
        rows: Range<usize>,
    ) -> Vec<Range<usize>> {
        let Some(last) = passes.last() else { return vec![rows] };
        let tail = Some((plan, ins, steps, outs));
        let (b, ..) = self.pair_burst(k, side, last, rows.clone(), [PlacedNo(0); 2], None, tail);
        if rows.len() < 2 || b.collides().is_none() {
            return vec![rows];
        }
        let middle = rows.start + rows.len() / 2;
        let mut parts = self.apart(k, plan, side, passes, ins, steps, outs, rows.start..middle);
        parts.extend(self.apart(k, plan, side, passes, ins, steps, outs, middle..rows.end));
        parts
    }
}
