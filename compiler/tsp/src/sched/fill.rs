//! Fill words by instruction.
//!
//! The image holds the fill words of tensors that lie where nothing lay before. Where a tensor takes words that were used, its fill words
//! are written as soon as they are free: a word of the byte is copied across the chip.

use super::Scheduler;
use super::burst::{At, Burst, Def, Proto, Touch, Use};
use super::waits::Cause;
use crate::error::CompileError;
use crate::tiled::TensorId;
use quadrille_isa::tsp::{Hemisphere, QueueId, Repeat, Thread, ValueIx};
use std::sync::Arc;

impl Scheduler<'_> {
    /// Writes the fill words of a tensor that has just found its place, for kernel `number`.
    pub(super) fn write_fills(&mut self, number: usize, t: TensorId) -> Result<(), CompileError> {
        let home = self.memory.homes[t.0 as usize].clone();
        let (Some(fill), Some(value)) = (self.g.tensor(t).fill, home.fill) else { return Ok(()) };
        let mut ready = 0;
        for chunk in home.chunks.iter().filter(|c| c.used_before()) {
            for (byte, region) in chunk.copies.iter().flat_map(|c| c.iter().enumerate()) {
                let slice = region.slice;
                let side = if slice.hemisphere == Hemisphere::East { Hemisphere::West } else { Hemisphere::East };
                let Some(word) = self.memory.byte_word((fill >> (8 * byte)) as u8, side) else {
                    return Err(self.no_byte_word(t));
                };
                let addr = region.base + home.chunk_rows as u16;
                // From the other side of the chip every slice of this one is downstream.
                let dir = side.inward();
                let (from, to) = (self.m.slice_column(word.at.slice), self.m.slice_column(slice));
                let mut b = Burst::new(self.g.tensor(t).node.0);
                let stream = b.stream(dir, 1, 1);
                let queue = |slice, thread| At::Queue(QueueId::Mem(slice, thread));
                let touch = |slice, addr, value| {
                    let bank = self.memory.bank_of(addr);
                    Some(Touch { slice, bank, value, addr, step: 0 })
                };
                let read = Proto::Read { addr: word.at.base, to: stream, byte: 0 };
                let source = touch(word.at.slice, word.at.base, word.value);
                let inst = b.inst(queue(word.at.slice, Thread::Read), 0, Repeat::default(), read, source);
                let drive = i64::from(self.m.latency.mem_read);
                b.def(stream, Def { inst, byte: 0, bytes: 1, out: 0, off: 0, n: 1, t: drive, column: from });
                let issue = drive + self.hops(dir, from, to) - i64::from(self.m.latency.mem_write_sample);
                let write = Proto::Write { addr, from: stream, byte: 0 };
                let target = touch(slice, addr, ValueIx(value));
                let inst = b.inst(queue(slice, Thread::Write), issue, Repeat::default(), write, target);
                b.use_(stream, Use { inst, slot: 0, byte: 0, bytes: 1, off: 0, n: 1, column: to });
                b.after(Cause::Space, i64::from(chunk.free_at) - issue);
                let landing = self.land(&self.g.kernels[number], b)?;
                ready = ready.max((i64::from(landing.start) + issue) as u32 + self.m.latency.mem_write_readable);
            }
        }
        Arc::make_mut(&mut self.memory.homes[t.0 as usize]).fill_ready = ready;
        Ok(())
    }

    fn no_byte_word(&self, t: TensorId) -> CompileError {
        CompileError::DoesNotFit {
            what: format!("a fill word of tensor `{}`", self.g.tensor(t).name),
            need: 1,
            have: 0,
            reason: "no word is kept from which it could be copied".into(),
            remedy: "this is a bug of the compiler".into(),
        }
    }
}
