//! Which program an operation of the tensor graph becomes.

use super::super::Obstacle;
use super::asm::{A, Asm, T};
use super::range::Range;
use quadrille_compiler::ir::{DType, Op};
use quadrille_isa::wafer::PeOp;

/// The result of `op` on the slices of its operands. `ranges` are those of the operands, then of
/// the result.
pub(super) fn lower(
    asm: &mut Asm,
    op: &Op,
    x: &[T],
    out: &[usize],
    dtype: DType,
    ranges: &[Option<Range>],
) -> Result<T, Obstacle> {
    let last = ranges.last().copied().flatten();
    let t = match op {
        Op::Unary(u) => asm.unary(*u, &x[0])?,
        Op::Binary(b) => asm.binary(*b, &x[0], &x[1], out, [ranges[0], ranges[1], last])?,
        Op::Fma => asm.make(dtype, out, PeOp::Fma, &[A::T(&x[0]), A::T(&x[1]), A::T(&x[2])]),
        Op::Select => asm.select(&x[0], &x[1], &x[2], out),
        Op::Cast(to) => asm.cast(&x[0], *to, ranges[0])?,
        // Lanes hold numbers, not the bits of the model's types.
        Op::BitCast(_) => {
            return Err(Obstacle::new("no program reads bits as another type", "compute it outside the model"));
        }
        Op::Norm { .. } => {
            return Err(Obstacle::new("a norm is no primitive here", "spell it out; `compile` does"));
        }
        Op::Reshape { .. } => {
            let d = asm.dense(&x[0], &x[0].dims.clone());
            d.reshaped(out)
        }
        Op::Broadcast { .. } => asm.dense(&x[0].broadcast(out), out),
        Op::Slice { start, step, shape } => {
            // Axes that rounds run over are whole.
            let mut shape = shape.clone();
            for a in 0..shape.len() {
                if x[0].dims[a] == 1 && out[a] == 1 {
                    shape[a] = 1;
                }
            }
            asm.slice(&x[0], start, step, &shape)
        }
        Op::Concat { axis } => asm.concat(x, *axis, out),
        Op::Pad { mode, before, after } => asm.pad(&x[0], *mode, before, after, x.get(1)),
        Op::Reduce { kind, axes, .. } => asm.reduce(*kind, &x[0], axes, last)?,
        Op::ArgReduce { max, axis, last, .. } => asm.arg_reduce(&x[0], *axis, *max, *last),
        Op::TopKValues { k, axis, largest } => asm.top_k(&x[0], *axis, *k, *largest, false)?,
        Op::TopKIndices { k, axis, largest } => asm.top_k(&x[0], *axis, *k, *largest, true)?,
        Op::CumSum { axis, exclusive, reverse } => asm.cumsum(&x[0], *axis, *exclusive, *reverse)?,
        Op::Softmax { axis } => asm.softmax(&x[0], *axis),
        Op::MatMul { epilogue } => {
            let sum = asm.matmul(&x[0], &x[1], out, ranges)?;
            asm.epilogue(sum, epilogue, &x[2..], out)?
        }
        Op::Conv { window, groups, epilogue } => {
            let sum = asm.conv(&x[0], &x[1], window, *groups, out, ranges)?;
            asm.epilogue(sum, epilogue, &x[2..], out)?
        }
        Op::ConvTranspose { window, groups, extra } => asm.conv_transpose(&x[0], &x[1], window, *groups, extra, out)?,
        Op::Pool { kind, window } => asm.pool(&x[0], *kind, window, out),
        Op::Gather { axis } => asm.gather(&x[0], &x[1], *axis),
        Op::GatherElements { axis } => asm.gather_elements(&x[0], &x[1], *axis),
        Op::GatherNd { batch_dims } => asm.gather_nd(&x[0], &x[1], *batch_dims, out),
        Op::ScatterElements { axis, mode } => asm.scatter_elements(&x[0], &x[1], &x[2], *axis, *mode)?,
        Op::ScatterNd { mode } => asm.scatter_nd(&x[0], &x[1], &x[2], *mode)?,
        Op::Transpose { perm } => {
            let mut t = x[0].clone();
            t.dims = perm.iter().map(|&p| x[0].dims[p]).collect();
            t.view.strides = perm.iter().map(|&p| x[0].view.strides[p]).collect();
            asm.dense(&t, out)
        }
    };
    debug_assert_eq!(t.len(), out.iter().product::<usize>());
    Ok(t.typed(dtype))
}
