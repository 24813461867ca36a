//! Transposed convolution: each input cell adds the scaled kernel to the output.

use super::buffer::{narrow, tensor, view, widen};
use super::gemm::{self, Gemm, Order};
use super::strided;
use crate::ir::{DType, Tensor, TensorType, Window};

/// Elements of a block of scaled kernels that waits to be added.
const SPREAD_BLOCK: usize = 1 << 20;

pub(super) fn eval(order: Order, x: &Tensor, w: &Tensor, window: &Window, groups: usize, ty: &TensorType) -> Tensor {
    if ty.dtype == DType::F64 {
        return transposed::<f64>(order, x, w, window, groups, ty);
    }
    let wide = TensorType::new(DType::F32, &*ty.shape);
    narrow(transposed::<f32>(order, &widen(x), &widen(w), window, groups, &wide), ty.dtype)
}

fn transposed<T: Gemm>(
    order: Order,
    x: &Tensor,
    w: &Tensor,
    window: &Window,
    groups: usize,
    ty: &TensorType,
) -> Tensor {
    let (c, mg) = (x.shape[1], w.shape[1]);
    let cg = c / groups;
    let (input, output) = (&x.shape[2..], &ty.shape[2..]);
    let (cells_in, cells): (usize, usize) = (input.iter().product(), output.iter().product());
    let taps: usize = window.kernel.iter().product();
    let mut out = vec![T::ZERO; ty.elements()];
    if out.is_empty() || x.is_empty() {
        return tensor(ty.dtype, &ty.shape, out);
    }
    // Weights as [groups, mg * taps, cg].
    let by_group = super::buffer::reshaped(w, &[groups, cg, mg * taps]);
    let turned = strided::transpose(&by_group, &[0, 2, 1]);
    let (xs, ws) = (view::<T>(x), view::<T>(&turned));
    // Rows are (output channel, tap); as many at a time as fit the block.
    let rows = mg * taps;
    let block = (SPREAD_BLOCK / cells_in).clamp(1, rows);
    let mut spread = vec![T::ZERO; block * cells_in];
    for n in 0..x.shape[0] {
        for g in 0..groups {
            let x = &xs[(n * c + g * cg) * cells_in..][..cg * cells_in];
            let out = &mut out[(n * groups + g) * mg * cells..][..mg * cells];
            for first in (0..rows).step_by(block) {
                let here = block.min(rows - first);
                let w = &ws[(g * rows + first) * cg..][..here * cg];
                let spread = &mut spread[..here * cells_in];
                gemm::product(order, here, cg, cells_in, w, x, spread);
                for (row, from) in (first..).zip(spread.chunks_exact(cells_in)) {
                    add_tap(window, row % taps, input, output, from, &mut out[row / taps * cells..][..cells]);
                }
            }
        }
    }
    tensor(ty.dtype, &ty.shape, out)
}

/// Adds what one tap gives for every input cell; cells cut off by the padding are dropped.
fn add_tap<T: Gemm>(window: &Window, tap: usize, input: &[usize], output: &[usize], from: &[T], out: &mut [T]) {
    let rank = input.len();
    let mut taps = vec![0; rank];
    let mut t = tap;
    for i in (0..rank).rev() {
        taps[i] = t % window.kernel[i];
        t /= window.kernel[i];
    }
    let mut index = vec![0usize; rank];
    for &v in from {
        let mut at = Some(0);
        for i in 0..rank {
            let o = (index[i] * window.stride[i] + taps[i] * window.dilation[i]).checked_sub(window.before[i]);
            at = match (at, o) {
                (Some(at), Some(o)) if o < output[i] => Some(at * output[i] + o),
                _ => None,
            };
        }
        if let Some(at) = at {
            out[at] = out[at].add(v);
        }
        for i in (0..rank).rev() {
            index[i] += 1;
            if index[i] < input[i] {
                break;
            }
            index[i] = 0;
        }
    }
}
