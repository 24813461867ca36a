//! One operation in flight on a PE: how far it is, and how it does its next elements.
//!
//! Knows values, packing and addresses; knows nothing of when a step happens.

use super::super::kernel::Kernel;
use super::super::lower::{Access, Execution};
use super::block::{Block, Scalars};
use super::bulk::{load, store};
use super::shape::Shape;
use quadrille_isa::wafer::ElemType;

/// An operation in flight.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// 0..8 a microthread, 8 the task's synchronous operation.
    pub(super) slot: u8,
    pub(super) task: u8,
    pub(super) op: u16,
    pub(super) shape: u32,
    pub(super) ex: Execution,
    /// Elements done, of `n`.
    pub(super) done: u64,
    pub(super) n: u64,
    /// Inner and outer index of the next element.
    i0: u32,
    i1: u32,
    /// By operand: the wavelet being taken apart or filled, or the row's scalar.
    word: [u32; 4],
    /// True while the scalar of the present outer row has been read.
    row_loaded: bool,
}

/// Slot of the synchronous operation.
pub(super) const SYNC: u8 = 8;

/// What a flight may use in one step: words waiting in its input queues and room in its
/// output queue, in wavelets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// By source operand; ignored for operands not on the fabric.
    pub(super) words: [u32; 3],
    /// Free words of the output queue; ignored without a fabric destination.
    pub(super) space: u32,
}

/// Where a flight's words come from and go to.
pub(super) trait Queues {
    fn pop(&mut self, queue: u8) -> u32;
    fn push(&mut self, queue: u8, word: u32);
}

impl Flight {
    pub(super) fn new(slot: u8, task: u8, op: u16, (ex, shape): (Execution, u32)) -> Flight {
        Flight { slot, task, op, shape, ex, done: 0, n: ex.n(), i0: 0, i1: 0, word: [0; 4], row_loaded: false }
    }

    /// Elements that one step can do: the rate, what is left, words and space. `words` counts
    /// whole wavelets; a half taken wavelet gives its other half.
    pub(super) fn ready(&self, op: &Shape, room: Room) -> u32 {
        let mut m = u64::from(op.rate).min(self.n - self.done);
        for (operand, &words) in op.operands[..3].iter().zip(&room.words) {
            let per = u64::from(operand.ty.per_wavelet());
            match operand.access {
                Access::Fabric(_) => {
                    let held = (per - self.done % per) % per;
                    m = m.min(u64::from(words) * per + held);
                }
                Access::FabricRow(_) => {
                    let n0 = u64::from(self.ex.n0);
                    let left = if self.row_loaded { n0 - u64::from(self.i0) } else { 0 };
                    let rows_begun = u64::from(self.i1) + u64::from(self.row_loaded);
                    let held = (per - rows_begun % per) % per;
                    m = m.min(left + (u64::from(words) * per + held) * n0);
                }
                _ => {}
            }
        }
        let dst = &op.operands[3];
        if let Access::Fabric(_) = dst.access {
            let per = u64::from(dst.ty.per_wavelet());
            let full = |m: u64| {
                let end = self.done + m;
                // Words that leave the register: whole ones, and the padded tail at the end.
                if end == self.n { end.div_ceil(per) - self.done / per } else { end / per - self.done / per }
            };
            while m > 0 && full(m) > u64::from(room.space) {
                m -= 1;
            }
        }
        m as u32
    }

    /// Queue and words left of an operation that takes from one queue and does nothing else with the fabric, at a
    /// word a cycle at least, and starts nothing; `None` for others.
    pub(super) fn drains(&self, op: &Shape) -> Option<(u8, u32)> {
        let mut queue = None;
        for operand in &op.operands[..3] {
            match operand.access {
                Access::Fabric(q) if queue.is_none() => queue = Some((q, u64::from(operand.ty.per_wavelet()))),
                Access::Fabric(_) | Access::FabricRow(_) => return None,
                _ => {}
            }
        }
        let (q, per) = queue?;
        let stays = op.operands[3].access.queue().is_none() && op.on_done.is_empty();
        let keeps_up = u64::from(op.rate) >= per && self.done.is_multiple_of(per);
        let words = u32::try_from((self.n - self.done).div_ceil(per)).ok()?;
        (stays && keeps_up).then_some((q, words))
    }

    /// Elements in a word of the queue that an operation takes from.
    pub(super) fn per_word(&self, op: &Shape) -> u32 {
        let mut from = op.operands[..3].iter().filter(|o| matches!(o.access, Access::Fabric(_)));
        from.next().map_or(1, |o| o.ty.per_wavelet())
    }

    /// Takes one word of an operation that [`Flight::drains`].
    pub(super) fn take(&mut self, op: &Shape, word: u32, mem: &mut [u8]) {
        /// The word, and nowhere to send anything.
        struct Word(u32);
        impl Queues for Word {
            fn pop(&mut self, _: u8) -> u32 {
                self.0
            }
            fn push(&mut self, _: u8, _: u32) {}
        }
        let per = u64::from(self.per_word(op));
        self.step(op, per.min(self.n - self.done), mem, &mut Word(word));
    }

    /// Elements from here on that take no word from a queue and give none: what a PE does by itself, however
    /// its queues stand.
    pub(super) fn quiet(&self, op: &Shape) -> u64 {
        if op.memory_only() {
            return self.n - self.done;
        }
        let mut quiet = self.n - self.done;
        for operand in &op.operands {
            match operand.access {
                Access::Fabric(_) => return 0,
                Access::FabricRow(_) => {
                    let n0 = u64::from(self.ex.n0);
                    let of_row = if self.row_loaded { n0 - u64::from(self.i0) } else { 0 };
                    let begun = u64::from(self.i1) + u64::from(self.row_loaded);
                    let per = u64::from(operand.ty.per_wavelet());
                    quiet = quiet.min(of_row + (per - begun % per) % per * n0);
                }
                _ => {}
            }
        }
        quiet
    }

    /// Does `m` elements. The caller has made sure of words, space and addresses.
    pub(super) fn step(&mut self, op: &Shape, m: u64, mem: &mut [u8], queues: &mut impl Queues) {
        if op.memory_only() && op.operands[3].access == Access::Mem {
            return self.step_memory(op, m, mem);
        }
        if op.operands[3].access == Access::Mem && op.scalar_rows() {
            return self.step_rows(op, m, mem, queues);
        }
        let kernel = op.kernel;
        let sizes = kernel.sizes();
        let to = op.operands[3].ty;
        for _ in 0..m {
            let mut v = [0u32; 3];
            for (k, slot) in v[..kernel.sources()].iter_mut().enumerate() {
                let operand = &op.operands[k];
                *slot = match operand.access {
                    Access::Mem | Access::MemRow => load(mem, self.address(k) as isize, sizes[k]),
                    Access::Imm(bits) => bits,
                    Access::Fabric(q) => {
                        if operand.ty.per_wavelet() == 1 {
                            queues.pop(q)
                        } else if self.done.is_multiple_of(2) {
                            self.word[k] = queues.pop(q);
                            self.word[k] & 0xFFFF
                        } else {
                            self.word[k] >> 16
                        }
                    }
                    Access::FabricRow(q) => self.row_scalar(k, q, operand.ty, queues),
                    Access::None => 0,
                };
            }
            match op.operands[3].access {
                Access::Mem => store(mem, self.address(3) as isize, sizes[3], kernel.apply(v)),
                Access::Fabric(q) => {
                    let bits = kernel.apply(v);
                    match to {
                        ElemType::F16 | ElemType::I16 => {
                            if self.done.is_multiple_of(2) {
                                self.word[3] = bits & 0xFFFF;
                            } else {
                                self.word[3] |= bits << 16;
                            }
                            if self.done % 2 == 1 || self.done + 1 == self.n {
                                queues.push(q, self.word[3]);
                            }
                        }
                        ElemType::I8 => queues.push(q, i32::from(bits as i8) as u32),
                        ElemType::I32 | ElemType::F32 => queues.push(q, bits),
                    }
                }
                _ => {}
            }
            self.done += 1;
            self.i0 += 1;
            if self.i0 == self.ex.n0 {
                self.i0 = 0;
                self.i1 += 1;
                self.row_loaded = false;
            }
        }
    }

    /// The scalar of the present row, taken from its queue when the row begins.
    #[inline(always)]
    fn row_scalar(&mut self, k: usize, queue: u8, ty: ElemType, queues: &mut impl Queues) -> u32 {
        let alone = ty.per_wavelet() == 1;
        if !self.row_loaded {
            self.row_loaded = true;
            if alone || self.i1.is_multiple_of(2) {
                self.word[k] = queues.pop(queue);
            } else {
                self.word[k] >>= 16;
            }
        }
        if alone { self.word[k] } else { self.word[k] & 0xFFFF }
    }

    /// Memory to memory, with a scalar a row from the fabric.
    fn step_rows(&mut self, op: &Shape, m: u64, mem: &mut [u8], queues: &mut impl Queues) {
        let mut left = m;
        while left > 0 {
            for (k, operand) in op.operands[..3].iter().enumerate() {
                if let Access::FabricRow(q) = operand.access {
                    self.row_scalar(k, q, operand.ty, queues);
                }
            }
            let count = left.min(u64::from(self.ex.n0 - self.i0));
            self.step_memory(op, count, mem);
            left -= count;
        }
    }

    /// Memory to memory: one loop for each kernel.
    fn step_memory(&mut self, op: &Shape, m: u64, mem: &mut [u8]) {
        let mut left = m;
        while left > 0 {
            if self.i0 == 0 && op.kernel == Kernel::FmaMixed && left >= u64::from(self.ex.n0) {
                let rows = (left / u64::from(self.ex.n0)) as u32;
                if self.block(op, rows).is_some_and(|b| b.run(mem, &[])) {
                    let count = u64::from(rows) * u64::from(self.ex.n0);
                    left -= count;
                    self.done += count;
                    self.i1 += rows;
                    self.row_loaded = false;
                    continue;
                }
            }
            let count = left.min(u64::from(self.ex.n0 - self.i0)) as u32;
            match op.kernel {
                Kernel::Copy32 => self.row(Kernel::Copy32, op, count, mem),
                Kernel::Copy16 => self.row(Kernel::Copy16, op, count, mem),
                Kernel::Widen => self.row(Kernel::Widen, op, count, mem),
                Kernel::Narrow => self.row(Kernel::Narrow, op, count, mem),
                Kernel::Add32 => self.row(Kernel::Add32, op, count, mem),
                Kernel::Mul32 => self.row(Kernel::Mul32, op, count, mem),
                Kernel::Max32 => self.row(Kernel::Max32, op, count, mem),
                Kernel::Fma32 => self.row(Kernel::Fma32, op, count, mem),
                Kernel::FmaMixed => self.row(Kernel::FmaMixed, op, count, mem),
                other => self.row(other, op, count, mem),
            }
            left -= u64::from(count);
            self.done += u64::from(count);
            self.i0 += count;
            if self.i0 == self.ex.n0 {
                self.i0 = 0;
                self.i1 += 1;
                self.row_loaded = false;
            }
        }
    }

    /// So many whole rows of a mixed multiply-add from here on, when it is a vector by a scalar a row.
    fn block(&self, op: &Shape, rows: u32) -> Option<Block> {
        let one = |k: usize| {
            let bits = match op.operands[k].access {
                Access::Imm(bits) => bits,
                Access::FabricRow(_) => self.word[k],
                _ => return None,
            };
            Some(Scalars::One(bits as u16))
        };
        let place = |k: usize| (self.address(k) as usize, self.ex.addr[k].s1 as isize);
        let scalars = |k: usize| match op.operands[k].access {
            Access::MemRow => Some(Scalars::Rows(place(k).0, place(k).1)),
            _ => one(k),
        };
        let side_by_side = |k: usize, size: i32| {
            op.operands[k].access == Access::Mem && (self.ex.n0 == 1 || self.ex.addr[k].s0 == size)
        };
        let (vector, scalars) = match (scalars(0), scalars(1)) {
            (Some(s), _) if side_by_side(1, 2) => (place(1), s),
            (_, Some(s)) if side_by_side(0, 2) => (place(0), s),
            _ => return None,
        };
        let sums = side_by_side(2, 4) && side_by_side(3, 4) && self.ex.addr[2] == self.ex.addr[3];
        let (columns, rows) = (self.ex.n0 as usize, rows as usize);
        sums.then(|| Block { columns, rows, vector, scalars, sums: place(3) })
    }

    /// First byte and size of an element of what an operation that [`Flight::drains`] writes, when its words go to SRAM as
    /// they are, side by side.
    pub(super) fn sinks(&self, op: &Shape) -> Option<u32> {
        let size = match op.kernel {
            Kernel::Copy32 => 4,
            Kernel::Copy16 => 2,
            _ => return None,
        };
        let (n0, a) = (self.ex.n0, self.ex.addr[3]);
        let rows_join = self.ex.n1 == 1 || i64::from(a.s1) == i64::from(n0) * size;
        let side_by_side = (n0 == 1 || i64::from(a.s0) == size) && rows_join;
        let from = a.start + (self.done as i64 * size) as i32;
        (op.operands[3].access == Access::Mem && side_by_side).then_some(from as u32)
    }

    /// Does `m` elements but for their values: takes and gives the words that [`Flight::step`] would.
    pub(super) fn count(&mut self, op: &Shape, m: u64, queues: &mut impl Queues) {
        let (n0, end) = (u64::from(self.ex.n0), self.done + m);
        for operand in &op.operands[..3] {
            let per = u64::from(operand.ty.per_wavelet());
            let (queue, before, after) = match operand.access {
                Access::Fabric(q) => (q, self.done, end),
                Access::FabricRow(q) => (q, self.done.div_ceil(n0), end.div_ceil(n0)),
                _ => continue,
            };
            (before.div_ceil(per)..after.div_ceil(per)).for_each(|_| _ = queues.pop(queue));
        }
        if let Access::Fabric(q) = op.operands[3].access {
            let per = u64::from(op.operands[3].ty.per_wavelet());
            let whole = if end == self.n { end.div_ceil(per) } else { end / per };
            (self.done / per..whole).for_each(|_| queues.push(q, 0));
        }
        self.skip(m);
    }

    /// So many elements were done by somebody else.
    pub(super) fn skip(&mut self, elements: u64) {
        self.done += elements;
        let (n0, along) = (u64::from(self.ex.n0), u64::from(self.i0) + elements);
        if along < n0 {
            self.i0 = along as u32;
        } else {
            self.i1 += (along / n0) as u32;
            self.i0 = (along % n0) as u32;
        }
        self.row_loaded = self.i0 > 0;
    }

    /// All that decides what it does from now on but for values.
    pub(super) fn describe(&self, out: &mut Vec<u64>) {
        out.push(
            u64::from(self.slot) << 56 | u64::from(self.task) << 48 | u64::from(self.op) << 32 | u64::from(self.shape),
        );
        self.ex.describe(out);
        out.extend([self.done, u64::from(self.i0) << 32 | u64::from(self.i1), u64::from(self.row_loaded)]);
    }

    /// True when elements of the two touch a common byte, perhaps, and one of them writes it.
    pub(super) fn meets(&self, op: &Shape, other: &Flight, its: &Shape) -> bool {
        let writes = |a: &Flight, op: &Shape, b: &Flight, its: &Shape| {
            let Some((lo, hi)) = a.extent(op, 3) else { return false };
            (0..4).filter_map(|k| b.extent(its, k)).any(|(from, to)| lo < to && from < hi)
        };
        writes(self, op, other, its) || writes(other, its, self, op)
    }

    /// First and one past the last byte of an operand in SRAM.
    fn extent(&self, op: &Shape, k: usize) -> Option<(i64, i64)> {
        let operand = &op.operands[k];
        let n = |n: u32| i64::from(n) - 1;
        operand.access.is_mem().then(|| {
            let a = self.ex.addr[k];
            let (d0, d1) = (i64::from(a.s0) * n(self.ex.n0), i64::from(a.s1) * n(self.ex.n1));
            let start = i64::from(a.start);
            let (lo, hi) = (start + d0.min(0) + d1.min(0), start + d0.max(0) + d1.max(0));
            (lo, hi + i64::from(operand.ty.bytes()))
        })
    }

    /// `count` elements of the present outer row. In order, element by element: a destination
    /// may be a later element's source.
    #[inline(always)]
    fn row(&self, kernel: Kernel, op: &Shape, count: u32, mem: &mut [u8]) {
        let sizes = kernel.sizes();
        let sources = kernel.sources();
        let mut at = [0i32; 4];
        let mut step = [0i32; 4];
        let mut imm = [None; 3];
        for k in 0..4 {
            match op.operands[k].access {
                Access::Mem | Access::MemRow => (at[k], step[k]) = (self.address(k), self.ex.addr[k].s0),
                Access::Imm(bits) if k < 3 => imm[k] = Some(bits),
                Access::FabricRow(_) if k < 3 => {
                    let wide = op.operands[k].ty.per_wavelet() == 1;
                    imm[k] = Some(if wide { self.word[k] } else { self.word[k] & 0xFFFF });
                }
                _ => {}
            }
        }
        for _ in 0..count {
            let mut v = [0u32; 3];
            for k in 0..3 {
                if k < sources {
                    v[k] = match imm[k] {
                        Some(bits) => bits,
                        None => load(mem, at[k] as isize, sizes[k]),
                    };
                    at[k] += step[k];
                }
            }
            store(mem, at[3] as isize, sizes[3], kernel.apply(v));
            at[3] += step[3];
        }
    }

    #[inline]
    fn address(&self, k: usize) -> i32 {
        let a = self.ex.addr[k];
        a.start + self.i1 as i32 * a.s1 + self.i0 as i32 * a.s0
    }
}
