//! Sites that are copied, told apart and forgotten, with the core, and with what is to happen to them: for `lockstep`, where
//! one site stands for many.

use super::{Bulk, Control, Core, Engine, Event, Relay, Rest, Sink, WHEEL};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Whom an event happens to, and how it looks to it.
fn of_site(event: Event, first_node: u32) -> u64 {
    match event {
        Event::Core(_) => 0,
        Event::Node(node) => 1 << 8 | u64::from(node - first_node),
        Event::Input(_, queue) => 2 << 8 | u64::from(queue),
        Event::Output(_, queue) => 3 << 8 | u64::from(queue),
    }
}

impl Engine<'_> {
    /// From now on a site stands for so many PEs.
    pub(in super::super) fn set_weight(&mut self, site: u32, weight: u64) {
        self.network.set_weight(site, weight);
        self.weights.resize(self.cores.len(), 0);
        if let Some(known) = self.weights.get_mut(self.core_of[site as usize] as usize) {
            *known = weight;
        }
    }

    /// True when something may happen in the next cycle.
    pub(super) fn is_busy(&self) -> bool {
        self.network.busy() || !self.next_active.is_empty()
    }

    /// True when a site holds no wavelets, and its core has no operation in flight.
    pub(in super::super) fn is_done(&self, site: u32) -> bool {
        let core = self.cores.get(self.core_of[site as usize] as usize);
        self.network.is_empty_at(site) && core.is_none_or(|c| c.flights.is_empty())
    }

    /// Site of a core.
    pub(in super::super) fn site_of(&self, core: u32) -> u32 {
        self.site_of[core as usize]
    }

    fn is_of(&self, event: Event, site: u32) -> bool {
        match event {
            Event::Core(core) => core == self.core_of[site as usize],
            Event::Node(node) => {
                let (first, end) = self.network.node_range(site);
                (first..end).contains(&node)
            }
            Event::Input(at, _) | Event::Output(at, _) => at == site,
        }
    }

    /// One more site, linked as this one is.
    pub(in super::super) fn add_like(&mut self, site: u32) -> u32 {
        let new = self.network.add_like(site);
        let core = match self.cores.get(self.core_of[site as usize] as usize) {
            Some(core) => {
                let copy = core.copy();
                self.cores.push(copy);
                self.sinks.push(Sink::default());
                self.relays.push(Relay::default());
                self.site_of.push(new);
                self.next_active.grow(self.cores.len());
                self.cores.len() as u32 - 1
            }
            None => super::NONE,
        };
        self.core_of.push(core);
        self.listens.push(0);
        new
    }

    /// Makes a site, linked alike, the same in all that changes, and in what is to happen.
    pub(in super::super) fn copy(&mut self, from: u32, to: u32) {
        self.network.copy(from, to);
        let (a, b) = (self.core_of[from as usize], self.core_of[to as usize]);
        self.listens[to as usize] = self.listens[from as usize];
        if a != super::NONE {
            self.cores[b as usize] = self.cores[a as usize].copy();
            self.sinks[b as usize] = self.sinks[a as usize];
            self.relays[b as usize] = self.relays[a as usize];
            if self.next_active.contains(a) {
                self.next_active.insert(b);
            }
            let later: Vec<u64> = self.later.iter().filter(|l| l.0.1 == a).map(|l| l.0.0).collect();
            self.later.extend(later.into_iter().map(|at| Reverse((at, b))));
        }
        let ((first, _), (new_first, _)) = (self.network.node_range(from), self.network.node_range(to));
        for slot in 0..WHEEL {
            for k in 0..self.wheel[slot].len() {
                let event = self.wheel[slot][k];
                if !self.is_of(event, from) {
                    continue;
                }
                self.wheel_count += 1;
                self.wheel[slot].push(match event {
                    Event::Core(_) => Event::Core(b),
                    Event::Node(node) => Event::Node(node - first + new_first),
                    Event::Input(_, queue) => Event::Input(to, queue),
                    Event::Output(_, queue) => Event::Output(to, queue),
                });
            }
        }
    }

    /// Nothing happens to this site any more.
    pub(in super::super) fn forget(&mut self, site: u32) {
        self.network.forget(site);
        let core = self.core_of[site as usize];
        if core != super::NONE {
            self.next_active.remove(core);
            let later: BinaryHeap<_> = self.later.drain().filter(|l| l.0.1 != core).collect();
            self.later = later;
        }
        for slot in 0..WHEEL {
            let mut events = std::mem::take(&mut self.wheel[slot]);
            let before = events.len();
            events.retain(|&e| !self.is_of(e, site));
            self.wheel_count -= before - events.len();
            self.wheel[slot] = events;
        }
    }

    /// All of each site that decides what happens to it from now on: sites linked alike whose descriptions are equal do the
    /// same as long as they are told the same.
    pub(in super::super) fn describe(&self, sites: &[u32]) -> Vec<Vec<u64>> {
        let mut place = vec![usize::MAX; self.core_of.len()];
        sites.iter().enumerate().for_each(|(k, &site)| place[site as usize] = k);
        let mut node_site = Vec::new();
        for &site in sites {
            let (first, end) = self.network.node_range(site);
            node_site.resize(node_site.len().max(end as usize), u32::MAX);
            node_site[first as usize..end as usize].fill(site);
        }
        let mut all: Vec<Vec<u64>> = sites
            .iter()
            .map(|&site| {
                let mut out = Vec::new();
                self.network.describe(site, &mut out);
                let core = self.core_of[site as usize];
                if let Some(c) = self.cores.get(core as usize) {
                    c.describe(self.cycle, &mut out);
                    self.relays[core as usize].describe(&mut out);
                    let sink = &self.sinks[core as usize];
                    out.push(u64::from(sink.left) << 32 | u64::from(sink.elements));
                    out.push(u64::from(sink.per_word) << 1 | u64::from(self.next_active.contains(core)));
                }
                out
            })
            .collect();
        let mut later: Vec<(u64, u32)> = self.later.iter().map(|l| l.0).collect();
        later.sort_unstable();
        for (at, core) in later {
            if let Some(out) = all.get_mut(place[self.site_of[core as usize] as usize]) {
                out.push((at - self.cycle) << 1 | 1);
            }
        }
        let mut seen = Vec::new();
        for ahead in 1..=WHEEL as u64 {
            seen.clear();
            for &event in &self.wheel[((self.cycle + ahead) % WHEEL as u64) as usize] {
                let site = match event {
                    Event::Core(core) => self.site_of[core as usize],
                    Event::Node(node) => node_site.get(node as usize).copied().unwrap_or(u32::MAX),
                    Event::Input(site, _) | Event::Output(site, _) => site,
                };
                let Some(&k) = place.get(site as usize).filter(|&&k| k != usize::MAX) else { continue };
                seen.push((k, of_site(event, self.network.node_range(site).0)));
            }
            // Their order within a cycle is of no matter.
            seen.sort_unstable();
            seen.iter().for_each(|&(k, what)| all[k].push(ahead << 32 | what << 1));
        }
        all
    }
}

impl Core {
    /// The same core; what it did is of no interest.
    fn copy(&self) -> Core {
        let rest = Box::new(Rest { spans: Vec::new(), ..(*self.rest).clone() });
        Core { flights: self.flights.clone(), rest, ..*self }
    }

    fn describe(&self, now: u64, out: &mut Vec<u64>) {
        out.extend([self.active, self.blocked, self.busy_until.saturating_sub(now)]);
        out.push(u64::from(self.task) << 56 | u64::from(self.op) << 32 | u64::from(self.repeats_left));
        out.push(u64::from(self.queues_in_use) << 8 | u64::from(self.next_slot));
        out.extend(self.rest.offsets.iter().map(|&o| o as u64));
        match &self.control {
            Control::Idle => out.push(0),
            Control::Switching => out.push(1),
            Control::Next => out.push(2),
            Control::Waiting => out.push(3),
            Control::Launching => {
                if let Some((ex, shape)) = &self.rest.launching {
                    out.push(4 | u64::from(*shape) << 8);
                    ex.describe(out);
                }
            }
        }
        if let Some(Bulk { slot, since, elements }) = self.bulk {
            out.extend([1 + u64::from(slot), since.wrapping_sub(now), elements]);
        }
        out.push(self.flights.len() as u64);
        self.flights.iter().for_each(|f| f.describe(out));
    }
}
