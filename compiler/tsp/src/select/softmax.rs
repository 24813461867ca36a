//! Softmax: exponentials over their sum.
//!
//! On lanes: what is taken off the arguments need not be the maximum, only near it. So the maximum is that of bytes,
//! the arguments in steps of eight. Arguments beyond +-1016 count as that. The largest exponential is from 1 to e^8, so
//! that f16 holds it. The sum is a pass over ones: of what f16 keeps where the result is no wider, else also of what
//! it leaves.
//!
//! Arguments that lie in a narrow range, as bytes that were widened do, need no maximum: only that of what is added to all
//! rows alike, a mask, which is taken off the mask.

use super::elementwise::add_in;
use super::expr::Why;
use super::shorten::{range, shorten};
use super::view::{Axis, View};
use super::{Lazy, LazyIn, Select, Val};
use crate::tiled::{Rows, Src, Step, TensorId};
use quadrille_compiler::ir::{Node, Reduce, ValueId};
use quadrille_isa::tsp::{AluOp, AluType};

/// A step of the bytes whose maximum is taken.
const STEP: f32 = 8.0;

/// The largest argument.
const MOST: f32 = 127.0 * STEP;

/// Width of a range of arguments at most whose exponentials f16 holds, half of it on each side of one.
pub(super) const NARROW: f32 = 18.0;

/// A mask has at most one in so many elements of what it is added to.
const MASK_PART: usize = 8;

/// Lanes from which on it is worth it.
const FEWEST_LANES: usize = 8;

/// How the axis of a softmax lies.
enum Lies {
    /// On one run of lanes.
    Run,
    /// On one run in each of some words.
    Words,
}

impl Select<'_> {
    /// Normalised exponentials: max, exp(x - max), sum, product with its reciprocal.
    pub(super) fn softmax(&mut self, node: &Node, axis: usize) -> Result<Val, Why> {
        if let Some((lazy, lies)) = self.arguments(node.inputs[0], axis)? {
            return match lies {
                Lies::Run => self.softmax_on_lanes(lazy, node.output, axis),
                Lies::Words => self.softmax_in_words(lazy, node.output, axis),
            };
        }
        let shape = self.graph.shape(node.output).to_vec();
        let x = self.lanes_of_pixels(node.inputs[0], &[axis])?;
        let max = self.reduce_axis(x.clone(), axis, Reduce::Max)?;
        let mut lazy = self.start(&shape);
        let a = add_in(&mut lazy, LazyIn::View(x));
        let m = add_in(&mut lazy, LazyIn::View(max));
        let d = lazy.expr.f2(AluOp::Sub, a, m);
        lazy.result = lazy.expr.exp(d);
        let e = self.finish(lazy, vec![AluType::F32])?[0].view.clone();
        let sum = self.reduce_axis(e.clone(), axis, Reduce::Sum)?;
        let mut lazy = self.start(&shape);
        let a = add_in(&mut lazy, LazyIn::View(e));
        let s = add_in(&mut lazy, LazyIn::View(sum));
        let r = lazy.expr.f1(AluOp::Recip, s);
        lazy.result = lazy.expr.f2(AluOp::Mul, a, r);
        Ok(Val::Lazy(Box::new(lazy)))
    }

    /// The one lane digit of an axis that lies on lanes alone, pixels apart.
    pub(super) fn run_of(&self, tensor: Option<TensorId>, axes: &[Axis], axis: usize) -> bool {
        let a = &axes[axis];
        let digits: Vec<_> = a.digits.iter().filter(|d| d.extent > 1).collect();
        tensor.is_none_or(|t| self.pixels(t) == 1)
            && matches!(digits[..], [d] if d.row == 0 && d.lane > 0 && d.extent == a.extent && d.extent >= FEWEST_LANES)
            && axes.iter().all(|a| a.copies.is_empty())
    }

    /// The arguments of a softmax, still unfinished where they may end here, and how the axis lies; nothing where it lies otherwise.
    fn arguments(&mut self, x: ValueId, axis: usize) -> Result<Option<(Lazy, Lies)>, Why> {
        let shape = self.graph.shape(x).to_vec();
        if self.ty(x) != AluType::F32 {
            return Ok(None);
        }
        let i = x.0 as usize;
        let open = match &self.vals[i] {
            Val::Lazy(l) if l.ty == AluType::F32 => {
                l.mat.as_ref().filter(|m| m.pixels == 1).and_then(|m| self.lies(None, &m.axes, axis))
            }
            _ => None,
        };
        let (mut lazy, lies) = match (open, &mut self.vals[i]) {
            (Some(lies), Val::Lazy(l)) => {
                let lazy = (**l).clone();
                self.vals[i] = Val::None;
                (lazy, lies)
            }
            _ => {
                let v = self.any_form(x, AluType::F32)?;
                let Some(lies) = self.lies(Some(v.tensor), &v.axes, axis).filter(|_| Self::serves(&v, &shape)) else {
                    return Ok(None);
                };
                let mut lazy = self.start(&shape);
                lazy.result = add_in(&mut lazy, LazyIn::View(v));
                (lazy, lies)
            }
        };
        lazy.node = self.node;
        Ok(Some((lazy, lies)))
    }

    fn lies(&self, tensor: Option<TensorId>, axes: &[Axis], axis: usize) -> Option<Lies> {
        if self.run_of(tensor, axes, axis) {
            Some(Lies::Run)
        } else {
            self.in_words(tensor, axes, axis).then_some(Lies::Words)
        }
    }

    fn softmax_on_lanes(&mut self, mut lazy: Lazy, output: ValueId, axis: usize) -> Result<Val, Why> {
        if let Some(power) = self.bounded(&mut lazy, axis)? {
            lazy.result = power;
        } else {
            lazy = self.keyed(lazy, axis)?;
        }
        self.exponentials(lazy, output, axis)
    }

    /// Exponents to base two of arguments less their maximum along an axis, or a little less than that.
    pub(super) fn keyed(&mut self, mut lazy: Lazy, axis: usize) -> Result<Lazy, Why> {
        let shape = lazy.shape.clone();
        let over = lazy.expr.f2(AluOp::Max, lazy.result, Src::Imm((-MOST).to_bits()));
        lazy.result = lazy.expr.f2(AluOp::Min, over, Src::Imm(MOST.to_bits()));
        // Half a step below rounds to the step below.
        let below = lazy.expr.f2(AluOp::Add, lazy.result, Src::Imm((-STEP / 2.0).to_bits()));
        let steps = lazy.expr.f2(AluOp::Mul, below, Src::Imm((1.0 / STEP).to_bits()));
        let key = lazy.expr.cast(AluType::F32, AluType::I8, steps);
        let made = self.finish_with(lazy, vec![AluType::F32], &[(key, AluType::I8)])?;
        let (x, key) = (made[0].view.clone(), made[1].view.clone());
        let max = match self.lane_max(&key, axis) {
            Some(max) => max,
            None => self.reduce_axis(key, axis, Reduce::Max)?,
        };

        let log2e = std::f32::consts::LOG2_E;
        let mut lazy = self.start(&shape);
        let a = add_in(&mut lazy, LazyIn::View(x));
        let m = add_in(&mut lazy, LazyIn::View(max));
        let scaled = lazy.expr.f2(AluOp::Mul, a, Src::Imm(log2e.to_bits()));
        let m = lazy.expr.cast(AluType::I8, AluType::F32, m);
        let d = lazy.expr.op(AluOp::Fma, AluType::F32, m, Src::Imm((-STEP * log2e).to_bits()), scaled);
        lazy.result = d;
        Ok(lazy)
    }

    /// The powers of two of the result of a sequence, over their sum.
    fn exponentials(&mut self, mut lazy: Lazy, output: ValueId, axis: usize) -> Result<Val, Why> {
        lazy.result = lazy.expr.f1(AluOp::Exp2, lazy.result);
        if self.is_mixed(output, axis) {
            let e = self.finish(lazy, vec![AluType::F16])?[0].view.clone();
            self.powers.insert(output, e.clone());
            return Ok(Val::Lazy(Box::new(self.normalised(e.clone(), vec![e], axis))));
        }
        let high = lazy.expr.cast(AluType::F32, AluType::F16, lazy.result);
        let mut halves = vec![(high, AluType::F16)];
        if !self.wants.narrow(self.graph, output) {
            let back = lazy.expr.cast(AluType::F16, AluType::F32, high);
            let rest = lazy.expr.f2(AluOp::Sub, lazy.result, back);
            halves.push((lazy.expr.cast(AluType::F32, AluType::F16, rest), AluType::F16));
        }
        let made = self.finish_with(lazy, vec![AluType::F32], &halves)?;
        let halves = made[1..].iter().map(|f| f.view.clone()).collect();
        Ok(Val::Lazy(Box::new(self.normalised(made[0].view.clone(), halves, axis))))
    }

    /// Exponents to base two, near zero in some lane, of arguments that lie in a narrow range, a mask apart; nothing for others.
    pub(super) fn bounded(&mut self, lazy: &mut Lazy, axis: usize) -> Result<Option<Src>, Why> {
        let log2e = std::f32::consts::LOG2_E;
        let ranges = self.ranges_of(lazy);
        let known = |k: u16| ranges.get(usize::from(k)).copied().unwrap_or(super::shorten::ANY);
        let mut roots = [lazy.result];
        shorten(&mut lazy.expr, &mut roots, &known, self.zeros);
        lazy.result = roots[0];
        let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
        let last = match lazy.result {
            Src::Op(k) => lazy.expr.steps.get(usize::from(k)).copied(),
            _ => None,
        };
        let mask = match last {
            Some(
                Step { op: AluOp::Add, ty: AluType::F32, src: [x, Src::In(k), Src::None] }
                | Step { op: AluOp::Add, ty: AluType::F32, src: [Src::In(k), x, Src::None] },
            ) if usize::from(k) >= chains && matches!(x, Src::Op(_)) => match &lazy.ins[usize::from(k) - chains] {
                LazyIn::View(v) => Some((x, v.clone())),
                LazyIn::Const(_) => None,
            },
            _ => None,
        };
        let x = mask.as_ref().map_or(lazy.result, |m| m.0);
        let (lo, hi) = range(&lazy.expr.steps, x, &known);
        if (hi - lo).is_nan() || hi - lo > NARROW {
            return Ok(None);
        }
        let near = -NARROW / 2.0 <= lo && hi <= NARROW / 2.0;
        let middle = if near { 0.0 } else { (lo + hi) / 2.0 };
        let lowered = match mask {
            Some((_, m)) => {
                let m = m.pad_rank(lazy.shape.len());
                let size: usize = m.shape().iter().product();
                let all: usize = lazy.shape.iter().product();
                let along = m.axes[axis].extent == lazy.shape[axis];
                if !along || size * MASK_PART > all || !m.axes[axis].on_lanes() {
                    return Ok(None);
                }
                Some(self.lowered(m, axis, middle)?)
            }
            None => None,
        };
        // The product with a scale is one with the logarithm, too.
        let scale = match x {
            Src::Op(k) => match lazy.expr.steps[usize::from(k)] {
                Step { op: AluOp::Mul, ty: AluType::F32, src: [y, Src::Imm(c), Src::None] } => {
                    Some((y, f32::from_bits(c) * log2e))
                }
                _ => None,
            },
            _ => None,
        };
        let (y, scale) = scale.unwrap_or((x, log2e));
        let scale = Src::Imm(scale.to_bits());
        Ok(Some(match lowered {
            Some(m) => {
                let m = add_in(lazy, LazyIn::View(m));
                lazy.expr.op(AluOp::Fma, AluType::F32, y, scale, m)
            }
            None => {
                let d = lazy.expr.f2(AluOp::Mul, y, scale);
                if middle == 0.0 { d } else { lazy.expr.f2(AluOp::Add, d, Src::Imm((-middle * log2e).to_bits())) }
            }
        }))
    }

    /// A mask less its maximum along an axis and less `middle`, in powers of two.
    fn lowered(&mut self, mask: View, axis: usize, middle: f32) -> Result<View, Why> {
        let same = |l: &&(View, usize, f32, View)| l.0 == mask && l.1 == axis && l.2 == middle;
        if let Some(l) = self.lowered.iter().find(same) {
            return Ok(l.3.clone());
        }
        let log2e = std::f32::consts::LOG2_E;
        let max = match self.maxima.iter().find(|l| l.0 == mask && l.1 == axis) {
            Some(l) => l.2.clone(),
            None => {
                let max = self.reduce_axis(mask.clone(), axis, Reduce::Max)?;
                self.maxima.push((mask.clone(), axis, max.clone()));
                max
            }
        };
        let mut lazy = self.start(&mask.shape());
        let a = add_in(&mut lazy, LazyIn::View(mask.clone()));
        let m = add_in(&mut lazy, LazyIn::View(max));
        let d = lazy.expr.f2(AluOp::Sub, a, m);
        lazy.result = lazy.expr.f2(AluOp::Mul, d, Src::Imm(log2e.to_bits()));
        if middle != 0.0 {
            lazy.result = lazy.expr.f2(AluOp::Add, lazy.result, Src::Imm((-middle * log2e).to_bits()));
        }
        let made = self.finish(lazy, vec![AluType::F32])?[0].view.clone();
        self.lowered.push((mask, axis, middle, made.clone()));
        Ok(made)
    }

    /// The sum over a run of lanes of values in halves that lie as `e` does, in every lane of the run.
    pub(super) fn run_sum(&mut self, e: &View, halves: Vec<View>, weights: [f32; 2], axis: usize) -> Lazy {
        let (axes, lane0) = (e.axes.clone(), e.lane0);
        let info = &self.out.tensors[e.tensor.0 as usize];
        let (rows, lanes) = (info.rows as usize, info.lanes as usize);
        let digit = axes[axis].digits.iter().position(|d| d.extent > 1).unwrap_or(0);
        let d = axes[axis].digits[digit];
        let runs = (Self::first_lanes(&axes, lane0, axis, digit), d.extent, d.lane);
        let own: Vec<u32> = e.row_pairs(&[]).map(|p| p.0).unwrap_or_default();
        let mut chains = Vec::new();
        for (half, weight) in halves.into_iter().zip(weights) {
            let half = self.finite(half);
            let ones = self.ones(&runs, weight);
            chains.push(self.passes_of(Rows { tensor: half.tensor, rows: own.clone() }, &ones));
        }
        let mut lazy = self.summed(axes, lane0, (rows, lanes), own, chains);
        self.joined(&mut lazy);
        lazy
    }

    /// Exponentials over their sum, which a pass over ones leaves in every lane.
    fn normalised(&mut self, e: View, halves: Vec<View>, axis: usize) -> Lazy {
        let mut lazy = self.run_sum(&e, halves, [1.0, 1.0], axis);
        let r = lazy.expr.f1(AluOp::Recip, lazy.result);
        let ty = self.out.tensors[e.tensor.0 as usize].ty;
        let a = add_in(&mut lazy, LazyIn::View(e));
        let a = lazy.expr.cast(ty, AluType::F32, a);
        lazy.result = lazy.expr.f2(AluOp::Mul, a, r);
        lazy
    }
}
