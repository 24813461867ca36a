//! The compiler: ONNX model -> tensor graph -> rewritten graph -> target program.
//!
//! Each arrow is one function: [`import::import`], [`passes`] and [`rewrite`] inside the tensor
//! graph, [`tsp::compile`] and [`wafer::compile`]. The compiler knows nothing of the runtime
//! that checks and executes what it makes.

pub mod import;
pub mod ir;
pub mod legalize;
pub mod passes;
pub mod rewrite;
pub mod tsp;
pub mod wafer;
