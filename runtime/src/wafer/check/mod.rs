//! The static checker: proves a program sound without running data.
//!
//! Stages; execution runs only when the ones before found nothing, since a broken program is
//! misread by what builds on it. The rules and their ids are the list in `rule.rs`; `docs/isa-wafer.md` explains each.
//!
//! 1. *Structure* (`structure.rs`): `machine`, `reference`, `param`, `queue-color`,
//!    `data-place`, `sram` (data, text), and, per class, `operand`, `type`, `microthread`,
//!    `queue-use`, `activation`.
//! 2. *Ports* (`ports.rs`): `port`.
//! 3. *Routes* (`fabric.rs`): `region-place`, `route-place`, `route-port`, `route-source`,
//!    `route-two-inputs`, `route-sink`, `route-loop`.
//! 4. *Tensors in SRAM* (`resident.rs`): `resident`, `sram`, `align`, `data-place`; then `output` (each element named once).
//! 5. *Execution* (`exec.rs`): every PE's tasks run untimed, burst by burst, with the real
//!    capacities of queues, ramps and links (`flow.rs`), and no values. Decides `sram`,
//!    `align`, `operand`, `param` (per execution), `microthread`, `queue-use`, `in-flight`
//!    (`overlap.rs`), `task-order`, `activation`, `traffic`, `deadlock`, `runaway`, `output`.
//!
//! Untimed execution is enough: a PE's control is determinate (that is what `task-order` and
//! `activation` establish) and every queue has one sender, so what can be sent and received
//! does not depend on when.

mod exec;
mod flow;
mod overlap;
mod structure;

use super::fabric;
use super::lower;
use super::ports;
use super::resident;
use super::rule::{CheckError, Errors};
use quadrille_isa::wafer::{Machine, Program};

pub(super) use structure::structure;

/// What the checker found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Broken rules; at most eight of each rule are kept.
    pub errors: Vec<CheckError>,
    /// How many there were in all (of the stages that ran).
    pub total_errors: u64,
    /// PEs with a program or a route.
    pub pes: u64,
    /// Vector operations executed, over all PEs.
    pub operations: u64,
    /// Largest SRAM use of a PE, program text included, in bytes: the highest byte that data or
    /// an operand reaches.
    pub sram_bytes: u32,
    /// Largest program text of a PE, in bytes.
    pub program_bytes: u32,
}

impl CheckReport {
    /// True when no rule is broken.
    pub fn ok(&self) -> bool {
        self.total_errors == 0
    }
}

/// Stage 4: where tensors lie in SRAM, and that outputs are complete.
pub(super) fn tensors_in_sram(program: &Program, machine: &Machine, fabric: &fabric::Fabric, errors: &mut Errors) {
    if errors.is_empty() {
        resident::check(program, machine, fabric, errors);
    }
    if errors.is_empty() {
        ports::check_coverage(program, errors);
    }
}

/// Checks a program against a machine description. Never panics, whatever the program holds.
pub fn check(program: &Program, machine: &Machine) -> CheckReport {
    check_by(program, machine, true)
}

/// The same, with wavelets moving no further at a time than queues and buffers hold: slow, and the plainer reading
/// of the page, which [`check`] is held against.
pub fn check_stepwise(program: &Program, machine: &Machine) -> CheckReport {
    check_by(program, machine, false)
}

fn check_by(program: &Program, machine: &Machine, looks_ahead: bool) -> CheckReport {
    let mut errors = Errors::new();
    let mut report = CheckReport::default();
    structure(program, machine, &mut errors);
    ports::check(program, machine, &mut errors);
    let fabric = fabric::build(program, machine, &mut errors);
    tensors_in_sram(program, machine, &fabric, &mut errors);
    if errors.is_empty() {
        report.pes = fabric.sites.len() as u64;
        let mut faults = Vec::new();
        let classes: Vec<_> = program.classes.iter().map(|c| lower::lower(c, machine, &mut faults)).collect();
        if faults.is_empty() {
            exec::run(program, machine, &fabric, &classes, &mut errors, &mut report, looks_ahead);
        }
    }
    report.total_errors = errors.total;
    report.errors = errors.list;
    report
}
