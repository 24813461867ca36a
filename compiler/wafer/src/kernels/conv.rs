//! Convolution: dense, grouped, depthwise; strides, padding, dilation.
//!
//! Each PE makes some output channels. A row of results is one vector per channel: for every
//! tap of the window a multiply-add runs along the row, over all input channels with a scalar
//! weight each, into an f32 accumulator. Order of a sum: bias, then taps row by row, inside a
//! tap the input channels ascending; every multiply-add rounded once; padding counts as zero.

use super::{BandInput, Core, Format, Geometry, InputUse, LaneInput, PeContext, rows::Halo, rows::Window};
use crate::code::{Builder, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, Arg};
use quadrille_isa::numerics::{canonical, f16_to_f32, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src, VecOp};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// A convolution of an (n, c, h, w) image with constant weights.
#[derive(Debug)]
pub(crate) struct Conv {
    pub(crate) g: Geometry,
    pub(crate) m: usize,
    pub(crate) groups: usize,
    /// f16 bits, (m, c / groups, kh, kw).
    pub(crate) weights: Arc<Vec<u16>>,
    /// One value an output channel.
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) layout: Layout,
    pub(crate) halo: Halo,
    /// The channels of a group that it sums: all, or a part of them where a sum is made by several kernels.
    pub(crate) summed: Range<usize>,
    /// Its sums go on from those of another kernel, which are its last input.
    pub(crate) adds: bool,
}

impl Conv {
    /// Input channels of a group.
    fn cg(&self) -> usize {
        self.g.c / self.groups
    }

    /// The input that brings sums to go on from, if any.
    fn begun(&self) -> Option<usize> {
        self.adds.then(|| self.halo.inputs_in_all())
    }

    /// The same over other channels.
    fn summing(&self, summed: Range<usize>, adds: bool) -> Box<dyn Core> {
        let (weights, layout) = (self.weights.clone(), self.layout.clone());
        let bias = self.bias.clone().filter(|_| !adds);
        let (g, m, groups, halo) = (self.g, self.m, self.groups, self.halo);
        Box::new(Conv { g, m, groups, weights, bias, layout, halo, summed, adds })
    }

    /// Output channels of a group.
    fn mg(&self) -> usize {
        self.m / self.groups
    }

    /// The same sums for a part of the image.
    fn part(&self, g: Geometry, halo: Halo) -> Box<dyn Core> {
        let layout = Layout::image([g.n, self.m, g.oh, g.ow]);
        let (weights, bias) = (self.weights.clone(), self.bias.clone());
        let (m, groups, summed, adds) = (self.m, self.groups, self.summed.clone(), self.adds);
        Box::new(Conv { g, m, groups, weights, bias, layout, halo, summed, adds })
    }

    fn weight(&self, m: usize, c: usize, kh: usize, kw: usize) -> u16 {
        self.weights[((m * self.cg() + c) * self.g.kh + kh) * self.g.kw + kw]
    }

    /// One output channel of a group from one input channel: the row operation runs over
    /// channels instead of over the sum.
    fn is_depthwise(&self) -> bool {
        self.cg() == 1 && self.mg() == 1
    }

    /// True when it pays to have the channels of a column side by side.
    fn mixes(&self) -> bool {
        self.groups == 1 && self.g.dw == 1 && self.g.kw > 1 && self.g.c > 1
    }

    /// The operands of the rows of a window whose columns and channels are one loop each.
    fn window_rows(&self, cx: &PeContext<'_>, win: &Window) -> Option<Vec<quadrille_isa::wafer::Mem>> {
        let (g, left) = (self.g, cx.columns.start * self.g.sw);
        (0..g.kh).map(|kh| win.columns_and_channels(self.halo.slot(&g, kh), left, g.sw)).collect()
    }

    /// Multiply-adds of a PE's channels for one row of results.
    fn sums(&self, cx: &PeContext<'_>, b: &mut Builder, win: &Window, acc: &steps::Block) -> Vec<VecOp> {
        let (g, first) = (self.g, cx.units.start);
        let left = cx.columns.start * g.sw;
        let (cg, taps) = (self.summed.len(), g.kh * g.kw);
        let rows = cx.units.len();
        let mut ops = Vec::new();
        let mut fma = |n1: usize, a: quadrille_isa::wafer::Mem, w: u32, dst: u32, dst_stride: usize| {
            let d = mem(ElemType::F32, dst, dst_stride, 1);
            let args = [Src::Mem(a), Src::RowScalar(mem(ElemType::F16, w, 1, 0)), Src::Mem(d)];
            ops.push(op(PeOp::Fma, num(n1), num(cx.columns.len()), Dst::Mem(d), args));
        };
        let taps_of = || (0..g.kh).flat_map(|kh| (0..g.kw).map(move |kw| (kh, kw)));
        if self.is_depthwise() {
            let w = b.f16s(rows * taps, || {
                taps_of().flat_map(|(kh, kw)| cx.units.clone().map(move |m| self.weight(m, 0, kh, kw))).collect()
            });
            for (t, (kh, kw)) in taps_of().enumerate() {
                let a = win.channels(self.halo.slot(&g, kh), 0, left + kw * g.dw, g.sw);
                fma(rows, a, w + (t * rows * 2) as u32, acc.base, acc.pitch);
            }
            return ops;
        }
        let w = b.f16s(rows * taps * cg, || {
            let mut v = Vec::with_capacity(rows * taps * cg);
            for m in cx.units.clone() {
                for (kh, kw) in taps_of() {
                    v.extend(self.summed.clone().map(|c| self.weight(m, c, kh, kw)));
                }
            }
            v
        });
        let first_group = first / self.mg();
        for (j, m) in cx.units.clone().enumerate() {
            let channel = (m / self.mg() - first_group) * cg;
            let dst = acc.base + (j * acc.pitch * 4) as u32;
            let w = w + (j * taps * cg * 2) as u32;
            if let Some(rows) = self.window_rows(cx, win) {
                // Taps of a window row and channels are one loop.
                for (kh, a) in rows.into_iter().enumerate() {
                    fma(g.kw * cg, a, w + (kh * g.kw * cg * 2) as u32, dst, 0);
                }
            } else if cg == 1 {
                // With one input channel the taps of a window row are the sum's inner loop.
                for kh in 0..g.kh {
                    let a = win.columns(self.halo.slot(&g, kh), channel, left, (g.dw, g.sw));
                    fma(g.kw, a, w + (kh * g.kw * 2) as u32, dst, 0);
                }
            } else {
                for (t, (kh, kw)) in taps_of().enumerate() {
                    let a = win.channels(self.halo.slot(&g, kh), channel, left + kw * g.dw, g.sw);
                    fma(cg, a, w + (t * cg * 2) as u32, dst, 0);
                }
            }
        }
        ops
    }
}

impl Core for Conv {
    fn op(&self) -> &'static str {
        "conv"
    }

    fn describe(&self) -> String {
        let g = &self.g;
        format!(
            "{}x{} stride {}x{} dilation {}x{} pad {},{} groups {}; sum: {}, taps, channels{}",
            g.kh,
            g.kw,
            g.sh,
            g.sw,
            g.dh,
            g.dw,
            g.top,
            g.left,
            self.groups,
            match (&self.bias, self.adds) {
                (_, true) => "the sums before",
                (Some(_), _) => "bias",
                (None, _) => "zero",
            },
            if self.summed.len() < self.cg() { format!(" {:?}", self.summed) } else { String::new() }
        )
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, i: usize) -> InputUse {
        if Some(i) == self.begun() { InputUse::Exact } else { InputUse::Rounds }
    }

    fn input_run(&self, i: usize) -> usize {
        if Some(i) == self.begun() { self.g.ow } else { self.halo.run(i, self.g.w) }
    }

    fn takes_image(&self) -> Option<[usize; 4]> {
        let g = &self.g;
        Some([g.n, g.c, g.h, g.w])
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let g = &self.g;
        (inputs[0] == Some([g.n, g.c, g.h, g.w])).then_some([g.n, self.m, g.oh, g.ow])
    }

    fn looks_at(&self, _: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        Some(self.g.looks_at(columns))
    }

    fn lane(&self, _: [usize; 4], columns: &Range<usize>, inputs: &[LaneInput]) -> Option<Box<dyn Core>> {
        let (g, halo) = self.g.lane(columns, &inputs[0])?;
        Some(self.part(g, Halo { columns: halo.columns, ..self.halo }))
    }

    fn looks_at_rows(&self, _: usize, rows: &Range<usize>) -> Option<Range<isize>> {
        Some(self.g.looks_at_rows(rows))
    }

    fn band(&self, _: [usize; 4], rows: &Range<usize>, upward: bool, inputs: &[BandInput]) -> Option<Box<dyn Core>> {
        let (g, halo) = self.g.band(rows, upward, &inputs[0])?;
        Some(self.part(g, halo))
    }

    fn takes_sides(&self, i: usize) -> bool {
        i == 0
    }

    fn units(&self) -> usize {
        self.m
    }

    fn max_parts(&self) -> usize {
        if !self.halo.is_none() {
            return 1;
        }
        // Shorter vectors than this drown in launches; two parts a row may be all that fits a PE.
        (self.g.ow / 8).clamp(if self.g.ow < 4 { 1 } else { 2 }, 8)
    }

    fn allows(&self, per: usize, _: Format) -> bool {
        // A PE holds whole groups or lies within one.
        per <= self.m && (self.groups == 1 || per.is_multiple_of(self.mg()) || self.mg().is_multiple_of(per))
    }

    fn take_bias(&mut self, added: &Arg) -> bool {
        super::take_bias(&mut self.bias, added, self.m, |t| t.is_per_row().then(|| t.rows()))
    }

    fn halves(&self) -> Option<[Box<dyn Core>; 2]> {
        let Range { start, end } = self.summed;
        let middle = start + (end - start).div_ceil(2);
        (self.groups == 1 && middle < end)
            .then(|| [self.summing(start..middle, self.adds), self.summing(middle..end, true)])
    }

    fn begun(&self) -> Option<usize> {
        Conv::begun(self)
    }

    fn lead(&self, i: usize) -> f64 {
        if Some(i) == self.begun() { 1.0 / self.g.oh.max(1) as f64 } else { self.g.lead() }
    }

    fn one_task(&self) -> bool {
        false
    }

    fn macs(&self) -> u64 {
        let g = &self.g;
        (g.n * self.m * g.oh * g.ow * g.kh * g.kw * self.summed.len()) as u64
    }

    fn firings(&self) -> usize {
        self.g.n
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (cg, mg) = (self.cg(), self.mg());
        let channels = match self.groups {
            1 => self.summed.clone(),
            _ => cx.units.start / mg * cg..(cx.units.end - 1) / mg * cg + cg,
        };
        let win = Window::new(b, cx, self.g, ElemType::F16, channels, 0, self.halo);
        let win = if self.mixes() { win.mixed() } else { win };
        let acc = cx.block(b, cx.units.clone(), cx.columns.clone());
        let dst = Dst::Mem(mem(ElemType::F32, acc.base, acc.pitch, 1));
        let mut body = match (&self.bias, self.begun()) {
            (_, Some(i)) => cx.take_block(b, i, (self.m, self.g.ow), &acc),
            (bias, None) => {
                let start = bias.as_ref().map_or(imm(0.0), |v| {
                    let at = b.f32s(cx.units.len(), || v[cx.units.clone()].to_vec());
                    Src::Mem(mem(ElemType::F32, at, 1, 0))
                });
                vec![mov(num(cx.units.len()), num(cx.columns.len()), dst, start)]
            }
        };
        body.extend(self.sums(cx, b, &win, &acc));
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        win.tasks(b, &cx.columns, &body);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (g, image) = self.halo.widened(self.g, inputs);
        let (cg, mg) = (self.cg(), self.mg());
        let x = rounded(&image);
        let plane = g.oh * g.ow;
        let mut out = vec![0f32; g.n * self.m * plane];
        // Buffered rows of padding are zeros, so the sum includes them.
        let (pw, ph) = ((g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1, (g.oh - 1) * g.sh + g.span_h());
        let padded: Vec<f32> = (0..g.n * g.c)
            .into_par_iter()
            .flat_map_iter(|nc| {
                let x = &x;
                (0..ph).flat_map(move |r| {
                    (0..pw).map(move |q| match (r.checked_sub(g.top), q.checked_sub(g.left)) {
                        (Some(r), Some(q)) if r < g.h && q < g.w => x[(nc * g.h + r) * g.w + q],
                        _ => 0.0,
                    })
                })
            })
            .collect();
        let w: Vec<f32> = self.weights.iter().map(|&b| f16_to_f32(b)).collect();
        let begun = self.begun().map(|i| inputs[i]);
        out.par_chunks_mut(plane.max(1)).enumerate().for_each(|(nm, out)| {
            let (n, m) = (nm / self.m, nm % self.m);
            let c0 = m / mg * cg;
            match begun {
                Some(sums) => out.copy_from_slice(&sums[nm * plane..(nm + 1) * plane]),
                None => out.fill(self.bias.as_ref().map_or(0.0, |b| b[m])),
            }
            for (kh, kw) in (0..g.kh).flat_map(|kh| (0..g.kw).map(move |kw| (kh, kw))) {
                for c in self.summed.clone() {
                    let w = w[((m * cg + c) * g.kh + kh) * g.kw + kw];
                    let image = &padded[(n * g.c + c0 + c) * ph * pw..][..ph * pw];
                    for (r, out) in out.chunks_mut(g.ow).enumerate() {
                        let row = &image[(r * g.sh + self.halo.slot(&g, kh)) * pw + kw * g.dw..];
                        for (q, o) in out.iter_mut().enumerate() {
                            *o = fma_f32(row[q * g.sw], w, *o);
                        }
                    }
                }
            }
            out.iter_mut().for_each(|o| *o = canonical(*o));
        });
        out
    }
}

/// The values rounded to f16.
pub(super) fn rounded(x: &[f32]) -> Vec<f32> {
    use quadrille_isa::numerics::f32_to_f16;
    x.iter().map(|&v| f16_to_f32(f32_to_f16(v))).collect()
}
