//! `trace`: a Perfetto file of a program.

use super::model_args::ModelArgs;
use super::output;
use super::progress::Progress;
use crate::failure::Failure;
use crate::pipeline::{self, Feeds};
use crate::{file, trace};
use std::path::PathBuf;

/// Write a trace for the Perfetto viewer
///
/// Open the file at ui.perfetto.dev. One track per instruction queue (tsp) or per kernel and PE row
/// (wafer), slices named by the node of the model they serve; one cycle shows as one nanosecond.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model or a program file
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// The trace file
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let progress = Progress::new();
        let program = if pipeline::is_program(&self.model)? {
            pipeline::load_program(&self.model)?
        } else {
            let machine = self.args.machine()?;
            let (compiled, _) = progress.stage("compiling", || {
                let model = pipeline::load(&self.model)?;
                let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
                let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
                let graph = pipeline::import(&self.model, &model, &self.args.dims()?, &feeds)?;
                let graph = pipeline::prepare(&graph, machine.target(), &self.args.preparation())?;
                pipeline::compile(&graph, &machine, self.args.precision())
            });
            compiled?.program
        };
        let trace = trace::of_program(&program)
            .ok_or_else(|| pipeline::unsupported("a wafer trace needs a simulation, which does not record one yet"))?;
        let slices = trace.slices();
        file::write(&self.out, &trace.encode())?;
        drop(progress);
        output::print(&format!("{}: {slices} slices; open it at ui.perfetto.dev\n", self.out.display()))?;
        Ok(0)
    }
}
