//! Sums by several kernels: each sums a part of the operands and goes on from what the one before it made.
//!
//! ```text
//!  x ====+========+
//!        |        |
//!     [conv, channels 0..64] --f32 sums--> [conv, channels 64..128] ====>
//! ```
//!
//! For kernels of which no share fits a PE; and where the slowest kernels of a model become faster by it, as their codes say. The
//! order of a sum becomes part after part. Knows nothing of PEs but that.

use super::buffers::hold_back;
use super::kernels::Format;
use super::plan::Cutter;
use super::streams::{Kernel, KernelId, Operand, Producer, WaferGraph};
use quadrille_isa::wafer::ElemType;
use std::sync::Arc;

/// Halves the sums of kernels until a share of each fits a PE, if that can be.
pub(crate) fn fit(g: &mut WaferGraph, cutter: &Cutter<'_>) {
    let mut k = 0;
    while k < g.kernels.len() {
        let fits = g.kernels[k].twin.is_some() || cutter.fits(g, &g.kernels[k]);
        // The first half comes behind all others, and this kernel is the second.
        if fits || !halve(g, KernelId(k)) {
            k += 1;
        }
    }
}

/// Sums are halved so often at most: in eight parts.
pub(crate) const MOST_HALVINGS: u32 = 3;

/// Parts are no use where the slowest kernel takes more than this much of its time as before: each part receives all operands.
const WORTH: f64 = 0.9;

/// Makes each sum that there are two kernels or more for, in so many parts (a power of two), however fast that is.
pub(crate) fn in_parts(g: &mut WaferGraph, parts: usize) {
    for k in 0..g.kernels.len() {
        if g.kernels[k].twin.is_none() {
            halve_often(g, KernelId(k), parts.max(1).ilog2());
        }
    }
}

/// Takes sums apart, by so many halvings at most, where that makes the slowest kernels of a model faster: its pace is theirs. False when
/// nowhere.
pub(crate) fn quicken(g: &mut WaferGraph, halvings: u32, cutter: &Cutter<'_>) -> bool {
    let Ok(choices) = cutter.all_choices(g) else { return false };
    let mut slowest: Vec<(u64, usize)> =
        (0..g.kernels.len()).filter(|&k| g.kernels[k].twin.is_none()).map(|k| (choices.0[k].best(), k)).collect();
    slowest.sort_by_key(|&(cycles, k)| (std::cmp::Reverse(cycles), k));
    let Some(&(pace, _)) = slowest.first() else { return false };
    // The pace that halving the slowest kernels can reach: until one that cannot be made faster is the slowest.
    let (mut reached, mut wanted) = (0, Vec::new());
    let in_parts =
        |g: &WaferGraph, k: usize, n: u32| choices.0[k].in_parts(n, || cycles_in_parts(g, &g.kernels[k], n, cutter));
    for (cycles, k) in slowest {
        if cycles <= reached {
            break;
        }
        let ways = (1..=halvings).map_while(|n| Some((in_parts(g, k, n)?, n)));
        let (best, halvings) = ways.min().filter(|w| w.0 < cycles).unwrap_or((cycles, 0));
        reached = reached.max(best);
        if reached as f64 > pace as f64 * WORTH {
            return false;
        }
        wanted.push((k, halvings));
    }
    for (k, most) in wanted {
        // As few parts as keep that pace.
        let few = (1..most).find(|&n| in_parts(g, k, n).is_some_and(|cycles| cycles <= reached));
        halve_often(g, KernelId(k), few.unwrap_or(most));
    }
    true
}

/// Cycles of the slowest part of a kernel whose sums are halved so often; `None` where they cannot be.
fn cycles_in_parts(g: &WaferGraph, k: &Kernel, halvings: u32, cutter: &Cutter<'_>) -> Option<u64> {
    let mut alone = WaferGraph::default();
    let mut inputs = Vec::with_capacity(k.inputs.len());
    for o in &k.inputs {
        let s = g.stream(o.stream);
        let id = alone.add_stream(Producer::Gone, s.shape.clone(), s.layout.clone());
        (alone.streams[id.0].format, alone.streams[id.0].narrow) = (s.format, s.narrow);
        inputs.push(Operand { stream: id, layout: o.layout.clone() });
    }
    let out = g.stream(k.output);
    let (id, made) = alone.add_shared(&k.names[0], k.core.clone(), inputs, out.shape.clone());
    (alone.streams[made.0].format, alone.streams[made.0].narrow) = (out.format, out.narrow);
    alone.kernels[id.0].steps = k.steps.clone();
    if halve_often(&mut alone, id, halvings) < halvings {
        return None;
    }
    let choices = cutter.all_choices(&alone).ok()?;
    choices.0.iter().map(|w| w.best()).max()
}

/// Halves the sums of a kernel and of its twins, those of the halves, and so on; how often that could be done.
///
/// A part goes on from the sums of the one before it, so it gets operands later by what the others work on meanwhile.
fn halve_often(g: &mut WaferGraph, k: KernelId, times: u32) -> u32 {
    let mut parts = vec![k];
    let mut done = 0;
    while done < times && parts.iter().all(|p| g.kernels[p.0].core.halves().is_some()) {
        let mut halves = Vec::with_capacity(2 * parts.len());
        for &part in &parts {
            // The first half is made at the end, and the kernel itself is the other one.
            let made = KernelId(g.kernels.len());
            halve(g, part);
            halves.extend([made, part]);
        }
        (parts, done) = (halves, done + 1);
    }
    for (before, &part) in parts.iter().enumerate().skip(1) {
        let alike = (0..g.kernels.len()).filter(|&t| t == part.0 || g.kernels[t].twin == Some(part));
        for p in alike.map(KernelId).collect::<Vec<_>>() {
            let begun = g.kernels[p.0].core.begun();
            for i in (0..g.kernels[p.0].inputs.len()).filter(|i| Some(*i) != begun) {
                hold_back(g, p, i, before);
            }
        }
    }
    done
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
