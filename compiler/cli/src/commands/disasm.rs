//! `disasm`: the text form of a program, and back.

use super::output::Output;
use crate::failure::Failure;
use crate::{file, pipeline};
use quadrille_isa::container;
use std::path::PathBuf;

/// Print a program as text, or turn its text back into a program
///
/// The text form is complete: assembling it gives the same program again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A program, container or text
    program: PathBuf,

    /// Write a container instead of text (needs -o)
    #[arg(long, requires = "out")]
    assemble: bool,

    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let program = pipeline::load_program(&self.program)?;
        match &self.output.out {
            Some(out) if self.assemble => {
                let bytes = container::write(&program)
                    .map_err(|e| Failure::wrong(format!("{}: {e}", self.program.display())))?;
                file::write(out, &bytes)?;
            }
            _ => self.output.text(&program.print())?,
        }
        Ok(0)
    }
}
