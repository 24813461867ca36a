//! An elementwise kernel over what several products of bytes write, block by block, becomes a kernel for each block: it can go
//! as soon as that product has, and so can what takes the block as a part of its inner axis.

use crate::tiled::{Kernel, Kind, Rows, TensorId, TiledGraph};
use std::collections::BTreeMap;

fn is_product_of_bytes(g: &TiledGraph, k: &Kernel) -> bool {
    let Kind::MatMul { chains, .. } = &k.kind else { return false };
    chains.len() == 1 && chains.iter().flatten().all(|p| g.tensor(p.act.tensor).ty.bytes() == 1)
}

/// The rows of a kernel that read what each product writes; nothing where it is not made of whole products.
fn blocks(g: &TiledGraph, k: &Kernel, writers: &BTreeMap<TensorId, Vec<usize>>) -> Option<Vec<Vec<usize>>> {
    let Kind::Map { ins, .. } = &k.kind else { return None };
    let of = |r: &Rows| {
        let products = writers.get(&r.tensor).filter(|w| w.len() > 1)?;
        let place: BTreeMap<u32, usize> = r.rows.iter().enumerate().map(|(i, &row)| (row, i)).collect();
        let mut all = Vec::new();
        for &p in products {
            let Kind::MatMul { outs, .. } = &g.kernels[p].kind else { return None };
            let (_, written) = outs.iter().find(|(_, o)| o.tensor == r.tensor)?;
            all.push(written.rows.iter().map(|row| place.get(row).copied()).collect::<Option<Vec<_>>>()?);
        }
        let bytes = products.iter().all(|&p| is_product_of_bytes(g, &g.kernels[p]));
        (bytes && all.iter().map(Vec::len).sum::<usize>() == r.rows.len()).then_some(all)
    };
    ins.iter().find_map(of)
}

/// Cuts kernels into blocks where it can.
pub(super) fn apart(g: &mut TiledGraph) {
    let mut writers: BTreeMap<TensorId, Vec<usize>> = BTreeMap::new();
    for (n, k) in g.kernels.iter().enumerate() {
        k.each_write(|t| writers.entry(t).or_default().push(n));
    }
    let mut out = Vec::with_capacity(g.kernels.len());
    for k in &g.kernels {
        let (Some(blocks), Kind::Map { ins, steps, outs }) = (blocks(g, k, &writers), &k.kind) else {
            out.push(k.clone());
            continue;
        };
        for b in blocks {
            let own = |r: &Rows| Rows { tensor: r.tensor, rows: b.iter().map(|&i| r.rows[i]).collect() };
            let kind = Kind::Map {
                ins: ins.iter().map(own).collect(),
                steps: steps.clone(),
                outs: outs.iter().map(|(s, r)| (*s, own(r))).collect(),
            };
            out.push(Kernel { node: k.node, n: b.len() as u32, kind });
        }
    }
    g.kernels = out;
}
