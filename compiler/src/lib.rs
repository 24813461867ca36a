//! The middle of the compiler: ONNX model -> tensor graph -> rewritten graph.
//!
//! [`import::import`] makes the graph, [`passes`] and [`rewrite`] improve it, [`legalize`] says it in primitives that
//! machines have. What a machine makes of it is in the crates `quadrille-tsp` and `quadrille-wafer`.

pub mod import;
pub mod ir;
pub mod legalize;
pub mod passes;
pub mod rewrite;
