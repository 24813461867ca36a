//! Whole-mesh mode: the steps of a graph run one after the other, each over all PEs of a rectangle.
//!
//! For one token's way through a decoder: a vector lies in pieces on the middle column or the middle row; a product
//! sends it across the mesh, multiplies, and sums along the other axis, so its result lies on the other line.
//!
//! ```text
//! x on the middle column -> q, k, v on the middle row -> attention -> middle row -> product -> middle column
//!
//! recognise  which nodes are an attention with its caches, which a rotary embedding
//! layout     which element of a vector lies where on a line
//! phase      what all PEs do in turn; buffers
//! memory     addresses; equal layers as rounds of one program
//! plan       graph -> phases
//! product    the phases of products with weights
//! attention  the phases of an attention
//! position   what is computed for each position from the token's place: masks, where the new key goes
//! lookup     rows of constant tables at run-time places: embeddings, tables of rotary embeddings
//! emit       phases -> colors, routes, bodies of operations
//! cost       phases -> declared cycles
//! eval       phases -> the results, bit for bit
//! host       inputs into SRAM, outputs out of it
//! ```
//!
//! Inputs lie in SRAM before the first cycle, outputs after the last. Caches of keys and values stay there, in f16.

mod attention;
mod cost;
mod emit;
mod eval;
mod host;
mod layout;
mod lookup;
mod memory;
mod phase;
mod plan;
mod position;
mod product;
mod recognise;

pub use cost::PhaseCost;

use crate::CompileError;
use crate::collective::gemv::Grid;
use phase::Plan;
use quadrille_compiler::ir::{Graph, Tensor};
use quadrille_isa::wafer::{Machine, Pe, Program};

/// What the user may decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// PEs that hold no heads take more of the other weights, so that more layers fit; vectors are longer there.
    pub even_memory: bool,
}

/// A compiled graph.
#[derive(Debug)]
pub struct WholeMesh {
    /// What the machine runs; inputs are zero until [`WholeMesh::fill`].
    pub program: Program,
    /// PEs used.
    pub grid: Grid,
    /// Bytes of SRAM that the fullest PE gives to data and program.
    pub sram_bytes: u32,
    /// Declared cycles, phase by phase: when the last PE is done with it.
    pub phases: Vec<PhaseCost>,
    plan: Plan,
    wiring: emit::Wiring,
}

/// Results in a PE's SRAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The PE.
    pub pe: Pe,
    /// First byte.
    pub addr: u32,
    /// Bytes.
    pub len: u32,
}

/// Compiles a graph for the PEs of `grid` in the north-west corner.
///
/// # Errors
/// Names the node that is no step of a decoder as this module knows it, or what does not fit.
pub fn compile(graph: &Graph, machine: &Machine, grid: Grid, options: &Options) -> Result<WholeMesh, CompileError> {
    let plan = plan::plan(graph, machine, grid, options.even_memory)?;
    let wiring = emit::Wiring::new(&plan, machine)?;
    let program = emit::emit(&graph.name, &plan, &wiring, machine);
    let sram_bytes = emit::sram_bytes(&plan, &program, machine)?;
    let phases = cost::declared(&plan, &wiring, machine);
    Ok(WholeMesh { program, grid, sram_bytes, phases, plan, wiring })
}

impl WholeMesh {
    /// Declared cycles of all phases.
    pub fn declared_cycles(&self) -> u64 {
        self.phases.last().map_or(0, |p| p.end)
    }

    /// Gives inputs and constants to the PEs.
    ///
    /// # Errors
    /// Says which input is not of the graph's type.
    pub fn fill(&mut self, inputs: &[Tensor]) -> Result<(), String> {
        self.program.data = host::data(&self.plan, inputs)?;
        Ok(())
    }

    /// Positions for which SRAM suffices, this token's included, when `layers` layers like those of the graph are
    /// rounds of one program; none when not even one fits, or the graph has no attention.
    pub fn longest_context(&self, machine: &Machine, layers: u64) -> Option<u64> {
        let a = self.plan.attentions.as_ref()?;
        let text = u64::from(self.sram_bytes) - self.plan.top;
        let have = u64::from(machine.geometry.sram_bytes_per_pe);
        let fits = |held: u64| memory::needed(&self.plan, layers, held as usize) + text <= have;
        // A position takes some bytes, so this many are too many.
        let (mut low, mut high) = (0, have);
        while low + 1 < high {
            let mid = low.midpoint(high);
            if fits(mid) { low = mid } else { high = mid }
        }
        (low > 0).then_some(low * a.rows)
    }

    /// Where the results lie after a run, in the order of [`WholeMesh::outputs`].
    pub fn pieces(&self) -> Vec<Piece> {
        host::pieces(&self.plan)
    }

    /// The graph's outputs from the bytes of [`WholeMesh::pieces`].
    pub fn outputs(&self, bytes: &[Vec<u8>]) -> Vec<Tensor> {
        host::outputs(&self.plan, bytes)
    }

    /// What the program computes, bit for bit: every product, sum and rounding in its declared order.
    ///
    /// # Errors
    /// As [`WholeMesh::fill`].
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        eval::eval(&self.plan, &self.wiring, inputs)
    }
}
