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

impl Select<'_> {
    /// Weights with the axes `axes` (see [`Select::right_moved`]) of `rows` rows; nothing where the view is laid out otherwise.
    pub(super) fn turned_weights(&mut self, v: &View, axes: &[Axis], rows: usize) -> Option<View> {
        let rank = v.axes.len();
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        let (inner, columns) = (&v.axes[rank - 2], &v.axes[rank - 1]);
        let (&[d], &[t]) = (&inner.digits[..], &columns.digits[..]) else { return None };
        let lanes = info.lanes as usize;
        let (words, groups) = (lanes / SIDE, columns.extent / SIDE);
        let whole = [d.extent, t.extent, lanes].iter().all(|n| n.is_multiple_of(SIDE)) && v.lane0 % 16 == 0;
        let laid = (d.row, d.lane, t.lane) == (0, 1, 0) && t.row != 0 && d.extent == inner.extent;
        let parts = v.axes[..rank - 2].iter().flat_map(|a| &a.digits).all(|x| x.extent == 1 || x.lane % 16 == 0);
        let plain = info.ty == AluType::F16 && info.pixels == 1 && !info.weights && t.extent == columns.extent;
        if !(self.transposers && whole && laid && parts && plain) || groups > words || groups < 2 {
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
        let n = columns.extent;
        let at = |first: usize, row: usize| (v.row0 + firsts[first] + row as i64 * t.row) as u32;
        let spread = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
            let mut map: Vec<(u16, u16)> = pairs
                .flat_map(|(a, b)| (0..SIDE).map(move |i| ((a * SIDE + i) as u16, (b * SIDE + i) as u16)))
                .collect();
            map.sort_unstable();
            map
        };

        let turned = self.tensor(&info.name, AluType::F16, firsts.len() * n, lanes, Init::Computed);
        for g in 0..groups {
            let list = || (0..firsts.len()).flat_map(|f| (0..SIDE).map(move |i| (f, g * SIDE + i)));
            let map = spread(&mut (0..words).map(|w| (w, (w + g) % words)));
            let passes =
                self.move_passes(Rows { tensor: v.tensor, rows: list().map(|(f, row)| at(f, row)).collect() }, &map);
            let out = Rows { tensor: turned, rows: list().map(|(f, row)| (f * n + row) as u32).collect() };
            self.kernel(out.rows.len(), Kind::Move { passes, out });
        }
        let width = self.lanes / SIDE;
        let mut sources = Vec::with_capacity(firsts.len() * words * SIDE * width);
        for (f, word, i) in taps(&[firsts.len(), words, SIDE]).iter().map(|x| (x[0], x[1], x[2])) {
            for u in 0..width {
                let g = (u + words - word % words) % words;
                let row = if u < words && g < groups { (f * n + g * SIDE + i) as u32 } else { NOTHING };
                sources.push(row);
            }
        }
        let gathered = self.gathered(turned, sources, firsts.len() * words * SIDE);
        let out_lanes = Self::reach(axes, 0);
        let joined = self.weight_tensor(&info.name, rows, out_lanes);
        for ((word, to), places) in maps {
            let map = spread(&mut (0..groups).map(|g| ((word + g) % words, to + g)));
            // Rows of one slice follow each other.
            let list = || (0..SIDE).flat_map(|i| places.iter().map(move |&(f, group)| (i, f, group)));
            let from = list().map(|(i, f, _)| ((f * words + word) * SIDE + i) as u32).collect();
            let passes = self.move_passes(Rows { tensor: gathered, rows: from }, &map);
            let out = Rows { tensor: joined, rows: list().map(|(i, _, g)| (g * SIDE + i) as u32).collect() };
            self.kernel(out.rows.len(), Kind::Move { passes, out });
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
