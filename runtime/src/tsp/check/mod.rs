//! The checker: proves, without data, that a program keeps the rules of the machine.
//!
//! Written from docs/isa-tsp.md alone. The rules are listed, with their ids, in [`Rule`] and on
//! that page. They fall in two stages. The first looks at each instruction, queue and layout by
//! itself: `machine` `limit` `reference` `queue` `operand` `repeat` `map` `mem-range`
//! `queue-order` `start` `layout` `text`. Only a program that passes it is looked at in the
//! second, which follows values: `streams` (`stream-*`, `alu-chain`), `provenance`
//! (`provenance-*`), `memory` (`mem-*`, `output`), `mxm` (`mxm-*`, `state-provenance`),
//! `sxm` (`sxm-unit`).
//!
//! Work is proportional to the number of executions and samples: drives are kept by stream and
//! diagonal, so that what a sample sees is one look-up.

mod memory;
mod mxm;
mod preload;
mod provenance;
mod report;
mod streams;
mod structure;
mod sxm;

pub use report::{CheckError, CheckReport, Involved, QueueText, Rule};

use super::flat::{Flat, IssueNo};
use super::form::MapInfo;
use super::timing;
use quadrille_isa::tsp::{Machine, Program};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Errors kept before sorting: enough that the earliest hundred are among them in practice, few
/// enough to bound memory.
const KEPT: usize = 5000;

/// Number of an execution over the whole program: those of one issue are consecutive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ExecNo(u32);

/// Not an execution.
const NO_EXEC: ExecNo = ExecNo(u32::MAX);

/// Everything that the rules read, and the errors that they write.
struct Checker<'a> {
    program: &'a Program,
    machine: &'a Machine,
    flat: Flat<'a>,
    maps: Vec<MapInfo>,
    /// First execution of each issue, and one more entry for the end.
    exec_base: Vec<u32>,
    errors: Vec<CheckError>,
    error_count: u64,
    by_rule: BTreeMap<Rule, u64>,
    samples: u64,
}

/// An error about to be reported.
struct Finding {
    rule: Rule,
    cycle: Option<u64>,
    at: Option<ExecNo>,
    other: Option<ExecNo>,
}

impl Finding {
    fn new(rule: Rule) -> Finding {
        Finding { rule, cycle: None, at: None, other: None }
    }

    fn cycle(mut self, cycle: u64) -> Finding {
        self.cycle = Some(cycle);
        self
    }

    fn at(mut self, e: ExecNo) -> Finding {
        self.at = Some(e);
        self
    }

    fn other(mut self, e: Option<ExecNo>) -> Finding {
        self.other = e.filter(|&e| e != NO_EXEC);
        self
    }
}

impl<'a> Checker<'a> {
    /// Counts an error, and words it while there is room. `words` gives place and sentence.
    fn report(&mut self, f: Finding, words: impl FnOnce(&Self) -> (String, String)) {
        self.error_count += 1;
        *self.by_rule.entry(f.rule).or_default() += 1;
        if self.errors.len() >= KEPT {
            return;
        }
        let (place, message) = words(self);
        let at = f.at.map(|e| self.involved(e));
        let other = f.other.map(|e| self.involved(e));
        let unit = at.as_ref().map_or("program".to_string(), |a| a.issue.queue.to_string());
        let cycle = f.cycle.or(at.as_ref().map(|a| a.cycle));
        self.errors.push(CheckError { rule: f.rule, cycle, unit, place, message, at, other });
    }

    /// An error that is about no execution.
    fn report_table(&mut self, rule: Rule, unit: impl Display, message: String) {
        self.error_count += 1;
        *self.by_rule.entry(rule).or_default() += 1;
        if self.errors.len() < KEPT {
            let unit = unit.to_string();
            self.errors.push(CheckError {
                rule,
                cycle: None,
                unit,
                place: String::new(),
                message,
                at: None,
                other: None,
            });
        }
    }

    fn involved(&self, e: ExecNo) -> Involved {
        let (no, k) = self.locate(e);
        let issue = self.flat.issue(no);
        Involved {
            issue: self.flat.issue_ref(no),
            execution: k,
            cycle: u64::from(issue.cycle) + u64::from(k) * u64::from(issue.repeat.d),
            text: issue.inst.to_string(),
        }
    }

    /// The issue of an execution, and which of its executions it is.
    fn locate(&self, e: ExecNo) -> (IssueNo, u32) {
        let no = self.exec_base.partition_point(|&b| b <= e.0) - 1;
        (IssueNo(no as u32), e.0 - self.exec_base[no])
    }

    fn exec(&self, no: IssueNo, k: u32) -> ExecNo {
        ExecNo(self.exec_base[no.0 as usize] + k)
    }

    fn executions(&self, no: IssueNo) -> u32 {
        self.exec_base[no.0 as usize + 1] - self.exec_base[no.0 as usize]
    }

    fn cycle_of(&self, no: IssueNo, k: u32) -> u64 {
        let issue = self.flat.issue(no);
        u64::from(issue.cycle) + u64::from(k) * u64::from(issue.repeat.d)
    }

    fn issue_numbers(&self) -> impl Iterator<Item = IssueNo> + use<> {
        (0..self.flat.issues.len() as u32).map(IssueNo)
    }

    fn value_name(&self, v: u32) -> &'a str {
        &self.program.values[v as usize].name
    }

    /// Length of the program.
    fn cycles(&self) -> u64 {
        let last = self.issue_numbers().map(|no| {
            let issue = self.flat.issue(no);
            let queue = self.flat.queue(no).id;
            let event = |k: u32| {
                let step = i64::from(k) * i64::from(issue.repeat.a);
                self.cycle_of(no, k) + u64::from(timing::last_event(&issue.inst, queue, self.machine, &self.maps, step))
            };
            let n = issue.repeat.n;
            if timing::drive_varies(&issue.inst) { (0..=n).map(event).max().unwrap_or(0) } else { event(n) }
        });
        last.max().unwrap_or(0) + u64::from(self.machine.geometry.superlanes) - 1
    }

    fn finish(mut self, cycles: u64, text: Vec<QueueText>, text_bytes: u64) -> CheckReport {
        let key = |e: &CheckError| (e.cycle.unwrap_or(0), e.rule, e.at.as_ref().map(|a| (a.issue, a.execution)));
        self.errors.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message)));
        self.errors.truncate(CheckReport::MAX_ERRORS);
        CheckReport {
            errors: self.errors,
            error_count: self.error_count,
            by_rule: self.by_rule,
            cycles,
            text,
            text_bytes,
            executions: self.exec_base.last().copied().unwrap_or(0).into(),
            samples: self.samples,
        }
    }
}

/// Proves a program, or says what is wrong with it.
///
/// Never panics, on any program; time and memory are bounded by the program's executions,
/// which are themselves bounded (`limit`).
pub fn check(program: &Program, machine: &Machine) -> CheckReport {
    let mut c = Checker {
        program,
        machine,
        flat: Flat::new(program, machine),
        maps: super::form::map_infos(&program.maps, machine),
        exec_base: vec![0],
        errors: Vec::new(),
        error_count: 0,
        by_rule: BTreeMap::new(),
        samples: 0,
    };
    c.structure();
    if c.error_count > 0 {
        c.exec_base = vec![0];
        return c.finish(0, Vec::new(), 0);
    }
    let cycles = c.cycles();
    let (text, text_bytes) = c.text();
    let links = c.provenance();
    c.streams(&links);
    c.memory(&links);
    c.mxm(&links);
    c.sxm();
    c.finish(cycles, text, text_bytes)
}
