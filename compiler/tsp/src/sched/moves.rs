//! Lane moves: bytes pass an int8 plane whose weights are a map of zeros and ones.
//!
//! Byte `b` of the elements goes through plane `b`; the sum of one product is the byte itself, which
//! is written from the lowest stream of the emitted four.

use super::Scheduler;
use super::burst::{At, Burst, Def, PlacedNo, Proto, StateDef};
use super::rows::{Effects, repeat, whole};
use super::waits::Cause;
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{Kernel, MovePass, Rows};
use quadrille_isa::tsp::{AccMode, ActType, MxmPart, QueueId, SLOT_STATE};

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
        let queue = |part| At::Queue(QueueId::Mxm(plane, part));
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
            let acts = b.stream(h.outward(), 1, 1);
            self.read_byte(&mut b, &mut e, acts, 0, (p.from.tensor, 0, byte), &p.from.rows[rows.clone()], column, 0);
            let proto = Proto::Act { from: acts, ty: ActType::U8 };
            let act = b.inst(queue(MxmPart::Activations), 0, repeat(n, 1, 0), proto, None);
            b.use_(acts, whole(act, 0, 1, n, column));
            b.uses_state(act, SLOT_STATE, StateDef::Earlier(install), 0, n);
            let sum = i64::from(self.m.latency.mxm_activation_to_sum);
            let emit = (number + 1 == passes.len()).then(|| b.stream(h.inward(), 4, 1));
            let mode = if left.is_some() { AccMode::Add } else { AccMode::Over };
            let proto = Proto::Acc { row: 0, mode, emit };
            let acc = b.inst(queue(MxmPart::Accumulators), sum, repeat(n, 1, 1), proto, None);
            b.uses_state(acc, 0, StateDef::Here(act), 1, n);
            if let Some(left) = left {
                b.uses_state(acc, SLOT_STATE, StateDef::Earlier(left), 1, n);
            }
            if let Some(s) = emit {
                let t = sum + i64::from(self.m.latency.mxm_sum_to_stream);
                b.def(s, Def { inst: acc, byte: 0, bytes: 4, out: 0, off: 0, n, t, column });
                self.write_byte(&mut b, &mut e, s, 0, (out.tensor, byte), &out.rows[rows.clone()], column, t, None);
            }
            let landing = self.place(k, b, e)?;
            left = Some(landing.inst(acc));
            self.note_idle(k, plane, &landing, 0);
            self.planes[usize::from(plane)].act_free = landing.start + n;
        }
        Ok(())
    }
}
