//! The judge of the `tsp` machine: a static checker and a cycle-exact, data-exact simulator.
//!
//! Both are written from docs/isa-tsp.md and share nothing with the compiler but the
//! instruction types and the machine description. They share with each other only what one
//! instruction *is*: whether it is well formed (`form`) and when it samples and drives
//! (`timing`). How state evolves (streams, SRAM, weights, accumulators) is computed twice.

pub mod check;
mod flat;
mod form;
mod layout;
mod sim;
mod timing;

pub use check::{CheckError, CheckReport, Involved, QueueText, Rule, check};
pub use sim::{SimError, SimResult, simulate};
