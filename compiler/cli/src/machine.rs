//! Machine descriptions by name or by file, of either target.

use crate::failure::Failure;
use crate::file;
use quadrille_isa::{tsp, wafer};
use std::path::Path;

/// What a program is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A TSP-style chip: functional slices, streams, every cycle fixed.
    Tsp,
    /// A wafer-scale mesh of small cores.
    Wafer,
}

impl Target {
    /// The name on the command line, which is also that of the full-size machine.
    pub fn name(self) -> &'static str {
        match self {
            Target::Tsp => "tsp",
            Target::Wafer => "wafer",
        }
    }
}

/// A machine description of either target.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Machine {
    Tsp(Box<tsp::Machine>),
    Wafer(Box<wafer::Machine>),
}

/// Names and texts of all descriptions that ship.
pub fn builtin() -> impl Iterator<Item = (&'static str, &'static str)> {
    tsp::BUILTIN.into_iter().chain(wafer::BUILTIN)
}

impl Machine {
    /// The full-size machine of a target.
    pub fn full_size(target: Target) -> Machine {
        Machine::load(target.name()).expect("the full-size machines ship")
    }

    /// A description that ships, by name, or else from a TOML file.
    pub fn load(name_or_file: &str) -> Result<Machine, Failure> {
        if let Some((_, text)) = builtin().find(|(n, _)| *n == name_or_file) {
            return Machine::parse(text, name_or_file);
        }
        let path = Path::new(name_or_file);
        if !path.exists() {
            let names: Vec<&str> = builtin().map(|(n, _)| n).collect();
            return Err(Failure::usage(format!(
                "no machine `{name_or_file}`: it is neither a shipped one ({}) nor a file",
                names.join(", ")
            )));
        }
        let bytes = file::read(path)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|e| Failure::wrong(format!("{name_or_file}: not a text file: {e}")))?;
        Machine::parse(text, name_or_file)
    }

    /// Reads a description; `origin` says in messages where it is from.
    pub fn parse(text: &str, origin: &str) -> Result<Machine, Failure> {
        // The target decides which keys there are.
        #[derive(serde::Deserialize)]
        struct Head {
            target: String,
        }
        let wrong = |e: &dyn std::fmt::Display| Failure::wrong(format!("{origin}: {e}").trim_end().to_string());
        let head: Head = toml::from_str(text).map_err(|e| wrong(&e))?;
        match head.target.as_str() {
            "tsp" => tsp::Machine::parse(text).map(|m| Machine::Tsp(Box::new(m))).map_err(|e| wrong(&e)),
            "wafer" => wafer::Machine::parse(text).map(|m| Machine::Wafer(Box::new(m))).map_err(|e| wrong(&e)),
            other => Err(wrong(&format!("target = \"{other}\": must be \"tsp\" or \"wafer\""))),
        }
    }

    /// The machine of a command: `--machine` if given (it must be of the target), else the
    /// full-size machine of `--target`.
    pub fn choose(target: Option<Target>, machine: Option<&str>) -> Result<Machine, Failure> {
        match (target, machine) {
            (None, None) => Err(Failure::usage("say which machine: --target tsp or --target wafer")),
            (Some(t), None) => Ok(Machine::full_size(t)),
            (t, Some(m)) => {
                let machine = Machine::load(m)?;
                match t {
                    Some(t) if t != machine.target() => Err(Failure::usage(format!(
                        "machine `{m}` is a {} machine, but --target is {}",
                        machine.target().name(),
                        t.name()
                    ))),
                    _ => Ok(machine),
                }
            }
        }
    }

    /// Which of the two it is.
    pub fn target(&self) -> Target {
        match self {
            Machine::Tsp(_) => Target::Tsp,
            Machine::Wafer(_) => Target::Wafer,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Machine::Tsp(m) => &m.name,
            Machine::Wafer(m) => &m.name,
        }
    }

    /// Hash of the description: programs carry it.
    pub fn hash(&self) -> String {
        match self {
            Machine::Tsp(m) => m.hash(),
            Machine::Wafer(m) => m.hash(),
        }
    }

    /// The clock, used only to turn cycles into time.
    pub fn clock_mhz(&self) -> u32 {
        match self {
            Machine::Tsp(m) => m.geometry.clock_mhz,
            Machine::Wafer(m) => m.geometry.clock_mhz,
        }
    }

    /// The description as TOML.
    pub fn to_toml(&self) -> String {
        match self {
            Machine::Tsp(m) => toml::to_string(m),
            Machine::Wafer(m) => toml::to_string(m),
        }
        .expect("a description serialises")
    }

    /// The description as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Machine::Tsp(m) => serde_json::to_value(m),
            Machine::Wafer(m) => serde_json::to_value(m),
        }
        .expect("a description serialises")
    }
}
