//! Reductions over axes.
//!
//! Float sums and products are kept in `f64` and rounded once; integers wrap. Over no element: 0, 1,
//! the lowest or the highest value, and NaN for the mean of floats (0 for integers).

use super::buffer::{narrow, reshaped, tensor, view, widen, with_num};
use super::num::Num;
use super::scan;
use super::simd::{Loop, widest};
use super::strided;
use crate::ir::{DType, Reduce, Tensor, TensorType};

pub(super) fn eval(x: &Tensor, kind: Reduce, axes: &[usize], ty: &TensorType) -> Tensor {
    let (perm, _) = strided::axes_last(x.shape.len(), axes);
    let wide = widen(&strided::transpose(x, &perm));
    let row: usize = axes.iter().map(|&a| x.shape[a]).product();
    let rows: usize = ty.elements();
    let flat = reshaped(&wide, &[rows, row]);
    let y = match (wide.dtype, kind) {
        (DType::F32, Reduce::Sum | Reduce::Mean | Reduce::Prod) => float::<f32>(&flat, kind),
        (DType::F64, Reduce::Sum | Reduce::Mean | Reduce::Prod) => float::<f64>(&flat, kind),
        (dtype, _) => with_num!(dtype, T => fold::<T>(&flat, kind)),
    };
    narrow(reshaped(&y, &ty.shape), ty.dtype)
}

fn rows<'a, T>(values: &'a [T], shape: &[usize]) -> impl Iterator<Item = &'a [T]> {
    let row = shape[1];
    (0..shape[0]).map(move |i| &values[i * row..][..row])
}

fn float<T: Num>(x: &Tensor, kind: Reduce) -> Tensor {
    let values = view::<T>(x);
    let out = rows(&values, &x.shape).map(|row| {
        T::from_f64(match kind {
            Reduce::Prod => row.iter().map(|v| v.to_f64()).product(),
            // 0 / 0 has a sign that differs between processors.
            Reduce::Mean if row.is_empty() => f64::NAN,
            Reduce::Mean => sum(row) / row.len() as f64,
            _ => sum(row),
        })
    });
    tensor(x.dtype, &x.shape[..1], out.collect::<Vec<T>>())
}

struct RowSum<'a, T>(&'a [T]);

impl<T: Num> Loop for RowSum<'_, T> {
    type Result = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        scan::sum(self.0)
    }
}

fn sum<T: Num>(row: &[T]) -> f64 {
    widest(RowSum(row))
}

fn fold<T: Num>(x: &Tensor, kind: Reduce) -> Tensor {
    let values = view::<T>(x);
    let out = rows(&values, &x.shape).map(|row| match kind {
        Reduce::Sum => row.iter().fold(T::ZERO, |a, &b| a.add(b)),
        Reduce::Prod => row.iter().fold(T::ONE, |a, &b| a.mul(b)),
        Reduce::Max => row.iter().fold(lowest::<T>(x.dtype), |a, &b| b.maximum(a)),
        Reduce::Min => row.iter().fold(highest::<T>(x.dtype), |a, &b| b.minimum(a)),
        // The wide sum of an integer mean does not wrap before 2^64.
        Reduce::Mean => match row.len() {
            0 => T::ZERO,
            n => T::from_f64(row.iter().map(|v| v.to_f64()).sum::<f64>() / n as f64),
        },
    });
    tensor(x.dtype, &x.shape[..1], out.collect::<Vec<T>>())
}

fn lowest<T: Num>(dtype: DType) -> T {
    if dtype == DType::Bool { T::ZERO } else { T::LOWEST }
}

fn highest<T: Num>(dtype: DType) -> T {
    if dtype == DType::Bool { T::ONE } else { T::HIGHEST }
}
