//! The instruction sets of the two machines: what a program *is*.
//!
//! This crate knows instruction types, their text and binary forms, the program
//! containers, the machine descriptions and the meaning of one scalar operation
//! ([`numerics`]). It must not know how a program is made (the compiler) nor how it is
//! judged or executed (the runtime): both sides meet here and nowhere else.

pub mod container;
mod names;
pub mod narrow;
pub mod numerics;
#[cfg(test)]
mod roundtrip;
mod shape;
#[cfg(any(test, feature = "strategy"))]
pub mod strategy;
pub mod tensor;
mod text;
pub mod tsp;
pub mod wafer;
mod wire;

pub use tensor::{DType, Tensor};
pub use text::TextError;
