//! Which slices the chunks of a tensor take.
//!
//! Knows what lies in each slice and when it is used; must not know how a kernel is scheduled.

use super::*;

/// Where to look, in this order: words used before, copies on both sides, slices for weights too.
const TRIES: [(bool, bool, bool); 6] = [
    (false, false, false),
    (false, true, false),
    (false, false, true),
    (false, true, true),
    (true, false, true),
    (true, true, true),
];

/// The same for tensors of more rows than a bank has words: those would leave no word that nothing has used, and address maps and weights
/// need such words.
const LARGE_TRIES: [(bool, bool, bool); 6] = [
    (false, false, false),
    (false, true, false),
    (true, false, false),
    (true, true, false),
    (true, false, true),
    (true, true, true),
];

/// The same where room is short: what was used before rather than what weights lie in.
const SHORT_TRIES: [(bool, bool, bool); 6] = [
    (false, false, false),
    (true, false, false),
    (true, true, false),
    (false, false, true),
    (true, false, true),
    (true, true, true),
];

impl Memory {
    /// Where room is short what is computed keeps to the slices for rows as long as it can.
    fn tries(&self, rows: u32) -> [(bool, bool, bool); 6] {
        match (self.thrifty && self.by_time, rows < self.bank_words) {
            (true, _) => SHORT_TRIES,
            (_, true) => TRIES,
            _ => LARGE_TRIES,
        }
    }

    /// As [`Memory::search`], by what the uses of each chunk cost; of chunks in so many banks of the same slices.
    pub(super) fn search_by_time(
        &mut self,
        i: usize,
        rows: u32,
        (width, per_chunk, words): (u32, u32, u32),
        banks: &[usize],
        uses: &[Vec<Vec<Access>>],
    ) -> Option<Found> {
        let (copies, gathered) = (self.copies[i], self.gathered[i]);
        for (reuse, mixed, all) in self.tries(rows) {
            if mixed && (copies < 2 || self.opposite[i].is_some()) || (gathered && !mixed) {
                continue;
            }
            let mut best: Option<(u64, Found)> = None;
            for h in self.sides(i) {
                for (bank, base) in self.bases_for(gathered, words) {
                    let near = if mixed { copies.div_ceil(2) } else { copies };
                    let ask = |n| Ask {
                        words,
                        chunks: banks.iter().sum::<usize>() as u32,
                        n,
                        bank: 0,
                        reuse,
                        weights: false,
                        table: false,
                        all,
                        both: false,
                        first: false,
                        base,
                    };
                    let counts = (width * near, per_chunk - width * near);
                    let Some((mut cost, mut sets)) =
                        self.choose_by_time(i, h, ask(counts.0), (bank, width, 0), banks, uses)
                    else {
                        continue;
                    };
                    if counts.1 > 0 {
                        let (other, from) = (across_vxm(h), (bank, width, near as usize));
                        let far = self.choose_by_time(i, other, ask(counts.1), from, banks, uses);
                        let Some((more, far)) = far else { continue };
                        cost += more;
                        sets.iter_mut().zip(far).for_each(|(a, b)| a.extend(b));
                    }
                    if gathered && self.common_base(&sets[0], words, reuse).is_none() {
                        continue;
                    }
                    // Where an address map leads already, whatever else that costs.
                    if base.is_some() {
                        return Some((h, sets));
                    }
                    if best.as_ref().is_none_or(|b| cost < b.0) {
                        best = Some((cost, (h, sets)));
                    }
                }
            }
            if let Some((_, found)) = best {
                return Some(found);
            }
        }
        None
    }

    /// Slices on a side for every chunk that cost least, or nothing.
    fn choose_by_time(
        &mut self,
        t: usize,
        h: Hemisphere,
        ask: Ask,
        (only, width, first): (Option<u32>, u32, usize),
        banks: &[usize],
        uses: &[Vec<Vec<Access>>],
    ) -> Option<(u64, Sets)> {
        let inner = if ask.all { self.usable } else { self.usable - 16 };
        let turn = self.turn[usize::from(h == Hemisphere::East)];
        let mut planned: Vec<[u32; 2]> = vec![[0; 2]; inner as usize];
        let mut sets: Vec<Vec<(Slice, u32)>> = Vec::new();
        let mut booked: Vec<(Slice, u8, Vec<Access>)> = Vec::new();
        let mut sum = 0;
        for &beside in banks {
            let chunks = &uses[sets.len()..sets.len() + beside];
            // The first chunk is in one bank, the second in the other.
            let of = |bank: u32, n: usize| (bank + n as u32) % 2;
            let mut best: Option<(u64, u32, Vec<Slice>)> = None;
            for bank in only.map_or_else(|| vec![0, 1], |b| vec![b]) {
                let (mut cost, mut set) = (0, Vec::new());
                // What the bytes of a copy cost in each slice.
                let mut costs: Vec<Option<u64>> = Vec::new();
                for slot in 0..ask.n {
                    let n = (slot / width) as usize;
                    if slot.is_multiple_of(width) {
                        let at = |index: u32| {
                            let s = Slice { hemisphere: h, index: index as u8 };
                            let before = planned[index as usize];
                            let each = chunks.iter().enumerate().map(|(c, chunk)| {
                                let bank = of(bank, c);
                                let want = (before[bank as usize] + 1) * ask.words;
                                let again = ask.reuse && before[bank as usize] == 0;
                                match ask.base {
                                    Some(base) => self.room_at(s, bank, (base, ask.words), again)?,
                                    None => self.room(s, bank, want, again)?,
                                };
                                self.traffic.cost(s, bank as u8, self.uses_of_copy(t, chunk, h, n, first + n))
                            });
                            each.sum()
                        };
                        costs = (0..inner).map(at).collect();
                    }
                    let mut least: Option<(u64, u32, Slice)> = None;
                    for k in 0..inner {
                        let index = (turn + slot + k) % inner;
                        let s = Slice { hemisphere: h, index: index as u8 };
                        let before = planned[index as usize];
                        if set.contains(&s) {
                            continue;
                        }
                        let Some(c) = costs[index as usize] else { continue };
                        let crowded = before[0] + before[1];
                        if least.is_none_or(|l| (c, crowded) < (l.0, l.1)) {
                            least = Some((c, crowded, s));
                        }
                    }
                    let Some((c, _, s)) = least else { break };
                    cost += c;
                    set.push(s);
                }
                if set.len() == ask.n as usize && best.as_ref().is_none_or(|b| cost < b.0) {
                    best = Some((cost, bank, set));
                }
            }
            let Some((cost, bank, set)) = best else { break };
            sum += cost;
            for (c, chunk) in chunks.iter().enumerate() {
                let bank = of(bank, c);
                for (slot, &s) in set.iter().enumerate() {
                    let n = slot / width as usize;
                    let own = self.uses_of_copy(t, chunk, h, n, first + n).to_vec();
                    self.traffic.add(s, bank as u8, &own);
                    planned[usize::from(s.index)][bank as usize] += 1;
                    booked.push((s, bank as u8, own));
                }
                sets.push(set.iter().map(|&s| (s, bank)).collect());
            }
        }
        for (s, bank, own) in booked {
            self.traffic.remove(s, bank, &own);
        }
        (sets.len() == ask.chunks as usize).then_some((sum, sets))
    }

    /// Slices for each chunk of a tensor, on side `own` if given: all copies on one side, else half of them on each.
    pub(super) fn search(
        &mut self,
        i: usize,
        info: &RowTensor,
        own: Option<Hemisphere>,
        (width, per_chunk, words, chunks, spread): (u32, u32, u32, u32, bool),
    ) -> Option<Found> {
        let (weights, table, copies, gathered) = (info.weights, info.table, self.copies[i], self.gathered[i]);
        let first = self.tight && !weights && !table && matches!(info.init, Init::Const(_));
        for (reuse, mixed, all) in self.tries(if weights || table { 0 } else { info.rows }) {
            let one_side = weights || copies < 2 || self.opposite[i].is_some();
            if mixed && one_side || (gathered && !mixed) {
                continue;
            }
            let sides = match own {
                Some(h) => vec![h],
                None if table && self.thrifty && self.forced(i).is_none() => self.by_room(),
                None => self.sides(i),
            };
            for h in sides {
                for turn in 0..2 {
                    let bank = if table { 0 } else { (i as u32 / 2 + turn) % 2 };
                    let near = if mixed { copies.div_ceil(2) } else { copies };
                    let counts = if weights { [per_chunk, 0] } else { [width * near, width * (copies - near)] };
                    let ask =
                        |n| Ask { words, chunks, n, bank, reuse, weights, table, first, all, both: spread, base: None };
                    let Some(mut sets) = self.choose(i, h, ask(counts[0])) else { continue };
                    if counts[1] > 0 {
                        let Some(far) = self.choose(i, across_vxm(h), ask(counts[1])) else { continue };
                        sets.iter_mut().zip(far).for_each(|(a, b)| a.extend(b));
                    }
                    // One map serves all copies, so all lie at one word address.
                    let one_bank = sets[0].iter().all(|x| x.1 == sets[0][0].1);
                    if gathered && (!one_bank || self.common_base(&sets[0], words, reuse).is_none()) {
                        continue;
                    }
                    return Some((h, sets));
                }
            }
        }
        None
    }

    /// Hemispheres in the order to try: the one with fewer neighbours first.
    pub(super) fn sides(&self, t: usize) -> Vec<Hemisphere> {
        let first = if t.is_multiple_of(2) { Hemisphere::East } else { Hemisphere::West };
        if let Some(h) = self.forced(t) {
            return vec![h];
        }
        let crowd = |h: Hemisphere| {
            let near = self.together[t].iter().filter(|&&o| {
                let o = o as usize;
                self.homes[o].hemisphere.or(self.forced(o)) == Some(h)
            });
            near.count()
        };
        let second = across_vxm(first);
        if crowd(second) < crowd(first) { vec![second, first] } else { vec![first, second] }
    }

    /// Hemispheres, the one first where more of the slices for rows can take a table.
    fn by_room(&mut self) -> Vec<Hemisphere> {
        let inner = self.usable.saturating_sub(16);
        let mut open = |hemisphere: Hemisphere| {
            (0..inner).filter(|&i| self.bank(Slice { hemisphere, index: i as u8 }, 0).bump == 0).count()
        };
        let mut sides = vec![Hemisphere::East, Hemisphere::West];
        sides.sort_by_key(|&h| std::cmp::Reverse(open(h)));
        sides
    }

    /// Side of a tensor that must lie across from a table.
    pub(super) fn forced(&self, t: usize) -> Option<Hemisphere> {
        let side = |o: TensorId| self.homes[o.0 as usize].hemisphere;
        self.opposite[t].and_then(side).map(across_vxm).or_else(|| self.beside[t].and_then(side))
    }

    /// Slices for every chunk, or nothing.
    fn choose(&mut self, t: usize, h: Hemisphere, ask: Ask) -> Option<Vec<Vec<(Slice, u32)>>> {
        let Ask { words, chunks, n: per_chunk, bank: first_bank, reuse, weights, table, first, all, both, .. } = ask;
        // With slices to spare, the outer ones are for weights: loads then never wait for rows.
        let roomy = self.usable >= 32;
        let (lo, hi) = match (roomy && !all, weights) {
            (false, _) => (0, self.usable),
            (true, true) if self.second[t] => (self.usable - 32, self.usable - 16),
            (true, true) => (self.usable - 16, self.usable),
            (true, false) => (0, self.usable - 16),
        };
        let mut candidates: Vec<Slice> = Vec::new();
        let sides = if both { vec![h, across_vxm(h)] } else { vec![h] };
        for side in sides {
            let turn = self.turn[usize::from(side == Hemisphere::East)];
            for k in 0..hi - lo {
                let index = if weights || first { lo + k } else { lo + (turn + k) % (hi - lo) };
                candidates.push(Slice { hemisphere: side, index: index as u8 });
            }
        }
        candidates.retain(|&s| !(table && self.bank(s, 0).bump != 0));
        if weights && self.keeps_some {
            candidates.retain(|&s| !self.for_maps(s));
        }
        if candidates.is_empty() {
            return None;
        }
        let clear: Vec<[bool; 2]> = candidates.iter().map(|&s| [0, 1].map(|b| !self.clashes(t, s, b))).collect();
        let mut sets = Vec::new();
        let mut planned: Vec<[u32; 2]> = vec![[0; 2]; candidates.len()];
        let mut at = 0;
        for _ in 0..chunks {
            // The regions of a chunk share a bank; the next chunk may take the other.
            let banks = match (table, weights && all && self.thrifty) {
                (true, _) => vec![first_bank],
                // Tables begin in the first.
                (_, true) => vec![1, 0],
                _ => vec![first_bank, 1 - first_bank],
            };
            let mut found = None;
            for bank in banks {
                let b = bank as usize;
                let mut set = Vec::new();
                let mut used = Vec::new();
                let mut order: Vec<usize> = (0..candidates.len()).map(|k| (at + k) % candidates.len()).collect();
                if first {
                    order.sort_unstable();
                }
                if weights && roomy && all {
                    // Evenly, so that no slices are left over that are too few for a load.
                    order.sort_by_key(|&c| self.bank(candidates[c], bank).bump);
                }
                for c in order {
                    // Several chunks may share a slice.
                    if clear[c][b] && self.runs(candidates[c], bank, words, reuse) > planned[c][b] {
                        used.push(c);
                        set.push((candidates[c], bank));
                        if set.len() == per_chunk as usize {
                            at = (c + 1) % candidates.len();
                            break;
                        }
                    }
                }
                if set.len() == per_chunk as usize {
                    used.into_iter().for_each(|c| planned[c][b] += 1);
                    found = Some(set);
                    break;
                }
            }
            sets.push(found?);
        }
        if !weights {
            self.turn[usize::from(h == Hemisphere::East)] += (per_chunk * chunks).min(hi - lo);
        }
        Some(sets)
    }
}
