//! Batch axes of products of two computed operands, cut so that each part lies either on rows or on lanes.
//!
//! The heads of an attention lie partly on lanes: twelve heads of 64 lanes are three words of four. Where the columns of a
//! right operand leave room for several heads in a word, scores of heads that read the same words of the left operand
//! lie side by side. Knows views; knows no kernel.

use super::view::{Axis, View};

/// The parts of each batch axis, outermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Split {
    parts: Vec<Vec<usize>>,
    /// Number, among the axes after the cut, of the part that shares the words of a right operand that is moved.
    pub(super) shared: Option<usize>,
}

impl Split {
    /// Every axis as it is.
    pub(super) fn none(shape: &[usize]) -> Split {
        Split { parts: shape[..shape.len() - 2].iter().map(|&n| vec![n]).collect(), shared: None }
    }

    /// The batch axes after the cut, and two more.
    pub(super) fn shape(&self, last: &[usize]) -> Vec<usize> {
        self.parts.iter().flatten().chain(last).copied().collect()
    }

    /// The same for an operand of `shape`, whose batch axes may be 1.
    pub(super) fn of(&self, shape: &[usize], last: &[usize]) -> Vec<usize> {
        let part = |(p, &n): (&Vec<usize>, &usize)| if n == 1 { vec![1; p.len()] } else { p.clone() };
        self.parts.iter().zip(shape).flat_map(part).chain(last.iter().copied()).collect()
    }

    /// Axes of the result, the parts of each axis joined again.
    pub(super) fn joined(&self, axes: Vec<Axis>) -> Vec<Axis> {
        let mut left = axes.into_iter();
        let mut out: Vec<Axis> = Vec::new();
        for p in &self.parts {
            let parts: Vec<Axis> = left.by_ref().take(p.len()).collect();
            out.push(match <[Axis; 1]>::try_from(parts) {
                Ok([one]) => one,
                Err(parts) => Axis {
                    extent: p.iter().product(),
                    digits: parts.into_iter().flat_map(|a| a.digits).filter(|d| d.extent > 1).collect(),
                    copies: Vec::new(),
                },
            });
        }
        out.extend(left);
        out
    }
}

/// Extents of the innermost `1, 2, …` digits of an axis, multiplied; nothing for an axis that is not made of whole digits.
fn bounds(a: &Axis) -> Option<Vec<usize>> {
    let mut all = vec![1];
    for d in a.digits.iter().rev() {
        all.push(all[all.len() - 1] * d.extent);
    }
    (all[all.len() - 1] == a.extent && a.copies.is_empty()).then_some(all)
}

/// Heads that share a word: as many as the columns leave room for, of those that lie side by side in the left operand.
fn side_by_side(x: &Axis, columns: usize, lanes: usize) -> usize {
    let on_lanes = x.digits.iter().rev().take_while(|d| d.lane != 0 && d.row == 0);
    let run: usize = on_lanes.map(|d| d.extent).product();
    (1..=lanes / columns.max(1)).rev().find(|&g| run.is_multiple_of(g)).unwrap_or(1)
}

/// Cuts the batch axes of two operands of equal rank.
pub(super) fn split(x: &View, b: &View, shape: &[usize], lanes: usize) -> Split {
    let rank = shape.len();
    let columns = b.axes[rank - 1].extent;
    // A right operand stays where it is if its inner axis lies on rows and its columns on lanes.
    let stays = b.axes[rank - 2].digits.iter().all(|d| d.lane == 0 || d.extent == 1)
        && b.axes[rank - 1].digits.iter().all(|d| d.row == 0 && (d.lane > 0 || d.extent == 1));
    let aligned = |v: i64| v % 16 == 0;
    let inner = &x.axes[rank - 1];
    // Weights are loaded sixteen rows at a time.
    let whole = inner.extent.is_multiple_of(16)
        && aligned(x.lane0)
        && matches!(inner.digits[..], [d] if d.lane == 1 && d.row == 0)
        && x.axes[..rank - 2].iter().flat_map(|a| &a.digits).all(|d| aligned(d.lane));
    let mut out = Split { parts: Vec::new(), shared: None };
    for i in 0..rank - 2 {
        let (ax, ab) = (&x.axes[i], &b.axes[i]);
        let mut cuts = vec![1, shape[i]];
        for a in [ax, ab].into_iter().filter(|a| a.extent == shape[i]) {
            let Some(more) = bounds(a) else { return Split::none(shape) };
            cuts.extend(more);
        }
        let last = i + 3 == rank;
        let group = if last
            && !stays
            && whole
            && columns.is_multiple_of(16)
            && ab.extent == shape[i]
            && ax.extent == shape[i]
        {
            side_by_side(ax, columns, lanes)
        } else {
            1
        };
        cuts.push(group);
        cuts.sort_unstable();
        cuts.dedup();
        if cuts.windows(2).any(|w| w[1] % w[0] != 0) {
            return Split::none(shape);
        }
        let mut parts: Vec<usize> = cuts.windows(2).map(|w| w[1] / w[0]).collect();
        parts.reverse();
        if parts.is_empty() {
            parts.push(1);
        }
        out.parts.push(parts);
        if group > 1 {
            // The parts below the group's bound are one where the group is cut further.
            if cuts[1] != group {
                return Split::none(shape);
            }
            out.shared = Some(out.parts.iter().map(Vec::len).sum::<usize>() - 1);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::view::layout;
    use super::*;
    use crate::tiled::TensorId;

    fn heads() -> View {
        let (axes, ..) = layout(&[1, 128, 768], Some(2), 320);
        let flat = View { tensor: TensorId(0), axes, row0: 0, lane0: 0 };
        flat.reshape(&[1, 128, 12, 64]).unwrap().transpose(&[0, 2, 1, 3])
    }

    #[test]
    fn scores_of_two_heads_share_a_word() {
        let (q, k) = (heads(), heads().transpose(&[0, 1, 3, 2]));
        let s = split(&q, &k, &[1, 12, 128, 128], 320);
        assert_eq!(s, Split { parts: vec![vec![1], vec![3, 2, 2]], shared: Some(3) });
        assert_eq!(s.shape(&[128, 128]), [1, 3, 2, 2, 128, 128]);
        assert!(q.reshape(&s.shape(&[128, 64])).is_some());
    }

    #[test]
    fn values_stay_where_they_are() {
        let s = split(&heads(), &heads(), &[1, 12, 128, 64], 320);
        assert_eq!(s, Split { parts: vec![vec![1], vec![3, 4]], shared: None });
    }
}
