//! Products of activation rows with an installed weight array.
//!
//! Knows the two dot products of the machine: int8 exact in int32; f16 as exact products
//! summed in f64 in ascending k and rounded once. Knows no cycle and no plane. Rows without
//! weights and columns beyond the last weight are left out where that cannot change a bit.

use half::f16;
use half::slice::HalfFloatSliceExt;
use quadrille_isa::numerics::{CANONICAL_NAN, canonical};
use rayon::prelude::*;

/// Columns worked on at once.
const STRIP: usize = 8;
/// Rows of activations worked on at once: they share the loads of the weights.
const ROWS: usize = 4;
/// Multiplications above which a batch is worth two threads. Rows do not depend on each
/// other, so the split cannot change a result.
const PARALLEL: usize = 1 << 20;

/// An f16 weight array, in the form the kernel wants.
pub(super) struct HalfWeights {
    lanes: usize,
    /// Rows that hold a weight other than +0 or -0, ascending.
    rows: Vec<u16>,
    /// Columns up to the last weight, rounded up to whole strips.
    columns: usize,
    /// `rows x columns` in strips: strip, row, column within the strip.
    values: Vec<f32>,
    /// Row is in `rows`.
    in_rows: Vec<bool>,
}

impl HalfWeights {
    /// From the low and high bytes of `lanes x lanes` weights, row major; rows that `may_hold` denies
    /// are zero.
    pub(super) fn new(low: &[u8], high: &[u8], lanes: usize, may_hold: impl Fn(usize) -> bool) -> HalfWeights {
        let mut in_rows = vec![false; lanes];
        let mut last = 0;
        for (k, used) in in_rows.iter_mut().enumerate().filter(|(k, _)| may_hold(*k)) {
            let (low, high) = (&low[k * lanes..][..lanes], &high[k * lanes..][..lanes]);
            // All but the sign: -0 is a zero too.
            if let Some(n) = low.iter().zip(high).rposition(|(&l, &h)| l | h & 0x7F != 0) {
                *used = true;
                last = last.max(n + 1);
            }
        }
        let columns = last.next_multiple_of(STRIP).min(lanes);
        let rows: Vec<u16> = (0..lanes).filter(|&k| in_rows[k]).map(|k| k as u16).collect();
        let mut values = vec![0f32; rows.len() * columns];
        let mut halves = vec![f16::ZERO; columns];
        let mut singles = vec![0f32; columns];
        for (r, &k) in rows.iter().enumerate() {
            let at = usize::from(k) * lanes;
            for (h, (&l, &u)) in halves.iter_mut().zip(low[at..].iter().zip(&high[at..])) {
                *h = f16::from_bits(u16::from_le_bytes([l, u]));
            }
            halves.convert_to_f32_slice(&mut singles);
            for (strip, chunk) in singles.chunks_exact(STRIP).enumerate() {
                values[(strip * rows.len() + r) * STRIP..][..STRIP].copy_from_slice(chunk);
            }
        }
        HalfWeights { lanes, rows, columns, values, in_rows }
    }

    /// Dot products of several rows (low and high bytes of a lane each) with every column.
    pub(super) fn dot(&self, acts: &[(&[u8], &[u8])]) -> Vec<Vec<u32>> {
        let group = |acts: &[(&[u8], &[u8])]| self.group(acts);
        if acts.len() * self.rows.len() * self.columns >= PARALLEL {
            let groups: Vec<Vec<Vec<u32>>> = acts.par_chunks(ROWS).map(group).collect();
            groups.into_iter().flatten().collect()
        } else {
            acts.chunks(ROWS).flat_map(group).collect()
        }
    }

    fn group(&self, acts: &[(&[u8], &[u8])]) -> Vec<Vec<u32>> {
        let mut packed = vec![[0f64; ROWS]; self.rows.len()];
        let mut out = Vec::with_capacity(acts.len());
        let mut halves = vec![f16::ZERO; self.rows.len()];
        let mut singles = vec![0f32; self.rows.len()];
        for (r, (low, high)) in acts.iter().enumerate() {
            for (h, &k) in halves.iter_mut().zip(&self.rows) {
                let k = usize::from(k);
                *h = f16::from_bits(u16::from_le_bytes([low[k], high[k]]));
            }
            halves.convert_to_f32_slice(&mut singles);
            packed.iter_mut().zip(&singles).for_each(|(p, &x)| p[r] = f64::from(x));
            // A product with a zero weight adds a zero and changes nothing (a sum that starts at
            // +0 is never -0), unless the activation is not finite: then it is a NaN.
            let unbounded = |h: u8| h & 0x7C == 0x7C;
            let beyond = high.iter().fold(false, |any, &h| any | unbounded(h));
            let in_row = beyond && (0..self.lanes).any(|k| !self.in_rows[k] && unbounded(high[k]));
            let fill = if beyond { CANONICAL_NAN } else { 0 };
            out.push((in_row, vec![fill; self.lanes]));
        }
        if out.iter().any(|(nan, _)| !nan) {
            strips(&packed, &self.values, |strip, sums| {
                for ((nan, row), sums) in out.iter_mut().zip(sums) {
                    if !*nan {
                        for (o, &s) in row[strip * STRIP..].iter_mut().zip(sums) {
                            *o = canonical(s as f32).to_bits();
                        }
                    }
                }
            });
        }
        out.into_iter().map(|(_, row)| row).collect()
    }
}

/// For each strip of columns, the sums of `ROWS` rows in ascending k.
fn strips(acts: &[[f64; ROWS]], weights: &[f32], mut done: impl FnMut(usize, &[[f64; STRIP]; ROWS])) {
    if acts.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    let wide = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    for (strip, weights) in weights.chunks_exact(acts.len() * STRIP).enumerate() {
        let mut sums = [[0f64; STRIP]; ROWS];
        #[cfg(target_arch = "x86_64")]
        if wide {
            // SAFETY: the features that the function is compiled for were just detected.
            unsafe { strip_avx2(acts, weights, &mut sums) };
            done(strip, &sums);
            continue;
        }
        strip_portable(acts, weights, &mut sums);
        done(strip, &sums);
    }
}

fn strip_portable(acts: &[[f64; ROWS]], weights: &[f32], sums: &mut [[f64; STRIP]; ROWS]) {
    for (a, w) in acts.iter().zip(weights.chunks_exact(STRIP)) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            for (s, &w) in sums.iter_mut().zip(w) {
                *s += a * f64::from(w);
            }
        }
    }
}

/// The same with fused multiply-adds: the product of two f16 is exact in f64, so that fusing
/// the sum with it changes nothing.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn strip_avx2(acts: &[[f64; ROWS]], weights: &[f32], sums: &mut [[f64; STRIP]; ROWS]) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm256_setzero_pd(); 2]; ROWS];
    for (a, w) in acts.iter().zip(weights.chunks_exact(STRIP)) {
        // SAFETY: a chunk has STRIP = 8 values, which are two loads of four.
        let (low, high) = unsafe { (_mm_loadu_ps(w.as_ptr()), _mm_loadu_ps(w.as_ptr().add(4))) };
        let (low, high) = (_mm256_cvtps_pd(low), _mm256_cvtps_pd(high));
        for (acc, &a) in acc.iter_mut().zip(a) {
            let a = _mm256_set1_pd(a);
            acc[0] = _mm256_fmadd_pd(a, low, acc[0]);
            acc[1] = _mm256_fmadd_pd(a, high, acc[1]);
        }
    }
    for (s, acc) in sums.iter_mut().zip(&acc) {
        // SAFETY: a row of sums has STRIP = 8 values, which are two stores of four.
        unsafe {
            _mm256_storeu_pd(s.as_mut_ptr(), acc[0]);
            _mm256_storeu_pd(s.as_mut_ptr().add(4), acc[1]);
        }
    }
}

/// An int8 weight array, in the form the kernel wants.
pub(super) struct IntWeights {
    lanes: usize,
    /// Rows that hold a weight, ascending, padded to an even number with row 0.
    rows: Vec<u16>,
    /// Columns up to the last weight, rounded up to two strips.
    columns: usize,
    /// Strips of pairs of rows: strip, pair, column, row of the pair.
    values: Vec<i16>,
}

impl IntWeights {
    /// From `lanes x lanes` signed weights, row major; rows that `may_hold` denies are zero.
    pub(super) fn new(bytes: &[u8], lanes: usize, may_hold: impl Fn(usize) -> bool) -> IntWeights {
        let mut rows = Vec::new();
        let mut last = 0;
        for (k, row) in bytes.chunks_exact(lanes).enumerate().filter(|(k, _)| may_hold(*k)) {
            if let Some(n) = row.iter().rposition(|&b| b != 0) {
                rows.push(k as u16);
                last = last.max(n + 1);
            }
        }
        let columns = last.next_multiple_of(2 * STRIP).min(lanes);
        let pairs = rows.len().div_ceil(2);
        let mut values = vec![0i16; pairs * 2 * columns];
        for (p, pair) in rows.chunks(2).enumerate() {
            for (side, &k) in pair.iter().enumerate() {
                let row = &bytes[usize::from(k) * lanes..][..columns];
                for (strip, from) in row.chunks_exact(STRIP).enumerate() {
                    let to = &mut values[(strip * pairs + p) * 2 * STRIP..][..2 * STRIP];
                    to.chunks_exact_mut(2).zip(from).for_each(|(to, &b)| to[side] = i16::from(b as i8));
                }
            }
        }
        if rows.len() % 2 == 1 {
            rows.push(0);
        }
        IntWeights { lanes, rows, columns, values }
    }

    /// Dot products of several rows of bytes with every column.
    pub(super) fn dot(&self, acts: &[&[u8]], signed: bool) -> Vec<Vec<u32>> {
        let group = |acts: &[&[u8]]| self.group(acts, signed);
        if acts.len() * self.rows.len() * self.columns >= PARALLEL {
            let groups: Vec<Vec<Vec<u32>>> = acts.par_chunks(ROWS).map(group).collect();
            groups.into_iter().flatten().collect()
        } else {
            acts.chunks(ROWS).flat_map(group).collect()
        }
    }

    fn group(&self, acts: &[&[u8]], signed: bool) -> Vec<Vec<u32>> {
        let value = |row: &[u8], k: u16| {
            let b = row[usize::from(k)];
            if signed { i16::from(b as i8) } else { i16::from(b) }
        };
        let mut packed = vec![[[0i16; 2]; ROWS]; self.rows.len() / 2];
        for (r, row) in acts.iter().enumerate() {
            for (p, pair) in packed.iter_mut().zip(self.rows.chunks_exact(2)) {
                p[r] = [value(row, pair[0]), value(row, pair[1])];
            }
        }
        let mut out = vec![vec![0u32; self.lanes]; acts.len()];
        if packed.is_empty() {
            return out;
        }
        #[cfg(target_arch = "x86_64")]
        let wide = std::arch::is_x86_feature_detected!("avx2");
        let length = packed.len() * 2 * STRIP;
        let mut put = |strip: usize, sums: &[[i32; STRIP]; ROWS]| {
            for (row, sums) in out.iter_mut().zip(sums) {
                for (o, &s) in row[strip * STRIP..].iter_mut().zip(sums) {
                    *o = s as u32;
                }
            }
        };
        let mut strip = 0;
        #[cfg(target_arch = "x86_64")]
        if wide {
            for two in self.values.chunks_exact(2 * length) {
                let mut sums = [[[0i32; STRIP]; ROWS]; 2];
                // SAFETY: the feature that the function is compiled for was just detected.
                unsafe { int_strips_avx2(&packed, [&two[..length], &two[length..]], &mut sums) };
                put(strip, &sums[0]);
                put(strip + 1, &sums[1]);
                strip += 2;
            }
        }
        for weights in self.values[strip * length..].chunks_exact(length) {
            let mut sums = [[0i32; STRIP]; ROWS];
            int_strip_portable(&packed, weights, &mut sums);
            put(strip, &sums);
            strip += 1;
        }
        out
    }
}

fn int_strip_portable(acts: &[[[i16; 2]; ROWS]], weights: &[i16], sums: &mut [[i32; STRIP]; ROWS]) {
    for (a, w) in acts.iter().zip(weights.chunks_exact(2 * STRIP)) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (s, w) in sums.iter_mut().zip(w.chunks_exact(2)) {
                *s += i32::from(a[0]) * i32::from(w[0]) + i32::from(a[1]) * i32::from(w[1]);
            }
        }
    }
}

/// Two strips at once: they share the broadcasts of the activations.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn int_strips_avx2(acts: &[[[i16; 2]; ROWS]], weights: [&[i16]; 2], sums: &mut [[[i32; STRIP]; ROWS]; 2]) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
    let pairs = weights[0].chunks_exact(2 * STRIP).zip(weights[1].chunks_exact(2 * STRIP));
    for (a, (w0, w1)) in acts.iter().zip(pairs) {
        // SAFETY: a chunk has 16 values of 16 bits, one load of 256 bits.
        let (w0, w1) = unsafe { (_mm256_loadu_si256(w0.as_ptr().cast()), _mm256_loadu_si256(w1.as_ptr().cast())) };
        for (acc, a) in acc.iter_mut().zip(a) {
            let pair = _mm256_set1_epi32((u32::from(a[0] as u16) | u32::from(a[1] as u16) << 16) as i32);
            acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(pair, w0));
            acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(pair, w1));
        }
    }
    let [first, second] = sums;
    for ((s0, s1), acc) in first.iter_mut().zip(second).zip(&acc) {
        // SAFETY: a row of sums has 8 values of 32 bits, one store of 256 bits.
        unsafe {
            _mm256_storeu_si256(s0.as_mut_ptr().cast(), acc[0]);
            _mm256_storeu_si256(s1.as_mut_ptr().cast(), acc[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: &mut u64) -> u32 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as u32
    }

    /// The definition, without shortcuts.
    fn naive(low: &[u8], high: &[u8], act: (&[u8], &[u8]), lanes: usize) -> Vec<u32> {
        let half = |l: u8, h: u8| f16::from_bits(u16::from_le_bytes([l, h])).to_f64();
        (0..lanes)
            .map(|n| {
                let mut sum = 0f64;
                for k in 0..lanes {
                    sum += half(act.0[k], act.1[k]) * half(low[k * lanes + n], high[k * lanes + n]);
                }
                canonical(sum as f32).to_bits()
            })
            .collect()
    }

    #[test]
    fn f16_is_the_definition_with_sparse_weights_and_odd_values() {
        let lanes = 64;
        let mut seed = 7;
        for case in 0..40 {
            let mut low = vec![0u8; lanes * lanes];
            let mut high = vec![0u8; lanes * lanes];
            let (rows, columns) = (1 + noise(&mut seed) as usize % lanes, 1 + noise(&mut seed) as usize % lanes);
            for k in 0..rows {
                for n in 0..columns {
                    low[k * lanes + n] = noise(&mut seed) as u8;
                    // Finite weights mostly; any bits in some cases.
                    let h = noise(&mut seed) as u8;
                    high[k * lanes + n] = if case % 8 == 0 { h } else { h & 0xBB };
                }
            }
            let w = HalfWeights::new(&low, &high, lanes, |_| true);
            let acts: Vec<(Vec<u8>, Vec<u8>)> = (0..7)
                .map(|i| {
                    let byte = |seed: &mut u64| noise(seed) as u8;
                    let l = (0..lanes).map(|_| byte(&mut seed)).collect();
                    let mut h: Vec<u8> = (0..lanes).map(|_| byte(&mut seed) & 0xBB).collect();
                    if i % 3 == 1 {
                        h[noise(&mut seed) as usize % lanes] = 0x7C;
                    }
                    (l, h)
                })
                .collect();
            let views: Vec<(&[u8], &[u8])> = acts.iter().map(|(l, h)| (&l[..], &h[..])).collect();
            for (got, act) in w.dot(&views).into_iter().zip(&views) {
                assert_eq!(got, naive(&low, &high, *act, lanes));
            }
        }
    }

    #[test]
    fn wide_and_portable_kernels_agree() {
        let mut seed = 3;
        let acts: Vec<[f64; ROWS]> = (0..33).map(|_| [(); ROWS].map(|()| f64::from(noise(&mut seed) % 999))).collect();
        let weights: Vec<f32> = (0..33 * STRIP).map(|_| (noise(&mut seed) % 777) as f32 / 8.0).collect();
        let mut sums = [[0f64; STRIP]; ROWS];
        strip_portable(&acts, &weights, &mut sums);
        strips(&acts, &weights, |_, wide| assert_eq!(*wide, sums));
    }

    #[test]
    fn int8_is_exact_for_signed_and_unsigned_rows() {
        let lanes = 64;
        let mut seed = 11;
        for rows in [0, 1, 16, 63, 64] {
            let mut bytes = vec![0u8; lanes * lanes];
            bytes[..rows * lanes].iter_mut().for_each(|b| *b = noise(&mut seed) as u8);
            let w = IntWeights::new(&bytes, lanes, |_| true);
            let acts: Vec<Vec<u8>> = (0..6).map(|_| (0..lanes).map(|_| noise(&mut seed) as u8).collect()).collect();
            let views: Vec<&[u8]> = acts.iter().map(|a| &a[..]).collect();
            for signed in [true, false] {
                for (got, act) in w.dot(&views, signed).iter().zip(&views) {
                    for n in 0..lanes {
                        let value = |b: u8| if signed { i32::from(b as i8) } else { i32::from(b) };
                        let want: i32 = (0..lanes).map(|k| value(act[k]) * i32::from(bytes[k * lanes + n] as i8)).sum();
                        assert_eq!(got[n] as i32, want);
                    }
                }
            }
        }
    }
}
