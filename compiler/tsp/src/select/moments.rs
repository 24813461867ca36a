//! Norms from both moments at once.
//!
//! Where the range of what is normalised is known, as that of bytes that were widened, one f16 a row holds its folded parts, and another
//! their squares: both are scaled so that nothing overflows and little falls below what f16 keeps. Both sums are one kernel,
//! a chain on each hemisphere, and the variance is the mean square less the square of the mean. Values of bytes are
//! not so far from zero that this would cancel.

use super::elementwise::add_in;
use super::expr::{Expr, Why};
use super::lane_sums::Parts;
use super::norm::Norm;
use super::view::View;
use super::{LazyIn, Select, Val};
use crate::sched::vxm;
use crate::tiled::{Kind, Rows, Src};
use quadrille_isa::tsp::{AluOp, AluType};

/// Bounds whose sums are scaled, as powers of two.
const MODERATE: f32 = 40.0;

/// What f16 holds, as a power of two.
const HELD: f32 = 15.0;

impl Select<'_> {
    /// A norm whose mean is taken off, of what has a known range; nothing for others.
    pub(super) fn norm_by_moments(&mut self, parts: &Parts, v: &View, n: Norm) -> Result<Option<Val>, Why> {
        let Some(range) = self.ranges.get(&v.tensor) else { return Ok(None) };
        let (most, rows) = (range.0.abs().max(range.1.abs()), parts.theirs.len());
        if !most.is_normal() || most.log2().abs() > MODERATE {
            return Ok(None);
        }
        let mut expr = Expr::default();
        let all: Vec<Src> = (0..rows as u16).map(Src::In).collect();
        let bounds = [most * rows as f32, most * most * rows as f32];
        let scales = bounds.map(|b| (HELD - b.log2().ceil()).exp2());
        let sums = [expr.folded(&all, false), expr.folded(&all, true)];
        let halves = [0, 1].map(|k| {
            let scaled = expr.f2(AluOp::Mul, sums[k], Src::Imm(scales[k].to_bits()));
            expr.cast(AluType::F32, AluType::F16, scaled)
        });
        if rows > self.groups || vxm::plan(&expr.steps, rows).slots.len() > self.alus {
            return Ok(None);
        }
        let tail = self.out.tensors[v.tensor.0 as usize].tail;
        let tails = super::finish::tails_of(&expr.steps, &vec![tail; rows]);
        let (outs, halves) = self.half_rows(halves, &tails, parts);
        let ins = parts.theirs.iter().map(|rows| Rows { tensor: v.tensor, rows: rows.clone() }).collect();
        self.kernel(parts.own.len(), Kind::Map { ins, steps: expr.steps, outs });

        let mut lazy = self.sums_of(parts, n.axis, halves, [1.0, 1.0]);
        let count = v.axes[n.axis].extent as f32;
        let [sum, squares] = scales.map(|s| 1.0 / (count * s));
        let e = &mut lazy.expr;
        let minus = e.f2(AluOp::Mul, Src::In(0), Src::Imm((-sum).to_bits()));
        let second = e.f2(AluOp::Mul, Src::In(1), Src::Imm(squares.to_bits()));
        let first = e.f2(AluOp::Mul, minus, minus);
        let variance = e.f2(AluOp::Sub, second, first);
        let variance = e.f2(AluOp::Max, variance, Src::Imm(0));
        let variance = e.f2(AluOp::Add, variance, Src::Imm(n.epsilon.to_bits()));
        lazy.result = e.f1(AluOp::Rsqrt, variance);
        let made = self.finish_with(lazy, vec![AluType::F32], &[(minus, AluType::F32)])?;
        let (root, minus) = (made[0].view.clone(), made[1].view.clone());

        let mut lazy = self.start(&v.shape());
        let x = add_in(&mut lazy, LazyIn::View(v.clone()));
        let (minus, root) = (add_in(&mut lazy, LazyIn::View(minus)), add_in(&mut lazy, LazyIn::View(root)));
        let difference = lazy.expr.f2(AluOp::Add, x, minus);
        lazy.result = lazy.expr.f2(AluOp::Mul, difference, root);
        Ok(Some(Val::Lazy(Box::new(lazy))))
    }
}
