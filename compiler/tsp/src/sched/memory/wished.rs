//! Tensors that lie where a search over whole schedules wants them (`crate::polish`).
//!
//! Knows what is free and what must not lie together; must not know why a place is wished for.

use super::*;

/// Where a tensor is to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) side: Hemisphere,
    /// In the slices nearest to this one.
    pub(crate) slice: u32,
    /// Of the first chunk; the second lies in the other bank, and so on.
    pub(crate) bank: u32,
    /// Chunks at most into which rows are cut.
    pub(crate) chunks: u32,
    /// Half of the copies lie on the other side.
    pub(crate) both: bool,
    /// Even where something lies that is read or written by the same kernels.
    pub(crate) meets: bool,
}

impl Wish {
    /// In the slices nearest to one; rows in four chunks, which are read while the ones after them are written.
    pub(crate) fn at(side: Hemisphere, slice: u32) -> Wish {
        Wish { side, slice, bank: 0, chunks: 4, both: false, meets: false }
    }
}

/// Slices from the VXM, to the east.
fn place(s: Slice) -> i32 {
    let from_vxm = i32::from(s.index) + 1;
    if s.hemisphere == Hemisphere::East { from_vxm } else { -from_vxm }
}

impl Memory {
    /// True where a tensor may lie anywhere.
    pub(crate) fn may_lie_anywhere(&self, g: &TiledGraph, t: TensorId) -> bool {
        let (i, info) = (t.0 as usize, g.tensor(t));
        let copied = info.weights && self.loaders[i].len() > 1 && Self::is_initial(g, t);
        self.used[i] && g.stored(t) == t && !info.table && !self.gathered[i] && !copied && self.opposite[i].is_none()
    }

    /// Copies of a tensor.
    pub(crate) fn copies(&self, t: TensorId) -> u32 {
        self.copies[t.0 as usize]
    }

    /// Slices of a hemisphere that tensors may lie in.
    pub(crate) fn slices(&self) -> u32 {
        self.usable
    }

    /// Slices for every chunk of a tensor of some copies, or nothing.
    pub(super) fn wished(
        &mut self,
        i: usize,
        w: Wish,
        (copies, width, words, chunks): (u32, u32, u32, u32),
    ) -> Option<Found> {
        // A load of weights may take more slices than a side has.
        let anywhere = width > self.usable;
        let far = if w.both { copies / 2 } else { 0 };
        let sides = [Hemisphere::East, Hemisphere::West];
        let all: Vec<Slice> = sides
            .into_iter()
            .flat_map(|hemisphere| (0..self.usable).map(move |k| Slice { hemisphere, index: k as u8 }))
            .collect();
        // Where it would meet what a kernel reads or writes with it, if it can be helped; bursts are short and may miss each other.
        let clash: Vec<[bool; 2]> = all.iter().map(|&s| [0, 1].map(|bank| self.clashes(i, s, bank))).collect();
        let mut planned: Vec<[u32; 2]> = vec![[0; 2]; all.len()];
        let mut sets = Sets::new();
        for chunk in 0..chunks {
            let bank = (w.bank + chunk) % 2;
            let mut set: Vec<(Slice, u32)> = Vec::new();
            for (side, n) in [(w.side, copies - far), (across_vxm(w.side), far)] {
                let to = place(Slice { hemisphere: side, index: w.slice as u8 });
                let b = bank as usize;
                let mut near: Vec<(bool, u32, i32, usize)> = (0..all.len())
                    .filter(|&k| anywhere || all[k].hemisphere == side)
                    .map(|k| (clash[k][b] && !w.meets, planned[k][b], (place(all[k]) - to).abs(), k))
                    .collect();
                near.sort_unstable();
                let mut left = n * width;
                for (_, taken, _, k) in near {
                    if left > 0 && !set.contains(&(all[k], bank)) && self.runs(all[k], bank, words, true) > taken {
                        set.push((all[k], bank));
                        planned[k][b] += 1;
                        left -= 1;
                    }
                }
                if left > 0 {
                    return None;
                }
            }
            sets.push(set);
        }
        Some((w.side, sets))
    }
}
