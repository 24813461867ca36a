//! `explain`: which rules made the user's nodes what they are, and what that saves.

use super::model_args::ModelArgs;
use super::opt::read_graph;
use super::output::{self, Format};
use super::progress::Progress;
use super::{explain_steps, explain_text};
use crate::data::extension;
use crate::failure::Failure;
use crate::pipeline::{self, Feeds, Mode, Rewritten};
use quadrille_compiler::ir::Graph;
use quadrille_compiler::rewrite::{self, Explanation, Group, Made};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Show which rewrite rules made a model's nodes what they are
///
/// Prints, for each of the user's nodes that rules changed, the primitives before, the chain of rules, the
/// primitives after, and the cost of both in cycles of the target's cost model; then why the rules
/// stopped and how often each was used. In whole-mesh mode, where no rules are used: the steps
/// that all PEs do in turn, with declared cycles, and the longest context that fits.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model, or a graph in text form
    model: PathBuf,

    /// The user's node to explain, also if it was lowered to several primitives [default: all that changed]
    node: Option<String>,

    #[command(flatten)]
    args: ModelArgs,

    /// Also nodes that no rule changed
    #[arg(long)]
    all: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is printed of one `rewrite`.
pub(super) struct Told<'a> {
    pub(super) rewritten: &'a Rewritten,
    pub(super) groups: Vec<&'a Group>,
    pub(super) gone: Vec<&'a str>,
    pub(super) node: Option<&'a str>,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let machine = self.args.machine()?;
        let progress = Progress::new();
        if self.args.mapping().mode == Mode::WholeMesh {
            let (compiled, _) = progress.stage("compiling", || {
                let (graph, _) = read_model(&self.model, &self.args)?;
                let graph = pipeline::prepare(&graph, &machine, &self.args.preparation())?;
                pipeline::compile_as(&graph, &machine, &self.args.mapping())
            });
            let compiled = compiled?;
            drop(progress);
            explain_steps::print(&self.model, &machine, &compiled, self.node.as_deref(), self.format)?;
            return Ok(0);
        }
        let (done, _) = progress.stage("rewriting", || {
            let (graph, _) = read_model(&self.model, &self.args)?;
            pipeline::prepare_reporting(&graph, &machine, &self.args.preparation())
        });
        let (_, rewritten) = done?;
        drop(progress);
        if rewritten.is_empty() {
            return Err(Failure::usage("there is no `rewrite` among the --passes to explain"));
        }
        let model = pipeline::cost_model(&machine);
        let explained: Vec<Explanation> =
            rewritten.iter().map(|r| rewrite::explain(&r.before, &r.after, &r.report, &*model)).collect();
        if let Some(node) = &self.node {
            let known = |e: &Explanation| e.is_gone(node) || e.groups.iter().any(|g| g.has(node));
            if !explained.iter().any(known) {
                return Err(unknown(node, &explained));
            }
        }
        let told: Vec<Told<'_>> = rewritten.iter().zip(&explained).map(|(r, e)| self.tell(r, e)).collect();
        match self.format {
            Format::Json => output::print_json(&json!({
                "model": self.model.display().to_string(),
                "target": machine.target(),
                "rewrites": told.iter().map(to_json).collect::<Vec<_>>(),
            }))?,
            Format::Text => output::print(&explain_text::render(&told))?,
        }
        Ok(0)
    }

    fn tell<'a>(&'a self, rewritten: &'a Rewritten, e: &'a Explanation) -> Told<'a> {
        let wanted = |g: &&Group| match &self.node {
            Some(n) => g.has(n),
            None => self.all || g.is_changed(),
        };
        let gone = e.gone.iter().map(String::as_str);
        Told {
            rewritten,
            groups: e.groups.iter().filter(wanted).collect(),
            gone: match &self.node {
                Some(n) => gone.filter(|g| g.starts_with(n.as_str())).collect(),
                None => gone.collect(),
            },
            node: self.node.as_deref(),
        }
    }
}

/// A model or a text graph, with what is fed to it.
pub(super) fn read_model(path: &Path, args: &ModelArgs) -> Result<(Graph, Feeds), Failure> {
    let dims = args.dims()?;
    let feeds = |inputs: &[String], outputs: &[String]| {
        Feeds::read(args.data.as_deref(), &args.inputs, &[], inputs, outputs, &[])
    };
    if extension(path) == "onnx" {
        let model = pipeline::load(path)?;
        let feeds = feeds(&pipeline::input_names(&model), &pipeline::output_names(&model))?;
        return Ok((pipeline::import(path, &model, &dims, &feeds)?, feeds));
    }
    let graph = read_graph(path, &dims)?;
    let inputs: Vec<String> = graph.inputs.iter().map(|&v| graph.value(v).name.clone()).collect();
    let outputs: Vec<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    let feeds = feeds(&inputs, &outputs)?;
    Ok((graph, feeds))
}

fn unknown(node: &str, explained: &[Explanation]) -> Failure {
    let names: Vec<&str> = explained.iter().flat_map(Explanation::names).collect();
    let like = names.iter().filter(|n| n.contains(node) || node.contains(**n)).take(5).copied();
    let like: Vec<&str> = like.collect();
    let some = if like.is_empty() { names.into_iter().take(5).collect() } else { like };
    Failure::usage(format!("the model has no node `{node}` that is computed; it has {}, …", some.join(", ")))
}

fn to_json(t: &Told<'_>) -> Value {
    let r = &t.rewritten.report;
    let made = |m: &Made| {
        let steps: Vec<Value> = m.steps.iter().map(|s| json!({"rule": s.rule, "made": s.made})).collect();
        let mappings: Vec<Value> =
            m.mappings.iter().map(|w| json!({"name": w.name, "cycles": w.cycles.alone()})).collect();
        json!({"term": m.term, "cycles": m.cycles, "steps": steps, "mappings": mappings})
    };
    let cost = |c: &rewrite::GraphCost| {
        let busy = r.resources.iter().zip(c.busy_cycles).filter(|(n, _)| **n != "-");
        let busy: serde_json::Map<String, Value> = busy.map(|(n, b)| (n.to_string(), b.into())).collect();
        json!({
            "operations": c.nodes,
            "serial_cycles": c.serial_cycles,
            "overlapped_cycles": c.overlapped_cycles,
            "minimised_cycles": rewrite::Objective::default().cycles(c),
            "busy_cycles": busy,
        })
    };
    let groups = t.groups.iter().map(|g| {
        json!({
            "nodes": g.nodes,
            "changed": g.is_changed(),
            "cycles_before": g.cycles_before,
            "cycles_after": g.cycles_after,
            "before": g.before.iter().map(made).collect::<Vec<_>>(),
            "after": g.after.iter().map(made).collect::<Vec<_>>(),
        })
    });
    let counts = r.rules();
    json!({
        "stop": {"reason": r.stop().id(), "limit": r.stop().limit()},
        "decided": r.decided,
        "extraction": r.extraction.name(),
        "candidates": r.candidates.iter().map(|c| json!({"extraction": c.extraction.name(), "cycles": c.cycles}))
            .collect::<Vec<_>>(),
        "before": cost(&r.before),
        "after": cost(&r.after),
        "groups": groups.collect::<Vec<_>>(),
        "gone": t.gone,
        "rules": counts.iter().map(|c| json!({"rule": c.name, "applied": c.applied, "used": c.used})).collect::<Vec<_>>(),
        "regions": r.regions.iter().map(|g| json!({
            "sweep": g.sweep, "first_node": g.first_node, "nodes_before": g.nodes_before, "nodes_after": g.nodes_after,
            "classes": g.classes, "terms": g.terms, "iterations": g.iterations,
            "stop": {"reason": g.stop.id(), "limit": g.stop.limit()},
            "cost_cycles": g.cost_cycles, "greedy_cycles": g.greedy_cycles, "bound_cycles": g.bound_cycles,
            "proven": g.proven,
        })).collect::<Vec<_>>(),
        "check": r.check.map(|c| json!({"max_abs": c.max_abs, "max_rel": c.max_rel})),
    })
}
