//! Where kernels lie: chains of PEs on shelves, in topological order, the first shelf from west
//! to east, the next back again, so that what follows on a full shelf starts near its end.
//!
//! A chain longer than a shelf winds through several rows. Between shelves one row stays free
//! for routes. Knows the mesh's extents; knows nothing of routes.

use crate::streams::Lane;
use quadrille_isa::wafer::{Machine, Pe};
use std::collections::BTreeMap;

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

/// How kernels are set out in the rows of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InLane {
    /// Free rows at the end.
    pub(crate) rows: usize,
    /// Free columns between kernels.
    pub(crate) columns: usize,
    /// At most so many rows are used: more columns, where streams have more ways past each other.
    pub(crate) deepest: usize,
}

const fn in_lane(rows: usize, columns: usize, deepest: usize) -> InLane {
    InLane { rows, columns, deepest }
}

/// Ways to try in turn.
pub(crate) const IN_LANES: [InLane; 7] = [
    in_lane(1, 0, usize::MAX),
    in_lane(1, 1, usize::MAX),
    in_lane(2, 2, usize::MAX),
    in_lane(4, 3, usize::MAX),
    in_lane(8, 6, usize::MAX),
    in_lane(4, 3, 16),
    in_lane(8, 6, 8),
];

/// A column of a lane's rows that more chains may go into.
struct Open {
    column: usize,
    row: usize,
}

/// Places chains in the order given, each within the rows of its lane, from west to east: (kernel, PEs, lane). A chain winds
/// through columns of the lane's height; short ones share a column. `Err` is the number of columns needed.
pub(crate) fn in_lanes(
    chains: &[(usize, usize, Lane)],
    kernels: usize,
    InLane { rows, columns, deepest }: InLane,
    m: &Machine,
) -> Result<Placement, usize> {
    let (width, height) = (m.geometry.width_pes as usize, m.geometry.height_pes as usize);
    let mut front = vec![EDGE; height];
    let mut open: BTreeMap<Lane, Open> = BTreeMap::new();
    let mut placed = vec![Vec::new(); kernels];
    for &(kernel, n, lane) in chains {
        let band = height * lane.index / lane.of..height * (lane.index + 1) / lane.of;
        let most = band.len().saturating_sub(rows).clamp(1, deepest);
        let first = front[band.clone()].iter().copied().max().unwrap_or(EDGE);
        let shared = open.get(&lane).filter(|o| o.column + 1 + columns == first && o.row + n <= band.start + most);
        let (x0, y0, deep, wide) = match shared {
            Some(o) => (o.column, o.row, n, 1),
            None => {
                let wide = n.div_ceil(most).max(1);
                (first, band.start, n.div_ceil(wide), wide)
            }
        };
        placed[kernel] = (0..n)
            .map(|i| {
                let (column, at) = (i / deep, i % deep);
                // Down one column, up the next.
                let row = if column.is_multiple_of(2) { at } else { deep - 1 - at };
                Pe { x: (x0 + column).min(usize::from(u16::MAX)) as u16, y: (y0 + row) as u16 }
            })
            .collect();
        front[band].fill(x0 + wide + columns);
        if wide == 1 {
            open.insert(lane, Open { column: x0, row: y0 + n });
        } else {
            open.remove(&lane);
        }
    }
    let used = front.iter().copied().max().unwrap_or(0);
    if used + EDGE > width + columns {
        return Err(used + EDGE);
    }
    Ok(Placement { chains: placed })
}
