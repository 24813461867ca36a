//! Which element of a vector lies where on a line of PEs.

use super::phase::{Groups, NONE};
use std::sync::Arc;

/// A vector in pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Elements of a piece.
    pub(super) piece: usize,
    /// By place and slot: the element, or [`NONE`].
    pub(super) index: Arc<Vec<u32>>,
    /// Heads, when the pieces keep to them.
    pub(super) heads: Option<Heads>,
}

/// Heads in groups of places. A piece is `[heads of the group][half of the width][pairs]`, so both elements that a
/// rotary embedding joins lie on one PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heads {
    pub(super) groups: Groups,
    /// Heads of a group.
    pub(super) reps: usize,
    /// Width of a head.
    pub(super) width: usize,
    /// Elements of each half on a place.
    pub(super) pairs: usize,
}

impl Heads {
    /// Elements of a head on a place.
    pub(super) fn slots(&self) -> usize {
        2 * self.pairs
    }

    /// Element of a head in a slot of a place within a group; none beyond its width.
    pub(super) fn element(&self, within: u16, slot: usize) -> Option<usize> {
        let half = self.width / 2;
        let pair = usize::from(within) * self.pairs + slot % self.pairs;
        (pair < half).then(|| slot / self.pairs * half + pair)
    }
}

impl Layout {
    /// `n` elements in equal pieces over `places` PEs.
    pub(super) fn plain(n: usize, places: u16) -> Layout {
        let piece = n.div_ceil(usize::from(places)).max(1);
        let index = (0..piece * usize::from(places)).map(|i| if i < n { i as u32 } else { NONE }).collect();
        Layout { piece, index: Arc::new(index), heads: None }
    }

    /// `n` elements over places that take so many each.
    pub(super) fn uneven(n: usize, room: &[usize]) -> Layout {
        let piece = room.iter().copied().max().unwrap_or(0).max(1);
        let mut next = 0..n as u32;
        let index = room.iter().flat_map(|&r| (0..piece).map(move |i| i < r).collect::<Vec<_>>());
        let index = index.map(|holds| if holds { next.next().unwrap_or(NONE) } else { NONE }).collect();
        Layout { piece, index: Arc::new(index), heads: None }
    }

    /// Heads over the places of their groups.
    pub(super) fn of_heads(heads: Heads, places: u16) -> Layout {
        let piece = heads.reps * heads.slots();
        let mut index = Vec::with_capacity(usize::from(places) * piece);
        for place in 0..places {
            let group = usize::from(place.saturating_sub(heads.groups.first) / heads.groups.size.max(1));
            for slot in 0..piece {
                let within = heads.groups.within(place);
                let element = within.and_then(|j| heads.element(j, slot % heads.slots()));
                let head = group * heads.reps + slot / heads.slots();
                index.push(element.map_or(NONE, |d| (head * heads.width + d) as u32));
            }
        }
        Layout { piece, index: Arc::new(index), heads: Some(heads) }
    }

    /// Elements of a place.
    pub(super) fn of(&self, place: usize) -> &[u32] {
        &self.index[place * self.piece..(place + 1) * self.piece]
    }

    /// True when some slots hold nothing.
    pub(super) fn has_gaps(&self) -> bool {
        self.index.contains(&NONE)
    }
}
