//! Operations that run along one axis: index of the extreme, running sum, softmax, top k.
//!
//! NaN counts as larger than every number in comparisons, and the first NaN wins, as in numpy.

use super::buffer::{narrow, tensor, view, widen, with_num};
use super::math;
use super::num::Num;
use super::simd::{Loop, widest};
use super::strided;
use crate::ir::{DType, Tensor};
use rayon::prelude::*;
use std::cmp::Ordering;

/// `x` with `axis` moved last, widened.
fn rows_of(x: &Tensor, axis: usize) -> (Tensor, Vec<usize>) {
    let (perm, inverse) = strided::axes_last(x.shape.len(), &[axis]);
    (widen(&strided::transpose(x, &perm)), inverse)
}

/// Index of the largest or smallest element along an axis, the first or the last of equals.
pub(super) fn arg_reduce(x: &Tensor, max: bool, axis: usize, last: bool, shape: &[usize]) -> Result<Tensor, String> {
    let (wide, _) = rows_of(x, axis);
    let n = x.shape[axis];
    if n == 0 && !shape.contains(&0) {
        return Err(format!("axis {axis} of {x:?} has no element to point to"));
    }
    let out = with_num!(wide.dtype, T => {
        view::<T>(&wide).chunks_exact(n.max(1)).map(|row| extreme::<T>(row, max, last) as i64).collect::<Vec<i64>>()
    });
    Ok(tensor(DType::I64, shape, out))
}

fn extreme<T: Num>(row: &[T], max: bool, last: bool) -> usize {
    let mut best = 0;
    for (i, &v) in row.iter().enumerate().skip(1) {
        let b = row[best];
        let better = if max { v > b } else { v < b };
        if !b.is_nan() && (v.is_nan() || better) || last && (v == b || v.is_nan() && b.is_nan()) {
            best = i;
        }
    }
    best
}

/// Running sum along an axis; floats are kept in `f64` and rounded at each element.
pub(super) fn cumsum(x: &Tensor, axis: usize, exclusive: bool, reverse: bool) -> Tensor {
    let (wide, inverse) = rows_of(x, axis);
    let n = x.shape[axis].max(1);
    let float = wide.dtype.is_float();
    let y = with_num!(wide.dtype, T => {
        let mut values = view::<T>(&wide).into_owned();
        for row in values.chunks_exact_mut(n) {
            if reverse {
                row.reverse();
            }
            if float { running_float(row, exclusive) } else { running_int(row, exclusive) }
            if reverse {
                row.reverse();
            }
        }
        tensor(wide.dtype, &wide.shape, values)
    });
    narrow(strided::transpose(&y, &inverse), x.dtype)
}

fn running_float<T: Num>(row: &mut [T], exclusive: bool) {
    let mut sum = 0f64;
    for v in row {
        let before = sum;
        sum += v.to_f64();
        *v = T::from_f64(if exclusive { before } else { sum });
    }
}

fn running_int<T: Num>(row: &mut [T], exclusive: bool) {
    let mut sum = T::ZERO;
    for v in row {
        let before = sum;
        sum = sum.add(*v);
        *v = if exclusive { before } else { sum };
    }
}

/// Normalised exponentials along an axis, the largest element subtracted first; computed in `f64`.
pub(super) fn softmax(x: &Tensor, axis: usize) -> Tensor {
    let (wide, inverse) = rows_of(x, axis);
    let n = x.shape[axis].max(1);
    let y = match wide.dtype {
        DType::F64 => softmax_rows::<f64>(&wide, n),
        _ => softmax_rows::<f32>(&wide, n),
    };
    narrow(strided::transpose(&y, &inverse), x.dtype)
}

/// Elements that are worth a second thread.
const PARALLEL_ELEMENTS: usize = 1 << 17;

fn softmax_rows<T: Num>(x: &Tensor, n: usize) -> Tensor {
    let mut values = view::<T>(x).into_owned();
    let task = |exp: &mut Vec<f64>, row: &mut [T]| {
        exp.resize(n, 0.0);
        widest(SoftmaxRow { row, exp });
    };
    if values.len() >= PARALLEL_ELEMENTS {
        values.par_chunks_exact_mut(n).for_each_init(Vec::new, task);
    } else {
        let mut exp = Vec::new();
        values.chunks_exact_mut(n).for_each(|row| task(&mut exp, row));
    }
    tensor(x.dtype, &x.shape, values)
}

struct SoftmaxRow<'a, T> {
    row: &'a mut [T],
    exp: &'a mut [f64],
}

impl<T: Num> Loop for SoftmaxRow<'_, T> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let SoftmaxRow { row, exp } = self;
        let top = row.iter().fold(T::LOWEST, |a, &b| b.maximum(a)).to_f64();
        if size_of::<T>() == 8 {
            exp.iter_mut().zip(&*row).for_each(|(e, v)| *e = libm::exp(v.to_f64() - top));
        } else {
            exp.iter_mut().zip(&*row).for_each(|(e, v)| *e = math::exp(v.to_f64() - top));
        }
        let sum = sum(exp);
        row.iter_mut().zip(&*exp).for_each(|(v, e)| *v = T::from_f64(e / sum));
    }
}

/// The sum in `f64`, in four interleaved parts, so that additions overlap; the order is fixed.
#[inline(always)]
pub(super) fn sum<T: Num>(row: &[T]) -> f64 {
    let mut parts = [0f64; 4];
    let fours = row.chunks_exact(4);
    let rest: f64 = fours.remainder().iter().map(|v| v.to_f64()).sum();
    for four in fours {
        parts.iter_mut().zip(four).for_each(|(p, v)| *p += v.to_f64());
    }
    (parts[0] + parts[1]) + (parts[2] + parts[3]) + rest
}

/// The `k` largest or smallest along an axis in order, lower index first among equals: values, or
/// with `indices` their positions.
pub(super) fn top_k(x: &Tensor, k: usize, axis: usize, largest: bool, indices: bool) -> Tensor {
    let (wide, inverse) = rows_of(x, axis);
    let n = x.shape[axis].max(1);
    let mut shape = wide.shape.clone();
    *shape.last_mut().expect("an axis was moved last") = k;
    let y = with_num!(wide.dtype, T => {
        let values = view::<T>(&wide);
        let order: Vec<Vec<usize>> = values.chunks_exact(n).map(|row| sorted::<T>(row, k, largest)).collect();
        if indices {
            tensor(DType::I64, &shape, order.iter().flatten().map(|&i| i as i64).collect::<Vec<i64>>())
        } else {
            let picked = order.iter().zip(values.chunks_exact(n)).flat_map(|(o, row)| o.iter().map(|&i| row[i]));
            tensor(wide.dtype, &shape, picked.collect::<Vec<T>>())
        }
    });
    let y = strided::transpose(&y, &inverse);
    if indices { y } else { narrow(y, x.dtype) }
}

fn sorted<T: Num>(row: &[T], k: usize, largest: bool) -> Vec<usize> {
    let rank = |a: T, b: T| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    };
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| {
        let o = rank(row[a], row[b]);
        if largest { o.reverse() } else { o }
    });
    order.truncate(k);
    order
}
