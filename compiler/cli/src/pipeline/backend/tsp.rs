//! The `tsp` side of a pipeline.

use super::{Checked, Finding, Simulated};
use crate::failure::Failure;
use quadrille_isa::Tensor;
use quadrille_isa::tsp::{Machine, Program};
use quadrille_runtime::tsp::{self, SimError};

pub(super) fn check(program: &Program, machine: &Machine) -> Checked {
    let report = tsp::check(program, machine);
    Checked {
        errors: report
            .errors
            .iter()
            .map(|e| Finding { rule: e.rule.id().to_string(), message: e.to_string() })
            .collect(),
        error_count: report.error_count,
        cycles: Some(report.cycles),
        sram_bytes: None,
    }
}

pub(super) fn simulate(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<Simulated, Failure> {
    let r = tsp::simulate(program, machine, inputs).map_err(|e| match e {
        SimError::Input { .. } => Failure::wrong(e.to_string()),
        e => Failure::wrong(format!("the simulation stopped: {e}")),
    })?;
    Ok(Simulated { outputs: r.outputs, cycles: r.cycles, interval_cycles: None })
}
