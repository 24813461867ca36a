//! Checks and simulates programs for the `wafer` machine.
//!
//! Written from the machine page and the program types alone: it knows routes, queues, tasks
//! and their timing, and must not know how a compiler chose them. [`check`] proves a program
//! sound without running data; [`simulate`] is the definition of what a program does, cycle by
//! cycle and bit by bit. `docs/isa-wafer.md` states the rules of both.

mod check;
mod fabric;
mod kernel;
mod lower;
mod ports;
mod resident;
mod rule;
mod sim;
mod typing;

pub use check::{CheckReport, check, check_stepwise};
pub use rule::{CheckError, Rule};
pub use sim::{LinkLoad, Options, Peek, Sample, SimError, SimResult, TaskSpan, WaitingPe, simulate, simulate_with};
