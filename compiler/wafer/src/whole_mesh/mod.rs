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
//! figures    phases -> bounds and sizes; the grid that costs least
//! text       phases -> text
//! turned     columns and rows exchanged
//! eval       phases -> the results, bit for bit
//! host       which elements of inputs, constants and outputs lie where in SRAM
//! ```
//!
//! Inputs lie in SRAM before the first cycle, outputs after the last. Caches of keys and values stay there, in f16.

mod attention;
mod cost;
mod emit;
mod eval;
mod figures;
mod host;
mod layout;
mod lookup;
mod memory;
mod phase;
mod plan;
mod position;
mod product;
mod recognise;
mod text;
mod turned;

pub use crate::collective::gemv::Grid;
pub use cost::PhaseCost;
pub use figures::best_grid;

use crate::{CompileError, Estimate};
use phase::Plan;
use quadrille_compiler::ir::{Graph, Tensor};
use quadrille_isa::wafer::{Machine, Program};

/// What the user may decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// PEs that hold no heads take more of the other weights, so that more layers fit; vectors are longer there.
    pub even_memory: bool,
    /// Vectors enter along the middle row, not the middle column: columns and rows are exchanged.
    pub turned: bool,
}

/// A compiled graph.
#[derive(Debug)]
pub struct WholeMesh {
    /// The graph's name.
    pub name: String,
    /// What the machine runs; inputs and outputs lie in SRAM.
    pub program: Program,
    /// PEs used.
    pub grid: Grid,
    /// Columns and rows are exchanged: [`Options::turned`].
    pub turned: bool,
    /// Bytes of SRAM that the fullest PE gives to data and program.
    pub sram_bytes: u32,
    /// What it will cost.
    pub estimate: Estimate,
    /// Declared cycles, phase by phase: when the last PE is done with it.
    pub phases: Vec<PhaseCost>,
    plan: Plan,
    wiring: emit::Wiring,
}

/// Compiles a graph for the PEs of `grid` in the north-west corner.
///
/// # Errors
/// Names the node that is no step of a decoder as this module knows it, or what does not fit.
pub fn compile(graph: &Graph, machine: &Machine, grid: Grid, options: &Options) -> Result<WholeMesh, CompileError> {
    if options.turned {
        let (mesh, swapped) = (turned::mesh(machine), Grid { width: grid.height, height: grid.width });
        let mut made = compile(graph, &mesh, swapped, &Options { turned: false, ..*options })?;
        made.program = turned::program(made.program, machine);
        return Ok(WholeMesh { grid, turned: true, ..made });
    }
    let plan = plan::plan(graph, machine, grid, options.even_memory)?;
    let wiring = emit::Wiring::new(&plan, machine)?;
    let mut program = emit::emit(&graph.name, &plan, &wiring, machine);
    host::fill(&plan, &mut program);
    let sram_bytes = emit::sram_bytes(&plan, &program, machine)?;
    let phases = cost::declared(&plan, &wiring, machine);
    let estimate = figures::estimate(&plan, &wiring, &program, &phases, sram_bytes, machine);
    let name = graph.name.clone();
    Ok(WholeMesh { name, program, grid, turned: false, sram_bytes, estimate, phases, plan, wiring })
}

impl WholeMesh {
    /// Declared cycles of all phases.
    pub fn declared_cycles(&self) -> u64 {
        self.phases.last().map_or(0, |p| p.end)
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

    /// True when the graph has an attention, whose context may be longer or shorter.
    pub fn has_context(&self) -> bool {
        self.plan.attentions.is_some()
    }

    /// The plan as text.
    pub fn print(&self) -> String {
        let text = text::print(&self.name, &self.plan, &self.phases);
        // The plan is that of the mirrored mesh.
        if self.turned { format!("// columns are rows of the mesh, rows its columns\n{text}") } else { text }
    }

    /// What the program computes, bit for bit: every product, sum and rounding in its declared order.
    ///
    /// # Errors
    /// Says which input is not of the graph's type.
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        eval::eval(&self.plan, &self.wiring, inputs)
    }
}
