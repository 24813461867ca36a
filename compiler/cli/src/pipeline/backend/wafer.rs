//! The `wafer` side of a pipeline.

use super::{Checked, Compiled, Estimate, Finding, Simulated, Tiled};
use crate::failure::{Cause, Failure, Problem};
use quadrille_compiler::ir::Graph;
use quadrille_compiler::wafer::{self as compiler, CompileError};
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{self as runtime, SimError, TaskSpan};

pub(super) fn check(program: &Program, machine: &Machine) -> Checked {
    let report = runtime::check(program, machine);
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
    let r = runtime::simulate(program, machine, inputs).map_err(stopped)?;
    Ok(Simulated { outputs: r.outputs, cycles: r.cycles, interval_cycles: r.interval_cycles })
}

pub(super) fn compile(graph: &Graph, machine: &Machine) -> Result<Compiled, Failure> {
    let c = compiler::compile(graph, machine, &compiler::Options::default()).map_err(|e| failure(graph, machine, e))?;
    let e = c.estimate;
    Ok(Compiled {
        program: c.program.into(),
        tiled: Tiled::Wafer(Box::new(c.tiled)),
        estimate: Estimate {
            bound_cycles: e.bound_cycles,
            mapping_bound_cycles: e.mapping_bound_cycles,
            cycles: e.cycles,
            sram_bytes: e.sram_bytes,
            program_bytes: e.program_bytes,
            pes: Some(e.pes),
        },
    })
}

fn failure(graph: &Graph, machine: &Machine, e: CompileError) -> Failure {
    match e {
        CompileError::Unsupported { node, op, shape, reason, remedy } => {
            // The compiler stops at the first; the user wants all.
            let mut problems: Vec<Problem> = compiler::check(graph, machine)
                .into_iter()
                .filter_map(|n| n.problem)
                .map(|p| problem(p.node, p.op, p.shape, p.reason, p.remedy))
                .collect();
            if problems.is_empty() {
                problems.push(problem(node, op, shape, reason, remedy));
            }
            let n = problems.len();
            let message = format!("not supported on `{}` ({n} problem{})", machine.name, if n == 1 { "" } else { "s" });
            Failure { cause: Cause::Unsupported, message, problems }
        }
        CompileError::DoesNotFit { what, need, have, reason, remedy } => Failure::new(
            Cause::DoesNotFit,
            format!("does not fit `{}`: {what}: needs {need}, the machine has {have}", machine.name),
        )
        .with(Problem { reason, remedy: Some(remedy), ..Problem::default() }),
    }
}

fn problem(node: String, op: String, shape: String, reason: String, remedy: String) -> Problem {
    Problem { node: Some(node), op: Some(op), opset: None, shape: Some(shape), reason, remedy: Some(remedy) }
}

/// When the tasks of a run ran.
pub fn spans(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<Vec<TaskSpan>, Failure> {
    let options = runtime::Options { record_spans: true, ..runtime::Options::default() };
    runtime::simulate_with(program, machine, inputs, &options).map(|r| r.spans).map_err(stopped)
}

fn stopped(e: SimError) -> Failure {
    match e {
        SimError::Input(_) => Failure::wrong(e.to_string()),
        e => Failure::wrong(format!("the simulation stopped: {e}")),
    }
}
