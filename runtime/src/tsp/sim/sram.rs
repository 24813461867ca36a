//! SRAM words, which of them hold something, and stores on their way.
//!
//! Knows one slice: its bytes, a written-bit per word and superlane, and the stores that have
//! been taken from a stream but have not landed. Knows no streams and no program.

use std::collections::VecDeque;

/// Words of a store, one address a superlane; `None` stores nothing there.
pub(super) enum Target {
    Word(u16),
    /// A word or nothing for each superlane.
    Superlanes(Box<[Option<u16>]>),
}

struct Store {
    lands: u64,
    target: Target,
    data: Box<[u8]>,
}

/// A slice is allocated when something first touches it.
pub(super) struct SliceMemory {
    lanes: usize,
    per: usize,
    superlanes: usize,
    bytes: Vec<u8>,
    written: Vec<u64>,
    pending: VecDeque<Store>,
}

/// Two stores land in one word of one superlane in one cycle.
pub(super) struct Landing {
    pub(super) word: u16,
    pub(super) cycle: u64,
}

impl SliceMemory {
    pub(super) fn new(words: usize, superlanes: usize, per: usize) -> SliceMemory {
        let lanes = superlanes * per;
        SliceMemory {
            lanes,
            per,
            superlanes,
            bytes: vec![0; words * lanes],
            written: vec![0; words],
            pending: VecDeque::new(),
        }
    }

    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.superlanes)
    }

    /// Stores a whole word at once, before the program starts.
    pub(super) fn preload(&mut self, word: u16, data: &[u8]) {
        let at = usize::from(word) * self.lanes;
        self.bytes[at..at + self.lanes].copy_from_slice(data);
        self.written[usize::from(word)] = self.all();
    }

    /// Stores one byte of a word that the host fills before the program starts; bytes of the
    /// word that are not stored are zero.
    pub(super) fn preload_byte(&mut self, word: u16, lane: usize, value: u8) {
        self.bytes[usize::from(word) * self.lanes + lane] = value;
        self.written[usize::from(word)] = self.all();
    }

    /// Takes a store that lands in cycle `lands`.
    pub(super) fn store(&mut self, lands: u64, target: Target, data: Box<[u8]>) -> Result<(), Landing> {
        let mut at = self.pending.len();
        while at > 0 && self.pending[at - 1].lands > lands {
            at -= 1;
        }
        let same = self.pending.iter().take(at).rev().take_while(|s| s.lands == lands);
        for s in same {
            for lane in 0..self.superlanes {
                if let (Some(a), Some(b)) = (target.word(lane), s.target.word(lane))
                    && a == b
                {
                    return Err(Landing { word: a, cycle: lands });
                }
            }
        }
        self.pending.insert(at, Store { lands, target, data });
        Ok(())
    }

    /// Lets everything land that does so up to and including `cycle`.
    pub(super) fn settle(&mut self, cycle: u64) {
        while self.pending.front().is_some_and(|s| s.lands <= cycle) {
            let Some(s) = self.pending.pop_front() else { return };
            match s.target {
                Target::Word(w) => self.preload(w, &s.data),
                Target::Superlanes(words) => {
                    for (lane, word) in words.iter().enumerate() {
                        if let Some(w) = *word {
                            let (from, at) = (lane * self.per, usize::from(w) * self.lanes + lane * self.per);
                            self.bytes[at..at + self.per].copy_from_slice(&s.data[from..from + self.per]);
                            self.written[usize::from(w)] |= 1 << lane;
                        }
                    }
                }
            }
        }
    }

    /// A whole word, `None` when part of it was never written.
    pub(super) fn word(&self, word: u16) -> Option<&[u8]> {
        let at = usize::from(word) * self.lanes;
        (self.written[usize::from(word)] == self.all()).then(|| &self.bytes[at..at + self.lanes])
    }

    /// The bytes of one superlane of a word, `None` when they were never written.
    pub(super) fn part(&self, word: u16, superlane: usize) -> Option<&[u8]> {
        let at = usize::from(word) * self.lanes + superlane * self.per;
        (self.written[usize::from(word)] >> superlane & 1 == 1).then(|| &self.bytes[at..at + self.per])
    }
}

impl Target {
    fn word(&self, superlane: usize) -> Option<u16> {
        match self {
            Target::Word(w) => Some(*w),
            Target::Superlanes(words) => words[superlane],
        }
    }
}
