//! `report`: one HTML file about a program.

use super::model_args::ModelArgs;
use super::output;
use super::prepared::Prepared;
use super::progress::Progress;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline::NAMED;
use crate::{file, html, pipeline};
use quadrille_isa::container::AnyProgram;
use std::path::PathBuf;

/// Write a report to read in a browser
///
/// One HTML file, everything inside, no network: a timeline of every unit down to the cycle, use of
/// planes, ALUs, SRAM and streams over time, the floorplan, cycles by node of the model with the resource
/// that binds, a roofline (tsp); heat maps of compute, memory and links, kernels, routes by color and the
/// pipeline (wafer).
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model or a program file
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// The HTML file
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let progress = Progress::new();
        let ready = Prepared::new(&self.model, &self.args, &progress)?;
        let (spans, links, cycles, interval) = match (&ready.program, &ready.machine) {
            (AnyProgram::Wafer(p), Machine::Wafer(m)) => {
                let (spans, run) = progress.stage("simulating", || pipeline::spans(p, m, &ready.inputs)).0?;
                (spans, run.links, Some(run.cycles), run.interval_cycles)
            }
            _ => (Vec::new(), Vec::new(), pipeline::check(&ready.program, &ready.machine)?.cycles, None),
        };
        // The length of a chip's program is in the program.
        let cycles = cycles.ok_or_else(|| Failure::wrong("the program has no length: `verify` says what is wrong"))?;
        let account = ready.account.as_ref();
        let (estimate, phases) = (ready.estimate.as_ref(), &ready.phases);
        let known = html::Known { estimate, account, cycles, interval, links: &links, phases };
        let page = html::of(&ready.program, &ready.machine, &spans, known)
            .ok_or_else(|| Failure::usage("program and machine are of different targets"))?;
        file::write(&self.out, page.as_bytes())?;
        drop(progress);
        let mut text = format!("{}: {} cycles; open it in a browser\n", self.out.display(), cycles);
        for l in account.iter().flat_map(|a| a.losses.iter().take(NAMED)) {
            text += &format!("  {}\n", l);
        }
        output::print(&text)?;
        Ok(0)
    }
}
