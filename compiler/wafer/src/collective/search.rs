//! The tree of least declared cycles.
//!
//! Along a line whose root is at its end, the root's last child lies at some place i: what lies before
//! it is a tree of the same root, what lies beyond is the child's own tree. Both are best by
//! themselves, so a table over lengths and numbers of children finds the best of all trees without
//! crossing messages. A root in the middle has a table over both sides.

use super::cost::{Costs, Own};
use super::tree::Tree;

const NEVER: u64 = u64::MAX / 4;

/// A last child.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    /// On the side of larger places.
    right: bool,
    /// Distance from the root.
    at: u16,
}

/// What a tree may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Children of a PE.
    pub(crate) inner: usize,
    /// Children of the root.
    pub(crate) outer: usize,
    /// Messages at one router; `None` leaves them out of account, which is much faster.
    pub(crate) colors: Option<usize>,
}

/// First steps of best trees with the root at the end.
struct Arms {
    most: usize,
    kids: usize,
    /// 0 when colors do not count.
    colors: usize,
    /// By colors, children of the root, and PEs.
    first: Vec<u64>,
    choice: Vec<u16>,
    /// By colors and PEs: over all numbers of children, and that number, for a PE that sends its sum on.
    best: Vec<(u64, usize)>,
}

impl Arms {
    fn new(most: usize, b: u64, own: Own, costs: &Costs, kids: usize, colors: Option<usize>) -> Arms {
        let colors = colors.unwrap_or(0);
        let mut arms = Arms {
            most,
            kids,
            colors,
            first: vec![NEVER; (colors + 1) * (kids + 1) * (most + 1)],
            choice: vec![0u16; (colors + 1) * (kids + 1) * (most + 1)],
            best: vec![(NEVER, 0); (colors + 1) * (most + 1)],
        };
        for c in 0..=colors {
            let alone = arms.cell(c, 0, 1);
            arms.first[alone] = own.first;
            // Its own message takes one.
            if c > 0 || colors == 0 {
                arms.best[c * (most + 1) + 1] = (own.first, 0);
            }
            for n in 2..=most {
                for k in 1..=kids.min(if colors == 0 { kids } else { c }) {
                    // The last message passes all that lies before its sender.
                    let prefix = if colors == 0 { 0 } else { c - 1 };
                    let (before, out) = (arms.cell(prefix, k - 1, 0), arms.cell(c, k, n));
                    let mut found = (NEVER, 0);
                    for i in 1..n {
                        let ready = match (i, k) {
                            (1, 1) => own.done,
                            _ => arms.first[before + i] + b,
                        };
                        if ready + costs.launch >= found.0 {
                            continue;
                        }
                        let word = arms.best[c * (most + 1) + n - i].0 + costs.depth + costs.hop * i as u64;
                        let at = (ready + costs.launch).max(word);
                        if at < found.0 {
                            found = (at, i as u16);
                        }
                    }
                    (arms.first[out], arms.choice[out]) = found;
                    let best = &mut arms.best[c * (most + 1) + n];
                    if found.0 < best.0 && (colors == 0 || k < c) {
                        *best = (found.0, k);
                    }
                }
            }
        }
        arms
    }

    fn cell(&self, c: usize, k: usize, n: usize) -> usize {
        (c * (self.kids + 1) + k) * (self.most + 1) + n
    }

    /// Best first step of an arm of `n` PEs whose root sends its sum on, with `c` colors.
    fn best(&self, c: usize, n: usize) -> (u64, usize) {
        self.best[c.min(self.colors) * (self.most + 1) + n]
    }

    /// Children of an arm of `n` PEs, the root with `k`, by place from the root on.
    fn unfold(&self, (n, k, c): (usize, usize, usize), root: i32, step: i32, children: &mut [Vec<u16>]) {
        let (mut n, mut k, mut c) = (n, k, c.min(self.colors));
        let mut list = Vec::new();
        while n > 1 && k > 0 {
            let i = usize::from(self.choice[self.cell(c, k, n)]);
            let at = root + step * i as i32;
            list.push(at as u16);
            self.unfold((n - i, self.best(c, n - i).1, c), at, step, children);
            (n, k, c) = (i, k - 1, c.saturating_sub(1));
        }
        list.reverse();
        children[root as usize] = list;
    }
}

/// First steps of the best trees over up to `most` PEs with the root at the end, by number of PEs.
pub(crate) fn arm_cycles(most: u16, b: u64, costs: &Costs, kids: usize) -> Vec<u64> {
    let own = Own { first: costs.launch, done: 0 };
    Arms::new(usize::from(most), b, own, costs, kids, None).best.iter().map(|b| b.0).collect()
}

/// The best tree over `n` PEs with the root at place `root`; `None` when the limits allow of none.
pub(crate) fn best(n: u16, root: u16, b: u64, own: Own, costs: &Costs, limits: Limits) -> Option<Tree> {
    let (left, right) = (usize::from(root), usize::from(n - 1 - root));
    let mut children = vec![Vec::new(); usize::from(n)];
    if n == 1 {
        return Some(Tree { root, children });
    }
    let colors = limits.colors.unwrap_or(0);
    let arms = Arms::new(left.max(right) + 1, b, own, costs, limits.inner, limits.colors);
    if left == 0 || right == 0 {
        let most = left + right + 1;
        let first = |k: usize| arms.first[arms.cell(arms.colors, k, most)];
        let k = (1..=limits.outer.min(limits.inner)).min_by_key(|&k| first(k)).filter(|&k| first(k) < NEVER)?;
        let step = if left == 0 { 1 } else { -1 };
        arms.unfold((most, k, colors), i32::from(root), step, &mut children);
        return Some(Tree { root, children });
    }
    // Every later message of a side passes what lies before; at most so many do.
    let below = colors.saturating_sub(limits.outer - 1);
    let (first, choice) = both_sides(&arms, (left, right), b, own, costs, limits.outer, below);
    let width = right + 1;
    let whole = left * width + right;
    let mut k = (2..=limits.outer).min_by_key(|&k| first[k][whole]).filter(|&k| first[k][whole] < NEVER)?;
    let (mut l, mut r) = (left, right);
    let mut list = Vec::new();
    while k > 0 {
        let Choice { right: is_right, at } = choice[k][l * width + r];
        let (step, count) = if is_right { (1, r) } else { (-1, l) };
        let place = i32::from(root) + step * i32::from(at);
        let size = count + 1 - usize::from(at);
        arms.unfold((size, arms.best(below, size).1, below), place, step, &mut children);
        list.push(place as u16);
        match is_right {
            true => r = usize::from(at) - 1,
            false => l = usize::from(at) - 1,
        }
        k -= 1;
    }
    list.reverse();
    children[usize::from(root)] = list;
    Some(Tree { root, children })
}

/// By number of children and PEs on either side of the root: first step of its last addition, and
/// the last child.
fn both_sides(
    arms: &Arms,
    (left, right): (usize, usize),
    b: u64,
    own: Own,
    costs: &Costs,
    kids: usize,
    colors: usize,
) -> (Vec<Vec<u64>>, Vec<Vec<Choice>>) {
    let width = right + 1;
    let cells = (left + 1) * width;
    let mut first = vec![vec![NEVER; cells]; kids + 1];
    let mut choice = vec![vec![Choice::default(); cells]; kids + 1];
    for k in 1..=kids {
        let (done, rest) = first.split_at_mut(k);
        let before = &done[k - 1];
        let launch = |cell: usize| match (k, cell) {
            (1, 0) => own.done + costs.launch,
            (1, _) => NEVER,
            _ => before[cell] + b + costs.launch,
        };
        for l in 0..=left {
            for r in 0..=right {
                let mut found = (NEVER, Choice::default());
                for is_right in [false, true] {
                    let (count, cell): (usize, &dyn Fn(usize) -> usize) = match is_right {
                        true => (r, &|i| l * width + i - 1),
                        false => (l, &|i| (i - 1) * width + r),
                    };
                    let word = |i: usize| arms.best(colors, count + 1 - i).0 + costs.depth + costs.hop * i as u64;
                    // What lies before takes longer with larger i, what lies beyond less.
                    let (mut low, mut high) = (1, count);
                    while low < high {
                        let mid = low.midpoint(high);
                        if launch(cell(mid)) >= word(mid) { high = mid } else { low = mid + 1 }
                    }
                    for i in low.saturating_sub(1).max(1)..=low.min(count) {
                        let at = launch(cell(i)).max(word(i));
                        if at < found.0 && at < NEVER {
                            found = (at, Choice { right: is_right, at: i as u16 });
                        }
                    }
                }
                rest[0][l * width + r] = found.0.min(NEVER);
                choice[k][l * width + r] = found.1;
            }
        }
    }
    (first, choice)
}
