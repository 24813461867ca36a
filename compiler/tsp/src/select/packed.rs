//! Packed tensors in elementwise kernels, and in and out of the packed form.
//!
//! An elementwise kernel works on words: operands of the same layout meet word by word, constants are
//! repeated for every pixel of a word, anything else is moved to the layout first. The lanes
//! between the channels of a pixel and the next pixel hold what channel 0 holds, so they stay finite.

use super::constant::{bits, to_bytes};
use super::expr::Why;
use super::view::View;
use super::{Form, LazyIn, Select};
use crate::tiled::{HostLoop, HostPiece, Init, Rows, TensorId};
use quadrille_compiler::ir::ValueId;
use quadrille_isa::Tensor;
use quadrille_isa::tsp::AluType;
use std::collections::{BTreeMap, BTreeSet};

/// A packed result: where its pixels lie and how wide its words are.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// Axes of the result; the tensor is not used.
    pub(super) template: View,
    pub(super) pixels: usize,
    /// Lanes of a word: pixels times the lanes of one.
    pub(super) lanes: usize,
    /// Words of the tensor.
    pub(super) rows: usize,
    /// Words that hold a pixel.
    pub(super) words: Vec<u32>,
}

impl Select<'_> {
    pub(super) fn packed_result(&self, template: View, pixels: usize, lanes: usize, rows: usize) -> Packed {
        let own = template.row_pairs(&[]).map(|p| p.0).unwrap_or_default();
        let words: BTreeSet<u32> = own.iter().map(|r| r / pixels as u32).collect();
        Packed { template, pixels, lanes, rows, words: words.into_iter().collect() }
    }

    pub(super) fn packed_tensor(&mut self, p: &Packed, ty: AluType, init: Init) -> TensorId {
        let t = self.tensor("", ty, p.rows, p.lanes, init);
        self.out.tensors[t.0 as usize].pixels = p.pixels as u32;
        t
    }

    /// Rows of an operand for each word of a packed result.
    pub(super) fn packed_operand(&mut self, i: LazyIn, p: &Packed) -> Result<Rows, Why> {
        let v = match i {
            LazyIn::Const(t) => return self.packed_constant(&t, p),
            LazyIn::View(v) => v,
        };
        let shape = p.template.shape();
        let v = v.broadcast(&shape);
        let info = &self.out.tensors[v.tensor.0 as usize];
        if (info.pixels as usize, info.lanes as usize) == (p.pixels, p.lanes)
            && let Some(rows) = Self::paired_words(&v, p)
        {
            return Ok(Rows { tensor: v.tensor, rows });
        }
        let ty = info.ty;
        let tensor = self.packed_tensor(p, ty, Init::Computed);
        let target = View { tensor, ..p.template.clone() };
        self.assemble(&target, p.rows, &[(v.clone(), vec![0; v.axes.len()])], None)?;
        Ok(Rows { tensor, rows: p.words.clone() })
    }

    /// Words of a view of the same form for each word of the result, if pixels keep their places in words.
    fn paired_words(v: &View, p: &Packed) -> Option<Vec<u32>> {
        let (own, theirs) = p.template.row_pairs(&[v])?;
        let n = p.pixels as u32;
        let mut of: BTreeMap<u32, u32> = BTreeMap::new();
        for (&o, &t) in own.iter().zip(&theirs[0]) {
            let held = of.entry(o / n).or_insert(t / n);
            if o % n != t % n || *held != t / n {
                return None;
            }
        }
        Some(p.words.iter().map(|w| of[w]).collect())
    }

    fn packed_constant(&mut self, t: &Tensor, p: &Packed) -> Result<Rows, Why> {
        let shape = p.template.shape();
        let mut own = vec![1usize; shape.len().saturating_sub(t.shape.len())];
        own.extend(&t.shape);
        let values = bits(t)?;
        let tables = p.template.tables();
        let varies = |i: usize| own[i] != 1;
        let one = (0..shape.len()).all(|i| !varies(i) || p.template.axes[i].digits.iter().all(|d| d.row == 0));
        let group = p.lanes / p.pixels;
        let rows = if one { 1 } else { p.rows };
        let mut data = vec![0u32; rows * p.lanes];
        // (pixel, lane, element) of every place.
        let mut all = vec![(p.template.row0, p.template.lane0, 0usize)];
        for (i, table) in tables.iter().enumerate() {
            let mut next = Vec::with_capacity(all.len());
            let rowless = !varies(i) && one;
            for &(r, l, e) in &all {
                let mut seen = BTreeSet::new();
                for (k, d) in table.iter().enumerate() {
                    let at = (if rowless { 0 } else { d.0 }, d.1);
                    if seen.insert(at) {
                        next.push((r + at.0, l + at.1, e * own[i] + if varies(i) { k } else { 0 }));
                    }
                }
            }
            all = next;
        }
        let mut first: BTreeMap<i64, (i64, usize)> = BTreeMap::new();
        let mut place = |r: i64, l: i64, e: usize| {
            let (word, slot) = (r as usize / p.pixels, r as usize % p.pixels);
            data[word * p.lanes + slot * group + l as usize] = values[e];
        };
        let last = all.iter().map(|a| a.1).max().unwrap_or(0);
        for &(r, l, e) in &all {
            let held = first.entry(r).or_insert((l, e));
            if l < held.0 {
                *held = (l, e);
            }
            let slots = if one { 0..p.pixels as i64 } else { 0..1 };
            slots.for_each(|s| place(r + s, l, e));
        }
        for (&r, &(_, e)) in &first {
            let slots = if one { 0..p.pixels as i64 } else { 0..1 };
            for s in slots {
                (last + 1..group as i64).for_each(|l| place(r + s, l, e));
            }
        }
        let ty = super::device_type(t.dtype).unwrap_or(AluType::F32);
        let tensor = self.tensor("", ty, rows, p.lanes, Init::Const(to_bytes(&data, ty)));
        let list = if one { vec![0; p.words.len()] } else { p.words.clone() };
        Ok(Rows { tensor, rows: list })
    }

    /// The view with one pixel a row.
    pub(super) fn plain(&mut self, v: View) -> Result<View, Why> {
        if self.pixels(v.tensor) == 1 {
            return Ok(v);
        }
        let (axes, rows) = Self::compact(&v);
        let lanes = Self::reach(&axes, v.lane0);
        let ty = self.out.tensors[v.tensor.0 as usize].ty;
        let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0: v.lane0 };
        self.assemble(&target, rows, &[(v.clone(), vec![0; v.axes.len()])], None)?;
        Ok(target)
    }

    /// The value in a type, packed if it is; kept for later consumers.
    pub(super) fn any_form(&mut self, v: ValueId, ty: AluType) -> Result<View, Why> {
        let forms = self.forms(v)?;
        if let Some(f) = forms.iter().find(|f| f.ty == ty) {
            return Ok(f.view.clone());
        }
        let Some(f) = forms.first().cloned() else {
            return Err(("an operand has no form".into(), "this is a bug of the compiler".into()));
        };
        self.converted(v, f, ty)
    }

    /// The value in a type, one pixel a row; kept for later consumers.
    pub(super) fn plain_form(&mut self, v: ValueId, ty: AluType) -> Result<View, Why> {
        let forms = self.forms(v)?;
        let one = |s: &Self, f: &&Form| f.ty == ty && s.pixels(f.view.tensor) == 1;
        if let Some(f) = forms.iter().find(|f| one(self, f)) {
            return Ok(f.view.clone());
        }
        let view = self.any_form(v, ty)?;
        if self.pixels(view.tensor) == 1 {
            return Ok(view);
        }
        let view = self.plain(view)?;
        if let super::Val::Forms(f) = &mut self.vals[v.0 as usize] {
            f.push(Form { ty, view: view.clone() });
        }
        Ok(view)
    }

    /// Host pieces of a view in words and lanes.
    pub(super) fn host_places(&self, v: &View) -> Vec<HostPiece> {
        let info = &self.out.tensors[v.tensor.0 as usize];
        let (pixels, lanes) = (i64::from(info.pixels), i64::from(info.lanes));
        let pieces = v.host_pieces();
        if pixels == 1 { pieces } else { pieces.iter().flat_map(|p| split(p, pixels, lanes / pixels)).collect() }
    }
}

/// A piece in pixels as pieces in words. Loops that step whole words stay; of the others the innermost is cut
/// where words end, the rest are unrolled.
fn split(p: &HostPiece, pixels: i64, group: i64) -> Vec<HostPiece> {
    let odd = |l: &HostLoop| i64::from(l.row) % pixels != 0;
    let mut pieces = vec![p.clone()];
    loop {
        let many = pieces.first().is_some_and(|p| p.loops.iter().filter(|l| odd(l)).count() > 1);
        if !many {
            break;
        }
        pieces = pieces
            .iter()
            .flat_map(|p| {
                let at = p.loops.iter().position(odd).unwrap_or(0);
                let l = p.loops[at];
                (0..l.count).map(move |k| {
                    let mut q = p.clone();
                    q.loops.remove(at);
                    q.row0 = (i64::from(q.row0) + i64::from(k) * i64::from(l.row)) as u32;
                    q.lane0 = (i64::from(q.lane0) + i64::from(k) * i64::from(l.lane)) as u32;
                    q.elem0 = (q.elem0 as i64 + i64::from(k) * l.elem) as u64;
                    q
                })
            })
            .collect();
    }
    let mut out = Vec::new();
    for p in pieces {
        let at = p.loops.iter().position(odd);
        let count = at.map_or(1, |a| p.loops[a].count);
        let step = at.map_or(HostLoop { count: 1, row: 0, lane: 0, elem: 0 }, |a| p.loops[a]);
        let mut k = 0;
        while k < count {
            let row = i64::from(p.row0) + i64::from(k) * i64::from(step.row);
            let word = row / pixels;
            let mut n = 1;
            while k + n < count && (row + i64::from(n) * i64::from(step.row)) / pixels == word {
                n += 1;
            }
            let mut q = p.clone();
            for l in &mut q.loops {
                l.row = (i64::from(l.row) / pixels) as i32;
            }
            q.row0 = word as u32;
            q.lane0 = (i64::from(p.lane0) + i64::from(k) * i64::from(step.lane) + row % pixels * group) as u32;
            q.elem0 = (p.elem0 as i64 + i64::from(k) * step.elem) as u64;
            if let Some(a) = at {
                q.loops[a] = HostLoop {
                    count: n,
                    row: 0,
                    lane: (i64::from(step.lane) + i64::from(step.row) * group) as i32,
                    elem: step.elem,
                };
            }
            q.loops.retain(|l| l.count > 1);
            out.push(q);
            k += n;
        }
    }
    out
}
