//! The `wafer` side of a pipeline.

use super::{Checked, Compiled, Estimate, Finding, Simulated, Tiled, does_not_fit, problem, unsupported_on};
use crate::failure::{Cause, Failure, Problem};
use crate::pipeline::{Busiest, Mapping};
use quadrille_compiler::ir::Graph;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::{self as runtime, SimError, TaskSpan};
use quadrille_wafer::whole_mesh::{self, Grid};
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

fn options(mapping: &Mapping) -> compiler::Options {
    let Mapping { lanes, bands, groups, sequence, sums, kernel_pes, .. } = *mapping;
    compiler::Options { max_pes_per_kernel: kernel_pes, lanes, bands, groups, sequence, sums }
}

pub(super) fn expected(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Result<Estimate, Failure> {
    let e = compiler::expected(graph, machine, &options(mapping))
        .map_err(|e| failure(machine, e, || unsupported_nodes(graph, machine)))?;
    Ok(estimate(&e))
}

pub(super) fn compile(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Result<Compiled, Failure> {
    let c = compiler::compile(graph, machine, &options(mapping))
        .map_err(|e| failure(machine, e, || unsupported_nodes(graph, machine)))?;
    let (program, tiled) = (c.program.into(), Tiled::Wafer(Box::new(c.tiled)));
    let named = |b: compiler::Busiest| Busiest { node: b.node, resource: b.resource, cycles: b.cycles };
    let busiest = c.busiest.into_iter().map(named).collect();
    Ok(Compiled { account: None, busiest, program, tiled, estimate: estimate(&c.estimate) })
}

/// Whole-mesh mode.
pub(super) fn compile_in_turn(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Result<Compiled, Failure> {
    let failed = |e| failure(machine, e, Vec::new);
    let options = whole_mesh::Options { even_memory: mapping.even_memory, turned: mapping.turned };
    let grid = match mapping.grid {
        Some(g) => Grid { width: g.width, height: g.height },
        None => whole_mesh::best_grid(graph, machine, &options).map_err(failed)?,
    };
    let mut c = whole_mesh::compile(graph, machine, grid, &options).map_err(failed)?;
    let (program, estimate) = (std::mem::take(&mut c.program).into(), estimate(&c.estimate));
    Ok(Compiled { account: None, busiest: Vec::new(), program, tiled: Tiled::WholeMesh(Box::new(c)), estimate })
}

fn estimate(e: &compiler::Estimate) -> Estimate {
    Estimate {
        bound_cycles: e.bound_cycles,
        mapping_bound_cycles: e.mapping_bound_cycles,
        cycles: e.cycles,
        sram_bytes: e.sram_bytes,
        program_bytes: e.program_bytes,
        pes: Some(e.pes),
        images_in_turn: e.images_in_turn,
    }
}

/// The first node in the way of whole-mesh mode.
pub(super) fn unsupported_in_turn(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Vec<Problem> {
    let refused = compile_in_turn(graph, machine, mapping).err().filter(|f| f.cause == Cause::Unsupported);
    refused.map_or(Vec::new(), |f| f.problems)
}

pub(super) fn unsupported_nodes(graph: &Graph, machine: &Machine) -> Vec<Problem> {
    let nodes = compiler::check(graph, machine).into_iter();
    nodes.filter_map(|n| n.problem).map(|p| problem(p.node, p.op, p.shape, p.reason, p.remedy)).collect()
}

fn failure(machine: &Machine, e: CompileError, all: impl FnOnce() -> Vec<Problem>) -> Failure {
    match e {
        CompileError::Unsupported { node, op, shape, reason, remedy } => {
            let first = problem(node, op, shape, reason, remedy);
            unsupported_on(&machine.name, first, all())
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
    // Where nothing crosses the edge, the run begins with the first launch.
    let ports = !program.in_ports.is_empty() || !program.out_ports.is_empty();
    let cycles = if ports { r.cycles } else { r.kernel_cycles };
    Ok((r.spans, Simulated { outputs: r.outputs, cycles, interval_cycles: r.interval_cycles, links: r.links }))
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
