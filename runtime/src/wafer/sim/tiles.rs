//! Bands of the mesh taken through several cycles at a time, so that what they need stays in the cache, and on several
//! threads.
//!
//! What leaves a band in one cycle is seen by the bands beside it in the next, and by nobody else. So of some bands side by
//! side all can do a cycle, then all but the first and the last the cycle after it, and so on, and none has to hear of the
//! rest of the mesh; what that leaves out between two such tiles is done afterwards, one band more on either side in each
//! cycle. Tiles of one kind have no band in common: threads share them. Every band does every cycle on what it would have
//! seen in any other order, so nothing depends on tiles but time. Knows nothing of what the messages mean.

use super::SimError;
use super::engine::Engine;
use super::network::Message;
use super::values::Record;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Cycles between looks at what went wrong where there is one band.
const ALONE: u64 = 4096;

/// Cycles of a round where there are several, at most; a tile has twice as many bands.
const HEIGHT: usize = 4;

/// Operations that values follow together.
const RECORDS: usize = 256;

/// Parts of a cycle, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    Cores,
    Network,
}

/// How a run ended.
pub(super) enum End {
    /// Nothing moves any more.
    Quiet,
    /// Values depend on when steps happen: the run begins again with both together.
    ValuesMeet,
    /// Something went wrong: the first of it, in the order of cycles, then of their parts, then of the mesh.
    Wrong(SimError),
}

/// Messages from one band to one beside it, of the cycle done last.
#[derive(Default)]
struct Letterbox {
    full: AtomicBool,
    messages: Mutex<Vec<Message>>,
}

impl Letterbox {
    fn put(&self, messages: &mut Vec<Message>) {
        if !messages.is_empty() {
            self.messages.lock().unwrap_or_else(PoisonError::into_inner).append(messages);
            self.full.store(true, Ordering::Release);
        }
    }

    fn take(&self, to: &mut Vec<Message>) {
        if self.full.load(Ordering::Acquire) {
            self.full.store(false, Ordering::Relaxed);
            to.append(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// One band, and what it has been sent.
struct Band<'e, 'a> {
    ix: usize,
    engine: &'e mut Engine<'a>,
    messages: Vec<Message>,
    wrong: Option<(u64, Part, SimError)>,
}

/// Letterboxes of each band, by side and by even and odd cycle: a band can be a cycle ahead of those beside it.
type Letterboxes = [[[Letterbox; 2]; 2]];

impl Band<'_, '_> {
    /// Does the cycles in which something happens in the only band; the first after them.
    fn through(
        &mut self,
        cycles: Range<u64>,
        mail: &Letterboxes,
        follow: &(impl Fn(&mut Vec<Record>) + Sync),
    ) -> Option<u64> {
        let mut at = cycles.start;
        while at < cycles.end && self.wrong.is_none() && !self.engine.overlap {
            self.cycle(at, mail);
            self.launched(RECORDS, follow);
            at = self.engine.next()?;
        }
        Some(at)
    }

    /// Gives away what was launched, when it is so much.
    fn launched(&mut self, least: usize, follow: &(impl Fn(&mut Vec<Record>) + Sync)) {
        if let Some(records) = self.engine.records.as_mut().filter(|r| r.len() >= least) {
            follow(records);
        }
    }

    /// Does a cycle, unless something went wrong before it.
    fn cycle(&mut self, cycle: u64, mail: &Letterboxes) {
        if self.wrong.is_some() {
            return;
        }
        let parity = (cycle % 2) as usize;
        mail[self.ix].iter().for_each(|from| from[parity].take(&mut self.messages));
        if let Err((part, error)) = self.engine.go_to(cycle, &mut self.messages) {
            self.wrong = Some((cycle, part, error));
        }
        let [before, after] = &mut self.engine.network.outbox;
        // To the band before this one, which gets it from the side after it, and the other way round.
        if let Some(ix) = self.ix.checked_sub(1) {
            mail[ix][1][1 - parity].put(before);
        }
        if let Some(boxes) = mail.get(self.ix + 1) {
            boxes[0][1 - parity].put(after);
        }
    }
}

/// Runs bands that lie one behind the other to the end, on so many threads. `follow` is given what was launched, when
/// values are apart.
pub(super) fn run(
    engines: &mut [Engine<'_>],
    limit: u64,
    threads: usize,
    follow: &(impl Fn(&mut Vec<Record>) + Sync),
) -> End {
    // One band needs no threads; several share as many as were asked for, else those that there are.
    let pool = (engines.len() > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
    match pool {
        Some(Ok(pool)) => pool.install(|| rounds(engines, limit, threads, follow)),
        _ => rounds(engines, limit, threads, follow),
    }
}

fn rounds(engines: &mut [Engine<'_>], limit: u64, threads: usize, follow: &(impl Fn(&mut Vec<Record>) + Sync)) -> End {
    // Tiles enough that no thread waits long for another.
    let height = (engines.len() / (4 * threads)).clamp(1, HEIGHT);
    let mail: Vec<[[Letterbox; 2]; 2]> = engines.iter().map(|_| Default::default()).collect();
    let band = |(ix, engine)| Band { ix, engine, messages: Vec::new(), wrong: None };
    let mut bands: Vec<Band<'_, '_>> = engines.iter_mut().enumerate().map(band).collect();
    let mut from = 0;
    loop {
        if from >= limit {
            return End::Wrong(SimError::Runaway { limit });
        }
        let next = match &mut bands[..] {
            [alone] => alone.through(from..limit.min(from + ALONE), &mail, follow),
            all => round(all, from..limit.min(from + height as u64), height, &mail, follow),
        };
        if bands.iter().any(|b| b.engine.overlap) {
            return End::ValuesMeet;
        }
        let wrong = bands.iter_mut().filter_map(|b| b.wrong.take().map(|w| (w, b.ix)));
        if let Some((wrong, _)) = wrong.min_by_key(|((cycle, part, _), ix)| (*cycle, *part, *ix)) {
            return End::Wrong(wrong.2);
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    for band in &mut bands {
        band.engine.close();
        band.launched(1, follow);
    }
    End::Quiet
}

/// Some cycles of all bands; the cycle in which something may happen next.
fn round(
    bands: &mut [Band<'_, '_>],
    cycles: Range<u64>,
    height: usize,
    mail: &Letterboxes,
    follow: &(impl Fn(&mut Vec<Record>) + Sync),
) -> Option<u64> {
    let count = bands.len();
    bands.par_chunks_mut(2 * height).for_each(|tile| {
        let (first, end) = (tile[0].ix, tile[0].ix + tile.len());
        for (t, cycle) in cycles.clone().enumerate() {
            // Nothing comes over the edges of the mesh.
            let from = if first == 0 { 0 } else { t };
            let to = if end == count { tile.len() } else { tile.len() - t };
            tile.iter_mut().take(to).skip(from).for_each(|b| b.cycle(cycle, mail));
        }
        tile.iter_mut().for_each(|b| b.launched(RECORDS, follow));
    });
    let between = bands.get_mut(height..).unwrap_or_default();
    between.par_chunks_mut(2 * height).filter(|tile| tile.len() > height).for_each(|tile| {
        for (t, cycle) in cycles.clone().enumerate().skip(1) {
            tile.iter_mut().take(height + t).skip(height - t).for_each(|b| b.cycle(cycle, mail));
        }
        tile.iter_mut().for_each(|b| b.launched(RECORDS, follow));
    });
    let sent = mail.iter().flatten().flatten().any(|b| b.full.load(Ordering::Acquire));
    match sent || bands.iter().any(|b| b.engine.happens_soon()) {
        true => Some(cycles.end),
        false => bands.iter().filter_map(|b| b.engine.next()).min().map(|next| next.max(cycles.end)),
    }
}
