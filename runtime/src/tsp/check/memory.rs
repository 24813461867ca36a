//! SRAM: ports and banks, what every word holds when it is read, and what the outputs find.
//!
//! Knows each slice's two threads in time order. A word's contents are tracked by superlane,
//! as the value (of the SRAM provenance table) that was last stored there; a store counts from
//! the cycle in which it lands.

use super::preload::{NO_VALUE, Preload, SLICES, slice_number};
use super::provenance::Links;
use super::{Checker, ExecNo, Finding, NO_EXEC, Rule};
use crate::tsp::flat::IssueNo;
use crate::tsp::layout::{each_point, elements};
use quadrille_isa::tsp::{Inst, MAP_NONE, MemProvenance, QueueId, Slice, Thread};

/// Use of a bank by an execution.
#[derive(Clone, Copy)]
struct BankUse {
    cycle: u64,
    bank: u32,
    mask: u64,
    exec: ExecNo,
}

/// Words that an execution reads or stores, in some superlanes.
#[derive(Clone, Copy)]
struct Access {
    /// Cycle from which the store is seen, or in which the read looks.
    cycle: u64,
    word: u16,
    /// Consecutive words: more than one for a dynamic gather, which may read any of them.
    words: u16,
    mask: u64,
    value: u32,
    exec: ExecNo,
}

/// Everything that happens to one slice.
#[derive(Default)]
struct SliceEvents {
    stores: Vec<Access>,
    loads: Vec<Access>,
    banks: [Vec<BankUse>; 2],
}

/// What a word holds in one superlane, and who stored it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    value: u32,
    by: ExecNo,
}

const NOTHING: Held = Held { value: NO_VALUE, by: NO_EXEC };

/// Contents of a slice as time goes by.
struct Contents {
    words: Vec<Held>,
    /// Words whose superlanes differ.
    split: Vec<Option<Box<[Held]>>>,
    superlanes: usize,
}

impl Contents {
    fn store(&mut self, a: &Access, all: u64) {
        let word = usize::from(a.word);
        let held = Held { value: a.value, by: a.exec };
        if a.mask == all {
            self.words[word] = held;
            self.split[word] = None;
            return;
        }
        let was = self.words[word];
        let parts = self.split[word].get_or_insert_with(|| vec![was; self.superlanes].into());
        for (n, p) in parts.iter_mut().enumerate() {
            if a.mask >> n & 1 == 1 {
                *p = held;
            }
        }
    }

    /// What is held instead of `value` in one of the superlanes of `mask`.
    fn other_than(&self, word: usize, mask: u64, value: u32) -> Option<Held> {
        match &self.split[word] {
            None => Some(self.words[word]).filter(|h| h.value != value && mask != 0),
            Some(parts) => {
                let of_mask = parts.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1);
                of_mask.map(|(_, h)| *h).find(|h| h.value != value)
            }
        }
    }
}

/// Every store of a slice by value and word, to find those of one word of one value.
struct ByValue(Vec<(u32, u16, u64, Access)>);

impl ByValue {
    /// A store of this word of this value that is seen only after `cycle`.
    fn later(&self, value: u32, word: u16, cycle: u64) -> Option<Access> {
        let from = self.0.partition_point(|s| (s.0, s.1) < (value, word));
        self.0[from..].iter().take_while(|s| (s.0, s.1) == (value, word)).map(|s| s.3).find(|a| a.cycle > cycle)
    }
}

impl Checker<'_> {
    pub(super) fn memory(&mut self, links: &Links) {
        let preload = self.preload();
        let table = self.mem_table();
        let outputs = self.outputs_by_slice();
        let mut by_slice: Vec<[Option<usize>; 2]> = vec![[None; 2]; SLICES];
        for (number, q) in self.flat.queues.iter().enumerate() {
            if let QueueId::Mem(s, t) = q.id {
                by_slice[slice_number(s)][usize::from(t == Thread::Write)] = Some(number);
            }
        }
        for number in 0..SLICES {
            let queues = by_slice[number];
            if queues == [None; 2] && outputs[number].is_empty() {
                continue;
            }
            let mut events = SliceEvents::default();
            for queue in queues.into_iter().flatten() {
                self.thread(queue, number, &table, links, &preload, &mut events);
            }
            self.bank_conflicts(&events);
            let contents = self.follow(number, events, &preload);
            for &(output, placement) in &outputs[number] {
                self.output(output, placement, &contents);
            }
        }
    }

    /// The SRAM table by issue; issues without a usable entry are reported.
    fn mem_table(&mut self) -> Vec<Option<MemProvenance>> {
        let mut table: Vec<Option<MemProvenance>> = vec![None; self.flat.issues.len()];
        for (n, e) in self.program.mem_provenance.iter().enumerate() {
            let Some(no) = self.flat.find(e.issue) else { continue };
            let issue = self.flat.issue(no);
            let single = issue.repeat.n == 0;
            let agrees = match issue.inst {
                Inst::Read { addr, .. } | Inst::Write { addr, .. } => {
                    e.addr == addr && (single || e.step == issue.repeat.a)
                }
                Inst::Gather { lo, hi, .. } | Inst::Scatter { lo, hi, .. } => {
                    e.addr == lo && e.step == i32::from(hi) - i32::from(lo)
                }
                _ => false,
            };
            let first = self.exec(no, 0);
            if !agrees {
                self.report(Finding::new(Rule::MemProvenance).at(first), |_| {
                    (format!("entry {n}"), format!("it has word {} and step {}", e.addr, e.step))
                });
            } else if table[no.0 as usize].is_some() {
                self.report(Finding::new(Rule::MemProvenance).at(first), |_| {
                    (format!("entry {n}"), "a second entry".into())
                });
            }
            table[no.0 as usize] = Some(*e);
        }
        for no in self.issue_numbers() {
            let mem = matches!(self.flat.queue(no).id, QueueId::Mem(..));
            if mem && !matches!(self.flat.issue(no).inst, Inst::Sync | Inst::Notify) && table[no.0 as usize].is_none() {
                self.report(Finding::new(Rule::MemProvenance).at(self.exec(no, 0)), |_| {
                    (String::new(), "no entry in the SRAM table".into())
                });
            }
        }
        table
    }

    fn all_superlanes(&self) -> u64 {
        u64::MAX >> (64 - self.machine.geometry.superlanes)
    }

    /// Adds what one thread does.
    fn thread(
        &mut self,
        queue: usize,
        slice: usize,
        table: &[Option<MemProvenance>],
        links: &Links,
        preload: &Preload<'_>,
        events: &mut SliceEvents,
    ) {
        let q = self.flat.queues[queue];
        let all = self.all_superlanes();
        let lat = &self.machine.latency;
        let (write, scatter) = (u64::from(lat.mem_write_readable), u64::from(lat.mem_scatter_readable));
        let bank_words = self.machine.words_per_bank();
        let mut named = Vec::new();
        for index in 0..q.len {
            let no = IssueNo(q.first.0 + index);
            let issue = self.flat.issue(no);
            let Some(value) = table[no.0 as usize].map(|e| e.value.0) else { continue };
            let (executions, base) = (self.executions(no), self.exec(no, 0).0);
            match issue.inst {
                Inst::Read { addr, .. } | Inst::Write { addr, .. } => {
                    let stores = matches!(issue.inst, Inst::Write { .. });
                    let delay = if stores { write } else { 0 };
                    for k in 0..executions {
                        let word = (i64::from(addr) + i64::from(k) * i64::from(issue.repeat.a)) as u16;
                        let (cycle, exec) = (self.cycle_of(no, k), ExecNo(base + k));
                        let bank = u32::from(word) / bank_words;
                        events.banks[usize::from(stores)].push(BankUse { cycle, bank, mask: all, exec });
                        let access = Access { cycle: cycle + delay, word, words: 1, mask: all, value, exec };
                        if stores { &mut events.stores } else { &mut events.loads }.push(access);
                    }
                }
                Inst::Gather { lo, hi, .. } | Inst::Scatter { lo, hi, .. } => {
                    let stores = matches!(issue.inst, Inst::Scatter { .. });
                    let delay = if stores { scatter } else { 0 };
                    links.named(no, u8::from(stores), executions, &mut named);
                    let bank = u32::from(lo) / bank_words;
                    for k in 0..executions {
                        let (cycle, exec) = (self.cycle_of(no, k), ExecNo(base + k));
                        let to = if stores { &mut events.stores } else { &mut events.loads };
                        let mut access = Access { cycle: cycle + delay, word: lo, words: 1, mask: all, value, exec };
                        let map = self.constant_map(named[k as usize], table, preload);
                        let mask = match map {
                            Some(map) => self.mapped(map, (lo, hi), exec, &mut |word, superlane| {
                                access.word = word;
                                access.mask = 1 << superlane;
                                to.push(access);
                            }),
                            None if stores => {
                                // Without a map there is nothing to evaluate: reported as a missing link.
                                if named[k as usize] != NO_EXEC {
                                    self.report(
                                        Finding::new(Rule::MemMap).at(exec).other(Some(named[k as usize])),
                                        |_| (String::new(), "a scatter's map must be a word of the image".into()),
                                    );
                                }
                                all
                            }
                            None => {
                                access.words = hi - lo;
                                to.push(access);
                                all
                            }
                        };
                        events.banks[usize::from(stores)].push(BankUse { cycle, bank, mask, exec });
                    }
                }
                _ => {}
            }
        }
        debug_assert!(slice < SLICES);
    }

    /// Bytes of an address map that is a word of the image.
    fn constant_map<'p>(
        &self,
        from: ExecNo,
        table: &[Option<MemProvenance>],
        preload: &Preload<'p>,
    ) -> Option<&'p [u8]> {
        if from == NO_EXEC {
            return None;
        }
        let (no, k) = self.locate(from);
        let issue = self.flat.issue(no);
        let (QueueId::Mem(slice, _), Inst::Read { addr, .. }) = (self.flat.queue(no).id, &issue.inst) else {
            return None;
        };
        let word = (i64::from(*addr) + i64::from(k) * i64::from(issue.repeat.a)) as u16;
        preload.image_word(slice_number(slice), word, table[no.0 as usize]?.value.0)
    }

    /// Calls `f` for the word of each superlane; gives the superlanes that have one.
    fn mapped(&mut self, map: &[u8], (lo, hi): (u16, u16), exec: ExecNo, f: &mut impl FnMut(u16, usize)) -> u64 {
        let per = self.machine.geometry.lanes_per_superlane as usize;
        let mut mask = 0;
        for (superlane, lanes) in map.chunks_exact(per).enumerate() {
            let word = u16::from_le_bytes([lanes[0], lanes[1]]);
            if word == MAP_NONE {
                continue;
            }
            mask |= 1 << superlane;
            if (lo..hi).contains(&word) {
                f(word, superlane);
            } else {
                self.report(Finding::new(Rule::MemMap).at(exec), |_| {
                    (format!("superlane {superlane}"), format!("the map names word {word}, outside [{lo}, {hi})"))
                });
            }
        }
        mask
    }

    fn bank_conflicts(&mut self, events: &SliceEvents) {
        let [reads, writes] = &events.banks;
        let mut w = 0;
        for r in reads {
            while writes.get(w).is_some_and(|u| u.cycle < r.cycle) {
                w += 1;
            }
            if let Some(u) = writes.get(w).filter(|u| u.cycle == r.cycle && u.bank == r.bank && u.mask & r.mask != 0) {
                self.report(Finding::new(Rule::MemBank).at(r.exec).other(Some(u.exec)), |_| {
                    (format!("bank {}", r.bank), "a read and a write use one bank in this cycle".into())
                });
            }
        }
    }

    /// Follows a slice through time; gives what it holds at the end.
    fn follow(&mut self, number: usize, mut events: SliceEvents, preload: &Preload<'_>) -> Contents {
        let words = self.machine.geometry.words_per_slice as usize;
        let superlanes = self.machine.geometry.superlanes as usize;
        let all = self.all_superlanes();
        let mut contents = Contents { words: vec![NOTHING; words], split: vec![None; words], superlanes };
        for (held, &value) in contents.words.iter_mut().zip(&preload.values[number]) {
            held.value = value;
        }
        events.stores.sort_by_key(|a| (a.cycle, a.exec));
        let by_value = self.stored_once(&events.stores, &preload.values[number]);
        self.landings(&events.stores);
        let mut stores = events.stores.iter().peekable();
        // Range reads repeat; what they found holds until the next store.
        let mut settled = None;
        for load in &events.loads {
            while let Some(s) = stores.next_if(|s| s.cycle <= load.cycle) {
                contents.store(s, all);
                settled = None;
            }
            let same = (load.word, load.words, load.value);
            if load.words > 1 && settled == Some(same) {
                continue;
            }
            for word in load.word..load.word + load.words {
                if let Some(held) = contents.other_than(usize::from(word), load.mask, load.value) {
                    self.wrong_word(load, word, held, &by_value);
                }
            }
            settled = Some(same);
        }
        stores.for_each(|s| contents.store(s, all));
        contents
    }

    fn wrong_word(&mut self, load: &Access, word: u16, held: Held, by_value: &ByValue) {
        let name = self.value_name(load.value);
        let place = format!("word {word}");
        if let Some(later) = by_value.later(load.value, word, load.cycle) {
            let finding = Finding::new(Rule::MemEarly).at(load.exec).other(Some(later.exec));
            self.report(finding, |_| {
                (place, format!("`{name}` is there from cycle {} on, when its store has landed", later.cycle))
            });
        } else if held.value == NO_VALUE {
            self.report(Finding::new(Rule::MemUnwritten).at(load.exec), |_| {
                (place, format!("nothing was ever stored here, `{name}` is named"))
            });
        } else {
            self.report(Finding::new(Rule::MemValue).at(load.exec).other(Some(held.by)), |c| {
                (place, format!("holds `{}`, `{name}` is named", c.value_name(held.value)))
            });
        }
    }

    /// Checks that no word of a value is stored twice.
    fn stored_once(&mut self, stores: &[Access], preloaded: &[u32]) -> ByValue {
        let mut keys: Vec<(u32, u16, u64, Access)> = Vec::with_capacity(stores.len() + preloaded.len());
        for (word, &value) in preloaded.iter().enumerate().filter(|(_, v)| **v != NO_VALUE) {
            let word = word as u16;
            let access = Access { cycle: 0, word, words: 1, mask: u64::MAX, value, exec: NO_EXEC };
            keys.push((value, word, 0, access));
        }
        keys.extend(stores.iter().map(|a| (a.value, a.word, a.cycle, *a)));
        // Stable: mostly ordered already, and equal keys stay in the order of the executions.
        keys.sort_by_key(|k| (k.0, k.1, k.2));
        let mut from = 0;
        while from < keys.len() {
            let same = keys[from..].partition_point(|k| (k.0, k.1) == (keys[from].0, keys[from].1));
            let mut mask = 0;
            for n in from..from + same {
                let a = keys[n].3;
                if mask & a.mask != 0 {
                    let first = keys[from..n].iter().find(|k| k.3.mask & a.mask != 0).map(|k| k.3.exec);
                    self.report(Finding::new(Rule::MemTwice).at(a.exec).other(first), |c| {
                        (
                            format!("word {}", a.word),
                            format!("stored a second time as part of `{}`", c.value_name(a.value)),
                        )
                    });
                }
                mask |= a.mask;
            }
            from += same;
        }
        ByValue(keys)
    }

    /// Checks stores, ordered by landing, for two that land together.
    fn landings(&mut self, stores: &[Access]) {
        let mut from = 0;
        while from < stores.len() {
            let mut to = from + 1;
            while to < stores.len() && stores[to].cycle == stores[from].cycle {
                to += 1;
            }
            // One write and one scatter at most land together, of one word a superlane.
            let together = &stores[from..to];
            for (n, a) in together.iter().enumerate() {
                let clash = together[..n].iter().find(|b| b.exec != a.exec && b.word == a.word && b.mask & a.mask != 0);
                if let Some(b) = clash {
                    let finding = Finding::new(Rule::MemLanding).cycle(a.cycle).at(a.exec).other(Some(b.exec));
                    self.report(finding, |_| {
                        (format!("word {}", a.word), "two stores land in this word in this cycle".into())
                    });
                }
            }
            from = to;
        }
    }

    /// Placements of outputs by slice, after a look at each output as a whole.
    fn outputs_by_slice(&mut self) -> Vec<Vec<(usize, usize)>> {
        let mut by_slice = vec![Vec::new(); SLICES];
        for (o, output) in self.program.outputs.iter().enumerate() {
            let device = usize::from(output.device_bytes);
            let want = elements(output).unwrap_or(0) as u64 * device as u64;
            let placed: u64 =
                output.placements.iter().map(|p| p.loops.iter().map(|l| u64::from(l.count)).product::<u64>()).sum();
            let unit = format!("output `{}`", output.name);
            if placed != want {
                self.report_table(Rule::Output, unit, format!("{placed} bytes are placed, it has {want}"));
                continue;
            }
            let mut seen = vec![0u64; (want as usize).div_ceil(64)];
            let mut twice = None;
            for (n, p) in output.placements.iter().enumerate() {
                by_slice[slice_number(p.slice)].push((o, n));
                each_point(p, |element, _, _| {
                    let byte = element * device + usize::from(p.byte);
                    if seen[byte / 64] >> (byte % 64) & 1 == 1 {
                        twice = twice.or(Some((element, p.byte)));
                    }
                    seen[byte / 64] |= 1 << (byte % 64);
                });
            }
            if let Some((element, byte)) = twice {
                self.report_table(Rule::Output, unit, format!("byte {byte} of element {element} is placed twice"));
            }
        }
        by_slice
    }

    /// Checks that a placement finds its value at the end.
    fn output(&mut self, output: usize, placement: usize, contents: &Contents) {
        let layout = &self.program.outputs[output];
        let p = &layout.placements[placement];
        let per = self.machine.geometry.lanes_per_superlane as usize;
        let mut wrong: Option<(u16, usize, Held)> = None;
        let mut count = 0u64;
        each_point(p, |_, word, lane| {
            if let Some(held) = contents.other_than(usize::from(word), 1 << (lane / per), p.value.0) {
                wrong = wrong.or(Some((word, lane, held)));
                count += 1;
            }
        });
        let Some((word, lane, held)) = wrong else { return };
        let name = self.value_name(p.value.0);
        let slice: Slice = p.slice;
        let holds = match held.value {
            NO_VALUE => "was never stored".to_string(),
            v => format!("holds `{}` at the end", self.value_name(v)),
        };
        let message = format!(
            "{count} bytes of placement {placement} do not lie in words of `{name}`: {slice} word {word}, lane {lane}, {holds}"
        );
        if held.by == NO_EXEC {
            self.report_table(Rule::Output, format!("output `{}`", layout.name), message);
        } else {
            self.report(Finding::new(Rule::Output).at(held.by), |_| (format!("output `{}`", layout.name), message));
        }
    }
}
