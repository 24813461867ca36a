//! Concatenation: for every block of the common outer loops, the first input's share, then the
//! second's, and so on.

use super::{BandInput, Core, InputUse, LaneInput, PeContext, in_queue};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, ElemType, Src};
use std::ops::Range;

/// Streams joined along an axis.
#[derive(Debug)]
pub(crate) struct Concat {
    /// Blocks of the loops outside the axis.
    pub(crate) outer: usize,
    /// Runs that each input contributes to a block.
    pub(crate) runs: Vec<usize>,
    /// Elements of a run.
    pub(crate) run: usize,
    /// For eval: elements before the axis, extents of the axis, elements after it (row-major).
    pub(crate) lead: usize,
    pub(crate) extents: Vec<usize>,
    pub(crate) tail: usize,
    pub(crate) layout: Layout,
}

impl Concat {
    /// The same channels of a part of the image.
    fn part(&self, [n, c, h, w]: [usize; 4]) -> Box<dyn Core> {
        Box::new(Concat {
            outer: n * h,
            runs: self.runs.clone(),
            run: w,
            lead: n,
            extents: self.runs.clone(),
            tail: h * w,
            layout: Layout::image([n, c, h, w]),
        })
    }
}

impl Core for Concat {
    fn op(&self) -> &'static str {
        "concat"
    }

    fn describe(&self) -> String {
        format!("{:?}", self.extents)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn input_run(&self, _: usize) -> usize {
        self.run
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let [n, _, h, w] = inputs[0]?;
        let mut channels = 0;
        for (d, &runs) in inputs.iter().zip(&self.runs) {
            channels += runs;
            if *d != Some([n, runs, h, w]) {
                return None;
            }
        }
        (self.run == w && self.outer == n * h).then_some([n, channels, h, w])
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        Some(self.part([n, c, h, columns.len()]))
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        Some(self.part([n, c, rows.len(), w]))
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, _: usize) -> bool {
        // Joined along the innermost axis, shares may start in the middle of a wavelet.
        self.run > 1
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let out = cx.output;
        let mut body = Vec::new();
        // Inputs pass one after the other through one buffer.
        let run = if out.elem == ElemType::F16 { out.pitch } else { self.run };
        let other = self.runs.iter().zip(cx.inputs).filter(|(_, f)| f.elem != out.elem);
        let held = other.map(|(&runs, f)| runs * f.pitch.max(run)).max().unwrap_or(0);
        let buffer = b.zeros(out.elem, held);
        for (i, (&runs, f)) in self.runs.iter().zip(cx.inputs).enumerate() {
            let (q, n1) = (fabric(in_queue(i), f.elem), num(runs));
            if f.elem == out.elem {
                body.push(mov(n1, num(run), to_fabric(super::OUT, f.elem), q));
                continue;
            }
            // Formats differ in the pad of odd runs: through SRAM, where the pad is zero.
            let pitch = f.pitch.max(run);
            let at = mem(out.elem, buffer, pitch, 1);
            body.push(mov(n1, num(f.pitch), Dst::Mem(at), q));
            body.push(mov(n1, num(run), to_fabric(super::OUT, out.elem), Src::Mem(at)));
        }
        b.sequence(in_queue(0), vec![("block".to_string(), self.outer, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let mut out = Vec::new();
        for l in 0..self.lead {
            for (x, e) in inputs.iter().zip(&self.extents) {
                let n = e * self.tail;
                out.extend_from_slice(&x[l * n..(l + 1) * n]);
            }
        }
        out
    }
}
