//! An elementwise kernel over bytes that alone reads what a product writes becomes the end of the product's sequence.

use crate::sched::vxm::plan;
use crate::tiled::{Init, Kernel, Kind, Rows, Src, Step, TensorId, TiledGraph};
use std::collections::BTreeMap;

/// ALU instructions of a fused sequence at most: two planes of a hemisphere then still have one each at a time.
const MOST: usize = 8;

/// What a product's sequence becomes: steps and results.
type Fused = (Vec<Step>, Vec<(Src, Rows)>);

fn fused(product: &Kernel, map: &Kernel) -> Option<Fused> {
    let Kind::MatMul { ins, steps, outs, .. } = &product.kind else { return None };
    let Kind::Map { ins: read, steps: more, outs: then } = &map.kind else { return None };
    let [(from, written)] = &outs[..] else { return None };
    if read.len() != 1 || read[0] != *written || !matches!(from, Src::Op(_)) || product.n != map.n {
        return None;
    }
    let base = steps.len() as u16;
    let follow = |s: Src| match s {
        Src::In(_) => *from,
        Src::Op(k) => Src::Op(k + base),
        s => s,
    };
    let more = more.iter().map(|s| Step { src: s.src.map(follow), ..*s });
    let all: Vec<Step> = steps.iter().copied().chain(more).collect();
    let short = plan(&all, 1 + ins.len()).slots.len() <= MOST;
    short.then(|| (all, then.iter().map(|(s, r)| (follow(*s), r.clone())).collect()))
}

/// Fuses where it can.
pub(super) fn fuse(g: &mut TiledGraph) {
    let mut readers = vec![0u32; g.tensors.len()];
    let mut writers: BTreeMap<TensorId, Vec<usize>> = BTreeMap::new();
    for (n, k) in g.kernels.iter().enumerate() {
        k.each_read(|r| readers[r.tensor.0 as usize] += 1);
        k.each_whole(|t| readers[t.0 as usize] += 1);
        k.each_write(|t| writers.entry(t).or_default().push(n));
    }
    g.outputs.iter().for_each(|o| readers[o.tensor.0 as usize] += 1);
    for t in &g.tensors {
        if let Init::Gather { from, .. } = &t.init {
            readers[from.0 as usize] += 1;
        }
    }
    let mut gone = vec![false; g.kernels.len()];
    for (n, gone) in gone.iter_mut().enumerate() {
        let Kind::Map { ins, .. } = &g.kernels[n].kind else { continue };
        let [read] = &ins[..] else { continue };
        let bytes = g.tensor(read.tensor).ty.bytes() == 1;
        let Some([product]) = writers.get(&read.tensor).map(Vec::as_slice) else { continue };
        let product = *product;
        if !bytes || readers[read.tensor.0 as usize] != 1 || product > n {
            continue;
        }
        let Some((all, then)) = fused(&g.kernels[product], &g.kernels[n]) else { continue };
        if let Kind::MatMul { steps, outs, .. } = &mut g.kernels[product].kind {
            (*steps, *outs) = (all, then);
            *gone = true;
        }
    }
    let mut gone = gone.into_iter();
    g.kernels.retain(|_| !gone.next().unwrap_or(false));
}
