//! Products of row-major matrices.
//!
//! Fast float products go to `matrixmultiply`, whose order of summing depends on the processor; in
//! fixed order a plain loop adds in ascending k. Integers wrap, so their order does not show. No result
//! depends on the number of threads. Knows no tensors.

use super::gemm_int;
use super::num::Num;
use super::simd::{Loop, widest};
use rayon::prelude::*;

/// Multiplications that are worth a second thread: a tenth of a millisecond's. On a busy machine the
/// other thread may take long to wake.
pub(super) const PARALLEL_MACS: usize = 1 << 22;

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
    /// `c = a x b` with `a` m x k, `b` k x n, `c` m x n, all dense and row-major, in any order of
    /// summing that depends on k alone.
    fn fast(m: usize, k: usize, n: usize, a: &[Self], b: &[Self], c: &mut [Self]);

    /// `c = a x b`. Which way is taken depends on `order` and m alone: the caller splits n, not m.
    fn gemm(order: Order, m: usize, k: usize, n: usize, a: &[Self], b: &[Self], c: &mut [Self]) {
        if order == Order::Fixed || m == 1 {
            widest(Rows { k, n, a, b, width: n, c });
        } else {
            Self::fast(m, k, n, a, b, c);
        }
    }
}

/// `c = a x b` over all cores.
pub(super) fn product<T: Gemm>(order: Order, m: usize, k: usize, n: usize, a: &[T], b: &[T], c: &mut [T]) {
    debug_assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    if c.is_empty() {
        return;
    }
    if m * k * n < PARALLEL_MACS {
        T::gemm(order, m, k, n, a, b, c);
    } else if m == 1 {
        // One row: by columns.
        let width = n.div_ceil(rayon::current_num_threads()).next_multiple_of(64);
        c.par_chunks_mut(width).enumerate().for_each(|(i, c)| {
            widest(Rows { k, n, a, b: &b[i * width..], width: c.len(), c });
        });
    } else {
        let rows = m.div_ceil(rayon::current_num_threads()).next_multiple_of(8);
        c.par_chunks_mut(rows * n).enumerate().for_each(|(i, c)| {
            let m = c.len() / n;
            let a = &a[i * rows * k..][..m * k];
            // Not `gemm`, which takes another way for a part of one row.
            match order {
                Order::Fast => T::fast(m, k, n, a, b, c),
                Order::Fixed => widest(Rows { k, n, a, b, width: n, c }),
            }
        });
    }
}

macro_rules! float_gemm {
    ($t:ty, $gemm:path) => {
        impl Gemm for $t {
            fn fast(m: usize, k: usize, n: usize, a: &[$t], b: &[$t], c: &mut [$t]) {
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

impl Gemm for i32 {
    fn fast(m: usize, k: usize, n: usize, a: &[i32], b: &[i32], c: &mut [i32]) {
        if !gemm_int::product(m, k, n, a, b, c) {
            widest(Rows { k, n, a, b, width: n, c });
        }
    }
}

impl Gemm for i64 {
    fn fast(_: usize, k: usize, n: usize, a: &[i64], b: &[i64], c: &mut [i64]) {
        widest(Rows { k, n, a, b, width: n, c });
    }
}

/// Each row of `c` as a sum of scaled rows of `b`, in ascending k; `width` columns of a `b` whose rows
/// are `n` apart.
struct Rows<'a, T> {
    k: usize,
    n: usize,
    a: &'a [T],
    b: &'a [T],
    width: usize,
    c: &'a mut [T],
}

impl<T: Num> Loop for Rows<'_, T> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let Rows { k, n, a, b, width, c } = self;
        if width == 0 {
            return;
        }
        for (i, c) in c.chunks_exact_mut(width).enumerate() {
            c.fill(T::ZERO);
            let a = &a[i * k..][..k];
            // Four rows of `b` for each pass over `c`.
            let fours = a.chunks_exact(4);
            let rest = k - fours.remainder().len();
            for (j, a) in fours.enumerate() {
                let row = |l: usize| &b[(4 * j + l) * n..][..width];
                let (b0, b1, b2, b3) = (row(0), row(1), row(2), row(3));
                for (x, c) in c.iter_mut().enumerate() {
                    let sum = c.add(a[0].mul(b0[x])).add(a[1].mul(b1[x]));
                    *c = sum.add(a[2].mul(b2[x])).add(a[3].mul(b3[x]));
                }
            }
            for (j, &a) in a[rest..].iter().enumerate() {
                let b = &b[(rest + j) * n..][..width];
                c.iter_mut().zip(b).for_each(|(c, &b)| *c = c.add(a.mul(b)));
            }
        }
    }
}
