//! The line of kernels that is sliced: along the wires first, then neighbours of that order.

use super::Wire;

/// A small deterministic generator (splitmix64): the same draws on every machine.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n` (0 for `n` = 0).
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if n == 0 { 0 } else { (z % n as u64) as usize }
    }
}

/// Depth-first from the kernels that nothing drives, a kernel after all that drive it (cycles are
/// cut where they are met).
pub(super) fn along_wires(n: usize, wires: &[Wire]) -> Vec<usize> {
    let mut drives = vec![Vec::new(); n];
    for w in wires {
        drives[w.from].push(w.to);
    }
    // Reverse postorder: an explicit stack of (kernel, next of its readers).
    let mut seen = vec![false; n];
    let mut driven = vec![false; n];
    wires.iter().for_each(|w| driven[w.to] = true);
    let mut post = Vec::with_capacity(n);
    let starts = (0..n).filter(|&k| !driven[k]).chain(0..n).collect::<Vec<_>>();
    for start in starts.into_iter().rev() {
        let mut stack = vec![(start, 0)];
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        while let Some((k, next)) = stack.pop() {
            match drives[k].get(next) {
                Some(&to) => {
                    stack.push((k, next + 1));
                    if !std::mem::replace(&mut seen[to], true) {
                        stack.push((to, 0));
                    }
                }
                None => post.push(k),
            }
        }
    }
    post.reverse();
    post
}

/// The order with two near kernels exchanged, or one moved a little.
pub(super) fn neighbour(line: &[usize], seed: &mut Draw) -> Vec<usize> {
    let mut next = line.to_vec();
    let n = next.len();
    let a = seed.below(n);
    let reach = 1 + seed.below(6);
    let b = (a + reach).min(n - 1);
    if seed.below(2) == 0 {
        next.swap(a, b);
    } else {
        let k = next.remove(a);
        next.insert(b, k);
    }
    next
}
