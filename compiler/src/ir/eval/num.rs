//! Scalar arithmetic, the same names for floats and integers.
//!
//! Integers wrap; an integer division by zero gives 0 (ONNX leaves it undefined, and the
//! oracle must not trap). Maximum and minimum of floats give NaN when either operand is NaN.

use bytemuck::{AnyBitPattern, NoUninit};

/// A type the oracle computes in.
pub(super) trait Num: AnyBitPattern + NoUninit + PartialOrd + Send + Sync + 'static {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Not above any other value.
    const LOWEST: Self;
    /// Not below any other value.
    const HIGHEST: Self;

    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// Truncates for integers.
    fn div(self, o: Self) -> Self;
    /// Remainder with the sign of the divisor.
    fn modulo(self, o: Self) -> Self;
    /// Remainder with the sign of the dividend.
    fn rem(self, o: Self) -> Self;
    fn pow(self, o: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn sign(self) -> Self;
    /// Bitwise; identity for floats.
    fn not(self) -> Self;
    fn and(self, o: Self) -> Self;
    fn or(self, o: Self) -> Self;
    fn xor(self, o: Self) -> Self;
    /// Shifts outside the width shift everything out.
    fn shl(self, o: Self) -> Self;
    fn shr(self, o: Self) -> Self;
    fn is_nan(self) -> bool;

    fn maximum(self, o: Self) -> Self {
        // One select after the other, so that a loop of these vectorises.
        let larger = if self > o { self } else { o };
        if self.is_nan() { self } else { larger }
    }
    fn minimum(self, o: Self) -> Self {
        let smaller = if self < o { self } else { o };
        if self.is_nan() { self } else { smaller }
    }
    fn relu(self) -> Self {
        if self < Self::ZERO { Self::ZERO } else { self }
    }
    fn prelu(self, slope: Self) -> Self {
        // Both sides computed, so that a loop of these vectorises.
        let scaled = self.mul(slope);
        if self >= Self::ZERO { self } else { scaled }
    }
    /// Exact for every integer of up to 32 bits; `f32` is exact.
    fn to_f64(self) -> f64;
    /// Rounds to nearest for floats; truncates and saturates for integers.
    fn from_f64(x: f64) -> Self;
}

macro_rules! float {
    ($t:ty, $fmod:path, $pow:expr) => {
        impl Num for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const LOWEST: $t = <$t>::NEG_INFINITY;
            const HIGHEST: $t = <$t>::INFINITY;
            fn add(self, o: $t) -> $t {
                self + o
            }
            fn sub(self, o: $t) -> $t {
                self - o
            }
            fn mul(self, o: $t) -> $t {
                self * o
            }
            fn div(self, o: $t) -> $t {
                self / o
            }
            fn modulo(self, o: $t) -> $t {
                let r = $fmod(self, o);
                if r != 0.0 && (r < 0.0) != (o < 0.0) { r + o } else { r }
            }
            fn rem(self, o: $t) -> $t {
                $fmod(self, o)
            }
            fn pow(self, o: $t) -> $t {
                $pow(self, o)
            }
            fn neg(self) -> $t {
                -self
            }
            fn abs(self) -> $t {
                <$t>::abs(self)
            }
            fn sign(self) -> $t {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    self
                }
            }
            fn not(self) -> $t {
                self
            }
            fn and(self, _: $t) -> $t {
                self
            }
            fn or(self, _: $t) -> $t {
                self
            }
            fn xor(self, _: $t) -> $t {
                self
            }
            fn shl(self, _: $t) -> $t {
                self
            }
            fn shr(self, _: $t) -> $t {
                self
            }
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn from_f64(x: f64) -> $t {
                x as $t
            }
        }
    };
}

// Powers and remainders of f32 go through f64, so that the only rounding is the last one.
float!(f32, libm::fmodf, |a: f32, b: f32| libm::pow(f64::from(a), f64::from(b)) as f32);
float!(f64, libm::fmod, libm::pow);

macro_rules! int {
    ($t:ty, $signed:expr) => {
        #[allow(unused_comparisons)]
        impl Num for $t {
            const ZERO: $t = 0;
            const ONE: $t = 1;
            const LOWEST: $t = <$t>::MIN;
            const HIGHEST: $t = <$t>::MAX;
            fn add(self, o: $t) -> $t {
                self.wrapping_add(o)
            }
            fn sub(self, o: $t) -> $t {
                self.wrapping_sub(o)
            }
            fn mul(self, o: $t) -> $t {
                self.wrapping_mul(o)
            }
            fn div(self, o: $t) -> $t {
                if o == 0 { 0 } else { self.wrapping_div(o) }
            }
            fn modulo(self, o: $t) -> $t {
                let r = self.rem(o);
                if r != 0 && (r < 0) != (o < 0) { r.wrapping_add(o) } else { r }
            }
            fn rem(self, o: $t) -> $t {
                if o == 0 { 0 } else { self.wrapping_rem(o) }
            }
            fn pow(self, o: $t) -> $t {
                if o < 0 {
                    // The integer part of 1 / self^|o|.
                    return match self {
                        1 => 1,
                        _ if $signed && self.wrapping_add(1) == 0 => {
                            if o & 1 == 0 {
                                1
                            } else {
                                self
                            }
                        }
                        _ => 0,
                    };
                }
                let (mut base, mut exp, mut acc) = (self, o, 1 as $t);
                while exp > 0 {
                    if exp & 1 == 1 {
                        acc = acc.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    exp >>= 1;
                }
                acc
            }
            fn neg(self) -> $t {
                self.wrapping_neg()
            }
            fn abs(self) -> $t {
                if self < 0 { self.wrapping_neg() } else { self }
            }
            fn sign(self) -> $t {
                if self < 0 { (0 as $t).wrapping_sub(1) } else { (self > 0) as $t }
            }
            fn not(self) -> $t {
                !self
            }
            fn and(self, o: $t) -> $t {
                self & o
            }
            fn or(self, o: $t) -> $t {
                self | o
            }
            fn xor(self, o: $t) -> $t {
                self ^ o
            }
            fn shl(self, o: $t) -> $t {
                if o >= 0 && (o as u64) < u64::from(<$t>::BITS) { self << o } else { 0 }
            }
            fn shr(self, o: $t) -> $t {
                if o >= 0 && (o as u64) < u64::from(<$t>::BITS) {
                    self >> o
                } else if self < 0 {
                    (0 as $t).wrapping_sub(1)
                } else {
                    0
                }
            }
            fn is_nan(self) -> bool {
                false
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn from_f64(x: f64) -> $t {
                x as $t
            }
        }
    };
}

int!(i8, true);
int!(i16, true);
int!(i32, true);
int!(i64, true);
int!(u8, false);
int!(u16, false);
int!(u32, false);
int!(u64, false);
