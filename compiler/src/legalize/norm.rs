//! Norms in other words: the chain of primitives whose bits they have.

use super::Legal;
use super::build::{Builder, Made};
use crate::ir::{Binary, DType, Graph, Op, Reduce, TypeError, Unary, ValueId};

impl Builder<'_> {
    /// A norm along more than the innermost axis, which no machine has a mapping for.
    pub(super) fn norm(
        &mut self,
        axes: &[usize],
        centered: bool,
        epsilon: u32,
        x: ValueId,
    ) -> Result<Option<ValueId>, TypeError> {
        let innermost = self.shape(x).len() - 1;
        if *axes == [innermost] { Ok(None) } else { self.spelled_out(axes, centered, epsilon, x).map(Some) }
    }

    fn spelled_out(&mut self, axes: &[usize], centered: bool, epsilon: u32, x: ValueId) -> Made {
        let dtype = self.dtype(x);
        let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
        let x = self.cast(x, wide)?;
        let mean = || Op::Reduce { kind: Reduce::Mean, axes: axes.to_vec(), keep: true };
        let d = if centered {
            let m = self.op(mean(), &[x])?;
            self.binary(Binary::Sub, x, m)?
        } else {
            x
        };
        let square = self.binary(Binary::Mul, d, d)?;
        let v = self.op(mean(), &[square])?;
        let e = self.number(wide, f64::from(f32::from_bits(epsilon)));
        let v = self.binary(Binary::Add, v, e)?;
        let r = self.unary(Unary::Rsqrt, v)?;
        let y = self.binary(Binary::Mul, d, r)?;
        self.cast(y, dtype)
    }
}

/// The graph with its norms spelled out, for a machine that has no mapping of them.
///
/// Errors: a norm is ill-typed.
pub fn without_norms(graph: &Graph) -> Result<Legal, TypeError> {
    let mut b = Builder::as_it_is(graph);
    for (number, node) in graph.nodes().iter().enumerate() {
        b.start(number, node);
        let inputs = b.inputs(node);
        let v = match &node.op {
            Op::Norm { axes, centered, epsilon } => b.spelled_out(axes, *centered, *epsilon, inputs[0])?,
            op => b.raw(op.clone(), &inputs)?,
        };
        b.stands_for(node.output, v);
    }
    Ok(b.finish())
}
