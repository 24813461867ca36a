//! Element types that are stored but not computed with: each operation in a wider type, rounded
//! or wrapped once, as the oracle does.

use super::build::Builder;
use crate::ir::{Binary, DType, Op, Pool, TypeError, Unary, ValueId};

/// True for operations that move elements and compute nothing.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Cast(_)
            | Op::Select
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherNd { .. }
            | Op::ScatterElements { .. }
            | Op::ScatterNd { .. }
    )
}

impl Builder<'_> {
    /// The operation in a wider type, if its own cannot be computed with.
    pub(super) fn widened(&mut self, op: &Op, x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        if moves(op) {
            return Ok(None);
        }
        let d = self.dtype(x[0]);
        let wide = match (d, op) {
            (DType::F16 | DType::BF16, _) => DType::F32,
            (DType::U32, _) => return self.unsigned(op, x),
            (DType::U16, _) => DType::I32,
            // Machines compare bytes as they are, four times as many at once.
            (DType::I8 | DType::U8, Op::Pool { kind: Pool::Max, .. }) => return Ok(None),
            // Exact in f32, and there is one kernel for all.
            (DType::I8 | DType::U8 | DType::I16, Op::Pool { .. } | Op::ArgReduce { .. }) => DType::F32,
            (DType::Bool, Op::Reduce { .. } | Op::ArgReduce { .. } | Op::Binary(Binary::Lt | Binary::Gt)) => DType::I32,
            // Counts of a shift beyond the width are told apart in the widest type.
            (DType::I8 | DType::U8 | DType::I16, Op::Binary(Binary::Shl | Binary::Shr)) => DType::I32,
            (DType::I8 | DType::U8 | DType::I16, Op::Reduce { .. } | Op::CumSum { .. }) => DType::I32,
            (DType::I8 | DType::U8 | DType::I16, Op::TopKValues { .. } | Op::TopKIndices { .. }) => DType::I32,
            _ => return Ok(None),
        };
        // An operation on mixed integers keeps them.
        if x.iter().any(|&v| self.dtype(v) != d) {
            return Ok(None);
        }
        let types: Vec<_> = x.iter().map(|&v| self.ty(v)).collect();
        let out = op.result_type(&types)?.dtype;
        let args = x.iter().map(|&v| self.cast(v, wide)).collect::<Result<Vec<_>, _>>()?;
        let y = self.op(op.clone(), &args)?;
        self.cast(y, out).map(Some)
    }

    /// Operations on u32 by those on i32. Sums, products and bits are the same.
    fn unsigned(&mut self, op: &Op, x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        let same = |b: &Binary| {
            matches!(
                b,
                Binary::Add
                    | Binary::Sub
                    | Binary::Mul
                    | Binary::And
                    | Binary::Or
                    | Binary::Xor
                    | Binary::Shl
                    | Binary::Eq
            )
        };
        match op {
            Op::Unary(Unary::Not) => {
                let y = self.cast(x[0], DType::I32)?;
                let y = self.unary(Unary::Not, y)?;
                self.cast(y, DType::U32).map(Some)
            }
            Op::Binary(b) if same(b) => {
                let (a, c) = (self.cast(x[0], DType::I32)?, self.cast(x[1], DType::I32)?);
                let y = self.binary(*b, a, c)?;
                if b.is_compare() { Ok(Some(y)) } else { self.cast(y, DType::U32).map(Some) }
            }
            Op::Binary(b) if b.is_compare() => {
                let (a, c) = (self.ordered(x[0])?, self.ordered(x[1])?);
                self.binary(*b, a, c).map(Some)
            }
            Op::Binary(b @ (Binary::Max | Binary::Min)) => {
                let (a, c) = (self.ordered(x[0])?, self.ordered(x[1])?);
                let y = self.binary(*b, a, c)?;
                let y = self.with(Binary::Xor, y, f64::from(i32::MIN))?;
                self.cast(y, DType::U32).map(Some)
            }
            Op::Binary(Binary::Shr) => {
                let (a, n) = (self.cast(x[0], DType::I32)?, self.cast(x[1], DType::I32)?);
                let y = self.logical_shift(a, n)?;
                self.cast(y, DType::U32).map(Some)
            }
            Op::Binary(b @ (Binary::Div | Binary::Mod | Binary::Rem)) => {
                let (a, c) = (self.cast(x[0], DType::I32)?, self.cast(x[1], DType::I32)?);
                let q = self.unsigned_quotient(a, c)?;
                let y = match b {
                    Binary::Div => q,
                    _ => {
                        let p = self.binary(Binary::Mul, q, c)?;
                        let r = self.binary(Binary::Sub, a, p)?;
                        self.zero_where_zero(c, r)?
                    }
                };
                self.cast(y, DType::U32).map(Some)
            }
            Op::ArgReduce { .. } => {
                let y = self.ordered(x[0])?;
                self.op(op.clone(), &[y]).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// u32 as the i32 of the same order.
    fn ordered(&mut self, x: ValueId) -> Result<ValueId, TypeError> {
        let y = self.cast(x, DType::I32)?;
        self.with(Binary::Xor, y, f64::from(i32::MIN))
    }
}
