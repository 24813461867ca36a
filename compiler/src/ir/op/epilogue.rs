//! Steps that run on a sum before it is rounded.

/// A step after the sum of a convolution or a matrix product, before its result is rounded. Sums
/// in `i32` take `Add`, `Mul` and `Relu`; other integers take none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum EpilogueStep {
    /// Add the next extra operand (it broadcasts against the result).
    Add,
    /// Multiply by the next extra operand.
    Mul,
    Relu,
    /// Leaky relu with this slope (f32 bits).
    LeakyRelu(u32),
    /// Parametric relu; the slope is the next extra operand.
    Prelu,
    /// Maximum with a constant (f32 bits).
    MaxConst(u32),
    /// Minimum with a constant (f32 bits).
    MinConst(u32),
    Sigmoid,
    Tanh,
    /// Gelu with erf.
    Gelu,
    /// Gelu with tanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    GeluTanh,
    /// x sigmoid(a x) with this a (f32 bits): silu with 1, a third way to write gelu with 1.702.
    Silu(u32),
    /// x times x / 6 + 1/2 cut to [0, 1].
    HardSwish,
}

impl EpilogueStep {
    /// True when the step takes an operand.
    pub fn takes_operand(self) -> bool {
        matches!(self, EpilogueStep::Add | EpilogueStep::Mul | EpilogueStep::Prelu)
    }
}
