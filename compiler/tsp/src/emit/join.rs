//! Instructions that go on as the one before them in their queue become repetitions of it.
//!
//! Bursts are placed one by one, and often one begins where the one before ended: the next rows of a tensor on the same
//! stream, the next words of weights. One instruction does both in the same cycles, and takes less program text. Knows
//! issues and repeats; knows no kernel.

use quadrille_isa::tsp::{Inst, Issue, Repeat};

/// What a repeat steps, and the instruction without it.
fn stepped(inst: &Inst) -> (i32, Inst) {
    let mut rest = inst.clone();
    let step = match &mut rest {
        Inst::Read { addr, .. } | Inst::Write { addr, .. } => i32::from(std::mem::take(addr)),
        Inst::Accumulate { row, .. } => i32::from(std::mem::take(row)),
        _ => 0,
    };
    (step, rest)
}

/// The repeat with which an issue does what another, later in its queue, does as well.
pub(super) fn joined(first: &Issue, next: &Issue) -> Option<Repeat> {
    let ((from, a), (to, b)) = (stepped(&first.inst), stepped(&next.inst));
    let d = next.cycle.checked_sub(first.last_cycle()).filter(|&d| d > 0)?;
    let last = from + first.repeat.n as i32 * first.repeat.a;
    let step = Repeat { n: 0, d, a: to - last };
    let goes_on = |r: &Repeat| r.n == 0 || (r.d, r.a) == (step.d, step.a);
    let same = a == b && first.node == next.node && goes_on(&first.repeat) && goes_on(&next.repeat);
    same.then_some(Repeat { n: first.repeat.n + next.repeat.n + 1, ..step })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_isa::tsp::{Dir, NodeIx, Stream};

    fn read(cycle: u32, addr: u16, repeat: Repeat) -> Issue {
        let stream = Stream { dir: Dir::East, id: 3 };
        Issue { cycle, inst: Inst::Read { addr, stream }, repeat, node: NodeIx(0) }
    }

    #[test]
    fn what_goes_on_in_step_is_one_instruction() {
        let once = Repeat::default();
        let rows = |n, d, a| Repeat { n, d, a };
        // Words 10, 12, 14 in cycles 40, 42, 44, then 16 in 46.
        assert_eq!(joined(&read(40, 10, rows(2, 2, 2)), &read(46, 16, once)), Some(rows(3, 2, 2)));
        assert_eq!(joined(&read(40, 10, rows(2, 2, 2)), &read(46, 16, rows(4, 2, 2))), Some(rows(7, 2, 2)));
        assert_eq!(joined(&read(40, 10, once), &read(47, 8, once)), Some(rows(1, 7, -2)));
        assert_eq!(joined(&read(40, 10, rows(2, 2, 2)), &read(47, 16, once)), None, "a cycle late");
        assert_eq!(joined(&read(40, 10, rows(2, 2, 2)), &read(46, 17, once)), None, "another word");
        assert_eq!(joined(&read(40, 10, rows(2, 2, 2)), &read(46, 16, rows(1, 3, 2))), None, "other steps");
    }
}
