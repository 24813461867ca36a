//! Normalised exponentials along one loop of the stream: the rows or the columns of a block.
//! Maximum, then 2^((x - max) log2 e), their sum in ascending order, times its reciprocal. PEs share the rows of a block
//! where it goes along columns.

use super::{BandInput, Core, InputUse, LaneInput, PeContext, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, scalar};
use quadrille_isa::wafer::{Dst, ElemType, Mem, PeOp, Src, VecOp};
use std::ops::Range;

/// A softmax over a loop of its blocks.
#[derive(Debug)]
pub(crate) struct Softmax {
    /// Its last two loops are a block.
    pub(crate) layout: Layout,
    /// Along the block's rows (the second innermost loop), not its columns.
    pub(crate) over_rows: bool,
}

impl Softmax {
    fn block(&self) -> (usize, usize) {
        let l = &self.layout.loops;
        (l[l.len() - 2].count, l[l.len() - 1].count)
    }

    /// Folds some rows of the block into one value a lane: the first element, then the others in order.
    fn fold(&self, by: PeOp, (x, rows): (Mem, usize), at: u32, pitch: usize) -> Vec<VecOp> {
        let cols = self.block().1;
        let base = match x.base {
            quadrille_isa::wafer::Val::Const(c) => c as u32,
            quadrille_isa::wafer::Val::Param(_) => 0,
        };
        let acc = if self.over_rows { mem(ElemType::F32, at, 0, 1) } else { mem(ElemType::F32, at, 1, 0) };
        let (n1, n0, rest_at) =
            if self.over_rows { (rows - 1, cols, base + (pitch * 4) as u32) } else { (rows, cols - 1, base + 4) };
        let first = if self.over_rows { (num(1), num(cols)) } else { (num(rows), num(1)) };
        let mut ops = vec![mov(first.0, first.1, Dst::Mem(acc), Src::Mem(x))];
        if n1 > 0 && n0 > 0 {
            let rest = Src::Mem(mem(ElemType::F32, rest_at, pitch, 1));
            ops.push(op(by, num(n1), num(n0), Dst::Mem(acc), [Src::Mem(acc), rest, Src::None]));
        }
        ops
    }
}

impl Core for Softmax {
    fn op(&self) -> &'static str {
        "softmax"
    }

    fn describe(&self) -> String {
        let (rows, cols) = self.block();
        format!("over {}; sum ascending", if self.over_rows { rows } else { cols })
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn units(&self) -> usize {
        if self.over_rows { 1 } else { self.block().0 }
    }

    fn unit_name(&self) -> &'static str {
        "rows of a block"
    }

    fn lead(&self, _: usize) -> f64 {
        let (rows, columns) = self.block();
        (rows * columns) as f64 / self.layout.elements().max(1) as f64
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        inputs[0].filter(|[_, c, _, w]| self.over_rows && self.block() == (*c, *w))
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        Some(Box::new(Softmax { layout: Layout::image([n, c, h, columns.len()]), over_rows: true }))
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        Some(Box::new(Softmax { layout: Layout::image([n, c, rows.len(), w]), over_rows: true }))
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (all_rows, cols) = self.block();
        let own = if self.over_rows { 0..all_rows } else { cx.units.clone() };
        let rows = own.len();
        let outer = &self.layout.loops[..self.layout.loops.len() - 2];
        let repeat = outer.iter().map(|l| l.count).product();
        let x = cx.block(b, own.clone(), 0..cols);
        let lanes = if self.over_rows { cols } else { rows };
        let (max, sum) = (b.zeros(ElemType::F32, lanes), b.zeros(ElemType::F32, lanes));
        let at = mem(ElemType::F32, x.base, x.pitch, 1);
        let lane = |base| {
            let (s1, s0) = if self.over_rows { (0, 1) } else { (1, 0) };
            Src::Mem(mem(ElemType::F32, base, s1, s0))
        };
        let (n1, n0) = (num(rows), num(cols));
        let all = |o, a, b| op(o, n1, n0, Dst::Mem(at), [a, b, Src::None]);
        let sum_at = mem(ElemType::F32, sum, 0, 1);
        let take = |n1, to| mov(n1, n0, to, fabric(in_queue(0), ElemType::F32));
        let drop = |b: &mut Builder, n: usize| (n > 0).then(|| take(b.param(n), Dst::None));
        let mut body: Vec<VecOp> = drop(b, own.start).into_iter().collect();
        body.push(take(n1, Dst::Mem(at)));
        body.extend(drop(b, all_rows - own.end));
        body.extend(self.fold(PeOp::Max, (at, rows), max, x.pitch));
        body.push(all(PeOp::Sub, Src::Mem(at), lane(max)));
        body.push(all(PeOp::Mul, Src::Mem(at), imm(std::f32::consts::LOG2_E)));
        body.push(all(PeOp::Exp2, Src::Mem(at), Src::None));
        body.extend(self.fold(PeOp::Add, (at, rows), sum, x.pitch));
        body.push(op(PeOp::Recip, num(1), num(lanes), Dst::Mem(sum_at), [Src::Mem(sum_at), Src::None, Src::None]));
        body.push(all(PeOp::Mul, Src::Mem(at), lane(sum)));
        body.extend(steps::emit(cx.steps, b, &x));
        body.extend(cx.send(b, self, &x));
        b.sequence(in_queue(0), vec![("block".to_string(), repeat, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let x = inputs[0];
        let mut out = vec![0f32; x.len()];
        let n = self.layout.loops.len();
        let (rows, cols) = (self.layout.loops[n - 2], self.layout.loops[n - 1]);
        let (along, lanes) = if self.over_rows { (rows, cols) } else { (cols, rows) };
        for start in (Layout { loops: self.layout.loops[..n - 2].to_vec() }).indices() {
            for lane in 0..lanes.count {
                let at = |i: usize| start + lane * lanes.step + i * along.step;
                let max = (1..along.count).fold(x[at(0)], |m, i| scalar(PeOp::Max, m, x[at(i)], 0.0));
                let mut e = Vec::with_capacity(along.count);
                for i in 0..along.count {
                    let d = scalar(PeOp::Sub, x[at(i)], max, 0.0);
                    let d = scalar(PeOp::Mul, d, std::f32::consts::LOG2_E, 0.0);
                    e.push(scalar(PeOp::Exp2, d, 0.0, 0.0));
                }
                let sum = e[1..].iter().fold(e[0], |s, &v| scalar(PeOp::Add, s, v, 0.0));
                let r = scalar(PeOp::Recip, sum, 0.0, 0.0);
                for (i, &v) in e.iter().enumerate() {
                    out[at(i)] = scalar(PeOp::Mul, v, r, 0.0);
                }
            }
        }
        out
    }
}
