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
use super::constant::to_bytes;
use super::conv::taps;
use super::view::{Axis, View};
use crate::tiled::{Init, Kind, NOTHING, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::{AluOp, AluType};
use std::collections::BTreeMap;
use std::ops::Range;

/// Lanes of a superlane, and rows that are turned together.
const SIDE: usize = 16;

/// Sixteen of the inner axis: the superlane that they lie in, and the first superlane and the group of sixteen rows where they go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    word: usize,
    to: usize,
    group: usize,
}

/// What is turned, and into what.
struct Turn {
    source: TensorId,
    ty: AluType,
    name: String,
    /// Superlanes of a word.
    words: usize,
    row0: i64,
    row_step: i64,
    /// Columns of a block, and groups of sixteen rows from block to block of the result.
    width: usize,
    block_groups: usize,
    sets: Vec<Set>,
    abreast: Abreast,
    out_lanes: usize,
}

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

/// Parts that fill a word side by side: those whose superlanes are `step` apart, and which go `apart` superlanes apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Abreast {
    parts: usize,
    step: usize,
    apart: usize,
}

impl Abreast {
    /// Each by itself.
    fn one(words: usize) -> Abreast {
        Abreast { parts: 1, step: words, apart: 0 }
    }

    /// As many as share words in the result, where they have room in the words that are turned.
    fn of(words_of: &BTreeMap<i64, Vec<Place>>, groups: usize, words: usize) -> Abreast {
        let mut tos: Vec<usize> = words_of.values().flatten().map(|p| p.to).collect();
        tos.sort_unstable();
        tos.dedup();
        let parts = tos.len();
        let (&[0, apart, ..], true) = (&tos[..], parts > 1) else { return Abreast::one(words) };
        let of = |places: &[Place], to: usize| -> Vec<usize> {
            let mut all: Vec<usize> = places.iter().filter(|p| p.to == to).map(|p| p.word).collect();
            all.sort_unstable();
            all
        };
        let Some(all) = words_of.values().next() else { return Abreast::one(words) };
        let (Some(&a), Some(&b)) = (of(all, 0).first(), of(all, apart).first()) else { return Abreast::one(words) };
        let step = b.saturating_sub(a);
        let found = Abreast { parts, step, apart };
        let even = tos.iter().enumerate().all(|(k, &to)| to == k * apart);
        let alike = words_of.values().all(|places| {
            let first = of(places, 0);
            (1..parts).all(|k| of(places, k * apart).iter().copied().eq(first.iter().map(|w| w + k * step)))
        });
        let fits = step > 0 && apart >= groups && groups.div_ceil(step) * parts * step <= words;
        if even && alike && fits { found } else { Abreast::one(words) }
    }

    /// Superlanes by which rows of group `g` are turned.
    fn turn(&self, g: usize) -> usize {
        g % self.step + g / self.step * self.parts * self.step
    }

    /// Where what lies `position` parts behind superlane `word` in rows of group `g` is, once they are turned.
    fn superlane(&self, word: usize, position: usize, g: usize, words: usize) -> usize {
        let step = if self.parts == 1 { 0 } else { position * self.step };
        (word + step + self.turn(g)) % words
    }

    /// Which of those side by side.
    fn position(&self, p: &Place) -> usize {
        if self.parts == 1 { 0 } else { p.to / self.apart }
    }
}

/// How f16 was made of bytes.
struct Bytes {
    from: TensorId,
    steps: Vec<Step>,
    result: Src,
}

/// By the row of words that they lie in, where all sixteens of the inner axis come from, and go; nothing where rows of the result are
/// no sixteens.
fn words_of(v: &View, axes: &[Axis], parts: usize) -> Option<BTreeMap<i64, Vec<Place>>> {
    let rank = axes.len();
    let shape: Vec<usize> = v.axes[..rank - 2].iter().map(|a| a.extent).collect();
    let (from, to) = (v.tables(), axes.iter().map(Axis::table).collect::<Vec<_>>());
    let mut all: BTreeMap<i64, Vec<Place>> = BTreeMap::new();
    for index in taps(&shape) {
        let sum = |tables: &[Vec<(i64, i64)>]| {
            index.iter().zip(tables).fold((0, 0), |(r, l), (&i, t)| (r + t[i].0, l + t[i].1))
        };
        let ((row, lane), (to_row, to_lane)) = (sum(&from), sum(&to));
        if to_row % SIDE as i64 != 0 {
            return None;
        }
        let places = (0..parts).map(|part| Place {
            word: (v.lane0 + lane) as usize / SIDE + part,
            to: to_lane as usize / SIDE,
            group: to_row as usize / SIDE + part,
        });
        all.entry(row).or_default().extend(places);
    }
    Some(all)
}

/// A lane map of superlanes.
fn spread(pairs: impl Iterator<Item = (usize, usize)>) -> Vec<(u16, u16)> {
    let mut map: Vec<(u16, u16)> =
        pairs.flat_map(|(a, b)| (0..SIDE).map(move |i| ((a * SIDE + i) as u16, (b * SIDE + i) as u16))).collect();
    map.sort_unstable();
    map
}

/// Rows of words that are put together: sixteen of each set of each place.
fn rows_of<'a>(
    places: &'a [(usize, &'a Place)],
    sets: &'a [Set],
) -> impl Iterator<Item = (usize, &'a Place, &'a Set, usize)> {
    places.iter().flat_map(move |&(f, p)| sets.iter().flat_map(move |s| (0..SIDE).map(move |i| (f, p, s, i))))
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
        let plain = matches!(info.ty, AluType::F16 | AluType::I8) && info.pixels == 1 && !info.weights;
        let one_row = axes[rank - 2].digits.iter().all(|x| x.extent == 1 || (x.row, x.lane) == (1, 0));
        if !(self.transposers && whole && laid && exact && parts && plain && one_row) || width <= SIDE || words < 2 {
            return None;
        }
        let sets = sets(blocks, width, words);
        let words_of = words_of(v, axes, d.extent / SIDE)?;
        let out_lanes = Self::reach(axes, 0).next_multiple_of(SIDE);
        // Bytes that were widened are turned as bytes, and widened then.
        let bytes = if info.ty == AluType::F16 { self.bytes_behind(v.tensor) } else { None };
        // Both bytes of a half lie in one slice there, so that no ALU can take what was turned.
        let abreast = match &sets[..] {
            [set] if bytes.is_some() && width.is_multiple_of(SIDE) => Abreast::of(&words_of, set.groups, words),
            _ => Abreast::one(words),
        };
        let source = bytes.as_ref().map_or(v.tensor, |b| b.from);
        let turn = Turn {
            source,
            ty: self.out.tensors[source.0 as usize].ty,
            name: info.name,
            words,
            row0: v.row0,
            row_step: t.row,
            width,
            block_groups: block_rows / SIDE,
            sets,
            abreast,
            out_lanes,
        };
        let weights = self.weight_tensor(&turn.name, info.ty, rows, out_lanes);
        // A row of words after the other, so that products can begin with the first.
        let all: Vec<(i64, Vec<Place>)> = words_of.into_iter().collect();
        let at_once = if self.pieces || all.len() > 2 { 1 } else { all.len() };
        for part in all.chunks(at_once.max(1)) {
            self.turn_rows(&turn, part, weights, bytes.as_ref());
        }
        Some(View { tensor: weights, axes: axes.to_vec(), row0: 0, lane0: 0 })
    }

    /// Turns what lies in some words of all rows.
    fn turn_rows(&mut self, turn: &Turn, parts: &[(i64, Vec<Place>)], weights: TensorId, bytes: Option<&Bytes>) {
        let Turn { source, ty, words, ref sets, ref abreast, .. } = *turn;
        let groups: usize = sets.iter().map(|s| s.groups).sum();
        let column = |s: &Set, g: usize, i: usize| {
            let lane = (s.first + g) * SIDE + i;
            (lane < turn.width).then_some(s.block * turn.width + lane)
        };
        let turned = self.tensor(&turn.name, ty, parts.len() * groups * SIDE, words * SIDE, Init::Computed);
        let turned_row = |f: usize, s: &Set, g: usize, i: usize| ((f * groups + s.before + g) * SIDE + i) as u32;
        for g in 0..sets.iter().map(|s| s.groups).max().unwrap_or(0) {
            let (mut own, mut theirs) = (Vec::new(), Vec::new());
            for (f, s) in (0..parts.len()).flat_map(|f| sets.iter().filter(|s| g < s.groups).map(move |s| (f, s))) {
                for (i, t_of) in (0..SIDE).filter_map(|i| Some((i, column(s, g, i)?))) {
                    own.push((turn.row0 + parts[f].0 + t_of as i64 * turn.row_step) as u32);
                    theirs.push(turned_row(f, s, g, i));
                }
            }
            let map = spread((0..words).map(|w| (w, (w + abreast.turn(g)) % words)));
            let passes = self.move_passes(Rows { tensor: source, rows: own }, &map);
            let out = Rows { tensor: turned, rows: theirs };
            self.kernel(out.rows.len(), Kind::Move { passes, out });
        }
        // Those side by side go with the first of them.
        let places = || parts.iter().enumerate().flat_map(|(f, (_, places))| places.iter().map(move |p| (f, p)));
        let mut leading: Vec<(usize, &Place)> = places().filter(|(_, p)| abreast.position(p) == 0).collect();
        leading.sort_by_key(|(_, p)| p.group);
        let superlanes = self.lanes / SIDE;
        let mut sources = Vec::with_capacity(leading.len() * sets.len() * SIDE * superlanes);
        for (f, p, s, i) in rows_of(&leading, sets) {
            let mut row = vec![NOTHING; superlanes];
            for (k, g) in (0..abreast.parts).flat_map(|k| (0..s.groups).map(move |g| (k, g))) {
                if column(s, g, i).is_some() {
                    row[abreast.superlane(p.word, k, g, words)] = turned_row(f, s, g, i);
                }
            }
            sources.extend(row);
        }
        let gathered = self.gathered(turned, sources, leading.len() * sets.len() * SIDE);
        let blocks = sets.last().map_or(1, |s| s.block + 1);
        let joined = self.weight_tensor(&turn.name, ty, leading.len() * blocks * SIDE, turn.out_lanes);
        let mut maps: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        leading.iter().enumerate().for_each(|(n, (_, p))| maps.entry((p.word, p.to)).or_default().push(n));
        for ((word, to), numbers) in maps {
            for block in 0..blocks {
                // Rows of one slice follow each other.
                let list = || (0..SIDE).flat_map(|i| numbers.iter().map(move |&n| (i, n)));
                let mut passes = Vec::new();
                for (n, s) in sets.iter().enumerate().filter(|(_, s)| s.block == block) {
                    let all = (0..abreast.parts).flat_map(|k| (0..s.groups).map(move |g| (k, g)));
                    let map =
                        spread(all.map(|(k, g)| {
                            (abreast.superlane(word, k, g, words), to + k * abreast.apart + s.first + g)
                        }));
                    let from = list().map(|(i, at)| ((at * sets.len() + n) * SIDE + i) as u32).collect();
                    passes.extend(self.move_passes(Rows { tensor: gathered, rows: from }, &map));
                }
                let rows = list().map(|(i, at)| ((at * blocks + block) * SIDE + i) as u32).collect();
                let out = Rows { tensor: joined, rows };
                self.kernel(out.rows.len(), Kind::Move { passes, out });
            }
        }
        let group = |p: &Place, block: usize| (p.group + block * turn.block_groups) as u32;
        let Some(bytes) = bytes else {
            let groups = leading.iter().flat_map(|(_, p)| (0..blocks).map(move |b| group(p, b))).collect();
            self.kernel(leading.len() * blocks * SIDE, Kind::Transpose { from: joined, out: weights, groups });
            return;
        };
        let apart = self.weight_tensor(&turn.name, ty, leading.len() * blocks * SIDE, turn.out_lanes);
        let groups = (0..(leading.len() * blocks) as u32).collect();
        self.kernel(leading.len() * blocks * SIDE, Kind::Transpose { from: joined, out: apart, groups });
        let mut made = Vec::new();
        for (f, p) in places() {
            let word = p.word - abreast.position(p) * abreast.step;
            let leads = |l: &Place| l.word == word && (abreast.parts > 1 || l == p);
            let Some(number) = leading.iter().position(|&(of, l)| of == f && leads(l)) else { continue };
            let lanes = p.to * SIDE..p.to * SIDE + turn.width;
            made.extend((0..blocks).map(|b| ((number * blocks + b) as u32, group(p, b), lanes.clone())));
        }
        self.masked(apart, weights, bytes, &made);
    }

    /// Sixteen rows each, by group, become others of f16, zero outside of some lanes.
    fn masked(&mut self, from: TensorId, out: TensorId, bytes: &Bytes, made: &[(u32, u32, Range<usize>)]) {
        let lanes = self.out.tensors[out.0 as usize].lanes as usize;
        let mut masks: Vec<&Range<usize>> = Vec::new();
        for (.., keep) in made {
            if !masks.contains(&keep) {
                masks.push(keep);
            }
        }
        let row = |keep: &&Range<usize>| (0..lanes).map(|l| if keep.contains(&l) { 0xFFFF } else { 0 }).collect();
        let data: Vec<u32> = masks.iter().flat_map(|keep| -> Vec<u32> { row(keep) }).collect();
        let init = Init::Const(to_bytes(&data, AluType::I16));
        let mask = self.tensor("lane mask", AluType::I16, masks.len(), lanes, init);
        // Rows of one slice follow each other.
        let all = || (0..SIDE as u32).flat_map(|i| made.iter().map(move |m| (i, m)));
        let mut steps = bytes.steps.clone();
        steps.push(Step { op: AluOp::And, ty: AluType::I16, src: [bytes.result, Src::In(1), Src::None] });
        let number = |keep: &Range<usize>| masks.iter().position(|m| *m == keep).unwrap_or(0) as u32;
        let ins = vec![
            Rows { tensor: from, rows: all().map(|(i, m)| m.0 * SIDE as u32 + i).collect() },
            Rows { tensor: mask, rows: all().map(|(_, m)| number(&m.2)).collect() },
        ];
        let rows = all().map(|(i, m)| m.1 * SIDE as u32 + i).collect();
        let outs = vec![(Src::Op(steps.len() as u16 - 1), Rows { tensor: out, rows })];
        self.kernel(made.len() * SIDE, Kind::Map { ins, steps, outs });
    }

    /// The bytes that a tensor of f16 was made of, row by row and by nothing else.
    fn bytes_behind(&self, t: TensorId) -> Option<Bytes> {
        let mut makers = self.out.kernels.iter().filter(|k| {
            let mut makes = false;
            k.each_write(|w| makes |= w == t);
            makes
        });
        let (Kind::Map { ins, steps, outs }, None) = (&makers.next()?.kind, makers.next()) else { return None };
        let ([from], Some((result, to))) = (&ins[..], outs.iter().find(|o| o.1.tensor == t)) else { return None };
        let (own, wide) = (&self.out.tensors[from.tensor.0 as usize], &self.out.tensors[t.0 as usize]);
        let alike = (own.rows, own.lanes, own.pixels, own.weights) == (wide.rows, wide.lanes, 1, false);
        (alike && self.is_bytes(from.tensor) && from.rows == to.rows).then(|| Bytes {
            from: from.tensor,
            steps: steps.clone(),
            result: *result,
        })
    }

    fn weight_tensor(&mut self, name: &str, ty: AluType, rows: usize, lanes: usize) -> TensorId {
        let t = self.tensor(name, ty, rows, lanes, Init::Computed);
        self.out.tensors[t.0 as usize].weights = true;
        t
    }
}
