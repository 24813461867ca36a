//! Lane moves: bytes pass an int8 plane whose weights are a map of zeros and ones.
//!
//! Byte `b` of the elements goes through plane `b`; the sum of one product is the byte itself, which
//! is written from the lowest stream of the emitted four.

use super::Scheduler;
use super::burst::{Burst, PlacedNo, StateDef};
use super::pass::BytePass;
use super::rows::Effects;
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{Kernel, MovePass, Rows};
use quadrille_isa::tsp::{ActType, SLOT_STATE};

impl Scheduler<'_> {
    pub(super) fn moves(&mut self, k: &Kernel, passes: &[MovePass], out: &Rows) -> Result<(), CompileError> {
        let block = self.m.geometry.accumulator_rows_per_plane as usize;
        let width = self.g.tensor(out.tensor).ty.bytes();
        let n = k.n as usize;
        let mut first = 0;
        while first < n {
            let rows = first..n.min(first + block);
            for byte in 0..width {
                self.move_byte(k, passes, out, rows.clone(), byte)?;
            }
            first = rows.end;
        }
        Ok(())
    }

    fn move_byte(
        &mut self,
        k: &Kernel,
        passes: &[MovePass],
        out: &Rows,
        rows: std::ops::Range<usize>,
        byte: u8,
    ) -> Result<(), CompileError> {
        // Bytes of wide elements on all planes; bytes of narrow ones on the planes that are free first.
        let planes = self.m.planes();
        let plane =
            (0..planes).min_by_key(|&p| (self.planes[usize::from(p)].act_free, (p + byte) % planes)).unwrap_or(0);
        let h = self.m.plane_hemisphere(plane);
        let column = self.m.mxm_column(h);
        let n = rows.len() as u32;
        let mut left: Option<PlacedNo> = None;
        for (number, p) in passes.iter().enumerate() {
            let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
            let free = self.planes[usize::from(plane)].act_free;
            let install = self.install(k, plane, 0, &tile, free)?;
            let mut b = Burst::new(k.node.0);
            let mut e = Effects::default();
            let state = self.planes[usize::from(plane)];
            b.after(Cause::Plane, i64::from(state.act_free));
            b.after(Cause::Load, i64::from(state.last_install.unwrap_or(0)));
            let (t, list) = (p.from.tensor, &p.from.rows[rows.clone()]);
            let acts = if self.g.stored(t) == t {
                let acts = b.stream(h.outward(), 1, 1);
                self.read_byte(&mut b, &mut e, acts, 0, (t, 0, byte), list, column, 0);
                acts
            } else {
                self.gather_bytes(&mut b, &mut e, (t, 0), byte..byte + 1, list, h.outward(), 1, column, 0)
            };
            let emit = (number + 1 == passes.len()).then(|| b.stream(h.inward(), 4, 1));
            let (ty, adds) = (ActType::U8, left.is_some());
            let pass = BytePass { plane, column, acts, ty, n, at: 0, install, row: 0, adds, emit };
            let acc = self.byte_pass(&mut b, &pass);
            if let Some(left) = left {
                b.uses_state(acc, SLOT_STATE, StateDef::Earlier(left), 1, n);
            }
            if let Some(s) = emit {
                let t = self.to_stream();
                self.write_byte(&mut b, &mut e, s, 0, (out.tensor, byte), &out.rows[rows.clone()], column, t, None);
            }
            let landing = self.place(k, b, e)?;
            left = Some(landing.inst(acc));
            self.takes_rows(k, plane, &landing, 0, n);
        }
        Ok(())
    }
}
