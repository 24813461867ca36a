//! Kernels in the order in which they could begin.
//!
//! Planes take kernels in the order in which the graph has them. A branch that waits for nothing, as a mask that is spread for the
//! last sum, then stands where its result is used, and the planes that were idle at the beginning have it to do at the end.

use crate::tiled::{Kernel, Kind, Pass, TiledGraph};

/// Cycles from the first row that a kernel reads to the first that it gives, roughly.
const LATENCY: u64 = 60;

/// Planes or pairs of them that share rows.
const PLANES: u64 = 4;
const PAIRS: u64 = 2;

/// An order must end earlier by one part in so many, as far as this file can tell, to be worth a schedule.
const WORTH: u64 = 50;

/// Fewer kernels have no branches that matter.
const FEWEST: usize = 32;

/// The same graph, its kernels by the first cycle in which all that they read could be there; nothing where that would hardly end earlier.
pub(crate) fn by_start(g: &TiledGraph) -> Option<TiledGraph> {
    if g.kernels.len() < FEWEST {
        return None;
    }
    let own: Vec<usize> = (0..g.kernels.len()).collect();
    let (starts, _) = timed(g, &own, false);
    let mut order = own.clone();
    order.sort_by_key(|&k| starts[k]);
    let (before, after) = (timed(g, &own, true).1, timed(g, &order, true).1);
    let worth = after + before / WORTH < before;
    worth.then(|| TiledGraph { kernels: order.into_iter().map(|k| g.kernels[k].clone()).collect(), ..g.clone() })
}

/// When each kernel could start, by its number, and when all have ended; `in_turn`: a unit takes its kernels in this order.
fn timed(g: &TiledGraph, order: &[usize], in_turn: bool) -> (Vec<u64>, u64) {
    let mut there = vec![0u64; g.tensors.len()];
    let mut starts = vec![0; g.kernels.len()];
    let (mut free, mut last) = ([0u64; 4], 0);
    for &number in order {
        let k = &g.kernels[number];
        let unit = match k.kind {
            Kind::MatMul { .. } | Kind::Move { .. } => 0,
            Kind::Map { .. } => 1,
            Kind::Transpose { .. } => 2,
            Kind::Gather { .. } => 3,
        };
        let mut start = if in_turn { free[unit] } else { 0 };
        k.each_read(|r| start = start.max(there[g.stored(r.tensor).0 as usize]));
        k.each_whole(|t| start = start.max(there[g.stored(t).0 as usize]));
        free[unit] = start + cycles(g, k);
        let end = free[unit] + LATENCY;
        k.each_write(|t| {
            let t = &mut there[t.0 as usize];
            *t = (*t).max(end);
        });
        starts[number] = start;
        last = last.max(end);
    }
    (starts, last)
}

/// Cycles for which a kernel takes its unit, roughly; at least one.
fn cycles(g: &TiledGraph, k: &Kernel) -> u64 {
    let n = u64::from(k.n);
    let bytes = |t| u64::from(g.tensor(t).ty.bytes());
    1 + match &k.kind {
        Kind::Map { .. } | Kind::Gather { .. } | Kind::Transpose { .. } => n,
        Kind::MatMul { chains, .. } => {
            let wide = |c: &Vec<Pass>| c.iter().map(|p| bytes(p.act.tensor)).sum::<u64>();
            n * chains.iter().map(wide).sum::<u64>() / PAIRS
        }
        Kind::Move { passes, .. } => n * passes.iter().map(|p| bytes(p.from.tensor)).sum::<u64>() / PLANES,
    }
}

#[cfg(test)]
mod tests {
    use super::by_start;
    use crate::tiled::{Init, Kernel, Kind, NodeNo, RowTensor, Rows, Src, TensorId, TiledGraph};
    use quadrille_isa::tsp::AluType;

    fn tensor(init: Init) -> RowTensor {
        RowTensor::new(String::new(), NodeNo(0), AluType::F32, (8, 16), init)
    }

    fn map(from: &[u32], to: u32) -> Kernel {
        let rows = |t: u32| Rows { tensor: TensorId(t), rows: (0..8).collect() };
        let ins: Vec<Rows> = from.iter().map(|&t| rows(t)).collect();
        let outs = vec![(Src::In(0), rows(to))];
        Kernel { node: NodeNo(to), n: 8, kind: Kind::Map { ins, steps: Vec::new(), outs } }
    }

    #[test]
    fn a_branch_that_waits_for_nothing_goes_first_and_all_come_behind_what_they_read() {
        let mut tensors = vec![tensor(Init::Input { index: 0, pieces: Vec::new() })];
        tensors.extend((0..66).map(|_| tensor(Init::Computed)));
        // A chain of thirty, a branch of thirty, and what takes both.
        let chain = |from: u32| (from..from + 30).map(move |t| map(&[if t == 31 { 0 } else { t - 1 }], t));
        let kernels: Vec<Kernel> = chain(1).chain(chain(31)).chain([map(&[30, 60], 61)]).collect();
        let g = TiledGraph { tensors, kernels, nodes: vec![String::new(); 67], ..TiledGraph::default() };
        let sorted = by_start(&g).expect("another order");
        let order: Vec<u32> = sorted.kernels.iter().map(|k| k.node.0).collect();
        let want: Vec<u32> = (1..=30).flat_map(|t| [t, t + 30]).chain([61]).collect();
        assert_eq!(order, want);
        assert_eq!(by_start(&sorted), None);
    }
}
