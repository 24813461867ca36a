//! First stage: each instruction, queue and layout by itself.
//!
//! Knows form, order within a queue, the start, text size, and indices. What passes here can be
//! followed through the machine without a check on every step.

use super::{Checker, QueueText, Rule};
use crate::tsp::flat::IssueNo;
use crate::tsp::form;
use crate::tsp::layout::check_layout;
use crate::tsp::timing;
use quadrille_isa::tsp::{Inst, Issue};

/// Most executions that the checker follows.
const MAX_EXECUTIONS: u64 = 1 << 25;
/// Most drives and samples that the checker follows.
const MAX_EVENTS: u64 = 1 << 27;

impl Checker<'_> {
    pub(super) fn structure(&mut self) {
        self.machine_matches();
        if self.error_count > 0 {
            return;
        }
        self.queues();
        self.starts();
        self.tables();
    }

    fn machine_matches(&mut self) {
        let (p, m) = (self.program, self.machine);
        if p.machine != m.name || p.machine_hash != m.hash() {
            let message = format!("the program is for machine `{}`, this is `{}` {}", p.machine, m.name, m.hash());
            self.report_table(Rule::Machine, "program", message);
        }
        if let Some((key, value)) = timing::unusable_latency(m) {
            self.report_table(Rule::Machine, "machine", format!("latency {key} = {value} cannot be judged"));
        }
    }

    /// An error about one issue as a whole.
    fn report_issue(&mut self, rule: Rule, no: IssueNo, message: String) {
        let r = self.flat.issue_ref(no);
        let issue = self.flat.issue(no);
        self.report_table(rule, format!("{}[{}] {}", r.queue, r.index, issue.inst), message);
        if let Some(e) = self.errors.last_mut() {
            e.cycle = Some(u64::from(issue.cycle));
        }
    }

    fn queues(&mut self) {
        let (mut executions, mut events) = (0u64, 0u64);
        self.exec_base = Vec::with_capacity(self.flat.issues.len() + 1);
        self.exec_base.push(0);
        for number in 0..self.flat.queues.len() {
            let q = self.flat.queues[number];
            if !form::queue_exists(q.id, self.machine) {
                self.report_table(Rule::Queue, q.id, format!("machine `{}` has no such queue", self.machine.name));
                continue;
            }
            let mut before: Option<&Issue> = None;
            for index in 0..q.len {
                let no = IssueNo(q.first.0 + index);
                let issue = self.flat.issue(no);
                if let Err((rule, message)) = form::instruction(q.id, issue, self.machine, &self.maps) {
                    self.report_issue(rule, no, message);
                    before = None;
                } else {
                    if let Some(b) = before
                        && !follows(b, issue)
                    {
                        let message = format!(
                            "issues at cycle {}, but {} before it issues until {}",
                            issue.cycle,
                            b.inst,
                            b.last_cycle()
                        );
                        self.report_issue(Rule::QueueOrder, no, message);
                    }
                    before = Some(issue);
                    let n = u64::from(issue.repeat.n) + 1;
                    executions += n;
                    let mut each = 1;
                    timing::samples(&issue.inst, q.id, self.machine, |_| each += 1);
                    timing::drives(&issue.inst, q.id, self.machine, &self.maps, 0, |_| each += 1);
                    events += n * each;
                }
                if issue.node.0 as usize >= self.program.nodes.len() {
                    let message = format!("node {} of a program with {}", issue.node.0, self.program.nodes.len());
                    self.report_issue(Rule::Reference, no, message);
                }
                self.exec_base.push(executions.min(u64::from(u32::MAX)) as u32);
            }
        }
        if executions > MAX_EXECUTIONS || events > MAX_EVENTS {
            let message = format!(
                "{executions} executions with {events} events; at most {MAX_EXECUTIONS} with {MAX_EVENTS} are checked"
            );
            self.report_table(Rule::Limit, "program", message);
        }
    }

    fn starts(&mut self) {
        let barrier = self.machine.latency.barrier;
        let mut notifies = Vec::new();
        for number in 0..self.flat.queues.len() {
            let q = self.flat.queues[number];
            for index in 0..q.len {
                let no = IssueNo(q.first.0 + index);
                let issue = self.flat.issue(no);
                let start = matches!(issue.inst, Inst::Sync | Inst::Notify);
                if issue.inst == Inst::Notify {
                    notifies.push(no);
                }
                match (index == 0, start) {
                    (true, true) if issue.cycle != 0 => {
                        self.report_issue(Rule::Start, no, format!("issues at cycle {}, not 0", issue.cycle));
                    }
                    (true, false) => self.report_issue(Rule::Start, no, "the queue starts without a sync".into()),
                    (false, true) => self.report_issue(Rule::Start, no, "not the first of its queue".into()),
                    (false, false) if issue.cycle < barrier => {
                        self.report_issue(Rule::Start, no, format!("issues before the barrier at cycle {barrier}"));
                    }
                    _ => {}
                }
            }
        }
        match notifies[..] {
            [_] => {}
            [] if self.flat.queues.iter().all(|q| q.len == 0) => {}
            [] => self.report_table(Rule::Start, "program", "no queue notifies".into()),
            [_, second, ..] => self.report_issue(Rule::Start, second, "a second notify".into()),
        }
    }

    fn tables(&mut self) {
        let p = self.program;
        for (n, v) in p.values.iter().enumerate() {
            if v.node.0 as usize >= p.nodes.len() {
                let message = format!("value {n} `{}` names node {} of {}", v.name, v.node.0, p.nodes.len());
                self.report_table(Rule::Reference, "values", message);
            }
        }
        let lanes = self.machine.lanes();
        for (n, s) in p.image.iter().enumerate() {
            if s.value.0 as usize >= p.values.len() {
                let message = format!("segment {n} names value {} of {}", s.value.0, p.values.len());
                self.report_table(Rule::Reference, "image", message);
            }
            let end = usize::from(s.addr) + s.words.len() / lanes;
            if s.words.is_empty()
                || !s.words.len().is_multiple_of(lanes)
                || end > self.machine.geometry.words_per_slice as usize
                || !form::data_slice(s.slice, self.machine)
            {
                let message =
                    format!("segment {n}, {} bytes at {} word {}, does not fit", s.words.len(), s.slice, s.addr);
                self.report_table(Rule::Layout, "image", message);
            }
        }
        for layout in p.inputs.iter().chain(&p.outputs) {
            if let Err((rule, message)) = check_layout(layout, self.machine, p.values.len()) {
                self.report_table(rule, "layout", message);
            }
        }
        for (n, e) in p.provenance.iter().enumerate() {
            for (what, r) in [("use", e.use_), ("definition", e.def)] {
                if self.flat.find(r).is_none() {
                    let message = format!("entry {n}: its {what} {}[{}] does not exist", r.queue, r.index);
                    self.report_table(Rule::Reference, "provenance", message);
                }
            }
        }
        for (n, e) in p.mem_provenance.iter().enumerate() {
            if self.flat.find(e.issue).is_none() {
                let message = format!("entry {n}: {}[{}] does not exist", e.issue.queue, e.issue.index);
                self.report_table(Rule::Reference, "SRAM provenance", message);
            }
            if e.value.0 as usize >= p.values.len() {
                let message = format!("entry {n} names value {} of {}", e.value.0, p.values.len());
                self.report_table(Rule::Reference, "SRAM provenance", message);
            }
        }
    }

    /// Size of every queue's text, and whether all of it fits.
    pub(super) fn text(&mut self) -> (Vec<QueueText>, u64) {
        let bytes = u64::from(self.machine.program.instruction_bytes);
        let mut queues = Vec::with_capacity(self.flat.queues.len());
        let mut total = self.program.maps.iter().map(|m| 2 * m.len() as u64).sum::<u64>();
        for q in &self.flat.queues {
            let (mut slots, mut executions, mut next) = (0u64, 0u64, 0u64);
            for index in 0..q.len {
                let issue = self.flat.issue(IssueNo(q.first.0 + index));
                // The instruction, the NOP that waits for its cycle, and its REPEAT.
                slots += 1 + u64::from(u64::from(issue.cycle) > next) + u64::from(issue.repeat.n > 0);
                next = u64::from(issue.last_cycle()) + 1;
                executions += u64::from(issue.repeat.n) + 1;
            }
            total += slots * bytes;
            queues.push(QueueText { queue: q.id, instructions: q.len, executions, bytes: slots * bytes });
        }
        let reserved = 2 * u64::from(self.machine.program.reserved_slices_per_hemisphere);
        let room = reserved * u64::from(self.machine.geometry.words_per_slice) * self.machine.lanes() as u64;
        if total > room {
            self.report_table(
                Rule::Text,
                "program",
                format!("{total} bytes of text and maps, the reserved slices hold {room}"),
            );
        }
        (queues, total)
    }
}

/// True when `issue` may follow `before` in one queue.
fn follows(before: &Issue, issue: &Issue) -> bool {
    let until = before.last_cycle();
    issue.cycle > until
        || (issue.cycle == until
            && matches!(before.inst, Inst::InstallWeights)
            && matches!(issue.inst, Inst::Activations { .. }))
}
