//! Sums of int8 products: exact in `i32`, so that their order does not matter.

use super::super::{FILL, Pass};
use super::{State, load_rows};
use quadrille_isa::tsp::AluType;
use rayon::prelude::*;

/// Rows of sums that one task computes.
const ROWS: usize = 32;

fn value(ty: AluType, bits: u32) -> i32 {
    if ty == AluType::U8 { i32::from(bits as u8) } else { i32::from(bits as u8 as i8) }
}

/// The sums of one chain: `n` rows of `lanes`.
pub(super) fn sums(state: &State<'_>, n: usize, passes: &[Pass], lanes: usize) -> Vec<Vec<u32>> {
    let mut sums = vec![vec![0i32; lanes]; n];
    for p in passes {
        let own = state.info(p.weights).lanes as usize;
        let wide = own.min(lanes);
        let loaded = load_rows(&p.loads, p.slots);
        let weights: Vec<i32> = loaded
            .iter()
            .flat_map(|&(_, r)| (0..wide).map(move |l| value(AluType::I8, state.at(p.weights, r, l))))
            .collect();
        let ty = state.info(p.act.tensor).ty;
        sums.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, rows)| {
            for (i, sum) in rows.iter_mut().enumerate() {
                let row = p.act.rows[chunk * ROWS + i];
                if row == FILL && state.info(p.act.tensor).fill.unwrap_or(0) == 0 {
                    continue;
                }
                for (&(k, _), w) in loaded.iter().zip(weights.chunks_exact(wide.max(1))) {
                    let a = value(ty, state.at(p.act.tensor, row, k));
                    if a != 0 {
                        sum.iter_mut().zip(w).for_each(|(s, w)| *s = s.wrapping_add(a * w));
                    }
                }
            }
        });
    }
    sums.into_iter().map(|r| r.into_iter().map(|s| s as u32).collect()).collect()
}
