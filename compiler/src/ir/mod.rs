//! The tensor graph: types, operations, builder, text form, verifier and the oracle.
//!
//! | module | knows |
//! |---|---|
//! | [`Graph`], [`Op`] | values, primitives, and the type rules of each |
//! | [`builder`] | how to copy a graph while changing it |
//! | [`text`] | the text form |
//! | [`verify`] | what a well-formed graph is |
//! | [`eval`] | what a graph computes |
//! | [`arbitrary`] | random graphs for property tests |
//!
//! Nothing here knows ONNX or a machine.

pub mod arbitrary;
pub mod builder;
pub mod eval;
mod graph;
mod op;
pub mod text;
pub mod verify;

pub use graph::*;
pub use op::*;
pub use quadrille_isa::{DType, Tensor};
