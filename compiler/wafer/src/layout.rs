//! The order in which a stream carries the elements of a tensor.
//!
//! A layout is a nest of loops over the tensor's row-major index space, outermost first. A
//! reshape does not change it (row-major indices stay), a transpose only changes the steps, so
//! neither costs anything on the mesh. This module knows nothing of wavelets or PEs.

use std::ops::Range;

/// One loop: `count` elements, `step` apart in the row-major index space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Loop {
    pub(crate) count: usize,
    pub(crate) step: usize,
}

/// A nest of loops, outermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) loops: Vec<Loop>,
}

/// Elements of a tensor outside the mesh that a stream carries: where the first lies, and in what order the others follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) first: usize,
    pub(crate) layout: Layout,
    /// The loop over rows, the second, goes towards lower indices.
    pub(crate) upward: bool,
}

impl Part {
    /// All of a tensor, in that order.
    pub(crate) fn whole(layout: Layout) -> Part {
        Part { first: 0, layout, upward: false }
    }

    /// Count and step of every loop.
    fn loops(&self) -> impl Iterator<Item = (usize, i64)> {
        let loops = self.layout.loops.iter().enumerate();
        loops.map(|(i, l)| (l.count, if self.upward && i == 1 { -(l.step as i64) } else { l.step as i64 }))
    }

    /// The loops with those of one element dropped and neighbours joined where possible.
    pub(crate) fn normalized(&self) -> Vec<(usize, i64)> {
        let mut out: Vec<(usize, i64)> = Vec::new();
        for (count, step) in self.loops().filter(|l| l.0 != 1) {
            match out.last_mut() {
                Some(p) if p.1 == step * count as i64 => *p = (p.0 * count, step),
                _ => out.push((count, step)),
            }
        }
        out
    }

    /// Index of every element, in stream order.
    pub(crate) fn indices(&self) -> Vec<usize> {
        let mut out = vec![self.first as i64];
        for (count, step) in self.loops() {
            out = out.iter().flat_map(|&b| (0..count).map(move |i| b + i as i64 * step)).collect();
        }
        out.into_iter().map(|i| i.max(0) as usize).collect()
    }

    /// Some of the elements of every innermost loop.
    pub(crate) fn columns(&self, columns: &Range<usize>) -> Part {
        let mut part = self.clone();
        let Some(l) = part.layout.loops.last_mut() else { return part };
        part.first += columns.start * l.step;
        l.count = columns.len();
        part
    }

    /// Some of the rows, in the numbers of the order in which they go.
    pub(crate) fn rows(&self, rows: &Range<usize>) -> Part {
        let mut part = self.clone();
        let Some(l) = part.layout.loops.get_mut(1) else { return part };
        let far = rows.start * l.step;
        part.first = if self.upward { self.first - far } else { self.first + far };
        l.count = rows.len();
        part
    }

    /// The same rows from the last to the first.
    pub(crate) fn turned(&self) -> Part {
        let mut part = self.clone();
        let Some(rows) = part.layout.loops.get(1) else { return part };
        let apart = rows.count.saturating_sub(1) * rows.step;
        part.first = if self.upward { self.first - apart } else { self.first + apart };
        part.upward = !self.upward;
        part
    }
}

/// Row-major strides of a shape.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

impl Layout {
    /// A nest from (count, step) pairs.
    pub(crate) fn new(loops: &[(usize, usize)]) -> Layout {
        Layout { loops: loops.iter().map(|&(count, step)| Loop { count, step }).collect() }
    }

    /// Row-major order of a shape, one loop an axis.
    pub(crate) fn row_major(shape: &[usize]) -> Layout {
        Layout { loops: shape.iter().zip(strides(shape)).map(|(&count, step)| Loop { count, step }).collect() }
    }

    /// Image order [n][h][c][w] of an (n, c, h, w) tensor.
    pub(crate) fn image([n, c, h, w]: [usize; 4]) -> Layout {
        Layout::new(&[(n, c * h * w), (h, w), (c, h * w), (w, 1)])
    }

    /// The axes of `shape` in the order given, outermost first.
    pub(crate) fn axes(shape: &[usize], order: &[usize]) -> Layout {
        let s = strides(shape);
        Layout { loops: order.iter().map(|&a| Loop { count: shape[a], step: s[a] }).collect() }
    }

    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.loops.iter().map(|l| l.count).product()
    }

    /// Extent of the innermost loop (1 for a scalar).
    pub(crate) fn run(&self) -> usize {
        self.loops.last().map_or(1, |l| l.count)
    }

    /// The same order with loops of one element dropped and neighbours joined where possible.
    pub(crate) fn normalized(&self) -> Vec<Loop> {
        let mut out: Vec<Loop> = Vec::new();
        for &l in self.loops.iter().filter(|l| l.count != 1) {
            match out.last_mut() {
                Some(p) if p.step == l.step * l.count => *p = Loop { count: p.count * l.count, step: l.step },
                _ => out.push(l),
            }
        }
        out
    }

    /// True when both name the same elements in the same order.
    pub(crate) fn same_order(&self, other: &Layout) -> bool {
        self.normalized() == other.normalized()
    }

    /// Index of every element, in stream order.
    pub(crate) fn indices(&self) -> Vec<usize> {
        let mut out = vec![0];
        for l in &self.loops {
            out = out.iter().flat_map(|&b| (0..l.count).map(move |i| b + i * l.step)).collect();
        }
        out
    }

    /// The order seen through a transpose of a tensor of shape `shape`; `None` when a loop runs
    /// across axes in a way that the transpose tears apart.
    pub(crate) fn transposed(&self, shape: &[usize], perm: &[usize]) -> Option<Layout> {
        let s = strides(shape);
        let out_shape: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
        let out = strides(&out_shape);
        let mut to = vec![0; shape.len()];
        for (i, &p) in perm.iter().enumerate() {
            to[p] = out[i];
        }
        let mut loops = Vec::new();
        for &l in &self.loops {
            // Innermost piece first: a loop over several axes is split at the axis boundary.
            let mut pieces = Vec::new();
            let mut rest = l;
            while rest.count > 1 {
                let a = (0..shape.len()).find(|&a| shape[a] > 1 && s[a] <= rest.step && rest.step < s[a] * shape[a])?;
                if !rest.step.is_multiple_of(s[a]) {
                    return None;
                }
                let m = rest.step / s[a];
                if m * (rest.count - 1) < shape[a] {
                    pieces.push(Loop { count: rest.count, step: m * to[a] });
                    break;
                }
                if !shape[a].is_multiple_of(m) || !rest.count.is_multiple_of(shape[a] / m) {
                    return None;
                }
                let inner = shape[a] / m;
                pieces.push(Loop { count: inner, step: m * to[a] });
                rest = Loop { count: rest.count / inner, step: s[a] * shape[a] };
            }
            if pieces.is_empty() {
                pieces.push(Loop { count: 1, step: 0 });
            }
            loops.extend(pieces.into_iter().rev());
        }
        Some(Layout { loops })
    }

    /// Splits the nest where all loops inside together cover exactly one run of `inner`
    /// consecutive elements in some order and all loops outside move in multiples of it:
    /// (outer, inner). Loops are split where that makes it possible.
    pub(crate) fn split_at(&self, inner: usize) -> Option<(Layout, Layout)> {
        let mut outer = Vec::new();
        let mut within = Vec::new();
        for l in self.normalized() {
            if l.step >= inner {
                if !l.step.is_multiple_of(inner) {
                    return None;
                }
                if !within.is_empty() {
                    return None;
                }
                outer.push(l);
            } else if l.step * l.count <= inner {
                within.push(l);
            } else {
                // One loop over both: cut it.
                if !inner.is_multiple_of(l.step) || !within.is_empty() {
                    return None;
                }
                let n = inner / l.step;
                if !l.count.is_multiple_of(n) {
                    return None;
                }
                outer.push(Loop { count: l.count / n, step: inner });
                within.push(Loop { count: n, step: l.step });
            }
        }
        let within = Layout { loops: within };
        (within.elements() == inner).then_some((Layout { loops: outer }, within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_move_steps_only() {
        // [2,3,4,5] in image order, seen as NHWC, is row-major with axes (n, h, c, w) -> steps.
        let l = Layout::image([2, 3, 4, 5]);
        let t = l.transposed(&[2, 3, 4, 5], &[0, 2, 3, 1]).expect("aligned loops");
        assert_eq!(t, Layout::new(&[(2, 60), (4, 15), (3, 1), (5, 3)]));
        assert_eq!(t.transposed(&[2, 4, 5, 3], &[0, 3, 1, 2]).expect("aligned loops"), l);
    }

    #[test]
    fn parts_are_cut_and_turned() {
        let all = Part::whole(Layout::image([2, 1, 4, 3]));
        let part = all.rows(&(1..3)).columns(&(1..3));
        assert_eq!(part.indices(), [4, 5, 7, 8, 16, 17, 19, 20]);
        assert_eq!(part.turned().indices(), [7, 8, 4, 5, 19, 20, 16, 17]);
        assert_eq!(part.turned().rows(&(1..2)).columns(&(0..1)).indices(), [4, 16]);
        assert_eq!(part.turned().turned(), part);
        assert_eq!(part.turned().normalized(), [(2, 12), (2, -3), (2, 1)]);
        assert_eq!(all.normalized(), [(24, 1)]);
    }

    #[test]
    fn a_joined_loop_splits_at_axes() {
        let l = Layout::row_major(&[24]).transposed(&[2, 3, 4], &[1, 0, 2]).expect("splits");
        let order: Vec<usize> = l.indices();
        // element (a, b, c) of [2,3,4] sits at (b, a, c) of [3,2,4]
        let want: Vec<usize> =
            (0..2).flat_map(|a| (0..3).flat_map(move |b| (0..4).map(move |c| b * 8 + a * 4 + c))).collect();
        assert_eq!(order, want);
        assert!(Layout::new(&[(4, 3)]).transposed(&[2, 6], &[1, 0]).is_some());
        assert!(Layout::new(&[(3, 4)]).transposed(&[2, 6], &[1, 0]).is_none());
    }

    #[test]
    fn normal_form_joins_and_drops() {
        let l = Layout::new(&[(1, 9), (2, 12), (3, 4), (4, 1)]);
        assert_eq!(l.normalized(), vec![Loop { count: 24, step: 1 }]);
        assert!(l.same_order(&Layout::row_major(&[4, 6])));
        assert!(!l.same_order(&Layout::image([1, 2, 3, 4])));
    }

    #[test]
    fn split_finds_rows() {
        let l = Layout::image([2, 3, 4, 5]);
        let (o, i) = l.split_at(60).expect("an image a row");
        assert_eq!((o.elements(), i.elements()), (2, 60));
        assert!(l.split_at(20).is_none());
        let (o, i) = Layout::row_major(&[6, 8]).split_at(8).expect("rows");
        assert_eq!((o.loops, i.loops), (vec![Loop { count: 6, step: 8 }], vec![Loop { count: 8, step: 1 }]));
    }
}
