//! Scatters: every place looks for the updates that name it.
//!
//! Of several updates of one place the last counts; sums and products of several are in no
//! particular order.

use super::MAX_ELEMENTS;
use super::build::Builder;
use crate::ir::{Binary, DType, Op, Reduce, ScatterMode, TypeError, ValueId};

impl Builder<'_> {
    /// `data [P, N, Q]`, `index [P, M, Q or 1]` plus one (0 names nothing), `updates [P, M, Q]`.
    fn scattered(
        &mut self,
        mode: ScatterMode,
        data: ValueId,
        index: ValueId,
        updates: ValueId,
    ) -> Result<Option<ValueId>, TypeError> {
        let (d, i, own) = (self.shape(data), self.shape(index), self.dtype(data));
        let count = [d[0], i[1], d[1], d[2]].iter().try_fold(1usize, |n, &k| n.checked_mul(k));
        let Some(wide) = Self::choosing(own).filter(|_| count.is_some_and(|n| n <= MAX_ELEMENTS)) else {
            return Ok(None);
        };
        let logical = own == DType::Bool && !matches!(mode, ScatterMode::Replace);
        // Bits of more than 31 have another order in i32, sums of 64-bit integers may not fit.
        if logical || (!matches!(mode, ScatterMode::Replace) && matches!(own, DType::U32 | DType::I64)) {
            return Ok(None);
        }
        let data = self.cast(data, wide)?;
        let updates = self.cast(updates, wide)?;
        let updates = self.reshape(updates, &[d[0], 1, i[1], d[2]])?;
        let index = self.reshape(index, &[i[0], 1, i[1], i[2]])?;
        let places = self.counter(d[1], 4, 1);
        let places = self.with(Binary::Add, places, 1.0)?;
        let is = self.binary(Binary::Eq, index, places)?;
        let neutral = match mode {
            ScatterMode::Replace | ScatterMode::Add => 0.0,
            ScatterMode::Mul => 1.0,
            ScatterMode::Max => {
                if wide == DType::F32 {
                    f64::NEG_INFINITY
                } else {
                    f64::from(i32::MIN)
                }
            }
            ScatterMode::Min => {
                if wide == DType::F32 {
                    f64::INFINITY
                } else {
                    f64::from(i32::MAX)
                }
            }
        };
        let neutral = self.number(wide, neutral);
        let y = if mode == ScatterMode::Replace {
            let numbers = self.counter(i[1], 4, 2);
            let numbers = self.with(Binary::Add, numbers, 1.0)?;
            let nothing = self.number(DType::I32, 0.0);
            let named = self.select(is, numbers, nothing)?;
            let last = self.reduce(Reduce::Max, named, 2, true)?;
            let is = self.binary(Binary::Eq, last, numbers)?;
            let terms = self.select(is, updates, neutral)?;
            let value = self.reduce(Reduce::Sum, terms, 2, false)?;
            let hit = self.with(Binary::Gt, last, 0.0)?;
            let hit = self.reshape(hit, &[i[0], d[1], i[2]])?;
            self.select(hit, value, data)?
        } else {
            let terms = self.select(is, updates, neutral)?;
            let (reduce, join) = match mode {
                ScatterMode::Mul => (Reduce::Prod, Binary::Mul),
                ScatterMode::Max => (Reduce::Max, Binary::Max),
                ScatterMode::Min => (Reduce::Min, Binary::Min),
                _ => (Reduce::Sum, Binary::Add),
            };
            let all = self.reduce(reduce, terms, 2, false)?;
            self.binary(join, data, all)?
        };
        self.cast(y, own).map(Some)
    }

    pub(super) fn scatter_elements(
        &mut self,
        axis: usize,
        mode: ScatterMode,
        x: &[ValueId],
    ) -> Result<Option<ValueId>, TypeError> {
        let (d, i) = (self.shape(x[0]), self.shape(x[1]));
        let (outer, inner): (usize, usize) = (d[..axis].iter().product(), d[axis + 1..].iter().product());
        let places = self.places(x[1], d[axis])?;
        let mut index = self.with(Binary::Add, places, 1.0)?;
        let mut updates = x[2];
        // The other axes may be shorter; what is missing names nothing.
        let after: Vec<isize> = (0..d.len()).map(|a| if a == axis { 0 } else { (d[a] - i[a]) as isize }).collect();
        index = self.zeros_around(index, vec![0; d.len()], after.clone())?;
        updates = self.zeros_around(updates, vec![0; d.len()], after)?;
        let data = self.reshape(x[0], &[outer, d[axis], inner])?;
        let index = self.reshape(index, &[outer, i[axis], inner])?;
        let updates = self.reshape(updates, &[outer, i[axis], inner])?;
        let Some(y) = self.scattered(mode, data, index, updates)? else { return Ok(None) };
        self.reshape(y, &d).map(Some)
    }

    pub(super) fn scatter_nd(&mut self, mode: ScatterMode, x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        let (d, i) = (self.shape(x[0]), self.shape(x[1]));
        let k = i[i.len() - 1];
        let (n, inner): (usize, usize) = (d[..k].iter().product(), d[k..].iter().product());
        let count: usize = i[..i.len() - 1].iter().product();
        let places = self.linear(x[1], &d[..k])?;
        let index = self.with(Binary::Add, places, 1.0)?;
        let index = self.reshape(index, &[1, count, 1])?;
        let data = self.reshape(x[0], &[1, n, inner])?;
        let updates = self.reshape(x[2], &[1, count, inner])?;
        let Some(y) = self.scattered(mode, data, index, updates)? else { return Ok(None) };
        self.op(Op::Reshape { shape: d }, &[y]).map(Some)
    }
}
