//! Rows of mixed multiply-adds in SRAM, eight elements at a time, with the bits of one at a time.
//!
//! A product of two f16 values is exact in f32, so a fused multiply-add rounds where the definition does; a sum that is
//! NaN stays NaN, so it is made canonical once, at the end. Knows addresses and values; knows nothing of time.

/// Elements at once.
const WIDE: usize = 8;

/// The scalar of each row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalars {
    /// The same f16 bits for all rows.
    One(u16),
    /// At this byte, so many bytes from row to row.
    Rows(usize, isize),
    /// Outside of SRAM, side by side from this byte on.
    Beside(usize),
}

/// `rows` rows of `columns` sums, each plus a vector of f16 times the row's scalar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// First byte of the f16 vector, whose elements lie side by side, and bytes to that of the next row.
    pub(super) vector: (usize, isize),
    pub(super) scalars: Scalars,
    /// First byte of the f32 sums, whose elements lie side by side, and bytes to those of the next row.
    pub(super) sums: (usize, isize),
}

/// First and one past the last byte of `rows` pieces of `len` bytes.
fn extent((start, stride): (usize, isize), rows: usize, len: usize) -> Option<(usize, usize)> {
    let last = start.checked_add_signed(stride.checked_mul(rows as isize - 1)?)?;
    Some((start.min(last), start.max(last).checked_add(len)?))
}

impl Block {
    /// Does all of it; `false`, and nothing is done, where elements must go one after the other (sums that are also
    /// read as something else), at the end of memory, or on a computer without the instructions. `beside` has scalars that
    /// are not in SRAM.
    pub(super) fn run(&self, mem: &mut [u8], beside: &[u8]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.is_apart(mem.len())
            && std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
        {
            // SAFETY: the features that the function is compiled for were just detected.
            unsafe { self.wide(mem, beside) };
            return true;
        }
        let _ = (mem, beside);
        false
    }

    /// True when vectors and scalars can be read eight at a time within `len` bytes, no sum is one of them, and the
    /// sums of a row are those of all or of no other.
    fn is_apart(&self, len: usize) -> bool {
        if self.rows == 0 || self.columns == 0 || self.rows > isize::MAX as usize {
            return false;
        }
        let whole = self.columns.next_multiple_of(WIDE);
        let (Some(read), Some(vector), Some(sums)) = (
            extent(self.vector, self.rows, 2 * whole),
            extent(self.vector, self.rows, 2 * self.columns),
            extent(self.sums, self.rows, 4 * self.columns),
        ) else {
            return false;
        };
        let apart = |a: (usize, usize), b: (usize, usize)| a.1 <= b.0 || b.1 <= a.0;
        let scalars = match self.scalars {
            Scalars::One(_) | Scalars::Beside(_) => true,
            Scalars::Rows(start, stride) => {
                extent((start, stride), self.rows, 2).is_some_and(|s| s.1 <= len && apart(s, sums))
            }
        };
        let stride = self.sums.1.unsigned_abs();
        let rows_apart = stride == 0 || stride >= 4 * self.columns;
        scalars && rows_apart && read.1 <= len && sums.1 <= len && apart(vector, sums)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn wide(&self, mem: &mut [u8], beside: &[u8]) {
        use std::arch::x86_64::*;
        let scalar = |mem: &[u8], row: usize| {
            let bits = match self.scalars {
                Scalars::One(bits) => bits,
                Scalars::Rows(start, stride) => {
                    let at = start.wrapping_add_signed(stride * row as isize);
                    u16::from_le_bytes([mem[at], mem[at + 1]])
                }
                Scalars::Beside(start) => {
                    let at = start + 2 * row;
                    u16::from_le_bytes([beside[at], beside[at + 1]])
                }
            };
            _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
        };
        let vector = |mem: &[u8], row: usize, column: usize| {
            let at = self.vector.0.wrapping_add_signed(self.vector.1 * row as isize) + 2 * column;
            let bytes = &mem[at..at + 2 * WIDE];
            // SAFETY: the slice has the 16 bytes that are loaded; no alignment is needed.
            _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        };
        if self.columns == 1 && self.sums.1 == 0 && self.vector.1 == 2 {
            let scalars = match self.scalars {
                Scalars::Rows(start, 2) => Some((&mem[..], start)),
                Scalars::Beside(start) => Some((beside, start)),
                _ => None,
            };
            if let Some((from, start)) = scalars {
                let (vector, scalars) = (&mem[self.vector.0..][..2 * self.rows], &from[start..][..2 * self.rows]);
                let at = self.sums.0;
                let sum = f32::from_le_bytes([mem[at], mem[at + 1], mem[at + 2], mem[at + 3]]);
                let sum = quadrille_isa::numerics::canonical(dot(vector, scalars, sum));
                mem[at..at + 4].copy_from_slice(&sum.to_le_bytes());
                return;
            }
        }
        let nan = _mm256_set1_ps(f32::from_bits(quadrille_isa::numerics::CANONICAL_NAN));
        let canonical = |x: __m256| _mm256_blendv_ps(x, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        for column in (0..self.columns).step_by(WIDE) {
            let lanes = (self.columns - column).min(WIDE);
            let sums_at = |row: usize| self.sums.0.wrapping_add_signed(self.sums.1 * row as isize) + 4 * column;
            if self.sums.1 == 0 {
                let sums = &mut mem[sums_at(0)..][..4 * lanes];
                let mut sum = load(sums);
                for row in 0..self.rows {
                    sum = _mm256_fmadd_ps(vector(mem, row, column), scalar(mem, row), sum);
                }
                store(&mut mem[sums_at(0)..][..4 * lanes], canonical(sum));
            } else {
                for row in 0..self.rows {
                    let (x, w) = (vector(mem, row, column), scalar(mem, row));
                    let sums = &mut mem[sums_at(row)..][..4 * lanes];
                    let sum = _mm256_fmadd_ps(x, w, load(sums));
                    store(sums, canonical(sum));
                }
            }
        }
    }
}

/// A sum, plus the products of two vectors of f16, in their order. The products are exact, so that eight are made at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn dot(a: &[u8], b: &[u8], mut sum: f32) -> f32 {
    use std::arch::x86_64::*;
    let (wide_a, wide_b) = (a.chunks_exact(2 * WIDE), b.chunks_exact(2 * WIDE));
    let (rest_a, rest_b) = (wide_a.remainder(), wide_b.remainder());
    let mut products = [0f32; WIDE];
    for (a, b) in wide_a.zip(wide_b) {
        // SAFETY: both pieces have 16 bytes, and there is room for eight products; no alignment is needed.
        unsafe {
            let a = _mm256_cvtph_ps(_mm_loadu_si128(a.as_ptr().cast()));
            let b = _mm256_cvtph_ps(_mm_loadu_si128(b.as_ptr().cast()));
            _mm256_storeu_ps(products.as_mut_ptr(), _mm256_mul_ps(a, b));
        }
        products.iter().for_each(|p| sum += p);
    }
    let half = |x: &[u8]| quadrille_isa::numerics::f16_to_f32_fast(u16::from_le_bytes([x[0], x[1]]));
    rest_a.chunks_exact(2).zip(rest_b.chunks_exact(2)).for_each(|(a, b)| sum += half(a) * half(b));
    sum
}

/// Up to eight f32; lanes beyond them are zero.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> std::arch::x86_64::__m256 {
    let mut all = [0u8; 4 * WIDE];
    let bytes = match bytes.len() == all.len() {
        true => bytes,
        false => {
            all[..bytes.len()].copy_from_slice(bytes);
            &all
        }
    };
    // SAFETY: there are 32 bytes, either way; no alignment is needed.
    unsafe { std::arch::x86_64::_mm256_loadu_ps(bytes.as_ptr().cast()) }
}

/// As many lanes as there is room for.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8], lanes: std::arch::x86_64::__m256) {
    let mut all = [0u8; 4 * WIDE];
    // SAFETY: there are 32 bytes; no alignment is needed.
    unsafe { std::arch::x86_64::_mm256_storeu_ps(all.as_mut_ptr().cast(), lanes) };
    let len = bytes.len();
    bytes.copy_from_slice(&all[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wafer::kernel::Kernel;
    use proptest::prelude::*;

    fn half(mem: &[u8], at: usize) -> u32 {
        u32::from(u16::from_le_bytes([mem[at], mem[at + 1]]))
    }

    /// One element after the other.
    fn one_by_one(b: &Block, mem: &mut [u8], beside: &[u8]) {
        for row in 0..b.rows {
            let place = |(start, stride): (usize, isize)| start.wrapping_add_signed(stride * row as isize);
            for column in 0..b.columns {
                let x = half(mem, place(b.vector) + 2 * column);
                let w = match b.scalars {
                    Scalars::One(bits) => u32::from(bits),
                    Scalars::Rows(start, stride) => half(mem, place((start, stride))),
                    Scalars::Beside(start) => half(beside, start + 2 * row),
                };
                let at = place(b.sums) + 4 * column;
                let sum = u32::from_le_bytes([mem[at], mem[at + 1], mem[at + 2], mem[at + 3]]);
                mem[at..at + 4].copy_from_slice(&Kernel::FmaMixed.apply([x, w, sum]).to_le_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn eight_at_a_time_are_one_at_a_time(
            columns in prop_oneof![Just(1usize), 1usize..20],
            rows in 1usize..30,
            vector in prop_oneof![(0usize..200, Just(1isize)), (0usize..200, -3isize..20)],
            scalars in prop_oneof![any::<u16>().prop_map(Scalars::One), (0usize..200, prop_oneof![Just(1isize), -2isize..6])
                .prop_map(|(at, step)| Scalars::Rows(2 * at, 2 * step)), (0usize..9).prop_map(Scalars::Beside)],
            sums in (0usize..500, -1isize..2, 0isize..3),
            bytes in prop::collection::vec(any::<u8>(), 4096),
            beside in prop::collection::vec(any::<u8>(), 80),
        ) {
            let block = Block {
                columns,
                rows,
                vector: (2 * vector.0, 2 * vector.1),
                scalars,
                sums: (4 * sums.0, 4 * (sums.1 * columns as isize + sums.2 * sums.1)),
            };
            let (mut wide, mut slow) = (bytes.clone(), bytes);
            if block.run(&mut wide, &beside) {
                one_by_one(&block, &mut slow, &beside);
                prop_assert_eq!(wide, slow);
            } else {
                prop_assert_eq!(wide, slow);
            }
        }
    }

    #[test]
    fn what_must_go_in_order_is_refused() {
        let mut mem = vec![0u8; 512];
        let block = Block { columns: 8, rows: 4, vector: (0, 16), scalars: Scalars::Rows(128, 2), sums: (256, 0) };
        assert_eq!(block.run(&mut mem, &[]), cfg!(target_arch = "x86_64"));
        for other in [
            Block { sums: (48, 0), ..block },
            Block { scalars: Scalars::Rows(256, 2), ..block },
            Block { sums: (256, 16), ..block },
            Block { vector: (490, 16), ..block },
        ] {
            assert!(!other.run(&mut mem, &[]), "{other:?}");
        }
    }
}
