//! Maximum and average pooling.
//!
//! Each PE takes some channels out of the stream. A maximum is taken in the stream's own
//! precision (rounding to f16 commutes with it); padding is minus infinity. An average adds in
//! f32, window row by window row, and multiplies by the reciprocal of the number of cells.

use super::{BandInput, Core, Geometry, InputUse, LaneInput, PeContext, rows::Halo, rows::Window};
use crate::code::{Builder, mem, mov, num, op, stepped, to_fabric};
use crate::layout::Layout;
use crate::steps;
use quadrille_isa::numerics::{canonical, max_f32, recip_f32};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src, VecOp};
use std::ops::Range;

/// What is taken of a window's cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PoolKind {
    Max,
    /// Divided by the cells inside the image.
    AverageInside,
    /// Divided by all cells of the window.
    AverageAll,
}

/// Pooling of an (n, c, h, w) image.
#[derive(Debug)]
pub(crate) struct Pool {
    g: Geometry,
    kind: PoolKind,
    /// Reciprocal of the number of cells of each window, (oh, ow).
    scale: Vec<f32>,
    layout: Layout,
    halo: Halo,
}

const F16_MINUS_INF: u32 = 0xFC00;

/// Reciprocal of the number of cells of each window, (oh, ow).
fn scale(g: &Geometry, kind: PoolKind) -> Vec<f32> {
    let cells = |o: usize, s: usize, d: usize, k: usize, inside: (usize, usize)| {
        (0..k).filter(|i| (inside.0..inside.1).contains(&(o * s + i * d))).count()
    };
    // Cells count by their padded coordinate; what is outside the range does not.
    let (rows, cols) = match kind {
        PoolKind::AverageInside => ((g.top, g.top + g.h), (g.left, g.left + g.w)),
        _ => ((0, usize::MAX), (0, usize::MAX)),
    };
    let mut out = Vec::with_capacity(g.oh * g.ow);
    for r in 0..g.oh {
        for q in 0..g.ow {
            let n = cells(r, g.sh, g.dh, g.kh, rows) * cells(q, g.sw, g.dw, g.kw, cols);
            out.push(recip_f32(n as f32));
        }
    }
    out
}

impl Pool {
    /// Over a whole image.
    pub(crate) fn new(g: Geometry, kind: PoolKind) -> Pool {
        let layout = Layout::image([g.n, g.c, g.oh, g.ow]);
        Pool { g, kind, scale: scale(&g, kind), layout, halo: Halo::default() }
    }

    /// The same for a part of the image.
    fn part(&self, g: Geometry, scale: Vec<f32>, halo: Halo) -> Box<dyn Core> {
        Box::new(Pool { g, kind: self.kind, scale, layout: Layout::image([g.n, g.c, g.oh, g.ow]), halo })
    }

    fn taps(&self) -> impl Iterator<Item = (usize, usize)> {
        let (kh, kw) = (self.g.kh, self.g.kw);
        (0..kh).flat_map(move |r| (0..kw).map(move |q| (r, q)))
    }
}

impl Core for Pool {
    fn op(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool",
            _ => "average_pool",
        }
    }

    fn describe(&self) -> String {
        let g = &self.g;
        format!(
            "{}x{} stride {}x{} dilation {}x{} pad {},{}; order: taps",
            g.kh, g.kw, g.sh, g.sw, g.dh, g.dw, g.top, g.left
        )
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        if self.kind == PoolKind::Max { InputUse::Passes } else { InputUse::Exact }
    }

    fn input_run(&self, i: usize) -> usize {
        self.halo.run(i, self.g.w)
    }

    fn takes_image(&self) -> Option<[usize; 4]> {
        let g = &self.g;
        Some([g.n, g.c, g.h, g.w])
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let g = &self.g;
        (inputs[0] == Some([g.n, g.c, g.h, g.w])).then_some([g.n, g.c, g.oh, g.ow])
    }

    fn looks_at(&self, _: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        Some(self.g.looks_at(columns))
    }

    fn lane(&self, _: [usize; 4], columns: &Range<usize>, inputs: &[LaneInput]) -> Option<Box<dyn Core>> {
        let (g, halo) = self.g.lane(columns, &inputs[0])?;
        let scale = self.scale.chunks(self.g.ow).flat_map(|row| row[columns.clone()].to_vec()).collect();
        Some(self.part(g, scale, Halo { columns: halo.columns, ..self.halo }))
    }

    fn looks_at_rows(&self, _: usize, rows: &Range<usize>) -> Option<Range<isize>> {
        Some(self.g.looks_at_rows(rows))
    }

    fn band(&self, _: [usize; 4], rows: &Range<usize>, upward: bool, inputs: &[BandInput]) -> Option<Box<dyn Core>> {
        let (g, halo) = self.g.band(rows, upward, &inputs[0])?;
        let scale = self.scale[rows.start * g.ow..rows.end * g.ow].chunks(g.ow);
        let scale = if upward { scale.rev().flatten().copied().collect() } else { scale.flatten().copied().collect() };
        Some(self.part(g, scale, halo))
    }

    fn takes_sides(&self, i: usize) -> bool {
        i == 0
    }

    fn units(&self) -> usize {
        self.g.c
    }

    fn lead(&self, _: usize) -> f64 {
        self.g.lead()
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.g.n
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let g = self.g;
        let rows = cx.units.len();
        let max = self.kind == PoolKind::Max;
        // The stream is f16 only where nothing behind it needs more; the maximum then stays f16.
        let ty = if max { cx.inputs[0].elem } else { ElemType::F32 };
        let fill = match (max, ty) {
            (true, ElemType::F16) => F16_MINUS_INF,
            (true, _) => f32::NEG_INFINITY.to_bits(),
            (false, _) => 0,
        };
        let win = Window::new(b, cx, g, ty, cx.units.clone(), fill, self.halo);
        let mut block = cx.block(b, cx.units.clone(), 0..g.ow);
        let narrow = ty == ElemType::F16;
        if narrow {
            block.pitch = cx.output.pitch;
            block.base = b.zeros(ElemType::F16, rows * block.pitch);
        }
        let (n1, n0) = (num(rows), num(g.ow));
        let at = mem(ty, block.base, block.pitch, 1);
        let mut body: Vec<VecOp> = Vec::new();
        for (i, (kh, kw)) in self.taps().enumerate() {
            let a = Src::Mem(win.channels(self.halo.slot(&g, kh), 0, kw * g.dw, g.sw));
            body.push(match i {
                0 => mov(n1, n0, Dst::Mem(at), a),
                _ => op(if max { PeOp::Max } else { PeOp::Add }, n1, n0, Dst::Mem(at), [Src::Mem(at), a, Src::None]),
            });
        }
        if !max {
            let scale = &self.scale;
            let s = if scale.windows(2).all(|w| w[0] == w[1]) {
                vec![Src::Imm(scale[0].to_bits(), ElemType::F32); win.groups().len()]
            } else {
                // One row of the table a row of results; every task walks its own part of it.
                let table = b.f32s(scale.len(), || scale.clone());
                win.groups()
                    .iter()
                    .map(|r| {
                        let m = mem(ElemType::F32, table + (r.start * g.ow * 4) as u32, 0, 1);
                        Src::Mem(stepped(m, g.ow, r.len() * g.ow))
                    })
                    .collect()
            };
            let tail = self.tail(cx, b, &block);
            let bodies: Vec<Vec<VecOp>> = s
                .into_iter()
                .map(|s| {
                    let mut ops = body.clone();
                    ops.push(op(PeOp::Mul, n1, n0, Dst::Mem(at), [Src::Mem(at), s, Src::None]));
                    ops.extend_from_slice(&tail);
                    ops
                })
                .collect();
            win.tasks_each(b, &cx.columns, &bodies);
            return;
        }
        if narrow {
            let from = Src::Mem(mem(ElemType::F16, block.base, block.pitch, 1));
            body.push(mov(n1, num(cx.output.pitch), to_fabric(super::OUT, cx.output.elem), from));
            body.extend(cx.forward(b));
        } else {
            body.extend(self.tail(cx, b, &block));
        }
        win.tasks(b, &cx.columns, &body);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (g, image) = self.halo.widened(self.g, inputs);
        let mut out = Vec::with_capacity(g.n * g.c * g.oh * g.ow);
        for x in image.chunks(g.h * g.w) {
            for (o, &scale) in self.scale.iter().enumerate() {
                let (r, q) = (o / g.ow, o % g.ow);
                let mut v = None;
                for (kh, kw) in self.taps() {
                    let (y, z) = (
                        (r * g.sh + self.halo.slot(&g, kh)).checked_sub(g.top),
                        (q * g.sw + kw * g.dw).checked_sub(g.left),
                    );
                    let cell = match (y, z) {
                        (Some(y), Some(z)) if y < g.h && z < g.w => x[y * g.w + z],
                        _ if self.kind == PoolKind::Max => f32::NEG_INFINITY,
                        _ => 0.0,
                    };
                    v = Some(match v {
                        None => cell,
                        Some(v) if self.kind == PoolKind::Max => max_f32(v, cell),
                        Some(v) => canonical(v + cell),
                    });
                }
                let v = v.unwrap_or(0.0);
                out.push(if self.kind == PoolKind::Max { v } else { canonical(v * scale) });
            }
        }
        out
    }
}

impl Pool {
    fn tail(&self, cx: &PeContext<'_>, b: &mut Builder, block: &steps::Block) -> Vec<VecOp> {
        let mut ops = steps::emit(cx.steps, b, block);
        ops.extend(cx.send(b, self, block));
        ops
    }
}
