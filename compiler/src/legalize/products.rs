//! Products of whole numbers on a machine that multiplies f16 and sums in f32: exact while no sum leaves 24 bits.

use super::Legal;
use super::build::{Builder, Made};
use crate::ir::{Binary, DType, Graph, Op, TypeError, ValueId};

/// Whole numbers up to here are f16.
const F16_WHOLE: f64 = 2048.0;
/// And up to here f32.
const F32_WHOLE: f64 = 16_777_216.0;
/// Parts of a sum.
const MAX_PARTS: usize = 16;

impl Builder<'_> {
    /// `a` times the constant `w` in floats, in so few parts along their common axis that each sum is exact.
    fn in_floats(&mut self, a: ValueId, w: ValueId, parts: usize) -> Made {
        let (rank_a, rank_w) = (self.shape(a).len(), self.shape(w).len());
        let k = self.shape(a)[rank_a - 1];
        let (af, wf) = (self.cast(a, DType::F32)?, self.float_constant(w)?);
        let mut sum = None;
        for p in 0..parts {
            let (start, end) = (k * p / parts, k * (p + 1) / parts);
            let x = self.part(af, rank_a - 1, start, end - start)?;
            let y = self.constant_part(wf, rank_w - 2, start, end - start)?;
            let y = self.op(Op::MatMul { epilogue: Vec::new() }, &[x, y])?;
            let y = self.cast(y, DType::I32)?;
            sum = Some(match sum {
                None => y,
                Some(s) => self.binary(Binary::Add, s, y)?,
            });
        }
        Ok(sum.unwrap_or(a))
    }
}

/// The graph with products of bounded i32 and constants said in floats. `largest` gives the largest absolute value of
/// an i32 value where it is known; sums that f32 would not hold are cut.
///
/// Errors: a product is ill-typed.
pub fn exact_products(graph: &Graph, largest: &dyn Fn(ValueId) -> Option<f64>) -> Result<Legal, TypeError> {
    let mut b = Builder::as_it_is(graph);
    for (number, node) in graph.nodes().iter().enumerate() {
        b.start(number, node);
        let x = b.inputs(node);
        let v = match &node.op {
            Op::MatMul { epilogue } if epilogue.is_empty() => {
                let parts = parts(graph, node.inputs[0], node.inputs[1], largest);
                match parts {
                    Some(n) => b.in_floats(x[0], x[1], n)?,
                    None => b.raw(node.op.clone(), &x)?,
                }
            }
            op => b.raw(op.clone(), &x)?,
        };
        b.stands_for(node.output, v);
    }
    Ok(b.finish())
}

/// Into how many parts the sums of a product go; `None` where it is to stay as it is.
fn parts(g: &Graph, a: ValueId, w: ValueId, largest: &dyn Fn(ValueId) -> Option<f64>) -> Option<usize> {
    let i32s = g.ty(a).dtype == DType::I32 && g.ty(w).dtype == DType::I32;
    let k = g.shape(a).last().copied().filter(|&k| k > 0 && i32s && g.shape(w).len() >= 2)?;
    g.constant(w)?;
    let (x, y) = (largest(a)?, largest(w)?);
    if x > F16_WHOLE || y > F16_WHOLE {
        return None;
    }
    let each = (F32_WHOLE / (x * y).max(1.0)) as usize;
    let n = k.div_ceil(each.min(k).max(1));
    (n <= MAX_PARTS && k.div_ceil(n) as f64 * x * y <= F32_WHOLE).then_some(n)
}
