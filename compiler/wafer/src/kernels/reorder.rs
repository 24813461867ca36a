//! A buffer that takes a stream in one order and sends it in another.
//!
//! It holds what lies inside the outer loops that both orders share, at the place of its
//! row-major index, so one PE's SRAM bounds it.

use super::{Core, InputUse, PeContext, in_queue};
use crate::code::{Builder, fabric, mem, mov, num, stepped, to_fabric};
use crate::layout::{Layout, Loop};
use quadrille_isa::wafer::{Dst, ElemType, Src, VecOp};

/// A change of order.
#[derive(Debug)]
pub(crate) struct Reorder {
    firings: usize,
    /// Loops of the buffered part, arriving.
    from: Vec<Loop>,
    /// Loops of the buffered part, leaving.
    to: Vec<Loop>,
    layout: Layout,
}

/// Each task moves three loops; a PE numbers its tasks in a byte.
const MAX_TASKS: usize = 200;

impl Reorder {
    /// From one order to another of the same elements; `None` when it takes too many operations.
    pub(crate) fn new(from: &Layout, to: &Layout) -> Option<Reorder> {
        let total = from.elements();
        // The smallest ranges of indices that both orders go through one after the other.
        let (outer, from, wanted) = (1..=total).filter(|b| total.is_multiple_of(*b)).find_map(|b| {
            match (from.split_at(b), to.split_at(b)) {
                (Some((o, f)), Some((p, t))) if o.same_order(&p) => Some((o, f, t)),
                _ => None,
            }
        })?;
        let ops = |l: &Layout| l.loops.iter().rev().skip(3).map(|l| l.count).product::<usize>();
        let fits = ops(&from) + ops(&wanted) <= MAX_TASKS;
        fits.then(|| Reorder { firings: outer.elements(), from: from.loops, to: wanted.loops, layout: to.clone() })
    }

    fn elements(&self) -> usize {
        self.from.iter().map(|l| l.count).product()
    }
}

/// Tasks over a nest: two loops an operation, one the task's repetition, others unrolled.
fn nest(
    name: &str,
    loops: &[Loop],
    make: impl Fn(usize, usize, u32, [usize; 4]) -> VecOp,
) -> Vec<(String, usize, Vec<VecOp>)> {
    let one = Loop { count: 1, step: 0 };
    let at = |i: usize| loops.len().checked_sub(i + 1).map_or(one, |k| loops[k]);
    let (l0, l1, l2) = (at(0), at(1), at(2));
    let outer = Layout { loops: loops[..loops.len().saturating_sub(3)].to_vec() };
    let starts = outer.indices();
    let tasks = starts.iter().enumerate().map(|(i, &start)| {
        let o = make(l1.count, l0.count, start as u32, [l1.step, l0.step, l2.step, l2.step * l2.count]);
        (format!("{name}{i}"), l2.count, vec![o])
    });
    tasks.collect()
}

impl Core for Reorder {
    fn op(&self) -> &'static str {
        "reorder"
    }

    fn describe(&self) -> String {
        format!("{} elements at a time", self.elements())
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn input_run(&self, _: usize) -> usize {
        // No pads inside: an odd run arrives as f32.
        let run = self.from.last().map_or(1, |l| l.count);
        if run.is_multiple_of(2) { run } else { 0 }
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn sends_f16(&self, run: usize) -> bool {
        run.is_multiple_of(2)
    }

    fn lead(&self, _: usize) -> f64 {
        1.0
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.firings
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let ty = if cx.narrow { ElemType::F16 } else { ElemType::F32 };
        let base = b.zeros(ty, self.elements());
        let place = |start: u32, [s1, s0, step, modulo]: [usize; 4]| {
            stepped(mem(ty, base + start * ty.bytes(), s1, s0), step, modulo)
        };
        let q = in_queue(0);
        let mut parts = nest("take", &self.from, |n1, n0, start, s| {
            mov(num(n1), num(n0), Dst::Mem(place(start, s)), fabric(q, cx.inputs[0].elem))
        });
        parts.extend(nest("send", &self.to, |n1, n0, start, s| {
            mov(num(n1), num(n0), to_fabric(super::OUT, cx.output.elem), Src::Mem(place(start, s)))
        }));
        b.sequence(q, parts);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        inputs[0].to_vec()
    }
}
