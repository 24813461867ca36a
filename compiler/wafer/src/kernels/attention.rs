//! Attention: a head a PE, which holds the keys and values of all places and takes queries row by row.
//!
//! ```text
//!  queries ====+========+========+====     every PE takes its head of each row
//!            [head 2] [head 1] [head 0] ====> rows: head 0, head 1, head 2
//!  keys    ====+========+========+====     and first of all its head of every key and value
//!  values  ====+========+========+====
//! ```
//!
//! For a row: sums over the head's elements from zero, ascending, of f16 operands; what is done to each score, such as a
//! scale; plus the mask; a softmax (maximum, 2^((x - max) log2 e), ascending sum, times its reciprocal); what is done to each
//! weight; rounded to f16; sums over places from zero, ascending.

use super::{Core, Format, InputUse, PeContext, conv::rounded, discard, in_queue, size};
use crate::code::{Builder, fabric, imm, mem, mov, num, op, stepped};
use crate::layout::Layout;
use crate::steps::{self, Step, scalar};
use quadrille_isa::numerics::{canonical, f16_to_f32, f32_to_f16, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, Mem, PeOp, Src, VecOp};
use rayon::prelude::*;
use std::f32::consts::LOG2_E;
use std::sync::Arc;

/// What is added to the scores before the softmax.
#[derive(Clone, Debug)]
pub(crate) enum Mask {
    None,
    /// A constant, and the steps in it from head to head, row to row and place to place.
    Constant(Arc<Vec<f32>>, [usize; 3]),
    /// One value a place, the same for all rows: the fourth input.
    Once,
    /// A row for every row: the fourth input.
    EachRow,
}

/// Rows, places, and heads of so many elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) heads: usize,
    pub(crate) rows: usize,
    pub(crate) places: usize,
    pub(crate) size: usize,
}

/// Softmax(queries x keys, scaled and masked) x values.
#[derive(Debug)]
pub(crate) struct Attention {
    x: Extents,
    /// Done to each score before the mask is added, and to each weight. No operand is a table.
    on_scores: Vec<Step>,
    on_weights: Vec<Step>,
    mask: Mask,
    /// What weights are where all scores are minus infinity.
    dead: Option<f32>,
    layout: Layout,
}

impl Attention {
    /// Of heads of an even number of elements.
    pub(crate) fn new(
        x: Extents,
        (on_scores, on_weights): (Vec<Step>, Vec<Step>),
        mask: Mask,
        dead: Option<f32>,
    ) -> Attention {
        let layout = Layout::new(&[(x.rows, x.size), (x.heads, x.rows * x.size), (x.size, 1)]);
        Attention { x, on_scores, on_weights, mask, dead, layout }
    }

    /// The orders of queries, keys, values and mask, over row-major indices of [heads, rows, size], [heads, size, places],
    /// [heads, places, size], and of the mask's own rows.
    pub(crate) fn orders(&self) -> [Layout; 4] {
        let Extents { heads, rows, places, size } = self.x;
        let mask = match self.mask {
            Mask::EachRow => Layout::row_major(&[rows, places]),
            _ => Layout::row_major(&[places]),
        };
        [
            Layout::axes(&[heads, rows, size], &[1, 0, 2]),
            Layout::axes(&[heads, size, places], &[2, 0, 1]),
            Layout::axes(&[heads, places, size], &[1, 0, 2]),
            mask,
        ]
    }

    /// Bytes that a PE of one head holds beside its program.
    pub(crate) fn bytes(&self) -> usize {
        let Extents { rows, places, size, .. } = self.x;
        let mask = match &self.mask {
            Mask::None => 0,
            Mask::Constant(_, [_, 0, _]) | Mask::Once | Mask::EachRow => places,
            Mask::Constant(..) => rows * places,
        };
        4 * places * size + 6 * places + 8 * size + 4 * mask
    }

    /// A head's maximum or sum: the first score, then the others in order.
    fn fold(&self, by: PeOp, x: u32, into: u32) -> Vec<VecOp> {
        let at = Dst::Mem(mem(ElemType::F32, into, 0, 0));
        let all = mem(ElemType::F32, x, 0, 1);
        let mut ops = vec![mov(num(1), num(1), at, Src::Mem(all))];
        if self.x.places > 1 {
            let rest = Src::Mem(mem(ElemType::F32, x + size(ElemType::F32), 0, 1));
            let acc = Src::Mem(mem(ElemType::F32, into, 0, 0));
            ops.push(op(by, num(1), num(self.x.places - 1), at, [acc, rest, Src::None]));
        }
        ops
    }

    /// The mask of a row as a PE holds it: for each of its heads an operand, or one for all.
    fn held(&self, b: &mut Builder, units: std::ops::Range<usize>) -> Vec<Mem> {
        let Extents { rows, places, .. } = self.x;
        let Mask::Constant(data, [by_head, by_row, by_place]) = &self.mask else {
            return vec![mem(ElemType::F32, b.zeros(ElemType::F32, places), 0, 1)];
        };
        let heads = if *by_head == 0 { 0..1 } else { units };
        let rows = if *by_row == 0 { 1 } else { rows };
        let one = |b: &mut Builder, head: usize| {
            let row = |r: usize| (0..places).map(move |p| data[head * by_head + r * by_row + p * by_place]);
            let at = b.f32s(rows * places, || (0..rows).flat_map(row).collect());
            let m = mem(ElemType::F32, at, 0, 1);
            if rows > 1 { stepped(m, places, rows * places) } else { m }
        };
        heads.map(|h| one(b, h)).collect()
    }
}

impl Core for Attention {
    fn op(&self) -> &'static str {
        "attention"
    }

    fn describe(&self) -> String {
        let Extents { heads, rows, places, size } = self.x;
        let told = |steps: &[Step]| steps.iter().map(|s| format!(", {}", s.about())).collect::<String>();
        let (scores, weights) = (told(&self.on_scores), told(&self.on_weights));
        let mask = match &self.mask {
            Mask::None => "",
            Mask::Constant(..) => ", plus a constant",
            Mask::Once | Mask::EachRow => ", plus a mask",
        };
        format!(
            "{heads} heads of {size}, {rows} rows, {places} places; scores: zero, k{scores}{mask}; softmax{weights}; zero, place"
        )
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, i: usize) -> InputUse {
        if i < 3 { InputUse::Rounds } else { InputUse::Exact }
    }

    fn input_run(&self, i: usize) -> usize {
        if i < 3 { self.x.heads * self.x.size } else { self.x.places }
    }

    fn units(&self) -> usize {
        self.x.heads
    }

    fn unit_name(&self) -> &'static str {
        "heads"
    }

    fn lead(&self, i: usize) -> f64 {
        let each_row = i == 0 || (i == 3 && matches!(self.mask, Mask::EachRow));
        if each_row { 1.0 / self.x.rows.max(1) as f64 } else { 1.0 }
    }

    fn macs(&self) -> u64 {
        let Extents { heads, rows, places, size } = self.x;
        2 * (heads * rows * places * size) as u64
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let Extents { heads, rows, places, size: d } = self.x;
        let (units, n) = (cx.units.clone(), cx.units.len());
        let own = n * d;
        let (x, keys, values) =
            (b.zeros(ElemType::F16, own), b.zeros(ElemType::F16, own * places), b.zeros(ElemType::F16, own * places));
        let (s, p) = (b.zeros(ElemType::F32, places), b.zeros(ElemType::F16, places));
        let (max, sum) = (b.zeros(ElemType::F32, 1), b.zeros(ElemType::F32, 1));
        let scratch = b.zeros(ElemType::F32, 1);
        let take = |b: &mut Builder, i: usize, into: Mem| -> Vec<VecOp> {
            let (q, f): (_, Format) = (in_queue(i), cx.inputs[i]);
            let drop = |b: &mut Builder, n: usize| (n > 0).then(|| discard(q, f, b.param(n), 1, scratch));
            let mut ops: Vec<VecOp> = drop(b, units.start * d).into_iter().collect();
            ops.push(mov(num(1), num(own), Dst::Mem(into), fabric(q, f.elem)));
            ops.extend(drop(b, (heads - units.end) * d));
            ops
        };
        let row_of = |base| stepped(mem(ElemType::F16, base, 0, 1), own, own * places);
        let mut held = take(b, 1, row_of(keys));
        held.extend(take(b, 2, row_of(values)));
        let masks = match self.mask {
            Mask::None => Vec::new(),
            _ => self.held(b, units.clone()),
        };
        let from_stream = |ops: &mut Vec<VecOp>| {
            if let (Some(m), Some(f)) = (masks.first(), cx.inputs.get(3)) {
                ops.push(mov(num(1), num(places), Dst::Mem(*m), fabric(in_queue(3), f.elem)));
            }
        };
        let (mut once, mut body) = (Vec::new(), take(b, 0, mem(ElemType::F16, x, 0, 1)));
        match self.mask {
            Mask::Once => from_stream(&mut once),
            Mask::EachRow => from_stream(&mut body),
            Mask::None | Mask::Constant(..) => {}
        }
        let acc = cx.block(b, units.clone(), 0..d);
        let f32s = |base| mem(ElemType::F32, base, 0, 1);
        let of_head = |base: u32, h: usize| base + (h * d) as u32 * size(ElemType::F16);
        let on_scores = |o, y| op(o, num(1), num(places), Dst::Mem(f32s(s)), [Src::Mem(f32s(s)), y, Src::None]);
        let one = |base| Src::Mem(mem(ElemType::F32, base, 0, 0));
        let row = steps::Block { base: s, pitch: places, rows: 0..1, cols: 0..places };
        for h in 0..n {
            let out = f32s(acc.base + (h * acc.pitch) as u32 * size(ElemType::F32));
            let key = mem(ElemType::F16, of_head(keys, h), 1, own);
            let query = mem(ElemType::F16, of_head(x, h), 1, 0);
            body.push(mov(num(1), num(places), Dst::Mem(f32s(s)), imm(0.0)));
            let args = [Src::Mem(key), Src::RowScalar(query), Src::Mem(f32s(s))];
            body.push(op(PeOp::Fma, num(d), num(places), Dst::Mem(f32s(s)), args));
            body.extend(steps::emit(&self.on_scores, b, &row));
            body.extend(masks.get(h).or(masks.first()).map(|m| on_scores(PeOp::Add, Src::Mem(*m))));
            body.extend(self.fold(PeOp::Max, s, max));
            body.push(on_scores(PeOp::Sub, one(max)));
            body.push(on_scores(PeOp::Mul, imm(LOG2_E)));
            body.push(on_scores(PeOp::Exp2, Src::None));
            body.extend(self.fold(PeOp::Add, s, sum));
            let sum_at = Dst::Mem(mem(ElemType::F32, sum, 0, 0));
            body.push(op(PeOp::Recip, num(1), num(1), sum_at, [one(sum), Src::None, Src::None]));
            body.push(on_scores(PeOp::Mul, one(sum)));
            if let Some(v) = self.dead {
                let flag = Dst::Mem(mem(ElemType::F32, max, 0, 0));
                body.push(op(PeOp::CmpEq, num(1), num(1), flag, [one(max), imm(f32::NEG_INFINITY), Src::None]));
                let (scores, all) = (f32s(s), (num(1), num(places)));
                body.push(op(PeOp::Select, all.0, all.1, Dst::Mem(scores), [one(max), imm(v), Src::Mem(scores)]));
            }
            body.extend(steps::emit(&self.on_weights, b, &row));
            body.push(mov(num(1), num(places), Dst::Mem(mem(ElemType::F16, p, 0, 1)), Src::Mem(f32s(s))));
            body.push(mov(num(1), num(d), Dst::Mem(out), imm(0.0)));
            let value = mem(ElemType::F16, of_head(values, h), own, 1);
            let args = [Src::Mem(value), Src::RowScalar(mem(ElemType::F16, p, 1, 0)), Src::Mem(out)];
            body.push(op(PeOp::Fma, num(places), num(d), Dst::Mem(out), args));
        }
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        let parts =
            vec![("held".to_string(), places, held), ("mask".to_string(), 1, once), ("row".to_string(), rows, body)];
        b.sequence(in_queue(1), parts);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let Extents { heads, rows, places, size } = self.x;
        let (q, k, v) = (rounded(inputs[0]), rounded(inputs[1]), rounded(inputs[2]));
        let mask = |h: usize, r: usize, p: usize| match &self.mask {
            Mask::None => None,
            Mask::Constant(data, [a, b, c]) => Some(data[h * a + r * b + p * c]),
            Mask::Once => Some(inputs[3][p]),
            Mask::EachRow => Some(inputs[3][r * places + p]),
        };
        // No operand is a table.
        let each = |steps: &[Step], v: f32| steps::of_number(steps, v).unwrap_or(v);
        let mut out = vec![0f32; heads * rows * size];
        out.par_chunks_mut(size.max(1)).enumerate().for_each(|(i, out)| {
            let (h, r) = (i / rows, i % rows);
            let mut s = vec![0f32; places];
            for e in 0..size {
                let x = q[i * size + e];
                for (s, &k) in s.iter_mut().zip(&k[(h * size + e) * places..]) {
                    *s = fma_f32(k, x, *s);
                }
            }
            for (p, s) in s.iter_mut().enumerate() {
                *s = each(&self.on_scores, canonical(*s));
                *s = mask(h, r, p).map_or(*s, |m| scalar(PeOp::Add, *s, m, 0.0));
            }
            let max = s[1..].iter().fold(s[0], |m, &x| scalar(PeOp::Max, m, x, 0.0));
            for s in &mut s {
                let x = scalar(PeOp::Mul, scalar(PeOp::Sub, *s, max, 0.0), LOG2_E, 0.0);
                *s = scalar(PeOp::Exp2, x, 0.0, 0.0);
            }
            let sum = s[1..].iter().fold(s[0], |a, &x| scalar(PeOp::Add, a, x, 0.0));
            let by = scalar(PeOp::Recip, sum, 0.0, 0.0);
            for (p, &s) in s.iter().enumerate() {
                let weight = self.dead.filter(|_| max == f32::NEG_INFINITY).unwrap_or(scalar(PeOp::Mul, s, by, 0.0));
                let weight = each(&self.on_weights, weight);
                let weight = f16_to_f32(f32_to_f16(weight));
                for (o, &v) in out.iter_mut().zip(&v[(h * places + p) * size..]) {
                    *o = fma_f32(v, weight, *o);
                }
            }
            out.iter_mut().for_each(|o| *o = canonical(*o));
        });
        out
    }
}
