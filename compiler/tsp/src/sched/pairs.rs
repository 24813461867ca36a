//! Products of f16 with one chain: each hemisphere's pair takes blocks, or rows of one block, of its own.
//!
//! Where two chains meet row by row, a hemisphere with fewer passes waits for the other. Here none does.

use super::Scheduler;
use super::burst::{Burst, PlacedNo};
use super::map::Shared;
use super::rows::Effects;
use super::split::{cuts, waves};
use super::vxm::plan;
use crate::error::CompileError;
use crate::tiled::{Kernel, Pass, Rows, Src, Step};
use quadrille_isa::tsp::Hemisphere;

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
        let interval = self.m.latency.mxm_f16_row_interval;
        let most = self.m.geometry.accumulator_rows_per_plane as usize;
        for wave in waves(&cuts(self.g, k, sides.len()), sides, 1, (most, 0)) {
            let mut left: Vec<Option<PlacedNo>> = vec![None; wave.len()];
            for (number, p) in passes.iter().enumerate() {
                let last = number + 1 == passes.len();
                for (share, left) in wave.iter().zip(&mut left) {
                    let (side, rows) = (share.side, share.runs[0].1.clone());
                    let installs = self.install_pair(k, side, p)?;
                    let mut b = Burst::new(k.node.0);
                    let mut e = Effects::default();
                    let at = if last { self.meeting(side, &plan, 0) } else { 0 };
                    let copy = usize::from(side == Hemisphere::East);
                    let part = self.pass(&mut b, &mut e, side, copy, p, rows.clone(), at, installs, *left, last);
                    if let Some(sums) = part.emit {
                        let mut shared = Shared::default();
                        shared.copy = copy;
                        let rows = rows.clone();
                        self.alus(&mut b, &mut e, &plan, &[sums], ins, steps, outs, rows, interval, None, &mut shared);
                    }
                    let landing = self.place(k, b, e)?;
                    *left = Some(landing.inst(part.acc));
                    self.pair_takes_rows(k, side, &landing, at, rows.len() as u32);
                }
            }
        }
        Ok(())
    }
}
