//! Indices known only at run time: the machine cannot address by a value, so every place of the
//! axis is compared with the index, and selected where they are equal.

use super::super::Obstacle;
use super::asm::{A, Asm, T, lane_of};
use quadrille_compiler::ir::{DType, ScatterMode};
use quadrille_isa::wafer::{ElemType, PeOp};

impl Asm {
    /// Indices as f32, negative ones counted from the end.
    pub(super) fn places(&mut self, idx: &T, extent: usize) -> T {
        let dims = idx.dims.clone();
        let f = self.make(DType::F32, &dims, PeOp::Mov, &[A::T(idx)]);
        let neg = self.make(DType::F32, &dims, PeOp::CmpLt, &[A::T(&f), A::F(0.0)]);
        self.to(&f, PeOp::Fma, &[A::T(&neg), A::F(extent as f32), A::T(&f)]);
        f
    }

    /// Index tuples along the last axis as places in the row-major order of `extents`.
    fn linear(&mut self, idx: &T, extents: &[usize]) -> T {
        let last = idx.rank() - 1;
        let mut total: Option<T> = None;
        for (i, &n) in extents.iter().enumerate() {
            let p = self.places(&idx.at(last, i), n);
            let dims = p.dims.clone();
            total = Some(match total {
                None => p,
                Some(t) => self.make(DType::F32, &dims, PeOp::Fma, &[A::T(&t), A::F(n as f32), A::T(&p)]),
            });
        }
        let dims = idx.dims[..last].to_vec();
        total.unwrap_or_else(|| self.make(DType::F32, &dims, PeOp::Mov, &[A::F(0.0)]))
    }

    /// `out` where the index equals the place that moves along `axis` of `data`, place by place.
    /// Both data without the axis and index broadcast to `out`.
    pub(super) fn choose(&mut self, out: &T, data: &T, axis: usize, index: &T) {
        let n = data.dims[axis];
        let row = data.moving(axis);
        let at = self.make(DType::F32, &[], PeOp::Mov, &[A::F(-1.0)]);
        let here = self.fresh(DType::F32, &index.dims.clone());
        let (row, index) = (row.clone(), index.clone());
        let out = out.clone();
        self.repeat(n, |a| {
            a.to(&at, PeOp::Add, &[A::T(&at), A::F(1.0)]);
            a.to(&here, PeOp::CmpEq, &[A::T(&index), A::T(&at)]);
            a.to(&out, PeOp::Select, &[A::T(&here), A::T(&row), A::T(&out)]);
        });
    }

    /// data, indices; the index axes take the place of `axis`.
    pub(super) fn gather(&mut self, data: &T, idx: &T, axis: usize) -> T {
        let mut dims = data.dims[..axis].to_vec();
        dims.extend(&idx.dims);
        dims.extend(&data.dims[axis + 1..]);
        let out = self.fresh(data.dtype, &dims);
        let places = self.places(idx, data.dims[axis]);
        // Data without the axis: extents of one where the indices are.
        let mut d = data.clone();
        for _ in 0..idx.rank() {
            d = d.with_axis(axis + 1);
        }
        let mut p = places;
        for _ in 0..data.rank() - axis - 1 {
            let r = p.rank();
            p = p.with_axis(r);
        }
        self.choose(&out, &d, axis, &p);
        out
    }

    pub(super) fn gather_elements(&mut self, data: &T, idx: &T, axis: usize) -> T {
        let out = self.fresh(data.dtype, &idx.dims);
        let places = self.places(idx, data.dims[axis]);
        let mut d = data.clone();
        for a in (0..data.rank()).filter(|&a| a != axis) {
            d = d.slice(a, 0, 1, idx.dims[a]);
        }
        // One more axis in front that moves, so that the rank stays.
        let mut d = d.with_axis(0);
        d.view.strides.swap(0, axis + 1);
        d.dims.swap(0, axis + 1);
        self.choose(&out, &d, 0, &places);
        out
    }

    pub(super) fn gather_nd(&mut self, data: &T, idx: &T, batch: usize, out: &[usize]) -> T {
        let q = idx.dims[idx.rank() - 1];
        let extents = data.dims[batch..batch + q].to_vec();
        let places = self.linear(idx, &extents);
        let data = self.dense(data, &data.dims.clone());
        let o = self.fresh(data.dtype, out);
        let tail = &data.dims[batch + q..];
        // [batch…, places, tail…] and [batch…, index axes…, tail…].
        let mut flat = data.dims[..batch].to_vec();
        flat.push(extents.iter().product());
        flat.extend(tail);
        let mut d = data.reshaped(&flat);
        for _ in batch..idx.rank() - 1 {
            d = d.with_axis(batch + 1);
        }
        let mut p = places;
        for _ in tail {
            let r = p.rank();
            p = p.with_axis(r);
        }
        self.choose(&o, &d, batch, &p);
        o
    }

    fn check_mode(data: &T, mode: ScatterMode) -> Result<(), Obstacle> {
        let order = matches!(mode, ScatterMode::Replace | ScatterMode::Max | ScatterMode::Min);
        if data.dtype.is_float() || (order && lane_of(data.dtype) == ElemType::F32) || mode == ScatterMode::Replace {
            return Ok(());
        }
        Err(Obstacle::new(
            format!("scattered sums and products of {} are not exact on the lanes", data.dtype),
            "scatter a float type",
        ))
    }

    pub(super) fn scatter_elements(
        &mut self,
        data: &T,
        idx: &T,
        updates: &T,
        axis: usize,
        mode: ScatterMode,
    ) -> Result<T, Obstacle> {
        Self::check_mode(data, mode)?;
        let n = data.dims[axis];
        let out = self.fresh(data.dtype, &data.dims.clone());
        self.copy(&out, data);
        let places = self.places(idx, n);
        let iota = self.iota(n);
        let mut along = vec![1; data.rank()];
        along[axis] = n;
        let iota = iota.reshaped(&along);
        // The part of the data that has indices.
        let mut part = out.clone();
        for a in (0..data.rank()).filter(|&a| a != axis) {
            part = part.slice(a, 0, 1, idx.dims[a]);
        }
        let here = self.fresh(DType::F32, &part.dims.clone());
        let dims = part.dims.clone();
        let new = self.fresh(data.dtype, &dims);
        let (p, u) = (places.moving(axis).with_axis(axis), updates.moving(axis).with_axis(axis));
        // Repeated indices apply in order: one index of the axis after the other.
        self.repeat(idx.dims[axis], |a| {
            a.to(&here, PeOp::CmpEq, &[A::T(&iota), A::T(&p)]);
            a.merge_into(&new, mode, &part, &u);
            a.to(&part, PeOp::Select, &[A::T(&here), A::T(&new), A::T(&part)]);
        });
        Ok(out)
    }

    /// `new` = old and update joined.
    fn merge_into(&mut self, new: &T, mode: ScatterMode, old: &T, update: &T) {
        let op = match mode {
            ScatterMode::Replace => {
                self.to(new, PeOp::Mov, &[A::T(update)]);
                return;
            }
            ScatterMode::Add => PeOp::Add,
            ScatterMode::Mul => PeOp::Mul,
            ScatterMode::Max => PeOp::Max,
            ScatterMode::Min => PeOp::Min,
        };
        self.to(new, op, &[A::T(old), A::T(update)]);
    }

    pub(super) fn scatter_nd(&mut self, data: &T, idx: &T, updates: &T, mode: ScatterMode) -> Result<T, Obstacle> {
        Self::check_mode(data, mode)?;
        let q = idx.dims[idx.rank() - 1];
        let n: usize = idx.dims[..idx.rank() - 1].iter().product();
        let extents = data.dims[..q].to_vec();
        let places = self.linear(idx, &extents);
        let places = self.dense(&places, &places.dims.clone()).reshaped(&[n]);
        let out = self.fresh(data.dtype, &data.dims.clone());
        self.copy(&out, data);
        let (l, t): (usize, usize) = (extents.iter().product(), data.dims[q..].iter().product());
        let flat = out.reshaped(&[l, t]);
        let updates = self.dense(updates, &updates.dims.clone()).reshaped(&[n, t]);
        let iota = self.iota(l).reshaped(&[l, 1]);
        let here = self.fresh(DType::F32, &[l, 1]);
        let new = self.fresh(data.dtype, &[l, t]);
        let (p, u) = (places.moving(0).with_axis(0).with_axis(0), updates.moving(0).with_axis(0));
        self.repeat(n, |a| {
            a.to(&here, PeOp::CmpEq, &[A::T(&iota), A::T(&p)]);
            a.merge_into(&new, mode, &flat, &u);
            a.to(&flat, PeOp::Select, &[A::T(&here), A::T(&new), A::T(&flat)]);
        });
        Ok(out)
    }
}
