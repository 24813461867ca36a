//! `run`: compile or load, check, simulate, compare.

use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::progress::Progress;
use super::{run_table, verify};
use crate::bound::Work;
use crate::compare::{Comparison, Precision, Tolerance, compare};
use crate::data::{self, Named, npz};
use crate::failure::Failure;
use crate::file;
use crate::machine::Machine;
use crate::nodes::{self, NodeReport, Stages};
use crate::pipeline::{self, Checked, Compiled, Feeds, NAMED};
use crate::report::{CheckVerdict, RunReport, Timings};
use quadrille_compiler::ir::{self, Graph, Tensor};
use quadrille_isa::container::AnyProgram;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Compile or load, check, simulate and compare
///
/// Compiles a model (or loads a program), proves it with the static checker, simulates it, and
/// compares the outputs with those expected, else with the oracle's. Exit code 1 if the checker
/// objects, if simulated bits differ from the tiled graph's, or if the outputs are too far off.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model or a program file
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// Expected output from a .npy, .npz or .pb file
    #[arg(long = "expect", value_name = "NAME=FILE", value_parser = Named::parse)]
    expects: Vec<Named>,

    /// Write outputs to a .npy, .npz or .pb file; without a NAME, the only one, or all as .npz
    #[arg(long = "output", value_name = "NAME=FILE", value_parser = Named::parse)]
    outputs: Vec<Named>,

    /// Also compare every value inside the model, stage by stage, and name the first node that departs:
    /// the imported graph with references (--reference, or --expect, which may then name any value), the
    /// optimised graph and the machine with the imported graph. Exit code 1 if a node departs
    #[arg(long, visible_alias = "node-reference")]
    compare_nodes: bool,

    /// References for --compare-nodes by the names of values: a .npz file, or a folder of .npy and .pb files
    #[arg(long, value_name = "DIR|FILE", requires = "compare_nodes")]
    reference: Option<PathBuf>,

    /// Take this graph (text form) instead of what passes and rewriting make of the imported one
    #[arg(long, value_name = "FILE")]
    optimized: Option<PathBuf>,

    /// Seed of inputs that are not given
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// Relative tolerance, replacing the precision's: |got - want| <= atol + rtol |want|
    #[arg(long, value_name = "X", value_parser = tolerance)]
    rtol: Option<f64>,

    /// Absolute tolerance, replacing the precision's
    #[arg(long, value_name = "X", value_parser = tolerance)]
    atol: Option<f64>,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        _ => Err("expected a number, 0 or more".into()),
    }
}

/// What is simulated and what is known about it.
struct Job {
    machine: Machine,
    program: AnyProgram,
    inputs: Vec<Tensor>,
    output_names: Vec<String>,
    expected: BTreeMap<String, Tensor>,
    /// For a model: what it was compiled from and to.
    compiled: Option<(Graph, Compiled)>,
    /// Of a model.
    precision: Option<Precision>,
    nodes: Option<NodeReport>,
    timings: Timings,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let progress = Progress::new();
        let job = if pipeline::is_program(&self.model)? {
            self.load_program(&progress)?
        } else {
            self.compile_model(&progress)?
        };
        let report = self.prove(job, &progress)?;
        drop(progress);
        match self.format {
            Format::Json => output::print_json(&report)?,
            Format::Text => output::print(&run_table::render(&report))?,
        }
        Ok(u8::from(!report.is_fine()))
    }

    fn load_program(&self, progress: &Progress) -> Result<Job, Failure> {
        let (program, import_s) = progress.stage("loading", || pipeline::load_program(&self.model));
        let program = program?;
        if self.args.target.is_some_and(|t| t.name() != program.target()) {
            return Err(Failure::usage(format!("{}: a {} program", self.model.display(), program.target())));
        }
        let machine = verify::machine_of(&self.model, &program, self.args.machine.as_deref())?;
        let declared = pipeline::declared_inputs(&program);
        let output_names: Vec<String> = match &program {
            AnyProgram::Tsp(p) => p.outputs.iter().map(|t| t.name.clone()).collect(),
            AnyProgram::Wafer(p) => p.outputs.iter().map(|t| t.name.clone()).collect(),
        };
        let names: Vec<String> = declared.iter().map(|d| d.0.clone()).collect();
        let feeds =
            Feeds::read(self.args.data.as_deref(), &self.args.inputs, &self.expects, &names, &output_names, &[])?;
        Ok(Job {
            inputs: feeds.for_types(&declared, self.seed)?,
            machine,
            program,
            output_names,
            expected: feeds.expected,
            compiled: None,
            precision: self.args.precision,
            nodes: None,
            timings: Timings { import_s: Some(import_s), ..Timings::default() },
        })
    }

    fn compile_model(&self, progress: &Progress) -> Result<Job, Failure> {
        let machine = self.args.machine()?;
        let (imported, import_s) = progress.stage("importing", || {
            let model = pipeline::load(&self.model)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let inner: Vec<String> = match self.compare_nodes {
                true => model.graph.nodes.iter().flat_map(|n| n.outputs.iter().cloned()).collect(),
                false => Vec::new(),
            };
            let files = (&self.args.inputs, &self.expects);
            let feeds = Feeds::read(self.args.data.as_deref(), files.0, files.1, &inputs, &outputs, &inner)?;
            let graph = pipeline::import(&self.model, &model, &self.args.dims()?, &feeds)?;
            Ok::<_, Failure>((model, graph, feeds))
        });
        let (model, graph, feeds) = imported?;
        let inputs = feeds.for_graph(&graph, self.seed)?;
        let precision = self.args.precision(&graph, machine.target());
        let (compiled, compile_s) = progress.stage("compiling", || {
            let optimized = match &self.optimized {
                Some(path) => read_optimized(path, &graph)?,
                None => pipeline::prepare(&graph, &machine, &self.args.preparation())?,
            };
            let compiled = pipeline::compile_as(&optimized, &machine, &self.args.mapping())?;
            Ok::<_, Failure>((optimized, compiled))
        });
        let (optimized, compiled) = compiled.map_err(|f| f.locate(&model))?;
        let nodes = match self.compare_nodes {
            true => {
                let compared = progress.stage("comparing nodes", || {
                    self.compare_nodes(&graph, &optimized, &machine, precision, &inputs, &feeds.expected)
                });
                Some(compared.0?)
            }
            false => None,
        };
        let output_names: Vec<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
        Ok(Job {
            program: compiled.program.clone(),
            machine,
            inputs,
            expected: feeds.expected.into_iter().filter(|(n, _)| output_names.contains(n)).collect(),
            output_names,
            compiled: Some((graph, compiled)),
            precision: Some(precision),
            nodes,
            timings: Timings { import_s: Some(import_s), compile_s: Some(compile_s), ..Timings::default() },
        })
    }

    fn prove(&self, mut job: Job, progress: &Progress) -> Result<RunReport, Failure> {
        let (checked, check_s) = progress.stage("checking", || pipeline::check(&job.program, &job.machine));
        let checked = checked?;
        job.timings.check_s = Some(check_s);
        // A program that breaks a rule has no meaning to simulate.
        if checked.error_count > 0 {
            return Ok(self.report(&job, checked, None, None, None));
        }
        let (simulated, simulate_s) =
            progress.stage("simulating", || pipeline::simulate(&job.program, &job.machine, &job.inputs));
        let simulated = simulated?;
        job.timings.simulate_s = Some(simulate_s);
        let (exact, comparison) = progress
            .stage("comparing", || {
                let exact = match &job.compiled {
                    Some((_, c)) => Some(c.tiled.eval(&job.inputs)? == simulated.outputs),
                    None => None,
                };
                Ok::<_, Failure>((exact, self.compare_outputs(&job, &simulated.outputs)?))
            })
            .0?;
        self.write_outputs(&job.output_names, &simulated.outputs)?;
        Ok(self.report(&job, checked, Some(simulated), exact, comparison))
    }

    fn report(
        &self,
        job: &Job,
        checked: Checked,
        simulated: Option<pipeline::Simulated>,
        exact: Option<bool>,
        compare: Option<Comparison>,
    ) -> RunReport {
        let estimate = job.compiled.as_ref().map(|(_, c)| c.estimate);
        RunReport {
            model: self.model.display().to_string(),
            target: job.machine.target(),
            machine: job.machine.name().to_string(),
            precision: job.compiled.as_ref().and(job.precision),
            cycles: simulated.as_ref().map(|s| s.cycles),
            bound_cycles: job
                .compiled
                .as_ref()
                .zip(job.precision)
                .map(|((g, _), precision)| Work::at(g, precision).bound_cycles(&job.machine, precision)),
            mapping_bound_cycles: estimate.map(|e| e.mapping_bound_cycles),
            clock_mhz: job.machine.clock_mhz(),
            check: CheckVerdict { ok: checked.error_count == 0, errors: checked.errors },
            exact,
            compare,
            sram_bytes: estimate.map(|e| e.sram_bytes).or(checked.sram_bytes),
            program_bytes: Some(pipeline::text_bytes(&job.program, &job.machine)),
            pes: pipeline::pes(&job.program),
            grid: job
                .compiled
                .as_ref()
                .and_then(|(_, c)| c.whole_mesh())
                .map(|m| format!("{}x{}", m.grid.width, m.grid.height)),
            // Images that do not follow each other end at any time.
            interval_cycles: simulated
                .as_ref()
                .and_then(|s| s.interval_cycles)
                .filter(|_| estimate.is_none_or(|e| e.images_in_turn > 1)),
            losses: job.compiled.as_ref().and_then(|(_, c)| {
                let all = &c.account.as_ref()?.losses;
                Some(all.iter().take(NAMED).cloned().collect())
            }),
            busiest: job.compiled.as_ref().map(|(_, c)| c.busiest.clone()).filter(|b| !b.is_empty()),
            timings: job.timings,
            peak_memory_bytes: file::peak_memory_bytes(),
            nodes: job.nodes.as_ref().map(|n| n.nodes.clone()),
            first_departure: job.nodes.as_ref().and_then(|n| n.first.clone()),
            notes: job.nodes.as_ref().map_or(Vec::new(), |n| n.notes.clone()),
        }
    }

    fn accepted(&self, precision: Option<Precision>) -> Tolerance {
        match (self.rtol, self.atol) {
            (None, None) => Tolerance::of(precision.unwrap_or(Precision::F16)),
            (rtol, atol) => Tolerance::numpy(rtol, atol),
        }
    }

    /// Against what is expected; without that, against the oracle. A program alone has neither.
    fn compare_outputs(&self, job: &Job, got: &[Tensor]) -> Result<Option<Comparison>, Failure> {
        let want: Vec<Option<Tensor>> = match (&job.compiled, job.expected.is_empty()) {
            (_, false) => job.output_names.iter().map(|n| job.expected.get(n).cloned()).collect(),
            (Some((graph, _)), true) => pipeline::evaluate(graph, &job.inputs)?.into_iter().map(Some).collect(),
            (None, true) => return Ok(None),
        };
        let triples: Vec<(&str, &Tensor, &Tensor)> = job
            .output_names
            .iter()
            .zip(got)
            .zip(&want)
            .filter_map(|((n, g), w)| Some((n.as_str(), g, w.as_ref()?)))
            .collect();
        compare(&triples, self.accepted(job.precision)).map_err(|e| Failure::wrong(e.to_string()))
    }

    fn compare_nodes(
        &self,
        imported: &Graph,
        optimized: &Graph,
        machine: &Machine,
        precision: Precision,
        inputs: &[Tensor],
        expected: &BTreeMap<String, Tensor>,
    ) -> Result<NodeReport, Failure> {
        let mut references = expected.clone();
        if let Some(path) = &self.reference {
            let values: Vec<String> =
                imported.values().iter().map(|v| v.name.clone()).filter(|n| !n.is_empty()).collect();
            references.extend(nodes::read_references(path, &values)?);
        }
        let given = self.rtol.is_some() || self.atol.is_some();
        nodes::compare_nodes(&Stages {
            imported,
            optimized,
            inputs,
            references: &references,
            machine,
            precision,
            mapping: self.args.mapping(),
            tolerance: given.then(|| Tolerance::numpy(self.rtol, self.atol)),
        })
    }

    fn write_outputs(&self, names: &[String], outputs: &[Tensor]) -> Result<(), Failure> {
        for f in &self.outputs {
            match &f.name {
                Some(n) => {
                    let i = names.iter().position(|o| o == n);
                    let i = i.ok_or_else(|| Failure::usage(format!("the model has no output `{n}`")))?;
                    data::write(&f.file, n, &outputs[i])?;
                }
                None if outputs.len() == 1 => data::write(&f.file, &names[0], &outputs[0])?,
                None => write_all(&f.file, names, outputs)?,
            }
        }
        Ok(())
    }
}

/// A graph from its text form that stands for the optimised one: it has the same inputs and outputs.
fn read_optimized(path: &Path, imported: &Graph) -> Result<Graph, Failure> {
    let wrong = |e: String| Failure::wrong(format!("{}: {e}", path.display()));
    let bytes = file::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not a text file".into()))?;
    let graph = ir::text::parse(text).map_err(|e| wrong(e.to_string()))?;
    let ends = |g: &Graph| {
        let ins: Vec<_> = g.inputs.iter().map(|&v| (g.value(v).name.clone(), g.ty(v).clone())).collect();
        let outs: Vec<_> = g.outputs.iter().map(|o| (o.name.clone(), g.ty(o.value).clone())).collect();
        (ins, outs)
    };
    if ends(&graph) != ends(imported) {
        return Err(wrong("its inputs and outputs are not those of the model".into()));
    }
    Ok(graph)
}

fn write_all(path: &Path, names: &[String], outputs: &[Tensor]) -> Result<(), Failure> {
    if data::extension(path) != "npz" {
        return Err(Failure::usage(format!(
            "{}: the model has {} outputs: give NAME=FILE for each, or a .npz file",
            path.display(),
            outputs.len()
        )));
    }
    let arrays: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(outputs).collect();
    let bytes = npz::encode(&arrays).map_err(|e| Failure::usage(format!("cannot write {}: {e}", path.display())))?;
    file::write(path, &bytes)
}
