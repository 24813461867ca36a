//! Elementwise operations, selection and casts in a general kernel.
//!
//! Integers of up to 16 bits are exact in f32 and wrap afterwards; i32 adds with wrap-around by
//! detecting that the machine's sum saturated. What the lanes cannot do exactly is refused.

use super::super::Obstacle;
use super::asm::{A, Asm, T};
use super::range::Range;
use crate::lane::range_of;
use crate::steps::Step;
use quadrille_compiler::ir::{Binary, DType, Unary};
use quadrille_isa::wafer::{ElemType, PeOp};

/// Integers up to this are exact in f32.
const EXACT: i64 = 1 << 24;

fn no_operation(op: &str, d: DType) -> Obstacle {
    Obstacle::new(
        format!("the PEs have no operation that an exact {op} of {d} could be made of"),
        "compute it in float32, or in integers of up to 16 bits",
    )
}

/// Width and sign of a small integer type.
fn small(d: DType) -> Option<(i32, bool)> {
    match d {
        DType::I8 => Some((8, true)),
        DType::U8 => Some((8, false)),
        DType::I16 => Some((16, true)),
        DType::U16 => Some((16, false)),
        _ => None,
    }
}

impl Asm {
    pub(super) fn unary_step(&mut self, u: Unary, x: &T) -> Option<T> {
        Step::unary(u).map(|s| self.step(x, &s))
    }

    fn floor(&mut self, x: &T) -> T {
        self.unary_step(Unary::Floor, x).unwrap_or_else(|| x.clone())
    }

    /// An exact integer in f32 brought into a type's range by adding a multiple of its size.
    pub(super) fn wrap(&mut self, x: &T, bits: i32, signed: bool) -> T {
        let size = (2f32).powi(bits);
        let dims = x.dims.clone();
        let q = self.make(DType::F32, &dims, PeOp::Mul, &[A::T(x), A::F(1.0 / size)]);
        let q = self.floor(&q);
        let r = self.make(DType::F32, &dims, PeOp::Fma, &[A::T(&q), A::F(-size), A::T(x)]);
        if signed {
            let high = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::F(size / 2.0 - 0.5), A::T(&r)]);
            self.to(&r, PeOp::Fma, &[A::T(&high), A::F(-size), A::T(&r)]);
        }
        r
    }

    /// A result as its type holds it: f16 rounds, small integers wrap.
    pub(super) fn fit(&mut self, x: &T, d: DType) -> T {
        match (d, small(d)) {
            (DType::F16, _) => {
                let h = self.fresh_as(ElemType::F16, d, &x.dims);
                self.copy(&h, x);
                let t = self.fresh(d, &x.dims);
                self.copy(&t, &h);
                t
            }
            (_, Some((bits, signed))) => self.wrap(x, bits, signed).typed(d),
            _ => x.typed(d),
        }
    }

    pub(super) fn unary(&mut self, u: Unary, x: &T) -> Result<T, Obstacle> {
        let d = x.dtype;
        let dims = x.dims.clone();
        let boolean = |t: T| Ok(t.typed(DType::Bool));
        match u {
            Unary::IsNan => {
                let e = self.make(DType::F32, &dims, PeOp::CmpEq, &[A::T(x), A::T(x)]);
                self.to(&e, PeOp::Sub, &[A::F(1.0), A::T(&e)]);
                return boolean(e);
            }
            Unary::IsInf => {
                let m = self.make(DType::F32, &dims, PeOp::Mul, &[A::T(x), A::F(-1.0)]);
                self.to(&m, PeOp::Max, &[A::T(&m), A::T(x)]);
                self.to(&m, PeOp::CmpEq, &[A::T(&m), A::F(f32::INFINITY)]);
                return boolean(m);
            }
            Unary::Not if d == DType::Bool => {
                let t = self.make(DType::F32, &dims, PeOp::Sub, &[A::F(1.0), A::T(x)]);
                return boolean(t);
            }
            // -1 - x, in every two's complement.
            Unary::Not if small(d).is_some() => {
                let t = self.make(DType::F32, &dims, PeOp::Sub, &[A::F(-1.0), A::T(x)]);
                return Ok(self.fit(&t, d));
            }
            Unary::Not if x.elem() == ElemType::I32 && d.size() == 4 => {
                return Ok(self.make(d, &dims, PeOp::Sub, &[A::I(-1), A::T(x)]));
            }
            Unary::Sign if x.elem() == ElemType::F32 => {
                let p = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::F(0.0), A::T(x)]);
                let n = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::T(x), A::F(0.0)]);
                self.to(&p, PeOp::Sub, &[A::T(&p), A::T(&n)]);
                return Ok(p.typed(d));
            }
            Unary::Sign if d == DType::I32 => {
                let p = self.make(d, &dims, PeOp::CmpLt, &[A::I(0), A::T(x)]);
                let n = self.make(d, &dims, PeOp::CmpLt, &[A::T(x), A::I(0)]);
                self.to(&p, PeOp::Sub, &[A::T(&p), A::T(&n)]);
                return Ok(p);
            }
            Unary::Abs if d == DType::I32 => {
                let n = self.negated(x);
                self.to(&n, PeOp::Max, &[A::T(&n), A::T(x)]);
                // The smallest has no positive; it stays, since its negative is itself.
                return Ok(n);
            }
            Unary::Neg if d == DType::I32 => return Ok(self.negated(x)),
            Unary::Relu if d == DType::I32 => {
                return Ok(self.make(d, &dims, PeOp::Max, &[A::T(x), A::I(0)]));
            }
            _ => {}
        }
        let exact = matches!(
            u,
            Unary::Neg | Unary::Abs | Unary::Relu | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Sign
        );
        if x.elem() != ElemType::F32 || (!d.is_float() && !exact) {
            return Err(no_operation(u.name(), d));
        }
        let t = self.unary_step(u, x).ok_or_else(|| no_operation(u.name(), d))?;
        Ok(self.fit(&t, d))
    }

    /// 0 - x with wrap-around, for i32.
    fn negated(&mut self, x: &T) -> T {
        let zero = self.fresh(x.dtype, &x.dims);
        self.to(&zero, PeOp::Mov, &[A::I(0)]);
        self.add_i32(&zero, x, true)
    }

    /// x + y or x - y with wrap-around on lanes whose sums saturate: where the difference shows
    /// that it did, both operands are taken with their sign bits flipped, which changes the sum
    /// by a multiple of 2^32 and keeps it in range.
    fn add_i32(&mut self, x: &T, y: &T, subtract: bool) -> T {
        let (d, dims) = (x.dtype, x.dims.clone());
        let (op, back) = if subtract { (PeOp::Sub, PeOp::Add) } else { (PeOp::Add, PeOp::Sub) };
        let s = self.make(d, &dims, op, &[A::T(x), A::T(y)]);
        let same = self.make(d, &dims, back, &[A::T(&s), A::T(y)]);
        self.to(&same, PeOp::CmpEq, &[A::T(&same), A::T(x)]);
        let u = self.flipped(x);
        let v = self.flipped(y);
        self.to(&u, op, &[A::T(&u), A::T(&v)]);
        self.to(&u, PeOp::Select, &[A::T(&same), A::T(&s), A::T(&u)]);
        u
    }

    /// x with its sign bit flipped.
    fn flipped(&mut self, x: &T) -> T {
        let (d, dims) = (x.dtype, x.dims.clone());
        let neg = self.make(d, &dims, PeOp::CmpLt, &[A::T(x), A::I(0)]);
        let up = self.make(d, &dims, PeOp::Sub, &[A::T(x), A::I(i32::MIN)]);
        let down = self.make(d, &dims, PeOp::Add, &[A::T(x), A::I(i32::MIN)]);
        self.to(&up, PeOp::Select, &[A::T(&neg), A::T(&up), A::T(&down)]);
        up
    }

    pub(super) fn binary(
        &mut self,
        b: Binary,
        x: &T,
        y: &T,
        dims: &[usize],
        [rx, ry, rz]: [Option<Range>; 3],
    ) -> Result<T, Obstacle> {
        let d = x.dtype;
        if b.is_compare() {
            return Ok(self.compare(b, x, y, dims));
        }
        if d == DType::Bool {
            let op = match b {
                Binary::And | Binary::Min | Binary::Mul => PeOp::Min,
                Binary::Or | Binary::Max => PeOp::Max,
                Binary::Xor => PeOp::CmpEq,
                _ => return Err(no_operation(b.name(), d)),
            };
            let t = self.make(DType::F32, dims, op, &[A::T(x), A::T(y)]);
            if b == Binary::Xor {
                self.to(&t, PeOp::Sub, &[A::F(1.0), A::T(&t)]);
            }
            return Ok(t.typed(d));
        }
        if x.elem() == ElemType::I32 {
            return self.binary_i32(b, x, y, dims, [rx, ry, rz]);
        }
        if let Some((bits, signed)) = small(d) {
            return self.binary_small(b, x, y, dims, bits, signed);
        }
        let simple = crate::code::simple(b);
        if let Some(op) = simple {
            let t = self.make(d, dims, op, &[A::T(x), A::T(y)]);
            return Ok(self.fit(&t, d));
        }
        let t = match b {
            Binary::Div => self.divide(x, y, dims),
            Binary::Prelu => {
                let n = self.make(DType::F32, dims, PeOp::Min, &[A::T(x), A::F(0.0)]);
                let p = self.make(DType::F32, dims, PeOp::Max, &[A::T(x), A::F(0.0)]);
                self.make(d, dims, PeOp::Fma, &[A::T(&n), A::T(y), A::T(&p)])
            }
            Binary::Mod | Binary::Rem => self.remainder(x, y, dims, b == Binary::Mod),
            Binary::Pow => self.power(x, y, dims),
            _ => return Err(no_operation(b.name(), d)),
        };
        Ok(self.fit(&t, d))
    }

    fn compare(&mut self, b: Binary, x: &T, y: &T, dims: &[usize]) -> T {
        let unsigned = matches!(x.dtype, DType::U32 | DType::U64);
        let (x, y) = if unsigned && b != Binary::Eq {
            (self.flipped(&x.clone()), self.flipped(&y.clone()))
        } else {
            (x.clone(), y.clone())
        };
        let (p, q) = if matches!(b, Binary::Gt | Binary::Ge) { (&y, &x) } else { (&x, &y) };
        let op = if b == Binary::Eq { PeOp::CmpEq } else { PeOp::CmpLt };
        let t = self.make(DType::Bool, dims, op, &[A::T(p), A::T(q)]);
        if matches!(b, Binary::Le | Binary::Ge) {
            let e = self.make(DType::Bool, dims, PeOp::CmpEq, &[A::T(p), A::T(q)]);
            self.to(&t, PeOp::Max, &[A::T(&t), A::T(&e)]);
        }
        t
    }

    /// Integers whose operands and result are known to be exact in f32 go there; i32 adds and
    /// compares by itself.
    fn binary_i32(
        &mut self,
        b: Binary,
        x: &T,
        y: &T,
        dims: &[usize],
        ranges: [Option<Range>; 3],
    ) -> Result<T, Obstacle> {
        let d = x.dtype;
        let fits = |r: Option<Range>| r.is_some_and(|(lo, hi)| lo >= -EXACT && hi <= EXACT);
        if matches!(b, Binary::Max | Binary::Min) && d != DType::U32 && d != DType::U64 {
            let op = if b == Binary::Max { PeOp::Max } else { PeOp::Min };
            return Ok(self.make(d, dims, op, &[A::T(x), A::T(y)]));
        }
        if matches!(b, Binary::Add | Binary::Sub) && (d.size() == 4 || ranges.iter().all(Option::is_some)) {
            let (x, y) = (self.dense(x, dims), self.dense(y, dims));
            if ranges[2].is_some_and(|(lo, hi)| lo >= i32::MIN.into() && hi <= i32::MAX.into()) {
                let op = if b == Binary::Add { PeOp::Add } else { PeOp::Sub };
                return Ok(self.make(d, dims, op, &[A::T(&x), A::T(&y)]));
            }
            return Ok(self.add_i32(&x, &y, b == Binary::Sub));
        }
        if ranges.into_iter().all(fits) {
            let f = |a: &mut Asm, t: &T| a.make(DType::F32, &t.dims.clone(), PeOp::Mov, &[A::T(t)]);
            let (x, y) = (f(self, x), f(self, y));
            let t = match b {
                Binary::Mul => self.make(DType::F32, dims, PeOp::Mul, &[A::T(&x), A::T(&y)]),
                Binary::Div => self.quotient(&x, &y, dims),
                Binary::Mod | Binary::Rem => self.int_remainder(&x, &y, dims, b == Binary::Mod),
                _ => return Err(no_operation(b.name(), d)),
            };
            return Ok(self.make(d, dims, PeOp::Mov, &[A::T(&t)]));
        }
        Err(no_operation(b.name(), d))
    }

    fn binary_small(
        &mut self,
        b: Binary,
        x: &T,
        y: &T,
        dims: &[usize],
        bits: i32,
        signed: bool,
    ) -> Result<T, Obstacle> {
        let d = x.dtype;
        let plain = |a: &mut Asm, op| a.make(DType::F32, dims, op, &[A::T(x), A::T(y)]);
        let t = match b {
            Binary::Max => return Ok(plain(self, PeOp::Max).typed(d)),
            Binary::Min => return Ok(plain(self, PeOp::Min).typed(d)),
            Binary::Add => plain(self, PeOp::Add),
            Binary::Sub => plain(self, PeOp::Sub),
            Binary::Mul if bits == 8 => plain(self, PeOp::Mul),
            Binary::Mul => {
                // By halves of one operand: every product stays below 2^24.
                let x = self.dense(x, dims);
                let high = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&x), A::F(1.0 / 256.0)]);
                let high = self.floor(&high);
                let low = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&high), A::F(-256.0), A::T(&x)]);
                let h = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&high), A::T(y)]);
                let h = self.wrap(&h, 8, false);
                let l = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&low), A::T(y)]);
                let l = self.wrap(&l, 16, false);
                self.make(DType::F32, dims, PeOp::Fma, &[A::T(&h), A::F(256.0), A::T(&l)])
            }
            Binary::Div => self.quotient(x, y, dims),
            Binary::Mod | Binary::Rem => self.int_remainder(x, y, dims, b == Binary::Mod),
            Binary::And | Binary::Or | Binary::Xor => self.bitwise(b, x, y, dims, bits),
            Binary::Shl => {
                let y = self.amount(y, dims, bits);
                let s = self.make(DType::F32, dims, PeOp::Exp2, &[A::T(&y)]);
                let inside = self.make(DType::F32, dims, PeOp::CmpLt, &[A::T(&y), A::F(bits as f32)]);
                self.to(&s, PeOp::Select, &[A::T(&inside), A::T(&s), A::F(0.0)]);
                self.make(DType::F32, dims, PeOp::Mul, &[A::T(x), A::T(&s)])
            }
            Binary::Shr => {
                let y = self.amount(y, dims, bits);
                let s = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&y), A::F(-1.0)]);
                self.to(&s, PeOp::Exp2, &[A::T(&s)]);
                self.to(&s, PeOp::Mul, &[A::T(x), A::T(&s)]);
                return Ok(self.floor(&s).typed(d));
            }
            _ => return Err(no_operation(b.name(), d)),
        };
        Ok(self.wrap(&t, bits, signed).typed(d))
    }

    /// An amount to shift by; a negative one shifts everything out.
    fn amount(&mut self, y: &T, dims: &[usize], bits: i32) -> T {
        let y = self.dense(y, dims);
        let neg = self.make(DType::F32, dims, PeOp::CmpLt, &[A::T(&y), A::F(0.0)]);
        self.make(DType::F32, dims, PeOp::Select, &[A::T(&neg), A::F(bits as f32), A::T(&y)])
    }

    /// x / y: the product with the reciprocal, corrected by what is left over.
    fn divide(&mut self, x: &T, y: &T, dims: &[usize]) -> T {
        let y = self.dense(y, dims);
        let r = self.make(DType::F32, dims, PeOp::Recip, &[A::T(&y)]);
        let q = self.make(DType::F32, dims, PeOp::Mul, &[A::T(x), A::T(&r)]);
        let n = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&q), A::F(-1.0)]);
        let left = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&n), A::T(&y), A::T(x)]);
        let better = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&left), A::T(&r), A::T(&q)]);
        // At zero and infinity nothing is left that is a number.
        self.to(&left, PeOp::CmpEq, &[A::T(&better), A::T(&better)]);
        self.to(&q, PeOp::Select, &[A::T(&left), A::T(&better), A::T(&q)]);
        q
    }

    /// Truncated quotient of exact integers; 0 where y is 0.
    fn quotient(&mut self, x: &T, y: &T, dims: &[usize]) -> T {
        let r = self.int_remainder(x, y, dims, false);
        // x - r is a multiple of y, so the quotient rounds to itself.
        let n = self.make(DType::F32, dims, PeOp::Sub, &[A::T(x), A::T(&r)]);
        let i = self.make(DType::F32, &y.dims.clone(), PeOp::Recip, &[A::T(y)]);
        self.to(&n, PeOp::Mul, &[A::T(&n), A::T(&i)]);
        let q = self.unary_step(Unary::Round, &n).unwrap_or(n);
        self.or_zero(&q, y, dims)
    }

    fn or_zero(&mut self, t: &T, y: &T, dims: &[usize]) -> T {
        let z = self.make(DType::F32, dims, PeOp::CmpEq, &[A::T(y), A::F(0.0)]);
        self.to(t, PeOp::Select, &[A::T(&z), A::F(0.0), A::T(t)]);
        t.clone()
    }

    /// Remainder of exact integers, of the dividend's sign or with `floored` of the divisor's.
    fn int_remainder(&mut self, x: &T, y: &T, dims: &[usize], floored: bool) -> T {
        let (x, y) = (self.dense(x, dims), self.dense(y, dims));
        let i = self.make(DType::F32, dims, PeOp::Recip, &[A::T(&y)]);
        let q = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&x), A::T(&i)]);
        let q = self.unary_step(Unary::Round, &q).unwrap_or(q);
        let m = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&q), A::F(-1.0)]);
        // |r| <= |y| / 2 or a little more: one more or less of y sets the sign.
        let r = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&m), A::T(&y), A::T(&x)]);
        let r = self.signed_like(&r, if floored { &y } else { &x }, &y, dims);
        self.or_zero(&r, &y, dims)
    }

    /// r, or r + |y| or r - |y| where r has another sign than `like`.
    fn signed_like(&mut self, r: &T, like: &T, y: &T, dims: &[usize]) -> T {
        let n = self.make(DType::F32, dims, PeOp::Mul, &[A::T(y), A::F(-1.0)]);
        let abs = self.make(DType::F32, dims, PeOp::Max, &[A::T(&n), A::T(y)]);
        for sign in [1.0, -1.0] {
            // Of the wrong side: r < 0 where like > 0, r > 0 where like < 0.
            let a = self.make(DType::F32, dims, PeOp::Mul, &[A::T(r), A::F(sign)]);
            self.to(&a, PeOp::CmpLt, &[A::T(&a), A::F(0.0)]);
            let b = self.make(DType::F32, dims, PeOp::Mul, &[A::T(like), A::F(-sign)]);
            self.to(&b, PeOp::CmpLt, &[A::T(&b), A::F(0.0)]);
            self.to(&a, PeOp::Mul, &[A::T(&a), A::T(&b)]);
            let op = if sign > 0.0 { PeOp::Add } else { PeOp::Sub };
            self.to(&b, op, &[A::T(r), A::T(&abs)]);
            self.to(r, PeOp::Select, &[A::T(&a), A::T(&b), A::T(r)]);
        }
        r.clone()
    }

    fn remainder(&mut self, x: &T, y: &T, dims: &[usize], floored: bool) -> T {
        let (x, y) = (self.dense(x, dims), self.dense(y, dims));
        let i = self.make(DType::F32, dims, PeOp::Recip, &[A::T(&y)]);
        let q = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&x), A::T(&i)]);
        let q = self.unary_step(Unary::Round, &q).unwrap_or(q);
        self.to(&q, PeOp::Mul, &[A::T(&q), A::F(-1.0)]);
        let r = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&q), A::T(&y), A::T(&x)]);
        // By infinity x is its own remainder.
        self.to(&q, PeOp::CmpEq, &[A::T(&i), A::F(0.0)]);
        self.to(&r, PeOp::Select, &[A::T(&q), A::T(&x), A::T(&r)]);
        self.signed_like(&r, if floored { &y } else { &x }, &y, dims)
    }

    /// 2^(y log2 |x|), with the sign of an odd power and the values at 0.
    fn power(&mut self, x: &T, y: &T, dims: &[usize]) -> T {
        let (x, y) = (self.dense(x, dims), self.dense(y, dims));
        let n = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&x), A::F(-1.0)]);
        let abs = self.make(DType::F32, dims, PeOp::Max, &[A::T(&n), A::T(&x)]);
        let log = self.step(&abs, &Step::log2());
        let p = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&log), A::T(&y)]);
        self.to(&p, PeOp::Exp2, &[A::T(&p)]);
        // An odd integer y gives the sign of x; another fraction of a negative x has no value.
        let half = self.make(DType::F32, dims, PeOp::Mul, &[A::T(&y), A::F(0.5)]);
        let whole = self.floor(&half);
        let odd = self.make(DType::F32, dims, PeOp::Sub, &[A::T(&half), A::T(&whole)]);
        let negative = self.make(DType::F32, dims, PeOp::CmpLt, &[A::T(&x), A::F(0.0)]);
        // odd is 0, 0.5 or a fraction: cos(2 pi odd) for the first two is 1 - 4 odd.
        let sign = self.make(DType::F32, dims, PeOp::Fma, &[A::T(&odd), A::F(-4.0), A::F(1.0)]);
        let twice = self.make(DType::F32, dims, PeOp::Add, &[A::T(&odd), A::T(&odd)]);
        let fraction = self.floor(&twice);
        self.to(&fraction, PeOp::CmpEq, &[A::T(&fraction), A::T(&twice)]);
        self.to(&sign, PeOp::Select, &[A::T(&fraction), A::T(&sign), A::F(f32::NAN)]);
        self.to(&sign, PeOp::Select, &[A::T(&negative), A::T(&sign), A::F(1.0)]);
        self.to(&p, PeOp::Mul, &[A::T(&p), A::T(&sign)]);
        let zero = self.make(DType::F32, dims, PeOp::CmpEq, &[A::T(&y), A::F(0.0)]);
        self.to(&p, PeOp::Select, &[A::T(&zero), A::F(1.0), A::T(&p)]);
        p
    }

    fn bitwise(&mut self, b: Binary, x: &T, y: &T, dims: &[usize], bits: i32) -> T {
        let x = self.dense(x, dims);
        let y = self.dense(y, dims);
        let (x, y) = (self.wrap(&x, bits, false), self.wrap(&y, bits, false));
        let r = self.make(DType::F32, dims, PeOp::Mov, &[A::F(0.0)]);
        let (p, q) = (self.fresh(DType::F32, dims), self.fresh(DType::F32, dims));
        for k in (0..bits).rev() {
            let w = (2f32).powi(k);
            for (v, bit) in [(&x, &p), (&y, &q)] {
                self.to(bit, PeOp::CmpLt, &[A::F(w - 0.5), A::T(v)]);
                self.to(v, PeOp::Fma, &[A::T(bit), A::F(-w), A::T(v)]);
            }
            match b {
                Binary::And => self.to(&p, PeOp::Mul, &[A::T(&p), A::T(&q)]),
                Binary::Or => self.to(&p, PeOp::Max, &[A::T(&p), A::T(&q)]),
                _ => {
                    self.to(&p, PeOp::CmpEq, &[A::T(&p), A::T(&q)]);
                    self.to(&p, PeOp::Sub, &[A::F(1.0), A::T(&p)]);
                }
            }
            self.to(&r, PeOp::Fma, &[A::T(&p), A::F(w), A::T(&r)]);
        }
        r
    }

    pub(super) fn select(&mut self, c: &T, x: &T, y: &T, dims: &[usize]) -> T {
        self.make(x.dtype, dims, PeOp::Select, &[A::T(c), A::T(x), A::T(y)])
    }

    /// A cast; `range` is what is known of the operand's integers.
    pub(super) fn cast(&mut self, x: &T, to: DType, range: Option<Range>) -> Result<T, Obstacle> {
        let (from, dims) = (x.dtype, x.dims.clone());
        if from == to {
            return Ok(self.dense(x, &dims));
        }
        let refuse = || {
            Obstacle::new(
                format!("{from} to {to} is not exact on lanes of 32 bits for all values"),
                "cast to a narrower type, or use --target tsp",
            )
        };
        if to == DType::Bool {
            let zero = if x.elem() == ElemType::I32 { A::I(0) } else { A::F(0.0) };
            let t = self.make(DType::Bool, &dims, PeOp::CmpEq, &[A::T(x), zero]);
            self.to(&t, PeOp::Sub, &[A::F(1.0), A::T(&t)]);
            return Ok(t);
        }
        let known = |r: Option<Range>| r.is_some_and(|(lo, hi)| lo >= i32::MIN.into() && hi <= i32::MAX.into());
        if from.is_float() && !to.is_float() {
            if matches!(to, DType::U32 | DType::U64) {
                return Err(refuse());
            }
            let t = self.unary_step(Unary::Floor, x).unwrap_or_else(|| x.clone());
            let up = self.unary_step(Unary::Ceil, x).unwrap_or_else(|| x.clone());
            let neg = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::T(x), A::F(0.0)]);
            self.to(&t, PeOp::Select, &[A::T(&neg), A::T(&up), A::T(&t)]);
            let i = self.fresh(DType::I32, &dims);
            self.copy(&i, &t);
            let Some((lo, hi)) = range_of(to) else { return Ok(i.typed(to)) };
            if to == DType::I32 {
                return Ok(i);
            }
            self.to(&i, PeOp::Max, &[A::T(&i), A::I(lo as i32)]);
            self.to(&i, PeOp::Min, &[A::T(&i), A::I(hi as i32)]);
            return Ok(self.make(to, &dims, PeOp::Mov, &[A::T(&i)]));
        }
        match (x.elem(), to.is_float(), super::asm::lane_of(to)) {
            (ElemType::F32, _, ElemType::F32) => {
                let t = self.dense(x, &dims);
                Ok(self.fit(&t, to))
            }
            (ElemType::F32, false, _) => Ok(self.make(to, &dims, PeOp::Mov, &[A::T(x)])),
            (_, true, _) => {
                if matches!(from, DType::U32 | DType::U64 | DType::I64) && !known(range) {
                    return Err(refuse());
                }
                let t = self.make(DType::F32, &dims, PeOp::Mov, &[A::T(x)]);
                Ok(self.fit(&t, to))
            }
            // The low half, or the low byte, of each word.
            (_, false, ElemType::F32) => {
                let (bits, signed) = small(to).ok_or_else(refuse)?;
                let x = self.dense(x, &dims);
                let (ty, n) = if bits == 8 { (ElemType::I8, 4) } else { (ElemType::I16, 2) };
                let mut low = x.clone();
                low.view.ty = ty;
                low.view.offset *= n;
                low.view.strides.iter_mut().for_each(|s| *s *= n);
                let t = self.make(to, &dims, PeOp::Mov, &[A::T(&low)]);
                if !signed {
                    let neg = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::T(&t), A::F(0.0)]);
                    self.to(&t, PeOp::Fma, &[A::T(&neg), A::F((2f32).powi(bits)), A::T(&t)]);
                }
                Ok(t)
            }
            _ if to.size() < 8 || known(range) || from.size() == 4 => Ok(self.dense(x, &dims).typed(to)),
            _ => Err(refuse()),
        }
    }
}
