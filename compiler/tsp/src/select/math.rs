//! Functions that the VXM has not: inverse trigonometry, powers, float remainders.
//!
//! Stated errors: `atan` 3e-7 absolute, `asin` and `acos` 6e-7 absolute; `pow` |b log2 a| 1e-7 relative;
//! remainders are exact while the quotient stays below 2^22.

use super::expr::Expr;
use crate::tiled::Src;
use quadrille_isa::tsp::{AluOp, AluType};
use std::f32::consts::{FRAC_PI_2, FRAC_PI_4};

const I: AluType = AluType::I32;
const F: AluType = AluType::F32;
const SIGN: u32 = 0x8000_0000;

fn imm(x: f32) -> Src {
    Src::Imm(x.to_bits())
}

impl Expr {
    /// `a` with the sign of `b` where `a` has none.
    fn with_sign(&mut self, a: Src, b: Src) -> Src {
        let s = self.op(AluOp::And, I, b, Src::Imm(SIGN), Src::None);
        self.op(AluOp::Or, I, a, s, Src::None)
    }

    /// Arguments above 1 by their reciprocal, above tan(pi/8) by (y - 1)/(y + 1), then the polynomial of Cephes'
    /// `atanf`.
    pub(crate) fn atan(&mut self, x: Src) -> Src {
        let a = self.f1(AluOp::Abs, x);
        let outside = self.f2(AluOp::CmpGt, a, imm(1.0));
        let inverse = self.f1(AluOp::Recip, a);
        let y = self.op(AluOp::Select, F, outside, inverse, a);
        let upper = self.f2(AluOp::CmpGt, y, imm(0.414_213_57));
        let above = self.f2(AluOp::Add, y, imm(-1.0));
        let below = self.f2(AluOp::Add, y, imm(1.0));
        let below = self.f1(AluOp::Recip, below);
        let turned = self.f2(AluOp::Mul, above, below);
        let z = self.op(AluOp::Select, F, upper, turned, y);
        let s = self.f2(AluOp::Mul, z, z);
        let mut p = self.f2(AluOp::Mul, s, imm(8.053_744_5e-2));
        p = self.f2(AluOp::Add, p, imm(-1.387_768_5e-1));
        for c in [1.997_771e-1, -3.333_295e-1] {
            p = self.op(AluOp::Fma, F, p, s, imm(c));
        }
        let p = self.f2(AluOp::Mul, p, s);
        let r = self.op(AluOp::Fma, F, p, z, z);
        let octant = self.cast(I, F, upper);
        let r = self.op(AluOp::Fma, F, octant, imm(FRAC_PI_4), r);
        let rest = self.f2(AluOp::Sub, imm(FRAC_PI_2), r);
        let r = self.op(AluOp::Select, F, outside, rest, r);
        self.with_sign(r, x)
    }

    /// atan(x / sqrt((1 - x)(1 + x))): infinite at the ends, NaN beyond them.
    pub(crate) fn asin(&mut self, x: Src) -> Src {
        let low = self.f2(AluOp::Sub, imm(1.0), x);
        let high = self.f2(AluOp::Add, x, imm(1.0));
        let p = self.f2(AluOp::Mul, low, high);
        let r = self.f1(AluOp::Rsqrt, p);
        let t = self.f2(AluOp::Mul, x, r);
        self.atan(t)
    }

    /// pi/2 - asin(x).
    pub(crate) fn acos(&mut self, x: Src) -> Src {
        let a = self.asin(x);
        self.f2(AluOp::Sub, imm(FRAC_PI_2), a)
    }

    /// 2 to the b log2|a|, with the sign of an odd power and NaN for a fractional power of a negative base.
    pub(crate) fn pow(&mut self, a: Src, b: Src) -> Src {
        let size = self.f1(AluOp::Abs, a);
        let l = self.f1(AluOp::Log2, size);
        let m = self.f2(AluOp::Mul, l, b);
        let p = self.f1(AluOp::Exp2, m);
        let sign = self.op(AluOp::And, I, a, Src::Imm(SIGN), Src::None);
        if let Src::Imm(bits) = b {
            let b = f32::from_bits(bits);
            let odd = b.fract() == 0.0 && (b * 0.5).fract() != 0.0;
            return match (odd, b.fract() == 0.0) {
                (true, _) => self.op(AluOp::Or, I, p, sign, Src::None),
                (_, true) => p,
                // The logarithm of a negative base is NaN.
                _ => {
                    let l = self.f1(AluOp::Log2, a);
                    let m = self.f2(AluOp::Mul, l, imm(b));
                    self.f1(AluOp::Exp2, m)
                }
            };
        }
        let half = self.f2(AluOp::Mul, b, imm(0.5));
        let down = self.f1(AluOp::Floor, half);
        let not_even = self.f2(AluOp::CmpNe, half, down);
        let down = self.f1(AluOp::Floor, b);
        let whole = self.f2(AluOp::CmpEq, b, down);
        let odd = self.op(AluOp::And, I, not_even, whole, Src::None);
        let kept = self.op(AluOp::Select, I, odd, sign, Src::Imm(0));
        let r = self.op(AluOp::Or, I, p, kept, Src::None);
        let negative = self.f2(AluOp::CmpLt, a, imm(0.0));
        let fraction = self.op(AluOp::CmpGt, I, negative, whole, Src::None);
        let r = self.op(AluOp::Select, F, fraction, imm(f32::NAN), r);
        let none = self.f2(AluOp::CmpEq, b, imm(0.0));
        self.op(AluOp::Select, F, none, imm(1.0), r)
    }

    /// a / b as the division rounds it: the product with the reciprocal and one correction by what it
    /// leaves, except where that is not finite.
    pub(crate) fn quotient(&mut self, a: Src, b: Src) -> Src {
        let r = self.f1(AluOp::Recip, b);
        let q = self.f2(AluOp::Mul, a, r);
        let minus = self.f1(AluOp::Neg, q);
        let left = self.op(AluOp::Fma, F, minus, b, a);
        let better = self.op(AluOp::Fma, F, left, r, q);
        let finite = self.f2(AluOp::CmpEq, better, better);
        self.op(AluOp::Select, F, finite, better, q)
    }

    /// The remainder with the dividend's sign: a - trunc(a/b) b in one rounding, then at most one |b| more
    /// or less, since the quotient may be off by one.
    pub(crate) fn remainder(&mut self, a: Src, b: Src) -> Src {
        let size = self.op(AluOp::Abs, F, b, Src::None, Src::None);
        let inverse = self.f1(AluOp::Recip, b);
        let q = self.f2(AluOp::Mul, a, inverse);
        let q = self.towards_zero(q);
        let q = self.f1(AluOp::Neg, q);
        let r = self.op(AluOp::Fma, F, q, b, a);
        let one = self.with_sign(size, a);
        // Beyond zero on the other side.
        let p = self.op(AluOp::Xor, I, r, a, Src::None);
        let other = self.op(AluOp::CmpLt, I, p, Src::Imm(0), Src::None);
        let nothing = self.f2(AluOp::CmpNe, r, imm(0.0));
        let other = self.op(AluOp::And, I, other, nothing, Src::None);
        let more = self.f2(AluOp::Add, r, one);
        let r = self.op(AluOp::Select, F, other, more, r);
        let left = self.f1(AluOp::Abs, r);
        let over = self.f2(AluOp::CmpGe, left, size);
        let less = self.f2(AluOp::Sub, r, one);
        let r = self.op(AluOp::Select, F, over, less, r);
        let endless = self.f2(AluOp::CmpEq, size, imm(f32::INFINITY));
        self.op(AluOp::Select, F, endless, a, r)
    }

    /// The remainder with the divisor's sign.
    pub(crate) fn modulo(&mut self, a: Src, b: Src) -> Src {
        let r = self.remainder(a, b);
        let p = self.op(AluOp::Xor, I, r, b, Src::None);
        let other = self.op(AluOp::CmpLt, I, p, Src::Imm(0), Src::None);
        let nothing = self.f2(AluOp::CmpNe, r, imm(0.0));
        let other = self.op(AluOp::And, I, other, nothing, Src::None);
        let moved = self.f2(AluOp::Add, r, b);
        self.op(AluOp::Select, F, other, moved, r)
    }
}
