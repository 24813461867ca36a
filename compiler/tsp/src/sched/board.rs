//! What is taken on the chip, cycle by cycle: queues, banks and stream registers.
//!
//! Streams are booked by diagonal: a vector driven at column `c` in cycle `t` keeps `t - c` (eastward)
//! or `t + c` (westward), so a burst is one range of diagonals in each column it crosses.
//! Knows nothing of tensors and kernels.

use super::bits::Bits;
use quadrille_isa::tsp::{Column, Dir, Hemisphere, Machine, MxmPart, QueueId, Slice, Stream, SxmUnit, Thread};
use std::ops::Range;

/// A stretch of a stream: driven at `from` in cycles `t, t + step, …`, last sampled at `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) stream: Stream,
    pub(super) from: Column,
    pub(super) to: Column,
    pub(super) t: u32,
    pub(super) n: u32,
    pub(super) step: u32,
}

/// The books.
#[derive(Clone)]
pub(super) struct Board {
    columns: u32,
    slices: usize,
    /// Queues, then banks.
    units: Bits,
    streams: Bits,
}

/// Queues of ALUs, planes and the two switching modules.
const OTHER_QUEUES: usize = 16 + 12 + 2 * 33 * 2;

/// A queue or bank of the chip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(usize);

fn hemi(h: Hemisphere) -> usize {
    usize::from(h == Hemisphere::East)
}

impl Board {
    pub(super) fn new(m: &Machine) -> Board {
        let slices = m.geometry.mem_slices_per_hemisphere as usize;
        Board {
            columns: u32::from(m.columns()),
            slices,
            units: Bits::new(4 * slices + OTHER_QUEUES + 4 * slices),
            streams: Bits::new(64 * usize::from(m.columns())),
        }
    }

    /// Units with one issue a cycle over two queues are one book.
    pub(super) fn queue(&self, q: QueueId) -> Unit {
        let base = 4 * self.slices;
        Unit(match q {
            QueueId::Mem(s, t) => {
                (hemi(s.hemisphere) * self.slices + usize::from(s.index)) * 2 + usize::from(t == Thread::Write)
            }
            QueueId::Vxm(n) => base + usize::from(n),
            QueueId::Mxm(p, part) => {
                let part = match part {
                    MxmPart::Weights => 0,
                    MxmPart::Activations => 1,
                    MxmPart::Accumulators => 2,
                };
                base + 16 + usize::from(p) * 3 + part
            }
            QueueId::Sxm(h, unit, _) => {
                let unit = match unit {
                    SxmUnit::Permuter => 0,
                    SxmUnit::Distributor(n) => 1 + usize::from(n),
                    SxmUnit::Transposer(n) => 17 + usize::from(n),
                };
                base + 28 + hemi(h) * 33 + unit
            }
        })
    }

    pub(super) fn bank(&self, s: Slice, bank: u8) -> Unit {
        let base = 4 * self.slices + OTHER_QUEUES;
        Unit(base + (hemi(s.hemisphere) * self.slices + usize::from(s.index)) * 2 + usize::from(bank))
    }

    /// The last cycle of `start .. start + len` in which the unit is taken.
    pub(super) fn taken(&self, unit: Unit, start: u32, len: u32) -> Option<u32> {
        self.units.last_in(unit.0, start, len)
    }

    pub(super) fn take(&mut self, unit: Unit, start: u32, len: u32) {
        self.units.set(unit.0..unit.0 + 1, start, len, 1, true);
    }

    /// Columns crossed, as sets of diagonals, and the first diagonal.
    fn flow(&self, f: &Flow) -> (Range<usize>, u32) {
        let (c, d) = (u32::from(f.from.0), self.columns);
        let (lo, hi) = (f.from.0.min(f.to.0), f.from.0.max(f.to.0));
        let side = usize::from(f.stream.dir == Dir::West);
        let diagonal = if f.stream.dir == Dir::East { f.t + d - c } else { f.t + c };
        let base = (side * 32 + usize::from(f.stream.id)) * d as usize;
        (base + usize::from(lo)..base + usize::from(hi) + 1, diagonal)
    }

    pub(super) fn stream_free(&self, f: &Flow) -> bool {
        let (columns, diagonal) = self.flow(f);
        self.streams.free(columns, diagonal, f.n, f.step)
    }

    pub(super) fn mark_stream(&mut self, f: &Flow, on: bool) {
        let (columns, diagonal) = self.flow(f);
        self.streams.set(columns, diagonal, f.n, f.step, on);
    }
}
