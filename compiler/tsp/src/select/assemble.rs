//! Any movement of elements between rows and lanes.
//!
//! Every target row is a list of (source row, lane map) pairs. Rows with one identity map are
//! copied; the others go through int8 planes whose weights are the maps. Transposes take the
//! SXM's 16 x 16 byte transposer first, so that few maps are left.

use super::Select;
use super::expr::Why;
use super::view::{Axis, Digit, View};
use crate::tiled::{FILL, Init, Kind, MovePass, Rows, TensorId};
use quadrille_isa::tsp::AluType;
use std::collections::BTreeMap;

/// Most lane maps that one movement may need.
const MAX_MAPS: usize = 8192;

/// Pairs of (source lane, target lane).
type LaneMap = Vec<(u16, u16)>;

/// What a target row is made of: source tensors, each through a map.
type Recipe = Vec<(u32, LaneMap)>;

/// Target rows of one recipe, with their source rows.
type Made = Vec<(u32, Vec<u32>)>;

/// Target row -> source (tensor, row) -> lanes.
type Plan = BTreeMap<u32, BTreeMap<(u32, u32), LaneMap>>;

impl Select<'_> {
    /// A view moved to a layout of the same shape.
    pub(super) fn relayout(&mut self, v: &View, axes: Vec<Axis>, lane0: i64, rows: usize) -> Result<View, Why> {
        if let Some(t) = self.through_transposer(v, &axes)? {
            return self.relayout_plain(&t, axes, lane0, rows);
        }
        self.relayout_plain(v, axes, lane0, rows)
    }

    fn relayout_plain(&mut self, v: &View, axes: Vec<Axis>, lane0: i64, rows: usize) -> Result<View, Why> {
        let lanes = Self::reach(&axes, lane0);
        let ty = self.out.tensors[v.tensor.0 as usize].ty;
        let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0 };
        self.assemble(&target, rows, &[(v.clone(), vec![0; v.axes.len()])], None)?;
        Ok(target)
    }

    /// Fills `target` from pieces, each at an offset of the target's index space. Rows that no piece
    /// reaches take the fill row of `fill`, or are left alone.
    pub(super) fn assemble(
        &mut self,
        target: &View,
        rows: usize,
        pieces: &[(View, Vec<usize>)],
        fill: Option<TensorId>,
    ) -> Result<(), Why> {
        let mut plan: Plan = BTreeMap::new();
        let to = target.tables();
        for (v, offset) in pieces {
            let from = v.tables();
            let mut pairs = vec![(v.row0, v.lane0, target.row0, target.lane0)];
            for (axis, t) in from.iter().enumerate() {
                let mut copies = vec![0i64];
                for &(n, step) in &target.axes[axis].copies {
                    copies = copies.iter().flat_map(|&l| (0..n as i64).map(move |k| l + k * step)).collect();
                }
                let mut next = Vec::with_capacity(pairs.len() * t.len());
                for &(fr, fl, tr, tl) in &pairs {
                    for (i, s) in t.iter().enumerate() {
                        let d = to[axis][i + offset[axis]];
                        for c in &copies {
                            next.push((fr + s.0, fl + s.1, tr + d.0, tl + d.1 + c));
                        }
                    }
                }
                pairs = next;
            }
            for (fr, fl, tr, tl) in pairs {
                let ((fr, fl), (tr, tl)) = (self.physical(v.tensor, fr, fl), self.physical(target.tensor, tr, tl));
                plan.entry(tr as u32)
                    .or_default()
                    .entry((v.tensor.0, fr as u32))
                    .or_default()
                    .push((fl as u16, tl as u16));
            }
        }
        self.place(target, rows, plan, fill)
    }

    /// Any rearrangement: element `i` (row-major) of the result is element `from(i)` of `v`.
    pub(super) fn rearranged(
        &mut self,
        v: &View,
        shape: &[usize],
        from: impl Fn(&[usize]) -> usize,
    ) -> Result<View, Why> {
        let own = v.shape();
        let (own_tables, rank) = (v.tables(), shape.len());
        let last = (0..rank).rev().find(|&i| shape[i] != 1);
        let (axes, rows, lanes) = self.layout(shape, last);
        let ty = self.out.tensors[v.tensor.0 as usize].ty;
        let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0: 0 };
        let tables = target.tables();
        let mut plan: Plan = BTreeMap::new();
        let mut index = vec![0usize; rank];
        for _ in 0..shape.iter().product::<usize>() {
            let (mut rest, mut at) = (from(&index), (v.row0, v.lane0));
            for (t, &n) in own_tables.iter().zip(&own).rev() {
                at = (at.0 + t[rest % n].0, at.1 + t[rest % n].1);
                rest /= n;
            }
            let to = index.iter().zip(&tables).fold((0, 0), |(r, l), (&i, t)| (r + t[i].0, l + t[i].1));
            plan.entry(to.0 as u32)
                .or_default()
                .entry((v.tensor.0, at.0 as u32))
                .or_default()
                .push((at.1 as u16, to.1 as u16));
            for a in (0..rank).rev() {
                index[a] += 1;
                if index[a] < shape[a] {
                    break;
                }
                index[a] = 0;
            }
        }
        self.place(&target, rows, plan, None)?;
        Ok(target)
    }

    /// Makes the kernels of a plan.
    fn place(&mut self, target: &View, rows: usize, plan: Plan, fill: Option<TensorId>) -> Result<(), Why> {
        let mut groups: BTreeMap<Recipe, Made> = BTreeMap::new();
        let whole = Self::reach(&target.axes, target.lane0);
        let mut maps = 0;
        for (row, sources) in plan {
            let mut key = Vec::new();
            let mut from = Vec::new();
            for ((t, r), mut map) in sources {
                map.sort_unstable();
                map.dedup();
                key.push((t, map));
                from.push(r);
            }
            groups.entry(key).or_default().push((row, from));
            maps = maps.max(groups.len());
            if maps > MAX_MAPS {
                return Err((
                    format!("the movement of data needs more than {MAX_MAPS} different lane maps"),
                    "keep the innermost axis in place, or reshape in the model".into(),
                ));
            }
        }
        let mut done: Vec<u32> = Vec::new();
        // Rows of one source that stay in their lanes are copied, in row order.
        let mut straight: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        let mut moved: Vec<(Recipe, Made)> = Vec::new();
        for (key, list) in groups {
            done.extend(list.iter().map(|l| l.0));
            // Lanes beyond the source's own come along: they must be zeros where the target has more.
            let ends = |t: u32, n: usize| {
                let info = &self.out.tensors[t as usize];
                info.lanes as usize <= n && info.tail == 0
            };
            // The bytes of weights share slices: their rows are read a byte at a time, as moves do.
            // Other pixels of a word must not come along.
            let one = self.pixels(target.tensor) == 1;
            let plain = |t: u32| {
                let info = &self.out.tensors[t as usize];
                one && !info.weights && info.pixels == 1
            };
            let copy = key.len() == 1
                && plain(key[0].0)
                && key[0].1.iter().all(|&(a, b)| a == b)
                && (key[0].1.len() == whole || ends(key[0].0, key[0].1.len()));
            if copy {
                straight.entry(key[0].0).or_default().extend(list.iter().map(|(row, from)| (from[0], *row)));
            } else {
                moved.push((key, list));
            }
        }
        for (t, mut list) in straight {
            list.sort_by_key(|l| l.1);
            let (from, to) = list.into_iter().unzip();
            let info = &self.out.tensors[t as usize];
            if info.lanes as usize > whole || info.tail != 0 {
                self.copy_lanes(TensorId(t), from, target.tensor, to, whole);
            } else {
                self.copy_rows(TensorId(t), from, target.tensor, to);
            }
        }
        for (key, list) in moved {
            let out: Vec<u32> = list.iter().map(|l| l.0).collect();
            let mut passes = Vec::new();
            for (k, (t, map)) in key.iter().enumerate() {
                let from = Rows { tensor: TensorId(*t), rows: list.iter().map(|l| l.1[k]).collect() };
                passes.extend(self.move_passes(from, map));
            }
            let out = Rows { tensor: target.tensor, rows: out };
            self.kernel(list.len(), Kind::Move { passes, out });
        }
        if let Some(f) = fill {
            done.sort_unstable();
            let missing: Vec<u32> = (0..rows as u32).filter(|r| done.binary_search(r).is_err()).collect();
            if !missing.is_empty() {
                self.copy_rows(f, vec![0; missing.len()], target.tensor, missing);
            }
        }
        Ok(())
    }

    /// Passes that move lanes by a map; the map's matrix is shared by all that need it.
    pub(super) fn move_passes(&mut self, from: Rows, map: &LaneMap) -> Vec<MovePass> {
        let mut groups: Vec<u16> = map.iter().map(|m| m.0 / 16).collect();
        groups.sort_unstable();
        groups.dedup();
        let weights = match self.maps.get(map) {
            Some(&t) => t,
            None => {
                let lanes = map.iter().map(|m| usize::from(m.1)).max().unwrap_or(0) + 1;
                let mut data = vec![0u8; groups.len() * 16 * lanes];
                for &(s, d) in map {
                    let g = groups.binary_search(&(s / 16)).unwrap_or(0);
                    data[(g * 16 + usize::from(s % 16)) * lanes + usize::from(d)] = 1;
                }
                let t = self.tensor("lane map", AluType::I8, groups.len() * 16, lanes, Init::Const(data.into()));
                self.out.tensors[t.0 as usize].weights = true;
                self.maps.insert(map.clone(), t);
                t
            }
        };
        let loads: Vec<(u16, u32)> = groups.iter().enumerate().map(|(i, &g)| (g, i as u32)).collect();
        self.slot_windows()
            .into_iter()
            .filter_map(|slots| {
                let inside = |s: u16| (u16::from(slots.0)..u16::from(slots.0 + slots.1)).contains(&(s % 16));
                let map: LaneMap = map.iter().copied().filter(|m| inside(m.0)).collect();
                let loads = loads.clone();
                (!map.is_empty()).then(|| MovePass { from: from.clone(), map, weights, loads, slots })
            })
            .collect()
    }

    /// Which of 16 weight rows one load can bring: all, or half at a time where slices are few.
    pub(super) fn slot_windows(&self) -> Vec<(u8, u8)> {
        if self.weight_slots >= 16 { vec![(0, 16)] } else { vec![(0, 8), (8, 8)] }
    }

    /// If lanes would become rows, transposes blocks of 16 x 16 first; the view of the result.
    fn through_transposer(&mut self, v: &View, target: &[Axis]) -> Result<Option<View>, Why> {
        let turned = v.axes.iter().zip(target).any(|(a, t)| {
            let lanes = a.digits.iter().filter(|d| d.lane != 0).map(|d| d.extent).product::<usize>();
            let rows = t.digits.iter().filter(|d| d.row != 0).map(|d| d.extent).product::<usize>();
            lanes >= 16 && rows >= 16 && t.on_lanes() != a.on_lanes()
        });
        if !turned || !self.transposers || v.lane0 % 16 != 0 {
            return Ok(None);
        }
        let (axes, rows) = Self::compact(v);
        let template = View { tensor: TensorId(0), axes: axes.clone(), row0: 0, lane0: v.lane0 };
        let Some((own, theirs)) = template.row_pairs(&[v]) else { return Ok(None) };
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        let lanes = (info.lanes as usize).div_ceil(16) * 16;
        if lanes > self.lanes {
            return Ok(None);
        }
        let mut split = Vec::new();
        for a in &axes {
            let mut digits = Vec::new();
            for (k, d) in a.digits.iter().enumerate() {
                let Some(ds) = turn(d, k == 0) else { return Ok(None) };
                digits.extend(ds);
            }
            split.push(Axis { extent: a.extent, digits, copies: Vec::new() });
        }
        let padded = rows.div_ceil(16) * 16;
        let mut source = vec![FILL; padded];
        for (o, t) in own.iter().zip(&theirs[0]) {
            source[*o as usize] = *t;
        }
        let mut from = v.tensor;
        if padded > rows && !self.want_fill(from, 0) {
            from = self.copied(from);
            self.want_fill(from, 0);
        }
        let tile = self.tensor(&info.name, info.ty, padded, lanes, Init::Computed);
        self.out.tensors[tile.0 as usize].weights = true;
        self.copy_rows(from, source, tile, (0..padded as u32).collect());
        let turned = self.tensor(&info.name, info.ty, padded, lanes, Init::Computed);
        self.out.tensors[turned.0 as usize].weights = true;
        self.kernel(padded, Kind::transpose(tile, turned, padded));
        let row0 = v.lane0 / 16 * 16;
        Ok(Some(View { tensor: turned, axes: split, row0: 0, lane0: row0 }))
    }
}

/// A digit after a 16 x 16 transpose: the part below 16 of a row step goes to lanes and of a lane step to rows.
fn turn(d: &Digit, outermost: bool) -> Option<Vec<Digit>> {
    let flip = |low: bool, extent: usize, step: i64, row: bool| {
        let lane = if low { row } else { !row };
        Digit { extent, row: if lane { 0 } else { step }, lane: if lane { step } else { 0 } }
    };
    if d.extent == 1 || (d.row == 0 && d.lane == 0) {
        return Some(vec![*d]);
    }
    let (step, row) = if d.row != 0 { (d.row, true) } else { (d.lane, false) };
    if step >= 16 {
        return (step % 16 == 0).then(|| vec![flip(false, d.extent, step, row)]);
    }
    let inner = (16 / step) as usize;
    if 16 % step != 0 {
        return None;
    }
    if d.extent <= inner {
        return Some(vec![flip(true, d.extent, step, row)]);
    }
    // The outer part of an extent that 16 does not divide reaches into padding, which no index names.
    (d.extent.is_multiple_of(inner) || outermost)
        .then(|| vec![flip(false, d.extent.div_ceil(inner), 16, row), flip(true, inner, step, row)])
}
