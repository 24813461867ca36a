//! Batched matrix products.
//!
//! `f16` and `bf16` operands are exact in `f32`, and sums are kept there until after the epilogue.
//! Narrow integers sum in `i32`, wrapping; 32 and 64 bits keep their type.

use super::broadcast::strides_in;
use super::buffer::{narrow, tensor, view, widen};
use super::cast;
use super::epilogue;
use super::gemm::{self, Gemm, Order};
use super::strided::row_major;
use crate::ir::{DType, EpilogueStep, Tensor, TensorType};

pub(super) fn eval(order: Order, inputs: &[&Tensor], steps: &[EpilogueStep], ty: &TensorType) -> Tensor {
    let (a, b) = (inputs[0], inputs[1]);
    let extra = &inputs[2..];
    match ty.dtype {
        DType::F64 => product::<f64>(order, a, b, steps, extra, ty),
        d if d.is_float() => {
            let wide =
                product::<f32>(order, &widen(a), &widen(b), steps, extra, &TensorType::new(DType::F32, &*ty.shape));
            narrow(wide, ty.dtype)
        }
        DType::I32 => product::<i32>(order, &cast::eval(a, DType::I32), &cast::eval(b, DType::I32), steps, extra, ty),
        // 64 bits hold the low bits of every other integer, signed or not.
        d => {
            let wide = TensorType::new(DType::I64, &*ty.shape);
            let (a, b) = (cast::eval(a, DType::I64), cast::eval(b, DType::I64));
            cast::eval(&product::<i64>(order, &a, &b, &[], &[], &wide), d)
        }
    }
}

fn product<T: Gemm>(
    order: Order,
    a: &Tensor,
    b: &Tensor,
    steps: &[EpilogueStep],
    extra: &[&Tensor],
    ty: &TensorType,
) -> Tensor {
    let (x, y) = (view::<T>(a), view::<T>(b));
    let rank = ty.shape.len();
    let (m, n) = (ty.shape[rank - 2], ty.shape[rank - 1]);
    let k = a.shape[a.shape.len() - 1];
    let batch = &ty.shape[..rank - 2];
    let batches: usize = batch.iter().product();
    let mut out = vec![T::ZERO; batches * m * n];
    if !out.is_empty() && k > 0 {
        let (ba, bb) = (&a.shape[..a.shape.len() - 2], &b.shape[..b.shape.len() - 2]);
        if bb.iter().all(|&d| d == 1) && ba.iter().product::<usize>() == batches {
            // One second operand for the whole batch: the rows of all batches make one product.
            gemm::product(order, batches * m, k, n, &x, &y, &mut out);
        } else {
            let (sa, sb, steps) = (strides_in(ba, batch), strides_in(bb, batch), row_major(batch));
            for (i, out) in out.chunks_exact_mut(m * n).enumerate() {
                let at = |s: &[usize]| (0..batch.len()).map(|d| i / steps[d] % batch[d] * s[d]).sum::<usize>();
                let (x, y) = (&x[at(&sa) * m * k..][..m * k], &y[at(&sb) * k * n..][..k * n]);
                gemm::product(order, m, k, n, x, y, out);
            }
        }
    }
    epilogue::apply(&mut out, &ty.shape, steps, extra);
    tensor(ty.dtype, &ty.shape, out)
}
