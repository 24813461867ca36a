//! Writes the programs of general kernels: tensors as strided views of buffers, and elementwise
//! operations over them with broadcasting.
//!
//! Knows lanes and views; knows nothing of streams and rounds.

use crate::kernels::general::{Arg, BufId, Nest, Prog, Stmt, View};
use crate::lane::lane;
use crate::layout::strides;
use crate::steps::{self, Step};
use quadrille_compiler::ir::DType;
use quadrille_isa::wafer::{ElemType, PeOp};
use std::sync::Arc;

/// A tensor in SRAM.
#[derive(Clone, Debug)]
pub(super) struct T {
    pub(super) view: View,
    pub(super) dims: Vec<usize>,
    pub(super) dtype: DType,
}

/// An operand: a tensor, or a constant in the lane of f32 or of i32.
#[derive(Clone, Copy, Debug)]
pub(super) enum A<'a> {
    T(&'a T),
    F(f32),
    I(i32),
}

impl T {
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Numpy-style expansion: extents of one, and missing leading axes, repeat.
    pub(super) fn broadcast(&self, dims: &[usize]) -> T {
        let lead = dims.len() - self.dims.len().min(dims.len());
        let strides = (0..dims.len()).map(|i| match i.checked_sub(lead) {
            Some(k) if self.dims[k] != 1 => self.view.strides[k],
            _ => 0,
        });
        let strides = strides.collect();
        T { view: View { strides, ..self.view.clone() }, dims: dims.to_vec(), dtype: self.dtype }
    }

    /// `len` elements of an axis from `start` on, `step` apart.
    pub(super) fn slice(&self, axis: usize, start: usize, step: isize, len: usize) -> T {
        let mut t = self.clone();
        t.view.offset += start as isize * self.view.strides[axis];
        t.view.strides[axis] *= step;
        t.dims[axis] = len;
        t
    }

    /// Without an axis, at element `i` of it.
    pub(super) fn at(&self, axis: usize, i: usize) -> T {
        let mut t = self.slice(axis, i, 1, 1);
        t.view.strides.remove(axis);
        t.dims.remove(axis);
        t
    }

    /// With one more axis of one element.
    pub(super) fn with_axis(&self, axis: usize) -> T {
        let mut t = self.clone();
        t.view.strides.insert(axis, 0);
        t.dims.insert(axis, 1);
        t
    }

    /// Moving along an axis from pass to pass of a loop, one step each.
    pub(super) fn moving(&self, axis: usize) -> T {
        let step = self.view.strides[axis];
        let mut t = self.at(axis, 0);
        t.view.step = step;
        t
    }

    /// True when the elements lie one after the other.
    pub(super) fn is_dense(&self) -> bool {
        let s = strides(&self.dims);
        (0..self.rank()).all(|i| self.dims[i] == 1 || self.view.strides[i] == s[i] as isize)
    }

    /// The same elements under another shape; the view must be dense.
    pub(super) fn reshaped(&self, dims: &[usize]) -> T {
        let s = strides(dims).into_iter().map(|s| s as isize).collect();
        T { view: View { strides: s, ..self.view.clone() }, dims: dims.to_vec(), dtype: self.dtype }
    }

    /// As another type of the same lane.
    pub(super) fn typed(&self, dtype: DType) -> T {
        T { dtype, ..self.clone() }
    }

    pub(super) fn elem(&self) -> ElemType {
        self.view.ty
    }
}

/// Builds a program.
#[derive(Debug, Default)]
pub(super) struct Asm {
    pub(super) prog: Prog,
    /// Inside a loop: the nests of its body.
    body: Option<Vec<Nest>>,
}

/// The lane of a type that was found to have one.
pub(super) fn lane_of(d: DType) -> ElemType {
    lane(d).unwrap_or(ElemType::F32)
}

impl Asm {
    fn of_buf(buf: BufId, ty: ElemType, dims: &[usize], dtype: DType) -> T {
        let s = strides(dims).into_iter().map(|s| s as isize).collect();
        T { view: View { buf, ty, offset: 0, strides: s, step: 0 }, dims: dims.to_vec(), dtype }
    }

    /// A buffer that exists, as a tensor.
    pub(super) fn view_of(&self, buf: BufId, dtype: DType, dims: &[usize]) -> T {
        Self::of_buf(buf, lane_of(dtype), dims, dtype)
    }

    /// A new tensor in the lane of its type, zeros at the start.
    pub(super) fn fresh(&mut self, dtype: DType, dims: &[usize]) -> T {
        self.fresh_as(lane_of(dtype), dtype, dims)
    }

    /// A new tensor of an element type.
    pub(super) fn fresh_as(&mut self, ty: ElemType, dtype: DType, dims: &[usize]) -> T {
        let buf = self.prog.buf(ty, dims.iter().product(), None);
        Self::of_buf(buf, ty, dims, dtype)
    }

    /// A constant in its lane.
    pub(super) fn constant(&mut self, dtype: DType, dims: &[usize], bits: Arc<Vec<u32>>) -> T {
        let ty = lane_of(dtype);
        let buf = self.prog.buf(ty, bits.len(), Some(bits));
        Self::of_buf(buf, ty, dims, dtype)
    }

    /// 0, 1, 2, … as f32.
    pub(super) fn iota(&mut self, n: usize) -> T {
        let bits = (0..n).map(|i| (i as f32).to_bits()).collect();
        self.constant(DType::F32, &[n], Arc::new(bits))
    }

    /// One operation over `dims`; the destination and all operands broadcast to them. A
    /// destination that repeats accumulates.
    pub(super) fn over(&mut self, dims: &[usize], op: PeOp, dst: &T, args: &[A<'_>]) {
        let arg = |a: &A<'_>| match a {
            A::T(t) => Arg::View(t.broadcast(dims).view),
            A::F(v) => Arg::Imm(v.to_bits(), ElemType::F32),
            A::I(v) => Arg::Imm(*v as u32, ElemType::I32),
        };
        let nest = Nest {
            op,
            dims: dims.to_vec(),
            dst: dst.broadcast(dims).view,
            args: args.iter().map(arg).collect(),
            ordered: false,
        };
        match &mut self.body {
            Some(b) => b.push(nest),
            None => self.prog.push(nest),
        }
    }

    /// One operation over the destination.
    pub(super) fn to(&mut self, dst: &T, op: PeOp, args: &[A<'_>]) {
        let dims = dst.dims.clone();
        self.over(&dims, op, dst, args);
    }

    /// A copy or a cast.
    pub(super) fn copy(&mut self, dst: &T, src: &T) {
        self.to(dst, PeOp::Mov, &[A::T(src)]);
    }

    /// A new tensor of the operation's result in the lane of `dtype`.
    pub(super) fn make(&mut self, dtype: DType, dims: &[usize], op: PeOp, args: &[A<'_>]) -> T {
        let t = self.fresh(dtype, dims);
        self.to(&t, op, args);
        t
    }

    /// The tensor with its elements one after the other: itself, or a copy.
    pub(super) fn dense(&mut self, x: &T, dims: &[usize]) -> T {
        if x.dims == dims && x.is_dense() {
            return x.clone();
        }
        self.copied(x, dims)
    }

    /// The same elements alone, in row-major order from the first of their buffer: what can leave a PE.
    pub(super) fn alone(&mut self, x: &T) -> T {
        if x.view.offset == 0 && x.is_dense() {
            return x.clone();
        }
        self.copied(x, &x.dims)
    }

    /// A copy in a buffer of its own.
    fn copied(&mut self, x: &T, dims: &[usize]) -> T {
        let t = self.fresh_as(x.elem(), x.dtype, dims);
        self.copy(&t, x);
        t
    }

    /// Operations that run `n` times, with views that move.
    pub(super) fn repeat(&mut self, n: usize, body: impl FnOnce(&mut Asm)) {
        self.body = Some(Vec::new());
        body(self);
        if let Some(nests) = self.body.take()
            && n > 0
        {
            self.prog.stmts.push(Stmt::Loop(n, nests));
        }
    }

    /// Elementwise steps on a copy of `x`.
    pub(super) fn step(&mut self, x: &T, step: &Step) -> T {
        let dims = x.dims.clone();
        let mut regs: Vec<Option<T>> = vec![None; steps::registers(std::slice::from_ref(step)).max(1)];
        let first = self.fresh(DType::F32, &dims);
        // The first operation may read x itself, as long as register 0 was not written.
        let mut written = false;
        for m in &step.micros {
            let at = usize::from(m.dst);
            if at == 0 && !written {
                regs[0] = Some(first.clone());
            } else if regs[at].is_none() {
                regs[at] = Some(self.fresh(DType::F32, &dims));
            }
            let args: Vec<Result<T, f32>> = m
                .args
                .iter()
                .map(|a| match a {
                    steps::Arg::Reg(0) if !written => Ok(x.clone()),
                    steps::Arg::Reg(r) => Ok(regs[usize::from(*r)].clone().unwrap_or_else(|| x.clone())),
                    steps::Arg::Imm(v) => Err(*v),
                    steps::Arg::Table(_) => Err(f32::NAN),
                })
                .collect();
            let args: Vec<A<'_>> = args
                .iter()
                .map(|a| match a {
                    Ok(t) => A::T(t),
                    Err(v) => A::F(*v),
                })
                .collect();
            if let Some(dst) = regs[at].clone() {
                self.to(&dst, m.op, &args);
            }
            written |= at == 0;
        }
        match regs[0].take() {
            Some(r) if written => r.typed(x.dtype),
            _ => x.clone(),
        }
    }
}
