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
#[inline]
pub fn exp2_f32(x: f32) -> f32 {
    libm::exp2(f64::from(x)) as f32
}

/// Base-2 logarithm.
#[inline]
pub fn log2_f32(x: f32) -> f32 {
    libm::log2(f64::from(x)) as f32
}

/// Reciprocal square root.
#[inline]
pub fn rsqrt_f32(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}

/// Reciprocal.
#[inline]
pub fn recip_f32(x: f32) -> f32 {
    (1.0 / f64::from(x)) as f32
}

/// Hyperbolic tangent.
#[inline]
pub fn tanh_f32(x: f32) -> f32 {
    libm::tanh(f64::from(x)) as f32
}

/// Sine of `x` in radians.
#[inline]
pub fn sin_f32(x: f32) -> f32 {
    libm::sin(f64::from(x)) as f32
}

/// Fused multiply-add, rounded once.
#[inline]
pub fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    // The product of two f32 is exact in f64, but the sum may need more than 53 bits, so the
    // hardware instruction (or libm's exact fallback) is the only right way.
    a.mul_add(b, c)
}

/// Round to the nearest integer, ties to even.
#[inline]
pub fn round_f32(x: f32) -> f32 {
    x.round_ties_even()
}

/// `f32` to `f16`, ties to even; beyond the range it becomes infinite, as IEEE has it.
#[inline]
pub fn f32_to_f16(x: f32) -> u16 {
    f16::from_f32(x).to_bits()
}

/// `f16` bits to `f32`, exact.
#[inline]
pub fn f16_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// `f32` to a signed integer of `bits` bits: ties to even, saturating, NaN to zero.
#[inline]
pub fn f32_to_int(x: f32, bits: u32) -> i32 {
    let (lo, hi) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
    // `as` saturates at the i64 range and maps NaN to zero.
    (x.round_ties_even() as i64).clamp(lo, hi) as i32
}

/// `f32` to an unsigned integer of `bits` bits: ties to even, saturating, NaN to zero.
#[inline]
pub fn f32_to_uint(x: f32, bits: u32) -> u32 {
    let hi = (1i64 << bits) - 1;
    (x.round_ties_even() as i64).clamp(0, hi) as u32
}

/// Maximum as the machines compute it: NaN if either is NaN, +0 above -0.
#[inline]
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
#[inline]
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
#[inline]
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(CANONICAL_NAN) } else { x }
}

/// `f64` to `f16` bits, rounded once to nearest even; beyond the range it becomes infinite,
/// NaN becomes the canonical `0x7E00`.
#[inline]
pub fn f64_to_f16(x: f64) -> u16 {
    if x.is_nan() {
        return CANONICAL_NAN_F16;
    }
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = x.abs();
    if magnitude >= 65520.0 {
        return sign | 0x7C00;
    }
    // Exponent of the unit in the last place: subnormals share the one of the smallest normal.
    let exponent = ((magnitude.to_bits() >> 52) as i64 - 1023).max(-14);
    // Scaling by a power of two is exact, so the only rounding is the one asked for.
    let per_unit = f64::from_bits(((1023 + 10 - exponent) as u64) << 52);
    let units = (magnitude * per_unit).round_ties_even() as u16;
    sign | ((((exponent + 14) as u16) << 10) + units)
}

/// `f16` bits to `f32` for inner loops: the same value as [`f16_to_f32`] except that NaN
/// payloads may differ.
#[inline]
pub fn f16_to_f32_fast(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7FFF) << 13;
    let value = if bits & 0x7C00 == 0x7C00 {
        f32::from_bits(magnitude | 0x7F80_0000)
    } else {
        // Times 2^112: moves the exponent bias from 15 to 127, subnormals included, exactly.
        f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)
    };
    f32::from_bits(value.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// `a * b + c` in f64, rounded to odd: rounding the result once more, to f32 or to f16, gives
/// the correctly rounded sum. Needs `a * b` exact in f64, which holds for operands that are
/// f16 or f32 values.
#[inline]
pub fn fma_round_to_odd(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    // The exact error of the sum (Knuth's two-sum); no overflow, no subnormals in this range.
    let c_part = sum - product;
    let error = (product - (sum - c_part)) + (c - c_part);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        sum
    } else if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() + 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    }
}

/// [`fma_f32`] with the canonical NaN, without needing the host's fused instruction.
#[inline]
pub fn fma_f32_canonical(a: f32, b: f32, c: f32) -> f32 {
    // The product is exact in f64. Rounding the f64 sum again errs only when it lies just in
    // the middle of two f32 values (or where f32 has fewer bits): there, round to odd.
    let sum = f64::from(a) * f64::from(b) + f64::from(c);
    if sum.to_bits() & 0x1FFF_FFFF != 0x1000_0000 && sum.abs() >= f64::from(f32::MIN_POSITIVE) {
        sum as f32
    } else {
        canonical(fma_round_to_odd(f64::from(a), f64::from(b), f64::from(c)) as f32)
    }
}

/// The one NaN that f16 results carry on the machines.
pub const CANONICAL_NAN_F16: u16 = 0x7E00;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_f16_survives_a_trip_through_f64() {
        for bits in 0..=u16::MAX {
            let x = f16_to_f32(bits);
            assert_eq!(f16_to_f32_fast(bits).is_nan(), x.is_nan());
            if !x.is_nan() {
                assert_eq!(f16_to_f32_fast(bits).to_bits(), x.to_bits());
                assert_eq!(f64_to_f16(f64::from(x)), bits);
            }
        }
        assert_eq!(f64_to_f16(f64::NAN), CANONICAL_NAN_F16);
        assert_eq!(f64_to_f16(65519.99), 0x7BFF);
        assert_eq!(f64_to_f16(-65520.0), 0xFC00);
        assert_eq!(f64_to_f16(2f64.powi(-25)), 0);
        assert_eq!(f64_to_f16(2f64.powi(-25) * 1.0001), 1);
    }

    proptest! {
        #[test]
        fn f64_to_f16_agrees_with_half_where_f32_is_exact(x in any::<f32>()) {
            prop_assume!(!x.is_nan());
            prop_assert_eq!(f64_to_f16(f64::from(x)), f32_to_f16(x));
        }

        #[test]
        fn round_to_odd_then_f32_is_a_fused_multiply_add(a in any::<f32>(), b in any::<f32>(), c in any::<f32>()) {
            let want = canonical(fma_f32(a, b, c));
            let got = canonical(fma_round_to_odd(f64::from(a), f64::from(b), f64::from(c)) as f32);
            prop_assert_eq!(want.to_bits(), got.to_bits());
            prop_assert_eq!(want.to_bits(), fma_f32_canonical(a, b, c).to_bits());
        }

        #[test]
        fn round_to_odd_near_ties(a in 1u32..1 << 12, b in 1u32..1 << 12, shift in 20i32..40, c in 1u32..1 << 24) {
            let (a, b) = (a as f32, b as f32 * 2f32.powi(-shift));
            let c = c as f32;
            let want = fma_f32(a, b, c);
            prop_assert_eq!(want.to_bits(), fma_f32_canonical(a, b, c).to_bits());
            prop_assert_eq!(want.to_bits(), (fma_round_to_odd(f64::from(a), f64::from(b), f64::from(c)) as f32).to_bits());
        }
    }
}
