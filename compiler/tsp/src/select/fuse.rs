//! An elementwise kernel that alone reads what products of bytes write becomes the end of the products' sequences.

use super::expr::Expr;
use super::shorten::{ANY, shorten};
use crate::sched::vxm::plan;
use crate::tiled::{Init, Kernel, Kind, Rows, Src, Step, TensorId, TiledGraph};
use quadrille_isa::tsp::{AluOp, AluType};
use std::collections::BTreeMap;

/// ALU instructions of a sequence that is fused at bytes at most: two planes of a hemisphere then still have one each at a time.
const MOST: usize = 8;

/// What a product's sequence becomes.
struct Fused {
    ins: Vec<Rows>,
    steps: Vec<Step>,
    outs: Vec<(Src, Rows)>,
}

/// What the VXM can do at once: ALUs, and groups of four streams of operands; and whether zeros keep their signs.
#[derive(Clone, Copy)]
struct Room {
    alus: usize,
    groups: usize,
    zeros: bool,
}

/// True for a sequence that makes halves of bytes of its operand 0.
fn widens(steps: &[Step]) -> bool {
    let [first, .., last] = steps else { return false };
    let bytes = first.op == AluOp::Cast(AluType::F32) && first.ty.bytes() == 1 && first.src[0] == Src::In(0);
    bytes && last.op == AluOp::Cast(AluType::F16)
}

/// A product of bytes with one result, which it writes to a tensor.
fn writes_alone(g: &TiledGraph, k: &Kernel) -> bool {
    let Kind::MatMul { chains, outs, .. } = &k.kind else { return false };
    let bytes = chains.iter().flatten().all(|p| g.tensor(p.act.tensor).ty.bytes() == 1);
    chains.len() == 1 && bytes && matches!(outs[..], [(Src::Op(_), _)])
}

/// The product, which writes operand `number` of a kernel, with the kernel's steps behind its own.
fn fused(g: &TiledGraph, product: &Kernel, map: &Kernel, number: usize, room: Room) -> Option<Fused> {
    let Kind::MatMul { ins, steps, outs, .. } = &product.kind else { return None };
    let Kind::Map { ins: read, steps: more_steps, outs: then } = &map.kind else { return None };
    let [(from, written)] = &outs[..] else { return None };
    let place: BTreeMap<u32, usize> = read[number].rows.iter().enumerate().map(|(i, &r)| (r, i)).collect();
    let at: Vec<usize> = written.rows.iter().map(|r| place.get(r).copied()).collect::<Option<_>>()?;
    let taken = |r: &Rows| Rows { tensor: r.tensor, rows: at.iter().map(|&i| r.rows[i]).collect() };
    let others = read.iter().enumerate().filter(|(n, _)| *n != number);
    let all_ins: Vec<Rows> = ins.iter().cloned().chain(others.map(|(_, r)| taken(r))).collect();
    let base = steps.len() as u16;
    let follow = |s: Src| match s {
        Src::In(k) if usize::from(k) == number => *from,
        Src::In(k) => Src::In(1 + ins.len() as u16 + k - u16::from(usize::from(k) > number)),
        Src::Op(k) => Src::Op(k + base),
        s => s,
    };
    let more = more_steps.iter().map(|s| Step { src: s.src.map(follow), ..*s });
    let mut all = Expr { steps: steps.iter().copied().chain(more).collect() };
    let mut roots: Vec<Src> = then.iter().map(|(s, _)| follow(*s)).collect();
    shorten(&mut all, &mut roots, &|_| ANY, room.zeros);
    let all: Vec<Step> = all.steps;
    let bytes = |r: &Rows| g.tensor(r.tensor).ty.bytes();
    // A long sequence behind a short one: planes would wait for the ALUs that it takes, one row a cycle.
    let slots = |steps: &[Step], ins: usize| plan(steps, ins).slots.len();
    let apart = slots(more_steps, read.len()) > MOST && slots(steps, 1 + ins.len()) <= MOST / 2;
    let most = if bytes(written) == 1 || apart { MOST } else { room.alus - 1 };
    let wide = all_ins.iter().filter(|r| bytes(r) == 4).count();
    let narrow: u8 = all_ins.iter().map(bytes).filter(|&b| b < 4).sum();
    let groups = wide + usize::from(narrow.saturating_sub(3).div_ceil(4));
    let short = plan(&all, 1 + all_ins.len()).slots.len() + then.len().saturating_sub(1) <= most;
    (short && groups <= room.groups).then(|| Fused {
        ins: all_ins,
        steps: all,
        outs: roots.into_iter().zip(then).map(|(s, (_, r))| (s, taken(r))).collect(),
    })
}

/// The operand of an elementwise kernel that products can take over, with all of these.
fn taken_over(g: &TiledGraph, n: usize, readers: &[u32], writers: &BTreeMap<TensorId, Vec<usize>>) -> Option<usize> {
    let Kind::Map { ins, steps, outs } = &g.kernels[n].kind else { return None };
    let weights = outs.iter().any(|(_, r)| g.tensor(r.tensor).weights);
    let written = |t: TensorId| writers.get(&t).map_or(&[][..], Vec::as_slice);
    let found = (0..ins.len()).find(|&number| {
        let t = ins[number].tensor;
        let products = written(t);
        let rows: usize = products.iter().map(|&p| g.kernels[p].n as usize).sum();
        let all = !products.is_empty()
            && products.iter().all(|&p| p < n && writes_alone(g, &g.kernels[p]))
            && readers[t.0 as usize] == 1
            && rows == ins[number].rows.len();
        // Bytes are kept where several products make them, but for products of floats, which take halves.
        let one = g.tensor(t).ty.bytes() != 1 || ins.len() == 1 && (products.len() == 1 || widens(steps));
        let first = products.first().copied().unwrap_or(0);
        let there = |(k, r): (usize, &Rows)| k == number || written(g.stored(r.tensor)).iter().all(|&w| w < first);
        all && one && ins.iter().enumerate().all(there)
    })?;
    (!weights).then_some(found)
}

/// Fuses where it can.
pub(super) fn fuse(g: &mut TiledGraph, alus: usize, groups: usize, zeros: bool) {
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
        let Some(number) = taken_over(g, n, &readers, &writers) else { continue };
        let Kind::Map { ins, outs, .. } = &g.kernels[n].kind else { continue };
        let (t, results): (TensorId, Vec<TensorId>) =
            (ins[number].tensor, outs.iter().map(|(_, r)| r.tensor).collect());
        let products = writers.get(&t).cloned().unwrap_or_default();
        let of = |&p: &usize| fused(g, &g.kernels[p], &g.kernels[n], number, Room { alus, groups, zeros });
        let Some(all) = products.iter().map(of).collect::<Option<Vec<_>>>() else { continue };
        for (&p, f) in products.iter().zip(all) {
            if let Kind::MatMul { ins, steps, outs, .. } = &mut g.kernels[p].kind {
                (*ins, *steps, *outs) = (f.ins, f.steps, f.outs);
            }
        }
        for r in results {
            let w = writers.entry(r).or_default();
            w.retain(|&k| k != n);
            w.extend(&products);
            w.sort_unstable();
        }
        *gone = true;
    }
    let mut gone = gone.into_iter();
    g.kernels.retain(|_| !gone.next().unwrap_or(false));
}
