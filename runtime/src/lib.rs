//! Loads, checks and executes programs. Depends on the instruction types alone: the judge
//! shares no code with the compiler.

pub mod tsp;
pub mod wafer;
