//! The `wafer` side of a pipeline.

use super::{Checked, Compiled, Estimate, Finding, Simulated, Tiled, does_not_fit, problem, unsupported_on};
use crate::failure::{Failure, Problem};
use quadrille_compiler::ir::Graph;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{self as runtime, SimError, TaskSpan};
use quadrille_wafer::{self as compiler, CompileError};

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
    run(program, machine, inputs, &runtime::Options::default()).map(|(_, simulated)| simulated)
}

pub(super) fn compile(graph: &Graph, machine: &Machine) -> Result<Compiled, Failure> {
    let c = compiler::compile(graph, machine, &compiler::Options::default()).map_err(|e| failure(graph, machine, e))?;
    let e = c.estimate;
    Ok(Compiled {
        account: None,
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

pub(super) fn unsupported_nodes(graph: &Graph, machine: &Machine) -> Vec<Problem> {
    let nodes = compiler::check(graph, machine).into_iter();
    nodes.filter_map(|n| n.problem).map(|p| problem(p.node, p.op, p.shape, p.reason, p.remedy)).collect()
}

fn failure(graph: &Graph, machine: &Machine, e: CompileError) -> Failure {
    match e {
        CompileError::Unsupported { node, op, shape, reason, remedy } => {
            let first = problem(node, op, shape, reason, remedy);
            unsupported_on(&machine.name, first, unsupported_nodes(graph, machine))
        }
        CompileError::DoesNotFit { what, need, have, reason, remedy } => {
            does_not_fit(&machine.name, &what, (need, have), reason, remedy)
        }
    }
}

/// A run with its hottest links, and when its tasks ran.
pub fn spans(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<(Vec<TaskSpan>, Simulated), Failure> {
    let options = runtime::Options { record_spans: true, record_links: true, ..runtime::Options::default() };
    run(program, machine, inputs, &options)
}

fn run(
    program: &Program,
    machine: &Machine,
    inputs: &[Tensor],
    options: &runtime::Options,
) -> Result<(Vec<TaskSpan>, Simulated), Failure> {
    fits_lanes(program, inputs)?;
    let r = runtime::simulate_with(program, machine, inputs, options).map_err(stopped)?;
    Ok((
        r.spans,
        Simulated { outputs: r.outputs, cycles: r.cycles, interval_cycles: r.interval_cycles, links: r.links },
    ))
}

/// Compiled programs read the low words of 64-bit inputs.
fn fits_lanes(program: &Program, inputs: &[Tensor]) -> Result<(), Failure> {
    for (t, io) in inputs.iter().zip(&program.inputs) {
        if let Some(i) = compiler::beyond_lane(t) {
            let what = format!("element {i} does not fit the 32 bits in which the mesh holds {}", t.dtype);
            return Err(Failure::wrong(format!("input `{}`: {what}; use values of up to 32 bits", io.name)));
        }
    }
    Ok(())
}

fn stopped(e: SimError) -> Failure {
    match e {
        SimError::Input(_) => Failure::wrong(e.to_string()),
        e => Failure::wrong(format!("the simulation stopped: {e}")),
    }
}
