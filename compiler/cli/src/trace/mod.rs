//! Traces for the Perfetto viewer (ui.perfetto.dev): which unit works for which node of the
//! user's model, and when. One cycle is written as one nanosecond.

pub mod perfetto;
mod tsp;
mod wafer;

pub(crate) use tsp::unit;

use perfetto::Trace;
use quadrille_runtime::wafer::TaskSpan;

/// The schedule of a chip follows from its program alone.
pub fn of_chip(program: &quadrille_isa::tsp::Program) -> Trace {
    tsp::trace(program)
}

/// What a mesh did in a run that recorded its spans.
pub fn of_mesh(program: &quadrille_isa::wafer::Program, spans: &[TaskSpan]) -> Trace {
    wafer::trace(program, spans)
}
