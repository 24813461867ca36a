//! A buffer that takes a stream in one order and sends it in another.
//!
//! It holds what lies inside the outer loops that both orders share, at the place of its
//! row-major index, so one PE's SRAM bounds it; of a transpose of two loops, several PEs hold some columns each.

use super::{Core, Format, InputUse, LARGE, PeContext, discard, in_queue};
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
    /// Rows, columns, and elements of each place, of what arrives row by row and leaves column by column, where it
    /// is nothing but that and large.
    transposed: Option<[usize; 3]>,
    layout: Layout,
}

/// The loops over rows, columns and the elements of a place of a stream that goes row by row and is wanted column by column.
fn transposed(from: &[Loop], to: &[Loop]) -> Option<[Loop; 3]> {
    let joined = |loops: &[Loop]| Layout { loops: loops.to_vec() }.normalized();
    let one = Loop { count: 1, step: 0 };
    match (from, to) {
        (&[rows, columns, run], _) if joined(&[columns, rows, run]) == to => Some([rows, columns, run]),
        (_, &[columns, rows, run]) if joined(&[rows, columns, run]) == from => Some([rows, columns, run]),
        (&[rows, columns], _) if joined(&[columns, rows]) == to => Some([rows, columns, one]),
        (_, &[columns, rows]) if joined(&[rows, columns]) == from => Some([rows, columns, one]),
        _ => None,
    }
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
        let firings = outer.elements();
        let large = transposed(&from.loops, &wanted.loops).filter(|_| 4 * from.elements() > LARGE);
        let (layout, transposed) = match large {
            Some([rows, columns, run]) => {
                let within = if run.count > 1 { vec![columns, rows, run] } else { vec![columns, rows] };
                let loops = outer.loops.into_iter().chain(within).collect();
                (Layout { loops }, Some([rows, columns, run].map(|l| l.count)))
            }
            None => (to.clone(), None),
        };
        fits.then_some(Reorder { firings, from: from.loops, to: wanted.loops, transposed, layout })
    }

    /// The program of a PE that holds some of the columns.
    fn share(&self, cx: &PeContext<'_>, b: &mut Builder, [rows, columns, run]: [usize; 3]) {
        let ty = if cx.narrow { ElemType::F16 } else { ElemType::F32 };
        let (f, q, own) = (cx.inputs[0], in_queue(0), cx.units.len());
        let row = own * run;
        let base = b.zeros(ty, rows * row);
        let scratch = b.zeros(f.elem, 1);
        let drop = |b: &mut Builder, n: usize| (n > 0).then(|| discard(q, f, b.param(n), run, scratch));
        let mut take: Vec<VecOp> = drop(b, cx.units.start).into_iter().collect();
        let at = stepped(mem(ty, base, 0, 1), row, rows * row);
        take.push(mov(num(1), num(row), Dst::Mem(at), fabric(q, f.elem)));
        take.extend(drop(b, columns - cx.units.end));
        let to = to_fabric(super::OUT, cx.output.elem);
        let column = stepped(mem(ty, base, row, 1), run, row);
        let mut parts = vec![("take".to_string(), rows, take)];
        if run == 1 {
            // All columns in one go: packed elements of two of them may share a wavelet.
            parts.push(("send".to_string(), 1, vec![mov(num(own), num(rows), to, Src::Mem(mem(ty, base, 1, own)))]));
        } else {
            parts.push(("send".to_string(), own, vec![mov(num(rows), num(run), to, Src::Mem(column))]));
        }
        if cx.upstream > 0 {
            // A column has a run a row.
            let n = b.param(if run == 1 { cx.upstream } else { cx.upstream * rows });
            let elem = cx.output.elem;
            parts.push(("pass".to_string(), 1, vec![mov(num(1), n, to, fabric(super::CHAIN_IN, elem))]));
        }
        b.sequence(q, parts);
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

    fn forwards(&self) -> bool {
        false
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

    fn units(&self) -> usize {
        self.transposed.map_or(1, |[_, columns, _]| columns)
    }

    fn allows(&self, per: usize, _: Format) -> bool {
        // Shares of packed elements begin and end on a wavelet.
        let even = self.transposed.is_some_and(|[_, columns, run]| run > 1 || columns.is_multiple_of(2));
        per == self.units()
            || (per < self.units() && even && (per * self.transposed.map_or(1, |t| t[2])).is_multiple_of(2))
    }

    fn unit_name(&self) -> &'static str {
        "columns"
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
        if let Some(extents) = self.transposed.filter(|t| cx.units.len() < t[1]) {
            return self.share(cx, b, extents);
        }
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
