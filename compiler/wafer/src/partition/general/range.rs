//! What is known of the integers of a graph without running it: smallest and largest value.
//!
//! A lane holds 32 bits, so 64-bit results need a bound, and a product of i32 needs one to be
//! exact in f32. Knows the graph; knows nothing of the mesh.

use crate::lane::{integers, range_of};
use quadrille_compiler::ir::{Binary, DType, Graph, Node, Op, Reduce, Unary, ValueDef};

/// Smallest and largest value.
pub(crate) type Range = (i64, i64);

/// Bounds of every value of integer or `bool` type that follow from constants, types and
/// operations; `None` where nothing is known that fits 32 bits.
pub(crate) fn ranges(g: &Graph) -> Vec<Option<Range>> {
    let mut out: Vec<Option<Range>> = Vec::with_capacity(g.values().len());
    for v in g.values() {
        let d = v.ty.dtype;
        let r = match &v.def {
            ValueDef::Const(t) => integers(t).and_then(|v| Some((*v.iter().min()?, *v.iter().max()?))),
            // A run refuses an input that its lane does not hold.
            ValueDef::Input(_) if d == DType::I64 => Some((i32::MIN.into(), i32::MAX.into())),
            ValueDef::Input(_) => None,
            ValueDef::Node(n) => of_node(g, g.node(*n), &out),
        };
        let of_type = range_of(d);
        // What leaves its type wraps: then only the type is known.
        let inside = |(lo, hi): &Range| of_type.is_none_or(|(a, b)| *lo >= a && *hi <= b);
        let words = |(lo, hi): &Range| *lo >= i32::MIN.into() && *hi <= i32::MAX.into();
        let unsigned = matches!(d, DType::U32 | DType::U64);
        let r = r.filter(inside).filter(words).filter(|(lo, _)| !unsigned || *lo >= 0);
        out.push(if d.is_float() { None } else { r.or(of_type) });
    }
    out
}

fn hull(a: Range, b: Range) -> Range {
    (a.0.min(b.0), a.1.max(b.1))
}

fn of_node(g: &Graph, n: &Node, known: &[Option<Range>]) -> Option<Range> {
    let at = |i: usize| known[n.inputs[i].0 as usize];
    match &n.op {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. } => at(0),
        Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. } => at(0),
        Op::TopKValues { .. } => at(0),
        Op::Cast(_) if !g.ty(n.inputs[0]).dtype.is_float() => at(0),
        Op::Pad { .. } => (0..n.inputs.len()).map(at).reduce(|a, b| Some(hull(a?, b?)))?,
        Op::Concat { .. } => (0..n.inputs.len()).map(at).reduce(|a, b| Some(hull(a?, b?)))?,
        Op::Select => Some(hull(at(1)?, at(2)?)),
        Op::Reduce { kind: Reduce::Max | Reduce::Min, .. } => at(0),
        Op::Reduce { kind: Reduce::Sum, .. } => {
            let n_out = g.ty(n.output).elements().max(1);
            let count = (g.ty(n.inputs[0]).elements() / n_out) as i64;
            let (lo, hi) = at(0)?;
            Some((lo.checked_mul(count)?, hi.checked_mul(count)?))
        }
        Op::ArgReduce { axis, .. } | Op::TopKIndices { axis, .. } => {
            Some((0, g.shape(n.inputs[0])[*axis].saturating_sub(1) as i64))
        }
        Op::Unary(Unary::Relu) => at(0).map(|(lo, hi)| (lo.max(0), hi.max(0))),
        Op::Unary(Unary::Neg) => at(0).map(|(lo, hi)| (-hi, -lo)),
        Op::Unary(Unary::Sign) => Some((-1, 1)),
        Op::Binary(b) => {
            let ((a, b0), (c, d)) = (at(0)?, at(1)?);
            match b {
                Binary::Add => Some((a.checked_add(c)?, b0.checked_add(d)?)),
                Binary::Sub => Some((a.checked_sub(d)?, b0.checked_sub(c)?)),
                Binary::Mul => {
                    let p = [a.checked_mul(c)?, a.checked_mul(d)?, b0.checked_mul(c)?, b0.checked_mul(d)?];
                    Some((*p.iter().min()?, *p.iter().max()?))
                }
                Binary::Max => Some((a.max(c), b0.max(d))),
                Binary::Min => Some((a.min(c), b0.min(d))),
                Binary::Div => {
                    let most = a.abs().max(b0.abs());
                    Some((-most, most))
                }
                Binary::Mod | Binary::Rem => {
                    let most = c.abs().max(d.abs());
                    Some((-most, most))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
