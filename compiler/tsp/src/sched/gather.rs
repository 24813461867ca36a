//! Rows by index: the index of each row flows as a map to the table's slices.

use super::Scheduler;
use super::burst::{At, Burst, Def, Proto, Touch, Use};
use super::rows::{Effects, repeat};
use crate::error::CompileError;
use crate::tiled::{Kernel, Rows, TensorId};
use quadrille_isa::tsp::{QueueId, Thread, ValueIx};

/// Rows of a burst at most.
const BURST_ROWS: usize = 256;

impl Scheduler<'_> {
    pub(super) fn gather(&mut self, k: &Kernel, ids: &Rows, table: TensorId, out: &Rows) -> Result<(), CompileError> {
        let n = k.n as usize;
        let mut first = 0;
        while first < n {
            let rows = first..n.min(first + BURST_ROWS);
            first = rows.end;
            let count = rows.len() as u32;
            let mut b = Burst::new(k.node.0);
            let mut e = Effects::default();
            let home = &self.memory.homes[table.0 as usize];
            let side = self.hemisphere(table);
            let (towards, back) = (side.outward(), side.inward());
            let regions = home.chunks[0].copies[0].clone();
            let value = ValueIx(home.value);
            // The map is at the VXM, which lies between ids and table, in cycle 0.
            let vxm = self.m.vxm_column();
            let map = self.read_rows(&mut b, &mut e, ids.tensor, 0, &ids.rows[rows.clone()], towards, 1, vxm, 0);
            let data = b.stream(back, regions.len() as u8, 1);
            for (byte, r) in regions.iter().enumerate() {
                let column = self.m.slice_column(r.slice);
                let issue = self.hops(towards, vxm, column);
                let hi = r.base + self.g.tensor(table).rows as u16;
                let proto = Proto::Gather { map, map_byte: 0, lo: r.base, hi, to: data, byte: byte as u8 };
                let touch = Touch {
                    slice: r.slice,
                    bank: self.memory.bank_of(r.base),
                    value,
                    addr: r.base,
                    step: i32::from(hi) - i32::from(r.base),
                };
                let queue = At::Queue(QueueId::Mem(r.slice, Thread::Read));
                let inst = b.inst(queue, issue, repeat(count, 1, 0), proto, Some(touch));
                b.use_(map, Use { inst, slot: 0, byte: 0, bytes: 1, off: 0, n: count, column });
                let t = issue + i64::from(self.m.latency.mem_gather);
                b.def(data, Def { inst, byte: byte as u8, bytes: 1, out: 0, off: 0, n: count, t, column });
                self.note_read(&mut e, table, issue + i64::from(count));
            }
            self.gathered(&mut b, &mut e, data, regions.len() as u8, out, rows);
            self.place(k, b, e)?;
        }
        Ok(())
    }

    /// Writes what the gathers drive: bytes of slices at different distances pass the VXM's column
    /// in the same cycle when their issue follows the map.
    fn gathered(
        &self,
        b: &mut Burst,
        e: &mut Effects,
        data: super::burst::StreamNo,
        width: u8,
        out: &Rows,
        rows: std::ops::Range<usize>,
    ) {
        let vxm = self.m.vxm_column();
        for byte in 0..width {
            let def = b.streams[data.0].defs[usize::from(byte)];
            let back = b.streams[data.0].dir;
            let at = def.t + self.hops(back, def.column, vxm);
            self.write_byte(b, e, data, byte, (out.tensor, byte), &out.rows[rows.clone()], vxm, at, None);
        }
    }
}
