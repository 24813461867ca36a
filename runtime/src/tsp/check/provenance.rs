//! The provenance table, joined to the issues: which definition each slot of each execution
//! names, each exactly once.
//!
//! Knows the table and which slots an instruction has. Does not know whether a name is true:
//! that is for the modules that follow streams and state.

use super::{Checker, ExecNo, Finding, NO_EXEC, Rule};
use crate::tsp::flat::IssueNo;
use crate::tsp::timing;
use quadrille_isa::tsp::{AccMode, ActType, Inst, OUT_CHAIN, Operand, Provenance, SLOT_STATE};

/// Executions `first .. first + count` of one slot of one issue see results `out` of
/// executions of one definition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) slot: u8,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) def: IssueNo,
    pub(super) out: u8,
    /// First execution of the definition, and the step between those of two uses.
    pub(super) def_exec: ExecNo,
    pub(super) def_step: u32,
}

/// Links of all issues, by issue, slot, execution.
pub(super) struct Links {
    starts: Vec<u32>,
    links: Vec<Link>,
}

impl Links {
    /// Links of an issue, ordered by slot and execution.
    pub(super) fn of(&self, no: IssueNo) -> &[Link] {
        &self.links[self.starts[no.0 as usize] as usize..self.starts[no.0 as usize + 1] as usize]
    }

    /// Links of one slot.
    pub(super) fn of_slot(&self, no: IssueNo, slot: u8) -> &[Link] {
        let all = self.of(no);
        let from = all.partition_point(|l| l.slot < slot);
        &all[from..from + all[from..].partition_point(|l| l.slot == slot)]
    }

    /// The execution that each execution of `no` names in `slot`; [`NO_EXEC`] where none is.
    pub(super) fn named(&self, no: IssueNo, slot: u8, executions: u32, out: &mut Vec<ExecNo>) {
        out.clear();
        out.resize(executions as usize, NO_EXEC);
        for l in self.of_slot(no, slot) {
            let from = l.first.min(executions) as usize;
            let to = (u64::from(l.first) + u64::from(l.count)).min(u64::from(executions)) as usize;
            for (i, e) in out[from..to].iter_mut().enumerate() {
                *e = ExecNo(l.def_exec.0 + i as u32 * l.def_step);
            }
        }
    }
}

/// Slots of an instruction as bits: 0-127 samples and chains, 128 and 129 state.
fn slots(inst: &Inst, c: &Checker<'_>, no: IssueNo) -> u128 {
    let mut bits = 0u128;
    timing::samples(inst, c.flat.queue(no).id, c.machine, |s| bits |= 1 << s.slot);
    if let Inst::Alu { a, b, c, .. } = inst {
        for (n, o) in [a, b, c].into_iter().enumerate() {
            bits |= u128::from(matches!(o, Operand::Alu(_))) << (4 * n);
        }
    }
    if matches!(inst, Inst::Accumulate { .. }) {
        bits |= 1;
    }
    bits
}

/// Number of state slots of an instruction.
fn states(inst: &Inst) -> u8 {
    match inst {
        Inst::Activations { ty: ActType::F16, .. } => 2,
        Inst::Activations { .. } | Inst::Accumulate { mode: AccMode::Add, .. } => 1,
        _ => 0,
    }
}

impl Checker<'_> {
    /// Joins the table to the issues and checks that it is complete and well formed.
    pub(super) fn provenance(&mut self) -> Links {
        let table = &self.program.provenance;
        let issues = self.flat.issues.len();
        // Sorted by issue by counting; entries of one issue keep their order.
        let mut starts = vec![0u32; issues + 1];
        let mut usable = Vec::with_capacity(table.len());
        for (n, entry) in table.iter().enumerate() {
            if let Some((use_, def)) = self.entry(n, entry) {
                starts[use_.0 as usize + 1] += u32::from(entry.width);
                usable.push((use_, def, entry));
            }
        }
        for i in 0..issues {
            starts[i + 1] += starts[i];
        }
        let blank = Link { slot: 0, first: 0, count: 0, def: IssueNo(0), out: 0, def_exec: NO_EXEC, def_step: 0 };
        let mut links = vec![blank; starts[issues] as usize];
        let mut next = starts.clone();
        for (use_, def, e) in usable {
            for j in 0..e.width {
                let at = &mut next[use_.0 as usize];
                links[*at as usize] = Link {
                    slot: e.slot + j,
                    first: e.first,
                    count: e.count,
                    def,
                    // A chained result and state have one number whatever the width, which is 1.
                    out: e.out.wrapping_add(j),
                    def_exec: self.exec(def, e.def_first),
                    def_step: if e.count > 1 { e.def_step } else { 0 },
                };
                *at += 1;
            }
        }
        for i in 0..issues {
            links[starts[i] as usize..starts[i + 1] as usize].sort_by_key(|l| (l.slot, l.first));
        }
        let links = Links { starts, links };
        for no in self.issue_numbers() {
            self.coverage(no, &links);
        }
        links
    }

    /// Looks at one entry by itself; gives use and definition when it can be followed.
    fn entry(&mut self, n: usize, e: &Provenance) -> Option<(IssueNo, IssueNo)> {
        let (use_, def) = (self.flat.find(e.use_)?, self.flat.find(e.def)?);
        let ends = u64::from(e.first) + u64::from(e.count);
        let (uses, defs) = (self.executions(use_), self.executions(def));
        if e.count == 0 || e.width == 0 {
            return self.bad_entry(Rule::ProvenanceForm, n, "it covers nothing".into());
        }
        if ends > u64::from(uses) {
            return self.bad_entry(
                Rule::Reference,
                n,
                format!("executions {} to {ends} of {uses} of its use", e.first),
            );
        }
        let last = u64::from(e.def_first) + u64::from(e.count - 1) * u64::from(e.def_step);
        if last >= u64::from(defs) {
            return self.bad_entry(
                Rule::Reference,
                n,
                format!("executions {} to {last} of {defs} of its definition", e.def_first),
            );
        }
        let inst = &self.flat.issue(use_).inst;
        let width = u32::from(e.slot) + u32::from(e.width);
        let known = if e.slot >= SLOT_STATE {
            width <= u32::from(SLOT_STATE) + u32::from(states(inst))
        } else if matches!(inst, Inst::InstallWeights) {
            width <= u32::from(SLOT_STATE)
        } else {
            let have = slots(inst, self, use_);
            width <= 128 && (u32::from(e.slot)..width).all(|s| have >> s & 1 == 1)
        };
        if !known {
            let what = inst.to_string();
            return self.bad_entry(Rule::ProvenanceForm, n, format!("{what} has no slots {} to {}", e.slot, width - 1));
        }
        let def_inst = &self.flat.issue(def).inst;
        if !self.gives(def_inst, def, e, inst) {
            let what = def_inst.to_string();
            return self.bad_entry(
                Rule::ProvenanceForm,
                n,
                format!("{what} gives no results {} of width {} there", e.out, e.width),
            );
        }
        Some((use_, def))
    }

    fn bad_entry<T>(&mut self, rule: Rule, n: usize, message: String) -> Option<T> {
        self.report_table(rule, format!("provenance entry {n}"), message);
        None
    }

    /// True when the definition is of a kind that can give the results where they are used.
    fn gives(&self, def_inst: &Inst, def: IssueNo, e: &Provenance, use_inst: &Inst) -> bool {
        let single = e.width == 1 && e.out == 0;
        match (use_inst, e.slot >= SLOT_STATE) {
            (Inst::Activations { .. }, true) => matches!(def_inst, Inst::InstallWeights) && single,
            (Inst::Accumulate { .. }, true) => matches!(def_inst, Inst::Accumulate { .. }) && single,
            (Inst::Accumulate { .. }, false) => matches!(def_inst, Inst::Activations { .. }) && single,
            (Inst::InstallWeights, _) => matches!(def_inst, Inst::LoadWeights { .. }) && single,
            (Inst::Alu { a, b, c, .. }, _) if matches!([a, b, c][usize::from(e.slot / 4).min(2)], Operand::Alu(_)) => {
                matches!(def_inst, Inst::Alu { .. }) && e.width == 1 && e.out == OUT_CHAIN
            }
            _ => {
                let mut outs = 0u32;
                timing::drives(def_inst, self.flat.queue(def).id, self.machine, &self.maps, 0, |d| outs |= 1 << d.out);
                let last = u32::from(e.out) + u32::from(e.width);
                last <= 32 && (u32::from(e.out)..last).all(|o| outs >> o & 1 == 1)
            }
        }
    }

    /// Checks that each slot of each execution has one link. Installs are left to the plane's
    /// own check: how many slots they have depends on the loads.
    fn coverage(&mut self, no: IssueNo, links: &Links) {
        let inst = &self.flat.issue(no).inst;
        if matches!(inst, Inst::InstallWeights) {
            return;
        }
        let executions = self.executions(no);
        let plain = slots(inst, self, no);
        let plain = (0..SLOT_STATE).filter(|s| plain >> s & 1 == 1);
        let state = (0..states(inst)).map(|s| SLOT_STATE + s);
        let mut rest = links.of(no);
        for slot in plain.chain(state) {
            let here = rest.partition_point(|l| l.slot == slot);
            let mut covered = 0;
            for l in &rest[..here] {
                if l.first > covered {
                    self.missing(no, slot, covered, l.first);
                }
                if l.first < covered {
                    self.report(Finding::new(Rule::ProvenanceTwice).at(self.exec(no, l.first)), |_| {
                        (format!("slot {slot}"), format!("two entries cover execution {}", l.first))
                    });
                }
                covered = covered.max(l.first + l.count);
            }
            if covered < executions {
                self.missing(no, slot, covered, executions);
            }
            self.samples += u64::from(executions);
            rest = &rest[here..];
        }
    }

    fn missing(&mut self, no: IssueNo, slot: u8, from: u32, to: u32) {
        self.report(Finding::new(Rule::ProvenanceMissing).at(self.exec(no, from)), |_| {
            (format!("slot {slot}"), format!("no entry for executions {from} to {}", to - 1))
        });
    }
}
