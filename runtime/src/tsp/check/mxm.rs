//! The planes: weight buffers, installs, rows, sums, accumulators.
//!
//! Knows each plane's three queues in time order, and compares what each instruction meets
//! (weights, sum, row) with what the provenance table names.

use super::provenance::Links;
use super::{Checker, ExecNo, Finding, NO_EXEC, Rule};
use crate::tsp::flat::IssueNo;
use quadrille_isa::tsp::{AccMode, ActType, Inst, MxmPart, QueueId, SLOT_STATE};

/// One execution of one of a plane's queues.
#[derive(Clone, Copy)]
struct Event {
    cycle: u64,
    no: IssueNo,
    k: u32,
    exec: ExecNo,
}

/// An install, and what its weights have been used as.
struct Install {
    cycle: u64,
    exec: ExecNo,
    rows: u32,
    used: Option<(bool, ExecNo)>,
}

/// An activation, to be met by its accumulate.
struct Sum {
    due: u64,
    exec: ExecNo,
    f16: bool,
    /// Most that an integer sum can be.
    bound: i64,
}

/// What an accumulator row holds.
#[derive(Clone, Copy)]
struct AccRow {
    left_by: ExecNo,
    f16: bool,
    bound: i64,
}

/// Named definitions of one slot of one issue, kept while its executions go by.
struct Named {
    no: Option<IssueNo>,
    slot: u8,
    execs: Vec<ExecNo>,
}

impl Named {
    fn new(slot: u8) -> Named {
        Named { no: None, slot, execs: Vec::new() }
    }

    fn get(&mut self, c: &Checker<'_>, links: &Links, e: Event) -> ExecNo {
        if self.no != Some(e.no) {
            links.named(e.no, self.slot, c.executions(e.no), &mut self.execs);
            self.no = Some(e.no);
        }
        self.execs[e.k as usize]
    }
}

impl Checker<'_> {
    pub(super) fn mxm(&mut self, links: &Links) {
        for pair in 0..self.machine.planes() / 2 {
            let (even, odd) = (2 * pair, 2 * pair + 1);
            let mut installs = [self.installs(even, links), self.installs(odd, links)];
            let (even_sums, odd_sums) = self.activations(even, &mut installs, links);
            self.accumulates(even, even_sums, links);
            self.accumulates(odd, odd_sums, links);
        }
    }

    /// Executions of a plane's queue, the sync left out.
    fn events(&self, plane: u8, part: MxmPart) -> Vec<Event> {
        let Some(number) = self.flat.queue_number(QueueId::Mxm(plane, part)) else { return Vec::new() };
        let q = self.flat.queues[number];
        let mut events = Vec::new();
        for index in 1..q.len {
            let no = IssueNo(q.first.0 + index);
            for k in 0..self.executions(no) {
                events.push(Event { cycle: self.cycle_of(no, k), no, k, exec: self.exec(no, k) });
            }
        }
        events
    }

    /// Gives every load to the install that takes it.
    fn installs(&mut self, plane: u8, links: &Links) -> Vec<Install> {
        let (latency, distance) = (self.machine.latency.mxm_weight_row, self.machine.latency.mxm_install);
        let loads = self.events(plane, MxmPart::Weights);
        let mut loads = &loads[..];
        let mut installs: Vec<Install> = Vec::new();
        for e in self.events(plane, MxmPart::Activations) {
            if !matches!(self.flat.issue(e.no).inst, Inst::InstallWeights) {
                continue;
            }
            if let Some(last) = installs.last().filter(|i| i.cycle + u64::from(distance) > e.cycle) {
                let finding = Finding::new(Rule::MxmInstall).at(e.exec).other(Some(last.exec));
                self.report(finding, |_| {
                    (String::new(), format!("installs of a plane are at least {distance} cycles apart"))
                });
            }
            // A load in the very cycle of the install fills the next buffer.
            let (mine, rest) = loads.split_at(loads.partition_point(|l| l.cycle < e.cycle));
            loads = rest;
            self.loads(mine, e, u64::from(latency));
            self.install_links(mine, e, links);
            let rows = mine.len() as u32 * self.machine.geometry.weight_rows_per_load;
            installs.push(Install { cycle: e.cycle, exec: e.exec, rows, used: None });
        }
        // Loads that nothing installs still may not load a row twice.
        self.repeated_rows(loads);
        installs
    }

    fn loads(&mut self, loads: &[Event], install: Event, latency: u64) {
        for l in loads.iter().rev().take_while(|l| l.cycle + latency > install.cycle) {
            self.report(Finding::new(Rule::MxmLoad).at(l.exec).other(Some(install.exec)), |_| {
                (String::new(), format!("a load may be installed {latency} cycles later at the earliest"))
            });
        }
        self.repeated_rows(loads);
    }

    fn repeated_rows(&mut self, loads: &[Event]) {
        let row = |c: &Self, e: &Event| match c.flat.issue(e.no).inst {
            Inst::LoadWeights { k0, .. } => k0,
            _ => 0,
        };
        let mut by_row: Vec<(u16, Event)> = loads.iter().map(|l| (row(self, l), *l)).collect();
        by_row.sort_by_key(|&(k, e)| (k, e.exec));
        for pair in by_row.windows(2).filter(|p| p[0].0 == p[1].0) {
            let finding = Finding::new(Rule::MxmLoad).at(pair[1].1.exec).other(Some(pair[0].1.exec));
            self.report(finding, |_| (format!("rows from {}", pair[0].0), "loaded twice without an install".into()));
        }
    }

    fn install_links(&mut self, loads: &[Event], e: Event, links: &Links) {
        let slots = loads.len().min(usize::from(SLOT_STATE));
        self.samples += slots as u64;
        let mut named = vec![NO_EXEC; slots];
        for l in links.of(e.no) {
            if !(l.first..l.first + l.count).contains(&e.k) {
                continue;
            }
            let def = ExecNo(l.def_exec.0 + (e.k - l.first) * l.def_step);
            match named.get_mut(usize::from(l.slot)) {
                Some(n) if *n == NO_EXEC => *n = def,
                Some(_) => self.report(Finding::new(Rule::ProvenanceTwice).at(e.exec), |_| {
                    (format!("slot {}", l.slot), "two entries".into())
                }),
                None => self.report(Finding::new(Rule::ProvenanceForm).at(e.exec).other(Some(def)), |_| {
                    (format!("slot {}", l.slot), format!("the install takes {slots} loads only"))
                }),
            }
        }
        for (slot, (named, load)) in named.into_iter().zip(loads).enumerate() {
            let place = format!("slot {slot}");
            if named == NO_EXEC {
                self.report(Finding::new(Rule::ProvenanceMissing).at(e.exec).other(Some(load.exec)), |_| {
                    (place, "no entry for this load".into())
                });
            } else if named != load.exec {
                self.wrong_state(e.exec, place, named, load.exec);
            }
        }
    }

    fn wrong_state(&mut self, at: ExecNo, place: String, named: ExecNo, met: ExecNo) {
        self.report(Finding::new(Rule::StateProvenance).at(at).other(Some(met)), |c| {
            (place, format!("meets the second instruction's result, not that of {}", c.involved(named)))
        });
    }

    /// Rows entering both planes of a pair, in time order; gives the sums that each plane owes.
    fn activations(&mut self, even: u8, installs: &mut [Vec<Install>; 2], links: &Links) -> (Vec<Sum>, Vec<Sum>) {
        let rows = |c: &Self, plane| {
            let mut events = c.events(plane, MxmPart::Activations);
            events.retain(|e| matches!(c.flat.issue(e.no).inst, Inst::Activations { .. }));
            events
        };
        let queues = [rows(self, even), rows(self, even + 1)];
        let interval = u64::from(self.machine.latency.mxm_f16_row_interval);
        let latency = u64::from(self.machine.latency.mxm_activation_to_sum);
        let mut sums = [Vec::with_capacity(queues[0].len()), Vec::with_capacity(queues[1].len())];
        let mut at = [0usize; 2];
        // Current install of each plane, counted from 1; 0 is none.
        let mut current = [0usize; 2];
        let mut free_from = [0u64; 2];
        let mut taken_by = [NO_EXEC; 2];
        let mut state = [Named::new(SLOT_STATE), Named::new(SLOT_STATE)];
        let mut partner_state = Named::new(SLOT_STATE + 1);
        loop {
            let side = match (queues[0].get(at[0]), queues[1].get(at[1])) {
                (None, None) => break,
                (Some(_), None) => 0,
                (None, Some(_)) => 1,
                (Some(a), Some(b)) => usize::from(b.cycle < a.cycle),
            };
            let e = queues[side][at[side]];
            at[side] += 1;
            let Inst::Activations { ty, .. } = self.flat.issue(e.no).inst else { continue };
            let f16 = ty == ActType::F16;
            let planes = if f16 { 0..2 } else { side..side + 1 };
            let mut rows_met = 0;
            let mut ready = true;
            for p in planes {
                while installs[p].get(current[p]).is_some_and(|i| i.cycle <= e.cycle) {
                    current[p] += 1;
                }
                if e.cycle < free_from[p] {
                    let finding = Finding::new(Rule::MxmActivation).at(e.exec).other(Some(taken_by[p]));
                    let until = free_from[p];
                    self.report(finding, |_| {
                        (format!("plane {}", even + p as u8), format!("an f16 row takes the pair until cycle {until}"))
                    });
                }
                free_from[p] = if f16 { e.cycle + interval } else { e.cycle + 1 };
                taken_by[p] = e.exec;
                let Some(install) = current[p].checked_sub(1).map(|i| &mut installs[p][i]) else {
                    ready = false;
                    self.report(Finding::new(Rule::MxmActivation).at(e.exec), |_| {
                        (format!("plane {}", even + p as u8), "no weights were ever installed".into())
                    });
                    continue;
                };
                rows_met = install.rows;
                let met = install.exec;
                let before = *install.used.get_or_insert((f16, e.exec));
                if before.0 != f16 {
                    self.report(Finding::new(Rule::MxmWeights).at(e.exec).other(Some(before.1)), |_| {
                        (
                            format!("plane {}", even + p as u8),
                            "one install's weights used as f16 and as integers".into(),
                        )
                    });
                }
                let slot = SLOT_STATE + u8::from(f16 && p == 1);
                let named = if slot == SLOT_STATE { &mut state[side] } else { &mut partner_state };
                let named = named.get(self, links, e);
                if named != NO_EXEC && named != met {
                    self.wrong_state(e.exec, format!("weights of plane {}", even + p as u8), named, met);
                }
            }
            let magnitude = if ty == ActType::U8 { 255 } else { 128 };
            let bound = if ready { i64::from(rows_met) * magnitude * 128 } else { 0 };
            sums[side].push(Sum { due: e.cycle + latency, exec: e.exec, f16, bound });
        }
        let [even_sums, odd_sums] = sums;
        (even_sums, odd_sums)
    }

    fn accumulates(&mut self, plane: u8, sums: Vec<Sum>, links: &Links) {
        let rows = self.machine.geometry.accumulator_rows_per_plane as usize;
        let mut held: Vec<Option<AccRow>> = vec![None; rows];
        let mut sums = sums.into_iter().peekable();
        let (mut source, mut before) = (Named::new(0), Named::new(SLOT_STATE));
        for e in self.events(plane, MxmPart::Accumulators) {
            while let Some(s) = sums.next_if(|s| s.due < e.cycle) {
                self.lost_sum(&s);
            }
            let Some(sum) = sums.next_if(|s| s.due == e.cycle) else {
                let next = sums.peek().map(|s| s.exec);
                self.report(Finding::new(Rule::MxmSum).at(e.exec).other(next), |_| {
                    (String::new(), "no sum is due in this cycle".into())
                });
                continue;
            };
            let named = source.get(self, links, e);
            if named != NO_EXEC && named != sum.exec {
                self.wrong_state(e.exec, "sum".into(), named, sum.exec);
            }
            self.accumulate(e, &sum, &mut held, &mut before, links);
        }
        for s in sums {
            self.lost_sum(&s);
        }
    }

    fn lost_sum(&mut self, s: &Sum) {
        let due = s.due;
        self.report(Finding::new(Rule::MxmSum).cycle(due).at(s.exec), |_| {
            (String::new(), format!("no accumulate takes its sum, due at cycle {due}"))
        });
    }

    fn accumulate(&mut self, e: Event, sum: &Sum, held: &mut [Option<AccRow>], before: &mut Named, links: &Links) {
        let issue = self.flat.issue(e.no);
        let Inst::Accumulate { row, mode, .. } = issue.inst else { return };
        let row = (i64::from(row) + i64::from(e.k) * i64::from(issue.repeat.a)) as usize;
        let place = || format!("row {row}");
        let mut bound = sum.bound;
        match (mode, held[row]) {
            (AccMode::Bypass, _) => {}
            (AccMode::Over, _) => {}
            (AccMode::Add, None) => self.report(Finding::new(Rule::MxmAccumulator).at(e.exec), |_| {
                (place(), "nothing was ever left in the row to add to".into())
            }),
            (AccMode::Add, Some(h)) => {
                if h.f16 != sum.f16 {
                    self.report(Finding::new(Rule::MxmAccumulator).at(e.exec).other(Some(h.left_by)), |_| {
                        (place(), "an f32 and an int32 sum are added".into())
                    });
                }
                let named = before.get(self, links, e);
                if named != NO_EXEC && named != h.left_by {
                    self.wrong_state(e.exec, place(), named, h.left_by);
                }
                bound += h.bound;
            }
        }
        if !sum.f16 && bound > i64::from(i32::MAX) {
            self.report(Finding::new(Rule::MxmInt32).at(e.exec).other(held[row].map(|h| h.left_by)), |_| {
                (place(), format!("the sum may reach {bound}"))
            });
            // Once a row: what is added later is not the fault of those instructions.
            bound = 0;
        }
        if mode != AccMode::Bypass {
            held[row] = Some(AccRow { left_by: e.exec, f16: sum.f16, bound });
        }
    }
}
