//! Type rules: the type of a result, or why the operands do not fit.
//!
//! What these rules let through, the oracle computes without a panic; an importer or a rewrite
//! that makes something else hears of it when the node is added.

mod elementwise;
mod index;
mod linear;
mod shape;

use super::Op;
use crate::ir::{TensorType, TypeError};

/// Bound on the bytes of a tensor, an empty one's other extents included: no product of extents
/// that a kernel forms can overflow.
pub const MAX_BYTES: usize = 1 << 48;

/// Result of numpy broadcasting, or `None` when the shapes do not agree.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// The operands of one operation while its rule runs.
struct Operands<'a> {
    op: &'a Op,
    types: &'a [&'a TensorType],
}

impl<'a> Operands<'a> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, TypeError> {
        Err(TypeError { op: self.op.name().to_string(), reason: reason.into() })
    }

    /// Exactly `N` operands.
    fn take<const N: usize>(&self) -> Result<[&'a TensorType; N], TypeError> {
        match self.types.try_into() {
            Ok(types) => Ok(types),
            Err(_) => self.fail(format!("takes {N} operands, got {}", self.types.len())),
        }
    }

    fn axis(&self, axis: usize, t: &TensorType) -> Result<(), TypeError> {
        if axis < t.rank() { Ok(()) } else { self.fail(format!("axis {axis} is out of range for {t}")) }
    }

    fn numeric(&self, t: &TensorType) -> Result<(), TypeError> {
        if t.dtype.is_float() || t.dtype.is_int() { Ok(()) } else { self.fail(format!("is not defined for {t}")) }
    }

    /// Numbers and `bool`: what has an order and an equality. Narrow types are only moved and cast.
    fn computable(&self, t: &TensorType) -> Result<(), TypeError> {
        if t.dtype.is_narrow() { self.fail(format!("is not defined for {t}; cast it to a wider type")) } else { Ok(()) }
    }

    fn float(&self, t: &TensorType) -> Result<(), TypeError> {
        if t.dtype.is_float() { Ok(()) } else { self.fail(format!("is defined for floats only, got {t}")) }
    }

    fn same_dtype(&self, a: &TensorType, b: &TensorType) -> Result<(), TypeError> {
        if a.dtype == b.dtype { Ok(()) } else { self.fail(format!("operand types differ: {a} and {b}")) }
    }
}

impl Op {
    /// Type of the result for operand types, or why they do not fit.
    pub fn result_type(&self, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
        let operands = Operands { op: self, types: inputs };
        let ty = match self {
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_) | Op::BitCast(_) => {
                elementwise::rule(&operands)
            }
            Op::MatMul { .. } | Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Pool { .. } => linear::rule(&operands),
            Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::CumSum { .. }
            | Op::Softmax { .. }
            | Op::Norm { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Broadcast { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Pad { .. } => shape::rule(&operands),
            Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherNd { .. }
            | Op::ScatterElements { .. }
            | Op::ScatterNd { .. }
            | Op::TopKValues { .. }
            | Op::TopKIndices { .. } => index::rule(&operands),
        }?;
        if ty.fits() { Ok(ty) } else { operands.fail(format!("the result {ty} is too large")) }
    }
}
