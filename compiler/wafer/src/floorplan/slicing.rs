//! The best slicing of every run of a line of kernels: cut into two runs, one above or beside the
//! other, and so on down to single kernels.
//!
//! A run's frontier is the least of all its cuts, so the whole line's frontier says exactly
//! whether the kernels fit the mesh in this order; a plan is drawn from it top down. n kernels
//! take n^3 / 6 joins of two frontiers.

use super::frontier::{Frontier, NONE};
use super::order::Draw;

/// The frontiers of all runs.
pub(super) struct Slicing {
    n: usize,
    width: u16,
    height: u16,
    /// Run `i..=j` at `i * n + j`.
    runs: Vec<Frontier>,
}

/// A node of a slicing: the run `first..=last` in a box, and how the box is cut.
///
/// Nodes lie in preorder: the near run's subtree follows its parent, the far run's follows that. A
/// subtree of a run of m kernels takes 2m - 1 nodes however it is cut, so it can be drawn anew in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(super) struct Cut {
    pub(super) first: usize,
    pub(super) last: usize,
    /// Of the box; of the kernel for a single one.
    pub(super) width: u16,
    pub(super) height: u16,
    /// The first run is `first..=cut`; unused for a single kernel.
    pub(super) cut: usize,
    pub(super) beside: bool,
    /// The second run lies west or north of the first.
    pub(super) flipped: bool,
}

impl Cut {
    /// Nodes of the subtree.
    pub(super) fn size(&self) -> usize {
        2 * (self.last - self.first) + 1
    }

    /// Nodes of the first run's subtree.
    pub(super) fn first_size(&self) -> usize {
        2 * (self.cut - self.first) + 1
    }
}

impl Slicing {
    pub(super) fn new(leaves: Vec<Frontier>, width: u16, height: u16) -> Self {
        let n = leaves.len();
        let empty = Frontier { height: Vec::new(), width: Vec::new() };
        let mut runs = vec![empty; n * n];
        for (i, leaf) in leaves.into_iter().enumerate() {
            runs[i * n + i] = leaf;
        }
        for len in 2..=n {
            for i in 0..=n - len {
                let j = i + len - 1;
                let mut f = Frontier::empty(width, height);
                for k in i..j {
                    f.join(&runs[i * n + k], &runs[(k + 1) * n + j]);
                }
                f.close();
                runs[i * n + j] = f;
            }
        }
        Self { n, width, height, runs }
    }

    /// True when the whole line fits the mesh.
    pub(super) fn fits(&self) -> bool {
        self.runs[self.n - 1].any()
    }

    /// One of the slicings that fit the mesh, drawn at random.
    pub(super) fn draw(&self, seed: &mut Draw) -> Option<Vec<Cut>> {
        if !self.fits() {
            return None;
        }
        let blank = Cut { first: 0, last: self.n - 1, width: 0, height: 0, cut: 0, beside: false, flipped: false };
        let mut tree = vec![blank; 2 * self.n - 1];
        self.fill(&mut tree, 0, self.n - 1, (self.width, self.height), seed);
        Some(tree)
    }

    /// Draws the run's subtree into `tree`; the run fits the box.
    pub(super) fn fill(&self, tree: &mut [Cut], i: usize, j: usize, (width, height): (u16, u16), seed: &mut Draw) {
        let (w, h) = (usize::from(width), usize::from(height));
        if i == j {
            let f = &self.runs[i * self.n + i];
            // As narrow as this height allows, or as low as this width allows.
            let (width, height) = if seed.below(2) == 0 {
                (f.width[h], f.height[usize::from(f.width[h])])
            } else {
                (f.width[usize::from(f.height[w])], f.height[w])
            };
            tree[0] = Cut { first: i, last: i, width, height, cut: i, beside: false, flipped: false };
            return;
        }
        let stacks = |k: usize| {
            let (a, b) = (&self.runs[i * self.n + k], &self.runs[(k + 1) * self.n + j]);
            a.height[w] != NONE && b.height[w] != NONE && a.height[w].saturating_add(b.height[w]) <= height
        };
        let abuts = |k: usize| {
            let (a, b) = (&self.runs[i * self.n + k], &self.runs[(k + 1) * self.n + j]);
            a.width[h] != NONE && b.width[h] != NONE && a.width[h].saturating_add(b.width[h]) <= width
        };
        let cuts = (i..j).flat_map(|k| [(k, false, stacks(k)), (k, true, abuts(k))]).filter(|c| c.2);
        // A reservoir of one: every cut that fits is as likely.
        let mut chosen = (i, false);
        for (seen, (k, beside, _)) in cuts.enumerate() {
            if seed.below(seen + 1) == 0 {
                chosen = (k, beside);
            }
        }
        let (cut, beside) = chosen;
        let (a, b) = (&self.runs[i * self.n + cut], &self.runs[(cut + 1) * self.n + j]);
        // The slack goes to one of the two.
        let first_takes = seed.below(2) == 0;
        let (near, far) = if beside {
            let wa = if first_takes { width - b.width[h] } else { a.width[h] };
            ((wa, height), (width - wa, height))
        } else {
            let ha = if first_takes { height - b.height[w] } else { a.height[w] };
            ((width, ha), (width, height - ha))
        };
        let flipped = seed.below(2) == 0;
        tree[0] = Cut { first: i, last: j, width, height, cut, beside, flipped };
        let (one, two) = tree[1..].split_at_mut(2 * (cut - i) + 1);
        self.fill(one, i, cut, near, seed);
        self.fill(two, cut + 1, j, far, seed);
    }
}
