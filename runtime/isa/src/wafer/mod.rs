//! The `wafer` target: machine, PE programs, routes, program, and the program's text and binary
//! forms.

pub mod binary;
pub mod machine;
pub mod pe;
pub mod program;
pub mod scalar;
pub mod text;

pub use machine::*;
pub use pe::*;
pub use program::*;
