//! A buffer of some blocks on a short branch: it holds them back until the next arrives, so that the long branch of
//! a residual or a concatenation runs ahead.

use super::{Core, InputUse, PeContext, in_queue, size};
use crate::code::{Builder, fabric, mem, mov, num, stepped, to_fabric};
use crate::layout::Layout;
use quadrille_isa::wafer::{Dst, Src};

/// Holds `depth` blocks, each of `runs` runs: it takes that many, then for each that it sends one more.
#[derive(Debug)]
pub(crate) struct Delay {
    /// Blocks held, at least one and no more than an image has.
    pub(crate) depth: usize,
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
        format!("{} of {} blocks", self.depth, self.blocks)
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
        let block = self.runs * f.pitch;
        let base = b.zeros(f.elem, block * self.depth);
        let (n1, n0) = (num(self.runs), num(f.pitch));
        // So many blocks one after the other, from one on; after the last it is the first again.
        let at = |first: usize, count: usize| {
            let m = mem(f.elem, base + (first * block) as u32 * size(f.elem), f.pitch, 1);
            stepped(m, block, count * block)
        };
        let take = |count| mov(n1, n0, Dst::Mem(at(0, count)), fabric(q, f.elem));
        let send = |first, count| mov(n1, n0, to_fabric(super::OUT, f.elem), Src::Mem(at(first, count)));
        let depth = self.depth;
        let (rounds, rest) = ((self.blocks - depth) / depth, (self.blocks - depth) % depth);
        b.sequence(
            q,
            vec![
                ("fill".to_string(), depth, vec![take(depth)]),
                ("rounds".to_string(), rounds * depth, vec![send(0, depth), take(depth)]),
                ("rest".to_string(), rest, vec![send(0, rest), take(rest)]),
                ("end".to_string(), depth - rest, vec![send(rest, depth - rest)]),
                ("last".to_string(), rest, vec![send(0, rest)]),
            ],
        );
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        inputs[0].to_vec()
    }
}
