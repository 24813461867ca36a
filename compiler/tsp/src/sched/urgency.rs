//! How much follows each kernel: of work that could start at once, what most hangs on goes first.
//!
//! Counted in steps of roughly equal delay. Where nearly all are products of bytes and elementwise ones, the order of the
//! program is as good.

use super::split::mixed;
use crate::tiled::{Kind, TiledGraph};

/// What a kernel adds, in cycles of latency: planes, transposer, ALUs.
const PASS: u32 = 100;
const TURN: u32 = 60;
const STEPS: u32 = 60;

pub(super) fn urgency(g: &TiledGraph) -> Vec<u32> {
    let mut out = vec![0; g.kernels.len()];
    if !mixed(g) {
        return out;
    }
    // What follows each tensor.
    let mut behind = vec![0u32; g.tensors.len()];
    for (n, k) in g.kernels.iter().enumerate().rev() {
        let mut most = 0;
        k.each_write(|t| most = most.max(behind[t.0 as usize]));
        let own = match &k.kind {
            Kind::MatMul { .. } | Kind::Move { .. } => PASS,
            Kind::Transpose { .. } | Kind::Gather { .. } => TURN,
            Kind::Map { .. } => STEPS,
        };
        out[n] = most + own;
        let mut note = |t: usize| behind[t] = behind[t].max(most + own);
        k.each_read(|r| note(g.stored(r.tensor).0 as usize));
        k.each_whole(|t| note(t.0 as usize));
    }
    out
}
