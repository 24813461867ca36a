//! Words that a core passes on, or takes from two queues at once, one step for each: done where the word comes off the ramp,
//! without waking the core.
//!
//! While an operation is alone, waits for words, and takes one from each of its queues a step, all that decides a step
//! is whether there is one in each, and space for what it gives. One of its queues is empty, and the ramp brings one word a
//! cycle, so there is never a choice of taking more. Only where values are apart.

use super::super::super::lower::Access;
use super::super::shape::Shape;
use super::super::vector::{Flight, SYNC};
use super::{Control, Engine};

/// In `Engine::listens`: words are relayed.
pub(super) const RELAYS: u16 = 1 << 15;

/// An operation whose words are relayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Relay {
    /// Words of each queue still to come; none where nothing is relayed.
    pub(super) left: u32,
    /// Words relayed that the operation does not know of yet.
    pub(super) done: u32,
    /// A bit each.
    from: u8,
    /// Output queue, or one that there is not.
    to: u8,
}

/// No output queue.
const NOWHERE: u8 = u8::MAX;

impl Relay {
    /// For an operation that takes a word from each of its queues a step, gives a word or none, and starts nothing.
    fn of(flight: &Flight, op: &Shape) -> Option<Relay> {
        let (mut per_word, mut from) = (None, 0u8);
        for operand in &op.operands[..3] {
            match operand.access {
                Access::Fabric(q) => {
                    let per = operand.ty.per_wavelet();
                    if from >> q & 1 == 1 || per_word.is_some_and(|p| p != per) {
                        return None;
                    }
                    (per_word, from) = (Some(per), from | 1 << q);
                }
                Access::FabricRow(_) => return None,
                _ => {}
            }
        }
        let per = per_word?;
        let to = &op.operands[3];
        let to = match to.access {
            Access::Fabric(_) if to.ty.per_wavelet() != per => return None,
            Access::Fabric(q) => q,
            _ => NOWHERE,
        };
        let whole = op.rate >= per && flight.done.is_multiple_of(u64::from(per));
        let left = u32::try_from((flight.n - flight.done).div_ceil(u64::from(per))).ok()?;
        (whole && op.on_done.is_empty()).then_some(Relay { left, done: 0, from, to })
    }

    pub(super) fn describe(&self, out: &mut Vec<u64>) {
        out.push(u64::from(self.left) << 32 | u64::from(self.done));
        out.push(u64::from(self.from) << 8 | u64::from(self.to));
    }
}

impl Engine<'_> {
    /// From now on the words of the only operation in flight are relayed, if they can be.
    pub(super) fn relay(&mut self, i: usize) {
        let core = &self.cores[i];
        let flight = &core.flights[0];
        if flight.slot == SYNC && core.control == Control::Waiting && self.records.is_some() {
            let op = &self.plan.shapes[flight.shape as usize];
            let queues = &self.network.queues[self.site_of[i] as usize];
            let lacks = |r: &Relay| (0..8).any(|q| r.from >> q & 1 == 1 && queues.input[q].ready == 0);
            self.relays[i] = Relay::of(flight, op).filter(lacks).unwrap_or_default();
        }
    }

    /// What a core that relays listens to.
    #[inline]
    pub(super) fn relay_listens(&self, i: usize) -> Option<u16> {
        let relay = &self.relays[i];
        (relay.left > 0).then_some(RELAYS | u16::from(relay.from))
    }

    /// A word is there for a core that relays.
    pub(super) fn relay_word(&mut self, site: u32) {
        let i = self.core_of[site as usize] as usize;
        let relay = &mut self.relays[i];
        let queues = &self.network.queues[site as usize];
        let mut from = relay.from;
        while from != 0 {
            if queues.input[from.trailing_zeros() as usize].ready == 0 {
                return;
            }
            from &= from - 1;
        }
        if queues.output.get(usize::from(relay.to)).is_some_and(|q| !q.has_space()) {
            // The core waits for space itself.
            return self.wake(i as u32);
        }
        let (mut from, to) = (relay.from, relay.to);
        relay.left -= 1;
        relay.done += 1;
        let last = relay.left == 0;
        while from != 0 {
            let queue = from.trailing_zeros() as u8;
            from &= from - 1;
            self.network.pop_input(site, queue);
            self.popped.push((site, queue));
        }
        if to != NOWHERE {
            self.network.push_output(site, to, 0);
            self.pushed.push((site, to));
        }
        self.core_cycles += self.weight(i);
        self.last_event = self.last_event.max(self.cycle);
        if last {
            self.relays[i] = Relay::default();
            self.end_alone(i as u32, self.cycle);
        }
    }

    /// Tells the operation in flight what was relayed; from now on its core does it.
    pub(super) fn close_relay(&mut self, i: usize) {
        // Mostly nothing is relayed, and nothing is written.
        if self.relays[i].left == 0 {
            return;
        }
        let done = std::mem::take(&mut self.relays[i]).done;
        if let Some(flight) = self.cores[i].flights.first_mut() {
            let op = &self.plan.shapes[flight.shape as usize];
            flight.skip(u64::from(done) * u64::from(flight.per_word(op)));
        }
    }

    /// The only operation in flight, which starts nothing, does its last step in cycle `at`.
    pub(super) fn end_alone(&mut self, core: u32, at: u64) {
        let c = &mut self.cores[core as usize];
        c.flights.clear();
        c.queues_in_use = 0;
        c.next_slot = 0;
        c.busy_until = at + 1;
        self.listen(core);
        self.wake_at(core, at + 1);
    }
}
