//! Gathers at computed places.

use super::MAX_ELEMENTS;
use super::build::{Builder, Made};
use crate::ir::{Binary, DType, Op, Reduce, TypeError, ValueId};

impl Builder<'_> {
    /// Indices as i32 in `0 .. n`: negative ones count from the end.
    pub(super) fn places(&mut self, index: ValueId, n: usize) -> Made {
        let i = self.cast(index, DType::I32)?;
        let from_end = self.with(Binary::Add, i, n as f64)?;
        let negative = self.with(Binary::Lt, i, 0.0)?;
        self.select(negative, from_end, i)
    }

    /// The type in which elements are chosen: one whose sums the machine has.
    pub(super) fn choosing(d: DType) -> Option<DType> {
        match d {
            DType::F32 | DType::F16 | DType::BF16 => Some(DType::F32),
            DType::F64 | DType::U64 => None,
            _ => Some(DType::I32),
        }
    }

    /// `data [P, N, Q]` at `index [P or 1, M, Q or 1]` (in `0 .. N`) -> `[P, M, Q]`: a sum in which one
    /// term is not zero.
    fn chosen(&mut self, data: ValueId, index: ValueId) -> Result<Option<ValueId>, TypeError> {
        let (d, own) = (self.shape(data), self.dtype(data));
        let i = self.shape(index);
        let Some(wide) = Self::choosing(own) else { return Ok(None) };
        let count = [d[0], i[1], d[1], d[2]].iter().try_fold(1usize, |n, &k| n.checked_mul(k));
        if count.is_none_or(|n| n > MAX_ELEMENTS) {
            return Ok(None);
        }
        let data = self.cast(data, wide)?;
        let data = self.reshape(data, &[d[0], 1, d[1], d[2]])?;
        let index = self.reshape(index, &[i[0], i[1], 1, i[2]])?;
        let counter = self.counter(d[1], 4, 2);
        let is = self.binary(Binary::Eq, index, counter)?;
        let zero = self.number(wide, 0.0);
        let terms = self.select(is, data, zero)?;
        let y = self.reduce(Reduce::Sum, terms, 2, false)?;
        self.cast(y, own).map(Some)
    }

    pub(super) fn gather(&mut self, axis: usize, data: ValueId, index: ValueId) -> Result<Option<ValueId>, TypeError> {
        // A table by address, or a movement.
        if self.is_constant(index) || (axis == 0 && self.is_constant(data) && self.is_input(index)) {
            return Ok(None);
        }
        let (d, i) = (self.shape(data), self.shape(index));
        let (outer, inner) = (d[..axis].iter().product(), d[axis + 1..].iter().product());
        let places = self.places(index, d[axis])?;
        let places = self.reshape(places, &[1, i.iter().product(), 1])?;
        let flat = self.reshape(data, &[outer, d[axis], inner])?;
        let Some(y) = self.chosen(flat, places)? else { return Ok(None) };
        let shape: Vec<usize> = d[..axis].iter().chain(&i).chain(&d[axis + 1..]).copied().collect();
        self.reshape(y, &shape).map(Some)
    }

    pub(super) fn gather_elements(
        &mut self,
        axis: usize,
        data: ValueId,
        index: ValueId,
    ) -> Result<Option<ValueId>, TypeError> {
        let i = self.shape(index);
        let mut data = data;
        for (a, &n) in i.iter().enumerate() {
            if a != axis {
                data = self.part(data, a, 0, n)?;
            }
        }
        let d = self.shape(data);
        let (outer, inner): (usize, usize) = (d[..axis].iter().product(), d[axis + 1..].iter().product());
        let places = self.places(index, d[axis])?;
        let places = self.reshape(places, &[outer, i[axis], inner])?;
        let flat = self.reshape(data, &[outer, d[axis], inner])?;
        let Some(y) = self.chosen(flat, places)? else { return Ok(None) };
        self.reshape(y, &i).map(Some)
    }

    /// Index tuples (the last axis) as places in the axes that they name together, `[..]` as i32.
    pub(super) fn linear(&mut self, index: ValueId, extents: &[usize]) -> Made {
        let shape = self.shape(index);
        let last = shape.len() - 1;
        let mut sum: Option<ValueId> = None;
        let mut stride = 1usize;
        for (k, &n) in extents.iter().enumerate().rev() {
            let one = self.part(index, last, k, 1)?;
            let one = self.places(one, n)?;
            let scaled = if stride == 1 { one } else { self.with(Binary::Mul, one, stride as f64)? };
            sum = Some(match sum {
                None => scaled,
                Some(s) => self.binary(Binary::Add, s, scaled)?,
            });
            stride *= n;
        }
        match sum {
            Some(s) => self.reshape(s, &shape[..last]),
            None => {
                let zeros =
                    crate::ir::builder::splat(&crate::ir::TensorType::new(DType::I32, shape[..last].to_vec()), 0.0);
                Ok(self.constant(zeros))
            }
        }
    }

    pub(super) fn gather_nd(
        &mut self,
        batch: usize,
        data: ValueId,
        index: ValueId,
    ) -> Result<Option<ValueId>, TypeError> {
        let (d, i) = (self.shape(data), self.shape(index));
        let k = i[i.len() - 1];
        let named = &d[batch..batch + k];
        let places = self.linear(index, named)?;
        let (outer, n): (usize, usize) = (d[..batch].iter().product(), named.iter().product());
        let inner: usize = d[batch + k..].iter().product();
        let count: usize = i[batch..i.len() - 1].iter().product();
        let shape: Vec<usize> = i[..i.len() - 1].iter().chain(&d[batch + k..]).copied().collect();
        if outer == 1 && self.is_constant(places) {
            let flat = self.reshape(data, &[n, inner])?;
            let places = self.reshape(places, &[count])?;
            let y = self.op(Op::Gather { axis: 0 }, &[flat, places])?;
            return self.reshape(y, &shape).map(Some);
        }
        let flat = self.reshape(data, &[outer, n, inner])?;
        let places = self.reshape(places, &[outer, count, 1])?;
        let Some(y) = self.chosen(flat, places)? else { return Ok(None) };
        self.reshape(y, &shape).map(Some)
    }
}
