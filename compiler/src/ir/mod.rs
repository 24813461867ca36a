//! The tensor graph: types, operations, builder, text form, verifier and the oracle.

pub mod eval;
mod graph;
mod op;

pub use graph::*;
pub use op::*;
pub use quadrille_isa::{DType, Tensor};
