//! Reductions, softmax, running sums, the places of largest elements.

use super::super::Obstacle;
use super::asm::{A, Asm, T, lane_of};
use super::range::Range;
use quadrille_compiler::ir::{DType, Reduce};
use quadrille_isa::numerics::recip_f32;
use quadrille_isa::wafer::{ElemType, PeOp};

impl Asm {
    /// Over axes, which keep an extent of one.
    pub(super) fn reduce(&mut self, kind: Reduce, x: &T, axes: &[usize], range: Option<Range>) -> Result<T, Obstacle> {
        let d = x.dtype;
        let mut dims = x.dims.clone();
        axes.iter().for_each(|&a| dims[a] = 1);
        let count: usize = axes.iter().map(|&a| x.dims[a]).product();
        let refuse = |what: &str| {
            Obstacle::new(
                format!("a {what} of {count} elements of {d} is not exact on lanes of 32 bits"),
                "reduce a float type, or a narrower integer",
            )
        };
        let int_lane = lane_of(d) == ElemType::I32;
        let (op, start_f, start_i) = match kind {
            Reduce::Sum | Reduce::Mean => (PeOp::Add, 0.0, 0),
            Reduce::Prod => (PeOp::Mul, 1.0, 1),
            Reduce::Max => (PeOp::Max, f32::NEG_INFINITY, i32::MIN),
            Reduce::Min => (PeOp::Min, f32::INFINITY, i32::MAX),
        };
        let order = matches!(kind, Reduce::Max | Reduce::Min);
        if !d.is_float() && !order {
            let exact = match (int_lane, kind) {
                (true, Reduce::Sum) => {
                    range.is_some() && d != DType::I32
                        || range.is_some_and(|(l, h)| l.abs().max(h.abs()) < i64::from(i32::MAX))
                }
                (false, Reduce::Sum) => count <= 256,
                (_, _) => false,
            };
            if !exact {
                return Err(refuse(kind.name()));
            }
        }
        if matches!(d, DType::U32 | DType::U64) && order {
            return Err(refuse(kind.name()));
        }
        let out = self.fresh(d, &dims);
        let start = if int_lane { A::I(start_i) } else { A::F(start_f) };
        self.to(&out, PeOp::Mov, &[start]);
        let whole = x.dims.clone();
        self.over(&whole, op, &out, &[A::T(&out), A::T(x)]);
        if kind == Reduce::Mean {
            self.to(&out, PeOp::Mul, &[A::T(&out), A::F(recip_f32(count as f32))]);
        }
        Ok(self.fit(&out, d))
    }

    /// 2^((x - max) log2 e) over its sum.
    pub(super) fn softmax(&mut self, x: &T, axis: usize) -> T {
        let whole = x.dims.clone();
        let mut one = whole.clone();
        one[axis] = 1;
        let max = self.fresh(DType::F32, &one);
        self.to(&max, PeOp::Mov, &[A::F(f32::NEG_INFINITY)]);
        self.over(&whole, PeOp::Max, &max, &[A::T(&max), A::T(x)]);
        let e = self.make(DType::F32, &whole, PeOp::Sub, &[A::T(x), A::T(&max)]);
        self.to(&e, PeOp::Mul, &[A::T(&e), A::F(std::f32::consts::LOG2_E)]);
        self.to(&e, PeOp::Exp2, &[A::T(&e)]);
        self.to(&max, PeOp::Mov, &[A::F(0.0)]);
        self.over(&whole, PeOp::Add, &max, &[A::T(&max), A::T(&e)]);
        self.to(&max, PeOp::Recip, &[A::T(&max)]);
        self.to(&e, PeOp::Mul, &[A::T(&e), A::T(&max)]);
        self.fit(&e, x.dtype)
    }

    pub(super) fn cumsum(&mut self, x: &T, axis: usize, exclusive: bool, reverse: bool) -> Result<T, Obstacle> {
        if lane_of(x.dtype) == ElemType::I32 || (!x.dtype.is_float() && x.dims[axis] > 256) {
            return Err(Obstacle::new(
                format!("running sums of {} are not exact on lanes of 32 bits", x.dtype),
                "sum a float type",
            ));
        }
        let n = x.dims[axis];
        let dims = x.dims.clone();
        let out = self.fresh(x.dtype, &dims);
        let (from, to) = if reverse {
            (x.slice(axis, n - 1, -1, n), out.slice(axis, n - 1, -1, n))
        } else {
            (x.clone(), out.clone())
        };
        if exclusive {
            self.to(&to.slice(axis, 0, 1, 1), PeOp::Mov, &[A::F(0.0)]);
        } else {
            self.copy(&to.slice(axis, 0, 1, 1), &from.slice(axis, 0, 1, 1));
        }
        let rest = usize::from(!exclusive);
        // Every element needs the one before it; each axis goes in order, so it is there.
        self.to(
            &to.slice(axis, 1, 1, n - 1),
            PeOp::Add,
            &[A::T(&to.slice(axis, 0, 1, n - 1)), A::T(&from.slice(axis, rest, 1, n - 1))],
        );
        Ok(self.fit(&out, x.dtype))
    }

    /// Place (in f32) and value of the largest or smallest along an axis, which goes.
    fn arg(&mut self, x: &T, axis: usize, largest: bool, last: bool) -> (T, T) {
        let first = x.at(axis, 0);
        let dims = first.dims.clone();
        let d = x.dtype;
        let best = self.fresh(d, &dims);
        self.copy(&best, &first);
        let place = self.make(DType::F32, &dims, PeOp::Mov, &[A::F(0.0)]);
        let at = self.make(DType::F32, &[], PeOp::Mov, &[A::F(0.0)]);
        let better = self.fresh(DType::F32, &dims);
        let n = x.dims[axis];
        let from = if n > 1 { x.slice(axis, 1, 1, n - 1) } else { x.clone() };
        let next = from.moving(axis);
        self.repeat(n - 1, |a| {
            a.to(&at, PeOp::Add, &[A::T(&at), A::F(1.0)]);
            // Better, or with `last` not worse.
            let (p, q) = if largest != last { (&best, &next) } else { (&next, &best) };
            a.to(&better, PeOp::CmpLt, &[A::T(p), A::T(q)]);
            let (take, keep) = (A::T(&next), A::T(&best));
            if last {
                a.to(&best, PeOp::Select, &[A::T(&better), keep, take]);
                a.to(&place, PeOp::Select, &[A::T(&better), A::T(&place), A::T(&at)]);
            } else {
                a.to(&best, PeOp::Select, &[A::T(&better), take, keep]);
                a.to(&place, PeOp::Select, &[A::T(&better), A::T(&at), A::T(&place)]);
            }
        });
        (place, best)
    }

    /// As `i64`.
    pub(super) fn arg_reduce(&mut self, x: &T, axis: usize, largest: bool, last: bool) -> T {
        let (place, _) = self.arg(x, axis, largest, last);
        self.make(DType::I64, &place.dims.clone(), PeOp::Mov, &[A::T(&place)])
    }

    /// Values and places of the k largest or smallest, in order.
    pub(super) fn top_k(&mut self, x: &T, axis: usize, k: usize, largest: bool, indices: bool) -> Result<T, Obstacle> {
        if x.elem() != ElemType::F32 {
            return Err(Obstacle::new(format!("the largest of {} have no kernel", x.dtype), "cast to a float type"));
        }
        let mut dims = x.dims.clone();
        dims[axis] = k;
        let out = if indices { self.fresh(DType::I64, &dims) } else { self.fresh(x.dtype, &dims) };
        let whole = x.dims.clone();
        let left = self.fresh(x.dtype, &whole);
        self.copy(&left, x);
        let n = x.dims[axis];
        let iota = self.iota(n);
        let mut along = vec![1; x.rank()];
        along[axis] = n;
        let iota = iota.reshaped(&along);
        let taken = self.fresh(DType::F32, &whole);
        let gone = if largest { f32::NEG_INFINITY } else { f32::INFINITY };
        for i in 0..k {
            let (place, best) = self.arg(&left, axis, largest, false);
            let row = out.at(axis, i);
            self.copy(&row, if indices { &place } else { &best });
            if i + 1 < k {
                self.to(&taken, PeOp::CmpEq, &[A::T(&iota), A::T(&place.with_axis(axis))]);
                self.to(&left, PeOp::Select, &[A::T(&taken), A::F(gone), A::T(&left)]);
            }
        }
        Ok(out)
    }
}
