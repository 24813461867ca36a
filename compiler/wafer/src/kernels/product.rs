//! Product of two computed matrices: each PE holds some columns of the right one and makes those of the result.
//!
//! The right operand comes first and whole, row after row or column after column; then every row of the left one is the scalars
//! of one multiply-add over the PE's columns. Order of a sum: zero, then k ascending; operands rounded to f16, every
//! multiply-add rounded once.

use super::{Core, Format, InputUse, PeContext, conv::rounded, discard, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op, stepped};
use crate::layout::Layout;
use crate::steps;
use quadrille_isa::numerics::{canonical, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use rayon::prelude::*;

/// (rows, k) x (k, n).
#[derive(Debug)]
pub(crate) struct Product {
    rows: usize,
    k: usize,
    n: usize,
    /// The right operand comes column after column.
    by_column: bool,
    layout: Layout,
}

impl Product {
    /// Of rows that come one after the other and a matrix, all of whose rows or columns do.
    pub(crate) fn new([rows, k, n]: [usize; 3], by_column: bool) -> Product {
        Product { rows, k, n, by_column, layout: Layout::new(&[(rows, n), (1, 0), (n, 1)]) }
    }

    /// The orders in which it takes its operands, over row-major indices.
    pub(crate) fn orders(&self) -> [Layout; 2] {
        let order: &[usize] = if self.by_column { &[1, 0] } else { &[0, 1] };
        [Layout::row_major(&[self.rows, self.k]), Layout::axes(&[self.k, self.n], order)]
    }
}

impl Core for Product {
    fn op(&self) -> &'static str {
        "product"
    }

    fn describe(&self) -> String {
        let order = if self.by_column { "columns" } else { "rows" };
        format!("{}x{}x{}; right operand by {order}; sum: zero, k", self.rows, self.k, self.n)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Rounds
    }

    fn input_run(&self, i: usize) -> usize {
        if i == 1 && !self.by_column { self.n } else { self.k }
    }

    fn units(&self) -> usize {
        self.n
    }

    fn splits_columns(&self) -> bool {
        true
    }

    fn allows(&self, per: usize, _: Format) -> bool {
        // Shares of a row, of the result and of the right operand, start on a wavelet of their own.
        per == self.n || (per < self.n && per.is_multiple_of(2) && self.n.is_multiple_of(2))
    }

    fn lead(&self, i: usize) -> f64 {
        if i == 1 { 1.0 } else { 1.0 / self.rows.max(1) as f64 }
    }

    fn macs(&self) -> u64 {
        (self.rows * self.k * self.n) as u64
    }

    fn one_task(&self) -> bool {
        false
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (left, right, q, n) = (cx.inputs[0], cx.inputs[1], in_queue(1), cx.units.len());
        // A run's pad is overwritten by the run that follows it; the last one needs room.
        let x = b.zeros(ElemType::F16, left.pitch.max(self.k));
        let w = b.zeros(ElemType::F16, self.k * n + (right.pitch - self.input_run(1)));
        let acc = cx.block(b, 0..1, cx.units.clone());
        let scratch = b.zeros(right.elem, 1);
        let drop = |b: &mut Builder, n: usize| (n > 0).then(|| discard(q, right, b.param(n), 1, scratch));
        let (from, units) = (fabric(q, right.elem), &cx.units);
        let mut take = Vec::new();
        // The weight of (k, own column): at k * n + column, or column * k + k.
        let (times, along_k, along_n) = if self.by_column {
            take.extend(drop(b, units.start * right.pitch));
            take.push(mov(num(n), num(right.pitch), Dst::Mem(mem(ElemType::F16, w, self.k, 1)), from));
            take.extend(drop(b, (self.n - units.end) * right.pitch));
            (1, 1, self.k)
        } else {
            let rest = right.pitch - units.end;
            let own = if units.end == self.n { n + rest } else { n };
            take.extend(drop(b, units.start));
            let into = stepped(mem(ElemType::F16, w, 0, 1), n, n * self.k);
            take.push(mov(num(1), num(own), Dst::Mem(into), from));
            take.extend(drop(b, if units.end == self.n { 0 } else { rest }));
            (self.k, n, 1)
        };
        let d = mem(ElemType::F32, acc.base, 0, 1);
        let into = Dst::Mem(mem(ElemType::F16, x, 0, 1));
        let mut body = vec![
            mov(num(1), num(left.pitch), into, fabric(in_queue(0), left.elem)),
            mov(num(1), num(n), Dst::Mem(d), imm(0.0)),
            op(
                PeOp::Fma,
                num(self.k),
                num(n),
                Dst::Mem(d),
                [
                    Src::Mem(mem(ElemType::F16, w, along_k, along_n)),
                    Src::RowScalar(mem(ElemType::F16, x, 1, 0)),
                    Src::Mem(d),
                ],
            ),
        ];
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        b.sequence(q, vec![("right".to_string(), times, take), ("row".to_string(), self.rows, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (x, w) = (rounded(inputs[0]), rounded(inputs[1]));
        let mut out = vec![0f32; self.rows * self.n];
        out.par_chunks_mut(self.n.max(1)).zip(x.par_chunks(self.k.max(1))).for_each(|(out, x)| {
            for (&x, w) in x.iter().zip(w.chunks(self.n.max(1))) {
                for (o, &w) in out.iter_mut().zip(w) {
                    *o = fma_f32(w, x, *o);
                }
            }
            out.iter_mut().for_each(|o| *o = canonical(*o));
        });
        out
    }
}
