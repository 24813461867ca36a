//! A program's queues as flat arrays with dense numbers, for judging at speed.
//!
//! Knows how to find a queue and an issue by number; knows no rule.

use super::form::queue_exists;
use quadrille_isa::tsp::{
    Column, Dir, Hemisphere, Issue, IssueRef, Machine, MxmPart, Program, QueueId, SxmUnit, Thread,
};

/// Number of an issue over the whole program, queue by queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct IssueNo(pub(super) u32);

/// One queue of the program.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) first: IssueNo,
    pub(super) len: u32,
    pub(super) column: Column,
}

/// The queues and issues of a program under dense numbers.
pub(super) struct Flat<'a> {
    pub(super) queues: Vec<Queue>,
    pub(super) issues: Vec<&'a Issue>,
    /// Queue number of each issue.
    pub(super) queue_of: Vec<u16>,
    by_code: Vec<u16>,
}

const NO_QUEUE: u16 = u16::MAX;

/// A small number for every queue that a `QueueId` can name, on any machine.
fn code(q: QueueId) -> usize {
    let hemi = |h: Hemisphere| usize::from(h == Hemisphere::East);
    match q {
        QueueId::Mem(s, t) => (hemi(s.hemisphere) * 256 + usize::from(s.index)) * 2 + usize::from(t == Thread::Write),
        QueueId::Vxm(n) => 1024 + usize::from(n),
        QueueId::Mxm(p, part) => {
            let part = match part {
                MxmPart::Weights => 0,
                MxmPart::Activations => 1,
                MxmPart::Accumulators => 2,
            };
            1280 + usize::from(p) * 3 + part
        }
        QueueId::Sxm(h, unit, dir) => {
            let unit = match unit {
                SxmUnit::Permuter => 0,
                SxmUnit::Distributor(n) => 1 + usize::from(n),
                SxmUnit::Transposer(n) => 257 + usize::from(n),
            };
            2048 + (hemi(h) * 2 + usize::from(dir == Dir::East)) * 513 + unit
        }
    }
}

const CODES: usize = 2048 + 4 * 513;

impl<'a> Flat<'a> {
    pub(super) fn new(program: &'a Program, machine: &Machine) -> Flat<'a> {
        let mut flat = Flat {
            queues: Vec::with_capacity(program.queues.len()),
            issues: Vec::new(),
            queue_of: Vec::new(),
            by_code: vec![NO_QUEUE; CODES],
        };
        for (number, (&id, issues)) in program.queues.iter().enumerate() {
            // There are fewer possible queues than u16 numbers, and keys are distinct.
            flat.by_code[code(id)] = number as u16;
            flat.queues.push(Queue {
                id,
                first: IssueNo(flat.issues.len() as u32),
                len: issues.len() as u32,
                // A queue that does not exist is reported; until then it may stand anywhere.
                column: if queue_exists(id, machine) { machine.queue_column(id) } else { Column(0) },
            });
            flat.issues.extend(issues.iter());
            flat.queue_of.resize(flat.issues.len(), number as u16);
        }
        flat
    }

    pub(super) fn queue_number(&self, q: QueueId) -> Option<usize> {
        let n = self.by_code[code(q)];
        (n != NO_QUEUE).then_some(usize::from(n))
    }

    pub(super) fn find(&self, r: IssueRef) -> Option<IssueNo> {
        let q = &self.queues[self.queue_number(r.queue)?];
        (r.index < q.len).then_some(IssueNo(q.first.0 + r.index))
    }

    pub(super) fn issue(&self, n: IssueNo) -> &'a Issue {
        self.issues[n.0 as usize]
    }

    pub(super) fn queue(&self, n: IssueNo) -> &Queue {
        &self.queues[usize::from(self.queue_of[n.0 as usize])]
    }

    pub(super) fn issue_ref(&self, n: IssueNo) -> IssueRef {
        let q = self.queue(n);
        IssueRef { queue: q.id, index: n.0 - q.first.0 }
    }
}
