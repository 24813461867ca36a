//! Outer products in SRAM, one after the other onto the same sums: those of many operations at once, a tile of sums kept in
//! registers, with the bits of one operation after the other.
//!
//! Each sum gets its products in the same order. A product of two f16 values is exact in f32, so a fused multiply-add rounds
//! where the definition does; a sum that is NaN stays NaN, so it is made canonical once, at the end. Knows addresses and
//! values; knows nothing of time.

use super::super::kernel::Kernel;
use super::super::lower::{Access, Execution};
use super::shape::Shape;

/// Columns of a register.
const WIDE: usize = 8;

/// Most factors of either kind, as f32, that are kept while sums are made.
const MOST: usize = 4096;

/// `count` times: each of `rows` rows of `columns` sums, plus a vector times the row's scalar. Places in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Products {
    columns: usize,
    rows: usize,
    count: usize,
    /// First element of the f16 vector, and to that of the next product.
    vector: (usize, isize),
    /// First f16 scalar, to that of the next row, and of the next product.
    scalars: (usize, isize, isize),
    /// First f32 sum, and to that of the next row.
    sums: (usize, usize),
}

/// Factors as f32, kept from one use to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Factors {
    vectors: Vec<f32>,
    scalars: Vec<f32>,
}

impl Products {
    /// The operation as one product; `None` when it is none, when its elements must go one after the other, or on a computer
    /// without the instructions.
    pub(super) fn of(op: &Shape, ex: &Execution) -> Option<Products> {
        let able = cfg!(target_arch = "x86_64") && has_instructions();
        if !able || op.kernel != Kernel::FmaMixed {
            return None;
        }
        let access = |k: usize| op.operands[k].access;
        let (scalar, vector) = match (access(0), access(1)) {
            (Access::MemRow, Access::Mem) => (0, 1),
            (Access::Mem, Access::MemRow) => (1, 0),
            _ => return None,
        };
        let (columns, rows, at) = (ex.n0 as usize, ex.n1 as usize, |k: usize| ex.addr[k].start as usize);
        let sums_in_place = access(2) == Access::Mem && access(3) == Access::Mem && ex.addr[2] == ex.addr[3];
        let sums = (at(3), usize::try_from(ex.addr[3].s1).ok()?);
        let dense = columns.is_multiple_of(WIDE) && ex.addr[vector].s0 == 2 && ex.addr[3].s0 == 4;
        let rows_apart = rows == 1 || sums.1 >= 4 * columns;
        let bytes = |k: usize| ex.bytes(op.operands[k].access, op.operands[k].ty, k).unwrap_or((0, 0));
        let meets = |a: (i64, i64), b: (i64, i64)| a.0 < b.1 && b.0 < a.1;
        let apart = !meets(bytes(0), bytes(3)) && !meets(bytes(1), bytes(3));
        let one_vector = ex.addr[vector].s1 == 0 && columns <= MOST && rows <= MOST;
        (sums_in_place && dense && rows_apart && apart && one_vector && rows > 0 && columns > 0).then(|| Products {
            columns,
            rows,
            count: 1,
            vector: (at(vector), 0),
            scalars: (at(scalar), ex.addr[scalar].s1 as isize, 0),
            sums,
        })
    }

    /// Adds a product that goes on with the next vector and scalars; false, and nothing is done, when it does not.
    pub(super) fn join(&mut self, next: &Products) -> bool {
        let alike = next.count == 1
            && (next.columns, next.rows, next.sums) == (self.columns, self.rows, self.sums)
            && next.scalars.1 == self.scalars.1
            && (self.count + 1) * self.columns.max(self.rows) <= MOST;
        let to = |a: usize, b: usize| b as isize - a as isize;
        let steps = (to(self.vector.0, next.vector.0), to(self.scalars.0, next.scalars.0));
        let count = self.count as isize;
        if !alike || (count > 1 && steps != (self.vector.1 * count, self.scalars.2 * count)) {
            return false;
        }
        if count == 1 {
            (self.vector.1, self.scalars.2) = steps;
        }
        self.count += 1;
        true
    }

    /// Makes the sums.
    pub(super) fn run(&self, mem: &mut [u8], factors: &mut Factors) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: products are made only where the features that the function is compiled for were detected.
        unsafe {
            self.wide(mem, factors);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (mem, factors);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn wide(&self, mem: &mut [u8], factors: &mut Factors) {
        let Factors { vectors, scalars } = factors;
        let (columns, rows, count) = (self.columns, self.rows, self.count);
        vectors.resize(count * columns, 0.0);
        scalars.resize(count * rows, 0.0);
        if self.vector.1 == 2 * columns as isize {
            halves(&mem[self.vector.0..][..2 * columns * count], vectors);
        } else {
            for (k, out) in vectors.chunks_exact_mut(columns).enumerate() {
                let at = self.vector.0.wrapping_add_signed(self.vector.1 * k as isize);
                halves(&mem[at..at + 2 * columns], out);
            }
        }
        if self.scalars.1 == 2 && self.scalars.2 == 2 * rows as isize {
            halves(&mem[self.scalars.0..][..2 * rows * count], scalars);
        } else {
            for (k, out) in scalars.chunks_exact_mut(rows).enumerate() {
                for (row, out) in out.iter_mut().enumerate() {
                    let steps = self.scalars.2 * k as isize + self.scalars.1 * row as isize;
                    let at = self.scalars.0.wrapping_add_signed(steps);
                    *out = quadrille_isa::numerics::f16_to_f32_fast(u16::from_le_bytes([mem[at], mem[at + 1]]));
                }
            }
        }
        let mut row = 0;
        while row < self.rows {
            let rows = if self.rows - row >= 4 { 4 } else { 1 };
            let mut column = 0;
            while column < self.columns {
                let columns = if self.columns - column >= 2 * WIDE { 2 } else { 1 };
                match (rows, columns) {
                    (4, 2) => self.tile::<4, 2>((row, column), vectors, scalars, mem),
                    (4, _) => self.tile::<4, 1>((row, column), vectors, scalars, mem),
                    (_, 2) => self.tile::<1, 2>((row, column), vectors, scalars, mem),
                    _ => self.tile::<1, 1>((row, column), vectors, scalars, mem),
                }
                column += columns * WIDE;
            }
            row += rows;
        }
    }

    /// `R` rows of `C` registers of sums.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    #[expect(clippy::needless_range_loop)] // registers, not elements
    fn tile<const R: usize, const C: usize>(
        &self,
        (row, column): (usize, usize),
        vectors: &[f32],
        scalars: &[f32],
        mem: &mut [u8],
    ) {
        use std::arch::x86_64::*;
        let first = self.sums.0 + self.sums.1 * row + 4 * column;
        let last = first + self.sums.1 * (R - 1);
        let fits = column + WIDE * C <= self.columns && row + R <= self.rows;
        assert!(fits && last + 4 * WIDE * C <= mem.len());
        assert!(vectors.len() == self.columns * self.count && scalars.len() == self.rows * self.count);
        let mut sums = [[_mm256_setzero_ps(); C]; R];
        for r in 0..R {
            for c in 0..C {
                // SAFETY: rows of sums from `first` to `last` have 32 bytes for each register, within `mem`, as was just
                // asserted; no alignment is needed.
                sums[r][c] =
                    unsafe { _mm256_loadu_ps(mem.as_ptr().add(first + self.sums.1 * r + 4 * WIDE * c).cast()) };
            }
        }
        for k in 0..self.count {
            // SAFETY: `k` is below `count`, `row` to `row + R` below `rows`, `column` to `column + 8 C` below `columns`, and
            // both slices have `count` times as many values, as was just asserted; no alignment is needed.
            unsafe {
                let (vector, scalar) =
                    (vectors.as_ptr().add(k * self.columns + column), scalars.as_ptr().add(k * self.rows + row));
                let mut x = [_mm256_setzero_ps(); C];
                for c in 0..C {
                    x[c] = _mm256_loadu_ps(vector.add(WIDE * c));
                }
                for r in 0..R {
                    let w = _mm256_broadcast_ss(&*scalar.add(r));
                    for c in 0..C {
                        sums[r][c] = _mm256_fmadd_ps(x[c], w, sums[r][c]);
                    }
                }
            }
        }
        let nan = _mm256_set1_ps(f32::from_bits(quadrille_isa::numerics::CANONICAL_NAN));
        for r in 0..R {
            for c in 0..C {
                let x = sums[r][c];
                let x = _mm256_blendv_ps(x, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
                // SAFETY: as where they are loaded.
                unsafe { _mm256_storeu_ps(mem.as_mut_ptr().add(first + self.sums.1 * r + 4 * WIDE * c).cast(), x) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_instructions() -> bool {
    false
}

/// f16 values side by side as f32.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn halves(bytes: &[u8], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (wide, wide_out) = (bytes.chunks_exact(2 * WIDE), out.chunks_exact_mut(WIDE));
    let rest = wide.remainder();
    for (bytes, out) in wide.zip(wide_out) {
        // SAFETY: there are 16 bytes and room for eight values; no alignment is needed.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast()))) };
    }
    let done = out.len() - rest.len() / 2;
    for (bytes, out) in rest.chunks_exact(2).zip(&mut out[done..]) {
        *out = quadrille_isa::numerics::f16_to_f32_fast(u16::from_le_bytes([bytes[0], bytes[1]]));
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(mem: &[u8], at: usize, size: usize) -> u32 {
        let mut all = [0; 4];
        all[..size].copy_from_slice(&mem[at..at + size]);
        u32::from_le_bytes(all)
    }

    proptest! {
        #[test]
        fn many_products_are_one_after_the_other(
            (columns, rows, count) in (1usize..5, 1usize..11, 1usize..9),
            (row_step, vector_step, scalar_step) in (1isize..4, -3isize..9, -3isize..9),
            bytes in prop::collection::vec(any::<u8>(), 4096),
        ) {
            prop_assume!(has_instructions());
            let columns = 8 * columns;
            let one = |k: usize| Products {
                columns,
                rows,
                count: 1,
                vector: (64 + (2 * vector_step * k as isize + 48) as usize, 0),
                scalars: (512 + (2 * scalar_step * k as isize + 48) as usize, 2 * row_step, 0),
                sums: (1024, 4 * columns + 8),
            };
            let mut all = one(0);
            for k in 1..count {
                prop_assert!(all.join(&one(k)));
            }
            let other = Products { vector: (65 + 4000, 0), ..one(0) };
            prop_assert!(count == 1 || !all.join(&other));
            let (mut wide, mut slow) = (bytes.clone(), bytes);
            all.run(&mut wide, &mut Factors::default());
            for p in (0..count).map(one) {
                for row in 0..rows {
                    let w = bits(&slow, p.scalars.0.wrapping_add_signed(p.scalars.1 * row as isize), 2);
                    for column in 0..columns {
                        let x = bits(&slow, p.vector.0 + 2 * column, 2);
                        let at = p.sums.0 + p.sums.1 * row + 4 * column;
                        let sum = Kernel::FmaMixed.apply([x, w, bits(&slow, at, 4)]);
                        slow[at..at + 4].copy_from_slice(&sum.to_le_bytes());
                    }
                }
            }
            prop_assert_eq!(wide, slow);
        }
    }
}
