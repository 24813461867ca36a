//! Norms along the innermost axis.
//!
//! Sums are passes over ones, which leave them in every lane. Where the axis takes one row, whatever makes a value
//! also writes it as two f16 for the pass that sums it: three kernels in all, the first being the end of the sequence
//! in front. Where it takes a few rows, one kernel takes the mean off all of them and folds
//! their squares, and the last takes it off again.

use super::elementwise::add_in;
use super::expr::{Expr, Why};
use super::lane_sums::{HALF_WEIGHTS, Parts};
use super::view::View;
use super::{Form, Lazy, LazyIn, Select, Val};
use crate::sched::vxm;
use crate::tiled::{Init, Kind, Rows, Src};
use quadrille_compiler::ir::{Node, Reduce, ValueId};
use quadrille_isa::tsp::{AluOp, AluType};

/// A norm over so many elements.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    pub(super) axis: usize,
    pub(super) centered: bool,
    pub(super) epsilon: f32,
}

impl Select<'_> {
    pub(super) fn norm(&mut self, node: &Node, n: Norm) -> Result<Val, Why> {
        let x = node.inputs[0];
        if self.ty(x) != AluType::F32 {
            return Err((format!("a norm of {}", self.graph.ty(x).dtype), "cast to f32 first".into()));
        }
        if let Some(val) = self.norm_of_a_row(x, n)? {
            return Ok(val);
        }
        let v = self.lanes_of_pixels(x, &[n.axis])?;
        if let Some(val) = self.norm_of_rows(&v, n)? {
            return Ok(val);
        }
        self.norm_by_folds(v, n)
    }

    fn count(v: &View, n: Norm) -> f32 {
        v.axes[n.axis].extent as f32
    }

    /// `v / sqrt(sum of squares / count + epsilon)`, the sum being the result of the sequence.
    fn scaled(lazy: &mut Lazy, v: View, sum: Src, count: f32, epsilon: f32) {
        let v = add_in(lazy, LazyIn::View(v));
        let r = Self::inverse_root(lazy, sum, count, epsilon);
        lazy.result = lazy.expr.f2(AluOp::Mul, v, r);
    }

    fn inverse_root(lazy: &mut Lazy, sum: Src, count: f32, epsilon: f32) -> Src {
        let mean = lazy.expr.f2(AluOp::Mul, sum, Src::Imm((1.0 / count).to_bits()));
        let mean = lazy.expr.f2(AluOp::Add, mean, Src::Imm(epsilon.to_bits()));
        lazy.expr.f1(AluOp::Rsqrt, mean)
    }

    /// The axis is one run of lanes in each row.
    fn norm_of_a_row(&mut self, x: ValueId, n: Norm) -> Result<Option<Val>, Why> {
        let i = x.0 as usize;
        let shape = self.graph.shape(x).to_vec();
        // The value may still be unfinished; then it ends here.
        let open = match &self.vals[i] {
            Val::Lazy(l) => {
                let (axes, .., pixels) = self.output_layout(l);
                pixels == 1 && l.ty == AluType::F32 && l.shape == shape && self.run_of(None, &axes, n.axis)
            }
            _ => false,
        };
        let (mut lazy, given) = if open {
            match std::mem::replace(&mut self.vals[i], Val::None) {
                Val::Lazy(l) => (*l, None),
                _ => return Ok(None),
            }
        } else {
            let v = self.any_form(x, AluType::F32)?;
            if !self.run_of(Some(v.tensor), &v.axes, n.axis) || !Self::serves(&v, &shape) {
                return Ok(None);
            }
            let mut lazy = self.start(&shape);
            lazy.result = add_in(&mut lazy, LazyIn::View(v.clone()));
            (lazy, Some(v))
        };
        let summed = if n.centered { lazy.result } else { lazy.expr.f2(AluOp::Mul, lazy.result, lazy.result) };
        let halves = lazy.expr.halves(summed);
        let wanted = if given.is_some() { Vec::new() } else { self.wants.forms(x) };
        if given.is_some() {
            lazy.result = halves[0];
        }
        let (made, halves) = self.with_halves(lazy, wanted, halves)?;
        let v = match given {
            Some(v) => v,
            None => {
                let v = made[0].view.clone();
                self.vals[i] = Val::Forms(made);
                v
            }
        };
        let count = Self::count(&v, n);
        let template = halves[0].clone();
        let mut lazy = self.run_sum(&template, halves, HALF_WEIGHTS, n.axis);
        if !n.centered {
            let sum = lazy.result;
            Self::scaled(&mut lazy, v, sum, count, n.epsilon);
            return Ok(Some(Val::Lazy(Box::new(lazy))));
        }
        let x = add_in(&mut lazy, LazyIn::View(v));
        lazy.result = lazy.expr.op(AluOp::Fma, AluType::F32, lazy.result, Src::Imm((-1.0 / count).to_bits()), x);
        let square = lazy.expr.f2(AluOp::Mul, lazy.result, lazy.result);
        let halves = lazy.expr.halves(square);
        let (made, halves) = self.with_halves(lazy, vec![AluType::F32], halves)?;
        let d = made[0].view.clone();
        let mut lazy = self.run_sum(&d, halves, HALF_WEIGHTS, n.axis);
        let sum = lazy.result;
        Self::scaled(&mut lazy, d, sum, count, n.epsilon);
        Ok(Some(Val::Lazy(Box::new(lazy))))
    }

    /// The forms of a sequence, and halves of another step.
    fn with_halves(
        &mut self,
        lazy: Lazy,
        wanted: Vec<AluType>,
        halves: [Src; 2],
    ) -> Result<(Vec<Form>, Vec<View>), Why> {
        let forms = wanted.len();
        let mut made = self.finish_with(lazy, wanted, &halves.map(|h| (h, AluType::F16)))?;
        let halves = made.split_off(forms).into_iter().map(|f| f.view).collect();
        Ok((made, halves))
    }

    /// The axis takes a run of lanes in a few rows.
    fn norm_of_rows(&mut self, v: &View, n: Norm) -> Result<Option<Val>, Why> {
        let Some(parts) = self.parts_of(v, n.axis) else { return Ok(None) };
        if n.centered
            && let Some(val) = self.norm_by_moments(&parts, v, n)?
        {
            return Ok(Some(val));
        }
        let Some(first) = self.lane_sum(v, n.axis, !n.centered) else { return Ok(None) };
        let count = Self::count(v, n);
        if !n.centered {
            return self.times_inverse_root(first, count, n.epsilon, |lazy| add_in(lazy, LazyIn::View(v.clone())), v);
        }
        let sum = self.finish(first, vec![AluType::F32])?[0].view.clone();
        let squares = match self.squares_of_differences(&parts, v, &sum, n) {
            Some(squares) => squares,
            None => {
                let d = self.less_mean(v, sum, count)?;
                let Some(squares) = self.lane_sum(&d, n.axis, true) else {
                    return self.scaled_by_folds(d, n).map(Some);
                };
                return self.times_inverse_root(
                    squares,
                    count,
                    n.epsilon,
                    |lazy| add_in(lazy, LazyIn::View(d.clone())),
                    v,
                );
            }
        };
        // The mean is taken off once more, so that the differences need not be kept.
        let difference = |lazy: &mut Lazy| Self::difference(lazy, v.clone(), sum.clone(), count);
        self.times_inverse_root(squares, count, n.epsilon, difference, v)
    }

    /// The inverse root of a sum of squares, finished, times what `value` puts into the sequence.
    fn times_inverse_root(
        &mut self,
        mut squares: Lazy,
        count: f32,
        epsilon: f32,
        value: impl Fn(&mut Lazy) -> Src,
        like: &View,
    ) -> Result<Option<Val>, Why> {
        let sum = squares.result;
        squares.result = Self::inverse_root(&mut squares, sum, count, epsilon);
        let r = self.finish(squares, vec![AluType::F32])?[0].view.clone();
        let mut lazy = self.start(&like.shape());
        let d = value(&mut lazy);
        let r = add_in(&mut lazy, LazyIn::View(r));
        lazy.result = lazy.expr.f2(AluOp::Mul, d, r);
        Ok(Some(Val::Lazy(Box::new(lazy))))
    }

    /// A value less its mean, given the sum, in a sequence.
    fn difference(lazy: &mut Lazy, v: View, sum: View, count: f32) -> Src {
        let (x, s) = (add_in(lazy, LazyIn::View(v)), add_in(lazy, LazyIn::View(sum)));
        lazy.expr.op(AluOp::Fma, AluType::F32, s, Src::Imm((-1.0 / count).to_bits()), x)
    }

    /// A value less its mean, given the sum.
    fn less_mean(&mut self, v: &View, sum: View, count: f32) -> Result<View, Why> {
        let mut lazy = self.start(&v.shape());
        lazy.result = Self::difference(&mut lazy, v.clone(), sum, count);
        Ok(self.finish(lazy, vec![AluType::F32])?[0].view.clone())
    }

    /// The sum of the squares of all rows of the axis less the mean, folded by one kernel, or two where the VXM is too small.
    fn squares_of_differences(&mut self, parts: &Parts, v: &View, sum: &View, n: Norm) -> Option<Lazy> {
        let mut expr = Expr::default();
        let minus = Src::Imm((-1.0 / Self::count(v, n)).to_bits());
        let rows = parts.theirs.len();
        let differences: Vec<Src> =
            (1..=rows as u16).map(|k| expr.op(AluOp::Fma, AluType::F32, Src::In(0), minus, Src::In(k))).collect();
        let folded = expr.folded(&differences, true);
        let mut tails = vec![self.out.tensors[sum.tensor.0 as usize].tail];
        tails.extend(std::iter::repeat_n(self.out.tensors[v.tensor.0 as usize].tail, rows));
        let mut ins = vec![Rows { tensor: sum.tensor, rows: parts.own.clone() }];
        ins.extend(parts.theirs.iter().map(|rows| Rows { tensor: v.tensor, rows: rows.clone() }));
        let slots = |e: &Expr, ins: usize| vxm::plan(&e.steps, ins).slots.len();
        let mut whole = expr.clone();
        let mut halves = whole.halves(folded);
        if ins.len() > self.groups || slots(&expr, ins.len()) > self.alus {
            return None;
        }
        if slots(&whole, ins.len()) + 1 > self.alus {
            let t = self.tensor("", AluType::F32, parts.rows, parts.lanes, Init::Computed);
            let rows = Rows { tensor: t, rows: parts.own.clone() };
            let made = super::finish::tails_of(&expr.steps, &tails);
            tails = vec![made.last().copied().unwrap_or_default()];
            self.out.tensors[t.0 as usize].tail = tails[0];
            let outs = vec![(folded, rows.clone())];
            self.kernel(parts.own.len(), Kind::Map { ins, steps: expr.steps, outs });
            ins = vec![rows];
            whole = Expr::default();
            halves = whole.halves(Src::In(0));
        }
        let tails = super::finish::tails_of(&whole.steps, &tails);
        let (outs, halves) = self.half_rows(halves, &tails, parts);
        self.kernel(parts.own.len(), Kind::Map { ins, steps: whole.steps, outs });
        Some(self.sum_of_halves(parts, n.axis, halves))
    }

    /// The axis lies otherwise: sums by folds of rows and lanes.
    fn norm_by_folds(&mut self, v: View, n: Norm) -> Result<Val, Why> {
        if !n.centered {
            return self.scaled_by_folds(v, n);
        }
        let sum = self.reduce_axis(v.clone(), n.axis, Reduce::Sum)?;
        let d = self.less_mean(&v, sum, Self::count(&v, n))?;
        self.scaled_by_folds(d, n)
    }

    fn scaled_by_folds(&mut self, d: View, n: Norm) -> Result<Val, Why> {
        let mut lazy = self.start(&d.shape());
        let x = add_in(&mut lazy, LazyIn::View(d.clone()));
        lazy.result = lazy.expr.f2(AluOp::Mul, x, x);
        let squares = self.finish(lazy, vec![AluType::F32])?[0].view.clone();
        let sum = self.reduce_axis(squares, n.axis, Reduce::Sum)?;
        let mut lazy = self.start(&d.shape());
        let count = Self::count(&d, n);
        let (d, s) = (add_in(&mut lazy, LazyIn::View(d)), add_in(&mut lazy, LazyIn::View(sum)));
        let r = Self::inverse_root(&mut lazy, s, count, n.epsilon);
        lazy.result = lazy.expr.f2(AluOp::Mul, d, r);
        Ok(Val::Lazy(Box::new(lazy)))
    }
}
