//! Primitives that no machine has, said with primitives that one has.
//!
//! A machine of fixed schedules cannot let data choose an address, so indices that are computed become
//! compares with a counter: `x[i]` is the sum over j of `j == i ? x[j] : 0`. Elements that an ALU cannot
//! compute with (f16 and bf16 here, unsigned 16 and 32 bits) are widened around each operation, as
//! the oracle does. A graph that needs none of this comes back as it is.
//!
//! Every rule goes from tensor graph to tensor graph, so that the oracle judges it: the tests
//! evaluate both sides. Integers of 64 bits that are indices are computed with in 32; none that
//! names an element is larger. Knows no machine's lanes, slices or cycles.

mod build;
mod conv;
mod conv_transpose;
mod index;
mod integer;
mod narrow;
mod norm;
mod pad;
mod products;
mod rank;
mod scan;
mod scatter;
#[cfg(test)]
mod tests;

use crate::ir::{Graph, Op, TypeError, ValueId};
use build::Builder;
pub use norm::without_norms;
pub use pad::taken_over;
pub use products::exact_products;

/// Elements that a rule may make at most where it compares everything with everything.
const MAX_ELEMENTS: usize = 1 << 22;

/// A graph that means the same.
#[derive(Clone, Debug)]
pub struct Legal {
    /// The new graph; what no output needs may still be in it.
    pub graph: Graph,
    /// For each node of the new graph the number of the old node that it serves.
    pub from: Vec<usize>,
}

/// Rewrites what `Builder::rule` has a rule for.
///
/// Errors: a rule made something ill-typed, which is a bug of the rule.
pub fn legalize(graph: &Graph) -> Result<Legal, TypeError> {
    let mut b = Builder::new(graph);
    for (number, node) in graph.nodes().iter().enumerate() {
        b.start(number, node);
        let inputs = b.inputs(node);
        let v = b.op(node.op.clone(), &inputs)?;
        b.stands_for(node.output, v);
    }
    Ok(b.finish())
}

impl Builder<'_> {
    /// The operation in other words, or `None` where it is left as it is.
    fn rule(&mut self, op: &Op, x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        if let Some(v) = self.without_empty(op, x)? {
            return Ok(Some(v));
        }
        if let Some(v) = self.widened(op, x)? {
            return Ok(Some(v));
        }
        match op {
            Op::Binary(b) => self.integer(*b, x[0], x[1]),
            Op::Conv { window, groups, epilogue } => self.conv(window, *groups, epilogue, x),
            Op::ConvTranspose { window, groups, extra } => self.conv_transpose(window, *groups, extra, x),
            Op::ArgReduce { max, axis, keep, last } => self.arg_reduce(*max, *axis, *keep, *last, x[0]).map(Some),
            Op::TopKValues { k, axis, largest } => self.top_k(*k, *axis, *largest, false, x[0]),
            Op::TopKIndices { k, axis, largest } => self.top_k(*k, *axis, *largest, true, x[0]),
            Op::Norm { axes, centered, epsilon } => self.norm(axes, *centered, *epsilon, x[0]),
            Op::CumSum { axis, exclusive, reverse } => self.cumsum(*axis, *exclusive, *reverse, x[0]).map(Some),
            Op::Gather { axis } => self.gather(*axis, x[0], x[1]),
            Op::GatherElements { axis } => self.gather_elements(*axis, x[0], x[1]),
            Op::GatherNd { batch_dims } => self.gather_nd(*batch_dims, x[0], x[1]),
            Op::ScatterElements { axis, mode } => self.scatter_elements(*axis, *mode, x),
            Op::ScatterNd { mode } => self.scatter_nd(*mode, x),
            Op::Pad { mode, before, after } => self.pad(*mode, before, after, x),
            _ => Ok(None),
        }
    }

    /// Tensors without elements are constants, whatever made them; a concatenation is one without them.
    fn without_empty(&mut self, op: &Op, x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        if !x.iter().any(|&v| self.ty(v).elements() == 0) {
            return Ok(None);
        }
        if let Op::Concat { axis } = op {
            let full: Vec<ValueId> = x.iter().copied().filter(|&v| self.ty(v).elements() > 0).collect();
            return match full.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                _ => self.op(Op::Concat { axis: *axis }, &full).map(Some),
            };
        }
        Ok(None)
    }
}
