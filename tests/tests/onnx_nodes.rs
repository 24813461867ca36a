//! The official ONNX node tests, one test a case: `corpus/node-{pass,fail}.txt`.
//!
//! `BLESS_NODE_TESTS=1` runs everything and rewrites the lists.

use quadrille_tests::{listed, node_cases};
use std::process::ExitCode;

fn main() -> ExitCode {
    listed::main("node", node_cases::node_cases())
}
