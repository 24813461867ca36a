//! Transposed convolution whose windows do not overlap: a kernel as large as its stride, without padding.
//!
//! A row of the input makes as many rows of results as the kernel has: in each, every column of the kernel is a
//! multiply-add along the row, its results that many columns apart. Order of a sum: bias, then input channels
//! ascending; every multiply-add rounded once.

use super::conv::rounded;
use super::{Core, Format, Geometry, Halo, InputUse, LaneInput, PeContext, rows::Window};
use crate::code::{Builder, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, Arg};
use quadrille_isa::numerics::{canonical, f16_to_f32, fma_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use std::ops::Range;
use std::sync::Arc;

/// An (n, c, h, w) image, every cell of which becomes `kernel` rows and columns of `m` channels.
#[derive(Debug)]
pub(crate) struct ConvTranspose {
    /// The input.
    dims: [usize; 4],
    m: usize,
    /// Rows and columns.
    kernel: [usize; 2],
    /// f16 bits, (c, m, rows, columns).
    weights: Arc<Vec<u16>>,
    bias: Option<Vec<f32>>,
    layout: Layout,
}

impl ConvTranspose {
    pub(crate) fn new(dims: [usize; 4], m: usize, kernel: [usize; 2], weights: Arc<Vec<u16>>) -> ConvTranspose {
        let [n, _, h, w] = dims;
        let layout = Layout::image([n, m, h * kernel[0], w * kernel[1]]);
        ConvTranspose { dims, m, kernel, weights, bias: None, layout }
    }

    fn weight(&self, c: usize, m: usize, row: usize, column: usize) -> u16 {
        self.weights[((c * self.m + m) * self.kernel[0] + row) * self.kernel[1] + column]
    }

    /// The input's rows, one after the other.
    fn rows(&self) -> Geometry {
        let [n, c, h, w] = self.dims;
        Geometry { n, c, h, w, kh: 1, kw: 1, sh: 1, sw: 1, dh: 1, dw: 1, top: 0, left: 0, oh: h, ow: w }
    }
}

impl Core for ConvTranspose {
    fn op(&self) -> &'static str {
        "conv_transpose"
    }

    fn describe(&self) -> String {
        let start = if self.bias.is_some() { "bias" } else { "zero" };
        format!("{}x{} a cell; sum: {start}, channels", self.kernel[0], self.kernel[1])
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Rounds
    }

    fn input_run(&self, _: usize) -> usize {
        self.dims[3]
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let [n, _, h, w] = self.dims;
        (inputs[0] == Some(self.dims)).then_some([n, self.m, h * self.kernel[0], w * self.kernel[1]])
    }

    fn looks_at(&self, _: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        let k = self.kernel[1];
        Some((columns.start / k) as isize..columns.end.div_ceil(k) as isize)
    }

    fn lane(&self, _: [usize; 4], columns: &Range<usize>, inputs: &[LaneInput]) -> Option<Box<dyn Core>> {
        let (k, part) = (self.kernel[1], &inputs[0]);
        // Cells are not cut.
        let whole = part.columns.start * k == columns.start && part.columns.end * k == columns.end;
        let [n, c, h, _] = self.dims;
        let weights = self.weights.clone();
        let mut lane = ConvTranspose::new([n, c, h, part.columns.len()], self.m, self.kernel, weights);
        lane.bias.clone_from(&self.bias);
        (whole && part.beside == [0, 0]).then(|| Box::new(lane) as Box<dyn Core>)
    }

    fn units(&self) -> usize {
        self.m
    }

    fn allows(&self, per: usize, _: Format) -> bool {
        per <= self.m
    }

    fn take_bias(&mut self, added: &Arg) -> bool {
        super::take_bias(&mut self.bias, added, self.m, |t| t.is_per_row().then(|| t.rows()))
    }

    fn lead(&self, _: usize) -> f64 {
        self.rows().lead()
    }

    fn one_task(&self) -> bool {
        false
    }

    fn macs(&self) -> u64 {
        let cells: usize = self.dims.iter().product();
        (cells * self.m * self.kernel[0] * self.kernel[1]) as u64
    }

    fn firings(&self) -> usize {
        self.dims[0]
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let ([_, c, _, w], [kh, kw]) = (self.dims, self.kernel);
        let taken = PeContext { columns: 0..w, ..cx.clone() };
        let win = Window::new(b, &taken, self.rows(), ElemType::F16, 0..c, 0, Halo::default());
        let acc = cx.block(b, cx.units.clone(), cx.columns.clone());
        let start = match &self.bias {
            Some(v) => {
                let at = b.f32s(cx.units.len(), || v[cx.units.clone()].to_vec());
                Src::Mem(mem(ElemType::F32, at, 1, 0))
            }
            None => imm(0.0),
        };
        let weights = b.f16s(kh * kw * cx.units.len() * c, || {
            let mut v = Vec::new();
            for (row, m, column) in taps(kh, cx.units.clone(), kw) {
                v.extend((0..c).map(|c| self.weight(c, m, row, column)));
            }
            v
        });
        let (finish, send) = (steps::emit(cx.steps, b, &acc), cx.send(b, self, &acc));
        let mut body = Vec::new();
        let mut at = weights;
        for _ in 0..kh {
            let dst = Dst::Mem(mem(ElemType::F32, acc.base, acc.pitch, 1));
            body.push(mov(num(cx.units.len()), num(cx.columns.len()), dst, start));
            for (_, m, column) in taps(1, cx.units.clone(), kw) {
                let first = acc.base + (((m - cx.units.start) * acc.pitch + column) * 4) as u32;
                let d = mem(ElemType::F32, first, 0, kw);
                let args =
                    [Src::Mem(win.channels(0, 0, 0, 1)), Src::RowScalar(mem(ElemType::F16, at, 1, 0)), Src::Mem(d)];
                body.push(op(PeOp::Fma, num(c), num(w), Dst::Mem(d), args));
                at += 2 * c as u32;
            }
            body.extend(finish.iter().chain(&send).cloned());
        }
        win.tasks(b, &taken.columns, &body);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let ([n, c, h, w], [kh, kw]) = (self.dims, self.kernel);
        let x = rounded(inputs[0]);
        let (oh, ow) = (h * kh, w * kw);
        let mut out = vec![0f32; n * self.m * oh * ow];
        for (i, o) in out.iter_mut().enumerate() {
            let (q, r, m, image) = (i % ow, i / ow % oh, i / (ow * oh) % self.m, i / (ow * oh * self.m));
            let start = self.bias.as_ref().map_or(0.0, |b| b[m]);
            let sum = (0..c).fold(start, |s, k| {
                let v = x[((image * c + k) * h + r / kh) * w + q / kw];
                fma_f32(v, f16_to_f32(self.weight(k, m, r % kh, q % kw)), s)
            });
            *o = canonical(sum);
        }
        out
    }
}

/// Rows of a kernel, channels, and columns of a kernel, the last changing fastest.
fn taps(rows: usize, channels: Range<usize>, columns: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..rows).flat_map(move |r| channels.clone().flat_map(move |m| (0..columns).map(move |q| (r, m, q))))
}
