//! How short a program of a tiled graph can be: an exhaustive search over start times, for graphs of a few kernels.
//!
//! Written from the description of the machine alone. Nothing here comes from the scheduler: what must happen, in
//! which order and how many cycles apart is in `work`, the search in `search`. Where the machine leaves a choice that would
//! make the search large (which slices, which streams, which planes), any number of choices may be made at once;
//! so what the search finds is never longer than the shortest program, and may be shorter.

mod search;
mod work;

use quadrille_isa::tsp::Machine;
use quadrille_tsp::TiledGraph;

/// What the search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortest {
    /// No program is shorter, in cycles from the barrier to the last event, skew included.
    pub cycles: u64,
    /// Length of the longest path, when every unit could do any number of things at once.
    pub path: u64,
    /// False where the search gave up: then a length between `cycles` and the best known may exist.
    pub exhausted: bool,
}

/// Moves at most of which all choices of units are looked at.
const MOST_MOVES: u32 = 6;

/// The least length of a program of `g`, or `None` for kernels that the search does not know. Some program is `known` cycles long:
/// a search that admits none of that length is wrong, and panics.
pub fn shortest(g: &TiledGraph, m: &Machine, known: u64) -> Option<Shortest> {
    let movable = work::work(g, m, 0)?.movable;
    if movable > MOST_MOVES {
        return None;
    }
    // Each of these by permuters or by planes.
    let ways: Vec<work::Work> = (0..1 << movable).filter_map(|by_planes| work::work(g, m, by_planes)).collect();
    let skew = u64::from(m.geometry.superlanes) - 1;
    let path = ways.iter().map(|w| w.path() as u64 + skew).min()?;
    for cycles in path..=known {
        let mut gave_up = false;
        for way in &ways {
            match search::fits(way, (cycles - skew) as i64) {
                search::Answer::Fits => return Some(Shortest { cycles, path, exhausted: true }),
                search::Answer::GaveUp => gave_up = true,
                search::Answer::TooShort => {}
            }
        }
        if gave_up {
            return Some(Shortest { cycles, path, exhausted: false });
        }
    }
    panic!("`{}` runs in {known} cycles, but the search finds nothing so short", g.name)
}
