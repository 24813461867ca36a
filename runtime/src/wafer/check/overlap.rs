//! Do two operations touch a common word of SRAM, one of them writing?
//!
//! A word is a 16-bit bank word. Exact: intervals first, then the elements themselves; answers
//! of the second kind are remembered, since loops ask again and again.

use super::super::lower::{Addr, Execution, LowOp};
use std::collections::HashMap;

/// Element addresses of one operand: both strides and counts, zero strides folded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Footprint {
    start: i64,
    s0: i64,
    n0: u32,
    s1: i64,
    n1: u32,
    size: u32,
}

impl Footprint {
    fn new(op: &LowOp, ex: &Execution, k: usize) -> Footprint {
        let Addr { start, s0, s1 } = ex.addr[k];
        Footprint {
            start: i64::from(start),
            s0: i64::from(s0),
            n0: if s0 == 0 { 1 } else { ex.n0 },
            s1: i64::from(s1),
            n1: if s1 == 0 { 1 } else { ex.n1 },
            size: op.operands[k].ty.bytes(),
        }
    }

    /// Calls `f` with the bank words of each element until it returns true.
    fn any(&self, mut f: impl FnMut(usize) -> bool) -> bool {
        for i1 in 0..i64::from(self.n1) {
            for i0 in 0..i64::from(self.n0) {
                let at = self.start + i1 * self.s1 + i0 * self.s0;
                let (first, last) = (at / 2, (at + i64::from(self.size) - 1) / 2);
                for w in first..=last {
                    if f(w as usize) {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// Remembers answers.
#[derive(Default)]
pub(super) struct Overlaps {
    known: HashMap<(Footprint, Footprint), bool>,
    marks: Vec<bool>,
}

/// Answers kept; beyond it the table is emptied.
const KEEP: usize = 1 << 16;

impl Overlaps {
    /// Operands of `a` and `b` that touch a common word, one of them a destination.
    pub(super) fn conflict(&mut self, a: (&LowOp, &Execution), b: (&LowOp, &Execution)) -> Option<(usize, usize)> {
        for i in 0..4 {
            let Some((alo, ahi)) = a.1.extent(a.0, i) else { continue };
            for j in 0..4 {
                if i != 3 && j != 3 {
                    continue;
                }
                let Some((blo, bhi)) = b.1.extent(b.0, j) else { continue };
                // Widened to whole bank words.
                if alo & !1 < (bhi + 1) & !1
                    && blo & !1 < (ahi + 1) & !1
                    && self.meet(Footprint::new(a.0, a.1, i), Footprint::new(b.0, b.1, j))
                {
                    return Some((i, j));
                }
            }
        }
        None
    }

    fn meet(&mut self, a: Footprint, b: Footprint) -> bool {
        if let Some(&known) = self.known.get(&(a, b)) {
            return known;
        }
        let marks = &mut self.marks;
        marks.clear();
        a.any(|w| {
            if marks.len() <= w {
                marks.resize(w + 1, false);
            }
            marks[w] = true;
            false
        });
        let answer = b.any(|w| marks.get(w).copied().unwrap_or(false));
        if self.known.len() >= KEEP {
            self.known.clear();
        }
        self.known.insert((a, b), answer);
        answer
    }
}
