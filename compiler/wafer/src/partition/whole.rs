//! Which casts change nothing: the lane of f32 holds small integers as they are, so what is known
//! to be whole and in range can be seen as an integer, and an integer as a float.
//!
//! Quantised models round, clamp and cast at every edge; seen this way, that is elementwise work.

use super::Partitioner;
use crate::lane::{lane, range_of};
use quadrille_compiler::ir::{Binary, DType, Node, Op, Unary, ValueDef, ValueId};
use quadrille_isa::wafer::ElemType;

/// Nodes looked through for the bounds of a value.
const DEPTH: usize = 8;

impl Partitioner<'_> {
    /// True when a cast leaves every element in the lane as it is.
    pub(super) fn cast_is_view(&self, node: &Node, to: DType) -> bool {
        let from = self.g.ty(node.inputs[0]).dtype;
        if lane(from) != Some(ElemType::F32) || lane(to) != Some(ElemType::F32) {
            return false;
        }
        // `bool` is nothing but 0 and 1: only they stay.
        let fits = |(lo, hi): (f64, f64)| match to {
            DType::F32 => true,
            // Eleven bits.
            DType::F16 => lo >= -2048.0 && hi <= 2048.0,
            _ => range_of(to).is_some_and(|(a, b)| lo >= a as f64 && hi <= b as f64),
        };
        from == DType::F16 && to == DType::F32 || self.whole(node.inputs[0], DEPTH).is_some_and(fits)
    }

    /// Bounds of a value whose elements are all whole numbers; infinite where there is none.
    fn whole(&self, v: ValueId, depth: usize) -> Option<(f64, f64)> {
        let of_type = range_of(self.g.ty(v).dtype).map(|(lo, hi)| (lo as f64, hi as f64));
        if of_type.is_some() || depth == 0 {
            return of_type;
        }
        let value = self.g.value(v);
        if let ValueDef::Const(t) = &value.def {
            let values = t.as_f32()?;
            let whole = values.iter().all(|x| x.fract() == 0.0);
            let bounds = values
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &x| (lo.min(f64::from(x)), hi.max(f64::from(x))));
            return (whole && !values.is_empty()).then_some(bounds);
        }
        let node = self.g.producer(v)?;
        let of = |i: usize| self.whole(node.inputs[i], depth - 1);
        match &node.op {
            Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil) => Some((f64::NEG_INFINITY, f64::INFINITY)),
            Op::Cast(_) | Op::Reshape { .. } | Op::Transpose { .. } => of(0),
            Op::Unary(Unary::Relu) => of(0).map(|(lo, hi)| (lo.max(0.0), hi.max(0.0))),
            Op::Binary(b) => {
                let (x, y) = (of(0)?, of(1)?);
                match b {
                    Binary::Add => Some((x.0 + y.0, x.1 + y.1)),
                    Binary::Max => Some((x.0.max(y.0), x.1.max(y.1))),
                    Binary::Min => Some((x.0.min(y.0), x.1.min(y.1))),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
