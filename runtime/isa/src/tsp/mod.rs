//! The `tsp` target: machine, instructions, program, and the program's text and binary forms.

pub mod alu;
pub mod alu_op;
pub mod binary;
pub mod inst;
pub mod machine;
pub mod opcode;
pub mod place;
pub mod program;
pub mod text;

pub use inst::*;
pub use machine::*;
pub use program::*;
