//! Where what is gathered from lies: at one word address in all of its slices, so that one address map serves them.
//!
//! Knows the words that are left; must not know maps or kernels.

use super::*;

impl Memory {
    /// A word of the bank from which all slices of a set have room, and when it is free.
    pub(super) fn common_base(&mut self, set: &[(Slice, u32)], words: u32, reuse: bool) -> Option<(u32, u32)> {
        let limit = set.iter().map(|&(s, bank)| self.limit(s, bank)).min().unwrap_or(0);
        for (_, bank, base) in self.bases.clone().into_iter().filter(|b| b.0 == words) {
            let mut at =
                |&(s, b): &(Slice, u32)| if b == bank { self.room_at(s, b, (base, words), reuse) } else { None };
            if let Some(at) = set.iter().map(&mut at).collect::<Option<Vec<u32>>>() {
                return Some((base, at.into_iter().max().unwrap_or(0)));
            }
        }
        let top = set.iter().map(|&(s, bank)| self.bank(s, bank).bump).max().unwrap_or(0);
        let kept = set.iter().map(|&(s, bank)| self.kept(s, bank)).max().unwrap_or(0);
        if top + words + kept <= limit {
            return Some((top, 0));
        }
        if !reuse {
            return None;
        }
        let mut bases: Vec<u32> = Vec::new();
        for &(s, bank) in set {
            bases.extend(self.bank(s, bank).free.iter().map(|f| f.0));
        }
        bases.sort_unstable();
        bases.dedup();
        let mut best: Option<(u32, u32)> = None;
        for base in bases {
            let mut at = 0;
            let holds = set.iter().all(|&(s, bank)| {
                let run = self.bank(s, bank).free.iter().find(|f| f.0 <= base && base + words <= f.0 + f.1).copied();
                at = run.map_or(at, |f| at.max(f.2));
                run.is_some()
            });
            if holds && best.is_none_or(|b| at < b.1) {
                best = Some((base, at));
            }
        }
        best
    }

    /// Takes words that [`Memory::common_base`] found.
    pub(super) fn take_at(&mut self, s: Slice, bank: u32, base: u32, words: u32) -> Region {
        let limit = self.bank_words;
        let b = self.bank(s, bank);
        if base >= b.bump {
            if base > b.bump {
                b.free.push((b.bump, base - b.bump, 0));
            }
            b.bump = base + words;
        } else if let Some(k) = b.free.iter().position(|f| f.0 <= base && base + words <= f.0 + f.1) {
            let (start, len, at) = b.free.remove(k);
            b.free.extend([(start, base - start, at), (base + words, start + len - base - words, at)]);
            b.free.retain(|f| f.1 > 0);
        }
        Region { slice: s, base: (bank * limit + base) as u16 }
    }

    /// Banks in which a tensor may lie, where it must be one: first with the words to which address maps lead already.
    pub(super) fn bases_for(&self, gathered: bool, words: u32) -> Vec<(Option<u32>, Option<u32>)> {
        if !gathered {
            return vec![(None, None)];
        }
        let known = self.bases.iter().filter(|b| b.0 == words).map(|&(_, bank, base)| (Some(bank), Some(base)));
        known.chain([(Some(0), None), (Some(1), None)]).collect()
    }

    /// When so many words from one on are free.
    pub(super) fn room_at(&mut self, s: Slice, bank: u32, (base, words): (u32, u32), reuse: bool) -> Option<u32> {
        let (limit, kept) = (self.limit(s, bank), self.kept(s, bank));
        let b = self.bank(s, bank);
        if b.bump <= base && base + words + kept <= limit {
            return Some(0);
        }
        let run = b.free.iter().find(|f| f.0 <= base && base + words <= f.0 + f.1);
        run.filter(|_| reuse).map(|f| f.2)
    }

    /// Gives the place of a tensor that was gathered from to the next of its size, where room is short: address maps to there
    /// are in SRAM already.
    pub(super) fn hand_over(&mut self, g: &TiledGraph, t: usize) -> bool {
        let alike = |n: &usize| {
            let (a, b) = (&g.tensors[t], &g.tensors[*n]);
            let open = self.gathered[*n] && self.used[*n] && self.homes[*n].chunks.is_empty();
            let filled = a.fill.is_some() || b.fill.is_some();
            open && !filled && (a.rows, a.ty, self.copies[t]) == (b.rows, b.ty, self.copies[*n])
        };
        if !self.tight || !self.gathered[t] {
            return false;
        }
        let Some(next) = (t + 1..g.tensors.len()).find(alike) else { return false };
        let mut home =
            Home { value: self.new_value(), ready: vec![0; self.homes[t].ready.len()], ..Home::clone(&self.homes[t]) };
        home.chunks.iter_mut().for_each(|c| c.free_at = self.homes[t].last_read + 1);
        home.last_read = 0;
        self.homes[next] = Arc::new(home);
        true
    }
}
