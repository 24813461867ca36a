//! A factor and a sum a channel, scaled by one number and rounded to bytes, are one multiply-add with other constants.
//!
//! So is a whole summand of a sum of bytes with the factor behind it.
//! What ends a norm whose result is quantised: `cast(round((x g + b) / s) + z)` is `cast(x (g / s) + (b / s + z))`, the cast rounding.
//! Knows steps and constants; knows no rows.

use super::shorten::bounds;
use super::{Lazy, LazyIn, Select};
use crate::tiled::{Kind, Src, Step};
use quadrille_compiler::ir::eval::eval_op;
use quadrille_compiler::ir::{Binary, DType, Op, Tensor};
use quadrille_isa::tsp::{AluOp, AluType};

const F: AluType = AluType::F32;

/// A product with a constant, plus a constant, times a number.
struct Affine {
    /// What is multiplied.
    x: Src,
    /// Operands by number: factor, summand.
    constants: [u16; 2],
    scale: f32,
}

fn op_of(x: Src) -> Option<usize> {
    if let Src::Op(k) = x { Some(k.into()) } else { None }
}

impl Lazy {
    fn uses(&self, x: Src, roots: &[Src]) -> usize {
        let steps = self.expr.steps.iter().flat_map(|s| &s.src);
        steps.chain(roots).chain([&self.result]).filter(|s| **s == x).count()
    }

    fn user(&self, k: usize, roots: &[Src]) -> Option<usize> {
        let x = Src::Op(k as u16);
        let by = self.expr.steps.iter().position(|s| s.src.contains(&x));
        by.filter(|_| self.uses(x, roots) == 1)
    }

    /// The other operand of a step, and the operand by number that is a constant taken here alone.
    fn by_constant(&self, k: usize, op: AluOp, roots: &[Src]) -> Option<(Src, u16)> {
        let chains = self.mat.as_ref().map_or(0, |m| m.chains);
        let constant = |x: Src| match x {
            Src::In(n) if self.uses(x, roots) == 1 => match self.ins.get(usize::from(n).checked_sub(chains)?)? {
                LazyIn::Const(t) if t.as_f32().is_some() => Some(n),
                _ => None,
            },
            _ => None,
        };
        match self.expr.steps[k] {
            Step { op: own, ty: F, src: [a, b, Src::None] } if own == op => {
                constant(b).map(|n| (a, n)).or_else(|| constant(a).map(|n| (b, n)))
            }
            _ => None,
        }
    }

    fn affine(&self, k: usize, roots: &[Src]) -> Option<Affine> {
        let Step { op: AluOp::Mul, ty: F, src: [sum, Src::Imm(scale), Src::None] } = self.expr.steps[k] else {
            return None;
        };
        let alone = |x: Src| op_of(x).filter(|&n| self.user(n, roots).is_some());
        let sum = alone(sum)?;
        let (product, summand) = self.by_constant(sum, AluOp::Add, roots)?;
        let product = alone(product)?;
        let (x, factor) = self.by_constant(product, AluOp::Mul, roots)?;
        Some(Affine { x, constants: [factor, summand], scale: f32::from_bits(scale) })
    }

    /// The step that adds a zero point to what is rounded of a step's result, where that becomes bytes and nothing else; and the zero point.
    fn zero_point(&self, k: usize, roots: &[Src]) -> Option<(usize, f32)> {
        let steps = &self.expr.steps;
        let round = self.user(k, roots).filter(|&u| steps[u].op == AluOp::Round && steps[u].ty == F)?;
        let sum = self.user(round, roots)?;
        let Step { op: AluOp::Add, ty: F, src: [_, Src::Imm(zero), Src::None] } = steps[sum] else { return None };
        let mut last = self.user(sum, roots)?;
        while matches!(steps[last], Step { op: AluOp::Max | AluOp::Min, ty: F, src: [_, Src::Imm(_), Src::None] }) {
            last = self.user(last, roots)?;
        }
        let bytes = matches!(steps[last].op, AluOp::Cast(to) if bounds(to).is_some()) && steps[last].ty == F;
        (bytes && f32::from_bits(zero).fract() == 0.0).then_some((sum, f32::from_bits(zero)))
    }

    /// The summand, which sums of bytes take as integers, goes behind the factor: `f32(sum + b) m` is `f32(sum) m + b m`.
    fn join_bias(&mut self, roots: &[Src]) {
        let chains = self.mat.as_ref().map_or(0, |m| m.chains);
        let constant = |l: &Lazy, x: Src| match x {
            Src::In(n) if l.uses(x, roots) == 1 => match l.ins.get(usize::from(n).checked_sub(chains)?)? {
                LazyIn::Const(t) => Some((n, t.clone())),
                LazyIn::View(_) => None,
            },
            _ => None,
        };
        for k in 0..self.expr.steps.len() {
            let Step { op: AluOp::Add, ty: AluType::I32, src: [sum, b, Src::None] } = self.expr.steps[k] else {
                continue;
            };
            let Some((summand, b)) = constant(self, b) else { continue };
            let wide = self.user(k, roots).filter(|&u| {
                let s = self.expr.steps[u];
                s.op == AluOp::Cast(F) && s.ty == AluType::I32
            });
            let Some((wide, scaled)) = wide.and_then(|w| Some((w, self.user(w, roots)?))) else { continue };
            let Step { op: AluOp::Mul, ty: F, src: [x, m, Src::None] } = self.expr.steps[scaled] else { continue };
            let factor = match m {
                Src::Imm(v) => Some(Tensor::from_f32(&[], &[f32::from_bits(v)])),
                m => constant(self, m).map(|(_, t)| t),
            };
            let sums = matches!(sum, Src::In(n) if usize::from(n) < chains) && x == Src::Op(wide as u16);
            let (Some(factor), true) = (factor, sums) else { continue };
            let product =
                eval_op(&Op::Cast(DType::F32), &[&b]).and_then(|b| eval_op(&Op::Binary(Binary::Mul), &[&b, &factor]));
            let Ok(product) = product else { continue };
            self.ins[usize::from(summand) - chains] = LazyIn::Const(product);
            self.expr.steps[wide].src[0] = sum;
            self.expr.steps[scaled] = Step { op: AluOp::Fma, ty: F, src: [x, m, Src::In(summand)] };
        }
    }

    /// True for a sum of bytes that was made a float.
    fn is_wide_sum(&self, x: Src) -> bool {
        op_of(x).is_some_and(|k| matches!(self.expr.steps[k], Step { op: AluOp::Cast(F), ty: AluType::I32, .. }))
    }

    /// A sum of bytes times two numbers is one times their product.
    fn join_scales(&mut self, roots: &[Src]) {
        for k in 0..self.expr.steps.len() {
            let Step { op: AluOp::Mul, ty: F, src: [inner, Src::Imm(b), Src::None] } = self.expr.steps[k] else {
                continue;
            };
            let Some(inner) = op_of(inner).filter(|&n| self.user(n, roots) == Some(k)) else { continue };
            let Step { op: AluOp::Mul, ty: F, src: [x, Src::Imm(a), Src::None] } = self.expr.steps[inner] else {
                continue;
            };
            if self.is_wide_sum(x) {
                self.expr.steps[k].src = [x, Src::Imm((f32::from_bits(a) * f32::from_bits(b)).to_bits()), Src::None];
                // Nothing takes it any more, and it nothing.
                self.expr.steps[inner].src = [Src::Imm(a), Src::Imm(a), Src::None];
            }
        }
    }

    /// A row that is added to a sum of bytes, which a number then multiplies: the steps that add, widen and multiply, the operand
    /// and the number.
    fn scaled_row(&self, k: usize, roots: &[Src]) -> Option<([usize; 2], u16, f32)> {
        let chains = self.mat.as_ref().map_or(0, |m| m.chains);
        let Step { op: AluOp::Mul, ty: F, src: [x, Src::Imm(m), Src::None] } = self.expr.steps[k] else { return None };
        let wide = op_of(x).filter(|&n| self.is_wide_sum(x) && self.user(n, roots) == Some(k))?;
        let add = op_of(self.expr.steps[wide].src[0]).filter(|&n| self.user(n, roots) == Some(wide))?;
        match self.expr.steps[add] {
            Step { op: AluOp::Add, ty: AluType::I32, src: [Src::In(sum), Src::In(row), Src::None] }
                if usize::from(sum) < chains && usize::from(row) >= chains && self.uses(Src::In(row), roots) == 1 =>
            {
                Some(([add, wide], row, f32::from_bits(m)))
            }
            _ => None,
        }
    }

    /// Joins what can be joined; `roots` are results besides its own.
    pub(super) fn join_affine(&mut self, roots: &[Src]) {
        self.join_bias(roots);
        let chains = self.mat.as_ref().map_or(0, |m| m.chains);
        for k in 0..self.expr.steps.len() {
            let Some(a) = self.affine(k, roots) else { continue };
            let (end, zero) = self.zero_point(k, roots).unwrap_or((k, 0.0));
            let changes: [&dyn Fn(f32) -> f32; 2] = [&|g| g * a.scale, &|b| b * a.scale + zero];
            for (n, change) in a.constants.into_iter().zip(changes) {
                let LazyIn::Const(t) = &self.ins[usize::from(n) - chains] else { continue };
                let values: Vec<f32> = t.as_f32().unwrap_or_default().into_iter().map(change).collect();
                self.ins[usize::from(n) - chains] = LazyIn::Const(Tensor::from_f32(&t.shape, &values));
            }
            let [factor, summand] = a.constants.map(Src::In);
            // What led here is dropped with all that nothing takes.
            self.expr.steps[end] = Step { op: AluOp::Fma, ty: F, src: [a.x, factor, summand] };
        }
    }
}

impl Select<'_> {
    /// A row of zero points goes behind the factor of the sums that it is added to: it is made a float, and scaled, where it is summed.
    pub(super) fn join_zero_rows(&mut self, lazy: &mut Lazy, roots: &[Src]) {
        lazy.join_scales(roots);
        let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
        for k in 0..lazy.expr.steps.len() {
            let Some(([add, wide], row, m)) = lazy.scaled_row(k, roots) else { continue };
            let LazyIn::View(v) = &lazy.ins[usize::from(row) - chains] else { continue };
            if !self.zero_rows.remove(&v.tensor) {
                continue;
            }
            self.out.tensors[v.tensor.0 as usize].ty = F;
            for kernel in &mut self.out.kernels {
                if let Kind::MatMul { steps, outs, .. } = &mut kernel.kind
                    && outs[0].1.tensor == v.tensor
                {
                    let sum = [Src::In(0), Src::None, Src::None];
                    let scaled = [Src::Op(0), Src::Imm(m.to_bits()), Src::None];
                    let wide = Step { op: AluOp::Cast(F), ty: AluType::I32, src: sum };
                    *steps = vec![wide, Step { op: AluOp::Mul, ty: F, src: scaled }];
                    outs[0].0 = Src::Op(1);
                }
            }
            lazy.expr.steps[wide].src[0] = lazy.expr.steps[add].src[0];
            let x = lazy.expr.steps[k].src[0];
            lazy.expr.steps[k] = Step { op: AluOp::Fma, ty: F, src: [x, Src::Imm(m.to_bits()), Src::In(row)] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::expr::Expr;
    use super::super::shorten::{ANY, shorten};
    use super::*;
    use crate::tiled::NodeNo;
    use quadrille_isa::tsp::alu::alu;

    /// A norm's end: operands 1 and 2 are a constant factor and summand of each of two channels.
    fn norm(scale: f32, zero: f32) -> Lazy {
        let mut expr = Expr::default();
        let imm = |x: f32| Src::Imm(x.to_bits());
        let y = expr.f2(AluOp::Mul, Src::In(0), Src::In(1));
        let y = expr.f2(AluOp::Add, y, Src::In(2));
        let y = expr.f2(AluOp::Mul, y, imm(scale));
        let y = expr.f1(AluOp::Round, y);
        let y = expr.f2(AluOp::Add, y, imm(zero));
        let y = expr.f2(AluOp::Max, y, imm(-128.0));
        let y = expr.f2(AluOp::Min, y, imm(127.0));
        let result = expr.cast(F, AluType::I8, y);
        let constant = |values: [f32; 2]| LazyIn::Const(Tensor::from_f32(&[2], &values));
        let x = LazyIn::Const(Tensor::from_f32(&[2], &[0.0, 0.0]));
        let ins = vec![x, constant([1.25, -0.8]), constant([0.1, 0.4])];
        Lazy { mat: None, ins, expr, result, ty: AluType::I8, shape: vec![2], node: NodeNo(0) }
    }

    fn value(l: &Lazy, x: f32, channel: usize) -> i8 {
        let of = |s: Src, done: &[u32]| match s {
            Src::In(0) => x.to_bits(),
            Src::In(k) => match &l.ins[usize::from(k)] {
                LazyIn::Const(t) => t.as_f32().unwrap()[channel].to_bits(),
                LazyIn::View(_) => 0,
            },
            Src::Imm(v) => v,
            Src::Op(k) => done[usize::from(k)],
            Src::None => 0,
        };
        let mut done = Vec::new();
        for s in &l.expr.steps {
            let [a, b, c] = s.src.map(|s| of(s, &done));
            done.push(alu(s.op, s.ty, a, b, c));
        }
        of(l.result, &done) as u8 as i8
    }

    #[test]
    fn the_end_of_a_quantised_norm_is_two_steps() {
        let plain = norm(21.3, -7.0);
        let mut joined = plain.clone();
        joined.join_affine(&[]);
        let mut roots = [joined.result];
        shorten(&mut joined.expr, &mut roots, &|_| ANY, false);
        joined.result = roots[0];
        assert_eq!(joined.expr.steps.len(), 2, "{:?}", joined.expr.steps);
        for i in -900..900 {
            let x = i as f32 * 0.0137;
            for channel in 0..2 {
                let (want, got) = (value(&plain, x, channel), value(&joined, x, channel));
                let real = (x * [1.25, -0.8][channel] + [0.1, 0.4][channel]) * 21.3;
                // The nearest byte, or the other one where both are as near.
                let tie = (real.fract().abs() - 0.5).abs() < 1e-3;
                assert!(want == got || tie && want.abs_diff(got) == 1, "{x}: {want} became {got}");
            }
        }
    }

    #[test]
    fn what_else_takes_the_sum_keeps_it() {
        let mut two = norm(21.3, -7.0);
        let sum = Src::Op(1);
        let before = two.expr.steps.clone();
        two.join_affine(&[sum]);
        assert_eq!(two.expr.steps, before);
    }
}
