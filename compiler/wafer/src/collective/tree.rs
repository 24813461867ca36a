//! Who adds whose vector along a line of PEs.

use super::cost::{Costs, Own};
use super::search::{self, Limits};

/// The shapes that a reduction along a line may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Scheme {
    /// All send to the root.
    Star,
    /// Each adds to what its outer neighbour sends.
    Chain,
    /// Halves, quarters, eighths ...; on lines that would ask for too many queues, the lowest levels are chains.
    Binary,
    /// Chains of about the square root of the line, then a chain of their heads.
    TwoPhase,
    /// The tree with the least declared cycles.
    Auto,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Scheme; 5] = [Scheme::Star, Scheme::Chain, Scheme::Binary, Scheme::TwoPhase, Scheme::Auto];

    /// The tree of this shape over `n` PEs, the root at place `root`; one that would need more children
    /// falls back to chains. `None` when there is none within the limits.
    pub(super) fn tree(self, n: u16, root: u16, length: u32, own: Own, costs: &Costs, limits: Limits) -> Option<Tree> {
        if self == Scheme::Auto {
            return search::best(n, root, u64::from(length), own, costs, limits);
        }
        let Limits { inner, outer, .. } = limits;
        let (left, right) = (root, n - 1 - root);
        let sides = usize::from(left > 0) + usize::from(right > 0);
        let limit = inner.min(outer / sides.max(1)).max(1);
        let arms = [(-1i32, left), (1, right)].map(|(step, count)| {
            let arm = self.arm(usize::from(count) + 1, limit);
            (step, arm)
        });
        let mut children = vec![Vec::new(); usize::from(n)];
        for (step, arm) in &arms {
            for (at, list) in arm.iter().enumerate() {
                let place = |k: usize| (i32::from(root) + step * k as i32) as u16;
                children[usize::from(place(at))].extend(list.iter().map(|&c| place(c)));
            }
        }
        children[usize::from(root)].sort_by_key(|&c| c.abs_diff(root));
        Some(Tree { root, children })
    }

    /// Children by place on a line whose root is at 0, in the order of receipt.
    fn arm(self, n: usize, limit: usize) -> Vec<Vec<usize>> {
        let mut children = vec![Vec::new(); n];
        match self {
            Scheme::Star if n - 1 <= limit => children[0] = (1..n).collect(),
            Scheme::TwoPhase if limit >= 2 => {
                let size = ((n as f64).sqrt().round() as usize).max(1);
                for (at, list) in children.iter_mut().enumerate() {
                    if at % size + 1 < size && at + 1 < n {
                        list.push(at + 1);
                    }
                    if at % size == 0 && at + size < n {
                        list.push(at + size);
                    }
                }
            }
            Scheme::Binary => {
                let levels = |m: usize| m.next_power_of_two().trailing_zeros() as usize;
                let mut leaf = 1;
                while levels(n.div_ceil(leaf)) + usize::from(leaf > 1) > limit && leaf < n {
                    leaf *= 2;
                }
                for (at, list) in children.iter_mut().enumerate() {
                    if leaf > 1 && at % leaf + 1 < leaf && at + 1 < n {
                        list.push(at + 1);
                    }
                    let mut step = leaf;
                    while at % (2 * step) == 0 && step < n {
                        if at + step < n {
                            list.push(at + step);
                        }
                        step *= 2;
                    }
                }
            }
            _ => {
                for (at, list) in children.iter_mut().enumerate().take(n - 1) {
                    list.push(at + 1);
                }
            }
        }
        children
    }
}

/// A reduction along a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Place of the PE that ends up with the sum.
    pub root: u16,
    /// By place on the line: whose vectors it receives, in that order.
    pub children: Vec<Vec<u16>>,
}

/// A vector on its way along the line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Message {
    pub from: u16,
    pub to: u16,
}

impl Message {
    /// Routers that it passes, first and last.
    pub fn span(self) -> (u16, u16) {
        (self.from.min(self.to), self.from.max(self.to))
    }

    /// Hops.
    pub fn hops(self) -> u64 {
        u64::from(self.from.abs_diff(self.to))
    }
}

impl Tree {
    /// All messages, by receiver.
    pub fn messages(&self) -> Vec<Message> {
        let list = |(to, from): (usize, &Vec<u16>)| {
            from.iter().map(move |&from| Message { from, to: to as u16 }).collect::<Vec<_>>()
        };
        self.children.iter().enumerate().flat_map(list).collect()
    }

    /// Places so that every child comes before its parent.
    pub(crate) fn bottom_up(&self) -> Vec<u16> {
        let mut order = vec![self.root];
        let mut next = 0;
        while let Some(&at) = order.get(next) {
            order.extend(&self.children[usize::from(at)]);
            next += 1;
        }
        order.reverse();
        order
    }

    /// The sum of one vector a place, in the tree's order.
    pub fn sum(&self, vectors: &[&[f32]]) -> Vec<f32> {
        let mut sums: Vec<Vec<f32>> = vectors.iter().map(|v| v.to_vec()).collect();
        for at in self.bottom_up() {
            let mut own = std::mem::take(&mut sums[usize::from(at)]);
            for &child in &self.children[usize::from(at)] {
                for (a, b) in own.iter_mut().zip(&sums[usize::from(child)]) {
                    *a += b;
                }
            }
            sums[usize::from(at)] = own;
        }
        sums.swap_remove(usize::from(self.root))
    }
}
