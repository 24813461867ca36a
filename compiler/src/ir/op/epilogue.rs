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
}

impl EpilogueStep {
    /// True when the step takes an operand.
    pub fn takes_operand(self) -> bool {
        matches!(self, EpilogueStep::Add | EpilogueStep::Mul | EpilogueStep::Prelu)
    }
}
