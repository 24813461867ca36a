//! What the rewriter goes by: cycles of an operation on this machine, in the mapping that selection would take.
//!
//! Knows: shapes, the machine description, and what selection and scheduling make of an operation ([`window`], [`product`],
//! [`lanes`] say it for each family). Must not know: the graph around; a value of three axes or more is taken to have
//! channels on lanes, as windows leave it, and to be packed where windows pack.

mod lanes;
pub(crate) mod product;
mod window;

pub(crate) use lanes::one_after_the_other;

use crate::sched::memory::weight_slices;
use quadrille_compiler::ir::{Op, TensorType, Unary};
use quadrille_compiler::rewrite::{CostModel, Cycles, Mapping, Operand, RESOURCES, Target};
use quadrille_isa::tsp::Machine;

/// Cost model of a `tsp` machine.
#[derive(Clone, Debug)]
pub struct Cost {
    lanes: u64,
    /// Lanes of a superlane, to which pixels of a packed word are aligned.
    superlane: u64,
    /// Cycles between two rows of f16 on a pair of planes.
    row_interval: u64,
    /// Pairs of planes, each with a chain of passes of its own.
    pairs: u64,
    /// Rows whose sums a plane keeps.
    accumulators: u64,
    /// Passes that a full set of weights is loaded for: two where a load brings half of its rows.
    windows: u64,
    /// Cycles of a load of 16 rows of f16 weights.
    group_load: u64,
    alus: u64,
    /// Words that streams can bring to the ALUs at once: four byte streams each.
    words_at_once: u64,
    /// From the first read to the first word readable again, through the ALUs.
    through_alus: u64,
    /// The same through planes and ALUs.
    through_planes: u64,
    /// The same through a plane of zeros and ones.
    through_maps: u64,
}

/// Resources, in the order of [`CostModel::resources`].
const MXM: usize = 0;
const LOADS: usize = 1;
const VXM: usize = 2;
const SRAM: usize = 3;

impl Default for Cost {
    fn default() -> Cost {
        Cost::new(&Machine::builtin("tsp").expect("the description ships with the compiler"))
    }
}

impl Cost {
    /// The model of a machine.
    pub fn new(m: &Machine) -> Cost {
        let (l, g) = (&m.latency, &m.geometry);
        // Out of a slice in the middle of a hemisphere to the units at its inner end, and back.
        let way = u64::from(m.columns()) / 2;
        let alus = u64::from(l.mem_read + l.vxm_entry + l.vxm_alu + l.vxm_exit + l.mem_write_readable) + way;
        let skew = u64::from(g.superlanes);
        Cost {
            lanes: m.lanes() as u64,
            superlane: g.lanes_per_superlane as u64,
            row_interval: u64::from(l.mxm_f16_row_interval),
            pairs: (u64::from(m.planes()) / 2).max(1),
            accumulators: u64::from(g.accumulator_rows_per_plane).max(1),
            windows: 16u64.div_ceil(u64::from(weight_slices(m)).max(1)),
            group_load: 2,
            alus: u64::from(g.alus),
            words_at_once: (u64::from(g.streams_per_direction) / 8).max(1),
            through_alus: alus + skew,
            through_planes: alus + skew + u64::from(l.mxm_activation_to_sum + l.mxm_sum_to_stream) + way,
            through_maps: alus + skew + u64::from(l.mxm_activation_to_sum + l.mxm_sum_to_stream),
        }
    }

    /// Words that a value takes, one pixel each.
    fn rows(&self, t: &TensorType) -> u64 {
        if t.rank() == 0 { 1 } else { self.rows_by(t, self.lane_axis(t)) }
    }

    /// The axis that lies on lanes: channels of images, where that takes fewer words, else the last.
    fn lane_axis(&self, t: &TensorType) -> usize {
        let last = t.rank().saturating_sub(1);
        if t.rank() >= 4 && self.rows_by(t, 1) <= self.rows_by(t, last) { 1 } else { last }
    }

    fn rows_by(&self, t: &TensorType, axis: usize) -> u64 {
        let lane = t.shape[axis] as u64;
        let rows = (t.elements() as u64).checked_div(lane).unwrap_or(0);
        // Narrow images have several pixels a word.
        let packed = if t.rank() >= 4 && axis == 1 { self.pixels_a_word(lane) } else { 1 };
        rows.div_ceil(packed) * lane.div_ceil(self.lanes)
    }

    /// A sequence of ALU steps over rows.
    fn map(&self, steps: u64, rows: u64, operands: u64) -> Cycles {
        let sequences = steps.div_ceil(self.alus).max(1);
        let mut busy = [0; RESOURCES];
        // Long runs are cut into as many as streams and ALUs carry side by side.
        let side_by_side = (self.words_at_once / operands.max(1)).min(self.alus / steps.clamp(1, self.alus)).max(1);
        let side_by_side = side_by_side.min(rows.div_ceil(4 * self.lanes)).max(1);
        busy[VXM] = sequences * rows.div_ceil(side_by_side);
        busy[SRAM] = ((operands + sequences) * rows).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: sequences * self.through_alus + 3 * steps.min(self.alus * sequences) }
    }

    fn elementwise(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let operands = inputs.iter().filter(|i| !i.fixed).count() as u64;
        let mut c = self.map(alu_steps(op, inputs), self.rows(result), operands);
        // One value a channel for an image, or one a row: it is brought to every lane by a map.
        let spread = |i: &&Operand<'_>| {
            let last = |t: &TensorType| t.shape.last().copied().unwrap_or(1);
            !i.fixed && i.ty.rank() > 0 && last(i.ty) == 1 && last(result) > 1 && result.rank() < 4
        };
        if inputs.iter().any(|i| spread(&i)) {
            c.fill += self.through_maps;
        }
        c
    }

    /// The ways to do an operation, the one that selection takes first where it does not depend on the schedule.
    fn ways(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        match op {
            Op::Conv { .. } | Op::Pool { .. } => self.windows(op, inputs, result),
            Op::MatMul { .. } => self.products(inputs, result, alu_steps(op, inputs)),
            _ => Vec::new(),
        }
    }
}

/// A mapping by name.
fn mapping(name: &str, cycles: Cycles) -> Mapping {
    Mapping { name: name.to_string(), cycles, likely: true }
}

impl CostModel for Cost {
    fn target(&self) -> Target {
        Target::Tsp
    }

    fn resources(&self) -> [&'static str; RESOURCES] {
        ["planes", "loads", "alus", "sram"]
    }

    fn epilogue_steps(&self) -> usize {
        8
    }

    fn epilogue_operands(&self) -> bool {
        true
    }

    fn mappings(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        self.ways(op, inputs, result)
    }

    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let ways = self.ways(op, inputs, result).into_iter().filter(|m| m.likely);
        if let Some(best) = ways.map(|m| m.cycles).min_by_key(|c| c.alone()) {
            return best;
        }
        match op {
            Op::Unary(_) | Op::Binary(_) | Op::Fma | Op::Cast(_) | Op::Select => self.elementwise(op, inputs, result),
            Op::Softmax { axis } => self.softmax(*axis, result),
            Op::Norm { axes, centered, .. } => self.norm(axes, *centered, result),
            Op::Reduce { kind, axes, .. } => self.reduction(*kind, axes, inputs, result),
            Op::ConvTranspose { .. } => self.transposed_window(inputs, result),
            _ => self.movement(op, inputs, result),
        }
    }

    fn joined(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let c = self.cycles(op, inputs, result);
        match op {
            // Steps of a sequence that is there anyway: behind a product, or in front of what takes the value.
            Op::Unary(_) | Op::Binary(_) | Op::Fma | Op::Cast(_) | Op::Select => {
                let steps = alu_steps(op, inputs);
                let mut busy = c.busy;
                busy[VXM] = (self.rows(result) * steps).div_ceil(self.alus);
                Cycles { busy, fill: 3 * steps }
            }
            // Products beside each other fill and drain the planes while others use them.
            Op::Conv { .. } | Op::MatMul { .. } => Cycles { fill: c.fill / 2, ..c },
            _ => c,
        }
    }
}

/// ALU steps of an operation, or of its epilogue.
pub(crate) fn alu_steps(op: &Op, inputs: &[Operand<'_>]) -> u64 {
    use quadrille_compiler::ir::{Binary, EpilogueStep};
    match op {
        Op::Unary(u) => unary_steps(*u),
        Op::Binary(Binary::Div) if inputs[1].fixed => 1,
        Op::Binary(Binary::Div) => 2,
        Op::Binary(Binary::Prelu) => 3,
        Op::Binary(Binary::Pow) => 8,
        Op::Binary(Binary::Mod | Binary::Rem) => 6,
        Op::Select | Op::Fma => 2,
        Op::Conv { epilogue, .. } | Op::MatMul { epilogue } => epilogue
            .iter()
            .map(|s| match s {
                EpilogueStep::LeakyRelu(_) | EpilogueStep::Prelu => 3,
                EpilogueStep::Sigmoid => unary_steps(Unary::Sigmoid),
                EpilogueStep::Gelu => 4 + unary_steps(Unary::Erf),
                EpilogueStep::GeluTanh => 8,
                EpilogueStep::Silu(_) => 2 + unary_steps(Unary::Sigmoid),
                EpilogueStep::HardSwish => 5,
                _ => 1,
            })
            .sum(),
        _ => 1,
    }
}

/// ALU steps of a unary primitive: one for what the ALUs have, more for what is composed.
fn unary_steps(u: Unary) -> u64 {
    use Unary::*;
    match u {
        Neg | Abs | Not | Rsqrt | Recip | Tanh | Sin | Floor | Round | Relu => 1,
        Sign | Exp | Log | Sqrt | Cos | Ceil | IsNan | IsInf => 2,
        Sigmoid => 4,
        _ => 20,
    }
}
