//! `diff`: what changed between two programs of one model.

use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::prepared::Prepared;
use super::progress::Progress;
use crate::difference::{self, NodeChange, Pair, Parting};
use crate::failure::Failure;
use crate::figures::grouped;
use crate::machine::Machine;
use crate::pipeline;
use crate::usage::{self, Usage};
use quadrille_isa::container::AnyProgram;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Nodes shown without `--all`.
const SHOWN: usize = 20;

/// Explain a change between two programs of one model, node by node
///
/// Each of A and B is a program file, or an ONNX model that is compiled with the options given. Every node of the
/// model has a share of the cycles: those by which it moves the end of the program. The shares add up to the program's
/// length, so their changes add up to the change. For each node: its share before and after, and what became of its work
/// (plane-cycles, ALU operations, SRAM accesses on tsp; PEs, busy cycles, bytes on wafer, where both programs are simulated
/// on seeded inputs unless data is given).
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The program or model before
    a: PathBuf,

    /// The program or model after
    b: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// All nodes, not only the 20 with the largest changes
    #[arg(long)]
    all: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One of the two.
struct Side {
    program: AnyProgram,
    usage: Usage,
    cycles: u64,
    text_bytes: Option<u64>,
}

impl Side {
    fn new(path: &Path, args: &ModelArgs, progress: &Progress) -> Result<Side, Failure> {
        let ready = Prepared::new(path, args, progress)?;
        let lost = || Failure::wrong(format!("{}: the program has no length: `verify` says why", path.display()));
        let (mut usage, cycles, text_bytes) = match (&ready.program, &ready.machine) {
            (AnyProgram::Wafer(p), Machine::Wafer(m)) => {
                let (spans, run) = progress.stage("simulating", || pipeline::spans(p, m, &ready.inputs)).0?;
                (usage::wafer::usage(p, m, &spans), run.cycles, None)
            }
            (AnyProgram::Tsp(p), Machine::Tsp(m)) => {
                let cycles = pipeline::check(&ready.program, &ready.machine)?.cycles.ok_or_else(lost)?;
                (usage::tsp::usage(p, m), cycles, Some(p.text_bytes(m.program.instruction_bytes)))
            }
            _ => return Err(Failure::usage("program and machine are of different targets")),
        };
        usage.close(cycles);
        Ok(Side { program: ready.program, usage, cycles, text_bytes })
    }
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let progress = Progress::new();
        let (a, b) = (Side::new(&self.a, &self.args, &progress)?, Side::new(&self.b, &self.args, &progress)?);
        drop(progress);
        if a.program.target() != b.program.target() {
            return Err(Failure::usage(format!(
                "{} is a {} program and {} a {} program: only programs of one target can be compared",
                self.a.display(),
                a.program.target(),
                self.b.display(),
                b.program.target()
            )));
        }
        let parting = match (&a.program, &b.program) {
            (AnyProgram::Tsp(x), AnyProgram::Tsp(y)) => difference::parting(x, y),
            _ => None,
        };
        let nodes = difference::nodes(&a.usage, &b.usage);
        match self.format {
            Format::Json => output::print_json(&json!({
                "target": a.program.target(),
                "a": self.a.display().to_string(),
                "b": self.b.display().to_string(),
                "cycles": Pair { a: a.cycles, b: b.cycles },
                "program_bytes": Pair { a: a.text_bytes, b: b.text_bytes },
                "first_difference": parting,
                "nodes": nodes,
            }))?,
            Format::Text => output::print(&self.text((&a, &b), parting.as_ref(), &nodes))?,
        }
        Ok(0)
    }

    fn text(&self, (a, b): (&Side, &Side), parting: Option<&Parting>, nodes: &[NodeChange]) -> String {
        let mut out = String::new();
        let change = b.cycles as i64 - a.cycles as i64;
        let percent = 100.0 * change as f64 / a.cycles.max(1) as f64;
        let _ = writeln!(out, " a       {}: {} cycles", self.a.display(), grouped(a.cycles));
        let _ = writeln!(out, " b       {}: {} cycles", self.b.display(), grouped(b.cycles));
        let _ = writeln!(out, " change  {} cycles ({percent:+.1} %)", signed(change));
        if let (Some(x), Some(y)) = (a.text_bytes, b.text_bytes) {
            let _ = writeln!(out, " text    {} -> {} bytes", grouped(x), grouped(y));
        }
        if let Some(p) = parting {
            let end = "the end of the queue".to_string();
            let [x, y] = [&p.instruction.a, &p.instruction.b].map(|i| i.as_ref().unwrap_or(&end).clone());
            let _ =
                writeln!(out, " parts   in {} at cycle {}, node `{}`: {x} | {y}", p.queue, grouped(p.cycle), p.node);
        }
        let changed: Vec<&NodeChange> =
            nodes.iter().filter(|n| n.change != 0 || !n.work.is_empty() || n.first.a != n.first.b).collect();
        if changed.is_empty() {
            let _ = writeln!(out, "\nNo node changed.");
            return out;
        }
        let shown = if self.all { changed.len() } else { SHOWN.min(changed.len()) };
        let width = changed[..shown].iter().map(|n| n.node.chars().count()).max().unwrap_or(0).clamp(4, 48);
        let _ = writeln!(out, "\n {:<width$} {:>9} {:>9} {:>9}  why", "node", "a", "b", "change");
        let share = |c: Option<u64>| c.map_or("-".to_string(), grouped);
        for n in &changed[..shown] {
            let _ = writeln!(
                out,
                " {:<width$} {:>9} {:>9} {:>9}  {}",
                n.node,
                share(n.cycles.a),
                share(n.cycles.b),
                signed(n.change),
                n.why
            );
        }
        if shown < changed.len() {
            let rest: i64 = changed[shown..].iter().map(|n| n.change).sum();
            let _ = writeln!(
                out,
                " {} more nodes, {} cycles in all (--all shows them)",
                changed.len() - shown,
                signed(rest)
            );
        }
        out
    }
}

fn signed(n: i64) -> String {
    match n {
        0 => "0".to_string(),
        n if n < 0 => format!("-{}", grouped(n.unsigned_abs())),
        n => format!("+{}", grouped(n.unsigned_abs())),
    }
}
