//! `verify`: the static checker alone.

use super::output::{self, Format};
use super::progress::Progress;
use crate::failure::{Cause, Failure};
use crate::machine::Machine;
use crate::pipeline;
use quadrille_isa::container::AnyProgram;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Check a program without running it
///
/// Runs the static checker: it shares nothing with the compiler but the instruction set and the
/// machine description. Exit code 1 if a rule is broken.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A program, container or text
    program: PathBuf,

    /// The machine it is for [default: the shipped machine that the program names]
    #[arg(long, value_name = "NAME|FILE")]
    machine: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The machine of a program: the one given, else the shipped one of its name. The hashes must
/// agree, since a program is proved for one description only.
pub(super) fn machine_of(path: &Path, p: &AnyProgram, given: Option<&str>) -> Result<Machine, Failure> {
    let (name, hash) = match p {
        AnyProgram::Tsp(p) => (&p.machine, &p.machine_hash),
        AnyProgram::Wafer(p) => (&p.machine, &p.machine_hash),
    };
    let machine = match given {
        Some(m) => Machine::load(m)?,
        None if crate::machine::builtin().any(|(n, _)| n == name) => Machine::load(name)?,
        None => {
            return Err(Failure::usage(format!(
                "{}: the program is for machine `{name}`, which does not ship: give its description with --machine FILE",
                path.display()
            )));
        }
    };
    if machine.target().name() != p.target() {
        return Err(Failure::usage(format!(
            "{}: a {} program, but machine `{}` is a {}",
            path.display(),
            p.target(),
            machine.name(),
            machine.target().name()
        )));
    }
    if machine.hash() != *hash {
        return Err(Failure::new(
            Cause::Wrong,
            format!(
                "{}: compiled for another description of machine `{name}` (its hash is {}, this one's {}): \
                 compile it again or give the right file with --machine",
                path.display(),
                short(hash),
                short(&machine.hash())
            ),
        ));
    }
    Ok(machine)
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let program = pipeline::load_program(&self.program)?;
        let machine = machine_of(&self.program, &program, self.machine.as_deref())?;
        let progress = Progress::new();
        let (checked, seconds) = progress.stage("checking", || pipeline::check(&program, &machine));
        drop(progress);
        let checked = checked?;
        let ok = checked.error_count == 0;
        match self.format {
            Format::Json => output::print_json(&json!({
                "program": self.program.display().to_string(),
                "target": machine.target(),
                "machine": machine.name(),
                "ok": ok,
                "errors": checked.errors,
                "cycles": checked.cycles,
                "check_s": seconds,
            }))?,
            Format::Text => {
                let mut text = String::new();
                for e in &checked.errors {
                    text += &format!("{}\n", e.message);
                }
                let cycles = checked.cycles.map_or(String::new(), |c| format!(", {c} cycles"));
                text += &match checked.error_count {
                    0 => format!("{}: clean{cycles}\n", self.program.display()),
                    1 => format!("{}: 1 error\n", self.program.display()),
                    n => format!("{}: {n} errors\n", self.program.display()),
                };
                output::print(&text)?;
            }
        }
        Ok(u8::from(!ok))
    }
}
