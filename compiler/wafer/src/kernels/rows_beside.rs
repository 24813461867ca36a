//! The rows at a border of a band of an image: what the band sends to the band beside it.
//!
//! The two take their rows in opposite directions, so the rows go out in the order opposite to that in which they came.

use super::{Core, InputUse, LaneInput, PeContext, discard, in_queue, size};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, Src};
use std::ops::Range;

/// `rows` of an (n, c, h, w) image, the last of them first.
#[derive(Debug)]
pub(crate) struct RowsBeside {
    dims: [usize; 4],
    rows: Range<usize>,
    layout: Layout,
}

impl RowsBeside {
    /// Of an image of those extents.
    pub(crate) fn new(dims: [usize; 4], rows: Range<usize>) -> RowsBeside {
        let [n, c, _, w] = dims;
        let layout = Layout::image([n, c, rows.len(), w]);
        RowsBeside { dims, rows, layout }
    }
}

impl Core for RowsBeside {
    fn op(&self) -> &'static str {
        "rows"
    }

    fn describe(&self) -> String {
        format!("{:?} of {}, backwards", self.rows, self.dims[2])
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let [n, c, _, w] = self.dims;
        (inputs[0] == Some(self.dims)).then_some([n, c, self.rows.len(), w])
    }

    fn lane(&self, _: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        let [n, c, h, _] = self.dims;
        Some(Box::new(RowsBeside::new([n, c, h, columns.len()], self.rows.clone())))
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, _: usize) -> bool {
        false
    }

    fn is_beside(&self) -> bool {
        true
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.dims[0]
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let ([_, c, h, w], f, q) = (self.dims, cx.inputs[0], in_queue(0));
        let bytes = (c * f.pitch) as u32 * size(f.elem);
        let base = b.zeros(f.elem, self.rows.len() * c * f.pitch);
        let scratch = b.zeros(f.elem, 1);
        let drop = |rows: usize| ("pass".to_string(), rows, vec![discard(q, f, num(c), f.pitch, scratch)]);
        let row = |r: usize| mem(f.elem, base + r as u32 * bytes, f.pitch, 1);
        let take = |r: usize| mov(num(c), num(f.pitch), Dst::Mem(row(r)), fabric(q, f.elem));
        let send = |r: usize| mov(num(c), num(w), to_fabric(super::OUT, cx.output.elem), Src::Mem(row(r)));
        let own = 0..self.rows.len();
        let rows = own.clone().map(take).chain(own.rev().map(send)).collect();
        b.sequence(q, vec![drop(self.rows.start), ("rows".to_string(), 1, rows), drop(h - self.rows.end)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let [_, _, h, w] = self.dims;
        let planes = inputs[0].chunks((h * w).max(1));
        planes.flat_map(|p| self.rows.clone().rev().flat_map(move |r| p[r * w..(r + 1) * w].to_vec())).collect()
    }
}
