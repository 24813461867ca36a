//! What PEs of one class do, in an order that is as good for their values: sends as early as they can be, takes as late, and
//! what goes on where the one before ended joined with it.
//!
//! An operation must follow another one only where they touch common bytes and one writes, or the same queue. No take comes
//! before a send that was launched before it. Knows operations and places; knows nothing of values and of PEs.

use super::super::super::kernel::Kernel;
use super::super::super::lower::{Access, Execution};
use super::super::products::Products;
use super::super::shape::Shape;

/// A launch without its PE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in super::super) struct Launch {
    pub(in super::super) shape: u32,
    pub(in super::super) ex: Execution,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(in super::super) enum Work {
    /// Bytes from SRAM into an output queue, as they are.
    Send { queue: u8, at: u32, len: u32 },
    /// Bytes from an input queue into SRAM, as they are.
    Take { queue: u8, at: u32, len: u32 },
    /// Multiply-adds in SRAM.
    Products(Products),
    /// Any other operation.
    Any(Launch),
}

/// One or several operations.
#[derive(Clone, Debug)]
pub(in super::super) struct Step {
    pub(in super::super) work: Work,
    /// First and one past the last byte of what is read, and of what is written; empty ones are (0, 0).
    reads: [(i64, i64); 3],
    writes: (i64, i64),
    queues: u16,
}

/// Steps in order.
pub(in super::super) type Trace = Vec<Step>;

/// Steps to look back for one to join with.
const BACK: usize = 8;

fn meet(a: (i64, i64), b: (i64, i64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

fn cover(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    match (a.0 < a.1, b.0 < b.1) {
        (false, _) => b,
        (_, false) => a,
        _ => (a.0.min(b.0), a.1.max(b.1)),
    }
}

impl Step {
    fn new(launch: &Launch, shapes: &[Shape]) -> Step {
        let (op, ex) = (&shapes[launch.shape as usize], &launch.ex);
        let extent = |k: usize| ex.bytes(op.operands[k].access, op.operands[k].ty, k).unwrap_or((0, 0));
        let work = bytes_out(op, ex)
            .or_else(|| bytes_in(op, ex))
            .or_else(|| Products::of(op, ex).map(Work::Products))
            .unwrap_or(Work::Any(*launch));
        Step { work, reads: [extent(0), extent(1), extent(2)], writes: extent(3), queues: op.queues }
    }

    /// Whether one of two must wait for the other.
    pub(in super::super) fn meets(&self, other: &Step) -> bool {
        let written = |a: &Step, b: &Step| meet(a.writes, b.writes) || b.reads.iter().any(|&r| meet(a.writes, r));
        self.queues & other.queues != 0 || written(self, other) || written(other, self)
    }

    /// Does another step besides, when that goes on where this one ends.
    fn join(&mut self, next: &Step) -> bool {
        let joined = match (&mut self.work, &next.work) {
            (Work::Send { queue: p, at, len }, Work::Send { queue: q, at: next, len: more })
            | (Work::Take { queue: p, at, len }, Work::Take { queue: q, at: next, len: more })
                if p == q && *at + *len == *next =>
            {
                *len += more;
                true
            }
            (Work::Products(p), Work::Products(q)) => p.join(q),
            _ => false,
        };
        if joined {
            for (mine, its) in self.reads.iter_mut().zip(next.reads) {
                *mine = cover(*mine, its);
            }
            self.writes = cover(self.writes, next.writes);
        }
        joined
    }
}

/// First byte and length of an operand in SRAM whose elements lie side by side.
fn side_by_side(ex: &Execution, k: usize, size: i64) -> Option<(u32, u32)> {
    let (n0, n1, a) = (i64::from(ex.n0), i64::from(ex.n1), ex.addr[k]);
    let rows_join = n1 == 1 || i64::from(a.s1) == n0 * size;
    let len = u32::try_from(n0 * n1 * size).ok()?;
    ((n0 == 1 || i64::from(a.s0) == size) && rows_join && len > 0).then_some((a.start as u32, len))
}

fn copied(op: &Shape) -> Option<i64> {
    match op.kernel {
        Kernel::Copy32 => Some(4),
        Kernel::Copy16 => Some(2),
        _ => None,
    }
}

fn bytes_out(op: &Shape, ex: &Execution) -> Option<Work> {
    let Access::Fabric(queue) = op.operands[3].access else { return None };
    let (at, len) = side_by_side(ex, 0, copied(op)?)?;
    (op.operands[0].access == Access::Mem && len.is_multiple_of(4)).then_some(Work::Send { queue, at, len })
}

fn bytes_in(op: &Shape, ex: &Execution) -> Option<Work> {
    let Access::Fabric(queue) = op.operands[0].access else { return None };
    let (at, len) = side_by_side(ex, 3, copied(op)?)?;
    (op.operands[3].access == Access::Mem && len.is_multiple_of(4)).then_some(Work::Take { queue, at, len })
}

/// What a launch waits for: nothing, a queue's words, and whether it gives words.
fn takes(op: &Shape) -> bool {
    op.operands[..3].iter().any(|o| o.access.queue().is_some())
}

/// The steps of these launches.
pub(in super::super) fn trace(launches: &[Launch], shapes: &[Shape]) -> Trace {
    let steps: Vec<Step> = launches.iter().map(|l| Step::new(l, shapes)).collect();
    let shape = |k: usize| &shapes[launches[k].shape as usize];
    let is_take: Vec<bool> = (0..steps.len()).map(|k| takes(shape(k))).collect();
    let gives: Vec<bool> = (0..steps.len()).map(|k| shape(k).operands[3].access.queue().is_some()).collect();
    // Steps before each that it must wait for and that are not in order yet.
    let mut waits = vec![0u32; steps.len()];
    let mut next: Vec<Vec<u32>> = vec![Vec::new(); steps.len()];
    for (k, step) in steps.iter().enumerate() {
        for j in (0..k).filter(|&j| steps[j].meets(step)) {
            waits[k] += 1;
            next[j].push(k as u32);
        }
    }
    let mut left: Vec<u32> = (0..steps.len() as u32).collect();
    let mut out = Trace::new();
    while !left.is_empty() {
        let before = left.len();
        let mut pass = |left: &mut Vec<u32>, now: &dyn Fn(usize) -> bool, stops: bool, waits: &mut Vec<u32>| {
            let (first, mut stopped) = (out.len(), false);
            left.retain(|&k| {
                let k = k as usize;
                if !stopped && waits[k] == 0 && now(k) {
                    next[k].iter().for_each(|&n| waits[n as usize] -= 1);
                    append(&mut out, first, steps[k].clone());
                    return false;
                }
                stopped |= stops && gives[k];
                true
            });
        };
        // Sends and what they wait for, as far as it goes without words; then what is computed; then the takes.
        loop {
            let now = left.len();
            pass(&mut left, &|k| gives[k] && !is_take[k], false, &mut waits);
            pass(&mut left, &|k| !gives[k] && !is_take[k], false, &mut waits);
            if left.len() == now {
                break;
            }
        }
        pass(&mut left, &|k| is_take[k], true, &mut waits);
        if left.len() == before {
            // Not possible: the first that is left waits for nothing.
            left.drain(..).for_each(|k| out.push(steps[k as usize].clone()));
        }
    }
    out
}

/// Joins a step with one of those from `first` on, if none between them must be done before it.
fn append(out: &mut Trace, first: usize, step: Step) {
    for k in (first..out.len()).rev().take(BACK) {
        if out[k].join(&step) {
            return;
        }
        if out[k].meets(&step) {
            break;
        }
    }
    out.push(step);
}
