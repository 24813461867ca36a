//! What one machine makes of a model, and of each of its nodes.

use super::{Estimate, Question};
use crate::bound::{Resource, Work};
use crate::compare::Precision;
use crate::failure::{Cause, Failure, Problem};
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Busiest};
use quadrille_compiler::import::Survey;
use quadrille_compiler::ir::Graph;
use quadrille_onnx::Model;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// Beyond either of these, compiling is not cheap.
const CHEAP_PRIMITIVES: usize = 20_000;
const CHEAP_MACS: u64 = 8_000_000_000;
/// Beyond this, rewriting is out of proportion to the question which nodes are supported.
const REWRITTEN_PRIMITIVES: usize = 100_000;

/// Where `cycles` come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimated {
    /// The model was compiled.
    Compiled,
    /// The model was not compiled; only the bound is known.
    Bound,
}

/// Support of one node of the user's model. `null` for a target that was not asked for, and where
/// it cannot be told; the reason then says why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs)]
pub struct NodeSupport {
    pub node: String,
    pub op: String,
    pub tsp: Option<bool>,
    pub wafer: Option<bool>,
    pub reason: Option<String>,
}

/// What one machine makes of the model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TargetSupport {
    /// The target.
    pub target: Target,
    /// The machine.
    pub machine: String,
    /// Arithmetic; `null` while extents are open.
    pub precision: Option<Precision>,
    /// Nothing is known to stand in the way; with `estimated_by` compiled, it has a program.
    pub ok: bool,
    /// Why not.
    pub cause: Option<Cause>,
    /// Why not, in a line.
    pub message: Option<String>,
    /// How far the answer goes.
    pub estimated_by: Option<Estimated>,
    /// Expected length, if it was compiled.
    pub cycles: Option<u64>,
    /// What no program can beat.
    pub bound_cycles: Option<u64>,
    /// What makes the bound.
    pub bound_by: Option<Resource>,
    /// Bound of the mapping that was chosen.
    pub mapping_bound_cycles: Option<u64>,
    /// Turns cycles into time.
    pub clock_mhz: u32,
    /// SRAM that data takes: of the chip, or the most of a PE with its program text. For a model that was
    /// not compiled the weights alone, over all PEs.
    pub sram_bytes: Option<u64>,
    /// SRAM that the machine has for it: of the chip, or of a PE; of all PEs for a model that was not
    /// compiled.
    pub sram_capacity_bytes: u64,
    /// Program text: of the chip, or the largest of a PE.
    pub program_bytes: Option<u64>,
    /// PEs used.
    pub pes: Option<u64>,
    /// What binds a pipeline on a mesh, the busiest first; `null` where it was not compiled, and on a chip.
    pub busiest: Option<Vec<Busiest>>,
}

/// SRAM for data on the chip, or of one PE, and number of such memories.
fn memory(machine: &Machine) -> (u64, u64) {
    match machine {
        Machine::Tsp(m) => {
            let g = &m.geometry;
            let slices = g.mem_slices_per_hemisphere.saturating_sub(m.program.reserved_slices_per_hemisphere);
            (2 * u64::from(slices) * u64::from(g.words_per_slice) * m.lanes() as u64, 1)
        }
        Machine::Wafer(m) => {
            let g = &m.geometry;
            (u64::from(g.sram_bytes_per_pe), u64::from(g.width_pes) * u64::from(g.height_pes))
        }
    }
}

/// Asks one machine.
pub(super) fn ask(
    q: &Question<'_>,
    machine: &Machine,
    graph: Option<&Graph>,
    refused: Option<&Failure>,
) -> (TargetSupport, Option<Failure>) {
    let (capacity, memories) = memory(machine);
    let precision = graph.map(|g| pipeline::precision(g, machine.target(), q.precision));
    let work = graph.zip(precision).filter(|_| refused.is_none()).map(|(g, p)| (Work::at(g, p), p));
    let bound = work.map(|(w, p)| w.bound(machine, p));
    let mut s = TargetSupport {
        target: machine.target(),
        machine: machine.name().to_string(),
        precision,
        ok: false,
        cause: None,
        message: None,
        estimated_by: None,
        cycles: None,
        bound_cycles: bound.map(|b| b.0),
        bound_by: bound.map(|b| b.1),
        mapping_bound_cycles: None,
        clock_mhz: machine.clock_mhz(),
        sram_bytes: None,
        sram_capacity_bytes: capacity,
        program_bytes: None,
        pes: None,
        busiest: None,
    };
    let outcome = match (graph, refused) {
        (Some(g), None) => {
            let work = work.unwrap_or((Work::of(g), Precision::F16));
            attempt(q, machine, g, work, capacity.saturating_mul(memories), &mut s)
        }
        (Some(g), Some(refused)) => Err(partial(q, machine, g, refused)),
        (None, refused) => Err(refused.cloned().unwrap_or_else(|| Failure::wrong("the model has no graph"))),
    };
    match outcome {
        Ok(()) => {
            s.ok = true;
            (s, None)
        }
        Err(f) => {
            s.cause = Some(f.cause);
            s.message = Some(f.message.clone());
            (s, Some(f))
        }
    }
}

/// The whole graph is there: compile it, or see how far its figures go.
fn attempt(
    q: &Question<'_>,
    machine: &Machine,
    imported: &Graph,
    (work, precision): (Work, Precision),
    capacity: u64,
    s: &mut TargetSupport,
) -> Result<(), Failure> {
    let cheap = imported.nodes().len() <= CHEAP_PRIMITIVES && work.macs <= CHEAP_MACS;
    if q.estimate == Estimate::Compile || q.estimate == Estimate::Auto && cheap {
        let graph = pipeline::prepare(imported, machine, q.preparation)?;
        let compiled = pipeline::compile_as(&graph, machine, &q.preparation.mapping)?;
        let e = compiled.estimate;
        s.estimated_by = Some(Estimated::Compiled);
        s.cycles = Some(e.cycles);
        s.mapping_bound_cycles = Some(e.mapping_bound_cycles);
        s.sram_bytes = Some(e.sram_bytes);
        s.program_bytes = Some(e.program_bytes);
        s.pes = e.pes;
        s.busiest = Some(compiled.busiest).filter(|b| !b.is_empty());
        return Ok(());
    }
    s.estimated_by = Some(Estimated::Bound);
    // A mesh holds whole numbers in f16.
    let held = if machine.target() == Target::Wafer { Precision::F16 } else { precision };
    let weights = work.weight_bytes(held);
    s.sram_bytes = Some(weights);
    s.sram_capacity_bytes = capacity;
    if weights > capacity {
        let message =
            format!("does not fit `{}`: the weights need {weights} bytes, the machine has {capacity}", machine.name());
        let reason = "both machines keep all weights in SRAM";
        let chips = weights.div_ceil(capacity.max(1));
        let remedy =
            format!("quantise or cut the model; not fewer than {chips} machines of this size hold its weights");
        let problem = Problem { reason: reason.into(), remedy: Some(remedy), ..Problem::default() };
        return Err(Failure::new(Cause::DoesNotFit, message).with(problem));
    }
    let graph = prepared(q, machine, imported)?;
    let problems = pipeline::unsupported_nodes(&graph, machine, &q.preparation.mapping);
    if problems.is_empty() {
        return Ok(());
    }
    let n = problems.len();
    let message = format!("not supported on `{}` ({n} problem{})", machine.name(), if n == 1 { "" } else { "s" });
    Err(Failure { cause: Cause::Unsupported, message, problems })
}

/// A graph as a target is asked about it; beyond what is compiled, `prepare` says so.
fn prepared(q: &Question<'_>, machine: &Machine, graph: &Graph) -> Result<Graph, Failure> {
    if !(REWRITTEN_PRIMITIVES..=pipeline::MAX_PRIMITIVES).contains(&graph.nodes().len()) {
        let mut how = q.preparation.clone();
        // Every form of a graph is supported, or none: no programs need to be made.
        how.rewrite.extraction.get_or_insert_default();
        return pipeline::prepare(graph, machine, &how);
    }
    pipeline::run_passes(graph, Some(machine), &["clean".to_string()])
}

/// The model is refused, but part of it was imported: what would be next in the way.
fn partial(q: &Question<'_>, machine: &Machine, graph: &Graph, refused: &Failure) -> Failure {
    let mut all = refused.clone();
    if let Ok(graph) = prepared(q, machine, graph) {
        all.problems.extend(pipeline::unsupported_nodes(&graph, machine, &q.preparation.mapping));
    }
    all
}

/// Problems of one target by the names of nodes that they concern.
struct ByNode<'a>(HashMap<&'a str, Vec<&'a Problem>>);

impl<'a> ByNode<'a> {
    fn new(failures: &'a [(Target, Failure)], target: Target) -> ByNode<'a> {
        let mut map: HashMap<&str, Vec<&Problem>> = HashMap::new();
        for p in failures.iter().filter(|(t, _)| *t == target).flat_map(|(_, f)| &f.problems) {
            p.node_names().for_each(|n| map.entry(n).or_default().push(p));
        }
        ByNode(map)
    }

    fn reason(&self, node: &str) -> Option<String> {
        let mut reasons: Vec<&str> = Vec::new();
        for p in self.0.get(node)? {
            if !reasons.contains(&p.reason.as_str()) {
                reasons.push(&p.reason);
            }
        }
        Some(reasons.join("; "))
    }
}

/// Support of every node of the main graph.
pub(super) fn nodes(
    model: &Model,
    machines: &[Machine],
    survey: &Survey,
    failures: &[(Target, Failure)],
) -> Vec<NodeSupport> {
    let asked = |t: Target| machines.iter().any(|m| m.target() == t);
    let problems = [Target::Tsp, Target::Wafer].map(|t| ByNode::new(failures, t));
    let blocked: HashMap<&str, &[String]> = survey.blocked.iter().map(|b| (b.node.as_str(), b.by.as_slice())).collect();
    let open = survey.graph.is_none();
    let one = |(i, node): (usize, &quadrille_onnx::Node)| {
        let reasons = [0, 1].map(|i: usize| problems[i].reason(&node.name));
        let unknown = match blocked.get(node.name.as_str()) {
            Some(by) => Some(format!("not looked at: depends on {}, which failed", quoted(by))),
            None if open => Some("not looked at: extents of inputs are open".to_string()),
            None if i >= survey.reached => Some("not looked at: too many problems before it".to_string()),
            None => None,
        };
        let on = |t: Target, reason: &Option<String>| match (asked(t), reason, &unknown) {
            (false, ..) => None,
            (true, Some(_), _) => Some(false),
            (true, None, Some(_)) => None,
            (true, None, None) => Some(true),
        };
        let (tsp, wafer) = (on(Target::Tsp, &reasons[0]), on(Target::Wafer, &reasons[1]));
        let reason = match reasons {
            [Some(a), Some(b)] if a == b => Some(a),
            [Some(a), Some(b)] => Some(format!("tsp: {a}; wafer: {b}")),
            [a, b] => a.or(b).or(unknown),
        };
        NodeSupport { node: node.name.clone(), op: shown_op(node), tsp, wafer, reason }
    };
    model.graph.nodes.iter().enumerate().map(one).collect()
}

fn shown_op(n: &quadrille_onnx::Node) -> String {
    if n.domain.is_empty() { n.op.clone() } else { format!("{}.{}", n.domain, n.op) }
}

fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let distinct: BTreeSet<&String> = names.iter().collect();
    let mut list: Vec<String> = distinct.iter().take(SHOWN).map(|n| format!("'{n}'")).collect();
    if distinct.len() > SHOWN {
        list.push(format!("… {} more", distinct.len() - SHOWN));
    }
    list.join(", ")
}
