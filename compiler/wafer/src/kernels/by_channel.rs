//! An image and one value a channel, both streams: the gate of a squeeze-and-excitation block.
//!
//! The values of an image come first and are held; its rows then pass. Each PE does some channels.

use super::{BandInput, Core, InputUse, LaneInput, PeContext, discard, in_queue};
use crate::code::{Builder, fabric, mem, mov, num, op, simple};
use crate::layout::Layout;
use crate::steps::{self, scalar};
use quadrille_compiler::ir::Binary;
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use std::ops::Range;

/// A binary operation on an (n, c, h, w) image and (n, c) values.
#[derive(Debug)]
pub(crate) struct ByChannel {
    op: PeOp,
    name: &'static str,
    dims: [usize; 4],
    layout: Layout,
}

impl ByChannel {
    /// `None` when the machine has no such operation in one step.
    pub(crate) fn new(b: Binary, dims: [usize; 4]) -> Option<ByChannel> {
        Some(ByChannel { op: simple(b)?, name: b.name(), dims, layout: Layout::image(dims) })
    }
}

impl Core for ByChannel {
    fn op(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> String {
        "by channel".to_string()
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn input_run(&self, i: usize) -> usize {
        self.dims[if i == 0 { 3 } else { 1 }]
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        inputs[0].filter(|d| *d == self.dims)
    }

    fn looks_at(&self, i: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        (i == 0).then_some(columns.start as isize..columns.end as isize)
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        let dims = [n, c, h, columns.len()];
        Some(Box::new(ByChannel { op: self.op, name: self.name, dims, layout: Layout::image(dims) }))
    }

    fn looks_at_rows(&self, i: usize, rows: &Range<usize>) -> Option<Range<isize>> {
        (i == 0).then_some(rows.start as isize..rows.end as isize)
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        let dims = [n, c, rows.len(), w];
        Some(Box::new(ByChannel { op: self.op, name: self.name, dims, layout: Layout::image(dims) }))
    }

    fn units(&self) -> usize {
        self.dims[1]
    }

    fn lead(&self, i: usize) -> f64 {
        if i == 0 { 1.0 / self.dims[2].max(1) as f64 } else { 1.0 }
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.dims[0]
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let [_, c, h, w] = self.dims;
        let own = cx.units.len();
        let values = b.zeros(ElemType::F32, own);
        let scratch = b.zeros(ElemType::F32, 1);
        let block = cx.block(b, cx.units.clone(), 0..w);
        // Of each stream: what PEs for other channels need, the PE's own part, and the rest.
        let take = |b: &mut Builder, i: usize, run: usize, mine| {
            let (q, f) = (in_queue(i), cx.inputs[i]);
            let mut ops = Vec::new();
            if cx.units.start > 0 {
                ops.push(discard(q, f, b.param(cx.units.start), run, scratch));
            }
            ops.push(mine);
            if cx.units.end < c {
                ops.push(discard(q, f, b.param(c - cx.units.end), run, scratch));
            }
            ops
        };
        let [image, gate] = [0, 1].map(|i| fabric(in_queue(i), cx.inputs[i].elem));
        let into = Dst::Mem(mem(ElemType::F32, values, 1, 1));
        let begin = take(b, 1, 1, mov(num(own), num(1), into, gate));
        let at = mem(ElemType::F32, block.base, block.pitch, 1);
        let of_channel = Src::Mem(mem(ElemType::F32, values, 1, 0));
        let mine = op(self.op, num(own), num(w), Dst::Mem(at), [image, of_channel, Src::None]);
        let mut rows = take(b, 0, w, mine);
        rows.extend(steps::emit(cx.steps, b, &block));
        rows.extend(cx.send(b, self, &block));
        b.sequence(in_queue(1), vec![("values".to_string(), 1, begin), ("row".to_string(), h, rows)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let plane = (self.dims[2] * self.dims[3]).max(1);
        let of_channel = inputs[0].chunks(plane).zip(inputs[1]);
        of_channel.flat_map(|(x, &v)| x.iter().map(move |&x| scalar(self.op, x, v, 0.0))).collect()
    }
}
