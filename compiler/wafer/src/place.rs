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

/// How kernels are set out: close together, or with room for routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    /// What follows on a kernel comes next, one branch after the other; else kernels in their own order.
    pub(crate) depth_first: bool,
    /// Shelves about as wide as all of them are high; else as wide as the mesh.
    pub(crate) square: bool,
    /// Free rows between shelves.
    pub(crate) rows: usize,
    /// Free columns between chains.
    pub(crate) columns: usize,
}

const fn style(depth_first: bool, square: bool, rows: usize, columns: usize) -> Style {
    Style { depth_first, square, rows, columns }
}

/// Ways to try in turn while routes need more colors than there are.
pub(crate) const STYLES: [Style; 6] = [
    style(false, false, 1, 0),
    style(true, false, 1, 0),
    style(true, true, 2, 1),
    style(true, true, 5, 2),
    style(true, true, 9, 4),
    style(true, true, 15, 9),
];

/// The width of a shelf: of the mesh, or of a square that holds all chains with the room around them.
fn shelf_width(lengths: &[(usize, usize)], style: Style, m: &Machine) -> usize {
    let most = (m.geometry.width_pes as usize).saturating_sub(2 * EDGE).max(1);
    if !style.square {
        return most;
    }
    let cells: usize = lengths.iter().map(|&(_, n)| (n + style.columns) * (style.rows + 1)).sum();
    let longest = lengths.iter().map(|&(_, n)| n).max().unwrap_or(1);
    cells.isqrt().max(longest.min(32)).clamp(1, most)
}

/// Places chains of the given lengths in the order given; `Err` is the number of rows needed.
pub(crate) fn place(lengths: &[(usize, usize)], kernels: usize, style: Style, m: &Machine) -> Result<Placement, usize> {
    let width = shelf_width(lengths, style, m);
    let mut chains = vec![Vec::new(); kernels];
    let (mut y, mut used, mut shelf, mut height) = (0usize, 0usize, 0usize, 1usize);
    for &(kernel, n) in lengths {
        if used > 0 && used + n > width {
            y += height + style.rows;
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
        used = if rows > 1 { width } else { used + n + style.columns };
    }
    let rows = y + height;
    if rows > m.geometry.height_pes as usize {
        return Err(rows);
    }
    Ok(Placement { chains })
}
