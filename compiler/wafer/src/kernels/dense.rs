//! Product of rows with a constant matrix.
//!
//! Each PE makes some columns of the result: for one row, the row's elements are the scalars
//! of one multiply-add over the PE's columns. Order of a sum: bias, then the row's elements in
//! the order in which the stream brings them (the weights are stored in that order, so a
//! flattened image needs no reordering); every multiply-add rounded once.

use super::{Core, Format, InputUse, PeContext, conv::rounded, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, Arg};
use quadrille_isa::numerics::{canonical, f16_to_f32, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use rayon::prelude::*;

/// (rows, k) x (k, n).
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) rows: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// f16 bits, (k, n).
    pub(crate) weights: Vec<u16>,
    /// One value a column.
    pub(crate) bias: Option<Vec<f32>>,
    /// Order of a row's elements in the stream.
    pub(crate) order: Layout,
    pub(crate) layout: Layout,
}

impl Core for Dense {
    fn op(&self) -> &'static str {
        "matmul"
    }

    fn describe(&self) -> String {
        let order: Vec<String> = self.order.loops.iter().map(|l| format!("{}*{}", l.count, l.step)).collect();
        format!(
            "{}x{}x{}; sum: {}, k as {}",
            self.rows,
            self.k,
            self.n,
            if self.bias.is_some() { "bias" } else { "zero" },
            order.join(",")
        )
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Rounds
    }

    fn input_run(&self, _: usize) -> usize {
        self.order.run()
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

    fn macs(&self) -> u64 {
        (self.rows * self.k * self.n) as u64
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (f, run, n) = (cx.inputs[0], self.order.run(), cx.units.len());
        // A run's pad is overwritten by the run that follows it; the last one needs room.
        let x = b.zeros(ElemType::F16, self.k + (f.pitch - run));
        let w = b.f16s(self.k * n, || {
            let columns = cx.units.clone();
            self.order
                .indices()
                .into_iter()
                .flat_map(|k| columns.clone().map(move |c| self.weights[k * self.n + c]))
                .collect()
        });
        let acc = cx.block(b, 0..1, cx.units.clone());
        let start = match &self.bias {
            Some(v) => Src::Mem(mem(ElemType::F32, b.f32s(n, || v[cx.units.clone()].to_vec()), 0, 1)),
            None => imm(0.0),
        };
        let d = mem(ElemType::F32, acc.base, 0, 1);
        let into = Dst::Mem(mem(ElemType::F16, x, run, 1));
        let mut body = vec![
            mov(num(self.k / run), num(f.pitch), into, fabric(in_queue(0), f.elem)),
            mov(num(1), num(n), Dst::Mem(d), start),
            op(
                PeOp::Fma,
                num(self.k),
                num(n),
                Dst::Mem(d),
                [Src::Mem(mem(ElemType::F16, w, n, 1)), Src::RowScalar(mem(ElemType::F16, x, 1, 0)), Src::Mem(d)],
            ),
        ];
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        b.sequence(in_queue(0), vec![("row".to_string(), self.rows, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let x = rounded(inputs[0]);
        let w: Vec<f32> = self.weights.iter().map(|&b| f16_to_f32(b)).collect();
        let order = self.order.indices();
        let mut out = vec![0f32; self.rows * self.n];
        out.par_chunks_mut(self.n.max(1)).zip(x.par_chunks(self.k.max(1))).for_each(|(out, x)| {
            match &self.bias {
                Some(b) => out.copy_from_slice(b),
                None => out.fill(0.0),
            }
            for &k in &order {
                for (o, &w) in out.iter_mut().zip(&w[k * self.n..]) {
                    *o = fma_f32(w, x[k], *o);
                }
            }
            out.iter_mut().for_each(|o| *o = canonical(*o));
        });
        out
    }
}
