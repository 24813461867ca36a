//! Passes over planes: which activation rows meet which weights, and the weight tensors.

use super::constant::to_bytes;
use super::view::View;
use super::{MatBlock, Select};
use crate::tiled::{Init, Pass, Rows, Src, Step, TensorId};
use crate::way::Inner;
use quadrille_isa::numerics::{f16_to_f32, f32_to_f16};
use quadrille_isa::tsp::{AluOp, AluType};

/// A pass before its weights have a tensor: plane rows with their weights.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) act: Rows,
    /// Plane row (lane of the activations) and its weights, one an output lane.
    pub(super) weights: Vec<(usize, Vec<f32>)>,
}

impl Select<'_> {
    /// Chains of passes with constant weights: two when there is more than one pass, for the two
    /// hemispheres.
    pub(super) fn chains(&mut self, drafts: Vec<Draft>, lanes: usize) -> Vec<Vec<Pass>> {
        // Sums of bytes have one chain: planes share rows, not passes.
        if drafts.first().is_some_and(|d| self.is_bytes(d.act.tensor)) {
            return vec![self.chain(&drafts, lanes)];
        }
        let first = if drafts.len() > 1 { drafts.len().div_ceil(2) } else { drafts.len() };
        let (a, b) = drafts.split_at(first);
        let mut chains = vec![self.chain(a, lanes)];
        if !b.is_empty() {
            chains.push(self.chain(b, lanes));
        }
        // Where a load fills half of its rows, even one pass is two: one a hemisphere.
        if chains.len() == 1 && chains[0].len() > 1 {
            let middle = chains[0].len().div_ceil(2);
            let tail = chains[0].split_off(middle);
            chains.push(tail);
        }
        chains
    }

    /// Chains of a product. Halves of bytes have weights in two tensors, so that two planes load at once.
    pub(super) fn chains_of_rows(&mut self, drafts: Vec<Draft>, lanes: usize, inner: Inner) -> Vec<Vec<Pass>> {
        let bytes = drafts.first().is_some_and(|d| self.is_bytes(d.act.tensor));
        match inner {
            Inner::Whole => vec![self.chain(&drafts, lanes)],
            Inner::Halved if !bytes || drafts.len() < 2 => self.chains(drafts, lanes),
            Inner::Halved => {
                let (a, b) = drafts.split_at(drafts.len().div_ceil(2));
                let mut chain = self.chain(a, lanes);
                chain.extend(self.chain(b, lanes));
                vec![chain]
            }
        }
    }

    /// A weight as bits of `i8` (a whole number of eight bits) or `f16`.
    pub(super) fn weight_bits(&self, ty: AluType, x: f32) -> u32 {
        if ty == AluType::F16 { u32::from(f32_to_f16(x)) } else { u32::from(x as i8 as u8) }
    }

    /// One chain of passes with constant weights.
    pub(super) fn chain(&mut self, drafts: &[Draft], lanes: usize) -> Vec<Pass> {
        let mut data: Vec<u32> = Vec::new();
        let mut parts = Vec::new();
        let ty = if drafts.first().is_some_and(|d| self.is_bytes(d.act.tensor)) { AluType::I8 } else { AluType::F16 };
        for d in drafts {
            let mut groups: Vec<usize> = d.weights.iter().map(|w| w.0 / 16).collect();
            groups.sort_unstable();
            groups.dedup();
            let base = data.len() / lanes;
            data.resize(data.len() + groups.len() * 16 * lanes, 0);
            for (k, w) in &d.weights {
                let g = groups.binary_search(&(k / 16)).unwrap_or(0);
                let row = base + g * 16 + k % 16;
                for (l, x) in w.iter().enumerate() {
                    data[row * lanes + l] = self.weight_bits(ty, *x);
                }
            }
            let loads: Vec<(u16, u32)> =
                groups.iter().enumerate().map(|(i, &g)| (g as u16, (base / 16 + i) as u32)).collect();
            parts.push((d, loads));
        }
        let rows = data.len() / lanes;
        let weights = self.tensor("weights", ty, rows, lanes, Init::Const(to_bytes(&data, ty)));
        self.out.tensors[weights.0 as usize].weights = true;
        let mut passes = Vec::new();
        for (d, loads) in parts {
            for slots in self.slot_windows() {
                let inside = |k: usize| (usize::from(slots.0)..usize::from(slots.0 + slots.1)).contains(&(k % 16));
                if d.weights.iter().any(|w| inside(w.0)) {
                    passes.push(Pass { act: d.act.clone(), weights, loads: loads.clone(), slots });
                }
            }
        }
        passes
    }

    /// Activations whose lanes beyond their own are finite: a zero weight times an infinity is NaN.
    pub(super) fn finite(&mut self, v: View) -> View {
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        if info.ty != AluType::F16 {
            return v;
        }
        if f16_to_f32(info.tail as u16).is_finite() || info.lanes as usize >= self.lanes {
            return v;
        }
        let new = self.tensor(&info.name, info.ty, info.rows as usize, info.lanes as usize, Init::Computed);
        let rows: Vec<u32> = (0..info.rows).collect();
        self.copy_lanes(v.tensor, rows.clone(), new, rows, info.lanes as usize);
        View { tensor: new, ..v }
    }

    /// Chains of drafts that were joined, whose weights are computed: rows of `b` become a tile, or are weights as they are.
    pub(super) fn dynamic_chains(&mut self, b: TensorId, drafts: Vec<DynamicDraft>, inner: Inner) -> Vec<Vec<Pass>> {
        let mut passes = Vec::new();
        for d in drafts {
            let groups = groups_of(&d);
            let (weights, loads) = match self.loads_of(b, &d) {
                Some(loads) => (b, loads),
                None => (self.tile(b, &d, &groups), (0..).zip(&groups).map(|(i, &g)| (g as u16, i)).collect()),
            };
            for slots in self.slot_windows() {
                let inside = |k: usize| (usize::from(slots.0)..usize::from(slots.0 + slots.1)).contains(&(k % 16));
                if d.rows.iter().any(|r| inside(r.0)) {
                    passes.push(Pass { act: d.act.clone(), weights, loads: loads.clone(), slots });
                }
            }
        }
        if passes.len() < 2 || inner == Inner::Whole {
            return vec![passes];
        }
        let middle = passes.len().div_ceil(2);
        let tail = passes.split_off(middle);
        vec![passes, tail]
    }

    /// The loads of a draft whose rows lie in a weights tensor, sixteen by sixteen.
    fn loads_of(&self, b: TensorId, d: &DynamicDraft) -> Option<Vec<(u16, u32)>> {
        if self.out.tensors[b.0 as usize].weights { whole_loads(d) } else { None }
    }

    /// Rows of `b` as weights, masked to the lanes that they may reach; rows of no group are zero.
    fn tile(&mut self, b: TensorId, d: &DynamicDraft, groups: &[usize]) -> TensorId {
        let info = self.out.tensors[b.0 as usize].clone();
        let lanes = info.lanes as usize;
        // Lanes beyond the operand's own must not reach the sums.
        let mut masks: Vec<Option<Vec<usize>>> = Vec::new();
        let mut source = vec![(crate::tiled::FILL, 0u32); groups.len() * 16];
        for (k, row, keep) in &d.rows {
            let keep = if keep.is_none() && info.tail != 0 { Some((0..lanes).collect()) } else { keep.clone() };
            let mask = masks.iter().position(|m| *m == keep).unwrap_or_else(|| {
                masks.push(keep);
                masks.len() - 1
            });
            let g = groups.binary_search(&(k / 16)).unwrap_or(0);
            source[g * 16 + k % 16] = (*row, mask as u32);
        }
        let mut from = b;
        if source.iter().any(|s| s.0 == crate::tiled::FILL) && !self.want_fill(from, 0) {
            from = self.copied(from);
            self.want_fill(from, 0);
        }
        let tile = self.tensor(&info.name, info.ty, source.len(), lanes, Init::Computed);
        let bits = if self.is_bytes(b) { AluType::U8 } else { AluType::I16 };
        self.out.tensors[tile.0 as usize].weights = true;
        let n = source.len();
        let mut ins = vec![Rows { tensor: from, rows: source.iter().map(|s| s.0).collect() }];
        let step = if masks.iter().all(Option::is_none) {
            Step { op: AluOp::Or, ty: bits, src: [Src::In(0), Src::Imm(0), Src::None] }
        } else {
            let mut data = vec![0u32; masks.len() * lanes];
            for (m, keep) in data.chunks_mut(lanes).zip(&masks) {
                match keep {
                    Some(keep) => keep.iter().for_each(|&l| m[l] = 0xFFFF),
                    None => m.fill(0xFFFF),
                }
            }
            let init = Init::Const(to_bytes(&data, bits));
            let mask = self.tensor("lane mask", bits, masks.len(), lanes, init);
            ins.push(Rows { tensor: mask, rows: source.iter().map(|s| s.1).collect() });
            Step { op: AluOp::And, ty: bits, src: [Src::In(0), Src::In(1), Src::None] }
        };
        // Rows of one slice follow each other.
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| (i % 16, i));
        ins.iter_mut().for_each(|r| r.rows = order.iter().map(|&i| r.rows[i]).collect());
        let outs = vec![(Src::Op(0), Rows { tensor: tile, rows: order.iter().map(|&i| i as u32).collect() })];
        self.kernel(n, crate::tiled::Kind::Map { ins, steps: vec![step], outs });
        tile
    }

    /// True for tensors of bytes, whose products are exact in `i32`.
    pub(super) fn is_bytes(&self, t: TensorId) -> bool {
        matches!(self.out.tensors[t.0 as usize].ty, AluType::I8 | AluType::U8)
    }

    /// Joins the sums of two chains; the sequence of every block must have equally many chains.
    pub(super) fn joined(&self, lazy: &mut super::Lazy) {
        let (chains, quotient) = lazy.mat.as_ref().map_or((0, false), |m| (m.chains, m.quotient));
        lazy.result = match chains {
            2 if quotient => {
                let r = lazy.expr.f1(AluOp::Recip, Src::In(1));
                lazy.expr.f2(AluOp::Mul, Src::In(0), r)
            }
            2 => lazy.expr.f2(AluOp::Add, Src::In(0), Src::In(1)),
            _ => Src::In(0),
        };
    }

    /// Chains of the block that has most.
    pub(super) fn chain_count(blocks: &[MatBlock]) -> usize {
        blocks.iter().map(|b| b.chains.len()).max().unwrap_or(0)
    }
}

/// A pass whose weights are computed.
#[derive(Clone, Debug)]
pub(super) struct DynamicDraft {
    pub(super) act: Rows,
    /// Plane row, row of the operand, and the lanes that it may reach, if not all.
    pub(super) rows: Vec<(usize, u32, Option<Vec<usize>>)>,
}

/// True where all rows of drafts, whole and nothing else, can be loaded sixteen by sixteen.
pub(super) fn loads_whole(drafts: &[DynamicDraft]) -> bool {
    drafts.iter().all(|d| d.rows.iter().all(|r| r.2.is_none()) && whole_loads(d).is_some())
}

/// The loads of a draft, if sixteen plane rows each are sixteen rows of the operand.
fn whole_loads(d: &DynamicDraft) -> Option<Vec<(u16, u32)>> {
    let mut rows: Vec<(usize, u32)> = d.rows.iter().map(|r| (r.0, r.1)).collect();
    rows.sort_unstable();
    let whole = |c: &[(usize, u32)]| {
        let (k, r) = c[0];
        let follows = |(i, x): (usize, &(usize, u32))| *x == (k + i, r + i as u32);
        (c.len() == 16 && k % 16 == 0 && r % 16 == 0 && c.iter().enumerate().all(follows))
            .then_some(((k / 16) as u16, r / 16))
    };
    rows.chunks(16).map(whole).collect()
}

/// Groups of 16 plane rows.
fn groups_of(d: &DynamicDraft) -> Vec<usize> {
    let mut groups: Vec<usize> = d.rows.iter().map(|r| r.0 / 16).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Drafts that take the same activations by different plane rows are one.
pub(super) fn joined_drafts(drafts: Vec<DynamicDraft>) -> Vec<DynamicDraft> {
    let parts = drafts.into_iter().map(|d| (d.act, d.rows));
    joined_rows(parts, |r| r.0).into_iter().map(|(act, rows)| DynamicDraft { act, rows }).collect()
}

/// The same of plane rows with whatever belongs to them.
pub(super) fn joined_rows<R>(
    parts: impl IntoIterator<Item = (Rows, Vec<R>)>,
    plane_row: impl Fn(&R) -> usize,
) -> Vec<(Rows, Vec<R>)> {
    let mut out: Vec<(Rows, Vec<R>)> = Vec::new();
    for (act, rows) in parts {
        let differ = |own: &[R]| !own.iter().any(|r| rows.iter().any(|x| plane_row(x) == plane_row(r)));
        match out.iter_mut().find(|o| o.0 == act && differ(&o.1)) {
            Some(o) => o.1.extend(rows),
            None => out.push((act, rows)),
        }
    }
    out
}
