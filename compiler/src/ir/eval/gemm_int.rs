//! Products of integers that fit 16 bits: what 8-bit operands are once their zero points are taken off.
//!
//! Two products at a time are added in `i32`, which cannot overflow there, and sums wrap as they do in
//! the plain loop: the bits are those of the plain loop in any order. The AVX2 kernel and the portable
//! one read the same packed operands.

/// Rows and columns of a block of sums.
const ROWS: usize = 4;
const COLUMNS: usize = 16;

/// Below this many multiplications, packing costs more than it saves.
const SMALL: usize = 1 << 10;

/// A pair of neighbours along k: the low half is the first.
type Pair = u32;

/// `c = a x b` (m x k, k x n, m x n, row-major), or false, with `c` untouched, when an operand does not fit 16 bits.
pub(super) fn product(m: usize, k: usize, n: usize, a: &[i32], b: &[i32], c: &mut [i32]) -> bool {
    // -32768 is left out: two products of it overflow a sum.
    let fits = |x: &[i32]| x.iter().fold(true, |fit, &v| fit & (-0x7FFF..=0x7FFF).contains(&v));
    if m * k * n < SMALL || !fits(a) || !fits(b) {
        return false;
    }
    let pairs = k.div_ceil(2);
    let a: Vec<Pair> =
        a.chunks_exact(k).flat_map(|row| row.chunks(2)).map(|p| pair(p[0], *p.get(1).unwrap_or(&0))).collect();
    let mut panel: Vec<[Pair; COLUMNS]> = vec![[0; COLUMNS]; pairs];
    for first in (0..n).step_by(COLUMNS) {
        let width = COLUMNS.min(n - first);
        for (p, to) in panel.iter_mut().enumerate() {
            let row = &b[2 * p * n + first..][..width];
            let next = if 2 * p + 1 < k { &b[(2 * p + 1) * n + first..][..width] } else { &[][..] };
            for (x, to) in to.iter_mut().take(width).enumerate() {
                *to = pair(row[x], next.get(x).copied().unwrap_or(0));
            }
            to[width..].fill(0);
        }
        for i in (0..m).step_by(ROWS) {
            let height = ROWS.min(m - i);
            let sums = block(&a[i * pairs..][..height * pairs], &panel);
            for (r, sums) in sums.iter().enumerate().take(height) {
                c[(i + r) * n + first..][..width].copy_from_slice(&sums[..width]);
            }
        }
    }
    true
}

fn pair(first: i32, second: i32) -> Pair {
    // Both fit 16 bits.
    u32::from(first as u16) | u32::from(second as u16) << 16
}

/// Sums of up to [`ROWS`] rows of pairs times a panel.
fn block(a: &[Pair], panel: &[[Pair; COLUMNS]]) -> [[i32; COLUMNS]; ROWS] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2::block(a, panel) };
    }
    portable(a, panel)
}

fn portable(a: &[Pair], panel: &[[Pair; COLUMNS]]) -> [[i32; COLUMNS]; ROWS] {
    let mut sums = [[0i32; COLUMNS]; ROWS];
    for (a, sums) in a.chunks_exact(panel.len().max(1)).zip(&mut sums) {
        for (&a, b) in a.iter().zip(panel) {
            for (s, &b) in sums.iter_mut().zip(b) {
                let first = i32::from(a as i16) * i32::from(b as i16);
                let second = i32::from((a >> 16) as i16) * i32::from((b >> 16) as i16);
                *s = s.wrapping_add(first + second);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{COLUMNS, Pair, ROWS};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn block(a: &[Pair], panel: &[[Pair; COLUMNS]]) -> [[i32; COLUMNS]; ROWS] {
        let pairs = panel.len();
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        // Missing rows repeat the last one: their sums are not used.
        let last = (a.len() / pairs.max(1)).max(1) - 1;
        let rows: [&[Pair]; ROWS] = std::array::from_fn(|r| &a[r.min(last) * pairs..][..pairs]);
        for (p, b) in panel.iter().enumerate() {
            let (low, high) = b.split_at(COLUMNS / 2);
            // SAFETY: each half holds eight pairs, the 32 bytes of an unaligned load.
            let (low, high) =
                unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) };
            for (row, sums) in rows.iter().zip(&mut sums) {
                let a = _mm256_set1_epi32(row[p] as i32);
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(a, low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(a, high));
            }
        }
        let mut out = [[0i32; COLUMNS]; ROWS];
        for (out, sums) in out.iter_mut().zip(sums) {
            let (low, high) = out.split_at_mut(COLUMNS / 2);
            // SAFETY: each half holds eight `i32`, the 32 bytes of an unaligned store.
            unsafe {
                _mm256_storeu_si256(low.as_mut_ptr().cast(), sums[0]);
                _mm256_storeu_si256(high.as_mut_ptr().cast(), sums[1]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::arbitrary::Rng;

    #[test]
    fn every_kernel_gives_the_bits_of_the_plain_sum() {
        let mut rng = Rng::new(7);
        for case in 0..60 {
            let (m, k, n) = (rng.range(1, 9), rng.range(30, 70), rng.range(12, 40));
            let extreme = case % 3 == 0;
            let mut value = || if extreme { [-0x7FFF, 0x7FFF][rng.below(2)] } else { rng.range(0, 510) as i32 - 255 };
            let a: Vec<i32> = (0..m * k).map(|_| value()).collect();
            let b: Vec<i32> = (0..k * n).map(|_| value()).collect();
            let mut c = vec![0; m * n];
            assert!(product(m, k, n, &a, &b, &mut c) || m * k * n < SMALL);
            if m * k * n < SMALL {
                continue;
            }
            for (i, &got) in c.iter().enumerate() {
                let products = (0..k).map(|l| a[i / n * k + l].wrapping_mul(b[l * n + i % n]));
                assert_eq!(got, products.fold(0i32, i32::wrapping_add), "{m} x {k} x {n} at {i}");
            }
            let panel: Vec<[Pair; COLUMNS]> =
                (0..k).map(|l| std::array::from_fn(|x| pair(b[l * n + x % n], b[l * n]))).collect();
            let rows: Vec<Pair> = (0..2 * k).map(|l| pair(a[l % a.len()], b[l])).collect();
            assert_eq!(block(&rows, &panel)[..2], portable(&rows, &panel)[..2]);
        }
    }

    #[test]
    fn wide_operands_are_refused() {
        let (a, b) = (vec![1; 64 * 64], vec![0x8000; 64 * 64]);
        assert!(!product(64, 64, 64, &a, &b, &mut vec![0; 64 * 64]));
    }
}
