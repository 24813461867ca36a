//! Sequences of ALU steps that give the same values in fewer steps.
//!
//! What quantised models ask for twice is done once: a cast saturates by itself, bytes that are widened again need not have
//! been bytes, two scales of which one is a power of two are one. A gelu of bounded arguments whose result is kept in fewer bits
//! than f32 is a tangent of a polynomial. Knows steps and the ranges of operands; knows no rows.

use super::expr::Expr;
use crate::tiled::{Src, Step};
use quadrille_isa::tsp::{AluOp, AluType};

const F: AluType = AluType::F32;

/// Least and largest value, infinite where nothing is known.
pub(crate) type Range = (f32, f32);

/// Nothing is known.
pub(crate) const ANY: Range = (f32::NEG_INFINITY, f32::INFINITY);

/// Coefficients of `x (a + b x^2 - c x^4)`, whose tangent is near `erf(x / sqrt 2)`: a gelu with it is within 2.7e-5.
const TANGENT: [f64; 3] = [0.797_492_036_5, 0.037_024_365_739, 0.000_355_441_077];

/// Coefficients of `x (a + b x^2)`, a gelu with whose tangent is within [`COARSE`].
const COARSE_TANGENT: [f64; 2] = [0.800_157_052_3, 0.034_700_906_67];

/// That is enough where it is no more than one in so many of the bytes that become of it.
const COARSE: f64 = 2.71e-4;
const OF_A_BYTE: f64 = 50.0;

/// Arguments up to which the polynomial grows fast enough.
const FAR: f32 = 10.0;

/// Shortens a sequence; `roots` are its results, `ins` the ranges of its operands. With `zeros`, zeros keep their signs.
pub(crate) fn shorten(expr: &mut Expr, roots: &mut [Src], ins: &dyn Fn(u16) -> Range, zeros: bool) {
    let mut s = Sequence { steps: std::mem::take(&mut expr.steps), roots, zeros };
    s.clamped();
    s.prune();
    while s.gelu(ins) || s.widened() || s.scaled() {
        s.prune();
    }
    expr.steps = s.steps;
}

/// Makes products that a sum alone takes, and the sum, one step; it rounds once where the two rounded twice.
pub(crate) fn fused(expr: &mut Expr, roots: &mut [Src]) {
    let mut s = Sequence { steps: std::mem::take(&mut expr.steps), roots, zeros: false };
    for k in 0..s.steps.len() {
        let Step { op: AluOp::Add, ty: F, src: [a, b, Src::None] } = s.steps[k] else { continue };
        let product = |x: Src, y: Src| {
            let (m, inner) = s.at(x)?;
            let Step { op: AluOp::Mul, ty: F, src: [p, q, Src::None] } = *inner else { return None };
            let numbers = [p, q, y].iter().filter(|x| matches!(x, Src::Imm(_))).count();
            (s.user(m) == Some(k) && numbers < 2).then_some([p, q, y])
        };
        if let Some(src) = product(b, a).or_else(|| product(a, b)) {
            s.steps[k] = Step { op: AluOp::Fma, ty: F, src };
        }
    }
    s.prune();
    expr.steps = s.steps;
}

/// The range of a value of `f32`.
pub(crate) fn range(steps: &[Step], x: Src, ins: &dyn Fn(u16) -> Range) -> Range {
    let times = |a: f32, b: f32| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
    let product = |a: Range, b: Range| {
        let all = [times(a.0, b.0), times(a.0, b.1), times(a.1, b.0), times(a.1, b.1)];
        (all.into_iter().fold(f32::INFINITY, f32::min), all.into_iter().fold(f32::NEG_INFINITY, f32::max))
    };
    let mut known: Vec<Range> = Vec::new();
    let value = |known: &[Range], x: Src| match x {
        Src::Imm(v) if f32::from_bits(v).is_finite() => (f32::from_bits(v), f32::from_bits(v)),
        Src::In(k) => ins(k),
        Src::Op(k) => known[usize::from(k)],
        _ => ANY,
    };
    let last = if let Src::Op(k) = x { usize::from(k) + 1 } else { 0 };
    for s in &steps[..last] {
        let [a, b, c] = [0, 1, 2].map(|n| value(&known, s.src[n]));
        known.push(match (s.op, s.ty) {
            (AluOp::Cast(F), AluType::I8) => (-128.0, 127.0),
            (AluOp::Cast(F), AluType::U8) => (0.0, 255.0),
            (AluOp::Max, F) => (a.0.max(b.0), a.1.max(b.1)),
            (AluOp::Min, F) => (a.0.min(b.0), a.1.min(b.1)),
            (AluOp::Add, F) => (a.0 + b.0, a.1 + b.1),
            (AluOp::Sub, F) => (a.0 - b.1, a.1 - b.0),
            (AluOp::Mul, F) => product(a, b),
            (AluOp::Fma, F) => {
                let p = product(a, b);
                (p.0 + c.0, p.1 + c.1)
            }
            (AluOp::Tanh, F) => (-1.0, 1.0),
            (AluOp::Round, F) => (a.0.floor(), a.1.ceil()),
            _ => ANY,
        });
    }
    value(&known, x)
}

/// Bounds of a type of bytes.
pub(super) fn bounds(ty: AluType) -> Option<(f32, f32)> {
    match ty {
        AluType::I8 => Some((-128.0, 127.0)),
        AluType::U8 => Some((0.0, 255.0)),
        _ => None,
    }
}

/// The other operand of a step of two operands, and its constant; to take a constant off is to add its negative.
fn with_constant(s: &Step, op: AluOp) -> Option<(Src, f32)> {
    match s.src {
        [x, Src::Imm(v), Src::None] if (s.op, op, s.ty) == (AluOp::Sub, AluOp::Add, F) => Some((x, -f32::from_bits(v))),
        [x, Src::Imm(v), Src::None] | [Src::Imm(v), x, Src::None] if s.op == op && s.ty == F => {
            Some((x, f32::from_bits(v)))
        }
        _ => None,
    }
}

fn step(op: AluOp, a: Src, b: Src) -> Step {
    Step { op, ty: F, src: [a, b, Src::None] }
}

fn imm(x: f64) -> Src {
    Src::Imm((x as f32).to_bits())
}

/// `scale x (1 + tanh ...) + zero`; the polynomial grows for ever.
fn coarse_gelu(e: &mut Expr, x: Src, scale: f32, zero: f32) -> Src {
    // With g = b^(1/3) x the polynomial is g (g^2 + ..).
    let [a, b] = COARSE_TANGENT;
    let unit = b.cbrt();
    let g = e.f2(AluOp::Mul, x, imm(unit));
    let square = e.f2(AluOp::Mul, g, g);
    let p = e.f2(AluOp::Add, square, imm(a / unit));
    let u = e.f2(AluOp::Mul, p, g);
    let t = e.f1(AluOp::Tanh, u);
    let h = e.f2(AluOp::Mul, g, imm(f64::from(scale) / unit));
    let plus = if zero == 0.0 { h } else { e.f2(AluOp::Add, h, imm(f64::from(zero))) };
    e.op(AluOp::Fma, F, h, t, plus)
}

/// The same to more digits. Far from zero the polynomial would turn: there its square is that of the last argument before.
fn fine_gelu(e: &mut Expr, x: Src, scale: f32, zero: f32, far: bool) -> Src {
    // With g = c^(1/5) x the polynomial is -g (g^4 - .. g^2 - ..).
    let [a, b, c] = TANGENT;
    let unit = c.powf(0.2);
    let g = e.f2(AluOp::Mul, x, imm(unit));
    let mut square = e.f2(AluOp::Mul, g, g);
    if far {
        square = e.f2(AluOp::Min, square, imm((f64::from(FAR) * unit).powi(2)));
    }
    let p = e.f2(AluOp::Add, square, imm(-b / unit.powi(3)));
    let p = e.op(AluOp::Fma, F, p, square, imm(-a / unit));
    let u = e.f2(AluOp::Mul, p, g);
    let t = e.f1(AluOp::Tanh, u);
    let h = e.f2(AluOp::Mul, g, imm(f64::from(-scale) / unit));
    let plus = e.f2(AluOp::Sub, imm(f64::from(zero)), h);
    e.op(AluOp::Fma, F, h, t, plus)
}

struct Sequence<'a> {
    steps: Vec<Step>,
    roots: &'a mut [Src],
    zeros: bool,
}

impl Sequence<'_> {
    fn at(&self, x: Src) -> Option<(usize, &Step)> {
        match x {
            Src::Op(k) => Some((usize::from(k), &self.steps[usize::from(k)])),
            _ => None,
        }
    }

    fn users(&self, k: usize) -> Vec<usize> {
        let own = Src::Op(k as u16);
        let times = |s: &Step| s.src.iter().filter(|x| **x == own).count();
        (k + 1..self.steps.len()).flat_map(|u| std::iter::repeat_n(u, times(&self.steps[u]))).collect()
    }

    fn is_root(&self, k: usize) -> bool {
        self.roots.contains(&Src::Op(k as u16))
    }

    /// The step that alone takes a result.
    fn user(&self, k: usize) -> Option<usize> {
        match self.users(k)[..] {
            [u] if !self.is_root(k) => Some(u),
            _ => None,
        }
    }

    fn replace(&mut self, old: usize, new: Src) {
        let own = Src::Op(old as u16);
        let all = self.steps.iter_mut().flat_map(|s| &mut s.src).chain(self.roots.iter_mut());
        all.filter(|x| **x == own).for_each(|x| *x = new);
    }

    /// A cast to bytes saturates, and rounds.
    fn clamped(&mut self) {
        for k in 0..self.steps.len() {
            let s = self.steps[k];
            let AluOp::Cast(to) = s.op else { continue };
            let (Some((lo, hi)), F) = (bounds(to), s.ty) else { continue };
            let mut x = s.src[0];
            while let Some((_, inner)) = self.at(x) {
                let over = with_constant(inner, AluOp::Max).filter(|c| c.1 <= lo);
                let under = with_constant(inner, AluOp::Min).filter(|c| c.1 >= hi);
                let rounded = (inner.op == AluOp::Round && inner.ty == F).then_some((inner.src[0], 0.0));
                match over.or(under).or(rounded) {
                    Some((y, _)) => x = y,
                    None => break,
                }
            }
            self.steps[k].src[0] = x;
        }
    }

    /// Whole numbers that become bytes, with a zero point added, and are widened and taken it off again.
    fn widened(&mut self) -> bool {
        let expr = Expr { steps: self.steps.clone() };
        for k in 0..self.steps.len() {
            let Some((w, back)) = with_constant(&self.steps[k], AluOp::Add) else { continue };
            let Some((w, wide)) = self.at(w) else { continue };
            let (AluOp::Cast(F), Some((c, cast))) = (wide.op, self.at(wide.src[0])) else { continue };
            let (AluOp::Cast(to), F) = (cast.op, cast.ty) else { continue };
            let (Some((lo, hi)), Some((_, sum))) = (bounds(to), self.at(cast.src[0])) else { continue };
            let Some((v, zero)) = with_constant(sum, AluOp::Add) else { continue };
            let alone = self.user(w) == Some(k) && self.user(c) == Some(w);
            if !alone || zero != -back || zero.fract() != 0.0 || zero.abs() > 255.0 || !expr.is_whole(v) {
                continue;
            }
            self.steps[c] = step(AluOp::Max, v, imm(f64::from(lo - zero)));
            self.steps[w] = step(AluOp::Min, Src::Op(c as u16), imm(f64::from(hi - zero)));
            if self.zeros && !self.loses_zero_sign(k) {
                // The sum with the zero point had no negative zeros.
                self.steps[k] = step(AluOp::Add, Src::Op(w as u16), imm(0.0));
            } else {
                self.replace(k, Src::Op(w as u16));
            }
            return true;
        }
        false
    }

    /// True when no result shows whether a zero had a sign.
    fn loses_zero_sign(&self, k: usize) -> bool {
        let mut open = vec![k];
        let mut seen = vec![false; self.steps.len()];
        while let Some(k) = open.pop() {
            if std::mem::replace(&mut seen[k], true) {
                continue;
            }
            if self.is_root(k) {
                return false;
            }
            for u in self.users(k) {
                let s = &self.steps[u];
                match s.op {
                    AluOp::Abs | AluOp::Exp2 if s.ty == F => {}
                    AluOp::Cast(to) if s.ty == F && !to.is_float() => {}
                    AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Fma | AluOp::Max | AluOp::Min if s.ty == F => {
                        open.push(u);
                    }
                    AluOp::Round | AluOp::Floor | AluOp::Tanh if s.ty == F => open.push(u),
                    _ => return false,
                }
            }
        }
        true
    }

    /// Products with two constants of which one is a power of two.
    fn scaled(&mut self) -> bool {
        for k in 0..self.steps.len() {
            let Some((x, a)) = with_constant(&self.steps[k], AluOp::Mul) else { continue };
            let Some((inner, (y, b))) = self.at(x).and_then(|(n, s)| Some((n, with_constant(s, AluOp::Mul)?))) else {
                continue;
            };
            let power = |v: f32| v.is_normal() && v.to_bits() & 0x7F_FFFF == 0;
            let moderate = |v: f32| (1e-12..1e12).contains(&v.abs());
            if self.user(inner) == Some(k) && (power(a) || power(b)) && moderate(a) && moderate(b) {
                self.steps[k] = step(AluOp::Mul, y, imm(f64::from(a * b)));
                return true;
            }
        }
        false
    }

    /// True when all that becomes of a result has fewer bits than f32.
    fn narrow(&self, k: usize) -> bool {
        let users = self.users(k);
        !self.is_root(k)
            && !users.is_empty()
            && users.iter().all(|&u| match (self.steps[u].op, self.steps[u].ty) {
                (AluOp::Cast(to), F) => matches!(to, AluType::I8 | AluType::U8 | AluType::F16),
                (AluOp::Round | AluOp::Add | AluOp::Mul | AluOp::Max | AluOp::Min, F) => self.narrow(u),
                _ => false,
            })
    }

    /// The step that ends `scale x (1 + erf(x / sqrt 2))`: where, x, the scale.
    fn gelu_end(&self, first: usize) -> Option<(usize, Src, f32)> {
        let s = &self.steps[first];
        if s.op != AluOp::Abs || s.ty != F {
            return None;
        }
        let mut erf = Expr { steps: self.steps[..first].to_vec() };
        erf.erf(s.src[0]);
        let e = erf.steps.len() - 1;
        if self.steps.get(first..=e) != Some(&erf.steps[first..]) {
            return None;
        }
        let (x, root) = self.at(s.src[0]).and_then(|(_, s)| with_constant(s, AluOp::Mul))?;
        if (root - std::f32::consts::FRAC_1_SQRT_2).abs() > 1e-6 {
            return None;
        }
        let a = self.user(e)?;
        let one = with_constant(&self.steps[a], AluOp::Add).is_some_and(|(_, c)| c == 1.0);
        let (mut end, mut scale) = if one {
            // The half may stand before x.
            let (mut sum, mut scale, mut m) = (a, 1.0, self.user(a)?);
            while let Some((_, c)) = with_constant(&self.steps[m], AluOp::Mul) {
                (sum, scale, m) = (m, scale * c, self.user(m)?);
            }
            let product = &self.steps[m];
            let of = |p: Src, q: Src| product.src == [p, q, Src::None];
            let sum = Src::Op(sum as u16);
            if product.op != AluOp::Mul || product.ty != F || !(of(sum, x) || of(x, sum)) {
                return None;
            }
            (m, scale)
        } else {
            let fused = &self.steps[a];
            let [h, by, plus] = fused.src;
            let (_, half) = self.at(h)?;
            let (y, scale) = with_constant(half, AluOp::Mul)?;
            if fused.op != AluOp::Fma || by != Src::Op(e as u16) || plus != h || y != x {
                return None;
            }
            (a, scale)
        };
        while let Some(next) = self.user(end) {
            let Some((_, c)) = with_constant(&self.steps[next], AluOp::Mul) else { break };
            (end, scale) = (next, scale * c);
        }
        Some((end, x, scale))
    }

    /// A gelu whose result is narrow.
    fn gelu(&mut self, ins: &dyn Fn(u16) -> Range) -> bool {
        let found = (0..self.steps.len()).find_map(|k| self.gelu_end(k).filter(|&(end, ..)| self.narrow(end)));
        let Some((end, x, scale)) = found else { return false };
        let (lo, hi) = range(&self.steps, x, ins);
        let far = !(-FAR <= lo && hi <= FAR);
        // Rounding to a byte is the cast's, behind the sum with the zero point.
        let zero = || {
            let round = self.user(end).filter(|&u| self.steps[u].op == AluOp::Round)?;
            let sum = self.user(round)?;
            let (_, zero) = with_constant(&self.steps[sum], AluOp::Add)?;
            let bytes = |u: &usize| matches!(self.steps[*u].op, AluOp::Cast(to) if bounds(to).is_some());
            (zero.fract() == 0.0 && !self.is_root(sum) && self.users(sum).iter().all(bytes)).then_some((sum, zero))
        };
        let (end, zero) = zero().unwrap_or((end, 0.0));
        let bytes =
            self.users(end).iter().all(|&u| matches!(self.steps[u].op, AluOp::Cast(to) if bounds(to).is_some()));
        let coarse = bytes && 2.0 * f64::from(scale).abs() * COARSE * OF_A_BYTE <= 1.0;
        let mut e = Expr { steps: self.steps[..=end].to_vec() };
        let y = if coarse { coarse_gelu(&mut e, x, scale, zero) } else { fine_gelu(&mut e, x, scale, zero, far) };
        let (added, rest) = (e.steps.len() - end - 1, self.steps.split_off(end + 1));
        let moved = |x: Src| match x {
            Src::Op(k) if usize::from(k) == end => y,
            Src::Op(k) if usize::from(k) > end => Src::Op(k + added as u16),
            x => x,
        };
        self.steps = e.steps;
        self.steps.extend(rest.into_iter().map(|s| Step { src: s.src.map(moved), ..s }));
        self.roots.iter_mut().for_each(|x| *x = moved(*x));
        true
    }

    /// Drops what nothing takes.
    fn prune(&mut self) {
        let mut wanted = vec![false; self.steps.len()];
        let mark = |x: &Src, wanted: &mut Vec<bool>| {
            if let Src::Op(k) = x {
                wanted[usize::from(*k)] = true;
            }
        };
        self.roots.iter().for_each(|x| mark(x, &mut wanted));
        for k in (0..self.steps.len()).rev().collect::<Vec<_>>() {
            if wanted[k] {
                self.steps[k].src.iter().for_each(|x| mark(x, &mut wanted));
            }
        }
        let place: Vec<u16> = wanted.iter().scan(0, |n, &w| Some(std::mem::replace(n, *n + u16::from(w)))).collect();
        let moved = |x: Src| if let Src::Op(k) = x { Src::Op(place[usize::from(k)]) } else { x };
        let mut wanted = wanted.into_iter();
        self.steps.retain(|_| wanted.next().unwrap_or(false));
        self.steps.iter_mut().for_each(|s| s.src = s.src.map(moved));
        self.roots.iter_mut().for_each(|x| *x = moved(*x));
    }
}

#[cfg(test)]
mod tests {
    use super::super::finish::tails_of;
    use super::*;

    /// What each root holds for one operand.
    fn values(e: &Expr, roots: &[Src], x: f32) -> Vec<u32> {
        let all = tails_of(&e.steps, &[x.to_bits()]);
        roots.iter().map(|r| if let Src::Op(k) = r { all[usize::from(*k)] } else { 0 }).collect()
    }

    fn quantised(e: &mut Expr, x: Src, scale: f32, zero: f32) -> Src {
        let y = e.f2(AluOp::Mul, x, Src::Imm(scale.to_bits()));
        let y = e.f1(AluOp::Round, y);
        let y = e.f2(AluOp::Add, y, Src::Imm(zero.to_bits()));
        let y = e.f2(AluOp::Max, y, Src::Imm((-128f32).to_bits()));
        let y = e.f2(AluOp::Min, y, Src::Imm(127f32.to_bits()));
        e.cast(F, AluType::I8, y)
    }

    #[test]
    fn bytes_and_back_are_a_clamp() {
        let mut e = Expr::default();
        let y = quantised(&mut e, Src::In(0), 3.7, 5.0);
        let y = e.cast(AluType::I8, F, y);
        let y = e.f2(AluOp::Add, y, Src::Imm((-5f32).to_bits()));
        let y = e.f2(AluOp::Mul, y, Src::Imm(0.27f32.to_bits()));
        let y = e.f2(AluOp::Mul, y, Src::Imm(0.125f32.to_bits()));
        let (mut short, mut roots) = (e.clone(), [y]);
        shorten(&mut short, &mut roots, &|_| ANY, false);
        assert_eq!(short.steps.len(), 5, "{:?}", short.steps);
        let (mut signed, mut signed_roots) = (e.clone(), [y]);
        shorten(&mut signed, &mut signed_roots, &|_| ANY, true);
        assert_eq!(signed.steps.len(), 6, "{:?}", signed.steps);
        for i in -4000..4000 {
            let x = i as f32 * 0.03;
            let both = [values(&e, &[y], x)[0], values(&short, &roots, x)[0]].map(f32::from_bits);
            assert_eq!(both[0], both[1], "{x}");
            assert_eq!(values(&e, &[y], x), values(&signed, &signed_roots, x), "{x}");
        }
    }

    #[test]
    fn a_zero_point_is_added_or_taken_off() {
        let spelled = |taken: bool| {
            let mut e = Expr::default();
            let y = e.f2(AluOp::Mul, Src::In(0), Src::Imm(3.7f32.to_bits()));
            let y = e.f1(AluOp::Round, y);
            let (op, sign) = if taken { (AluOp::Sub, 1f32) } else { (AluOp::Add, -1f32) };
            let y = e.f2(op, y, Src::Imm((sign * 5.0).to_bits()));
            let y = e.cast(F, AluType::I8, y);
            let y = e.cast(AluType::I8, F, y);
            let y = e.f2(op, y, Src::Imm((sign * -5.0).to_bits()));
            (e.f2(AluOp::Mul, y, Src::Imm(0.27f32.to_bits())), e)
        };
        let ((y, added), (z, taken)) = (spelled(false), spelled(true));
        let (mut short, mut roots) = (taken.clone(), [z]);
        shorten(&mut short, &mut roots, &|_| ANY, false);
        assert_eq!(short.steps.len(), 5, "{:?}", short.steps);
        assert_eq!(range(&taken.steps, z, &|_| ANY), range(&added.steps, y, &|_| ANY));
        for i in -4000..4000 {
            let x = i as f32 * 0.03;
            assert_eq!(values(&added, &[y], x), values(&taken, &[z], x), "{x}");
            let both = [values(&taken, &[z], x)[0], values(&short, &roots, x)[0]].map(f32::from_bits);
            assert_eq!(both[0], both[1], "{x}");
        }
    }

    #[test]
    fn a_product_and_a_sum_are_one_step() {
        let mut e = Expr::default();
        let y = e.f2(AluOp::Mul, Src::In(0), Src::Imm(3.7f32.to_bits()));
        let z = e.f2(AluOp::Add, Src::In(0), y);
        // Two numbers have no room in one step.
        let two = e.f2(AluOp::Mul, z, Src::Imm(1.3f32.to_bits()));
        let w = e.f2(AluOp::Add, two, Src::Imm(0.1f32.to_bits()));
        let mut roots = [w];
        fused(&mut e, &mut roots);
        assert_eq!(e.steps.len(), 3, "{:?}", e.steps);
        for i in -4000..4000 {
            let x = i as f32 * 0.03;
            assert_eq!(values(&e, &roots, x), [(x.mul_add(3.7, x) * 1.3 + 0.1).to_bits()], "{x}");
        }
    }

    #[test]
    fn a_cast_saturates_by_itself() {
        let mut e = Expr::default();
        let y = quantised(&mut e, Src::In(0), 3.7, 5.0);
        let (mut short, mut roots) = (e.clone(), [y]);
        shorten(&mut short, &mut roots, &|_| ANY, false);
        assert_eq!(short.steps.len(), 4);
        for i in -4000..4000 {
            let x = i as f32 * 0.03;
            assert_eq!(values(&e, &[y], x), values(&short, &roots, x));
        }
        assert_eq!(values(&e, &[y], f32::NAN), values(&short, &roots, f32::NAN));
    }

    /// Ways to write a gelu.
    #[derive(Clone, Copy)]
    enum Gelu {
        /// `x (1 + erf) / 2`.
        Spelled,
        /// `x ((1 + erf) / 2)`.
        HalfFirst,
        /// `x / 2 erf + x / 2`.
        Fused,
    }

    fn gelu(e: &mut Expr, way: Gelu) -> Src {
        let y = e.f2(AluOp::Mul, Src::In(0), Src::Imm(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
        let y = e.erf(y);
        let half = Src::Imm(0.5f32.to_bits());
        if let Gelu::Fused = way {
            let h = e.f2(AluOp::Mul, Src::In(0), half);
            return e.op(AluOp::Fma, F, h, y, h);
        }
        let y = e.f2(AluOp::Add, y, Src::Imm(1f32.to_bits()));
        if let Gelu::HalfFirst = way {
            let y = e.f2(AluOp::Mul, half, y);
            return e.f2(AluOp::Mul, Src::In(0), y);
        }
        let y = e.f2(AluOp::Mul, Src::In(0), y);
        e.f2(AluOp::Mul, y, half)
    }

    #[test]
    fn gelus_of_few_bits_are_tangents() {
        let near = (-FAR, FAR);
        for (way, known, steps) in
            [(Gelu::Spelled, near, 10), (Gelu::HalfFirst, near, 10), (Gelu::Fused, near, 10), (Gelu::Spelled, ANY, 11)]
        {
            let mut e = Expr::default();
            let exact = gelu(&mut e, way);
            // Bytes for which the coarse one would not do.
            let y = quantised(&mut e, exact, 74.0, -119.0);
            let (mut short, mut roots) = (e.clone(), [y]);
            shorten(&mut short, &mut roots, &|_| known, false);
            assert_eq!(short.steps.len(), steps, "{:?}", short.steps);
            // The byte is the nearest one, or what is rounded lies near its edge.
            for i in -1000..=1000 {
                let x = i as f32 * known.1.min(1e5) * 0.001;
                let want = f32::from_bits(values(&e, &[exact], x)[0]) * 74.0 - 119.0;
                let got = f32::from(values(&short, &roots, x)[0] as u8 as i8);
                assert!((got - want.clamp(-128.0, 127.0)).abs() < 0.5 + 0.002, "{x}: {got} for {want}");
            }
        }
    }

    #[test]
    fn gelus_of_coarse_bytes_take_a_shorter_polynomial() {
        for (way, zero, steps) in [(Gelu::Spelled, -119.0, 8), (Gelu::Fused, -119.0, 8), (Gelu::HalfFirst, 0.0, 7)] {
            let mut e = Expr::default();
            let exact = gelu(&mut e, way);
            let y = quantised(&mut e, exact, 51.0, zero);
            let (mut short, mut roots) = (e.clone(), [y]);
            shorten(&mut short, &mut roots, &|_| ANY, false);
            fused(&mut short, &mut roots);
            assert_eq!(short.steps.len(), steps, "{:?}", short.steps);
            for i in -20_000..=20_000 {
                let x = if i % 2 == 0 { i as f32 * 0.0004 } else { i as f32 * 5.0 };
                let want = f32::from_bits(values(&e, &[exact], x)[0]) * 51.0 + zero;
                let got = f32::from(values(&short, &roots, x)[0] as u8 as i8);
                assert!((got - want.clamp(-128.0, 127.0)).abs() < 0.52, "{x}: {got} for {want}");
            }
        }
    }

    #[test]
    fn wide_gelus_stay() {
        let mut e = Expr::default();
        let y = gelu(&mut e, Gelu::Spelled);
        let (mut short, mut roots) = (e.clone(), [y]);
        shorten(&mut short, &mut roots, &|_| (-6.0, 6.0), false);
        assert_eq!(short.steps, e.steps);
    }
}
