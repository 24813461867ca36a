//! The meaning of one lane of an `alu` instruction, bit for bit.
//!
//! This module knows which element types an operation takes and what it computes from the
//! operand bits. It must not know cycles, streams or vectors. The simulator and the
//! compiler's evaluation of a scheduled graph both take the meaning from here.
//!
//! Rules that the operations share:
//!
//! - Operands and results are the low `bytes()` of a `u32`; higher bits are ignored on the
//!   way in and zero on the way out.
//! - `f16` operations are the `f32` operation on the exact operands, rounded once more to
//!   `f16`. Any NaN that an operation computes is the canonical one; `select` and the bitwise
//!   operations move bits and change nothing.
//! - Integer arithmetic wraps, the `…_sat` operations saturate to the type. `abs` and `neg` of
//!   the least value wrap to it. Shift counts are the operand modulo the bits of the type.
//! - Compares with a NaN are false, except `cmp_ne`.

use super::inst::{AluOp, AluType};
use crate::numerics as num;

impl AluType {
    /// Bits of an element.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        8 * self.bytes() as u32
    }

    /// True for `f16` and `f32`.
    #[inline(always)]
    pub const fn is_float(self) -> bool {
        matches!(self, AluType::F16 | AluType::F32)
    }

    /// True for the integer types that sign-extend.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, AluType::I8 | AluType::I16 | AluType::I32)
    }

    /// All the bits of an element.
    #[inline(always)]
    pub const fn mask(self) -> u32 {
        u32::MAX >> (32 - self.bits())
    }
}

impl AluOp {
    /// True when the operation exists for operands of type `ty`: saturating arithmetic and
    /// shifts are for integers, transcendentals and rounding for floats, the rest for all.
    #[inline(always)]
    pub const fn takes(self, ty: AluType) -> bool {
        use AluOp::*;
        match self {
            AddSat | SubSat | MulSat | Shl | Shr => !ty.is_float(),
            Exp2 | Log2 | Rsqrt | Recip | Tanh | Sin | Floor | Round => ty.is_float(),
            Add | Sub | Mul | Fma | Min | Max | Abs | Neg | And | Or | Xor | Not | CmpEq | CmpNe | CmpLt | CmpLe
            | CmpGt | CmpGe | Select | Cast(_) | Relu => true,
        }
    }

    /// Type of the result for operands of type `ty`: a cast's target, the unsigned or signed
    /// integer of equal width for a compare, else `ty`.
    pub const fn result(self, ty: AluType) -> AluType {
        use AluOp::*;
        match self {
            Cast(to) => to,
            CmpEq | CmpNe | CmpLt | CmpLe | CmpGt | CmpGe => match ty {
                AluType::F16 => AluType::I16,
                AluType::F32 => AluType::I32,
                int => int,
            },
            _ => ty,
        }
    }
}

/// Value of an integer element.
// Inlined so that a loop over lanes with a constant operation becomes vector code.
#[inline(always)]
fn int(ty: AluType, bits: u32) -> i64 {
    match ty {
        AluType::I8 => i64::from(bits as u8 as i8),
        AluType::U8 => i64::from(bits as u8),
        AluType::I16 | AluType::F16 => i64::from(bits as u16 as i16),
        AluType::I32 | AluType::F32 => i64::from(bits as i32),
    }
}

/// Nearest integer of the type.
#[inline(always)]
fn saturate(ty: AluType, v: i64) -> u32 {
    let (lo, hi) = match ty {
        AluType::U8 => (0, 255),
        _ => (-(1i64 << (ty.bits() - 1)), (1i64 << (ty.bits() - 1)) - 1),
    };
    v.clamp(lo, hi) as u32 & ty.mask()
}

/// Exact `f32` of a float element.
#[inline(always)]
fn float(ty: AluType, bits: u32) -> f32 {
    if matches!(ty, AluType::F16) { num::f16_to_f32(bits as u16) } else { f32::from_bits(bits) }
}

/// Bits of an `f32` result in the type, NaN canonical.
#[inline(always)]
fn float_bits(ty: AluType, x: f32) -> u32 {
    let x = num::canonical(x);
    if matches!(ty, AluType::F16) { u32::from(num::f32_to_f16(x)) } else { x.to_bits() }
}

/// One lane of operation `op` on operands of type `ty`; operands beyond the arity are ignored.
///
/// An operation that does not take the type (see [`AluOp::takes`]) gives zero: checker and
/// simulator refuse the instruction before it gets here.
#[inline(always)]
pub fn alu(op: AluOp, ty: AluType, a: u32, b: u32, c: u32) -> u32 {
    use AluOp::*;
    if !op.takes(ty) {
        return 0;
    }
    match op {
        And => (a & b) & ty.mask(),
        Or => (a | b) & ty.mask(),
        Xor => (a ^ b) & ty.mask(),
        Not => !a & ty.mask(),
        Select => (if a & ty.mask() != 0 { b } else { c }) & ty.mask(),
        Cast(to) => cast(ty, to, a),
        _ if ty.is_float() => float_alu(op, ty, float(ty, a), float(ty, b), float(ty, c)),
        _ => int_alu(op, ty, int(ty, a), int(ty, b), int(ty, c)),
    }
}

#[inline(always)]
fn float_alu(op: AluOp, ty: AluType, a: f32, b: f32, c: f32) -> u32 {
    use AluOp::*;
    let r = match op {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Fma => num::fma_f32(a, b, c),
        Min => num::min_f32(a, b),
        Max => num::max_f32(a, b),
        Abs => a.abs(),
        Neg => -a,
        Relu => num::max_f32(a, 0.0),
        Exp2 => num::exp2_f32(a),
        Log2 => num::log2_f32(a),
        Rsqrt => num::rsqrt_f32(a),
        Recip => num::recip_f32(a),
        Tanh => num::tanh_f32(a),
        Sin => num::sin_f32(a),
        Floor => a.floor(),
        Round => num::round_f32(a),
        CmpEq => return u32::from(a == b),
        CmpNe => return u32::from(a != b),
        CmpLt => return u32::from(a < b),
        CmpLe => return u32::from(a <= b),
        CmpGt => return u32::from(a > b),
        CmpGe => return u32::from(a >= b),
        AddSat | SubSat | MulSat | And | Or | Xor | Not | Shl | Shr | Select | Cast(_) => return 0,
    };
    float_bits(ty, r)
}

#[inline(always)]
fn int_alu(op: AluOp, ty: AluType, a: i64, b: i64, c: i64) -> u32 {
    use AluOp::*;
    let bits = ty.bits();
    // Products of 32-bit values and their sums fit 64 bits, so wrapping is one truncation.
    let r = match op {
        Add => a + b,
        Sub => a - b,
        Mul => a.wrapping_mul(b),
        Fma => a.wrapping_mul(b).wrapping_add(c),
        AddSat => return saturate(ty, a + b),
        SubSat => return saturate(ty, a - b),
        MulSat => return saturate(ty, a * b),
        Min => a.min(b),
        Max => a.max(b),
        Abs => a.abs(),
        Neg => -a,
        Relu => a.max(0),
        Shl => a << (b as u32 % bits),
        Shr => a >> (b as u32 % bits),
        CmpEq => i64::from(a == b),
        CmpNe => i64::from(a != b),
        CmpLt => i64::from(a < b),
        CmpLe => i64::from(a <= b),
        CmpGt => i64::from(a > b),
        CmpGe => i64::from(a >= b),
        And | Or | Xor | Not | Select | Cast(_) | Exp2 | Log2 | Rsqrt | Recip | Tanh | Sin | Floor | Round => 0,
    };
    r as u32 & ty.mask()
}

#[inline(always)]
fn cast(from: AluType, to: AluType, a: u32) -> u32 {
    match (from.is_float(), to) {
        (true, AluType::F16 | AluType::F32) => float_bits(to, float(from, a)),
        (true, AluType::U8) => num::f32_to_uint(float(from, a), 8),
        (true, _) => num::f32_to_int(float(from, a), to.bits()) as u32 & to.mask(),
        // i32 to f32 rounds to nearest even; beyond 2^24 an f16 is infinite either way, so the
        // second rounding cannot matter.
        (false, AluType::F16 | AluType::F32) => float_bits(to, int(from, a) as i32 as f32),
        (false, _) => saturate(to, int(from, a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_saturate_by_type() {
        assert_eq!(alu(AluOp::Add, AluType::I8, 127, 1, 0), 0x80);
        assert_eq!(alu(AluOp::AddSat, AluType::I8, 127, 1, 0), 127);
        assert_eq!(alu(AluOp::SubSat, AluType::U8, 3, 5, 0), 0);
        assert_eq!(alu(AluOp::MulSat, AluType::I16, 300, 300, 0), 32767);
        assert_eq!(alu(AluOp::Mul, AluType::I32, 0x8000_0000, 0xFFFF_FFFF, 0), 0x8000_0000);
        assert_eq!(alu(AluOp::Shr, AluType::I8, 0x80, 7, 0), 0xFF);
        assert_eq!(alu(AluOp::Shr, AluType::U8, 0x80, 7, 0), 1);
        assert_eq!(alu(AluOp::Abs, AluType::I8, 0x80, 0, 0), 0x80);
    }

    #[test]
    fn casts_round_to_even_and_saturate() {
        let f = |x: f32| x.to_bits();
        assert_eq!(alu(AluOp::Cast(AluType::I8), AluType::F32, f(2.5), 0, 0), 2);
        assert_eq!(alu(AluOp::Cast(AluType::I8), AluType::F32, f(-1000.0), 0, 0), 0x80);
        assert_eq!(alu(AluOp::Cast(AluType::U8), AluType::F32, f(-1.0), 0, 0), 0);
        assert_eq!(alu(AluOp::Cast(AluType::I32), AluType::F32, f(f32::NAN), 0, 0), 0);
        assert_eq!(alu(AluOp::Cast(AluType::F16), AluType::I32, 65_520, 0, 0), 0x7C00);
        assert_eq!(alu(AluOp::Cast(AluType::I8), AluType::I32, 1000, 0, 0), 127);
    }

    #[test]
    fn computed_nans_are_canonical_and_moved_bits_are_kept() {
        let nan = 0xFFC1_2345;
        assert_eq!(alu(AluOp::Add, AluType::F32, nan, 0, 0), num::CANONICAL_NAN);
        assert_eq!(alu(AluOp::Neg, AluType::F32, nan, 0, 0), num::CANONICAL_NAN);
        assert_eq!(alu(AluOp::Select, AluType::F32, 1, nan, 0), nan);
        assert_eq!(alu(AluOp::Add, AluType::F16, 0xFE01, 0, 0), 0x7E00);
    }
}
