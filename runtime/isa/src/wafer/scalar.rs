//! The value of one element of a vector operation, bit for bit.
//!
//! One rule for all: the exact result of the operands' values, rounded once to the destination
//! type. Floats round to nearest even, integers saturate, NaN results are canonical. The bits
//! of a 16-bit value are the low half of the word, an 8-bit value is its low byte.

use super::pe::{ElemType, PeOp};
use crate::numerics as num;

const fn is_float(ty: ElemType) -> bool {
    matches!(ty, ElemType::F16 | ElemType::F32)
}

/// Value of a float element, exact.
#[inline]
fn float(bits: u32, ty: ElemType) -> f64 {
    match ty {
        ElemType::F16 => f64::from(num::f16_to_f32_fast(bits as u16)),
        _ => f64::from(f32::from_bits(bits)),
    }
}

/// Value of an integer element.
#[inline]
fn int(bits: u32, ty: ElemType) -> i64 {
    match ty {
        ElemType::I8 => i64::from(bits as i8),
        ElemType::I16 => i64::from(bits as i16),
        _ => i64::from(bits as i32),
    }
}

/// Rounds an exact (or round-to-odd) value to a float type.
#[inline]
fn round(x: f64, ty: ElemType) -> u32 {
    match ty {
        ElemType::F16 => u32::from(num::f64_to_f16(x)),
        _ => num::canonical(x as f32).to_bits(),
    }
}

/// Converts an integer to a type: saturating among integers, rounded once to floats.
fn from_int(x: i64, ty: ElemType) -> u32 {
    match ty {
        ElemType::I8 => u32::from(x.clamp(-128, 127) as i8 as u8),
        ElemType::I16 => u32::from(x.clamp(-32768, 32767) as i16 as u16),
        ElemType::I32 => x.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32 as u32,
        // Any i32 is exact in f64.
        ElemType::F16 | ElemType::F32 => round(x as f64, ty),
    }
}

/// Converts a value from one type to another; equal types copy the bits.
#[inline]
pub fn convert(bits: u32, from: ElemType, to: ElemType) -> u32 {
    if from == to {
        return bits;
    }
    match (is_float(from), is_float(to)) {
        (true, true) => round(float(bits, from), to),
        (true, false) => {
            let width = to.bytes() * 8;
            from_int(i64::from(num::f32_to_int(float(bits, from) as f32, width)), to)
        }
        (false, _) => from_int(int(bits, from), to),
    }
}

/// Result bits of `op` on operands `a`, `b`, `c` of types `ty` (unused ones are ignored), in
/// the destination type `to`. Operands of arithmetic must be all float or all integer; what
/// the table of `docs/isa-wafer.md` does not allow has no defined value here.
#[inline]
pub fn eval(op: PeOp, [a, b, c]: [u32; 3], ty: [ElemType; 3], to: ElemType) -> u32 {
    match op {
        PeOp::Mov => convert(a, ty[0], to),
        PeOp::Select => {
            let chosen = if is_float(ty[0]) { float(a, ty[0]) != 0.0 } else { int(a, ty[0]) != 0 };
            if chosen { convert(b, ty[1], to) } else { convert(c, ty[2], to) }
        }
        PeOp::CmpLt | PeOp::CmpEq => {
            let holds = if is_float(ty[0]) {
                let (a, b) = (float(a, ty[0]), float(b, ty[1]));
                if op == PeOp::CmpLt { a < b } else { a == b }
            } else {
                let (a, b) = (int(a, ty[0]), int(b, ty[1]));
                if op == PeOp::CmpLt { a < b } else { a == b }
            };
            from_int(i64::from(holds), to)
        }
        _ if is_float(ty[0]) => eval_float(op, [a, b, c], ty, to),
        _ => eval_int(op, [a, b, c], ty, to),
    }
}

#[inline]
fn eval_float(op: PeOp, [a, b, c]: [u32; 3], ty: [ElemType; 3], to: ElemType) -> u32 {
    let x = float(a, ty[0]);
    let wide = |bits: u32, k: usize| float(bits, ty[k]) as f32;
    let exact = match op {
        PeOp::Add => num::fma_round_to_odd(x, 1.0, float(b, ty[1])),
        PeOp::Sub => num::fma_round_to_odd(x, 1.0, -float(b, ty[1])),
        // 24 x 24 bits: exact in f64, and far from its underflow.
        PeOp::Mul => x * float(b, ty[1]),
        PeOp::Fma => num::fma_round_to_odd(x, float(b, ty[1]), float(c, ty[2])),
        PeOp::Min => f64::from(num::min_f32(x as f32, wide(b, 1))),
        PeOp::Max => f64::from(num::max_f32(x as f32, wide(b, 1))),
        PeOp::Exp2 => libm::exp2(x),
        PeOp::Recip => 1.0 / x,
        _ => 1.0 / x.sqrt(),
    };
    round(exact, to)
}

fn eval_int(op: PeOp, [a, b, c]: [u32; 3], ty: [ElemType; 3], to: ElemType) -> u32 {
    let (x, y) = (int(a, ty[0]), int(b, ty[1]));
    let exact = match op {
        PeOp::Add => x + y,
        PeOp::Sub => x - y,
        PeOp::Mul => x * y,
        // The product of two i32 is below 2^62, so the sum fits.
        PeOp::Fma => x * y + int(c, ty[2]),
        PeOp::Min => x.min(y),
        _ => x.max(y),
    };
    from_int(exact, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElemType::{F16, F32, I8, I32};

    fn f(x: f32) -> u32 {
        x.to_bits()
    }

    #[test]
    fn float_operations_round_once() {
        let t = [F32; 3];
        assert_eq!(eval(PeOp::Add, [f(1.5), f(2.25), 0], t, F32), f(3.75));
        assert_eq!(eval(PeOp::Sub, [f(0.0), f(0.0), 0], t, F32), f(0.0));
        assert_eq!(eval(PeOp::Mul, [f(-0.0), f(3.0), 0], t, F32), f(-0.0));
        assert_eq!(eval(PeOp::Fma, [f(3.0), f(4.0), f(0.5)], t, F32), f(12.5));
        // 1 + 2^-11 is a tie in f16; the 2^-40 above it decides, and only survives one rounding.
        let c = eval(PeOp::Fma, [f(1.0 + 2f32.powi(-11)), f(1.0), f(2f32.powi(-40))], t, F16);
        assert_eq!(c, 0x3C01);
        assert_eq!(eval(PeOp::Mul, [f(f32::INFINITY), f(0.0), 0], t, F32), num::CANONICAL_NAN);
        assert_eq!(eval(PeOp::Rsqrt, [f(4.0), 0, 0], t, F32), f(0.5));
        assert_eq!(eval(PeOp::Exp2, [f(-1.0), 0, 0], t, F32), f(0.5));
        assert_eq!(eval(PeOp::Max, [f(-0.0), f(0.0), 0], t, F32), f(0.0));
    }

    #[test]
    fn integers_saturate_and_convert() {
        assert_eq!(eval(PeOp::Fma, [0x80, 0x80, 5], [I8, I8, I32], I32), 16384 + 5);
        assert_eq!(eval(PeOp::Add, [i32::MAX as u32, 1, 0], [I32; 3], I32), i32::MAX as u32);
        assert_eq!(convert(f(300.5), F32, I8), 127);
        assert_eq!(convert(f(-2.5), F32, I8), 0xFE);
        assert_eq!(convert(f(f32::NAN), F32, I32), 0);
        assert_eq!(convert((-3i32) as u32, I32, F16), 0xC200);
        assert_eq!(eval(PeOp::Select, [f(-0.0), 1, 2], [F32, I32, I32], I32), 2);
        assert_eq!(eval(PeOp::CmpLt, [f(1.0), f(2.0), 0], [F32; 3], F16), 0x3C00);
    }
}
