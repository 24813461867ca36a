//! Softmax over an axis of several words, as that of 400 scores.
//!
//! A maximum over lanes passes every row through planes once for each power of two; a sum passes it once. So where the range of
//! the arguments is known, as that of bytes that were widened, what is taken off them is a sum, too: `T ln(sum of e^(x / T))`
//! lies above their maximum, by `T ln n` at most. With a `T` that brings arguments divided by it into what f16 holds, and
//! exponentials lowered by that much into it as well, no maximum is needed. Else it is that of bytes, as for one word.

use super::elementwise::add_in;
use super::expr::{Expr, Why};
use super::finish::tails_of;
use super::lane_sums::{FEWEST_LANES, HALF_WEIGHTS, rough_part};
use super::shorten::{ANY, range};
use super::softmax::NARROW;
use super::view::{Axis, View};
use super::{Lazy, LazyIn, Select, Val};
use crate::sched::vxm;
use crate::tiled::{Init, Kind, Rows, Src, Step, TensorId};
use quadrille_compiler::ir::ValueId;
use quadrille_isa::tsp::{AluOp, AluType};
use std::f32::consts::LOG2_E;

/// Words of a row at most: f16 holds the sum of their largest exponentials.
const MOST_WORDS: usize = 8;

/// The largest whole number up to which f16 holds all.
const MOST_WHOLE: f32 = 2048.0;

/// What is added to exponents.
#[derive(Clone, Copy)]
enum Off<'v> {
    Number(f32),
    /// One number a row.
    Rows(&'v View),
}

/// A known range of arguments, and what they are divided by.
struct Tempered {
    middle: f32,
    by: f32,
}

impl Tempered {
    fn new((lo, hi): (f32, f32), extent: usize) -> Option<Tempered> {
        let by = ((hi - lo) / NARROW).max(1.0);
        (by.is_finite() && by * (extent as f32).ln() <= NARROW).then_some(Tempered { middle: (lo + hi) / 2.0, by })
    }
}

impl Select<'_> {
    /// True when an axis lies in some words of one run of lanes each.
    pub(super) fn in_words(&self, tensor: Option<TensorId>, axes: &[Axis], axis: usize) -> bool {
        let digits = || axes[axis].digits.iter().filter(|d| d.extent > 1);
        let words: usize = digits().filter(|d| d.lane == 0).map(|d| d.extent).product();
        let runs = digits().filter(|d| d.lane > 0 && d.row == 0 && d.extent >= FEWEST_LANES).count();
        let whole = digits().map(|d| d.extent).product::<usize>() == axes[axis].extent;
        let apart = digits().all(|d| (d.lane == 0) != (d.row == 0));
        tensor.is_none_or(|t| self.pixels(t) == 1)
            && whole
            && apart
            && runs == 1
            && (2..=self.fold.min(MOST_WORDS)).contains(&words)
            && axes.iter().all(|a| a.copies.is_empty())
    }

    /// Normalised exponentials, where the axis lies so.
    pub(super) fn softmax_in_words(&mut self, mut lazy: Lazy, output: ValueId, axis: usize) -> Result<Val, Why> {
        let shape = lazy.shape.clone();
        let rough = self.wants.narrow(self.graph, output);
        let (e, sum) = match self.bounded(&mut lazy, axis)? {
            Some(power) => {
                lazy.result = power;
                self.powers_and_sum(lazy, axis, rough)?
            }
            None => {
                let ranges = self.ranges_of(&lazy);
                let known = |k: u16| ranges.get(usize::from(k)).copied().unwrap_or(ANY);
                let found = range(&lazy.expr.steps, lazy.result, &known);
                match Tempered::new(found, shape[axis]) {
                    Some(t) => self.tempered(lazy, &t, axis, rough)?,
                    None => {
                        let lazy = self.keyed(lazy, axis)?;
                        self.powers_and_sum(lazy, axis, rough)?
                    }
                }
            }
        };
        let inverse = self.finished(sum, |expr, sum| expr.f1(AluOp::Recip, sum))?;
        let mut lazy = self.start(&shape);
        let ty = self.out.tensors[e.tensor.0 as usize].ty;
        let a = add_in(&mut lazy, LazyIn::View(e));
        let a = lazy.expr.cast(ty, AluType::F32, a);
        let r = add_in(&mut lazy, LazyIn::View(inverse));
        lazy.result = lazy.expr.f2(AluOp::Mul, a, r);
        Ok(Val::Lazy(Box::new(lazy)))
    }

    /// Powers of two of a sequence's result, and their sum over an axis, unfinished. `rough`: f16 keeps enough of them.
    fn powers_and_sum(&mut self, mut lazy: Lazy, axis: usize, rough: bool) -> Result<(View, Lazy), Why> {
        lazy.result = lazy.expr.f1(AluOp::Exp2, lazy.result);
        let e = self.finish(lazy, vec![AluType::F32])?[0].view.clone();
        let sum = if rough { self.rough_lane_sum(&e, axis) } else { self.lane_sum(&e, axis, false) };
        Ok((e, sum.ok_or_else(no_sum)?))
    }

    /// The same for arguments of a known range, less a sum of theirs instead of their maximum.
    fn tempered(&mut self, lazy: Lazy, t: &Tempered, axis: usize, rough: bool) -> Result<(View, Lazy), Why> {
        let (x, scale) = self.held(lazy)?;
        let scale = scale * LOG2_E;
        let cooled = Off::Number(-t.middle * LOG2_E / t.by);
        let sum = match self.powers_of_rows(&x, axis, (scale / t.by, cooled), None, (rough_part, [1.0]))? {
            Some((_, sum)) => sum,
            None => self.powers_and_sum(self.exponents(&x, scale / t.by, cooled), axis, true)?.1,
        };
        let off = self.finished(sum, |expr, sum| {
            let log = expr.f1(AluOp::Log2, sum);
            let lowered = expr.f2(AluOp::Mul, log, Src::Imm((-t.by).to_bits()));
            // The largest exponential lies around one.
            let around = (NARROW / 2.0 - t.middle) * LOG2_E;
            expr.f2(AluOp::Add, lowered, Src::Imm(around.to_bits()))
        })?;
        let by = (scale, Off::Rows(&off));
        let made = match rough {
            true => self.powers_of_rows(&x, axis, by, Some(AluType::F16), (rough_part, [1.0]))?,
            false => self.powers_of_rows(&x, axis, by, Some(AluType::F32), (Expr::halves, HALF_WEIGHTS))?,
        };
        match made {
            Some(made) => Ok(made),
            None => self.powers_and_sum(self.exponents(&x, scale, by.1), axis, rough),
        }
    }

    /// What is kept of a sequence's result, and what makes the result of it: whole numbers, as a scale makes arguments of, are kept in
    /// f16.
    fn held(&mut self, mut lazy: Lazy) -> Result<(View, f32), Why> {
        if let (Src::In(0), [LazyIn::View(v)], None) = (lazy.result, &lazy.ins[..], &lazy.mat) {
            return Ok((v.clone(), 1.0));
        }
        let ranges = self.ranges_of(&lazy);
        let known = |k: u16| ranges.get(usize::from(k)).copied().unwrap_or(ANY);
        if let Src::Op(k) = lazy.result
            && let Step { op: AluOp::Mul, ty: AluType::F32, src: [y, Src::Imm(scale), Src::None] } =
                lazy.expr.steps[usize::from(k)]
            && is_whole(&lazy.expr.steps, y)
            && let (lo, hi) = range(&lazy.expr.steps, y, &known)
            && -MOST_WHOLE <= lo
            && hi <= MOST_WHOLE
        {
            lazy.result = y;
            return Ok((self.finish(lazy, vec![AluType::F16])?[0].view.clone(), f32::from_bits(scale)));
        }
        Ok((self.finish(lazy, vec![AluType::F32])?[0].view.clone(), 1.0))
    }

    /// Exponents `x scale + off`, unfinished.
    fn exponents(&self, x: &View, scale: f32, off: Off<'_>) -> Lazy {
        let mut lazy = self.start(&x.shape());
        let a = add_in(&mut lazy, LazyIn::View(x.clone()));
        let a = lazy.expr.cast(self.out.tensors[x.tensor.0 as usize].ty, AluType::F32, a);
        let off = match off {
            Off::Number(n) => Src::Imm(n.to_bits()),
            Off::Rows(v) => add_in(&mut lazy, LazyIn::View(v.clone())),
        };
        lazy.result = exponent(&mut lazy.expr, a, scale, off);
        lazy
    }

    /// Powers of two of `x scale + off`, in a type where they are kept, and their sum in parts of f16: all words of a row in one
    /// step, so that the sum needs no other look at them. Nothing where one step has no room for that.
    fn powers_of_rows<const N: usize>(
        &mut self,
        x: &View,
        axis: usize,
        (scale, off): (f32, Off<'_>),
        kept: Option<AluType>,
        (halves, weights): (impl Fn(&mut Expr, Src) -> [Src; N], [f32; N]),
    ) -> Result<Option<(View, Lazy)>, Why> {
        let parts = self.parts(x, axis).ok_or_else(no_sum)?;
        let words = parts.theirs.len();
        let info = self.out.tensors[x.tensor.0 as usize].clone();
        let mut ins: Vec<Rows> =
            parts.theirs.iter().map(|rows| Rows { tensor: x.tensor, rows: rows.clone() }).collect();
        let mut tails = vec![info.tail; words];
        let off = match off {
            Off::Number(n) => Src::Imm(n.to_bits()),
            Off::Rows(v) => {
                let (_, theirs) = parts.template.row_pairs(&[v]).ok_or_else(no_sum)?;
                ins.push(Rows { tensor: v.tensor, rows: theirs[0].clone() });
                tails.push(self.out.tensors[v.tensor.0 as usize].tail);
                Src::In(words as u16)
            }
        };
        let mut expr = Expr::default();
        let mut powers = Vec::with_capacity(words);
        for k in 0..words as u16 {
            let a = expr.cast(info.ty, AluType::F32, Src::In(k));
            let low = exponent(&mut expr, a, scale, off);
            powers.push(expr.f1(AluOp::Exp2, low));
        }
        let whole = expr.folded(&powers, false);
        let halves = halves(&mut expr, whole);
        let kept = kept.map(|ty| (ty, powers.iter().map(|&p| expr.cast(AluType::F32, ty, p)).collect::<Vec<Src>>()));
        if ins.len() > self.groups || vxm::plan(&expr.steps, ins.len()).slots.len() > self.alus {
            return Ok(None);
        }
        let tails = tails_of(&expr.steps, &tails);
        let (mut outs, halves) = self.half_rows(halves, &tails, &parts);
        let mut made = x.clone();
        if let Some((ty, powers)) = kept {
            made.tensor = self.tensor("", ty, info.rows as usize, info.lanes as usize, Init::Computed);
            if let Src::Op(k) = powers[0] {
                self.out.tensors[made.tensor.0 as usize].tail = tails[usize::from(k)];
            }
            let rows = |theirs: &Vec<u32>| Rows { tensor: made.tensor, rows: theirs.clone() };
            outs.extend(powers.iter().zip(&parts.theirs).map(|(&p, theirs)| (p, rows(theirs))));
        }
        self.kernel(parts.own.len(), Kind::Map { ins, steps: expr.steps, outs });
        let mut sum = self.sums_of(&parts, axis, halves, weights);
        self.joined(&mut sum);
        Ok(Some((made, sum)))
    }

    /// What is made of an unfinished sum.
    fn finished(&mut self, mut sum: Lazy, made: impl FnOnce(&mut Expr, Src) -> Src) -> Result<View, Why> {
        sum.result = made(&mut sum.expr, sum.result);
        Ok(self.finish(sum, vec![AluType::F32])?[0].view.clone())
    }
}

/// The exponent of an argument.
fn exponent(expr: &mut Expr, x: Src, scale: f32, off: Src) -> Src {
    let low = expr.op(AluOp::Fma, AluType::F32, x, Src::Imm(scale.to_bits()), off);
    // No argument comes near that; lanes beyond the tensor's own may.
    expr.f2(AluOp::Min, low, Src::Imm((NARROW / 2.0 * LOG2_E + 0.5).to_bits()))
}

/// True when a step's result is a whole number.
fn is_whole(steps: &[Step], x: Src) -> bool {
    let of = |k: u16| &steps[usize::from(k)];
    match x {
        Src::Imm(bits) => f32::from_bits(bits).fract() == 0.0,
        Src::Op(k) => match *of(k) {
            Step { op: AluOp::Round | AluOp::Floor, ty: AluType::F32, .. } => true,
            Step { op: AluOp::Cast(AluType::F32), ty, .. } => !ty.is_float(),
            Step {
                op: AluOp::Max | AluOp::Min | AluOp::Add | AluOp::Sub,
                ty: AluType::F32,
                src: [a, b, Src::None],
            } => is_whole(steps, a) && is_whole(steps, b),
            _ => false,
        },
        Src::In(_) | Src::None => false,
    }
}

fn no_sum() -> Why {
    ("sums over an axis of several words".into(), "this is a bug of the compiler".into())
}
