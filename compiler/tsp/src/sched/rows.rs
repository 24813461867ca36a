//! Row lists as MEM instructions: runs of equal step become one repeated read or write.

use super::Scheduler;
use super::burst::{At, Burst, Def, InstNo, Landing, Proto, StreamNo, Touch, Use};
use super::memory::{FillWord, Region};
use super::waits::Cause;
use crate::tiled::{FILL, TensorId};
use quadrille_isa::tsp::{Column, Dir, Hemisphere, QueueId, Repeat, Slice, Thread, ValueIx};
use std::sync::Arc;

/// What placing a burst does to the homes of tensors.
#[derive(Clone, Default)]
pub(super) struct Effects {
    /// Rows written: first issue relative to the start, cycles between rows.
    writes: Vec<(TensorId, Vec<u32>, i64, u32)>,
    /// Last read relative to the start.
    reads: Vec<(TensorId, i64)>,
}

/// Rows `off .. off + n` at `addr, addr + step, …` of a slice.
pub(super) struct Run {
    pub(super) off: u32,
    pub(super) n: u32,
    pub(super) at: Region,
    pub(super) step: i32,
    pub(super) fill: bool,
}

/// Cuts places into runs, each of one bank of a slice: an instruction books the bank of its first word.
pub(super) fn runs(places: &[(Region, bool)], bank: impl Fn(u16) -> u8) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    let mut i = 0;
    while i < places.len() {
        let (at, fill) = places[i];
        let joins = |k: usize| {
            let (next, next_fill) = places[k];
            (next.slice, next_fill, bank(next.base)) == (at.slice, fill, bank(at.base))
        };
        let delta = |k: usize| i32::from(places[k].0.base) - i32::from(places[k - 1].0.base);
        let mut n = 1;
        if i + 1 < places.len() && joins(i + 1) {
            let step = delta(i + 1);
            while i + n < places.len() && joins(i + n) && delta(i + n) == step {
                n += 1;
            }
        }
        let step = if n > 1 { delta(i + 1) } else { 0 };
        out.push(Run { off: i as u32, n: n as u32, at, step, fill });
        i += n;
    }
    out
}

impl Scheduler<'_> {
    /// Places of rows in a copy; fill rows are read from `fill` if there is such a word.
    pub(super) fn runs_of(&self, t: TensorId, copy: usize, byte: u8, rows: &[u32], fill: Option<FillWord>) -> Vec<Run> {
        // Fill rows before the first real one are read beside it.
        let first = rows.iter().find(|&&r| r != FILL && !self.g.tensor(t).weights);
        let mut near = first.map_or(0, |&r| self.memory.chunk_of(t, r));
        let places: Vec<(Region, bool)> = rows
            .iter()
            .map(|&r| {
                if r != FILL && !self.g.tensor(t).weights {
                    near = self.memory.chunk_of(t, r);
                }
                match (fill, r) {
                    (Some(fill), FILL) => (fill.at, true),
                    _ => (self.memory.place_of(self.g, t, copy, byte, r, near), r == FILL),
                }
            })
            .collect();
        runs(&places, |addr| self.memory.bank_of(addr))
    }

    fn touch(&self, t: TensorId, run: &Run, fill: Option<FillWord>) -> Touch {
        let home = &self.memory.homes[t.0 as usize];
        let own = home.fill.unwrap_or(home.value);
        let value = if run.fill { fill.map_or(own, |f| f.value.0) } else { home.value };
        Touch {
            slice: run.at.slice,
            bank: self.memory.bank_of(run.at.base),
            value: ValueIx(value),
            addr: run.at.base,
            step: run.step,
        }
    }

    /// Reads one byte of rows onto byte `byte` of a stream so that row 0 is at `dest` in cycle `t`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn read_byte(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        stream: StreamNo,
        stream_byte: u8,
        of: (TensorId, usize, u8),
        rows: &[u32],
        dest: Column,
        at: i64,
    ) {
        self.read_filled(b, e, stream, stream_byte, of, rows, None, dest, at);
    }

    /// The same, with fill rows from a word of their own.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn read_filled(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        stream: StreamNo,
        stream_byte: u8,
        (t, copy, byte): (TensorId, usize, u8),
        rows: &[u32],
        fill: Option<FillWord>,
        dest: Column,
        at: i64,
    ) {
        let (dir, step) = (b.streams[stream.0].dir, b.streams[stream.0].step);
        for run in self.runs_of(t, copy, byte, rows, fill) {
            let column = self.m.slice_column(run.at.slice);
            let drive = at + i64::from(run.off * step) - self.hops(dir, column, dest);
            let issue = drive - i64::from(self.m.latency.mem_read);
            let repeat = repeat(run.n, step, run.step);
            let proto = Proto::Read { addr: run.at.base, to: stream, byte: stream_byte };
            let queue = At::Queue(QueueId::Mem(run.at.slice, Thread::Read));
            let inst = b.inst(queue, issue, repeat, proto, Some(self.touch(t, &run, fill)));
            b.def(stream, Def { inst, byte: stream_byte, bytes: 1, out: 0, off: run.off, n: run.n, t: drive, column });
            let home = &self.memory.homes[t.0 as usize];
            for k in 0..run.n {
                let ready = match (rows[(run.off + k) as usize], fill) {
                    (FILL, Some(_)) => continue,
                    (FILL, None) => home.fill_ready,
                    (row, _) => home.ready[row as usize],
                };
                b.after(Cause::Data, i64::from(ready) - issue - i64::from(k * step));
            }
            e.reads.push((t, issue + i64::from((run.n - 1) * step)));
        }
    }

    /// Reads rows (all bytes) so that row 0 is at `dest` in cycle `at`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn read_rows(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        t: TensorId,
        copy: usize,
        rows: &[u32],
        dir: Dir,
        step: u32,
        dest: Column,
        at: i64,
    ) -> StreamNo {
        if self.g.stored(t) != t {
            let source = &self.memory.homes[self.g.stored(t).0 as usize];
            // Half of the copies lie on each side.
            let segments = self.memory.segments(self.g.stored(t));
            let readers = source.chunks.first().map_or(1, |c| (c.copies.len() / 2 / segments).max(1));
            return self.gather_rows(b, e, (t, copy % readers), rows, dir, step, dest, at);
        }
        let width = self.g.tensor(t).ty.bytes();
        let stream = b.stream(dir, width, step);
        for byte in 0..width {
            self.read_byte(b, e, stream, byte, (t, copy, byte), rows, dest, at);
        }
        stream
    }

    /// Writes byte `stream_byte` of a stream, whose row 0 is at `from` in cycle `at`, to byte `byte` of rows:
    /// to all slices that hold them, or those of one side.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write_byte(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        stream: StreamNo,
        stream_byte: u8,
        (t, byte): (TensorId, u8),
        rows: &[u32],
        from: Column,
        at: i64,
        only: Option<Hemisphere>,
    ) {
        let (dir, step) = (b.streams[stream.0].dir, b.streams[stream.0].step);
        let home = &self.memory.homes[t.0 as usize];
        let copies = if self.g.tensor(t).weights { 1 } else { home.chunks[0].copies.len() };
        for copy in 0..copies {
            let side = self.memory.side_of(t, copy);
            if !self.g.tensor(t).weights && only.is_some_and(|h| h != side) {
                continue;
            }
            // A copy that a plane gathers from holds what that plane needs.
            let held = self.memory.held_rows(t, copy);
            let holds = |row: u32| held.is_none_or(|h| h[row as usize]);
            let mut at_row = 0;
            for list in rows.chunk_by(|a, b| holds(*a) == holds(*b)) {
                let first = at_row;
                at_row += list.len();
                if holds(list[0]) {
                    let at = at + first as i64 * i64::from(step);
                    self.write_run(
                        b,
                        e,
                        (stream, stream_byte, first as u32),
                        (t, copy, byte),
                        list,
                        (dir, from),
                        at,
                        only,
                    );
                }
            }
        }
    }

    /// Writes consecutive rows of a stream, the first of which is its row `first` and is at `from` in cycle `at`, to a copy.
    #[allow(clippy::too_many_arguments)]
    fn write_run(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        (stream, stream_byte, first): (StreamNo, u8, u32),
        (t, copy, byte): (TensorId, usize, u8),
        rows: &[u32],
        (dir, from): (Dir, Column),
        at: i64,
        only: Option<Hemisphere>,
    ) {
        let step = b.streams[stream.0].step;
        let home = &self.memory.homes[t.0 as usize];
        for run in self.runs_of(t, copy, byte, rows, None) {
            if only.is_some_and(|h| h != run.at.slice.hemisphere) {
                continue;
            }
            let column = self.m.slice_column(run.at.slice);
            let arrive = at + i64::from(run.off * step) + self.hops(dir, from, column);
            let issue = arrive - i64::from(self.m.latency.mem_write_sample);
            let proto = Proto::Write { addr: run.at.base, from: stream, byte: stream_byte };
            let queue = At::Queue(QueueId::Mem(run.at.slice, Thread::Write));
            let inst = b.inst(queue, issue, repeat(run.n, step, run.step), proto, Some(self.touch(t, &run, None)));
            let off = first + run.off;
            b.use_(stream, Use { inst, slot: 0, byte: stream_byte, bytes: 1, off, n: run.n, column });
            let free = home.chunks.iter().map(|c| c.free_at).max().unwrap_or(0);
            b.after(Cause::Space, i64::from(free) - issue);
            e.writes.push((t, rows[run.off as usize..(run.off + run.n) as usize].to_vec(), issue, step));
        }
    }

    /// Notes when rows become readable and when they were last read.
    pub(super) fn apply(&mut self, landing: &Landing, e: Effects) {
        let readable = self.m.latency.mem_write_readable;
        for (t, rows, first, step) in e.writes {
            if let Some(waits) = self.pending.get_mut(&t) {
                rows.iter().for_each(|&r| waits[r as usize] = false);
            }
            let ready = &mut Arc::make_mut(&mut self.memory.homes[t.0 as usize]).ready;
            for (k, r) in rows.into_iter().enumerate() {
                let at = (i64::from(landing.start) + first) as u32 + k as u32 * step + readable;
                ready[r as usize] = ready[r as usize].max(at);
            }
        }
        for (t, last) in e.reads {
            let last = (i64::from(landing.start) + last) as u32;
            if self.memory.homes[t.0 as usize].last_read < last {
                Arc::make_mut(&mut self.memory.homes[t.0 as usize]).last_read = last;
            }
        }
    }

    pub(super) fn note_read(&self, e: &mut Effects, t: TensorId, last: i64) {
        e.reads.push((t, last));
    }
}

/// `n` executions as a repeat.
pub(super) fn repeat(n: u32, d: u32, a: i32) -> Repeat {
    if n <= 1 { Repeat::default() } else { Repeat { n: n - 1, d, a } }
}

/// All slices of a set of regions.
pub(super) fn slices(regions: &[Region]) -> Vec<Slice> {
    regions.iter().map(|r| r.slice).collect()
}

/// A use of a whole group by all rows.
pub(super) fn whole(inst: InstNo, slot: u8, bytes: u8, n: u32, column: Column) -> Use {
    Use { inst, slot, byte: 0, bytes, off: 0, n, column }
}
