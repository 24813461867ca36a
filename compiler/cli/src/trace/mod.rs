//! Traces for the Perfetto viewer (ui.perfetto.dev): which unit works for which node of the
//! user's model, and when. One cycle is written as one nanosecond.

pub mod perfetto;
mod tsp;

use perfetto::Trace;
use quadrille_isa::container::AnyProgram;

/// The trace of a program, as far as it follows from the program alone.
pub fn of_program(program: &AnyProgram) -> Option<Trace> {
    match program {
        AnyProgram::Tsp(p) => Some(tsp::trace(p)),
        AnyProgram::Wafer(_) => None,
    }
}
