//! What the instruction fetch of each queue of a chip must bring.

use quadrille_isa::tsp::{Program, QueueId, text_slots};
use std::collections::VecDeque;

/// Cycles over which a peak is taken: a fetch buffer of as many instructions smooths what is shorter.
pub const WINDOW: u64 = 64;

/// A queue's need.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Supply {
    /// Which.
    pub queue: QueueId,
    /// Its program text.
    pub bytes: u64,
    /// Most bytes a cycle, over any [`WINDOW`] cycles.
    pub peak: f64,
}

/// Needs of all queues.
pub fn supply(p: &Program, instruction_bytes: u32) -> Vec<Supply> {
    let bytes = u64::from(instruction_bytes);
    let of = |(&queue, issues): (&QueueId, &Vec<_>)| {
        let (mut all, mut now, mut most) = (0, 0, 0);
        let mut window: VecDeque<(u64, u64)> = VecDeque::new();
        for (cycle, slots) in text_slots(issues) {
            let cycle = u64::from(cycle);
            while let Some(&(_, gone)) = window.front().filter(|w| w.0 + WINDOW <= cycle) {
                window.pop_front();
                now -= gone;
            }
            window.push_back((cycle, slots));
            (all, now) = (all + slots, now + slots);
            most = most.max(now);
        }
        Supply { queue, bytes: all * bytes, peak: (most * bytes) as f64 / WINDOW as f64 }
    };
    p.queues.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_isa::tsp::{Inst, Issue, NodeIx, Repeat};

    #[test]
    fn the_peak_is_that_of_the_fullest_window() {
        let issue = |cycle, n| Issue { cycle, inst: Inst::Notify, repeat: Repeat { n, d: 1, a: 0 }, node: NodeIx(0) };
        // Four instructions in a row, a NOP, one with a REPEAT, and one much later.
        let queue: Vec<Issue> = [(0, 0), (1, 0), (2, 0), (3, 0), (10, 5), (900, 0)].map(|(c, n)| issue(c, n)).into();
        let first = QueueId::Vxm(0);
        let p = Program { queues: [(first, queue)].into(), ..Program::default() };
        let s = supply(&p, 16);
        assert_eq!(s, [Supply { queue: first, bytes: 16 * (4 + 3 + 2), peak: 16.0 * 7.0 / 64.0 }]);
    }
}
