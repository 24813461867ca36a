//! `trace`: a Perfetto file of a program.

use super::model_args::ModelArgs;
use super::progress::Progress;
use super::{output, verify};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline::{self, Feeds};
use crate::{file, trace};
use quadrille_isa::container::AnyProgram;
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
        let prepared = if pipeline::is_program(&self.model)? {
            let program = pipeline::load_program(&self.model)?;
            let machine = verify::machine_of(&self.model, &program, self.args.machine.as_deref())?;
            let inputs = pipeline::declared_inputs(&program);
            let names: Vec<String> = inputs.iter().map(|d| d.0.clone()).collect();
            let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &names, &[], &[])?;
            (program, machine, feeds.for_types(&inputs, 0)?)
        } else {
            let machine = self.args.machine()?;
            let (compiled, _) = progress.stage("compiling", || {
                let model = pipeline::load(&self.model)?;
                let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
                let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
                let graph = pipeline::import(&self.model, &model, &self.args.dims()?, &feeds)?;
                let optimized = pipeline::prepare(&graph, machine.target(), &self.args.preparation())?;
                let precision = self.args.precision(&graph, machine.target());
                let compiled = pipeline::compile(&optimized, &machine, precision);
                Ok::<_, Failure>((compiled.map_err(|f| f.locate(&model))?.program, feeds.for_graph(&graph, 0)?))
            });
            let (program, inputs) = compiled?;
            (program, machine, inputs)
        };
        let trace = match &prepared {
            (AnyProgram::Tsp(p), ..) => trace::of_chip(p),
            (AnyProgram::Wafer(p), Machine::Wafer(m), inputs) => {
                let (spans, _) = progress.stage("simulating", || pipeline::spans(p, m, inputs));
                trace::of_mesh(p, &spans?)
            }
            (p, m, _) => return Err(Failure::usage(format!("a {} program, but machine `{}`", p.target(), m.name()))),
        };
        let slices = trace.slices();
        file::write(&self.out, &trace.encode())?;
        drop(progress);
        output::print(&format!("{}: {slices} slices; open it at ui.perfetto.dev\n", self.out.display()))?;
        Ok(0)
    }
}
