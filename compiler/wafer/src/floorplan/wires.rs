//! Shorter wires: slicings of one line of kernels that fit the mesh all the same.
//!
//! A move mirrors a cut, or draws the subtree under it anew in its box; it is kept when the wires
//! do not become longer by more than a threshold that falls to zero. Integers only, so that every
//! machine takes the same moves.

use super::order::Draw;
use super::slicing::{Cut, Slicing};
use super::{Rect, Wire, length2};

/// The shortest plan met in `moves` moves from a drawn one, rectangles by kernel; `None` if nothing fits.
pub(super) fn shorten(
    slicing: &Slicing,
    line: &[usize],
    wires: &[Wire],
    moves: usize,
    seed: &mut Draw,
) -> Option<Vec<Rect>> {
    let mut tree = slicing.draw(seed)?;
    let mut room = Room { corners: vec![(0, 0); tree.len()], extents: vec![(0, 0); tree.len()] };
    let mut rects = vec![Rect::default(); line.len()];
    room.place(&tree, line, &mut rects);
    let mut now = length2(&rects, wires);
    let mut best = (now, rects.clone());
    // A few per cent of a wire's mean length at first.
    let start = now / wires.len().max(1) as u64 / 2;
    let mut saved = Vec::new();
    for step in 0..moves {
        let at = seed.below(tree.len());
        let size = tree[at].size();
        saved.clear();
        saved.extend_from_slice(&tree[at..at + size]);
        if size > 1 && seed.below(2) == 0 {
            tree[at].flipped = !tree[at].flipped;
        } else {
            let c = saved[0];
            // A single kernel's box is what its parent left; its extents are all we know of it.
            if size == 1 {
                continue;
            }
            slicing.fill(&mut tree[at..at + size], c.first, c.last, (c.width, c.height), seed);
        }
        room.place(&tree, line, &mut rects);
        let then = length2(&rects, wires);
        let threshold = start * (moves - step) as u64 / moves as u64;
        if then <= now + threshold {
            now = then;
            if now < best.0 {
                best = (now, rects.clone());
            }
        } else {
            tree[at..at + size].copy_from_slice(&saved);
        }
    }
    Some(best.1)
}

/// Corners and extents of a tree's nodes.
struct Room {
    corners: Vec<(u16, u16)>,
    extents: Vec<(u16, u16)>,
}

impl Room {
    /// The rectangles of all kernels. Children follow their parents, so extents go backwards and
    /// corners forwards.
    fn place(&mut self, tree: &[Cut], line: &[usize], rects: &mut [Rect]) {
        for at in (0..tree.len()).rev() {
            let c = &tree[at];
            self.extents[at] = if c.first == c.last {
                (c.width, c.height)
            } else {
                let (a, b) = (self.extents[at + 1], self.extents[at + 1 + c.first_size()]);
                if c.beside { (a.0 + b.0, a.1.max(b.1)) } else { (a.0.max(b.0), a.1 + b.1) }
            };
        }
        self.corners[0] = (0, 0);
        for (at, c) in tree.iter().enumerate() {
            let (x, y) = self.corners[at];
            if c.first == c.last {
                rects[line[c.first]] = Rect { x, y, width: c.width, height: c.height };
                continue;
            }
            let (first, second) = (at + 1, at + 1 + c.first_size());
            let (near, far) = if c.flipped { (second, first) } else { (first, second) };
            let (w, h) = self.extents[near];
            self.corners[near] = (x, y);
            self.corners[far] = if c.beside { (x + w, y) } else { (x, y + h) };
        }
    }
}
