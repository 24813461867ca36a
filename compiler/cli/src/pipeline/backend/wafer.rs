//! The `wafer` side of a pipeline.

use super::{Checked, Finding, Simulated};
use crate::failure::Failure;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{self, SimError};

pub(super) fn check(program: &Program, machine: &Machine) -> Checked {
    let report = wafer::check(program, machine);
    Checked {
        errors: report
            .errors
            .iter()
            .map(|e| Finding { rule: e.rule.id().to_string(), message: e.to_string() })
            .collect(),
        error_count: report.total_errors,
        cycles: None,
        sram_bytes: Some(report.sram_bytes.into()),
    }
}

pub(super) fn simulate(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<Simulated, Failure> {
    let r = wafer::simulate(program, machine, inputs).map_err(|e| match e {
        SimError::Input(_) => Failure::wrong(e.to_string()),
        e => Failure::wrong(format!("the simulation stopped: {e}")),
    })?;
    Ok(Simulated { outputs: r.outputs, cycles: r.cycles, interval_cycles: r.interval_cycles })
}
