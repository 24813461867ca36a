//! Weights into a plane: 16 streams a cycle into the buffer, then one install.

use super::Scheduler;
use super::burst::{At, Burst, Def, InstNo, PlacedNo, Proto, StateDef, StreamNo, Touch, Use};
use super::memory::weight_slices;
use super::rows::{Effects, repeat, slices};
use super::waits::Cause;
use crate::error::CompileError;
use crate::tiled::{Kernel, TensorId};
use quadrille_isa::tsp::{Column, Dir, MxmPart, QueueId, Thread};
use std::iter;
use std::ops::Range;

/// Weights of one pass, as the kernels name them.
pub(super) struct Tile<'a> {
    pub(super) tensor: TensorId,
    /// (plane row / 16, tensor row / 16).
    pub(super) loads: &'a [(u16, u32)],
    pub(super) slots: (u8, u8),
}

/// Groups of 16 rows that are loaded behind each other at least.
const LEAST_GROUPS: usize = 4;

/// Cycles by which a load may hold up the next rows before it goes in parts.
const LATE: i64 = 4;

/// What a plane holds: one byte of the elements of a tile, and the install that brought it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    tensor: TensorId,
    loads: Vec<(u16, u32)>,
    slots: (u8, u8),
    byte: u8,
    install: PlacedNo,
}

impl Scheduler<'_> {
    /// The install that brought this byte of the tile, while the plane still holds it.
    pub(super) fn held(&self, plane: u8, byte: u8, tile: &Tile<'_>) -> Option<PlacedNo> {
        let held = self.held[usize::from(plane)].as_ref()?;
        let same = (held.tensor, &held.loads[..], held.slots, held.byte) == (tile.tensor, tile.loads, tile.slots, byte);
        same.then_some(held.install)
    }

    /// Loads byte `byte` of a tile into a plane and installs it as early as may be: after the plane's (or
    /// its pair's) activations so far have entered, which end at `act_free`.
    pub(super) fn install(
        &mut self,
        k: &Kernel,
        plane: u8,
        byte: u8,
        tile: &Tile<'_>,
        act_free: u32,
    ) -> Result<PlacedNo, CompileError> {
        Ok(self.install_planes(k, &[plane], byte, tile, act_free, false)?[0])
    }

    /// Brings the lowest byte of a tile into planes of one hemisphere, where they do not hold it yet: passes of the same weights,
    /// one after another, need them loaded once.
    pub(super) fn install_once(
        &mut self,
        k: &Kernel,
        planes: &[u8],
        tile: &Tile<'_>,
        apart: bool,
    ) -> Result<Vec<PlacedNo>, CompileError> {
        if let Some(installs) = planes.iter().map(|&p| self.held(p, 0, tile)).collect() {
            return Ok(installs);
        }
        let free = planes.iter().map(|&p| self.planes[usize::from(p)].act_free).max().unwrap_or(0);
        self.install_planes(k, planes, 0, tile, free, apart)
    }

    /// As [`Self::install`], for planes of one hemisphere at once: they sample the same streams.
    pub(super) fn install_planes(
        &mut self,
        k: &Kernel,
        planes: &[u8],
        byte: u8,
        tile: &Tile<'_>,
        act_free: u32,
        apart: bool,
    ) -> Result<Vec<PlacedNo>, CompileError> {
        let (loaded, loads) = self.load(k, planes, byte, tile, act_free)?;
        let mut installs = Vec::new();
        for (plane, loads) in planes.iter().zip(&loads) {
            let state = self.planes[usize::from(*plane)];
            let gap = state.last_install.map_or(0, |t| t + self.m.latency.mxm_install);
            let mut b = Burst::new(k.node.0);
            let free = if apart { state.act_free } else { act_free };
            b.after(Cause::Plane, i64::from(free));
            b.after(Cause::Load, i64::from(loaded.max(gap)));
            let queue = At::Queue(QueueId::Mxm(*plane, MxmPart::Activations));
            let inst = b.inst(queue, 0, repeat(1, 1, 0), Proto::Install, None);
            for (slot, l) in loads.iter().enumerate() {
                b.uses_state(inst, slot as u8, StateDef::Earlier(*l), 0, 1);
            }
            let landing = self.place(k, b, Effects::default())?;
            let install = landing.inst(InstNo(0));
            self.planes[usize::from(*plane)].last_install = Some(landing.start);
            let (tensor, slots) = (tile.tensor, tile.slots);
            self.held[usize::from(*plane)] = Some(Held { tensor, loads: tile.loads.to_vec(), slots, byte, install });
            installs.push(install);
        }
        Ok(installs)
    }

    /// Fills the buffers of planes; gives the cycle from which an install may come, and the loads of each plane. Where the rows find
    /// no place behind each other before `act_free`, they go in parts.
    fn load(
        &mut self,
        k: &Kernel,
        planes: &[u8],
        byte: u8,
        tile: &Tile<'_>,
        act_free: u32,
    ) -> Result<(u32, Vec<Vec<PlacedNo>>), CompileError> {
        let mut parts: Vec<Range<usize>> = iter::once(0..tile.loads.len()).collect();
        let (mut loaded, mut loads) = (0, vec![Vec::with_capacity(tile.loads.len()); planes.len()]);
        while let Some(part) = parts.pop() {
            let n = part.len() as i64;
            let (b, e, insts) = self.load_burst(k, planes, byte, tile, part.clone())?;
            let late = |not_before: i64, start: i64| {
                part.len() >= 2 * LEAST_GROUPS && start > not_before.max(i64::from(act_free) - n) + LATE
            };
            let landing = match self.place_unless(k, b, e, late)? {
                Ok(landing) => landing,
                Err(found) => {
                    let few = part.start..part.start + LEAST_GROUPS;
                    let (first, ..) = self.load_burst(k, planes, byte, tile, few)?;
                    // What is in the way of the first ones, too, is better waited for by all.
                    if first.earliest_start(self.m, &mut self.board).is_some_and(|start| start < found) {
                        let middle = part.start + part.len() / 2;
                        parts.extend([middle..part.end, part.start..middle]);
                        continue;
                    }
                    let (b, e, _) = self.load_burst(k, planes, byte, tile, part.clone())?;
                    self.place(k, b, e)?
                }
            };
            loaded = loaded.max(landing.start + n as u32 - 1 + self.m.latency.mxm_weight_row);
            for (loads, insts) in loads.iter_mut().zip(&insts) {
                loads.extend((landing.start..).zip(insts).map(|(cycle, &inst)| (cycle, landing.inst(inst))));
            }
        }
        // A later part may have found a place before an earlier one; an install names loads as they came.
        loads.iter_mut().for_each(|l| l.sort_unstable());
        let loads = loads.into_iter().map(|l| l.into_iter().map(|(_, inst)| inst).collect()).collect();
        Ok((loaded, loads))
    }

    /// A burst of some groups of 16 rows, and the loads of each plane.
    fn load_burst(
        &mut self,
        k: &Kernel,
        planes: &[u8],
        byte: u8,
        tile: &Tile<'_>,
        part: Range<usize>,
    ) -> Result<(Burst, Effects, Vec<Vec<InstNo>>), CompileError> {
        let h = self.m.plane_hemisphere(planes[0]);
        let (dir, column) = (h.outward(), self.m.mxm_column(h));
        let groups = &tile.loads[part];
        let n = groups.len() as u32;
        let last_install = planes.iter().filter_map(|&p| self.planes[usize::from(p)].last_install).max();
        let copy = self.memory.copy_on(tile.tensor, h, 0);
        let mut b = Burst::new(k.node.0);
        let mut e = Effects::default();
        b.after(Cause::Load, i64::from(last_install.unwrap_or(0)));
        let p = weight_slices(self.m);
        let mut zero: Option<StreamNo> = None;
        let mut from = [(StreamNo(0), 0u8); 16];
        for (slot, f) in from.iter_mut().enumerate() {
            let wanted = (tile.slots.0..tile.slots.0 + tile.slots.1).contains(&(slot as u8));
            *f = if wanted {
                let rows: Vec<u32> = groups.iter().map(|&(_, r)| r * 16 + slot as u32).collect();
                let stream = b.stream(dir, 1, 1);
                b.streams[stream.0].uses.reserve(planes.len() * groups.len());
                self.read_byte(&mut b, &mut e, stream, 0, (tile.tensor, copy, byte), &rows, column, 0);
                (stream, 0)
            } else {
                let stream = match zero {
                    Some(s) => s,
                    None => self.zeros(&mut b, tile.tensor, n, dir, column)?,
                };
                zero = Some(stream);
                (stream, 0)
            };
        }
        debug_assert!(p == 16 || tile.slots.1 <= 8);
        let mut loads: Vec<Vec<InstNo>> = vec![Vec::new(); planes.len()];
        for (g, &(k16, _)) in groups.iter().enumerate() {
            for (plane, loads) in planes.iter().zip(&mut loads) {
                let queue = At::Queue(QueueId::Mxm(*plane, MxmPart::Weights));
                let inst = b.inst(queue, g as i64, repeat(1, 1, 0), Proto::Load { k0: k16 * 16, from }, None);
                for (slot, (stream, _)) in from.iter().enumerate() {
                    b.use_(*stream, Use { inst, slot: slot as u8, byte: 0, bytes: 1, off: g as u32, n: 1, column });
                }
                loads.push(inst);
            }
        }
        Ok((b, e, loads))
    }

    /// A stream of zeros for the rows of a load that carry no weights.
    fn zeros(
        &mut self,
        b: &mut Burst,
        t: TensorId,
        n: u32,
        dir: Dir,
        column: Column,
    ) -> Result<StreamNo, CompileError> {
        let own = slices(&self.memory.homes[t.0 as usize].chunks[0].copies[0]);
        let Some((slice, addr, value)) = self.memory.zero_word(&own) else {
            return Err(CompileError::DoesNotFit {
                what: "a word of zeros for partial weight loads".into(),
                need: 1,
                have: 0,
                reason: "every slice outside the weights' own is full".into(),
                remedy: "a machine description with more SRAM".into(),
            });
        };
        let stream = b.stream(dir, 1, 1);
        let at = self.m.slice_column(slice);
        let drive = -self.hops(dir, at, column);
        let issue = drive - i64::from(self.m.latency.mem_read);
        let touch = Touch { slice, bank: self.memory.bank_of(addr), value, addr, step: 0 };
        let proto = Proto::Read { addr, to: stream, byte: 0 };
        let queue = At::Queue(QueueId::Mem(slice, Thread::Read));
        let inst = b.inst(queue, issue, repeat(n, 1, 0), proto, Some(touch));
        b.def(stream, Def { inst, byte: 0, bytes: 1, out: 0, off: 0, n, t: drive, column: at });
        Ok(stream)
    }
}
