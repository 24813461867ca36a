//! Growing sets of cycles (or diagonals), many beside each other, with range tests.
//!
//! Knows nothing of what the cycles are for.

use super::cells::Cells;
use std::ops::Range;

/// Words of a set that are changed or shared together.
const WORDS: usize = 4;

/// Cycles of these.
const BLOCK: u32 = 64 * WORDS as u32;

/// Sets of small integers.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Cells<u64, WORDS>,
}

/// Members `start, start + step, …` (`n` of them) that lie in a block.
fn masks(block: u32, start: u32, n: u32, step: u32) -> [u64; WORDS] {
    let (begin, last) = (block * BLOCK, start + (n - 1) * step);
    let mut out = [0; WORDS];
    if step == 1 || n == 1 {
        let (from, to) = (start.max(begin) - begin, last.min(begin + BLOCK - 1) - begin);
        for w in from / 64..=to / 64 {
            out[w as usize] = !0;
        }
        out[(from / 64) as usize] &= !0 << (from % 64);
        out[(to / 64) as usize] &= !0 >> (63 - to % 64);
        return out;
    }
    let skipped = begin.saturating_sub(start).div_ceil(step);
    let mut at = start + skipped * step;
    while at <= last.min(begin + BLOCK - 1) {
        out[((at - begin) / 64) as usize] |= 1 << (at % 64);
        at += step;
    }
    out
}

impl Bits {
    pub(super) fn new(sets: usize) -> Bits {
        Bits { words: Cells::new(sets) }
    }

    /// The greatest member of `start .. start + len` of a set, if any.
    pub(super) fn last_in(&self, set: usize, start: u32, len: u32) -> Option<u32> {
        let end = start + len.checked_sub(1)?;
        for block in (start / BLOCK..=end / BLOCK).rev() {
            let Some(words) = self.words.part(block as usize, set) else { continue };
            let begin = block * BLOCK;
            let (from, to) = (start.max(begin) - begin, end.min(begin + BLOCK - 1) - begin);
            let mut keep = !0 >> (63 - to % 64);
            for w in (from / 64..=to / 64).rev() {
                let low = if w == from / 64 { !0 << (from % 64) } else { !0 };
                let v: u64 = words[w as usize] & keep & low;
                if v != 0 {
                    return Some(begin + w * 64 + 63 - v.leading_zeros());
                }
                keep = !0;
            }
        }
        None
    }

    /// True when none of `start, start + step, …` (`n` of them) is a member of any of the sets.
    pub(super) fn free(&self, sets: Range<usize>, start: u32, n: u32, step: u32) -> bool {
        if n == 0 {
            return true;
        }
        (start / BLOCK..=(start + (n - 1) * step) / BLOCK).all(|block| {
            let masks = masks(block, start, n, step);
            let words = self.words.parts(block as usize, sets.start, sets.len());
            words.iter().all(|w| (w[0] & masks[0]) | (w[1] & masks[1]) | (w[2] & masks[2]) | (w[3] & masks[3]) == 0)
        })
    }

    /// Adds to (or removes from) each of the sets `start, start + step, …` (`n` of them).
    pub(super) fn set(&mut self, sets: Range<usize>, start: u32, n: u32, step: u32, on: bool) {
        if n == 0 {
            return;
        }
        for block in start / BLOCK..=(start + (n - 1) * step) / BLOCK {
            let masks = masks(block, start, n, step);
            for words in self.words.parts_mut(block as usize, sets.start, sets.len()) {
                for (w, m) in words.iter_mut().zip(&masks) {
                    *w = if on { *w | m } else { *w & !m };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn ranges_and_steps_agree_with_a_plain_set() {
        let mut b = Bits::new(3);
        let mut plain = [false; 700];
        for (start, n, step) in [(3, 70, 1), (100, 20, 2), (200, 1, 1), (250, 12, 1), (300, 60, 5)] {
            b.set(1..3, start, n, step, true);
            (0..n).for_each(|k| plain[(start + k * step) as usize] = true);
        }
        let before = b.clone();
        b.set(1..2, 10, 5, 1, false);
        assert_eq!(before.last_in(1, 10, 5), Some(14), "a copy stays as it was");
        assert_eq!(b.last_in(2, 10, 5), Some(14), "and so does a neighbour");
        (10..15).for_each(|k| plain[k] = false);
        for start in 0..600u32 {
            assert!(b.free(0..1, start, 30, 3));
            for n in 1..80u32 {
                let last = (start..(start + n).min(700)).rev().find(|&i| plain[i as usize]);
                assert_eq!(b.last_in(1, start, n), last, "{start} {n}");
                for step in [1, 2, 5] {
                    let free = (0..n).all(|k| !plain.get((start + step * k) as usize).is_some_and(|&p| p));
                    assert_eq!(b.free(0..2, start, n, step), free, "{start} {n} {step}");
                }
            }
        }
    }
}
