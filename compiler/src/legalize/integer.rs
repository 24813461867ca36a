//! Integer division and its remainders, which no ALU has: a float quotient and exact corrections.
//!
//! A division by zero gives 0, as in the oracle.

use super::build::{Builder, Made};
use crate::ir::{Binary, DType, TypeError, Unary, ValueId};

impl Builder<'_> {
    pub(super) fn integer(&mut self, b: Binary, x: ValueId, y: ValueId) -> Result<Option<ValueId>, TypeError> {
        let d = self.dtype(x);
        if !matches!(d, DType::I8 | DType::U8 | DType::I16 | DType::I32) {
            return Ok(None);
        }
        if !matches!(b, Binary::Div | Binary::Mod | Binary::Rem) {
            return Ok(None);
        }
        let (a, c) = (self.cast(x, DType::I32)?, self.cast(y, DType::I32)?);
        let q = if d == DType::I32 { self.quotient(a, c)? } else { self.short_quotient(a, c)? };
        let r = match b {
            Binary::Div => self.zero_where_zero(c, q)?,
            _ => {
                let p = self.binary(Binary::Mul, q, c)?;
                let r = self.binary(Binary::Sub, a, p)?;
                let r = if b == Binary::Mod { self.sign_of_divisor(r, c)? } else { r };
                self.zero_where_zero(c, r)?
            }
        };
        self.cast(r, d).map(Some)
    }

    /// 0 where `c` is, else `x`.
    pub(super) fn zero_where_zero(&mut self, c: ValueId, x: ValueId) -> Made {
        let zero = self.number(self.dtype(c), 0.0);
        let is = self.binary(Binary::Eq, c, zero)?;
        self.select(is, zero, x)
    }

    /// A remainder with the dividend's sign, moved to the divisor's.
    fn sign_of_divisor(&mut self, r: ValueId, c: ValueId) -> Made {
        let x = self.binary(Binary::Xor, r, c)?;
        let differ = self.with(Binary::Lt, x, 0.0)?;
        let moved = self.binary(Binary::Add, r, c)?;
        let y = self.select(differ, moved, r)?;
        self.zero_where_zero(r, y)
    }

    /// Truncated quotient of values of up to 16 bits: half a unit away from zero keeps the float
    /// quotient, exact to 2^-22 of itself, off every integer.
    fn short_quotient(&mut self, a: ValueId, c: ValueId) -> Made {
        let (f, g) = (self.cast(a, DType::F32)?, self.cast(c, DType::F32)?);
        let (half, minus) = (self.number(DType::F32, 0.5), self.number(DType::F32, -0.5));
        let negative = self.with(Binary::Lt, f, 0.0)?;
        let away = self.select(negative, minus, half)?;
        let f = self.binary(Binary::Add, f, away)?;
        let q = self.binary(Binary::Div, f, g)?;
        self.cast(q, DType::I32)
    }

    /// Truncated quotient of i32: the float quotient is off by at most 2^-21 of itself, so the remainder
    /// that it leaves is small, and a second quotient of that is off by one at most.
    fn quotient(&mut self, a: ValueId, c: ValueId) -> Made {
        let g = self.cast(c, DType::F32)?;
        let f = self.cast(a, DType::F32)?;
        let q = self.binary(Binary::Div, f, g)?;
        let q = self.cast(q, DType::I32)?;
        let p = self.binary(Binary::Mul, q, c)?;
        let r = self.binary(Binary::Sub, a, p)?;
        let f = self.cast(r, DType::F32)?;
        let more = self.binary(Binary::Div, f, g)?;
        let more = self.cast(more, DType::I32)?;
        let q = self.binary(Binary::Add, q, more)?;
        let p = self.binary(Binary::Mul, q, c)?;
        let r = self.binary(Binary::Sub, a, p)?;
        // One more or less where the remainder has reached the divisor, or has the wrong sign.
        let (size, whole) = (self.unary(Unary::Abs, r)?, self.unary(Unary::Abs, c)?);
        let x = self.binary(Binary::Xor, r, c)?;
        let zero = self.number(DType::I32, 0.0);
        let (one, minus) = (self.number(DType::I32, 1.0), self.number(DType::I32, -1.0));
        let differ = self.binary(Binary::Lt, x, zero)?;
        let unit = self.select(differ, minus, one)?;
        let over = self.binary(Binary::Ge, size, whole)?;
        let wrong = self.binary(Binary::Xor, r, a)?;
        let wrong = self.binary(Binary::Lt, wrong, zero)?;
        let off = self.select(wrong, unit, zero)?;
        let off = self.zero_where_zero(r, off)?;
        let off = self.select(over, unit, off)?;
        self.binary(Binary::Add, q, off)
    }

    /// Quotient of the bits of two i32 read as u32: half the dividend is not negative.
    pub(super) fn unsigned_quotient(&mut self, a: ValueId, c: ValueId) -> Made {
        let zero = self.number(DType::I32, 0.0);
        let one = self.number(DType::I32, 1.0);
        let low = self.number(DType::I32, f64::from(i32::MAX));
        let top = self.number(DType::I32, f64::from(i32::MIN));
        let half = self.binary(Binary::Shr, a, one)?;
        let half = self.binary(Binary::And, half, low)?;
        let q = self.quotient(half, c)?;
        let q = self.binary(Binary::Add, q, q)?;
        let p = self.binary(Binary::Mul, q, c)?;
        let r = self.binary(Binary::Sub, a, p)?;
        let (x, y) = (self.binary(Binary::Xor, r, top)?, self.binary(Binary::Xor, c, top)?);
        let over = self.binary(Binary::Ge, x, y)?;
        let more = self.select(over, one, zero)?;
        let small = self.binary(Binary::Add, q, more)?;
        // A divisor of more than 31 bits goes in once or not at all.
        let x = self.binary(Binary::Xor, a, top)?;
        let large = self.binary(Binary::Ge, x, y)?;
        let large = self.select(large, one, zero)?;
        let wide = self.binary(Binary::Lt, c, zero)?;
        let q = self.select(wide, large, small)?;
        self.zero_where_zero(c, q)
    }

    /// The bits of an i32 shifted right with zeros coming in; everything is out at 32.
    pub(super) fn logical_shift(&mut self, a: ValueId, n: ValueId) -> Made {
        let one = self.number(DType::I32, 1.0);
        let low = self.number(DType::I32, f64::from(i32::MAX));
        let zero = self.number(DType::I32, 0.0);
        let first = self.binary(Binary::Shr, a, one)?;
        let first = self.binary(Binary::And, first, low)?;
        let rest = self.binary(Binary::Sub, n, one)?;
        let y = self.binary(Binary::Shr, first, rest)?;
        let none = self.binary(Binary::Eq, n, zero)?;
        self.select(none, a, y)
    }
}
