//! A growing set of cycles (or diagonals) with range tests.
//!
//! Knows nothing of what the cycles are for.

/// A set of small integers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// The greatest member of `start .. start + len`, if any.
    pub(super) fn last_in(&self, start: u32, len: u32) -> Option<u32> {
        if len == 0 {
            return None;
        }
        let end = start + len - 1;
        let (w0, w1) = (start as usize / 64, end as usize / 64);
        for w in (w0..=w1.min(self.words.len().wrapping_sub(1))).rev() {
            if self.words.is_empty() {
                return None;
            }
            let mut v = self.words[w];
            if w == w0 {
                v &= !0 << (start % 64);
            }
            if w == w1 {
                v &= !0 >> (63 - end % 64);
            }
            if v != 0 {
                return Some(w as u32 * 64 + 63 - v.leading_zeros());
            }
        }
        None
    }

    /// True when none of `start, start + step, …` (`n` of them) is a member.
    pub(super) fn free(&self, start: u32, n: u32, step: u32) -> bool {
        if step == 1 || n == 1 {
            return self.last_in(start, n).is_none();
        }
        (0..n).all(|k| {
            let b = (start + k * step) as usize;
            self.words.get(b / 64).is_none_or(|w| w >> (b % 64) & 1 == 0)
        })
    }

    /// Adds (or removes) `start, start + step, …` (`n` of them).
    pub(super) fn set(&mut self, start: u32, n: u32, step: u32, on: bool) {
        if n == 0 {
            return;
        }
        let last = (start + (n - 1) * step) as usize / 64;
        if last >= self.words.len() {
            self.words.resize(last + 32, 0);
        }
        if step == 1 {
            let end = start + n - 1;
            let (w0, w1) = (start as usize / 64, end as usize / 64);
            for w in w0..=w1 {
                let mut mask = !0u64;
                if w == w0 {
                    mask &= !0 << (start % 64);
                }
                if w == w1 {
                    mask &= !0 >> (63 - end % 64);
                }
                if on {
                    self.words[w] |= mask;
                } else {
                    self.words[w] &= !mask;
                }
            }
            return;
        }
        for k in 0..n {
            let b = (start + k * step) as usize;
            if on {
                self.words[b / 64] |= 1 << (b % 64);
            } else {
                self.words[b / 64] &= !(1 << (b % 64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn ranges_and_steps_agree_with_a_plain_set() {
        let mut b = Bits::default();
        let mut plain = [false; 400];
        for (start, n, step) in [(3, 70, 1), (100, 20, 2), (200, 1, 1), (255, 2, 1)] {
            b.set(start, n, step, true);
            (0..n).for_each(|k| plain[(start + k * step) as usize] = true);
        }
        b.set(10, 5, 1, false);
        (10..15).for_each(|k| plain[k] = false);
        for start in 0..300u32 {
            for n in 1..80u32 {
                let last = (start..start + n).rev().find(|&i| plain[i as usize]);
                assert_eq!(b.last_in(start, n), last, "{start} {n}");
                if start + 2 * n < 400 {
                    let free = (0..n).all(|k| !plain[(start + 2 * k) as usize]);
                    assert_eq!(b.free(start, n, 2), free);
                }
            }
        }
    }
}
