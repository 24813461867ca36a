//! Lanes of an image, side by side, as one stream.

use super::columns::channels_at_once;
use super::{Core, InputUse, PeContext, in_queue, size};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, ElemType, Src, VecOp};

/// Of (n, c, h) rows the parts of those widths.
#[derive(Debug)]
pub(crate) struct Stitch {
    rows: [usize; 3],
    widths: Vec<usize>,
    /// The part that is taken first.
    first: usize,
    /// Its reader takes f32.
    beside: bool,
    layout: Layout,
}

impl Stitch {
    /// Parts of those widths.
    pub(crate) fn new(rows: [usize; 3], widths: Vec<usize>) -> Stitch {
        let [n, c, h] = rows;
        let layout = Layout::image([n, c, h, widths.iter().sum()]);
        Stitch { rows, widths, first: 0, beside: false, layout }
    }

    /// The same for a reader that takes it beside an image.
    pub(crate) fn beside(rows: [usize; 3], widths: Vec<usize>) -> Stitch {
        Stitch { beside: true, ..Stitch::new(rows, widths) }
    }

    /// The columns of a lane with those of its neighbours: its own, which they wait for, are taken first.
    pub(crate) fn with_sides(rows: [usize; 3], widths: Vec<usize>, own: usize) -> Stitch {
        Stitch { first: own, beside: true, ..Stitch::new(rows, widths) }
    }
}

impl Core for Stitch {
    fn op(&self) -> &'static str {
        "stitch"
    }

    fn describe(&self) -> String {
        format!("columns {:?}", self.widths)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn input_run(&self, i: usize) -> usize {
        self.widths[i]
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, _: usize) -> bool {
        !self.beside
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let [n, c, h] = self.rows;
        let ty = if cx.narrow { ElemType::F16 } else { ElemType::F32 };
        let run: usize = self.widths.iter().sum();
        let cols = if cx.output.elem == ElemType::F16 { cx.output.pitch } else { run };
        // The pad of a run lies where the next part is written after it, that of the last part behind them all.
        let pitch = (run + 1).next_multiple_of(2);
        let held = channels_at_once(c, pitch * size(ty) as usize);
        let base = b.zeros(ty, held * pitch);
        let parts = self.widths.len();
        let start = |i: usize| self.widths[..i].iter().sum::<usize>() as u32;
        let take = |i: usize| {
            let f = cx.inputs[i];
            let into = Dst::Mem(mem(ty, base + start(i) * size(ty), pitch, 1));
            mov(num(held), num(f.pitch), into, fabric(in_queue(i), f.elem))
        };
        let mut body: Vec<VecOp> = (self.first..parts).chain(0..self.first).map(take).collect();
        let from = Src::Mem(mem(ty, base, pitch, 1));
        body.push(mov(num(held), num(cols), to_fabric(super::OUT, cx.output.elem), from));
        b.sequence(in_queue(self.first), vec![("block".to_string(), n * h * (c / held), body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let [n, c, h] = self.rows;
        let rows = 0..n * c * h;
        rows.flat_map(|r| {
            let parts = inputs.iter().zip(&self.widths);
            parts.flat_map(move |(x, &w)| x[r * w..(r + 1) * w].iter().copied())
        })
        .collect()
    }
}
