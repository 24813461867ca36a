//! An image whose cells are repeated along rows and columns: nearest-neighbour enlargement.
//!
//! A PE takes the rows of its channels, spreads each along a longer row, and sends that as often as asked for.

use super::{Core, Geometry, Halo, InputUse, LaneInput, PeContext, rows::Window};
use crate::code::{Builder, mem, mov, num};
use crate::layout::Layout;
use crate::steps;
use quadrille_isa::wafer::{Dst, ElemType, Src};
use std::ops::Range;

/// An (n, c, h, w) image, every cell of which becomes so many rows and columns.
#[derive(Debug)]
pub(crate) struct Enlarge {
    /// The input.
    dims: [usize; 4],
    by: [usize; 2],
    layout: Layout,
}

impl Enlarge {
    pub(crate) fn new(dims: [usize; 4], by: [usize; 2]) -> Enlarge {
        let [n, c, h, w] = dims;
        Enlarge { dims, by, layout: Layout::image([n, c, h * by[0], w * by[1]]) }
    }

    /// The input's rows, one after the other.
    fn rows(&self) -> Geometry {
        let [n, c, h, w] = self.dims;
        Geometry { n, c, h, w, kh: 1, kw: 1, sh: 1, sw: 1, dh: 1, dw: 1, top: 0, left: 0, oh: h, ow: w }
    }
}

impl Core for Enlarge {
    fn op(&self) -> &'static str {
        "enlarge"
    }

    fn describe(&self) -> String {
        format!("{}x{} a cell", self.by[0], self.by[1])
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn input_run(&self, _: usize) -> usize {
        self.dims[3]
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let [n, c, h, w] = self.dims;
        (inputs[0] == Some(self.dims)).then_some([n, c, h * self.by[0], w * self.by[1]])
    }

    fn looks_at(&self, _: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        let k = self.by[1];
        Some((columns.start / k) as isize..columns.end.div_ceil(k) as isize)
    }

    fn lane(&self, _: [usize; 4], columns: &Range<usize>, inputs: &[LaneInput]) -> Option<Box<dyn Core>> {
        let (k, part) = (self.by[1], &inputs[0]);
        // Cells are not cut.
        let whole = part.columns.start * k == columns.start && part.columns.end * k == columns.end;
        let [n, c, h, _] = self.dims;
        let lane = Enlarge::new([n, c, h, part.columns.len()], self.by);
        (whole && part.beside == [0, 0]).then(|| Box::new(lane) as Box<dyn Core>)
    }

    fn units(&self) -> usize {
        self.dims[1]
    }

    fn lead(&self, _: usize) -> f64 {
        self.rows().lead()
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.dims[0]
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (w, [rows, columns]) = (self.dims[3], self.by);
        let taken = PeContext { columns: 0..w, ..cx.clone() };
        let win = Window::new(b, &taken, self.rows(), ElemType::F32, cx.units.clone(), 0, Halo::default());
        let acc = cx.block(b, cx.units.clone(), cx.columns.clone());
        let spread = |q: usize| {
            let dst = mem(ElemType::F32, acc.base + 4 * q as u32, acc.pitch, columns);
            mov(num(cx.units.len()), num(w), Dst::Mem(dst), Src::Mem(win.channels(0, 0, 0, 1)))
        };
        let mut body: Vec<_> = (0..columns).map(spread).collect();
        body.extend(steps::emit(cx.steps, b, &acc));
        let send = cx.send(b, self, &acc);
        (0..rows).for_each(|_| body.extend(send.iter().cloned()));
        win.tasks(b, &taken.columns, &body);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let ([n, c, h, w], [rows, columns]) = (self.dims, self.by);
        let (oh, ow) = (h * rows, w * columns);
        let of = |i: usize| inputs[0][(i / (ow * oh) * h + i / ow % oh / rows) * w + i % ow / columns];
        (0..n * c * oh * ow).map(of).collect()
    }
}
