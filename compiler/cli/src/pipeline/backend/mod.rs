//! What the two targets have in common, seen from outside: compile, check, simulate.

mod tsp;
mod wafer;

use super::{Account, Busiest, Mapping, Mode, Programs};
use crate::failure::{Cause, Failure, Problem};
use crate::machine::Machine;
use quadrille_compiler::ir::{Graph, TensorType};
use quadrille_compiler::rewrite::{self, CostModel, RewriteError, RewriteOptions, RewriteReport};
use quadrille_isa::Tensor;
use quadrille_isa::container::AnyProgram;
use quadrille_runtime::wafer::LinkLoad;

/// What the compiler expects of a program, and what no program can beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// From the model and the machine alone.
    pub bound_cycles: u64,
    /// From the best mapping.
    pub mapping_bound_cycles: u64,
    /// Expected length.
    pub cycles: u64,
    /// SRAM that data takes: of the chip, or the most of a PE with its program text.
    pub sram_bytes: u64,
    /// Program text: of the chip, or the largest of a PE.
    pub program_bytes: u64,
    /// PEs used (mesh).
    pub pes: Option<u64>,
    /// Images that follow each other through the same PEs.
    pub images_in_turn: u64,
}

/// The graph that was scheduled: the bit-exact meaning of the program.
#[allow(missing_docs)]
pub enum Tiled {
    Tsp(Box<quadrille_tsp::TiledGraph>),
    Wafer(Box<quadrille_wafer::TiledGraph>),
    WholeMesh(Box<quadrille_wafer::whole_mesh::WholeMesh>),
}

impl Tiled {
    /// Its outputs, bit for bit those of a right simulation.
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        match self {
            Tiled::Tsp(t) => t.eval(inputs).map_err(|e| e.to_string()),
            Tiled::Wafer(t) => t.eval(inputs).map_err(|e| e.to_string()),
            Tiled::WholeMesh(t) => t.eval(inputs),
        }
        .map_err(|e| Failure::wrong(format!("the tiled graph cannot be evaluated: {e}")))
    }

    /// The text form.
    pub fn print(&self) -> String {
        match self {
            Tiled::Tsp(t) => t.to_string(),
            Tiled::Wafer(t) => t.to_string(),
            Tiled::WholeMesh(t) => t.print(),
        }
    }
}

/// A compiled model.
#[allow(missing_docs)]
pub struct Compiled {
    pub program: AnyProgram,
    pub tiled: Tiled,
    pub estimate: Estimate,
    /// Where the cycles went (chip).
    pub account: Option<Account>,
    /// What binds (pipelines on a mesh): the largest first.
    pub busiest: Vec<Busiest>,
}

impl Compiled {
    /// The plan of whole-mesh mode.
    pub fn whole_mesh(&self) -> Option<&quadrille_wafer::whole_mesh::WholeMesh> {
        match &self.tiled {
            Tiled::WholeMesh(m) => Some(m),
            _ => None,
        }
    }
}

/// One broken rule.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: String,
    /// Where, and what is wrong.
    pub message: String,
}

/// What the static checker says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Broken rules; a long list is cut.
    pub errors: Vec<Finding>,
    /// Broken rules in all.
    pub error_count: u64,
    /// Length that follows from the program, where the checker computes it.
    pub cycles: Option<u64>,
    /// Most SRAM that a PE uses, program text included (mesh).
    pub sram_bytes: Option<u64>,
}

/// What a simulation gives.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// In the program's order.
    pub outputs: Vec<Tensor>,
    /// From the barrier or first launch to the last event.
    pub cycles: u64,
    /// Cycles from one image to the next, on a mesh with several in flight.
    pub interval_cycles: Option<u64>,
    /// The links with most wavelets, on a mesh whose run was recorded.
    pub links: Vec<LinkLoad>,
}

/// The cost model that rewriting for a machine goes by.
pub fn cost_model(machine: &Machine) -> Box<dyn CostModel> {
    match machine {
        Machine::Tsp(m) => Box::new(quadrille_tsp::Cost::new(m)),
        Machine::Wafer(m) => Box::new(quadrille_wafer::Cost::new(m)),
    }
}

/// Rewrites a graph for a machine; with programs, these choose among forms where they are made quickly.
pub(super) fn rewrite(
    graph: &Graph,
    machine: &Machine,
    programs: Option<&Programs<'_>>,
    options: &RewriteOptions,
) -> Result<(Graph, RewriteReport), Failure> {
    let model = cost_model(machine);
    match programs {
        Some(programs) => rewrite::optimize_judged(graph, &*model, options, programs),
        None => rewrite::optimize(graph, &*model, options),
    }
    .map_err(|e| match e {
        RewriteError::UnknownRule { .. } => Failure::usage(e.to_string()),
        e => Failure::wrong(e.to_string()),
    })
}

/// Problems of all nodes that a machine cannot run; empty when it can run all. In whole-mesh mode, the first.
pub fn unsupported_nodes(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Vec<Problem> {
    if let Some(problem) = oversized(graph) {
        return vec![problem];
    }
    match machine {
        Machine::Tsp(m) => tsp::unsupported_nodes(graph, m),
        Machine::Wafer(m) if mapping.mode == Mode::WholeMesh => wafer::unsupported_in_turn(graph, m, mapping),
        Machine::Wafer(m) => wafer::unsupported_nodes(graph, m),
    }
}

/// Elements of the largest tensor that a target is asked about.
const MAX_ELEMENTS: usize = 1 << 30;

/// Primitives of the largest graph that a target is asked about.
pub const MAX_PRIMITIVES: usize = 400_000;

/// A graph of more nodes than passes and compilers take, so that their time has a bound.
pub(super) fn too_many(graph: &Graph) -> Option<Problem> {
    let n = graph.nodes().len();
    (n > MAX_PRIMITIVES).then(|| Problem {
        reason: format!("the model is {n} primitives after import; at most {MAX_PRIMITIVES} are compiled"),
        remedy: Some("cut the model in parts, or unroll less".to_string()),
        ..Problem::default()
    })
}

/// What no machine could hold: more nodes than are compiled, or a result that compilers need not
/// look at row by row.
fn oversized(graph: &Graph) -> Option<Problem> {
    if let Some(problem) = too_many(graph) {
        return Some(problem);
    }
    let node = graph.nodes().iter().find(|n| graph.ty(n.output).elements() > MAX_ELEMENTS)?;
    let (name, op, shape) = (graph.origin_name(node), node.op.name(), graph.ty(node.output).to_string());
    let reason = format!("the result has more than {MAX_ELEMENTS} elements, more than any machine holds");
    Some(problem(name.to_string(), op.to_string(), shape, reason, "use smaller extents".to_string()))
}

/// A node that a target cannot run, in the words of its compiler.
fn problem(node: String, op: String, shape: String, reason: String, remedy: String) -> Problem {
    Problem {
        node: Some(node),
        op: Some(op),
        shape: Some(shape),
        reason,
        remedy: Some(remedy).filter(|r| !r.is_empty()),
        ..Problem::default()
    }
}

/// Nodes that a machine cannot run: a compiler stops at the first, the user wants all.
fn unsupported_on(machine: &str, first: Problem, all: Vec<Problem>) -> Failure {
    let problems = if all.is_empty() { vec![first] } else { all };
    let n = problems.len();
    let message = format!("not supported on `{machine}` ({n} problem{})", if n == 1 { "" } else { "s" });
    Failure { cause: Cause::Unsupported, message, problems }
}

/// More of something than a machine has.
fn does_not_fit(machine: &str, what: &str, (need, have): (u64, u64), reason: String, remedy: String) -> Failure {
    let message = format!("does not fit `{machine}`: {what}: needs {need}, available {have}");
    Failure::new(Cause::DoesNotFit, message).with(Problem {
        reason,
        remedy: Some(remedy).filter(|r| !r.is_empty()),
        ..Problem::default()
    })
}

/// Compiles an optimised graph; on a mesh, as a pipeline.
pub fn compile(graph: &Graph, machine: &Machine) -> Result<Compiled, Failure> {
    compile_as(graph, machine, &Mapping::default())
}

/// Compiles an optimised graph.
pub fn compile_as(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Result<Compiled, Failure> {
    compilable(graph, machine)?;
    match machine {
        Machine::Tsp(m) => tsp::compile(graph, m),
        Machine::Wafer(m) if mapping.mode == Mode::WholeMesh => wafer::compile_in_turn(graph, m, mapping),
        Machine::Wafer(m) => wafer::compile(graph, m, mapping),
    }
}

/// The estimate of [`compile_as`]; of a pipeline on a mesh without making its program.
pub fn expected_as(graph: &Graph, machine: &Machine, mapping: &Mapping) -> Result<Estimate, Failure> {
    match machine {
        Machine::Wafer(m) if mapping.mode != Mode::WholeMesh => {
            compilable(graph, machine)?;
            wafer::expected(graph, m, mapping)
        }
        _ => compile_as(graph, machine, mapping).map(|c| c.estimate),
    }
}

/// What no compiler is asked for.
fn compilable(graph: &Graph, machine: &Machine) -> Result<(), Failure> {
    match oversized(graph) {
        Some(problem) => Err(unsupported_on(machine.name(), problem, Vec::new())),
        None => Ok(()),
    }
}

/// Checks a program without running it.
pub fn check(program: &AnyProgram, machine: &Machine) -> Result<Checked, Failure> {
    match (program, machine) {
        (AnyProgram::Wafer(p), Machine::Wafer(m)) => Ok(wafer::check(p, m)),
        (AnyProgram::Tsp(p), Machine::Tsp(m)) => Ok(tsp::check(p, m)),
        _ => Err(other_target(program, machine)),
    }
}

/// Runs a program.
pub fn simulate(program: &AnyProgram, machine: &Machine, inputs: &[Tensor]) -> Result<Simulated, Failure> {
    match (program, machine) {
        (AnyProgram::Wafer(p), Machine::Wafer(m)) => wafer::simulate(p, m, inputs),
        (AnyProgram::Tsp(p), Machine::Tsp(m)) => tsp::simulate(p, m, inputs),
        _ => Err(other_target(program, machine)),
    }
}

/// Bytes of program text: of the chip, or the largest of a PE.
pub fn text_bytes(program: &AnyProgram, machine: &Machine) -> u64 {
    match (program, machine) {
        (AnyProgram::Tsp(p), Machine::Tsp(m)) => p.text_bytes(m.program.instruction_bytes),
        (AnyProgram::Wafer(p), Machine::Wafer(m)) => p
            .regions
            .iter()
            .filter_map(|r| {
                let class = p.classes.get(r.class.0 as usize)?;
                let bytes = class.text_bytes(m.program.vector_op_bytes, m.program.task_bytes);
                Some(u64::from(bytes))
            })
            .max()
            .unwrap_or(0),
        _ => 0,
    }
}

/// PEs that run something, on the mesh.
pub fn pes(program: &AnyProgram) -> Option<u64> {
    match program {
        AnyProgram::Tsp(_) => None,
        AnyProgram::Wafer(p) => Some(p.regions.iter().map(|r| u64::from(r.rect.area())).sum()),
    }
}

fn other_target(program: &AnyProgram, machine: &Machine) -> Failure {
    Failure::usage(format!("a {} program cannot run on machine `{}`", program.target(), machine.name()))
}

/// Names and types of a program's inputs, in order.
pub fn declared_inputs(program: &AnyProgram) -> Vec<(String, TensorType)> {
    match program {
        AnyProgram::Tsp(p) => {
            p.inputs.iter().map(|t| (t.name.clone(), TensorType::new(t.dtype, t.shape.clone()))).collect()
        }
        AnyProgram::Wafer(p) => {
            p.inputs.iter().map(|t| (t.name.clone(), TensorType::new(t.dtype, t.shape.clone()))).collect()
        }
    }
}

pub use wafer::spans;
