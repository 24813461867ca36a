//! The way of a model, stage by stage: load, import, rewrite, compile, check, simulate.
//!
//! Each stage is a function from one type to the next, so an embedder may stop anywhere. Knows
//! what stages there are and what goes from one to the other; must not know how a stage works,
//! nor anything of command lines.

mod account;
mod backend;
mod feeds;
mod judge;
mod mapping;

pub use account::{Account, Busiest, Loss, NAMED, NodeAccount};
pub use backend::{
    Checked, Compiled, Estimate, Finding, MAX_PRIMITIVES, Simulated, Tiled, check, compile, compile_as, cost_model,
    declared_inputs, expected_as, pes, simulate, spans, text_bytes, unsupported_nodes,
};
pub use feeds::{Feeds, input_names, output_names};
pub use judge::Programs;
pub use mapping::{Extents, Mapping, Mode};

use crate::compare::Precision;
use crate::failure::{Cause, Failure, Problem};
use crate::file;
use crate::machine::{Machine, Target};
use quadrille_compiler::import::{self, ImportError, ImportErrorKind, ImportErrors, ImportOptions, Survey};
use quadrille_compiler::ir::{self, Graph};
use quadrille_compiler::passes;
use quadrille_compiler::rewrite::{RewriteOptions, RewriteReport};
use quadrille_isa::container::{self, AnyProgram};
use quadrille_onnx::Model;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads an ONNX model, with its external data.
pub fn load(path: &Path) -> Result<Model, Failure> {
    // `load` maps the file; a folder or an empty file deserve their own words.
    if path.is_dir() {
        return Err(Failure::usage(format!("cannot read {}: it is a folder", path.display())));
    }
    quadrille_onnx::load(path).map_err(|e| Failure::load(path, e))
}

/// True when a file holds a program, in either form, and not a model.
pub fn is_program(path: &Path) -> Result<bool, Failure> {
    let bytes = file::read(path)?;
    Ok(bytes.starts_with(&container::MAGIC) || starts_like_text(&bytes))
}

fn starts_like_text(bytes: &[u8]) -> bool {
    [&b"tsp program"[..], b"wafer program"].iter().any(|head| bytes.starts_with(head))
}

/// Reads a program: a container or the text form.
pub fn load_program(path: &Path) -> Result<AnyProgram, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::wrong(format!("{}: {e}", path.display()));
    let bytes = file::read(path)?;
    if bytes.starts_with(&container::MAGIC) {
        return container::read(&bytes).map_err(|e| wrong(&e));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if starts_like_text(&bytes) || text.trim_start().starts_with("//") => {
            AnyProgram::parse(text).map_err(|e| wrong(&e))
        }
        _ => Err(wrong(&"not a program: neither a container nor its text form")),
    }
}

/// Model to graph. Dims that `dims` leaves open are taken from the shapes of the feeds, and
/// inputs whose values decide about shapes become constants.
pub fn import(path: &Path, model: &Model, dims: &BTreeMap<String, usize>, feeds: &Feeds) -> Result<Graph, Failure> {
    let mut options = import_options(dims, feeds);
    loop {
        let errors = match import::import(model, &options) {
            Ok(graph) => return Ok(graph),
            Err(errors) => errors,
        };
        if !give_values(&mut options, &errors.errors, feeds) {
            return Err(Failure::import(path, &errors));
        }
    }
}

/// All that is in the way of a model, and the graph of the rest; bound as by [`import()`]. The
/// failure is the one that `import` gives, if it gives one.
pub fn survey(path: &Path, model: &Model, dims: &BTreeMap<String, usize>, feeds: &Feeds) -> (Survey, Option<Failure>) {
    survey_with(import::survey, path, model, dims, feeds)
}

/// As [`survey`], where types that the model does not state are guessed.
pub fn survey_guessing(model: &Model, dims: &BTreeMap<String, usize>, feeds: &Feeds) -> Survey {
    survey_with(import::survey_guessing, Path::new(""), model, dims, feeds).0
}

fn survey_with(
    how: fn(&Model, &ImportOptions) -> Survey,
    path: &Path,
    model: &Model,
    dims: &BTreeMap<String, usize>,
    feeds: &Feeds,
) -> (Survey, Option<Failure>) {
    let mut options = import_options(dims, feeds);
    loop {
        let mut survey = how(model, &options);
        if give_values(&mut options, &survey.errors, feeds) {
            continue;
        }
        let errors = ImportErrors { errors: std::mem::take(&mut survey.errors) };
        let failure = (!errors.errors.is_empty()).then(|| Failure::import(path, &errors));
        return (Survey { errors: errors.errors, ..survey }, failure);
    }
}

fn import_options(dims: &BTreeMap<String, usize>, feeds: &Feeds) -> ImportOptions {
    ImportOptions {
        dims: dims.clone(),
        input_shapes: feeds.inputs.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect(),
        ..ImportOptions::default()
    }
}

/// Makes inputs constant whose values import asks for and the feeds have; true if there was one, so
/// that each turn makes at least one more input a constant.
fn give_values(options: &mut ImportOptions, errors: &[ImportError], feeds: &Feeds) -> bool {
    let needs = errors.iter().filter(|e| e.kind == ImportErrorKind::NeedsValue).flat_map(|e| &e.needs);
    let known: Vec<_> = needs
        .filter(|n| !options.values.contains_key(*n))
        .filter_map(|n| feeds.inputs.get(n).map(|t| (n.clone(), t.clone())))
        .collect();
    let any = !known.is_empty();
    options.values.extend(known);
    any
}

/// What to do to an imported graph before it is compiled.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Passes and pipelines by name instead of the standard way.
    pub passes: Option<Vec<String>>,
    /// Switches of the rewriter.
    pub rewrite: RewriteOptions,
    /// The precision asked for, if one was.
    pub precision: Option<Precision>,
    /// How it is to lie on a mesh.
    pub mapping: Mapping,
}

/// The precision of a program: the one asked for, else the integers of a quantised model where the
/// target computes with them, else f16. `imported` is the graph before any pass.
pub fn precision(imported: &Graph, target: Target, asked: Option<Precision>) -> Precision {
    let (_, applies) = integers_on(target);
    asked.unwrap_or(if applies(imported) { Precision::Int8 } else { Precision::F16 })
}

/// The pass that makes the integers of a quantised model what a target computes with, and when it applies.
pub fn integers_on(target: Target) -> (passes::Pass, fn(&Graph) -> bool) {
    match target {
        Target::Tsp => (passes::integer_kernels::PASS, passes::integer_kernels::applies),
        Target::Wafer => (passes::whole_numbers::PASS, passes::whole_numbers::applies),
    }
}

/// Names under which the rewriter can be called among the passes: `rewrite` for the machine of
/// the command.
pub const REWRITE: &str = "rewrite";

/// What a `rewrite` among the passes did.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Rewritten {
    pub before: Graph,
    pub after: Graph,
    pub report: RewriteReport,
}

/// Imported graph to optimised graph.
pub fn prepare(graph: &Graph, machine: &Machine, how: &Preparation) -> Result<Graph, Failure> {
    prepare_into(graph, machine, how, None)
}

/// [`prepare`], with what every `rewrite` did.
pub fn prepare_reporting(
    graph: &Graph,
    machine: &Machine,
    how: &Preparation,
) -> Result<(Graph, Vec<Rewritten>), Failure> {
    let mut rewritten = Vec::new();
    let graph = prepare_into(graph, machine, how, Some(&mut rewritten))?;
    Ok((graph, rewritten))
}

fn prepare_into(
    graph: &Graph,
    machine: &Machine,
    how: &Preparation,
    rewritten: Option<&mut Vec<Rewritten>>,
) -> Result<Graph, Failure> {
    if let Some(problem) = backend::too_many(graph) {
        return Err(unsupported("the model is too large to compile").with(problem));
    }
    let mut standard = vec!["clean".to_string(), REWRITE.to_string(), "clean".to_string()];
    // Whole-mesh mode knows attention and norms as models spell them out.
    if how.mapping.mode == Mode::WholeMesh {
        standard.truncate(1);
    }
    if precision(graph, machine.target(), how.precision) == Precision::Int8 && how.mapping.mode != Mode::WholeMesh {
        let (pass, applies) = integers_on(machine.target());
        if how.passes.is_none() && !applies(graph) {
            return Err(unsupported("--precision int8 wants a quantised model (QuantizeLinear and the like); use f16"));
        }
        standard.insert(0, pass.name.to_string());
    }
    let programs = Programs { machine, mapping: how.mapping };
    let passes = how.passes.as_deref().unwrap_or(&standard);
    run_passes_into(graph, (Some(machine), Some(&programs)), passes, &how.rewrite, rewritten)
}

/// Runs passes, pipelines and `rewrite` in the order given. The graph is verified after each. No programs are made: `rewrite`
/// chooses by its costs.
pub fn run_passes(graph: &Graph, machine: Option<&Machine>, names: &[String]) -> Result<Graph, Failure> {
    run_passes_with(graph, machine, names, &RewriteOptions::default())
}

/// [`run_passes`] with switches for the rewriter.
pub fn run_passes_with(
    graph: &Graph,
    machine: Option<&Machine>,
    names: &[String],
    options: &RewriteOptions,
) -> Result<Graph, Failure> {
    run_passes_into(graph, (machine, None), names, options, None)
}

/// Also tells what every `rewrite` did, if it is asked to; with programs, these choose among forms.
fn run_passes_into(
    graph: &Graph,
    (machine, programs): (Option<&Machine>, Option<&Programs<'_>>),
    names: &[String],
    options: &RewriteOptions,
    mut rewritten: Option<&mut Vec<Rewritten>>,
) -> Result<Graph, Failure> {
    let mut g = graph.clone();
    for name in names {
        if name == REWRITE {
            let machine =
                machine.ok_or_else(|| Failure::usage("`rewrite` chooses by a target's cost: give --target"))?;
            let (after, report) = backend::rewrite(&g, machine, programs, options)?;
            ir::verify::verify(&after).map_err(|errors| {
                let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Failure::wrong(format!("internal error: `rewrite` broke the graph: {}", list.join("; ")))
            })?;
            let before = std::mem::replace(&mut g, after);
            if let Some(all) = &mut rewritten {
                all.push(Rewritten { before, after: g.clone(), report });
            }
        } else {
            passes::run_pipeline(&mut g, &[name.as_str()]).map_err(|e| match e {
                passes::PipelineError::Unknown { .. } => Failure::usage(format!("{e}, and `{REWRITE}`")),
                e => Failure::wrong(e.to_string()),
            })?;
        }
    }
    Ok(g)
}

/// The oracle's outputs of a graph.
pub fn evaluate(graph: &Graph, inputs: &[ir::Tensor]) -> Result<Vec<ir::Tensor>, Failure> {
    ir::eval::eval(graph, inputs).map_err(|e| {
        Failure::wrong("the model cannot be evaluated on these inputs".to_string())
            .with(Problem { reason: e.to_string(), ..Problem::default() })
    })
}

/// A failure of a precision that nothing here compiles yet.
pub(crate) fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(Cause::Unsupported, message)
}
