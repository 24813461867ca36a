//! Loads, checks and executes programs. Depends on the instruction types alone: the judge
//! shares no code with the compiler.

pub mod wafer;
pub mod tsp;
