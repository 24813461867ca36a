//! `compile`: model to program, or to any stage on the way.

use super::model_args::ModelArgs;
use super::output::{self, Format, Output};
use super::progress::Progress;
use crate::bound::Work;
use crate::failure::Failure;
use crate::file;
use crate::pipeline::{self, Feeds};
use quadrille_compiler::ir;
use quadrille_isa::container;
use serde_json::json;
use std::path::PathBuf;

/// Compile a model
///
/// Writes a program file (-o), or prints the text of the stage that --emit names.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The ONNX model
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// Where to stop
    #[arg(long, value_enum, default_value_t)]
    emit: Emit,

    #[command(flatten)]
    output: Output,

    /// How to print the summary of a compilation to a file
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Stages at which a compilation may stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Emit {
    /// The tensor graph of primitives, as text
    Imported,
    /// The graph after passes and rewriting, as text
    Optimized,
    /// The tiled graph: what exactly the program computes, as text
    Tiled,
    /// The program, as text
    Scheduled,
    /// The program file
    #[default]
    Program,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let machine = self.args.machine();
        // An imported graph is the same for every machine.
        if self.emit != Emit::Imported {
            machine.as_ref().map_err(Clone::clone)?;
        }
        if self.emit == Emit::Program && self.output.out.is_none() {
            return Err(Failure::usage("give -o FILE for the program, or --emit=scheduled for its text"));
        }
        let progress = Progress::new();
        let (graph, _) = progress.stage("importing", || {
            let model = pipeline::load(&self.model)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
            let graph = pipeline::import(&self.model, &model, &self.args.dims()?, &feeds)?;
            Ok::<_, Failure>((model, graph))
        });
        let (model, graph) = graph?;
        if self.emit == Emit::Imported {
            drop(progress);
            return self.output.text(&ir::text::print(&graph)).map(|()| 0);
        }
        let machine = machine?;
        let precision = self.args.precision(&graph, machine.target());
        let work = Work::at(&graph, precision);
        let (graph, rewrite_s) =
            progress.stage("rewriting", || pipeline::prepare(&graph, &machine, &self.args.preparation()));
        let graph = graph?;
        if self.emit == Emit::Optimized {
            drop(progress);
            return self.output.text(&ir::text::print(&graph)).map(|()| 0);
        }
        let (compiled, schedule_s) =
            progress.stage("compiling", || pipeline::compile_as(&graph, &machine, &self.args.mapping()));
        let compiled = compiled.map_err(|f| f.locate(&model))?;
        drop(progress);
        match (self.emit, &self.output.out) {
            (Emit::Tiled, _) => self.output.text(&compiled.tiled.print())?,
            (Emit::Program, Some(out)) => {
                let bytes = container::write(&compiled.program)
                    .map_err(|e| Failure::wrong(format!("internal error: the program has no binary form: {e}")))?;
                file::write(out, &bytes)?;
                let e = compiled.estimate;
                let bound = work.bound_cycles(&machine, precision);
                match self.format {
                    Format::Json => output::print_json(&json!({
                        "model": self.model.display().to_string(),
                        "target": machine.target(),
                        "machine": machine.name(),
                        "program": out.display().to_string(),
                        "cycles": e.cycles,
                        "bound_cycles": bound,
                        "mapping_bound_cycles": e.mapping_bound_cycles,
                        "sram_bytes": e.sram_bytes,
                        "program_bytes": e.program_bytes,
                        "compile_s": rewrite_s + schedule_s,
                    }))?,
                    Format::Text => output::print(&format!(
                        "{}: {} cycles expected, bound {}, {} bytes of SRAM, {} bytes of program text\n",
                        out.display(),
                        e.cycles,
                        bound,
                        e.sram_bytes,
                        e.program_bytes
                    ))?,
                }
            }
            _ => self.output.text(&compiled.program.print())?,
        }
        Ok(0)
    }
}
