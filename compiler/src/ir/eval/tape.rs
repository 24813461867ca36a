//! Chains of elementwise operations, run block by block.
//!
//! A block of elements goes through all the operations while it is in the cache, so that results in
//! between never reach memory; blocks are spread over the cores. Each element goes through the same
//! operations with the same rounding as one by one, whatever the blocks and threads.
//!
//! Knows how operands broadcast; what an operation computes is its [`Kernel`]'s business.

use super::broadcast::Spread;
use super::buffer::{aligned, tensor, with_bits};
use super::kernel::Kernel;
use crate::ir::{DType, Tensor, TensorType};
use rayon::prelude::*;
use smallvec::SmallVec;

/// Elements of a block: a handful of operands fit the first-level cache.
const BLOCK: usize = 1024;

/// Elements of a task.
const TASK: usize = 32 * BLOCK;

/// Elements, times operations, that are worth a second thread: about a tenth of a millisecond.
const PARALLEL: usize = 1 << 19;

/// Where a step takes an operand from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// An operand of the whole chain, by number.
    Leaf(usize),
    /// The result of an earlier step, by number.
    Step(usize),
}

/// An operation of a chain.
pub(super) struct Step {
    /// Its loop.
    pub(super) kernel: Kernel,
    /// Its operands.
    pub(super) args: SmallVec<[Source; 3]>,
    /// Element type of its result.
    pub(super) dtype: DType,
}

/// One operation over tensors that broadcast to the shape of `ty`.
pub(super) fn one(kernel: Kernel, leaves: &[&Tensor], ty: &TensorType) -> Tensor {
    let args = (0..leaves.len()).map(Source::Leaf).collect();
    run(&[Step { kernel, args, dtype: ty.dtype }], leaves, ty)
}

/// The result of the last of `steps`, which are in order; every step's result has the shape of `ty`,
/// to which the leaves broadcast.
pub(super) fn run(steps: &[Step], leaves: &[&Tensor], ty: &TensorType) -> Tensor {
    let total = ty.elements();
    let owned: SmallVec<[Tensor; 4]> = leaves.iter().map(|t| aligned(t)).collect();
    let lanes: SmallVec<[Lane<'_>; 4]> = owned.iter().map(|t| Lane::new(t, &ty.shape, total)).collect();
    let places = places(steps);
    with_bits!(ty.dtype, T => {
        let mut out = vec![0 as T; total];
        let task = |(i, out): (usize, &mut [T])| {
            Worker::new(steps, &lanes, &places).run(i * TASK, bytemuck::cast_slice_mut(out));
        };
        if total > TASK && total * steps.len() >= PARALLEL {
            out.par_chunks_mut(TASK).enumerate().for_each(task);
        } else {
            task((0, &mut out));
        }
        tensor(ty.dtype, &ty.shape, out)
    })
}

/// A register for each step but the last; a register is taken again once nothing reads it.
fn places(steps: &[Step]) -> Vec<usize> {
    let mut last_use = vec![0; steps.len()];
    for (i, s) in steps.iter().enumerate() {
        for a in &s.args {
            if let Source::Step(k) = *a {
                last_use[k] = i;
            }
        }
    }
    let (mut free, mut count) = (Vec::new(), 0);
    let mut places = vec![0; steps.len()];
    for (i, s) in steps.iter().enumerate() {
        places[i] = free.pop().unwrap_or_else(|| {
            count += 1;
            count - 1
        });
        // The result has its register before the operands give theirs back: they must differ.
        let mut done: SmallVec<[usize; 3]> = SmallVec::new();
        for a in &s.args {
            if let Source::Step(k) = *a
                && last_use[k] == i
                && !done.contains(&k)
            {
                done.push(k);
                free.push(places[k]);
            }
        }
    }
    places
}

/// An operand of the chain.
enum Lane<'a> {
    /// As many elements as the result, in its order.
    Same(&'a [u8], usize),
    /// One element for all.
    One(&'a [u8]),
    /// Repeated along some axes.
    Spread(&'a [u8], usize, Spread),
}

impl<'a> Lane<'a> {
    fn new(t: &'a Tensor, out: &[usize], total: usize) -> Lane<'a> {
        let size = t.dtype.size();
        match t.len() {
            // A result of one element has operands of one element, too.
            1 => Lane::One(&t.data),
            n if n == total => Lane::Same(&t.data, size),
            _ => Lane::Spread(&t.data, size, Spread::new(&t.shape, out)),
        }
    }
}

/// A block's worth of bytes, aligned for any element.
type Register = Vec<u64>;

struct Worker<'a> {
    steps: &'a [Step],
    lanes: &'a [Lane<'a>],
    places: &'a [usize],
    registers: Vec<Register>,
    /// Leaves that are not read in place.
    leaves: Vec<Register>,
}

impl<'a> Worker<'a> {
    fn new(steps: &'a [Step], lanes: &'a [Lane<'a>], places: &'a [usize]) -> Worker<'a> {
        let registers = vec![Register::new(); places.iter().max().map_or(0, |m| m + 1)];
        Worker { steps, lanes, places, registers, leaves: vec![Register::new(); lanes.len()] }
    }

    /// Computes the elements from `start` on that `out` has room for.
    fn run(&mut self, start: usize, out: &mut [u8]) {
        let Some(last) = self.steps.last() else { return };
        let size = last.dtype.size();
        let block = BLOCK.min(out.len() / size);
        for (lane, register) in self.lanes.iter().zip(&mut self.leaves) {
            if let Lane::One(x) = lane {
                register.resize((block * x.len()).div_ceil(8), 0);
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(register);
                bytes.chunks_exact_mut(x.len()).for_each(|b| b.copy_from_slice(x));
            }
        }
        for (i, out) in out.chunks_mut(BLOCK * size).enumerate() {
            self.block(start + i * BLOCK, out.len() / size, out);
        }
    }

    fn block(&mut self, start: usize, n: usize, out: &mut [u8]) {
        for (lane, register) in self.lanes.iter().zip(&mut self.leaves) {
            if let Lane::Spread(x, size, spread) = lane {
                register.resize((n * size).div_ceil(8), 0);
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(register);
                spread.fill(x, *size, start, &mut bytes[..n * size]);
            }
        }
        let last = self.steps.len() - 1;
        for (i, step) in self.steps.iter().enumerate() {
            let mut result = if i < last { std::mem::take(&mut self.registers[self.places[i]]) } else { Vec::new() };
            {
                let args: SmallVec<[&[u8]; 3]> = step.args.iter().map(|a| self.operand(*a, start, n)).collect();
                if i < last {
                    let bytes = n * step.dtype.size();
                    result.resize(result.len().max(bytes.div_ceil(8)), 0);
                    (step.kernel)(&args, &mut bytemuck::cast_slice_mut::<u64, u8>(&mut result)[..bytes]);
                } else {
                    (step.kernel)(&args, out);
                }
            }
            if i < last {
                self.registers[self.places[i]] = result;
            }
        }
    }

    fn operand(&self, source: Source, start: usize, n: usize) -> &[u8] {
        match source {
            Source::Step(k) => {
                let bytes: &[u8] = bytemuck::cast_slice(&self.registers[self.places[k]]);
                &bytes[..n * self.steps[k].dtype.size()]
            }
            Source::Leaf(k) => match &self.lanes[k] {
                Lane::Same(x, size) => &x[start * size..][..n * size],
                Lane::One(x) => &bytemuck::cast_slice::<u64, u8>(&self.leaves[k])[..n * x.len()],
                Lane::Spread(_, size, _) => &bytemuck::cast_slice::<u64, u8>(&self.leaves[k])[..n * size],
            },
        }
    }
}
