//! The general kernel: a PE that holds its operands in SRAM and runs any list of vector
//! operations on them.
//!
//! It works in rounds. In each it takes one slice of every operand (an operand that is the same
//! for all rounds is taken once, before the first), runs its program, and sends one slice of
//! the result. Rounds may go to several PEs in turn: each drops the slices of the others. With
//! one round a kernel takes all its operands at the same time, whoever is first, so streams that
//! part and meet again never wait for each other in front of it.
//!
//! A kernel with shares has one PE for each, which does all rounds on its own part of the
//! constants and joins its result to that of the PEs before it.

mod nest;
mod run;
mod task;

pub(crate) use nest::{Arg, BufId, Lowered, Nest, Prog, Stmt, View};
pub(crate) use task::slice_order;

use super::{Core, InputUse, PeContext};
use crate::code::Builder;
use crate::layout::Layout;
use quadrille_isa::wafer::{ElemType, PeOp, scalar};
use rayon::prelude::*;
use std::sync::Arc;

/// An operand that arrives as a stream.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) buf: BufId,
    pub(crate) ty: ElemType,
    /// Words of the edge an element: two for 64-bit tensors, whose low word comes first.
    pub(crate) words: usize,
    /// Order of a slice, over its row-major indices.
    pub(crate) order: Layout,
    /// Taken once, for all rounds.
    pub(crate) once: bool,
    /// Elements of a slice.
    pub(crate) len: usize,
    /// Where its stream comes among all in topological order: what comes early is taken first.
    pub(crate) turn: usize,
}

/// Shares of the constants, one a PE, whose results are joined along the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) count: usize,
    /// Joins what comes from the PEs before with a PE's own: both in the result's type.
    pub(crate) join: PeOp,
}

/// A constant operand of which every round, or else every share, takes its own slice.
#[derive(Clone, Debug)]
pub(crate) struct Sliced {
    pub(crate) buf: BufId,
    pub(crate) ty: ElemType,
    /// Bits of all slices.
    pub(crate) values: Arc<Vec<u32>>,
    pub(crate) len: usize,
}

/// A kernel that runs a lowered program.
#[derive(Debug)]
pub(crate) struct General {
    pub(crate) op: &'static str,
    pub(crate) about: String,
    pub(crate) rounds: usize,
    pub(crate) inputs: Vec<Input>,
    pub(crate) sliced: Vec<Sliced>,
    pub(crate) shares: Option<Shares>,
    /// Buffer, type and words an element of the result.
    pub(crate) output: (BufId, ElemType, usize),
    /// Elements of a slice of the result.
    pub(crate) out_len: usize,
    pub(crate) program: Lowered,
    pub(crate) layout: Layout,
    pub(crate) macs: u64,
}

impl General {
    /// True when streams bring something new in every round; else rounds differ in their constants only.
    fn fed(&self) -> bool {
        self.rounds == 1 || self.inputs.iter().any(|i| !i.once)
    }

    /// Bytes of SRAM for the data of one PE, program not counted.
    pub(crate) fn data_bytes(&self) -> usize {
        let bufs = self.program.bufs.iter().map(|b| (b.len * b.ty.bytes() as usize).next_multiple_of(4));
        let sliced = self.sliced.iter().map(|s| s.values.len() * s.ty.bytes() as usize);
        bufs.chain(sliced).sum()
    }

    /// Cycles of the datapath for one round, about.
    pub(crate) fn round_cycles(&self) -> usize {
        let ops = |o: &nest::Flat| 4 + o.n0 * o.n1;
        self.program.parts.iter().map(|p| p.repeat * p.ops.iter().map(ops).sum::<usize>()).sum()
    }

    /// Number of operations in the program.
    pub(crate) fn operations(&self) -> usize {
        self.program.parts.iter().map(|p| p.ops.len()).sum()
    }
}

impl Core for General {
    fn op(&self) -> &'static str {
        self.op
    }

    fn describe(&self) -> String {
        let n = self.operations();
        let rounds = if self.rounds > 1 { format!(" in {} rounds", self.rounds) } else { String::new() };
        format!("{}{n} operations{rounds}", self.about)
    }

    fn forwards(&self) -> bool {
        false
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn input_run(&self, _: usize) -> usize {
        0
    }

    fn units(&self) -> usize {
        self.shares.map_or(self.rounds, |s| s.count)
    }

    fn allows(&self, per: usize, _: super::Format) -> bool {
        if self.shares.is_some() { per == 1 } else { self.rounds.is_multiple_of(per) }
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, _: usize) -> bool {
        false
    }

    fn one_task(&self) -> bool {
        false
    }

    fn unit_name(&self) -> &'static str {
        if self.shares.is_some() { "shares" } else { "rounds" }
    }

    fn drains(&self) -> bool {
        self.rounds == 1
    }

    fn lead(&self, _: usize) -> f64 {
        1.0 / self.rounds.max(1) as f64
    }

    fn macs(&self) -> u64 {
        self.macs
    }

    fn passes(&self, per: usize) -> usize {
        match self.shares {
            Some(_) => self.rounds,
            None if self.fed() => per,
            None => 1,
        }
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        task::emit(self, cx, b);
    }

    fn eval(&self, _: &[&[f32]]) -> Vec<f32> {
        Vec::new()
    }

    fn eval_bits(&self, inputs: &[&[u32]]) -> Vec<u32> {
        let (out, out_ty, words) = self.output;
        let rounds = (0..self.rounds).collect::<Vec<usize>>();
        let slices: Vec<Vec<u32>> = rounds
            .into_par_iter()
            .map(|r| {
                let result = |slice: usize| {
                    let mut image = run::Image::new(&self.program.bufs);
                    for (i, x) in self.inputs.iter().zip(inputs) {
                        let at = if i.once { 0 } else { r * i.len };
                        image.put(i.buf.0, i.ty, 1, x[at..at + i.len].iter().copied());
                    }
                    for s in &self.sliced {
                        image.put(s.buf.0, s.ty, 1, s.values[slice * s.len..][..s.len].iter().copied());
                    }
                    image.run(&self.program);
                    image.get(out.0, out_ty, words, self.out_len)
                };
                let Some(s) = self.shares else { return result(r) };
                // The chain begins with the last share.
                let shares = (0..s.count).rev().map(result);
                let joined = shares.reduce(|before, own| {
                    let pairs = before.into_iter().zip(own);
                    pairs.map(|(a, b)| scalar::eval(s.join, [a, b, 0], [out_ty; 3], out_ty)).collect()
                });
                joined.unwrap_or_default()
            })
            .collect();
        slices.concat()
    }
}
