//! What can be said of a task's operations beforehand.
//!
//! *Quiet* ones can be passed over: they touch SRAM alone, the same bytes at every execution and on every PE of the
//! class, wait for nothing and start nothing. Where none is in flight, they are in order wherever they occur. And of
//! some that take wavelets it is known that others follow which take more from the same queues, whatever happens.

use super::super::super::lower::{self, Access, LowOp, LowTask};
use quadrille_isa::wafer::IssueMode;

/// Of every operation of a task, what follows.
pub(super) struct Quiet {
    /// How many from it on are quiet, and one past the highest byte that they touch.
    runs: Vec<(u16, u32)>,
    /// The next one that takes from the same queues, with nothing but quiet ones between; 0 when there is none.
    like: Vec<u16>,
}

impl Quiet {
    pub(super) fn new(task: &LowTask, sram_limit: u32) -> Quiet {
        let mut runs = vec![(0u16, 0u32); task.body.len()];
        let mut next = (0, 0);
        for (op, run) in task.body.iter().zip(&mut runs).rev() {
            next = match highest_byte(op, sram_limit) {
                Some(high) if next.0 < u16::MAX => (next.0 + 1, next.1.max(high)),
                _ => (0, 0),
            };
            *run = next;
        }
        let mut like = vec![0; task.body.len()];
        for (ix, op) in task.body.iter().enumerate().filter(|(_, op)| only_takes(op)) {
            let then = ix + 1 + runs.get(ix + 1).map_or(0, |r| usize::from(r.0));
            let same = task.body.get(then).is_some_and(|o| only_takes(o) && o.queues == op.queues);
            if same && pace(op) == pace(&task.body[then]) {
                like[ix] = then as u16;
            }
        }
        Quiet { runs, like }
    }

    /// How many operations from `op` on are quiet, if any, and one past the highest byte that they touch.
    pub(super) fn run(&self, op: u16) -> Option<(u16, u32)> {
        self.runs.get(usize::from(op)).copied().filter(|r| r.0 > 0)
    }

    /// Wavelets that operations right after `op` take from each of its queues.
    pub(super) fn words_ahead(&self, task: &LowTask, mut op: u16, params: &[i32]) -> u64 {
        let mut words = 0u64;
        while let Some(&next) = self.like.get(usize::from(op)).filter(|&&n| n > op) {
            let low = &task.body[usize::from(next)];
            // One that breaks a rule takes nothing.
            let Some(n) = lower::element_count(low, params).filter(|&n| n <= i32::MAX as u64) else { break };
            let Some(per) = pace(low) else { break };
            words += n.div_ceil(per);
            op = next;
        }
        words
    }
}

/// One past the highest byte of a quiet operation; `None` for others and those that break a rule.
fn highest_byte(op: &LowOp, sram_limit: u32) -> Option<u32> {
    let quiet = op.memory_only() && plain(op);
    let ex = op.fixed.as_ref().filter(|_| quiet)?;
    let high = (0..4).filter_map(|k| ex.extent(op, k)).map(|e| e.1).max().unwrap_or(0);
    (high <= i64::from(sram_limit)).then_some(high as u32)
}

fn plain(op: &LowOp) -> bool {
    op.issue == IssueMode::Sync && op.on_done.is_empty()
}

/// True for operations that take wavelets, send none and start nothing.
fn only_takes(op: &LowOp) -> bool {
    plain(op) && op.queues != 0 && op.operands[3].access.queue().is_none() && pace(op).is_some()
}

/// Elements a wavelet of its queues, where all are alike and go element by element.
fn pace(op: &LowOp) -> Option<u64> {
    let mut pace = None;
    for o in &op.operands[..3] {
        match o.access {
            Access::FabricRow(_) => return None,
            Access::Fabric(_) => {
                let per = u64::from(o.ty.per_wavelet());
                if pace.is_some_and(|p| p != per) {
                    return None;
                }
                pace = Some(per);
            }
            _ => {}
        }
    }
    pace
}
