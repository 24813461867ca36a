//! The `tsp` target: machine, instructions, program.

pub mod alu;
pub mod inst;
pub mod machine;
pub mod program;

pub use inst::*;
pub use machine::*;
pub use program::*;
