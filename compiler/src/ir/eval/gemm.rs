//! Products of row-major matrices.
//!
//! Fast float products go to `matrixmultiply`, whose order of summing depends on the processor; in
//! fixed order, and for integers (which wrap), a plain loop adds in ascending k. Knows no tensors.

use super::num::Num;
use rayon::prelude::*;

/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 18;

/// How sums of products are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// As is fastest on this processor.
    Fast,
    /// Ascending, one rounding per operation: the same bits everywhere, for constants that go into
    /// programs.
    Fixed,
}

/// A type that matrix products are computed in.
pub(super) trait Gemm: Num {
    /// `c = a x b` with `a` m x k, `b` k x n, `c` m x n, all dense and row-major.
    fn gemm(order: Order, m: usize, k: usize, n: usize, a: &[Self], b: &[Self], c: &mut [Self]);
}

/// `c = a x b` over all cores, by rows of `a`.
pub(super) fn product<T: Gemm>(order: Order, m: usize, k: usize, n: usize, a: &[T], b: &[T], c: &mut [T]) {
    debug_assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    if c.is_empty() {
        return;
    }
    if m * k * n < PARALLEL_MACS || m < 16 {
        T::gemm(order, m, k, n, a, b, c);
        return;
    }
    let rows = m.div_ceil(rayon::current_num_threads()).next_multiple_of(8);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(i, c)| {
        let m = c.len() / n;
        T::gemm(order, m, k, n, &a[i * rows * k..][..m * k], b, c);
    });
}

macro_rules! float_gemm {
    ($t:ty, $gemm:path) => {
        impl Gemm for $t {
            fn gemm(order: Order, m: usize, k: usize, n: usize, a: &[$t], b: &[$t], c: &mut [$t]) {
                if m == 1 || order == Order::Fixed {
                    return rows_times(k, n, a, b, c);
                }
                assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
                let (k_, n_) = (k as isize, n as isize);
                // SAFETY: the slices cover m x k, k x n and m x n elements (asserted above), the
                // strides are those of dense row-major matrices, and `c` is borrowed mutably, so it
                // does not overlap the others.
                unsafe {
                    $gemm(m, k, n, 1.0, a.as_ptr(), k_, 1, b.as_ptr(), n_, 1, 0.0, c.as_mut_ptr(), n_, 1);
                }
            }
        }
    };
}

float_gemm!(f32, matrixmultiply::sgemm);
float_gemm!(f64, matrixmultiply::dgemm);

macro_rules! int_gemm {
    ($t:ty) => {
        impl Gemm for $t {
            fn gemm(_: Order, _: usize, k: usize, n: usize, a: &[$t], b: &[$t], c: &mut [$t]) {
                rows_times(k, n, a, b, c);
            }
        }
    };
}

int_gemm!(i32);
int_gemm!(i64);

/// Each row of the result as a sum of scaled rows of `b`.
fn rows_times<T: Num>(k: usize, n: usize, a: &[T], b: &[T], c: &mut [T]) {
    if n == 0 {
        return;
    }
    for (i, c) in c.chunks_exact_mut(n).enumerate() {
        c.fill(T::ZERO);
        for (&a, b) in a[i * k..][..k].iter().zip(b.chunks_exact(n)) {
            c.iter_mut().zip(b).for_each(|(c, &b)| *c = c.add(a.mul(b)));
        }
    }
}
