//! `machine`: prints or validates machine descriptions.

use super::output::{self, Format};
use crate::failure::Failure;
use crate::machine::{Machine, builtin};
use comfy_table::{Table, presets};
use serde_json::json;

/// Print or validate a machine description
///
/// Without a name, lists the machines that ship. With a name or a TOML file, validates the
/// description and prints it with its hash, which programs carry.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A shipped machine or a TOML file
    #[arg(value_name = "NAME|FILE")]
    machine: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        match &self.machine {
            Some(name) => self.one(&Machine::load(name)?),
            None => self.list(),
        }
        .map(|()| 0)
    }

    fn one(&self, m: &Machine) -> Result<(), Failure> {
        match self.format {
            Format::Json => output::print_json(&json!({
                "name": m.name(), "target": m.target(), "hash": m.hash(), "description": m.to_json(),
            })),
            Format::Text => output::print(&format!("# hash {}\n{}", m.hash(), m.to_toml())),
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let machines: Vec<Machine> = builtin().map(|(n, _)| Machine::load(n)).collect::<Result<_, _>>()?;
        if self.format == Format::Json {
            let list: Vec<_> = machines
                .iter()
                .map(|m| json!({ "name": m.name(), "target": m.target(), "hash": m.hash(), "size": size(m) }))
                .collect();
            return output::print_json(&list);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["name", "target", "size", "hash"]);
        for m in &machines {
            table.add_row([m.name(), m.target().name(), &size(m), &m.hash()[..12]]);
        }
        output::print(&format!("{}\n", table.trim_fmt()))
    }
}

fn size(m: &Machine) -> String {
    match m {
        Machine::Tsp(m) => format!(
            "{} lanes, {} MXM planes, {} MEM slices, {:.1} MiB SRAM",
            m.lanes(),
            m.planes(),
            2 * m.geometry.mem_slices_per_hemisphere,
            (2 * m.geometry.mem_slices_per_hemisphere) as f64 * m.geometry.words_per_slice as f64 * m.lanes() as f64
                / f64::from(1 << 20)
        ),
        Machine::Wafer(m) => format!(
            "{} x {} PEs, {} KiB SRAM each",
            m.geometry.width_pes,
            m.geometry.height_pes,
            m.geometry.sram_bytes_per_pe / 1024
        ),
    }
}
