//! Product of rows with a constant matrix.
//!
//! Each PE makes some columns of the result: for one row, the row's elements are the scalars
//! of one multiply-add over the PE's columns. Order of a sum: bias, then the row's elements in
//! the order in which the stream brings them (the weights are stored in that order, so a
//! flattened image needs no reordering); every multiply-add rounded once.

use super::{Core, Format, InputUse, PeContext, conv::rounded, discard, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, Arg};
use quadrille_isa::numerics::{canonical, f16_to_f32, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// (rows, k) x (k, n).
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) rows: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// f16 bits, (k, n).
    pub(crate) weights: Arc<Vec<u16>>,
    /// One value a column.
    pub(crate) bias: Option<Vec<f32>>,
    /// Order of a row's elements in the stream.
    pub(crate) order: Layout,
    pub(crate) layout: Layout,
    /// The places of a row, in the order in which they come, that it sums: all, or a part of them where a sum is made by
    /// several kernels.
    pub(crate) summed: Range<usize>,
    /// Its sums go on from those of another kernel, which are its second input.
    pub(crate) adds: bool,
}

impl Dense {
    /// The same over other places of a row.
    fn summing(&self, summed: Range<usize>, adds: bool) -> Box<dyn Core> {
        let (weights, order, layout) = (self.weights.clone(), self.order.clone(), self.layout.clone());
        let bias = self.bias.clone().filter(|_| !adds);
        Box::new(Dense { rows: self.rows, k: self.k, n: self.n, weights, bias, order, layout, summed, adds })
    }
}

impl Core for Dense {
    fn op(&self) -> &'static str {
        "matmul"
    }

    fn describe(&self) -> String {
        let order: Vec<String> = self.order.loops.iter().map(|l| format!("{}*{}", l.count, l.step)).collect();
        format!(
            "{}x{}x{}; sum: {}, k as {}{}",
            self.rows,
            self.k,
            self.n,
            match (&self.bias, self.adds) {
                (_, true) => "the sums before",
                (Some(_), _) => "bias",
                (None, _) => "zero",
            },
            order.join(","),
            if self.summed.len() < self.k { format!(" {:?}", self.summed) } else { String::new() }
        )
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, i: usize) -> InputUse {
        if i == 0 { InputUse::Rounds } else { InputUse::Exact }
    }

    fn input_run(&self, i: usize) -> usize {
        if i == 0 { self.order.run() } else { self.n }
    }

    fn units(&self) -> usize {
        self.n
    }

    fn splits_columns(&self) -> bool {
        true
    }

    fn allows(&self, per: usize, output: Format) -> bool {
        // Shares of an f16 row start on a wavelet of their own.
        let whole = output.elem == ElemType::F32 || (per.is_multiple_of(2) && self.n.is_multiple_of(2));
        per == self.n || (per < self.n && whole)
    }

    fn take_bias(&mut self, added: &Arg) -> bool {
        super::take_bias(&mut self.bias, added, self.n, |t| t.is_per_column().then(|| t.columns()))
    }

    fn halves(&self) -> Option<[Box<dyn Core>; 2]> {
        let (Range { start, end }, run) = (self.summed.clone(), self.order.run());
        // Parts begin with a run, or within the only one with a wavelet.
        let step = if run < self.k { run } else { 2 };
        let middle = start + (end - start).div_ceil(2).next_multiple_of(step);
        (middle < end).then(|| [self.summing(start..middle, self.adds), self.summing(middle..end, true)])
    }

    fn begun(&self) -> Option<usize> {
        self.adds.then_some(1)
    }

    fn lead(&self, _: usize) -> f64 {
        1.0 / self.rows.max(1) as f64
    }

    fn macs(&self) -> u64 {
        (self.rows * self.summed.len() * self.n) as u64
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (f, run, n) = (cx.inputs[0], self.order.run(), cx.units.len());
        let (part, q) = (&self.summed, in_queue(0));
        // A run's pad is overwritten by the run that follows it; the last one needs room.
        let x = b.zeros(ElemType::F16, part.len() + (f.pitch - run));
        let w = b.f16s(part.len() * n, || {
            let columns = cx.units.clone();
            let order = self.order.indices();
            let rows = order[part.clone()].iter();
            rows.flat_map(|k| columns.clone().map(move |c| self.weights[k * self.n + c])).collect()
        });
        let acc = cx.block(b, 0..1, cx.units.clone());
        // Whole runs, or a part of the only one.
        let (runs, taken) = match part.len() % run {
            0 => (part.len() / run, f.pitch),
            _ => (1, part.len() + if part.end == self.k { f.pitch - run } else { 0 }),
        };
        let sent = |places: usize| places / run * f.pitch + places % run;
        let (before, after) = (sent(part.start), sent(self.k) - sent(part.start) - runs * taken);
        let scratch = if before + after > 0 { b.zeros(f.elem, 1) } else { 0 };
        let mut body = Vec::new();
        if before > 0 {
            body.push(discard(q, f, num(1), before, scratch));
        }
        let into = Dst::Mem(mem(ElemType::F16, x, run, 1));
        body.push(mov(num(runs), num(taken), into, fabric(q, f.elem)));
        if after > 0 {
            body.push(discard(q, f, num(1), after, scratch));
        }
        let d = mem(ElemType::F32, acc.base, 0, 1);
        match (&self.bias, self.adds) {
            (_, true) => body.extend(cx.take_block(b, 1, (1, self.n), &acc)),
            (Some(v), _) => {
                let at = b.f32s(n, || v[cx.units.clone()].to_vec());
                body.push(mov(num(1), num(n), Dst::Mem(d), Src::Mem(mem(ElemType::F32, at, 0, 1))));
            }
            (None, _) => body.push(mov(num(1), num(n), Dst::Mem(d), imm(0.0))),
        }
        body.push(op(
            PeOp::Fma,
            num(part.len()),
            num(n),
            Dst::Mem(d),
            [Src::Mem(mem(ElemType::F16, w, n, 1)), Src::RowScalar(mem(ElemType::F16, x, 1, 0)), Src::Mem(d)],
        ));
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        b.sequence(q, vec![("row".to_string(), self.rows, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let x = rounded(inputs[0]);
        let w: Vec<f32> = self.weights.iter().map(|&b| f16_to_f32(b)).collect();
        let order = self.order.indices();
        let mut out = vec![0f32; self.rows * self.n];
        let rows = x.par_chunks(self.k.max(1)).enumerate();
        out.par_chunks_mut(self.n.max(1)).zip(rows).for_each(|(out, (r, x))| {
            match (&self.bias, self.adds) {
                (_, true) => out.copy_from_slice(&inputs[1][r * self.n..(r + 1) * self.n]),
                (Some(b), _) => out.copy_from_slice(b),
                (None, _) => out.fill(0.0),
            }
            for &k in &order[self.summed.clone()] {
                for (o, &w) in out.iter_mut().zip(&w[k * self.n..]) {
                    *o = fma_f32(w, x[k], *o);
                }
            }
            out.iter_mut().for_each(|o| *o = canonical(*o));
        });
        out
    }
}
