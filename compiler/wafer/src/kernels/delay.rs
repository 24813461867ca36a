//! A buffer of one block on a short branch: it holds the block back until the next arrives, so
//! that several in a row let the long branch of a residual or a concatenation run ahead.

use super::{Core, InputUse, PeContext, in_queue};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, Src};

/// Holds one block of `runs` runs.
#[derive(Debug)]
pub(crate) struct Delay {
    /// Images, each of `blocks` blocks; between images it runs empty.
    pub(crate) images: usize,
    pub(crate) blocks: usize,
    pub(crate) runs: usize,
    pub(crate) layout: Layout,
}

impl Core for Delay {
    fn op(&self) -> &'static str {
        "delay"
    }

    fn describe(&self) -> String {
        format!("one of {} blocks", self.blocks)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.images
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (f, q) = (cx.inputs[0], in_queue(0));
        let at = mem(f.elem, b.zeros(f.elem, self.runs * f.pitch), f.pitch, 1);
        let (n1, n0) = (num(self.runs), num(f.pitch));
        let take = mov(n1, n0, Dst::Mem(at), fabric(q, f.elem));
        let send = mov(n1, n0, to_fabric(super::OUT, f.elem), Src::Mem(at));
        b.sequence(
            q,
            vec![
                ("first".to_string(), 1, vec![take.clone()]),
                ("block".to_string(), self.blocks - 1, vec![send.clone(), take]),
                ("last".to_string(), 1, vec![send]),
            ],
        );
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        inputs[0].to_vec()
    }
}
