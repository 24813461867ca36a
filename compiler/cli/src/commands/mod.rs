//! The commands: one file each, arguments and all.

pub mod bisect;
pub mod check;
pub mod compile;
pub mod diff;
pub mod disasm;
pub mod explain;
pub mod machine;
pub mod opt;
pub mod reduce;
pub mod report;
pub mod run;
pub mod trace;
pub mod verify;

mod check_text;
mod explain_steps;
mod explain_text;
mod model_args;
mod output;
mod prepared;
mod progress;
mod run_table;

pub use model_args::{ModelArgs, RewriteArgs};
pub use output::{Format, Output};

use crate::failure::Failure;
use clap::{Parser, Subcommand};

/// Compiles neural networks to machines whose every step is fixed before they run, and proves
/// the result by checking and simulating it.
#[derive(Parser, Debug)]
#[command(name = "quadrille", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 the model, program or result is wrong, 2 wrong usage, \
3 not supported, 4 does not fit the machine.";

#[derive(Subcommand, Debug)]
enum Command {
    Check(check::Args),
    Compile(compile::Args),
    Run(Box<run::Args>),
    Verify(verify::Args),
    Disasm(disasm::Args),
    Opt(opt::Args),
    Explain(explain::Args),
    Bisect(Box<bisect::Args>),
    Machine(machine::Args),
    Trace(trace::Args),
    Reduce(Box<reduce::Args>),
    Report(report::Args),
    Diff(Box<diff::Args>),
}

impl Cli {
    /// Runs the command; gives the exit code of a run without an error.
    pub fn run(&self) -> Result<u8, Failure> {
        match &self.command {
            Command::Check(a) => a.run(),
            Command::Compile(a) => a.run(),
            Command::Run(a) => a.run(),
            Command::Verify(a) => a.run(),
            Command::Disasm(a) => a.run(),
            Command::Opt(a) => a.run(),
            Command::Explain(a) => a.run(),
            Command::Bisect(a) => a.run(),
            Command::Machine(a) => a.run(),
            Command::Trace(a) => a.run(),
            Command::Reduce(a) => a.run(),
            Command::Report(a) => a.run(),
            Command::Diff(a) => a.run(),
        }
    }
}
