//! Places of the largest elements, by comparing all with all.

use super::MAX_ELEMENTS;
use super::build::{Builder, Made};
use crate::ir::{Binary, DType, Reduce, TypeError, ValueId};

impl Builder<'_> {
    /// The place of an extreme: the first (or last) of those equal to it.
    pub(super) fn arg_reduce(&mut self, max: bool, axis: usize, keep: bool, last: bool, x: ValueId) -> Made {
        let shape = self.shape(x);
        let extreme = self.reduce(if max { Reduce::Max } else { Reduce::Min }, x, axis, true)?;
        let is = self.binary(Binary::Eq, x, extreme)?;
        let places = self.counter(shape[axis], shape.len(), axis);
        let other = self.number(DType::I32, if last { -1.0 } else { shape[axis] as f64 });
        let chosen = self.select(is, places, other)?;
        let at = self.reduce(if last { Reduce::Max } else { Reduce::Min }, chosen, axis, keep)?;
        self.cast(at, DType::I64)
    }

    /// An element's rank is the number of those that come before it.
    pub(super) fn top_k(
        &mut self,
        k: usize,
        axis: usize,
        largest: bool,
        indices: bool,
        x: ValueId,
    ) -> Result<Option<ValueId>, TypeError> {
        let shape = self.shape(x);
        let (n, rank) = (shape[axis], shape.len());
        if !matches!(self.dtype(x), DType::F32 | DType::I32) || self.ty(x).elements().saturating_mul(n) > MAX_ELEMENTS {
            return Ok(None);
        }
        // [..., n] with the axis last.
        let mut perm: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
        perm.push(axis);
        let t = self.transpose(x, &perm)?;
        let outer: usize = shape.iter().product::<usize>() / n;
        let own = self.reshape(t, &[outer, n, 1])?;
        let others = self.reshape(t, &[outer, 1, n])?;
        let before = self.binary(if largest { Binary::Gt } else { Binary::Lt }, others, own)?;
        let equal = self.binary(Binary::Eq, others, own)?;
        let (i, j) = (self.counter(n, 3, 1), self.counter(n, 3, 2));
        let earlier = self.binary(Binary::Lt, j, i)?;
        let equal = self.binary(Binary::And, equal, earlier)?;
        let before = self.binary(Binary::Or, before, equal)?;
        let before = self.cast(before, DType::I32)?;
        let place = self.reduce(Reduce::Sum, before, 2, true)?;
        let wanted = self.counter(k, 3, 2);
        let is = self.binary(Binary::Eq, place, wanted)?;
        let from = if indices { i } else { own };
        let zero = self.number(self.dtype(from), 0.0);
        let chosen = self.select(is, from, zero)?;
        let y = self.reduce(Reduce::Sum, chosen, 1, false)?;
        let mut moved: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
        moved[rank - 1] = k;
        let y = self.reshape(y, &moved)?;
        let mut back = vec![0; rank];
        perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        let y = self.transpose(y, &back)?;
        if indices { self.cast(y, DType::I64).map(Some) } else { Ok(Some(y)) }
    }
}
