//! Some columns of an image: what a lane sends to the lane beside it, or a part of a whole stream.

use super::{Core, InputUse, LARGE, PeContext, in_queue, size};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, ElemType, Src};
use std::ops::Range;

/// `columns` of an (n, c, h, w) image.
#[derive(Debug)]
pub(crate) struct Columns {
    dims: [usize; 4],
    columns: Range<usize>,
    /// Its reader takes f32.
    beside: bool,
    layout: Layout,
}

impl Columns {
    /// Of an image of those extents; `beside` for a reader that takes them beside its own.
    pub(crate) fn new(dims: [usize; 4], columns: Range<usize>, beside: bool) -> Columns {
        let [n, c, h, _] = dims;
        let layout = Layout::image([n, c, h, columns.len()]);
        Columns { dims, columns, beside, layout }
    }
}

/// Channels held at a time: all, or a part of them that fits.
pub(super) fn channels_at_once(c: usize, bytes_each: usize) -> usize {
    let most = (LARGE / bytes_each.max(1)).max(1);
    (1..=c.min(most)).rev().find(|d| c.is_multiple_of(*d)).unwrap_or(1)
}

impl Core for Columns {
    fn op(&self) -> &'static str {
        "columns"
    }

    fn describe(&self) -> String {
        format!("{:?} of {}", self.columns, self.dims[3])
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

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, _: usize) -> bool {
        !self.beside
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let ([n, c, h, _], f, q) = (self.dims, cx.inputs[0], in_queue(0));
        // An f16 run goes out with its pad.
        let cols = if cx.output.elem == ElemType::F16 { cx.output.pitch } else { self.columns.len() };
        let pitch = f.pitch.max(self.columns.start + cols);
        let held = channels_at_once(c, pitch * size(f.elem) as usize);
        let base = b.zeros(f.elem, held * pitch);
        let take = mov(num(held), num(f.pitch), Dst::Mem(mem(f.elem, base, pitch, 1)), fabric(q, f.elem));
        let from = mem(f.elem, base + self.columns.start as u32 * size(f.elem), pitch, 1);
        let send = mov(num(held), num(cols), to_fabric(super::OUT, cx.output.elem), Src::Mem(from));
        b.sequence(q, vec![("block".to_string(), n * h * (c / held), vec![take, send])]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let rows = inputs[0].chunks(self.dims[3]);
        rows.flat_map(|r| r[self.columns.clone()].to_vec()).collect()
    }
}
