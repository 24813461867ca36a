//! The simulator: the definition of what a `wafer` program does, cycle by cycle and bit by bit.
//!
//! Event-driven: a PE or router in which nothing can happen costs nothing. Cycles and values are found apart, as no value
//! decides when something happens; [`Options::stepwise`] finds both together, one step at a time. Knows the timing
//! rules of `docs/isa-wafer.md`; must not know how programs are made. A program that breaks a
//! rule ends in an error, never in a panic or a hang.

mod ahead;
mod bands;
mod block;
mod bulk;
mod engine;
mod host;
mod lockstep;
mod network;
mod pages;
mod products;
mod shape;
mod sites;
mod tiles;
mod values;
mod vector;

use super::fabric;
use super::ports;
use super::rule::{CheckError, Errors, Rule};
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Pe, Port, Program, TaskIx};
use std::fmt;

/// A range of one PE's SRAM to read after the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peek {
    /// The PE.
    pub pe: Pe,
    /// First byte.
    pub addr: u32,
    /// Number of bytes.
    pub len: u32,
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stop with [`SimError::Runaway`] after this many cycles; by default a bound that follows
    /// from the program's size (see `docs/isa-wafer.md`).
    pub max_cycles: Option<u64>,
    /// SRAM to read at the end, in order: whole-mesh kernels leave their results there.
    pub peeks: Vec<Peek>,
    /// Record when tasks ran ([`SimResult::spans`]).
    pub record_spans: bool,
    /// Look every so many cycles at what PEs do ([`SimResult::samples`]).
    pub sample_every: Option<u64>,
    /// Count the wavelets of every link ([`SimResult::links`]).
    pub record_links: bool,
    /// Decide every step of every operation in its own cycle: the definition, and slow. By default steps that
    /// nothing else can change are done together; every cycle, value and figure is the same.
    pub stepwise: bool,
    /// Threads that share the mesh in tiles; values have another one where there are several. By default as many as the
    /// computer has for large programs, one for small ones. Nothing depends on it but time.
    pub threads: Option<usize>,
    /// Count PEs that do the same in the same cycle once. By default where there are many PEs, and while they do so; only
    /// in programs without ports, and when nothing is recorded.
    pub lockstep: Option<bool>,
}

/// Cycles in which a PE ran a task, from its switch to its end. Runs of one task that follow
/// each other at once are one span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskSpan {
    /// The PE.
    pub pe: Pe,
    /// The task of its class.
    pub task: TaskIx,
    /// First cycle.
    pub start: u64,
    /// First cycle afterwards.
    pub end: u64,
}

/// What went over one link, from a router to its neighbour or off the mesh. A link takes one wavelet a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkLoad {
    /// The PE whose router sends.
    pub pe: Pe,
    /// By this port.
    pub port: Port,
    /// Wavelets in the whole run.
    pub wavelets: u64,
    /// Colors that take this link, a bit each.
    pub colors: u32,
}

/// What the PEs of a node were seen to do: their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// A multiple of [`Options::sample_every`]. PEs are looked at in that cycle, or in the first one after it in which anything happens.
    pub cycle: u64,
    /// Node of the program.
    pub node: u32,
    /// The datapath works, or a launch or a task switch is under way.
    pub works: u32,
    /// All operations in flight wait, for words of an input queue.
    pub waits_for_words: u32,
    /// The same, one at least for room in an output queue.
    pub waits_for_room: u32,
    /// No task runs.
    pub idle: u32,
}

/// Links that a run names at most.
const HOTTEST: usize = 64;

/// What a run gave.
#[derive(Clone, Debug)]
pub struct SimResult {
    /// The outputs, in the program's order.
    pub outputs: Vec<Tensor>,
    /// Cycles from 0 to the last event, inclusive: the last wavelet out or the last SRAM write.
    pub cycles: u64,
    /// Cycles from the start of the first operation's launch to the last event, inclusive.
    pub kernel_cycles: u64,
    /// Between the ends of the last two images, when all outputs have a leading batch of at
    /// least two: the cycle of an image is that of its last element over all outputs.
    pub interval_cycles: Option<u64>,
    /// Contents of [`Options::peeks`].
    pub peeked: Vec<Vec<u8>>,
    /// With [`Options::record_links`], the links with most wavelets, those first; at most 64.
    pub links: Vec<LinkLoad>,
    /// With [`Options::record_spans`], when tasks ran: by region and PE, then in time.
    pub spans: Vec<TaskSpan>,
    /// With [`Options::sample_every`], what PEs did, by cycle and node.
    pub samples: Vec<Sample>,
    /// PE-cycles in which a datapath worked (steps, launches and task switches).
    pub core_cycles: u64,
    /// PE-cycles in which a router moved at least one wavelet.
    pub router_cycles: u64,
    /// Where PEs that do the same were counted once ([`Options::lockstep`]), the most classes of them at any time.
    pub classes: Option<u32>,
}

/// A PE (or port) that waits when nothing moves any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingPe {
    /// Where; ports are given as the PE at their edge.
    pub pe: Pe,
    /// For what.
    pub what: String,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The program breaks rules that do not need a run to see.
    #[error("the program is not valid: {}", first(.0))]
    Invalid(Vec<CheckError>),
    /// The inputs given are not those that the program declares.
    #[error("input: {0}")]
    Input(String),
    /// A PE did something that no PE can.
    #[error("trap at cycle {cycle}: {error}")]
    Trap {
        /// When.
        cycle: u64,
        /// Where and why.
        error: Box<CheckError>,
    },
    /// Nothing moves any more, and the program is not finished.
    #[error("deadlock at cycle {cycle}: {}", list(.waiting))]
    Deadlock {
        /// The last cycle in which something happened.
        cycle: u64,
        /// Who waits for what; at most 16.
        waiting: Vec<WaitingPe>,
    },
    /// The SRAM that the program declares does not fit in this computer.
    #[error("the program declares {bytes} bytes of SRAM in all, at most {limit} can be simulated")]
    Memory {
        /// Declared.
        bytes: u64,
        /// Possible.
        limit: u64,
    },
    /// The step limit is reached.
    #[error("still running after {limit} cycles")]
    Runaway {
        /// The limit.
        limit: u64,
    },
}

fn first(errors: &[CheckError]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.to_string(),
        [one, rest @ ..] => format!("{one} (and {} more)", rest.len()),
    }
}

fn list(waiting: &[WaitingPe]) -> String {
    let mut out = Vec::new();
    for w in waiting.iter().take(6) {
        out.push(w.to_string());
    }
    out.join("; ")
}

impl fmt::Display for WaitingPe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PE ({}, {}) {}", self.pe.x, self.pe.y, self.what)
    }
}

/// Runs a program with [`Options::default`].
///
/// # Errors
/// See [`SimError`].
pub fn simulate(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<SimResult, SimError> {
    simulate_with(program, machine, inputs, &Options::default())
}

/// Runs a program.
///
/// # Errors
/// See [`SimError`].
pub fn simulate_with(
    program: &Program,
    machine: &Machine,
    inputs: &[Tensor],
    options: &Options,
) -> Result<SimResult, SimError> {
    let mut errors = Errors::new();
    super::check::structure(program, machine, &mut errors);
    ports::check(program, machine, &mut errors);
    let fabric = fabric::build(program, machine, &mut errors);
    super::check::tensors_in_sram(program, machine, &fabric, &mut errors);
    if !errors.is_empty() {
        return Err(SimError::Invalid(errors.list));
    }
    check_inputs(program, inputs)?;
    bands::run(program, machine, &fabric, inputs, options)
}

fn check_inputs(program: &Program, inputs: &[Tensor]) -> Result<(), SimError> {
    if inputs.len() != program.inputs.len() {
        return Err(SimError::Input(format!(
            "the program has {} inputs, {} were given",
            program.inputs.len(),
            inputs.len()
        )));
    }
    for (want, got) in program.inputs.iter().zip(inputs) {
        if want.dtype != got.dtype || want.shape != got.shape {
            return Err(SimError::Input(format!(
                "`{}` is {}{:?}, but {}{:?} was given",
                want.name, want.dtype, want.shape, got.dtype, got.shape
            )));
        }
    }
    Ok(())
}

/// The error for a machine description whose figures the timing rules cannot express.
fn unsupported_machine(what: &str) -> CheckError {
    CheckError::new(Rule::Machine, format!("this machine description cannot be simulated: {what}"))
}
