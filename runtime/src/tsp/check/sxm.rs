//! Occupancy of SXM units: two queues, one issue a cycle.

use super::{Checker, Finding, Rule};
use crate::tsp::flat::{IssueNo, Queue};
use quadrille_isa::tsp::{Dir, QueueId};

impl Checker<'_> {
    pub(super) fn sxm(&mut self) {
        for number in 0..self.flat.queues.len() {
            let q = self.flat.queues[number];
            let QueueId::Sxm(h, unit, Dir::East) = q.id else { continue };
            let Some(other) = self.flat.queue_number(QueueId::Sxm(h, unit, Dir::West)) else { continue };
            let other = self.flat.queues[other];
            self.share_unit(q, other);
        }
    }

    fn share_unit(&mut self, a: Queue, b: Queue) {
        let (mut b_issue, mut b_exec) = (1, 0);
        // Syncs are first in both queues and take no unit.
        for index in 1..a.len {
            let no = IssueNo(a.first.0 + index);
            for k in 0..self.executions(no) {
                let cycle = self.cycle_of(no, k);
                while b_issue < b.len {
                    let other = IssueNo(b.first.0 + b_issue);
                    let at = self.cycle_of(other, b_exec);
                    if at > cycle {
                        break;
                    }
                    if at == cycle {
                        let (e, o) = (self.exec(no, k), self.exec(other, b_exec));
                        self.report(Finding::new(Rule::SxmUnit).at(e).other(Some(o)), |_| {
                            (String::new(), "both queues of the unit issue in one cycle".into())
                        });
                    }
                    b_exec += 1;
                    if b_exec == self.executions(other) {
                        (b_issue, b_exec) = (b_issue + 1, 0);
                    }
                }
            }
        }
    }
}
