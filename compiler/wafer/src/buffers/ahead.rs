//! Rows of room before what a window takes of its own lane.
//!
//! A row goes to the window and to the neighbours at once, so a window that computes would keep its neighbours from the row
//! after, and then wait itself until theirs have come. With room for rows they have them while all compute:
//!
//! ```text
//!  rows ====+====> [delay] ====> window
//!           |                      ^
//!           \==> columns, rows ==> | of the neighbours
//! ```

use super::{blocks_of, holding, in_blocks, insert_one};
use crate::streams::{KernelId, Lane, WaferGraph};

/// Rows of room: one while the window computes, one more since what neighbours pick comes later by its way.
const ROWS_AHEAD: usize = 2;

/// Rows of a single image at least: with fewer, the row that each window then comes later costs more than neighbours gain.
const FEWEST_ROWS: usize = 16;

/// Kernels that pick what neighbours need.
const PICKS: [&str; 2] = ["columns", "rows"];

/// Puts it before all windows that look into other lanes or bands.
pub(crate) fn add_room_for_neighbours(g: &mut WaferGraph) {
    let windows: Vec<usize> = (0..g.kernels.len()).filter(|&k| looks_across(g, k)).collect();
    for k in windows {
        let Some((layout, images)) = in_blocks(g.stream(g.kernels[k].inputs[0].stream)) else { continue };
        let (blocks, _) = blocks_of(&layout, images);
        if images == 1 && blocks < FEWEST_ROWS {
            continue;
        }
        for _ in 0..ROWS_AHEAD {
            insert_one(g, KernelId(k), 0, holding(1, &layout, images));
        }
    }
}

/// True for a kernel of a lane with operands beside its own, whose rows others pick from as well.
fn looks_across(g: &WaferGraph, k: usize) -> bool {
    let kernel = &g.kernels[k];
    if kernel.lane == Lane::WHOLE || kernel.inputs.len() < 2 || PICKS.contains(&kernel.core.op()) {
        return false;
    }
    let own = &g.stream(kernel.inputs[0].stream).readers;
    own.iter().any(|(r, _)| PICKS.contains(&g.kernels[r.0].core.op()))
}
