//! Lane moves: bytes pass an int8 plane whose weights are a map of zeros and ones.
//!
//! Byte `b` of the elements goes through plane `b`; the sum of one product is the byte itself, which
//! is written from the lowest stream of the emitted four. Both bytes of a half go side by side through the planes of a
//! hemisphere, which load the map from the same streams, where one pass does.

use super::Scheduler;
use super::burst::{Burst, InstNo, PlacedNo, StateDef, StreamNo};
use super::pass::BytePass;
use super::rows::Effects;
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{Kernel, Kind, MovePass, Rows, TensorId};
use quadrille_isa::tsp::{ActType, Column, Hemisphere, SLOT_STATE};
use std::ops::Range;

/// A byte of some rows that move.
struct MovedBytes<'a> {
    k: &'a Kernel,
    passes: &'a [MovePass],
    out: &'a Rows,
    rows: Range<usize>,
    byte: u8,
}

/// Cycles from an install to the first rows of the next load, and from the last to the next install.
const LOAD: i64 = 12;

impl Scheduler<'_> {
    pub(super) fn moves(
        &mut self,
        number: usize,
        k: &Kernel,
        passes: &[MovePass],
        out: &Rows,
    ) -> Result<(), CompileError> {
        if self.permute(number, k, out)? {
            return Ok(());
        }
        let block = self.m.geometry.accumulator_rows_per_plane as usize;
        let width = self.g.tensor(out.tensor).ty.bytes();
        let n = k.n as usize;
        if let Some((h, ..)) = self.move_start(k) {
            return self.move_halves(k, &passes[0], out, h);
        }
        let mut first = 0;
        while first < n {
            let rows = first..n.min(first + block);
            for byte in (0..width).step_by(2) {
                let two = self.way.paired && byte + 1 < width && self.m.geometry.planes_per_hemisphere == 2;
                let bytes = MovedBytes { k, passes, out, rows: rows.clone(), byte };
                self.move_bytes(&bytes, if two { 2 } else { 1 })?;
                if !two && byte + 1 < width {
                    self.move_bytes(&MovedBytes { byte: byte + 1, ..bytes }, 1)?;
                }
            }
            first = rows.end;
        }
        Ok(())
    }

    /// The hemisphere whose planes can begin a move of both bytes first, and when its sums are there; nothing where it goes byte
    /// by byte.
    pub(super) fn move_start(&mut self, k: &Kernel) -> Option<(Hemisphere, i64)> {
        let Kind::Move { passes, out } = &k.kind else { return None };
        let [p] = &passes[..] else { return None };
        let two = self.g.tensor(out.tensor).ty.bytes() == 2 && self.m.geometry.planes_per_hemisphere == 2;
        if !two || k.n > self.m.geometry.accumulator_rows_per_plane {
            return None;
        }
        let mut best: Option<(Hemisphere, i64)> = None;
        for h in [Hemisphere::West, Hemisphere::East] {
            let (b, ..) = self.halves_burst(k, p, out, h, &[PlacedNo(0); 2]);
            if b.collides().is_some() {
                return None;
            }
            let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
            let planes = [0, 1].map(|n| self.plane_of(h, n));
            let loads = if planes.iter().all(|&plane| self.held(plane, 0, &tile).is_some()) { 0 } else { LOAD };
            let installs = planes.iter().filter_map(|&plane| self.planes[usize::from(plane)].last_install);
            let loaded = installs.max().map_or(0, |t| i64::from(t) + loads + p.loads.len() as i64);
            let start = b.earliest_start(self.m, &mut self.board)?.max(loaded) + self.to_alus(h);
            if best.is_none_or(|b| start < b.1) {
                best = Some((h, start));
            }
        }
        best
    }

    /// Reads some bytes of rows, stored or gathered, so that row 0 is at a column of a hemisphere's end in cycle 0.
    pub(super) fn outward(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        (t, rows): (TensorId, &[u32]),
        bytes: Range<u8>,
        h: Hemisphere,
        column: Column,
    ) -> StreamNo {
        if self.g.stored(t) != t {
            return self.gather_bytes(b, e, (t, 0), bytes, rows, h.outward(), 1, column, 0);
        }
        let stream = b.stream(h.outward(), bytes.len() as u8, 1);
        let copy = self.memory.copy_on(t, h, 0);
        (0..).zip(bytes).for_each(|(at, byte)| self.read_byte(b, e, stream, at, (t, copy, byte), rows, column, 0));
        stream
    }

    /// Both bytes of all rows through the planes of a hemisphere; and the accumulations.
    fn halves_burst(
        &self,
        k: &Kernel,
        p: &MovePass,
        out: &Rows,
        h: Hemisphere,
        installs: &[PlacedNo; 2],
    ) -> (Burst, Effects) {
        let (column, n) = (self.m.mxm_column(h), k.n);
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let (t, rows) = (p.from.tensor, &p.from.rows);
        let both = self.outward(&mut b, &mut e, (t, rows), 0..2, h, column);
        for byte in 0..2u8 {
            let plane = self.plane_of(h, usize::from(byte));
            let state = self.planes[usize::from(plane)];
            b.after(Cause::Plane, i64::from(state.act_free));
            b.after(Cause::Load, i64::from(state.last_install.unwrap_or(0)));
            let sums = b.stream(h.inward(), 4, 1);
            let pass = BytePass {
                plane,
                column,
                acts: both,
                byte,
                ty: ActType::U8,
                n,
                at: 0,
                install: installs[usize::from(byte)],
                row: 0,
                adds: false,
                alone: true,
                emit: Some(sums),
            };
            self.byte_pass(&mut b, &pass);
            let t = self.to_stream();
            self.write_byte(&mut b, &mut e, sums, 0, (out.tensor, byte), &out.rows, column, t, None);
        }
        (b, e)
    }

    fn move_halves(&mut self, k: &Kernel, p: &MovePass, out: &Rows, h: Hemisphere) -> Result<(), CompileError> {
        let planes = [0, 1].map(|n| self.plane_of(h, n));
        let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
        let installs = self.install_once(k, &planes, &tile, false)?;
        let (b, e) = self.halves_burst(k, p, out, h, &[installs[0], installs[1]]);
        let landing = self.place(k, b, e)?;
        planes.into_iter().for_each(|plane| self.takes_rows(k, plane, &landing, 0, k.n));
        Ok(())
    }

    /// Some bytes, each through a plane of its own; those of a hemisphere are loaded together.
    fn move_bytes(&mut self, first: &MovedBytes<'_>, count: usize) -> Result<(), CompileError> {
        let plane = self.first_plane(first);
        let MovedBytes { k, passes, .. } = *first;
        // The other plane of the hemisphere follows.
        let planes: Vec<u8> = (0..count as u8).map(|n| plane ^ n).collect();
        let mut left: Vec<Option<PlacedNo>> = vec![None; count];
        for (number, p) in passes.iter().enumerate() {
            let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
            let free = planes.iter().map(|&p| self.planes[usize::from(p)].act_free).max().unwrap_or(0);
            let installs = if self.way.paired {
                self.install_once(k, &planes, &tile, true)?
            } else {
                self.install_planes(k, &planes, 0, &tile, free, false)?
            };
            for (n, (&plane, &install)) in planes.iter().zip(&installs).enumerate() {
                let bytes = MovedBytes { byte: first.byte + n as u8, rows: first.rows.clone(), ..*first };
                let (b, e, acc) = self.byte_burst(&bytes, number, plane, install, left[n]);
                let landing = self.place(k, b, e)?;
                left[n] = Some(landing.inst(acc));
                self.takes_rows(k, plane, &landing, 0, bytes.rows.len() as u32);
            }
        }
        Ok(())
    }

    /// When planes have done a move, roughly; nothing where it is not known.
    pub(super) fn planes_end(&mut self, k: &Kernel) -> Option<i64> {
        if let Some((h, start)) = self.move_start(k) {
            return Some(start - self.hops(h.inward(), self.m.mxm_column(h), self.m.vxm_column()) + i64::from(k.n));
        }
        let Kind::Move { passes, out } = &k.kind else { return None };
        let rows = 0..(k.n as usize).min(self.m.geometry.accumulator_rows_per_plane as usize);
        let bytes = MovedBytes { k, passes, out, rows, byte: 0 };
        (0..self.m.planes()).filter_map(|p| self.byte_end(&bytes, p)).min()
    }

    /// When the sums of the last pass of a byte would end on a plane.
    fn byte_end(&mut self, bytes: &MovedBytes<'_>, p: u8) -> Option<i64> {
        let first = &bytes.passes[0];
        let tile = Tile { tensor: first.weights, loads: &first.loads, slots: first.slots };
        let loads = if self.held(p, 0, &tile).is_some() { 0 } else { LOAD + first.loads.len() as i64 };
        let loaded = self.planes[usize::from(p)].last_install.map_or(0, |t| i64::from(t) + loads);
        let (b, ..) = self.byte_burst(bytes, bytes.passes.len() - 1, p, PlacedNo(0), None);
        let start = b.earliest_start(self.m, &mut self.board)?;
        Some(start.max(loaded) + b.last())
    }

    /// The plane through which a byte arrives first; beside products of bytes, which need all planes, the one that is free first.
    fn first_plane(&mut self, bytes: &MovedBytes<'_>) -> u8 {
        let planes = self.m.planes();
        if self.mixed {
            let free = |p: u8| (self.planes[usize::from(p)].act_free, (p + bytes.byte) % planes);
            return (0..planes).min_by_key(|&p| free(p)).unwrap_or(0);
        }
        let mut best = None;
        for p in 0..planes {
            let Some(end) = self.byte_end(bytes, p) else { continue };
            let end = (end, (p + bytes.byte) % planes, p);
            best = best.map_or(Some(end), |other| Some(end.min(other)));
        }
        best.map_or(0, |b| b.2)
    }

    /// Pass `number` of a byte.
    fn byte_burst(
        &self,
        bytes: &MovedBytes<'_>,
        number: usize,
        plane: u8,
        install: PlacedNo,
        left: Option<PlacedNo>,
    ) -> (Burst, Effects, InstNo) {
        let MovedBytes { k, passes, out, ref rows, byte } = *bytes;
        let (p, n) = (&passes[number], rows.len() as u32);
        let h = self.m.plane_hemisphere(plane);
        let column = self.m.mxm_column(h);
        let (mut b, mut e) = (Burst::new(k.node.0), Effects::default());
        let state = self.planes[usize::from(plane)];
        b.after(Cause::Plane, i64::from(state.act_free));
        b.after(Cause::Load, i64::from(state.last_install.unwrap_or(0)));
        let (t, list) = (p.from.tensor, &p.from.rows[rows.clone()]);
        let acts = self.outward(&mut b, &mut e, (t, list), byte..byte + 1, h, column);
        let emit = (number + 1 == passes.len()).then(|| b.stream(h.inward(), 4, 1));
        let (ty, adds) = (ActType::U8, left.is_some());
        let alone = passes.len() == 1;
        let pass = BytePass { plane, column, acts, byte: 0, ty, n, at: 0, install, row: 0, adds, alone, emit };
        let acc = self.byte_pass(&mut b, &pass);
        if let Some(left) = left {
            b.uses_state(acc, SLOT_STATE, StateDef::Earlier(left), 1, n);
        }
        if let Some(s) = emit {
            let t = self.to_stream();
            self.write_byte(&mut b, &mut e, s, 0, (out.tensor, byte), &out.rows[rows.clone()], column, t, None);
        }
        (b, e, acc)
    }
}
