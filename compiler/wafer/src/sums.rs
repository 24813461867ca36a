//! Sums by several kernels: each sums a part of the operands and goes on from what the one before it made.
//!
//! ```text
//!  x ====+========+
//!        |        |
//!     [conv, channels 0..64] --f32 sums--> [conv, channels 64..128] ====>
//! ```
//!
//! For kernels of which no share fits a PE. The order of a sum becomes part after part. Knows nothing of PEs but that.

use super::kernels::Format;
use super::plan;
use super::streams::{KernelId, Operand, WaferGraph};
use quadrille_isa::wafer::{ElemType, Machine};
use std::sync::Arc;

/// Halves the sums of kernels until a share of each fits a PE, if that can be.
pub(crate) fn fit(g: &mut WaferGraph, m: &Machine, max_pes: Option<usize>) {
    let mut k = 0;
    while k < g.kernels.len() {
        let fits = g.kernels[k].twin.is_some() || plan::fits(g, &g.kernels[k], m, max_pes);
        // The first half comes behind all others, and this kernel is the second.
        if fits || !halve(g, KernelId(k)) {
            k += 1;
        }
    }
}

/// Halves the sums of a kernel and of its twins; false when they cannot be.
fn halve(g: &mut WaferGraph, k: KernelId) -> bool {
    let twins: Vec<KernelId> = (0..g.kernels.len()).map(KernelId).filter(|t| g.kernels[t.0].twin == Some(k)).collect();
    let Some(first) = halve_one(g, k) else { return false };
    for t in twins {
        if let Some(half) = halve_one(g, t) {
            g.kernels[half.0].twin = Some(first);
        }
    }
    true
}

/// The kernel becomes the second half of its sums; the first is a new one.
fn halve_one(g: &mut WaferGraph, k: KernelId) -> Option<KernelId> {
    let kernel = &g.kernels[k.0];
    let [first, second] = kernel.core.halves()?;
    let (names, lane, inputs) = (kernel.names.clone(), kernel.lane, kernel.inputs.clone());
    let shape = g.stream(kernel.output).shape.clone();
    let begun = kernel.core.begun();
    let layout = first.layout().clone();
    let (half, sums) = g.add_kernel(&names[0], first, inputs, shape);
    (g.kernels[half.0].names, g.kernels[half.0].lane) = (names, lane);
    g.streams[sums.0].format = Format { elem: ElemType::F32, pitch: layout.run() };
    if let Some(i) = begun {
        let before = g.kernels[k.0].inputs.remove(i).stream;
        g.streams[before.0].readers.retain(|r| *r != (k, i));
    }
    let last = g.kernels[k.0].inputs.len();
    g.kernels[k.0].inputs.push(Operand { stream: sums, layout });
    g.streams[sums.0].readers.push((k, last));
    g.kernels[k.0].core = Arc::from(second);
    g.kernels[k.0].cut.per = g.kernels[k.0].core.units();
    Some(half)
}
