//! The cases of `operators` on the machines, one test a case and target; see `machine_lists`.

use quadrille_tests::{machine_lists, operator_cases};
use std::process::ExitCode;

fn main() -> ExitCode {
    machine_lists::main("-operators", operator_cases::operator_cases())
}
