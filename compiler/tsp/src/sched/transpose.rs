//! 16 x 16 byte transposes on the SXM, superlane by superlane.

use super::Scheduler;
use super::burst::{At, Burst, Def, Proto, Use};
use super::rows::{Effects, repeat};
use crate::error::CompileError;
use crate::tiled::{Kernel, TensorId};
use quadrille_isa::tsp::{QueueId, SxmUnit};

impl Scheduler<'_> {
    pub(super) fn transpose(
        &mut self,
        k: &Kernel,
        from: TensorId,
        out: TensorId,
        to: &[u32],
    ) -> Result<(), CompileError> {
        let groups = to.len() as u32;
        let h = self.hemisphere(from);
        let column = self.m.sxm_column(h);
        for byte in 0..self.g.tensor(out).ty.bytes() {
            let mut b = Burst::new(k.node.0);
            let mut e = Effects::default();
            let input = b.stream(h.outward(), 16, 1);
            let output = b.stream(h.inward(), 16, 1);
            let unit = SxmUnit::Transposer(byte % self.m.geometry.sxm_transposers_per_hemisphere.max(1) as u8);
            let proto = Proto::Transpose { from: input, to: output };
            let queue = At::Queue(QueueId::Sxm(h, unit, h.outward()));
            let inst = b.inst(queue, 0, repeat(groups, 1, 0), proto, None);
            b.use_(input, Use { inst, slot: 0, byte: 0, bytes: 16, off: 0, n: groups, column });
            let l = &self.m.latency;
            let t = i64::from(l.sxm_entry + l.sxm_transpose);
            b.def(output, Def { inst, byte: 0, bytes: 16, out: 0, off: 0, n: groups, t, column });
            for i in 0..16u8 {
                let rows: Vec<u32> = (0..groups).map(|a| 16 * a + u32::from(i)).collect();
                self.read_byte(&mut b, &mut e, input, i, (from, 0, byte), &rows, column, 0);
                let rows: Vec<u32> = to.iter().map(|a| 16 * a + u32::from(i)).collect();
                self.write_byte(&mut b, &mut e, output, i, (out, byte), &rows, column, t, None);
            }
            self.place(k, b, e)?;
        }
        Ok(())
    }
}
