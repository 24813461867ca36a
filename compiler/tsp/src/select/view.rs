//! Where the elements of a logical tensor lie in a row tensor.
//!
//! Every axis is a mixed-radix number whose digits step the row or the lane. Reshapes, transposes,
//! slices and unit broadcasts then move digits and no data. Knows no kernel.

use crate::tiled::{HostLoop, HostPiece, TensorId};

/// One digit of an axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Digit {
    pub(crate) extent: usize,
    pub(crate) row: i64,
    pub(crate) lane: i64,
}

/// An axis: digits, outermost first. Their product is the extent, or more when the last block of a
/// blocked axis is not full.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Axis {
    pub(crate) extent: usize,
    pub(crate) digits: Vec<Digit>,
    /// For extent 1: `(count, lane step)` patterns of lanes that hold the same element.
    pub(crate) copies: Vec<(usize, i64)>,
}

/// A logical tensor in a row tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct View {
    pub(crate) tensor: TensorId,
    pub(crate) axes: Vec<Axis>,
    pub(crate) row0: i64,
    pub(crate) lane0: i64,
}

impl Axis {
    pub(crate) fn unit() -> Axis {
        Axis { extent: 1, digits: Vec::new(), copies: Vec::new() }
    }

    pub(crate) fn rows(extent: usize, step: i64) -> Axis {
        Axis { extent, digits: vec![Digit { extent, row: step, lane: 0 }], copies: Vec::new() }
    }

    pub(crate) fn lanes(extent: usize, step: i64) -> Axis {
        Axis { extent, digits: vec![Digit { extent, row: 0, lane: step }], copies: Vec::new() }
    }

    /// (row, lane) of each index.
    pub(crate) fn table(&self) -> Vec<(i64, i64)> {
        (0..self.extent)
            .map(|i| {
                let (mut rest, mut row, mut lane) = (i, 0, 0);
                for d in self.digits.iter().rev() {
                    row += (rest % d.extent) as i64 * d.row;
                    lane += (rest % d.extent) as i64 * d.lane;
                    rest /= d.extent;
                }
                (row, lane)
            })
            .collect()
    }

    fn exact(&self) -> bool {
        self.digits.iter().map(|d| d.extent).product::<usize>() == self.extent
    }

    /// True when an index moves the lane.
    pub(crate) fn on_lanes(&self) -> bool {
        self.digits.iter().any(|d| d.lane != 0 && d.extent > 1)
    }

    /// Lanes that hold the one element of a unit axis.
    pub(crate) fn copy_lanes(&self) -> Vec<i64> {
        let mut lanes = vec![0i64];
        for &(n, step) in &self.copies {
            lanes = lanes.iter().flat_map(|&l| (0..n as i64).map(move |k| l + k * step)).collect();
        }
        lanes
    }
}

/// Rows per axis for a product of row lists.
type RowParts = Vec<Vec<i64>>;

impl View {
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.extent).collect()
    }

    pub(crate) fn transpose(&self, perm: &[usize]) -> View {
        View { axes: perm.iter().map(|&p| self.axes[p].clone()).collect(), ..self.clone() }
    }

    /// The view under another shape, when digits can be cut that way.
    pub(crate) fn reshape(&self, shape: &[usize]) -> Option<View> {
        if self.shape() == shape {
            return Some(self.clone());
        }
        // Equal leading and trailing axes keep even blocks that are not full.
        let own = self.shape();
        let lead = own.iter().zip(shape).take_while(|(a, b)| a == b).count();
        let most = own.len().min(shape.len()) - lead;
        let trail = own.iter().rev().zip(shape.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
        let middle = &self.axes[lead..own.len() - trail];
        if middle.iter().any(|a| !a.exact()) {
            return None;
        }
        let mut digits: Vec<Digit> =
            middle.iter().flat_map(|a| a.digits.iter().copied()).filter(|d| d.extent != 1).collect();
        digits.reverse();
        let mut axes = Vec::new();
        for &extent in shape[lead..shape.len() - trail].iter().rev() {
            let mut axis = Axis { extent, ..Axis::default() };
            let mut left = extent;
            // `digits` is innermost first; a popped digit is the next to consume.
            let mut taken = Vec::new();
            while left > 1 {
                let d = *digits.first()?;
                if left % d.extent == 0 {
                    taken.push(d);
                    left /= d.extent;
                    digits.remove(0);
                } else if d.extent % left == 0 {
                    taken.push(Digit { extent: left, ..d });
                    digits[0] = Digit { extent: d.extent / left, row: d.row * left as i64, lane: d.lane * left as i64 };
                    left = 1;
                } else {
                    return None;
                }
            }
            taken.reverse();
            axis.digits = taken;
            axes.push(axis);
        }
        axes.reverse();
        let mut all = self.axes[..lead].to_vec();
        all.extend(axes);
        all.extend_from_slice(&self.axes[own.len() - trail..]);
        Some(View { axes: all, ..self.clone() })
    }

    /// Elements `start, start + step, …` of an axis.
    pub(crate) fn slice(&self, axis: usize, start: usize, step: isize, extent: usize) -> Option<View> {
        let a = &self.axes[axis];
        if start == 0 && step == 1 && extent == a.extent {
            return Some(self.clone());
        }
        let table = a.table();
        let mut v = self.clone();
        if extent == 0 {
            return None;
        }
        v.row0 += table[start].0;
        v.lane0 += table[start].1;
        if extent == 1 {
            v.axes[axis] = Axis::unit();
            return Some(v);
        }
        let at = |k: usize| table[(start as isize + k as isize * step) as usize];
        let (row, lane) = (at(1).0 - at(0).0, at(1).1 - at(0).1);
        if (1..extent).all(|k| (at(k).0 - at(k - 1).0, at(k).1 - at(k - 1).1) == (row, lane)) {
            v.axes[axis] = Axis { extent, digits: vec![Digit { extent, row, lane }], copies: Vec::new() };
            return Some(v);
        }
        // A cut at a digit boundary: whole turns of the inner digits.
        let inner: usize = a.digits.iter().skip(1).map(|d| d.extent).product();
        if step == 1 && start.is_multiple_of(inner) && extent.is_multiple_of(inner) && !a.digits.is_empty() {
            let mut digits = a.digits.clone();
            digits[0].extent = extent / inner;
            v.axes[axis] = Axis { extent, digits, copies: Vec::new() };
            return Some(v);
        }
        None
    }

    /// The view with unit axes put in front, to a rank.
    pub(crate) fn pad_rank(&self, rank: usize) -> View {
        let mut axes = vec![Axis::unit(); rank.saturating_sub(self.axes.len())];
        axes.extend(self.axes.iter().cloned());
        View { axes, ..self.clone() }
    }

    /// The view under a numpy-broadcast shape: new extents step nothing.
    pub(crate) fn broadcast(&self, shape: &[usize]) -> View {
        let mut v = self.pad_rank(shape.len());
        for (a, &extent) in v.axes.iter_mut().zip(shape) {
            if a.extent == 1 && extent != 1 {
                // Rows repeat; lanes do not move, so a consumer that wants lanes must see copies.
                let copies = std::mem::take(&mut a.copies);
                *a = Axis { extent, digits: vec![Digit { extent, row: 0, lane: 0 }], copies };
            }
        }
        v
    }

    /// Rows of `self` and of `others` for each row of `self`, when every other has the same lanes
    /// (`others` have the rank of `self`; extents are equal or 1).
    pub(crate) fn row_pairs(&self, others: &[&View]) -> Option<(Vec<u32>, Vec<Vec<u32>>)> {
        let mut own: RowParts = Vec::new();
        let mut theirs: Vec<RowParts> = vec![Vec::new(); others.len()];
        if others.iter().any(|o| o.lane0 != self.lane0) {
            return None;
        }
        for (n, axis) in self.axes.iter().enumerate() {
            let table = axis.table();
            let mut firsts: Vec<usize> = Vec::new();
            let mut number: Vec<usize> = Vec::with_capacity(table.len());
            let mut index = std::collections::BTreeMap::new();
            for (i, &(row, _)) in table.iter().enumerate() {
                let k = *index.entry(row).or_insert_with(|| {
                    firsts.push(i);
                    firsts.len() - 1
                });
                number.push(k);
            }
            own.push(firsts.iter().map(|&i| table[i].0).collect());
            for (o, parts) in others.iter().zip(theirs.iter_mut()) {
                let other = &o.axes[n];
                let flat = other.extent == 1 || other.digits.iter().all(|d| (d.row, d.lane) == (0, 0));
                if flat {
                    let (lanes, own) = (other.copy_lanes(), axis.copy_lanes());
                    let reached = table.iter().map(|t| &t.1).chain(&own);
                    if reached.into_iter().any(|lane| *lane != 0 && !lanes.contains(lane)) {
                        return None;
                    }
                    parts.push(vec![0; firsts.len()]);
                    continue;
                }
                let t = other.table();
                if t.len() != table.len() {
                    return None;
                }
                let mut rows: Vec<Option<i64>> = vec![None; firsts.len()];
                for i in 0..t.len() {
                    if t[i].1 != table[i].1 {
                        return None;
                    }
                    match rows[number[i]] {
                        None => rows[number[i]] = Some(t[i].0),
                        Some(r) if r != t[i].0 => return None,
                        Some(_) => {}
                    }
                }
                parts.push(rows.into_iter().map(|r| r.unwrap_or(0)).collect());
            }
        }
        let rows = product(self.row0, &own);
        Some((rows, others.iter().zip(&theirs).map(|(o, p)| product(o.row0, p)).collect()))
    }

    /// Row of an index.
    pub(crate) fn row_of(&self, tables: &[Vec<(i64, i64)>], index: &[usize]) -> u32 {
        (self.row0 + index.iter().zip(tables).map(|(&i, t)| t[i].0).sum::<i64>()) as u32
    }

    /// Tables of all axes.
    pub(crate) fn tables(&self) -> Vec<Vec<(i64, i64)>> {
        self.axes.iter().map(Axis::table).collect()
    }

    /// The elements of a row-major host tensor of this shape, as loop nests.
    pub(crate) fn host_pieces(&self) -> Vec<HostPiece> {
        let shape = self.shape();
        let mut pieces = vec![HostPiece {
            row0: self.row0 as u32,
            lane0: self.lane0 as u32,
            elem0: 0,
            byte: None,
            loops: Vec::new(),
        }];
        let mut stride: i64 = 1;
        for (a, &extent) in self.axes.iter().zip(&shape).rev() {
            let here = stride;
            stride *= extent as i64;
            if extent == 1 {
                continue;
            }
            if a.exact() {
                let mut inner = here;
                for d in a.digits.iter().rev() {
                    let l = HostLoop { count: d.extent as u32, row: d.row as i32, lane: d.lane as i32, elem: inner };
                    inner *= d.extent as i64;
                    pieces.iter_mut().for_each(|p| p.loops.insert(0, l));
                }
                continue;
            }
            // A blocked axis with a short last block: one piece a block.
            let (outer, block) = (a.digits[0], a.digits[1]);
            let mut all = Vec::new();
            for k in 0..outer.extent {
                let first = k * block.extent;
                let count = block.extent.min(extent.saturating_sub(first));
                if count == 0 {
                    continue;
                }
                for p in &pieces {
                    let mut p = p.clone();
                    p.row0 = (i64::from(p.row0) + k as i64 * outer.row) as u32;
                    p.lane0 = (i64::from(p.lane0) + k as i64 * outer.lane) as u32;
                    p.elem0 += (first as i64 * here) as u64;
                    let l =
                        HostLoop { count: count as u32, row: block.row as i32, lane: block.lane as i32, elem: here };
                    p.loops.insert(0, l);
                    all.push(p);
                }
            }
            pieces = all;
        }
        pieces
    }
}

fn product(base: i64, parts: &RowParts) -> Vec<u32> {
    let mut rows = vec![base];
    for p in parts {
        rows = rows.iter().flat_map(|&r| p.iter().map(move |&x| r + x)).collect();
    }
    rows.into_iter().map(|r| r as u32).collect()
}

/// An axis of `n` on lanes, in blocks when the machine has fewer; a block steps `row` rows.
pub(crate) fn lane_axis(n: usize, lanes: usize, row: i64) -> Axis {
    if n <= lanes {
        return Axis::lanes(n, 1);
    }
    let block = even_block(n, lanes);
    let digits = vec![Digit { extent: n.div_ceil(block), row, lane: 0 }, Digit { extent: block, row: 0, lane: 1 }];
    Axis { extent: n, digits, copies: Vec::new() }
}

/// The width of the blocks of an axis: the widest that divides, unless it wastes most of the lanes.
pub(crate) fn even_block(n: usize, lanes: usize) -> usize {
    if n <= lanes {
        return n.max(1);
    }
    let best = (1..=lanes).rev().find(|&b| n.is_multiple_of(b)).unwrap_or(1);
    if best * 2 >= lanes { best } else { n.div_ceil(n.div_ceil(lanes)) }
}

/// A layout of `shape` with axis `on_lanes` on the lanes and the others, in order, on rows: axes, rows, lanes.
pub(crate) fn layout(shape: &[usize], on_lanes: Option<usize>, lanes: usize) -> (Vec<Axis>, usize, usize) {
    let mut axes = vec![Axis::unit(); shape.len()];
    let mut step = 1usize;
    for i in (0..shape.len()).rev() {
        if Some(i) != on_lanes && shape[i] != 1 {
            axes[i] = Axis::rows(shape[i], step as i64);
            step *= shape[i];
        }
    }
    let mut used = 1;
    if let Some(i) = on_lanes {
        axes[i] = lane_axis(shape[i], lanes, step as i64);
        if axes[i].digits.len() == 2 {
            step *= axes[i].digits[0].extent;
            used = axes[i].digits[1].extent;
        } else {
            used = shape[i].max(1);
        }
    }
    (axes, step.max(1), used)
}

/// A layout of `shape` with its last axis on the lanes, whose blocks are rows that follow each other: as sequences over the
/// result have them. `widest`: blocks may be as wide as the machine, the last one short, where that makes fewer of them
/// than [`lane_axis`] does. Axes, rows, lanes.
pub(crate) fn blocks_together(shape: &[usize], lanes: usize, widest: bool) -> (Vec<Axis>, usize, usize) {
    let last = shape.len() - 1;
    let n = shape[last];
    let mut columns = lane_axis(n, lanes, 1);
    if let (true, [outer, inner]) = (widest, &mut columns.digits[..])
        && n.div_ceil(lanes) < outer.extent
    {
        (outer.extent, inner.extent) = (n.div_ceil(lanes), lanes);
    }
    let (blocks, used) = match columns.digits[..] {
        [outer, inner] => (outer.extent, inner.extent),
        _ => (1, n.max(1)),
    };
    let (mut axes, rows, _) = layout(&shape[..last], None, lanes);
    axes.iter_mut().flat_map(|a| &mut a.digits).for_each(|d| d.row *= blocks as i64);
    axes.push(columns);
    (axes, rows * blocks, used)
}

/// A layout of `shape` with as many of the innermost axes on the lanes as fit, whole: axes, rows, lanes.
pub(crate) fn layout_many(shape: &[usize], lanes: usize) -> (Vec<Axis>, usize, usize) {
    let mut axes = vec![Axis::unit(); shape.len()];
    let (mut rows, mut used) = (1usize, 1usize);
    for i in (0..shape.len()).rev() {
        if shape[i] == 1 {
            continue;
        }
        // Once an axis is on rows the ones outside it are too.
        if rows == 1 && used * shape[i] <= lanes {
            axes[i] = Axis::lanes(shape[i], used as i64);
            used *= shape[i];
        } else {
            axes[i] = Axis::rows(shape[i], rows as i64);
            rows *= shape[i];
        }
    }
    (axes, rows, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(axes: Vec<Axis>) -> View {
        View { tensor: TensorId(0), axes, row0: 0, lane0: 0 }
    }

    #[test]
    fn heads_split_and_merge_without_moving() {
        let (axes, rows, lanes) = layout(&[1, 64, 128], Some(2), 320);
        assert_eq!((rows, lanes), (64, 128));
        let heads = view(axes).reshape(&[1, 64, 2, 64]).unwrap().transpose(&[0, 2, 1, 3]);
        assert_eq!(heads.axes[1].table(), [(0, 0), (0, 64)]);
        let back = heads.transpose(&[0, 2, 1, 3]).reshape(&[1, 64, 128]).unwrap();
        assert_eq!(back.axes[2].table()[65], (0, 65));
    }

    #[test]
    fn a_flattened_image_is_a_row_digit_and_a_lane_digit() {
        let (axes, ..) = layout(&[1, 128, 3, 3], Some(1), 320);
        let flat = view(axes).transpose(&[0, 2, 3, 1]).reshape(&[1, 1152]).unwrap();
        assert_eq!(flat.axes[1].table()[128 * 4 + 7], (4, 7));
    }

    #[test]
    fn blocks_that_do_not_divide_are_short_at_the_end() {
        let a = lane_axis(1009, 320, 10);
        assert_eq!(a.table()[1008], (30, 1008 - 3 * 253));
        assert_eq!(view(vec![a]).host_pieces().len(), 4);
    }
}
