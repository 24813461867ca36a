//! A right operand of f16 whose columns lie on rows and whose inner axis on lanes, turned into weights.
//!
//! The transposer turns sixteen rows by the sixteen lanes of a superlane, so rows and superlanes are what must change places
//! first. A plane can move one superlane of each row to where it belongs, and the others of the row would travel
//! for nothing. So rows are turned by as many superlanes as their number among the rows (one map for sixteen rows),
//! then put together superlane by superlane by an address map (which keeps each in its place), and turned back:
//!
//! ```text
//! rows of 16        turned by the row       what belongs together      turned back
//! a0 a1 a2 a3       a0 a1 a2 a3             a0 b0 c0 d0                a0 b0 c0 d0
//! b0 b1 b2 b3       b3 b0 b1 b2             d1 a1 b1 c1                a1 b1 c1 d1
//! c0 c1 c2 c3       c2 c3 c0 c1             c2 d2 a2 b2                a2 b2 c2 d2
//! d0 d1 d2 d3       d1 d2 d3 d0             b3 c3 d3 a3                a3 b3 c3 d3
//! ```
//!
//! Where there are more groups of sixteen columns than superlanes in a word, they go in several sets, whose results are summed: each
//! fills other superlanes.

use super::Select;
use super::conv::taps;
use super::view::{Axis, View};
use crate::tiled::{Init, Kind, NOTHING, Rows, TensorId};
use quadrille_isa::tsp::AluType;
use std::collections::BTreeMap;

/// Lanes of a superlane, and rows that are turned together.
const SIDE: usize = 16;

/// What goes through one map: row of the first word among those of its kind, and group of 16 rows of the result.
type Places = Vec<(usize, usize)>;

/// Groups of sixteen columns that are turned together: a superlane of a word holds each of them.
#[derive(Clone, Copy)]
struct Set {
    /// Block of the columns, first group there, and number of groups.
    block: usize,
    first: usize,
    groups: usize,
    /// Groups of all sets before.
    before: usize,
}

/// Columns in blocks of so many lanes, the groups of each in sets of nearly equal size.
fn sets(blocks: usize, lanes: usize, most: usize) -> Vec<Set> {
    let groups = lanes.div_ceil(SIDE);
    let parts = groups.div_ceil(most);
    let mut before = 0;
    let mut all = Vec::new();
    for (block, part) in (0..blocks).flat_map(|b| (0..parts).map(move |p| (b, p))) {
        let (first, end) = (groups * part / parts, groups * (part + 1) / parts);
        all.push(Set { block, first, groups: end - first, before });
        before += end - first;
    }
    all
}

impl Select<'_> {
    /// Weights with the axes `axes` (see [`Select::right_moved`]) of `rows` rows; nothing where the view is laid out otherwise.
    pub(super) fn turned_weights(&mut self, v: &View, axes: &[Axis], rows: usize) -> Option<View> {
        let rank = v.axes.len();
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        let (inner, columns) = (&v.axes[rank - 2], &v.axes[rank - 1]);
        let (&[d], &[t]) = (&inner.digits[..], &columns.digits[..]) else { return None };
        let digits: Vec<_> = axes[rank - 1].digits.iter().filter(|x| x.extent > 1).copied().collect();
        let (blocks, block_rows, width) = match digits[..] {
            [lane] if lane.row == 0 && lane.lane == 1 => (1, 0, lane.extent),
            [block, lane] if block.lane == 0 && lane.row == 0 && lane.lane == 1 => {
                (block.extent, block.row as usize, lane.extent)
            }
            _ => return None,
        };
        let words = info.lanes as usize / SIDE;
        let whole = [d.extent, info.lanes as usize, block_rows].iter().all(|n| n.is_multiple_of(SIDE));
        let laid = (d.row, d.lane, t.lane) == (0, 1, 0) && t.row != 0 && d.extent == inner.extent;
        let exact = t.extent == columns.extent && blocks * width == columns.extent;
        let aligned = |axes: &[Axis]| axes.iter().flat_map(|a| &a.digits).all(|x| x.extent == 1 || x.lane % 16 == 0);
        let parts = aligned(&v.axes[..rank - 2]) && aligned(&axes[..rank - 2]) && v.lane0 % 16 == 0;
        let plain = info.ty == AluType::F16 && info.pixels == 1 && !info.weights;
        let one_row = axes[rank - 2].digits.iter().all(|x| x.extent == 1 || (x.row, x.lane) == (1, 0));
        if !(self.transposers && whole && laid && exact && parts && plain && one_row) || width <= SIDE || words < 2 {
            return None;
        }
        // Where each sixteen of the inner axis of each head come from, and go.
        let shape: Vec<usize> = v.axes[..rank - 2].iter().map(|a| a.extent).collect();
        let (from, to) = (v.tables(), axes.iter().map(Axis::table).collect::<Vec<_>>());
        let mut firsts: Vec<i64> = Vec::new();
        let mut maps: BTreeMap<(usize, usize), Places> = BTreeMap::new();
        for index in taps(&shape) {
            let sum = |tables: &[Vec<(i64, i64)>]| {
                index.iter().zip(tables).fold((0, 0), |(r, l), (&i, t)| (r + t[i].0, l + t[i].1))
            };
            let ((row, lane), (to_row, to_lane)) = (sum(&from), sum(&to));
            if to_row % SIDE as i64 != 0 {
                return None;
            }
            let first = firsts.iter().position(|&f| f == row).unwrap_or_else(|| {
                firsts.push(row);
                firsts.len() - 1
            });
            for part in 0..d.extent / SIDE {
                let word = (v.lane0 + lane) as usize / SIDE + part;
                let group = to_row as usize / SIDE + part;
                maps.entry((word, to_lane as usize / SIDE)).or_default().push((first, group));
            }
        }
        let sets = sets(blocks, width, words);
        let groups: usize = sets.iter().map(|s| s.groups).sum();
        let column = |s: &Set, g: usize, i: usize| {
            let lane = (s.first + g) * SIDE + i;
            (lane < width).then_some(s.block * width + lane)
        };
        let spread = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
            let mut map: Vec<(u16, u16)> = pairs
                .flat_map(|(a, b)| (0..SIDE).map(move |i| ((a * SIDE + i) as u16, (b * SIDE + i) as u16)))
                .collect();
            map.sort_unstable();
            map
        };

        let lanes = info.lanes as usize;
        let turned = self.tensor(&info.name, AluType::F16, firsts.len() * groups * SIDE, lanes, Init::Computed);
        let turned_row = |f: usize, s: &Set, g: usize, i: usize| ((f * groups + s.before + g) * SIDE + i) as u32;
        for g in 0..sets.iter().map(|s| s.groups).max().unwrap_or(0) {
            let (mut own, mut theirs) = (Vec::new(), Vec::new());
            for (f, s) in (0..firsts.len()).flat_map(|f| sets.iter().filter(|s| g < s.groups).map(move |s| (f, s))) {
                for (i, t_of) in (0..SIDE).filter_map(|i| Some((i, column(s, g, i)?))) {
                    own.push((v.row0 + firsts[f] + t_of as i64 * t.row) as u32);
                    theirs.push(turned_row(f, s, g, i));
                }
            }
            let map = spread(&mut (0..words).map(|w| (w, (w + g) % words)));
            let passes = self.move_passes(Rows { tensor: v.tensor, rows: own }, &map);
            let out = Rows { tensor: turned, rows: theirs };
            self.kernel(out.rows.len(), Kind::Move { passes, out });
        }
        let superlanes = self.lanes / SIDE;
        let gathered_row =
            |f: usize, s: usize, word: usize, i: usize| (((f * sets.len() + s) * words + word) * SIDE + i) as u32;
        let mut sources = Vec::with_capacity(firsts.len() * sets.len() * words * SIDE * superlanes);
        for x in taps(&[firsts.len(), sets.len(), words, SIDE]) {
            let (f, s, word, i) = (x[0], &sets[x[1]], x[2], x[3]);
            for u in 0..superlanes {
                let g = (u + words - word % words) % words;
                let there = u < words && g < s.groups && column(s, g, i).is_some();
                sources.push(if there { turned_row(f, s, g, i) } else { NOTHING });
            }
        }
        let gathered = self.gathered(turned, sources, firsts.len() * sets.len() * words * SIDE);
        // A block's last columns may end within a superlane.
        let out_lanes = Self::reach(axes, 0).next_multiple_of(SIDE);
        let joined = self.weight_tensor(&info.name, rows, out_lanes);
        for ((word, to), places) in maps {
            for block in 0..blocks {
                let list = || (0..SIDE).flat_map(|i| places.iter().map(move |&(f, group)| (i, f, group)));
                let mut passes = Vec::new();
                for (n, s) in sets.iter().enumerate().filter(|(_, s)| s.block == block) {
                    let map = spread(&mut (0..s.groups).map(|g| ((word + g) % words, to + s.first + g)));
                    // Rows of one slice follow each other.
                    let from = list().map(|(i, f, _)| gathered_row(f, n, word, i)).collect();
                    passes.extend(self.move_passes(Rows { tensor: gathered, rows: from }, &map));
                }
                let at = block * block_rows / SIDE;
                let rows = list().map(|(i, _, g)| ((g + at) * SIDE + i) as u32).collect();
                let out = Rows { tensor: joined, rows };
                self.kernel(out.rows.len(), Kind::Move { passes, out });
            }
        }
        let weights = self.weight_tensor(&info.name, rows, out_lanes);
        self.kernel(rows, Kind::Transpose { from: joined, out: weights });
        Some(View { tensor: weights, axes: axes.to_vec(), row0: 0, lane0: 0 })
    }

    fn weight_tensor(&mut self, name: &str, rows: usize, lanes: usize) -> TensorId {
        let t = self.tensor(name, AluType::F16, rows, lanes, Init::Computed);
        self.out.tensors[t.0 as usize].weights = true;
        t
    }
}
