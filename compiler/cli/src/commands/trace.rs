//! `trace`: a Perfetto file of a program.

use super::model_args::ModelArgs;
use super::output;
use super::prepared::Prepared;
use super::progress::Progress;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline;
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
        let ready = Prepared::new(&self.model, &self.args, &progress)?;
        let trace = match (&ready.program, &ready.machine) {
            (AnyProgram::Tsp(p), _) => trace::of_chip(p),
            (AnyProgram::Wafer(p), Machine::Wafer(m)) => {
                let (spans, _) = progress.stage("simulating", || pipeline::spans(p, m, &ready.inputs));
                trace::of_mesh(p, &spans?.0)
            }
            (p, m) => return Err(Failure::usage(format!("a {} program, but machine `{}`", p.target(), m.name()))),
        };
        let slices = trace.slices();
        file::write(&self.out, &trace.encode())?;
        drop(progress);
        output::print(&format!("{}: {slices} slices; open it at ui.perfetto.dev\n", self.out.display()))?;
        Ok(0)
    }
}
