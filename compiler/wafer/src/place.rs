//! Where kernels lie: chains of PEs on shelves, in topological order, the first shelf from west
//! to east, the next back again, so that what follows on a full shelf starts near its end.
//!
//! A chain longer than a shelf winds through several rows. Between shelves one row stays free
//! for routes. Knows the mesh's extents; knows nothing of routes.

use quadrille_isa::wafer::{Machine, Pe};

/// The PEs of every kernel, in chain order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    pub(crate) chains: Vec<Vec<Pe>>,
}

/// Free columns at the edges, where ports are.
const EDGE: usize = 1;

/// Places chains of the given lengths in the order given; `Err` is the number of rows needed.
pub(crate) fn place(lengths: &[(usize, usize)], kernels: usize, m: &Machine) -> Result<Placement, usize> {
    let width = (m.geometry.width_pes as usize).saturating_sub(2 * EDGE).max(1);
    let mut chains = vec![Vec::new(); kernels];
    let (mut y, mut used, mut shelf, mut height) = (0usize, 0usize, 0usize, 1usize);
    for &(kernel, n) in lengths {
        if used > 0 && used + n > width {
            y += height + 1;
            shelf += 1;
            (used, height) = (0, 1);
        }
        let rows = n.div_ceil(width);
        let chain = (0..n).map(|i| {
            let (row, col) = (i / width, used + i % width);
            // Shelves go back and forth, and so do the rows of a long chain.
            let west_to_east = (shelf + row).is_multiple_of(2);
            let x = if west_to_east { EDGE + col } else { EDGE + width - 1 - col };
            Pe { x: x as u16, y: (y + row).min(usize::from(u16::MAX)) as u16 }
        });
        chains[kernel] = chain.collect();
        height = height.max(rows);
        used = if rows > 1 { width } else { used + n };
    }
    let rows = y + height;
    if rows > m.geometry.height_pes as usize {
        return Err(rows);
    }
    Ok(Placement { chains })
}
