//! What `run` reports: one object, all keys always there, `null` where one does not apply.

use crate::compare::{Comparison, Precision};
use crate::machine::Target;
use crate::nodes::{Departure, NodeComparison};
use crate::pipeline::{Busiest, Finding, Loss};
use serde::Serialize;

/// The static checker's verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs)]
pub struct CheckVerdict {
    pub ok: bool,
    pub errors: Vec<Finding>,
}

/// Wall time of the stages, in seconds. A stage that was not needed is `null`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Timings {
    pub import_s: Option<f64>,
    pub compile_s: Option<f64>,
    pub check_s: Option<f64>,
    pub simulate_s: Option<f64>,
}

/// What `run --format json` prints. Names and units are a contract that others build on.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunReport {
    /// The model's or program's file.
    pub model: String,
    /// `tsp` or `wafer`.
    pub target: Target,
    /// Name of the machine description.
    pub machine: String,
    /// Arithmetic; `null` for a program file, which does not say.
    pub precision: Option<Precision>,
    /// Simulated, from the barrier or first launch to the last event, both included.
    pub cycles: Option<u64>,
    /// Bound from the model and the machine alone.
    pub bound_cycles: Option<u64>,
    /// Bound of the best mapping enumerated (tsp) or for the PEs used (wafer).
    pub mapping_bound_cycles: Option<u64>,
    /// Turns cycles into time, nothing else.
    pub clock_mhz: u32,
    /// The static checker.
    pub check: CheckVerdict,
    /// Simulated bits equal `eval` of the tiled graph.
    pub exact: Option<bool>,
    /// Against the expected outputs, else against `eval` of the imported graph.
    pub compare: Option<Comparison>,
    /// SRAM that data takes.
    pub sram_bytes: Option<u64>,
    /// Program text.
    pub program_bytes: Option<u64>,
    /// PEs used (wafer).
    pub pes: Option<u64>,
    /// Only in whole-mesh mode: columns and rows of PEs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Cycles between images (wafer).
    pub interval_cycles: Option<u64>,
    /// What planes lost most cycles to; `null` for a program file, and on a mesh.
    pub losses: Option<Vec<Loss>>,
    /// What binds a pipeline on a mesh: the busiest first; `null` for a program file, and on a chip.
    pub busiest: Option<Vec<Busiest>>,
    /// Wall time of the stages.
    pub timings: Timings,
    /// Largest memory of this process, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Only with `--compare-nodes`: all values, in the model's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeComparison>>,
    /// Only where there is one: the first node that departs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_departure: Option<Departure>,
    /// Only with `--compare-nodes`, and only where there are any: what could not be compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RunReport {
    /// True when everything that was established speaks for the program.
    pub fn is_fine(&self) -> bool {
        self.check.ok
            && self.exact != Some(false)
            && self.compare.as_ref().is_none_or(|c| c.ok)
            && self.first_departure.is_none()
    }
}
