//! The `wafer` target: machine, PE programs, routes, program.

pub mod machine;
pub mod pe;
pub mod program;

pub use machine::*;
pub use pe::*;
pub use program::*;
