//! The meaning of one scalar operation, bit for bit.
//!
//! The machine pages define it once: f32 is IEEE round-to-nearest-even with subnormals,
//! transcendental results are the correctly rounded f32 of the f64 result, casts round to
//! nearest even and saturate. Compiler (`eval` of a scheduled graph), checker and simulators
//! all take the meaning from here, so that "same bits" is a meaningful test. f64
//! transcendentals come from the `libm` crate, not from the platform, so that the bits are
//! the same on every machine.

use half::f16;

/// 2 to the power of `x`.
pub fn exp2_f32(x: f32) -> f32 {
    libm::exp2(f64::from(x)) as f32
}

/// Base-2 logarithm.
pub fn log2_f32(x: f32) -> f32 {
    libm::log2(f64::from(x)) as f32
}

/// Reciprocal square root.
pub fn rsqrt_f32(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}

/// Reciprocal.
pub fn recip_f32(x: f32) -> f32 {
    (1.0 / f64::from(x)) as f32
}

/// Hyperbolic tangent.
pub fn tanh_f32(x: f32) -> f32 {
    libm::tanh(f64::from(x)) as f32
}

/// Sine of `x` in radians.
pub fn sin_f32(x: f32) -> f32 {
    libm::sin(f64::from(x)) as f32
}

/// Fused multiply-add, rounded once.
pub fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    // The product of two f32 is exact in f64, but the sum may need more than 53 bits, so the
    // hardware instruction (or libm's exact fallback) is the only right way.
    a.mul_add(b, c)
}

/// Round to the nearest integer, ties to even.
pub fn round_f32(x: f32) -> f32 {
    x.round_ties_even()
}

/// `f32` to `f16`, ties to even; beyond the range it becomes infinite, as IEEE has it.
pub fn f32_to_f16(x: f32) -> u16 {
    f16::from_f32(x).to_bits()
}

/// `f16` bits to `f32`, exact.
pub fn f16_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// `f32` to a signed integer of `bits` bits: ties to even, saturating, NaN to zero.
pub fn f32_to_int(x: f32, bits: u32) -> i32 {
    let (lo, hi) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
    // `as` saturates at the i64 range and maps NaN to zero.
    (x.round_ties_even() as i64).clamp(lo, hi) as i32
}

/// `f32` to an unsigned integer of `bits` bits: ties to even, saturating, NaN to zero.
pub fn f32_to_uint(x: f32, bits: u32) -> u32 {
    let hi = (1i64 << bits) - 1;
    (x.round_ties_even() as i64).clamp(0, hi) as u32
}

/// Maximum as the machines compute it: NaN if either is NaN, +0 above -0.
pub fn max_f32(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        f32::from_bits(CANONICAL_NAN)
    } else if a == b {
        f32::from_bits(a.to_bits() & b.to_bits())
    } else if a > b {
        a
    } else {
        b
    }
}

/// Minimum as the machines compute it: NaN if either is NaN, -0 below +0.
pub fn min_f32(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        f32::from_bits(CANONICAL_NAN)
    } else if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else if a < b {
        a
    } else {
        b
    }
}

/// The one NaN that arithmetic results carry on the machines.
pub const CANONICAL_NAN: u32 = 0x7FC0_0000;

/// Replaces any NaN by the canonical one: hosts differ in NaN payloads, the machines do not.
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(CANONICAL_NAN) } else { x }
}
