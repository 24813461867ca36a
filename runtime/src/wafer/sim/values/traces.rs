//! Values of PEs that follow a trace that they share with others: see `lockstep`.
//!
//! A part of the mesh has a thread of its own; what its streams bring to other parts is posted, and read there when all
//! threads have done what they can.

use super::super::lockstep::trace::{Step, Trace, Work};
use super::super::products::Factors;
use super::{Pending, Record, Values};
use std::ops::Range;
use std::sync::Arc;

/// How far a step is that was begun.
#[derive(Clone, Debug, Default)]
struct Begun {
    bytes: u32,
    any: Option<Box<Pending>>,
}

/// Where a PE is in its trace.
#[derive(Clone, Debug, Default)]
struct Position {
    trace: Option<Arc<Trace>>,
    at: usize,
    begun: Begun,
    /// Steps before that wait for words, while others that need not wait for them go on.
    skipped: Vec<(Step, Begun)>,
}

impl Position {
    fn steps(&self) -> &[Step] {
        self.trace.as_deref().map_or(&[], |t| &t[self.at.min(t.len())..])
    }

    fn is_done(&self) -> bool {
        self.skipped.is_empty() && self.steps().is_empty()
    }
}

/// All PEs of a part with their traces.
#[derive(Debug, Default)]
pub(super) struct Traces {
    of_core: Vec<Position>,
    factors: Factors,
}

impl Values<'_> {
    /// Gives every PE of this part what it did next: `trace_of` knows the trace of each site.
    pub(in super::super) fn give(&mut self, sites: Range<usize>, trace_of: impl Fn(usize) -> Option<Arc<Trace>>) {
        self.traces.of_core.resize_with(self.cores.len(), Position::default);
        for site in sites {
            let Some(p) = self.traces.of_core.get_mut(self.core_at[site] as usize) else { continue };
            // What is left of the trace before waits for words.
            let left: Vec<Step> = p.steps().to_vec();
            for step in left {
                p.skipped.push((step, std::mem::take(&mut p.begun)));
            }
            (p.trace, p.at) = (trace_of(site), 0);
        }
    }

    /// Goes on from PE to PE with what was given.
    pub(in super::super) fn follow_all(&mut self) {
        for core in 0..self.cores.len() {
            self.follow_trace(core);
            self.follow_list();
        }
    }

    /// Goes on with what came from other parts.
    pub(in super::super) fn receive(&mut self, post: &mut Vec<(u32, Vec<u8>)>) {
        for (source, bytes) in post.drain(..) {
            let Ok(at) = self.sources.binary_search_by_key(&source, |s| s.0) else { continue };
            let stream = self.sources[at].1;
            let s = &mut self.streams[stream as usize];
            s.end += bytes.len() as u64 / 4;
            s.bytes.extend(bytes);
            self.deliver(stream);
        }
        self.follow_list();
    }

    /// What there is for another part, by source of streams.
    pub(in super::super) fn take_post(&mut self, part: usize) -> Vec<(u32, Vec<u8>)> {
        self.outbox.get_mut(part).map(std::mem::take).unwrap_or_default()
    }

    /// True when every PE has done what it was given.
    pub(in super::super) fn are_done(&self) -> bool {
        self.traces.of_core.iter().all(Position::is_done)
    }

    fn follow_list(&mut self) {
        while let Some(core) = self.list.pop() {
            self.cores[core as usize].listed = false;
            self.follow_trace(core as usize);
        }
    }

    /// Goes on with steps behind those that wait, where that is the only way; true when anything was done.
    pub(in super::super) fn follow_stuck(&mut self) -> bool {
        let mut moved = false;
        for core in 0..self.cores.len() {
            if !self.traces.of_core[core].steps().is_empty() {
                moved |= self.skip(core);
                self.follow_list();
            }
        }
        moved
    }

    /// Does a PE's steps as far as there are words, in order but for those skipped before.
    fn follow_trace(&mut self, core: usize) {
        let mut p = std::mem::take(&mut self.traces.of_core[core]);
        if !p.skipped.is_empty() {
            self.retry(core, &mut p);
        }
        let trace = p.trace.take();
        while let Some(step) = trace.as_deref().and_then(|t| t.get(p.at)) {
            if p.skipped.iter().any(|s| s.0.meets(step)) || !self.step(core, step, &mut p.begun) {
                break;
            }
            p.at += 1;
            p.begun = Begun::default();
        }
        p.trace = trace;
        self.cores[core].waits = !p.is_done();
        self.traces.of_core[core] = p;
    }

    fn retry(&mut self, core: usize, p: &mut Position) {
        let mut k = 0;
        while k < p.skipped.len() {
            let (before, rest) = p.skipped.split_at_mut(k);
            let (step, begun) = &mut rest[0];
            if !before.iter().any(|s| s.0.meets(step)) && self.step(core, step, begun) {
                p.skipped.remove(k);
            } else {
                k += 1;
            }
        }
    }

    /// Sets aside what waits, and does what need not; true when anything was done.
    fn skip(&mut self, core: usize) -> bool {
        let mut p = std::mem::take(&mut self.traces.of_core[core]);
        let mut moved = false;
        let trace = p.trace.take();
        while let Some(step) = trace.as_deref().and_then(|t| t.get(p.at)) {
            let mut begun = std::mem::take(&mut p.begun);
            let free = !p.skipped.iter().any(|s| s.0.meets(step));
            if free && self.step(core, step, &mut begun) {
                moved = true;
            } else {
                p.skipped.push((step.clone(), begun));
            }
            p.at += 1;
        }
        p.trace = trace;
        self.cores[core].waits = !p.is_done();
        self.traces.of_core[core] = p;
        moved
    }

    /// Does what can be done of a step; true when that is all.
    #[inline]
    fn step(&mut self, core: usize, step: &Step, begun: &mut Begun) -> bool {
        let c = &self.cores[core];
        let memory = c.start..c.start + c.len as usize;
        match &step.work {
            Work::Send { queue, at, len } => {
                let stream = c.streams[usize::from(*queue)];
                let s = &mut self.streams[stream as usize];
                let from = memory.start + *at as usize;
                s.bytes.extend_from_slice(&self.memory[from..from + *len as usize]);
                s.end += u64::from(len / 4);
                self.deliver(stream);
                true
            }
            Work::Take { queue, at, len } => {
                let reader = &mut self.readers[c.readers[usize::from(*queue)] as usize];
                let s = &mut self.streams[reader.stream as usize];
                let words = (s.end - reader.at).min(u64::from((len - begun.bytes) / 4));
                let (from, bytes) = ((reader.at - s.base) as usize * 4, words as usize * 4);
                let to = memory.start + (at + begun.bytes) as usize;
                self.memory[to..to + bytes].copy_from_slice(&s.bytes[from..from + bytes]);
                reader.at += words;
                begun.bytes += bytes as u32;
                if s.count == 1 && reader.at == s.end && s.bytes.len() as u64 == 4 * (s.end - s.base) {
                    s.bytes.clear();
                    s.base = s.end;
                }
                begun.bytes == *len
            }
            Work::Products(products) => {
                products.run(&mut self.memory[memory], &mut self.traces.factors);
                true
            }
            Work::Any(launch) => {
                let record = Record { core: core as u32, shape: launch.shape, slot: 0, beside: 0, ex: launch.ex };
                let mut pending = begun.any.take().unwrap_or_else(|| Box::new(Pending::new(&record, 0, [0; 9])));
                let done = self.advance(core, &mut pending);
                if !done {
                    begun.any = Some(pending);
                }
                done
            }
        }
    }
}
