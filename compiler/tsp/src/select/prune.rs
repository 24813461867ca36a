//! Kernels that nothing depends on: a value may have been laid out twice, and one of them not used.

use crate::tiled::{TensorId, TiledGraph};

/// Removes the kernels whose results no output depends on.
pub(super) fn prune(g: &mut TiledGraph) {
    let mut wanted = vec![false; g.tensors.len()];
    for o in &g.outputs {
        wanted[o.tensor.0 as usize] = true;
    }
    // What a gathered tensor is put together from.
    let stored: Vec<usize> = (0..g.tensors.len() as u32).map(|t| g.stored(TensorId(t)).0 as usize).collect();
    let mut keep = vec![false; g.kernels.len()];
    for (n, k) in g.kernels.iter().enumerate().rev() {
        let mut used = false;
        k.each_write(|t| used |= wanted[t.0 as usize]);
        if used {
            keep[n] = true;
            k.each_read(|r| wanted[stored[r.tensor.0 as usize]] = true);
            k.each_whole(|t| wanted[t.0 as usize] = true);
        }
    }
    let mut keep = keep.into_iter();
    g.kernels.retain(|_| keep.next().unwrap_or(true));
}
