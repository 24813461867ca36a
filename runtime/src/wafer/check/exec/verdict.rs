//! What it means that nothing can move any more: done, a deadlock with its cycle, or numbers
//! of wavelets that do not match.

use super::super::super::fabric::NONE;
use super::super::super::rule::{CheckError, Rule};
use super::super::flow::{NetIx, Sink, Source};
use super::{Access, Control, Exec, color_of, sink_place, source_place};
use std::collections::BTreeMap;

/// Why a PE waits.
#[derive(Clone, Copy, Debug)]
struct Wait {
    net: NetIx,
    /// The PE waited for, or [`NONE`] for a port.
    on: u32,
    /// True for wavelets, false for space.
    words: bool,
    /// Wavelets asked for (or sent) in all, up to the end of the operation that waits.
    wanted: u64,
}

impl Exec<'_> {
    pub(super) fn judge(&mut self) {
        self.check_assumptions();
        let stuck: Vec<bool> = self.pes.iter().map(|p| p.flights.iter().any(|f| f.done < f.n)).collect();
        let waits: Vec<Vec<Wait>> = (0..self.pes.len()).map(|i| self.waits(i)).collect();
        let doomed = self.report_cycle(&stuck, &waits);
        // A PE that waits for wavelets of a sender that is not itself waiting.
        let mut short: BTreeMap<(NetIx, u32), u64> = BTreeMap::new();
        for i in 0..self.pes.len() {
            if !stuck[i] || doomed[i] {
                continue;
            }
            for w in &waits[i] {
                if w.words && (w.on == NONE || !stuck[w.on as usize]) {
                    short.insert((w.net, i as u32), w.wanted);
                }
            }
        }
        let mut found = Vec::new();
        for (&(net, pe), &wanted) in &short {
            let n = &self.flows.nets[net as usize];
            let sent = if let Source::Host(_) = n.source { n.offered } else { n.pushed };
            found.push(
                CheckError::new(Rule::Traffic, format!("waits for {wanted} wavelets, {sent} are sent"))
                    .at(self.place(pe as usize))
                    .color(color_of(self, net))
                    .other(source_place(self, n.source)),
            );
        }
        // Wavelets that a receiver which is not waiting leaves untaken.
        for n in &self.flows.nets {
            let sent = if let Source::Host(_) = n.source { n.offered } else { n.pushed };
            for e in n.first_end..n.first_end + n.end_count {
                let end = &self.flows.ends[e as usize];
                let Sink::Queue(site, _) = end.sink else { continue };
                let pe = self.pe_of[site as usize];
                if end.consumed < sent && pe != NONE && !stuck[pe as usize] && !doomed[pe as usize] {
                    found.push(
                        CheckError::new(
                            Rule::Traffic,
                            format!("{sent} wavelets are sent here, {} are received", end.consumed),
                        )
                        .at(sink_place(self, end.sink))
                        .color(color_of(self, end.net))
                        .other(source_place(self, n.source)),
                    );
                }
            }
        }
        self.check_outputs(&mut found, true);
        for e in found {
            self.errors.push(e);
        }
        if self.errors.is_empty()
            && let Some(i) = stuck.iter().position(|&s| s)
        {
            let message = "operations here wait for ever".to_owned();
            let e = CheckError::new(Rule::Deadlock, message).at(self.place(i));
            self.errors.push(e);
        }
        if self.errors.is_empty() {
            let mut found = Vec::new();
            self.check_outputs(&mut found, false);
            for e in found {
                self.errors.push(e);
            }
        }
    }

    fn check_assumptions(&mut self) {
        let mut found = Vec::new();
        for (&(i, q), a) in &self.assumptions {
            let total = self.flows.ends[self.end(i as usize, q) as usize].consumed;
            if total > a.consumed {
                found.push(self.unordered(i as usize, a.rival, a.data_task));
            }
        }
        for e in found {
            self.errors.push(e);
        }
    }

    /// What PE `i` waits for: its operations, and, when it is idle, the data of its tasks.
    fn waits(&self, i: usize) -> Vec<Wait> {
        let pe = &self.pes[i];
        let mut out = Vec::new();
        let on = |source: Source| match source {
            Source::Queue(site, _) => self.pe_of[site as usize],
            Source::Host(_) => NONE,
        };
        for f in pe.flights.iter().filter(|f| f.done < f.n) {
            let op = self.low_op(i, f);
            for (operand, before) in op.operands[..3].iter().zip(f.taken_before) {
                let per = u64::from(operand.ty.per_wavelet());
                let (q, next, all) = match operand.access {
                    Access::Fabric(q) => (q, (f.done + 1).div_ceil(per), f.n.div_ceil(per)),
                    Access::FabricRow(q) => {
                        let rows = f.done / u64::from(f.ex.n0) + 1;
                        (q, rows.div_ceil(per), u64::from(f.ex.n1).div_ceil(per))
                    }
                    _ => continue,
                };
                let end = &self.flows.ends[self.end(i, q) as usize];
                if end.arrived < before + next {
                    let net = end.net;
                    let source = self.flows.nets[net as usize].source;
                    out.push(Wait { net, on: on(source), words: true, wanted: before + all });
                }
            }
            if let Some(q) = op.operands[3].access.queue() {
                let net = self.net(i, q);
                let n = &self.flows.nets[net as usize];
                if n.pushed >= self.flows.push_limit(net) {
                    for e in n.first_end..n.first_end + n.end_count {
                        let end = &self.flows.ends[e as usize];
                        if let Sink::Queue(site, _) = end.sink
                            && end.consumed < n.pushed
                        {
                            let wait = Wait { net, on: self.pe_of[site as usize], words: false, wanted: n.pushed + 1 };
                            out.push(wait);
                        }
                    }
                }
            }
        }
        if pe.control == Control::Idle {
            for (t, task) in self.classes[pe.class as usize].tasks.iter().enumerate() {
                if let Some(q) = task.data
                    && pe.blocked >> t & 1 == 0
                    && self.waiting(i, q) == 0
                {
                    let end = &self.flows.ends[self.end(i, q) as usize];
                    let source = self.flows.nets[end.net as usize].source;
                    out.push(Wait { net: end.net, on: on(source), words: true, wanted: end.consumed + 1 });
                }
            }
        }
        out
    }

    /// Finds one cycle of waiting PEs with an operation under way, and reports it. Returns who
    /// is on it or waits for it.
    fn report_cycle(&mut self, stuck: &[bool], waits: &[Vec<Wait>]) -> Vec<bool> {
        let mut doomed = vec![false; self.pes.len()];
        // 0 unseen, 1 on the present path, 2 done.
        let mut state = vec![0u8; self.pes.len()];
        let mut cycle: Vec<(u32, Wait)> = Vec::new();
        for start in (0..self.pes.len()).filter(|&i| stuck[i]) {
            if state[start] != 0 {
                continue;
            }
            // (PE, next wait to follow)
            let mut path: Vec<(u32, usize)> = vec![(start as u32, 0)];
            state[start] = 1;
            while let Some(&mut (pe, ref mut next)) = path.last_mut() {
                let Some(w) = waits[pe as usize].get(*next) else {
                    state[pe as usize] = 2;
                    path.pop();
                    continue;
                };
                *next += 1;
                if w.on == NONE {
                    continue;
                }
                match state[w.on as usize] {
                    0 => {
                        state[w.on as usize] = 1;
                        path.push((w.on, 0));
                    }
                    1 => {
                        let from = path.iter().position(|p| p.0 == w.on).unwrap_or(0);
                        let members = &path[from..];
                        let idle = |p: u32| !stuck[p as usize];
                        if members.iter().any(|m| !idle(m.0)) && cycle.is_empty() {
                            cycle = members.iter().map(|&(p, n)| (p, waits[p as usize][n - 1])).collect();
                        }
                    }
                    _ => {}
                }
            }
        }
        let Some(&(first, wait)) = cycle.iter().find(|m| stuck[m.0 as usize]) else { return doomed };
        let mut steps = Vec::new();
        for &(pe, w) in cycle.iter().take(16) {
            let here = self.place(pe as usize);
            let what = if w.words { "wavelets" } else { "space" };
            steps.push(format!("({}, {}) waits for {what} on color {}", here.x, here.y, color_of(self, w.net).0));
        }
        if cycle.len() > 16 {
            steps.push(format!("… {} PEs in all", cycle.len()));
        }
        let message = format!("waiting in a circle: {}", steps.join(" -> "));
        let e = CheckError::new(Rule::Deadlock, message)
            .at(self.place(first as usize))
            .color(color_of(self, wait.net))
            .other(self.place(wait.on as usize));
        self.errors.push(e);
        // Whoever waits for a member of the cycle, directly or not, waits because of it.
        let mut waiters: Vec<Vec<u32>> = vec![Vec::new(); self.pes.len()];
        for (i, list) in waits.iter().enumerate() {
            for w in list.iter().filter(|w| w.on != NONE) {
                waiters[w.on as usize].push(i as u32);
            }
        }
        let mut open: Vec<u32> = cycle.iter().map(|m| m.0).collect();
        while let Some(pe) = open.pop() {
            if !std::mem::replace(&mut doomed[pe as usize], true) {
                open.extend(&waiters[pe as usize]);
            }
        }
        doomed
    }

    /// Every output port gets just the wavelets it names.
    fn check_outputs(&self, found: &mut Vec<CheckError>, too_many: bool) {
        for n in &self.flows.nets {
            for e in n.first_end..n.first_end + n.end_count {
                let end = &self.flows.ends[e as usize];
                let Sink::Host(_) = end.sink else { continue };
                let sent = if let Source::Host(_) = n.source { n.offered } else { n.pushed };
                let wrong = if too_many { sent > end.capacity } else { end.consumed != end.capacity };
                if wrong {
                    let message = match too_many {
                        true => format!("the output ports here name {} wavelets, more are sent", end.capacity),
                        false => format!("the output ports here name {} wavelets, {sent} are sent", end.capacity),
                    };
                    found.push(
                        CheckError::new(Rule::Output, message)
                            .at(sink_place(self, end.sink))
                            .color(color_of(self, end.net))
                            .other(source_place(self, n.source)),
                    );
                }
            }
        }
    }
}
