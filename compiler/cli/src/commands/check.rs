//! `check`: is the model supported, does it fit, how fast may it be, what stands in the way.

use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::progress::Progress;
use super::run_table::grouped;
use crate::bound::Work;
use crate::failure::{Cause, Failure, Problem};
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Estimate, Feeds};
use comfy_table::{Table, presets};
use quadrille_compiler::ir::Graph;
use quadrille_onnx::Model;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Say whether a model is supported and fits, and what stands in the way
///
/// Without --target, for both. Lists every node that is not supported, with the reason. Exit code 3
/// if something is not supported on a target asked for, 4 if the model does not fit.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The ONNX model
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Support of one node of the user's model; `null` for a target that was not asked for.
#[derive(Serialize)]
struct NodeSupport {
    node: String,
    op: String,
    tsp: Option<bool>,
    wafer: Option<bool>,
    reason: Option<String>,
}

/// What one target makes of the model.
#[derive(Serialize)]
struct TargetSupport {
    target: Target,
    machine: String,
    /// It compiles.
    ok: bool,
    /// Why not.
    cause: Option<Cause>,
    message: Option<String>,
    cycles: Option<u64>,
    bound_cycles: Option<u64>,
    mapping_bound_cycles: Option<u64>,
    sram_bytes: Option<u64>,
    program_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Report {
    model: String,
    nodes: Vec<NodeSupport>,
    targets: Vec<TargetSupport>,
    problems: Vec<Problem>,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let machines = match (self.args.target, &self.args.machine) {
            (None, None) => vec![Machine::full_size(Target::Tsp), Machine::full_size(Target::Wafer)],
            _ => vec![self.args.machine()?],
        };
        let progress = Progress::new();
        let (imported, _) = progress.stage("importing", || {
            let model = pipeline::load(&self.model)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
            let graph = pipeline::import(&self.model, &model, &self.args.dims()?, &feeds);
            Ok::<_, Failure>((model, graph))
        });
        let (model, graph) = imported?;
        let mut failures: Vec<(Target, Failure)> = Vec::new();
        let mut targets = Vec::new();
        for m in &machines {
            let what = if m.target() == Target::Tsp { "trying tsp" } else { "trying wafer" };
            let (tried, _) = progress.stage(what, || self.attempt(graph.as_ref(), m));
            let tried = tried.map_err(|f| f.locate(&model));
            targets.push(support(m, &tried));
            failures.extend(tried.err().map(|f| (m.target(), f)));
        }
        drop(progress);
        let report = Report {
            model: self.model.display().to_string(),
            nodes: nodes(&model, &machines, &failures),
            targets,
            problems: problems(&failures),
        };
        match self.format {
            Format::Json => output::print_json(&report)?,
            Format::Text => output::print(&report.render())?,
        }
        // The first failure decides: problems of the model come before those of a machine.
        Ok(failures.first().map_or(0, |(_, f)| f.cause.exit_code()))
    }

    fn attempt(&self, graph: Result<&Graph, &Failure>, machine: &Machine) -> Result<Estimate, Failure> {
        let imported = graph.map_err(Clone::clone)?;
        let graph = pipeline::prepare(imported, machine.target(), &self.args.preparation())?;
        let precision = self.args.precision(imported, machine.target());
        let estimate = pipeline::compile(&graph, machine, precision)?.estimate;
        Ok(Estimate { bound_cycles: Work::at(imported, precision).bound_cycles(machine, precision), ..estimate })
    }
}

fn support(machine: &Machine, tried: &Result<Estimate, Failure>) -> TargetSupport {
    let (estimate, failure) = (tried.as_ref().ok(), tried.as_ref().err());
    TargetSupport {
        target: machine.target(),
        machine: machine.name().to_string(),
        ok: failure.is_none(),
        cause: failure.map(|f| f.cause),
        message: failure.map(|f| f.message.clone()),
        cycles: estimate.map(|e| e.cycles),
        bound_cycles: estimate.map(|e| e.bound_cycles),
        mapping_bound_cycles: estimate.map(|e| e.mapping_bound_cycles),
        sram_bytes: estimate.map(|e| e.sram_bytes),
        program_bytes: estimate.map(|e| e.program_bytes),
    }
}

fn nodes(model: &Model, machines: &[Machine], failures: &[(Target, Failure)]) -> Vec<NodeSupport> {
    let asked = |t: Target| machines.iter().any(|m| m.target() == t);
    let reason_on = |t: Target, name: &str| {
        let problems = failures.iter().filter(|(ft, _)| *ft == t).flat_map(|(_, f)| &f.problems);
        let reasons: Vec<String> = problems.filter(|p| p.concerns(name)).map(|p| p.reason.clone()).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    };
    let one = |node: &quadrille_onnx::Node| {
        let reasons = [Target::Tsp, Target::Wafer].map(|t| reason_on(t, &node.name));
        let reason = match &reasons {
            [Some(a), Some(b)] if a == b => Some(a.clone()),
            [Some(a), Some(b)] => Some(format!("tsp: {a}; wafer: {b}")),
            [a, b] => a.clone().or_else(|| b.clone()),
        };
        NodeSupport {
            node: node.name.clone(),
            op: node.op.clone(),
            tsp: asked(Target::Tsp).then_some(reasons[0].is_none()),
            wafer: asked(Target::Wafer).then_some(reasons[1].is_none()),
            reason,
        }
    };
    model.graph.nodes.iter().map(one).collect()
}

/// Every problem once, even if both targets have it.
fn problems(failures: &[(Target, Failure)]) -> Vec<Problem> {
    let mut out: Vec<Problem> = Vec::new();
    for p in failures.iter().flat_map(|(_, f)| &f.problems) {
        if !out.contains(p) {
            out.push(p.clone());
        }
    }
    out
}

impl Report {
    fn render(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["op", "nodes", "tsp", "wafer"]);
        let mut by_op: BTreeMap<&str, Vec<&NodeSupport>> = BTreeMap::new();
        for n in &self.nodes {
            by_op.entry(&n.op).or_default().push(n);
        }
        for (op, nodes) in &by_op {
            let on =
                |pick: fn(&NodeSupport) -> Option<bool>| match nodes.iter().filter(|n| pick(n) == Some(true)).count() {
                    _ if pick(nodes[0]).is_none() => "-".to_string(),
                    yes if yes == nodes.len() => "yes".to_string(),
                    0 => "no".to_string(),
                    yes => format!("{yes} of {}", nodes.len()),
                };
            table.add_row([op.to_string(), nodes.len().to_string(), on(|n| n.tsp), on(|n| n.wafer)]);
        }
        let mut text = format!("{}\n{}\n\n", self.model, table.trim_fmt());
        for t in &self.targets {
            text += &match (&t.message, t.cycles) {
                (Some(m), _) => format!("{}: NO: {m}\n", t.machine),
                (None, Some(c)) => format!(
                    "{}: yes: about {} cycles (bound {}), {} bytes of SRAM, {} bytes of program text\n",
                    t.machine,
                    grouped(c),
                    grouped(t.bound_cycles.unwrap_or(0)),
                    grouped(t.sram_bytes.unwrap_or(0)),
                    grouped(t.program_bytes.unwrap_or(0))
                ),
                (None, None) => format!("{}: yes\n", t.machine),
            };
        }
        const SHOWN: usize = 20;
        for p in self.problems.iter().take(SHOWN) {
            text += &format!("  {p}\n");
        }
        if self.problems.len() > SHOWN {
            text += &format!("  … and {} more (--format json lists all)\n", self.problems.len() - SHOWN);
        }
        text
    }
}
