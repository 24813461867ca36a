//! `check`: is the model supported, does it fit, how fast may it be, what stands in the way.

use super::check_text;
use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::progress::Progress;
use crate::check::{self, Estimate, Question};
use crate::failure::Failure;
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Feeds};
use std::path::PathBuf;

/// Say whether a model is supported and fits, and what stands in the way
///
/// Without --target, for both. Lists everything that is not supported, with the reason: a problem does not
/// end the look. Exit code 3 if something is not supported on a target asked for, 4 if the model does not
/// fit.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The ONNX model
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// Where the figures come from
    #[arg(long, value_enum, default_value_t)]
    estimate: Estimate,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let machines = match self.args.names_machine() {
            false => vec![Machine::full_size(Target::Tsp), Machine::full_size(Target::Wafer)],
            true => vec![self.args.machine()?],
        };
        let progress = Progress::new();
        let (loaded, _) = progress.stage("loading", || {
            let model = pipeline::load(&self.model)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
            Ok::<_, Failure>((model, feeds))
        });
        let (model, feeds) = loaded?;
        let question = Question {
            path: &self.model,
            model: &model,
            dims: &self.args.dims()?,
            feeds: &feeds,
            machines: &machines,
            precision: self.args.precision,
            preparation: &self.args.preparation(),
            estimate: self.estimate,
        };
        let report = check::check(&question, &mut |name, work| _ = progress.stage(name, work));
        drop(progress);
        match self.format {
            Format::Json => output::print_json(&report)?,
            Format::Text => output::print(&check_text::render(&report))?,
        }
        Ok(report.exit_code)
    }
}
