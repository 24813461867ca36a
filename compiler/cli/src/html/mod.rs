//! The report: one HTML file with everything inside, readable without a network.
//!
//! Knows how a program becomes numbers to draw (`chip`, `mesh`) and how they are packed into the
//! page; the drawing is the script's. Must not know how a schedule came about.

mod chip;
mod mesh;

use crate::machine::Machine;
use crate::pipeline::{Account, Estimate};
use quadrille_isa::container::AnyProgram;
use quadrille_runtime::wafer::{LinkLoad, TaskSpan};
use quadrille_wafer::whole_mesh::PhaseCost;
use serde_json::{Value, json};

/// What is known about a program besides itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// From the compiler; a program file does not say.
    pub estimate: Option<&'a Estimate>,
    /// As well.
    pub account: Option<&'a Account>,
    /// Simulated or proven length in cycles.
    pub cycles: u64,
    /// Cycles between two images (mesh, several images).
    pub interval: Option<u64>,
    /// The links with most wavelets (mesh).
    pub links: &'a [LinkLoad],
    /// Whole-mesh mode: what all PEs do in turn, with declared cycles.
    pub phases: &'a [PhaseCost],
}

/// The page of a chip's program.
pub fn of_chip(p: &quadrille_isa::tsp::Program, m: &quadrille_isa::tsp::Machine, known: Known<'_>) -> String {
    page(&p.model, chip::data(p, m, &known), known, &m.name, m.geometry.clock_mhz)
}

/// The page of a run on a mesh that recorded its spans.
pub fn of_mesh(
    p: &quadrille_isa::wafer::Program,
    m: &quadrille_isa::wafer::Machine,
    spans: &[TaskSpan],
    known: Known<'_>,
) -> String {
    page(&p.model, mesh::data(p, m, spans, &known), known, &m.name, m.geometry.clock_mhz)
}

/// The page of any program; `None` when machine and program are of different targets.
pub fn of(p: &AnyProgram, m: &Machine, spans: &[TaskSpan], known: Known<'_>) -> Option<String> {
    match (p, m) {
        (AnyProgram::Tsp(p), Machine::Tsp(m)) => Some(of_chip(p, m, known)),
        (AnyProgram::Wafer(p), Machine::Wafer(m)) => Some(of_mesh(p, m, spans, known)),
        _ => None,
    }
}

fn page(model: &str, mut data: Value, known: Known<'_>, machine: &str, clock_mhz: u32) -> String {
    data["model"] = json!(model);
    data["machine"] = json!(machine);
    data["clock_mhz"] = json!(clock_mhz);
    data["cycles"] = json!(known.cycles);
    data["interval"] = json!(known.interval);
    data["bound"] = json!(known.estimate.map(|e| e.bound_cycles));
    data["mapping_bound"] = json!(known.estimate.map(|e| e.mapping_bound_cycles));
    // Inside a script element only `<` can end it early.
    let data = data.to_string().replace('<', "\\u003c");
    let title = model.replace('&', "&amp;").replace('<', "&lt;");
    include_str!("page.html")
        .replace("{{title}}", &title)
        .replace("{{script}}", include_str!("page.js"))
        .replace("{{data}}", &data)
}
