//! What no program for a model can beat, from the model and the machine alone.
//!
//! Counted on the imported graph (for int8 its integer form), before any rewriting, so that the number is the same whatever
//! the compiler does:
//!
//! - multiply-accumulates of convolutions and matrix products, by the machine's peak at the
//!   precision;
//! - tsp: bytes of constant weights, by what all streams carry in a cycle;
//! - tsp: elementwise operations, by all ALUs of all lanes. One an element for unary and binary
//!   operations (but rounding, which a cast does), selects and casts; three for a softmax (subtract, exponential, scale); for
//!   maximum pooling and maximum, minimum and product reductions one fewer than what is joined.
//!   Sums are not counted: a plane can do them.

use crate::compare::Precision;
use crate::machine::Machine;
use quadrille_compiler::ir::{Graph, Op, Pool, Reduce, Unary};
use quadrille_compiler::passes::run_pipeline;

/// Work of a graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Elements of constant weights.
    pub weights: u64,
    /// Elementwise operations.
    pub elementwise: u64,
}

impl Work {
    /// Counts an imported graph at a precision: for int8, its integer form, in which a quantisation is no longer
    /// a chain of float operations.
    pub fn at(imported: &Graph, precision: Precision) -> Work {
        let mut g = imported.clone();
        if precision == Precision::Int8 {
            // Passes fail by a bug of theirs alone; the graph is then as it was.
            let _ = run_pipeline(&mut g, &["integer-kernels", "dead-code"]);
        }
        Work::of(&g)
    }

    /// Counts a graph; sums saturate.
    pub fn of(g: &Graph) -> Work {
        let mut work = Work::default();
        let product = |shape: &[usize]| shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        for n in g.nodes() {
            let out = product(g.shape(n.output));
            let input = n.inputs.first().map_or(&[][..], |&v| g.shape(v));
            let (mut macs, mut elementwise) = (0, 0u64);
            match &n.op {
                Op::MatMul { .. } => macs = out.saturating_mul(input.last().map_or(1, |&k| k as u64)),
                Op::Conv { .. } => macs = out.saturating_mul(product(&g.shape(n.inputs[1])[1..])),
                Op::ConvTranspose { .. } => macs = product(input).saturating_mul(product(&g.shape(n.inputs[1])[1..])),
                // The cast that follows it rounds.
                Op::Unary(Unary::Round) => {}
                Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_) => elementwise = out,
                Op::Softmax { .. } => elementwise = out.saturating_mul(3),
                Op::Norm { centered, .. } => elementwise = out.saturating_mul(2 + u64::from(*centered)),
                Op::Pool { kind: Pool::Max, window } => {
                    elementwise = out.saturating_mul(product(&window.kernel).saturating_sub(1));
                }
                Op::Reduce { kind: Reduce::Max | Reduce::Min | Reduce::Prod, .. } => {
                    elementwise = product(input).saturating_sub(out);
                }
                _ => {}
            }
            if macs > 0 && g.constant(n.inputs[1]).is_some() {
                work.weights = work.weights.saturating_add(product(g.shape(n.inputs[1])));
            }
            work.macs = work.macs.saturating_add(macs);
            work.elementwise = work.elementwise.saturating_add(elementwise);
        }
        work
    }

    /// Cycles that a machine needs at least; never less than one.
    pub fn bound_cycles(&self, machine: &Machine, precision: Precision) -> u64 {
        self.bound(machine, precision).0
    }

    /// Cycles that a machine needs at least, and what makes them.
    pub fn bound(&self, machine: &Machine, precision: Precision) -> (u64, Resource) {
        let limits = match machine {
            Machine::Tsp(m) => {
                let peak = match precision {
                    Precision::F16 => m.peak_f16_macs_per_cycle(),
                    Precision::Int8 => m.peak_i8_macs_per_cycle(),
                };
                let lanes = m.lanes() as u64;
                let stream_bytes = 2 * u64::from(m.geometry.streams_per_direction) * lanes;
                let alus = u64::from(m.geometry.alus) * lanes;
                vec![
                    (self.macs.div_ceil(peak), Resource::MatrixProducts),
                    (self.weight_bytes(precision).div_ceil(stream_bytes), Resource::WeightLoads),
                    (self.elementwise.div_ceil(alus), Resource::Elementwise),
                ]
            }
            Machine::Wafer(m) => {
                let rate = match precision {
                    Precision::F16 => m.rate.f16_mixed_fma,
                    Precision::Int8 => m.rate.i8_fma,
                };
                let pes = u64::from(m.geometry.width_pes) * u64::from(m.geometry.height_pes);
                vec![(self.macs.div_ceil(pes * u64::from(rate)), Resource::MatrixProducts)]
            }
        };
        let mut worst = (1, Resource::MatrixProducts);
        for l in limits {
            if l.0 > worst.0 {
                worst = l;
            }
        }
        worst
    }

    /// Bytes of the constant weights as a program holds them.
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        let each = match precision {
            Precision::F16 => 2,
            Precision::Int8 => 1,
        };
        self.weights.saturating_mul(each)
    }
}

/// What a model can be bound by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Multiply-accumulates, by the machine's peak.
    MatrixProducts,
    /// Constant weights, by what streams carry (tsp).
    WeightLoads,
    /// Elementwise operations, by the ALUs (tsp).
    Elementwise,
}

impl Resource {
    /// In words, after "bound by".
    pub fn name(self) -> &'static str {
        match self {
            Resource::MatrixProducts => "matrix products",
            Resource::WeightLoads => "loading weights",
            Resource::Elementwise => "elementwise operations",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_compiler::ir::text;

    #[test]
    fn counts_what_the_page_says() {
        let g = text::parse(
            r#"graph "g" {
  %0 = input : f32[1x4] as "x"
  %1 = const [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0] : f32[4x2]
  %2 = matmul %0, %1 : f32[1x2]
  %3 = relu %2 : f32[1x2]
  %4 = softmax %3 {axis=1} : f32[1x2]
  output "y" = %4
}"#,
        )
        .expect("a graph");
        let work = Work::of(&g);
        assert_eq!(work, Work { macs: 8, weights: 8, elementwise: 2 + 6 });
        let chip = Machine::load("tsp").expect("it ships");
        assert_eq!(work.bound_cycles(&chip, Precision::F16), 1);
        let many = Work { macs: 102_400 * 10, weights: 10_240 * 30, elementwise: 5_120 * 20 };
        assert_eq!(many.bound_cycles(&chip, Precision::F16), 30, "weights: 2 bytes each, 20,480 a cycle");
        let mesh = Machine::load("wafer").expect("it ships");
        let macs = Work { macs: 750 * 994 * 2 * 7, ..Work::default() };
        assert_eq!(macs.bound_cycles(&mesh, Precision::F16), 7);
    }
}
