//! What PEs do, looked at from time to time: they work, or wait for words, for room for words, or for a task.

use super::super::Sample;
use super::{Control, Core, Engine};
use std::collections::BTreeMap;

/// What a PE does.
enum Doing {
    Works,
    WaitsForWords,
    WaitsForRoom,
    Nothing,
}

impl Engine<'_> {
    /// Looks at all PEs.
    #[cold]
    pub(super) fn sample(&mut self, every: u64) {
        self.next_sample = (self.cycle / every + 1) * every;
        let mut found: BTreeMap<u32, Sample> = BTreeMap::new();
        for (i, core) in self.cores.iter().enumerate() {
            let site = self.site_of[i];
            let region = self.plan.fabric.sites[self.plan.first_site + site as usize].region;
            let node = self.plan.program.regions[region as usize].node.0;
            // Bands look in the same cycle, or the first after it in which something happens.
            let cycle = self.cycle / every * every;
            let none = Sample { cycle, node, works: 0, waits_for_words: 0, waits_for_room: 0, idle: 0 };
            let sample = found.entry(node).or_insert(none);
            *match self.doing(core, site) {
                Doing::Works => &mut sample.works,
                Doing::WaitsForWords => &mut sample.waits_for_words,
                Doing::WaitsForRoom => &mut sample.waits_for_room,
                Doing::Nothing => &mut sample.idle,
            } += 1;
        }
        self.samples.extend(found.into_values());
    }

    fn doing(&self, core: &Core, site: u32) -> Doing {
        if core.busy_until > self.cycle || core.bulk.is_some() {
            return Doing::Works;
        }
        if core.flights.is_empty() {
            return if core.control == Control::Idle { Doing::Nothing } else { Doing::Works };
        }
        let mut room = false;
        for flight in &core.flights {
            let op = &self.plan.shapes[flight.shape as usize];
            let there = self.room(site, op);
            if flight.ready(op, there) > 0 {
                return Doing::Works;
            }
            room |= op.operands[3].access.queue().is_some() && there.space == 0;
        }
        if room { Doing::WaitsForRoom } else { Doing::WaitsForWords }
    }
}
