//! The operations that programs mostly consist of, with their types decided beforehand.
//!
//! Each has the meaning that `quadrille_isa::wafer::scalar::eval` gives it (a test compares
//! them); it is only faster.

use super::lower::Operand;
use quadrille_isa::numerics as num;
use quadrille_isa::wafer::{ElemType, PeOp, scalar};

/// An operation with its types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kernel {
    /// 32 bits, as they are.
    Copy32,
    /// 16 bits, as they are.
    Copy16,
    /// f16 to f32.
    Widen,
    /// f32 to f16.
    Narrow,
    /// All f32.
    Add32,
    /// All f32.
    Mul32,
    /// All f32.
    Max32,
    /// All f32.
    Fma32,
    /// f16 x f16 + f32 to f32.
    FmaMixed,
    /// Any other.
    Any(PeOp, [ElemType; 3], ElemType),
}

impl Kernel {
    /// The kernel of an operation on these operands (the destination last).
    pub(crate) fn of(op: PeOp, operands: &[Operand; 4]) -> Kernel {
        use ElemType::{F16, F32, I16, I32};
        let [a, b, c, to] = [operands[0].ty, operands[1].ty, operands[2].ty, operands[3].ty];
        match (op, a, b, c, to) {
            (PeOp::Mov, F32, _, _, F32) | (PeOp::Mov, I32, _, _, I32) => Kernel::Copy32,
            (PeOp::Mov, F16, _, _, F16) | (PeOp::Mov, I16, _, _, I16) => Kernel::Copy16,
            (PeOp::Mov, F16, _, _, F32) => Kernel::Widen,
            (PeOp::Mov, F32, _, _, F16) => Kernel::Narrow,
            (PeOp::Add, F32, F32, _, F32) => Kernel::Add32,
            (PeOp::Mul, F32, F32, _, F32) => Kernel::Mul32,
            (PeOp::Max, F32, F32, _, F32) => Kernel::Max32,
            (PeOp::Fma, F32, F32, F32, F32) => Kernel::Fma32,
            (PeOp::Fma, F16, F16, F32, F32) => Kernel::FmaMixed,
            _ => Kernel::Any(op, [a, b, c], to),
        }
    }

    /// Result bits for operand bits.
    #[inline(always)]
    pub(crate) fn apply(self, v: [u32; 3]) -> u32 {
        let f = f32::from_bits;
        let half = |bits: u32| num::f16_to_f32_fast(bits as u16);
        match self {
            Kernel::Copy32 | Kernel::Copy16 => v[0],
            Kernel::Widen => num::canonical(half(v[0])).to_bits(),
            Kernel::Narrow => {
                let x = f(v[0]);
                u32::from(if x.is_nan() { num::CANONICAL_NAN_F16 } else { num::f32_to_f16(x) })
            }
            Kernel::Add32 => num::canonical(f(v[0]) + f(v[1])).to_bits(),
            Kernel::Mul32 => num::canonical(f(v[0]) * f(v[1])).to_bits(),
            Kernel::Max32 => num::max_f32(f(v[0]), f(v[1])).to_bits(),
            Kernel::Fma32 => num::fma_f32_canonical(f(v[0]), f(v[1]), f(v[2])).to_bits(),
            // A product of two f16 values is exact in f32, so that the sum is the only rounding.
            Kernel::FmaMixed => num::canonical(half(v[0]) * half(v[1]) + f(v[2])).to_bits(),
            Kernel::Any(op, ty, to) => scalar::eval(op, v, ty, to),
        }
    }

    /// Bytes of the source and destination elements.
    #[inline(always)]
    pub(crate) fn sizes(self) -> [u32; 4] {
        match self {
            Kernel::Copy16 => [2, 4, 4, 2],
            Kernel::Widen => [2, 4, 4, 4],
            Kernel::Narrow => [4, 4, 4, 2],
            Kernel::FmaMixed => [2, 2, 4, 4],
            Kernel::Any(_, ty, to) => [ty[0].bytes(), ty[1].bytes(), ty[2].bytes(), to.bytes()],
            _ => [4; 4],
        }
    }

    /// Source operands read.
    #[inline(always)]
    pub(crate) fn sources(self) -> usize {
        match self {
            Kernel::Copy32 | Kernel::Copy16 | Kernel::Widen | Kernel::Narrow => 1,
            Kernel::Add32 | Kernel::Mul32 | Kernel::Max32 => 2,
            Kernel::Fma32 | Kernel::FmaMixed => 3,
            Kernel::Any(op, ..) => op.arity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElemType::{F16, F32};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn kernels_mean_what_the_definition_says(a: u32, b: u32, c: u32) {
            for (kernel, op, ty, to) in [
                (Kernel::Widen, PeOp::Mov, [F16, F32, F32], F32),
                (Kernel::Narrow, PeOp::Mov, [F32, F32, F32], F16),
                (Kernel::Add32, PeOp::Add, [F32; 3], F32),
                (Kernel::Mul32, PeOp::Mul, [F32; 3], F32),
                (Kernel::Max32, PeOp::Max, [F32; 3], F32),
                (Kernel::Fma32, PeOp::Fma, [F32; 3], F32),
                (Kernel::FmaMixed, PeOp::Fma, [F16, F16, F32], F32),
            ] {
                let v = [a, b, c];
                let v = [0, 1, 2].map(|k| if ty[k] == F16 { v[k] & 0xFFFF } else { v[k] });
                prop_assert_eq!(kernel.apply(v), scalar::eval(op, v, ty, to), "{:?}", kernel);
            }
        }
    }
}
