//! Transposed convolution: each input cell adds the scaled kernel to the output.

use super::buffer::{narrow, tensor, view, widen};
use super::gemm::{self, Gemm};
use super::strided;
use crate::ir::{DType, Tensor, TensorType, Window};

pub(super) fn eval(x: &Tensor, w: &Tensor, window: &Window, groups: usize, ty: &TensorType) -> Tensor {
    if ty.dtype == DType::F64 {
        return transposed::<f64>(x, w, window, groups, ty);
    }
    let wide = TensorType::new(DType::F32, &*ty.shape);
    narrow(transposed::<f32>(&widen(x), &widen(w), window, groups, &wide), ty.dtype)
}

fn transposed<T: Gemm>(x: &Tensor, w: &Tensor, window: &Window, groups: usize, ty: &TensorType) -> Tensor {
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
    let mut spread = vec![T::ZERO; mg * taps * cells_in];
    for n in 0..x.shape[0] {
        for g in 0..groups {
            let x = &xs[(n * c + g * cg) * cells_in..][..cg * cells_in];
            gemm::product(mg * taps, cg, cells_in, &ws[g * mg * taps * cg..][..mg * taps * cg], x, &mut spread);
            let out = &mut out[(n * groups + g) * mg * cells..][..mg * cells];
            for m in 0..mg {
                for tap in 0..taps {
                    let from = &spread[(m * taps + tap) * cells_in..][..cells_in];
                    add_tap(window, tap, input, output, from, &mut out[m * cells..][..cells]);
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
