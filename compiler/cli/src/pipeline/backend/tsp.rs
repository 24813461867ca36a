//! The `tsp` side of a pipeline.

use super::{Account, Checked, Compiled, Estimate, Finding, Simulated, Tiled, does_not_fit, problem, unsupported_on};
use crate::failure::{Failure, Problem};
use crate::pipeline::{Loss, NodeAccount};
use quadrille_compiler::ir::Graph;
use quadrille_isa::Tensor;
use quadrille_isa::tsp::{Machine, Program};
use quadrille_runtime::tsp::{self as runtime, SimError};
use quadrille_tsp::profile::Profile;
use quadrille_tsp::{self as compiler, CompileError};

pub(super) fn check(program: &Program, machine: &Machine) -> Checked {
    let report = runtime::check(program, machine);
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
    let r = runtime::simulate(program, machine, inputs).map_err(|e| match e {
        SimError::Input { .. } => Failure::wrong(e.to_string()),
        e => Failure::wrong(format!("the simulation stopped: {e}")),
    })?;
    Ok(Simulated { outputs: r.outputs, cycles: r.cycles, interval_cycles: None, links: Vec::new() })
}

pub(super) fn compile(graph: &Graph, machine: &Machine) -> Result<Compiled, Failure> {
    let c = compiler::compile(graph, machine, &compiler::Options::default()).map_err(|e| failure(graph, machine, e))?;
    let e = c.estimate;
    let account = account(&compiler::profile::profile(&c, machine), machine);
    Ok(Compiled {
        account: Some(account),
        busiest: Vec::new(),
        program: c.program.into(),
        tiled: Tiled::Tsp(Box::new(c.tiled)),
        estimate: Estimate {
            bound_cycles: e.bound_cycles,
            mapping_bound_cycles: e.mapping_bound_cycles,
            cycles: e.cycles,
            sram_bytes: e.sram_bytes,
            program_bytes: e.program_bytes,
            pes: None,
            images_in_turn: 1,
        },
    })
}

fn account(p: &Profile, machine: &Machine) -> Account {
    let planes = u64::from(machine.planes()).max(1);
    let nodes = p.nodes.iter().map(|n| NodeAccount {
        node: n.node.clone(),
        bound: n.demand.busiest(machine).1,
        bound_by: n.bound_by(machine).name(),
        waits: n.waits.by_cause().map(|(c, sum)| (c.name(), sum / planes)).filter(|w| w.1 > 0).collect(),
    });
    let losses = p.losses.iter().map(|l| Loss {
        cause: l.cause.map_or("after", |c| c.name()),
        cycles: l.cycles,
        node: l.most.as_ref().map(|m| m.0.clone()),
        node_cycles: l.most.as_ref().map(|m| m.1),
    });
    Account { nodes: nodes.collect(), busy: p.busy, losses: losses.collect() }
}

pub(super) fn unsupported_nodes(graph: &Graph, machine: &Machine) -> Vec<Problem> {
    let nodes = compiler::check(graph, machine).into_iter();
    nodes.filter_map(|n| n.unsupported).map(|p| problem(p.node, p.op, p.shape, p.reason, p.remedy)).collect()
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
