//! Where the threads that simulate bands of the mesh wait for each other: once a cycle, with what crosses from band
//! to band.
//!
//! A band reads what was posted for the cycle while others may post for the next one already, so there are two of
//! everything. Knows nothing of what the messages mean.

use super::SimError;
use super::network::Message;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// No cycle in which anything happens.
pub(super) const NEVER: u64 = u64::MAX;

/// Looks at the others before a thread goes to sleep: some microseconds, as long as a wake takes.
const LOOKS: u32 = 2_000;

pub(super) struct Meeting {
    bands: usize,
    /// Cycle in which each band next does something, for even and odd meetings.
    next: [Vec<AtomicU64>; 2],
    /// What goes from band to band, by receiver, then sender.
    mail: [Vec<Mutex<Vec<Message>>>; 2],
    /// What went wrong first in each band, with the part of the cycle.
    errors: Mutex<Vec<(Part, usize, SimError)>>,
    /// First meeting after which nobody goes on.
    last: AtomicU64,
    values_meet: AtomicBool,
    arrived: AtomicUsize,
    /// Meetings that were held.
    held: AtomicUsize,
    /// Threads that sleep, or are about to.
    asleep: AtomicUsize,
    bed: (Mutex<()>, Condvar),
    /// A thread panicked: nobody waits for it.
    lost: AtomicBool,
}

/// Parts of a cycle, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    Cores,
    Network,
}

/// Lets the others go when this thread panics.
pub(super) struct Guard<'m>(pub(super) &'m Meeting);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lost.store(true, Ordering::Release);
        }
    }
}

impl Meeting {
    pub(super) fn new(bands: usize) -> Meeting {
        let next = || (0..bands).map(|_| AtomicU64::new(NEVER)).collect();
        let mail = || (0..bands * bands).map(|_| Mutex::default()).collect();
        Meeting {
            bands,
            next: [next(), next()],
            mail: [mail(), mail()],
            errors: Mutex::default(),
            last: AtomicU64::new(NEVER),
            values_meet: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            bed: Default::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// Leaves messages for another band, to be read after meeting number `turn`.
    pub(super) fn post(&self, turn: u64, from: usize, to: usize, messages: &mut Vec<Message>) {
        let mut mail =
            self.mail[turn as usize % 2][to * self.bands + from].lock().unwrap_or_else(PoisonError::into_inner);
        mail.append(messages);
    }

    /// Takes the messages of meeting number `turn`, in the order of the bands that sent them.
    pub(super) fn collect(&self, turn: u64, to: usize, messages: &mut Vec<Message>) {
        if self.bands == 1 {
            return;
        }
        for mail in &self.mail[turn as usize % 2][to * self.bands..(to + 1) * self.bands] {
            messages.append(&mut mail.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// This band cannot go on after meeting number `turn`. Others may still be in the one before.
    pub(super) fn fail(&self, turn: u64, part: Part, band: usize, error: SimError) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).push((part, band, error));
        self.last.fetch_min(turn, Ordering::AcqRel);
    }

    /// Values depend on when steps happen: the run begins again with both together.
    pub(super) fn values_meet(&self, turn: u64) {
        self.values_meet.store(true, Ordering::Release);
        self.last.fetch_min(turn, Ordering::AcqRel);
    }

    /// Whether some band said so.
    pub(super) fn did_values_meet(&self) -> bool {
        self.values_meet.load(Ordering::Acquire)
    }

    /// Waits for all bands. The cycle in which something next happens anywhere; `None` when the run is over because
    /// something went wrong.
    pub(super) fn meet(&self, turn: u64, band: usize, next: u64) -> Option<u64> {
        let all = &self.next[turn as usize % 2];
        all[band].store(next, Ordering::Release);
        let held = self.held.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.bands {
            self.arrived.store(0, Ordering::Release);
            self.held.store(held + 1, Ordering::SeqCst);
            if self.asleep.load(Ordering::SeqCst) > 0 {
                let _bed = self.bed.0.lock().unwrap_or_else(PoisonError::into_inner);
                self.bed.1.notify_all();
            }
        } else {
            let over = || self.held.load(Ordering::SeqCst) != held || self.lost.load(Ordering::Acquire);
            if !(0..LOOKS).any(|_| {
                std::hint::spin_loop();
                over()
            }) {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                let mut bed = self.bed.0.lock().unwrap_or_else(PoisonError::into_inner);
                while !over() {
                    let wait = self.bed.1.wait_timeout(bed, Duration::from_millis(50));
                    bed = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
            }
            if self.lost.load(Ordering::Acquire) {
                return None;
            }
        }
        if self.last.load(Ordering::Acquire) <= turn {
            return None;
        }
        Some(all.iter().map(|n| n.load(Ordering::Acquire)).min().unwrap_or(NEVER))
    }

    /// What went wrong: in the order of the cycle, then of the mesh.
    pub(super) fn into_error(self) -> Option<SimError> {
        let errors = self.errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        errors.into_iter().min_by_key(|&(part, band, _)| (part, band)).map(|e| e.2)
    }
}
