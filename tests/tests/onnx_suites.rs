//! The model tests of the onnx wheel, one test a case: `corpus/suite-{pass,fail}.txt`.
//!
//! `BLESS_NODE_TESTS=1` runs everything and rewrites the lists.

use quadrille_tests::{listed, suite_cases};
use std::process::ExitCode;

fn main() -> ExitCode {
    listed::main("suite", suite_cases::suite_cases())
}
