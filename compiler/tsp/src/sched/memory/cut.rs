//! Into which chunks the rows of a tensor go that products of bytes write.
//!
//! A plane's waves go to different slices in turn, and then to the other banks of these: a wave is read while
//! the ones after it are still written, and a bank does one thing at a time. Knows who writes which row in which
//! wave; knows no slice.

use super::*;
use crate::sched::split::part_of;

/// Who writes a row: the part of the rows that a plane takes, and the wave of it.
pub(super) type Written = (u16, u16);

/// A way to cut a tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut {
    /// Rows of the longest chunk.
    pub(super) rows: u32,
    /// How many chunks each run of slices holds, in different banks.
    pub(super) banks: Vec<usize>,
    /// Chunk of each row, and its word there. Nothing where all chunks are runs of `rows`.
    pub(super) places: Vec<(u16, u16)>,
}

impl Cut {
    /// Chunks of equal length.
    pub(super) fn even(all: u32, rows: u32) -> Cut {
        Cut { rows, banks: vec![1; all.div_ceil(rows).max(1) as usize], places: Vec::new() }
    }

    pub(super) fn chunks(&self) -> u32 {
        self.banks.iter().sum::<usize>() as u32
    }

    pub(super) fn chunk_of(&self, row: u32) -> u32 {
        match self.places.get(row as usize) {
            Some(&(chunk, _)) => chunk.into(),
            None => (row / self.rows).min(self.chunks() - 1),
        }
    }
}

/// Notes who writes the rows of what a kernel writes.
pub(super) fn note_written(
    written: &mut [Vec<Option<Written>>],
    g: &TiledGraph,
    outs: &[(Src, Rows)],
    (cuts, waves): (&[usize], usize),
) {
    for (_, r) in outs {
        let list = &mut written[r.tensor.0 as usize];
        list.resize(g.tensor(r.tensor).rows as usize, None);
        for part in 0..cuts.len() - 1 {
            for wave in 0..waves {
                for i in part_of(cuts, part, wave, waves) {
                    list[r.rows[i] as usize] = Some((part as u16, wave as u16));
                }
            }
        }
    }
}

/// Chunks by who writes the rows, in `pieces` slices for a plane and both banks of each; none where that is not known.
pub(super) fn by_wave(written: &[Option<Written>], pieces: u32) -> Option<Cut> {
    let known: Vec<Written> = written.iter().copied().collect::<Option<_>>()?;
    let pieces = pieces.max(1) as u16;
    // Part, slice, bank.
    let key = |(part, wave): Written| (part, wave % pieces, wave / pieces % 2);
    let mut sizes: BTreeMap<(u16, u16, u16), u16> = BTreeMap::new();
    known.iter().for_each(|&w| _ = sizes.entry(key(w)).or_insert(0));
    let numbers: BTreeMap<_, _> = sizes.keys().enumerate().map(|(n, k)| (*k, n as u16)).collect();
    let mut places = Vec::with_capacity(known.len());
    for w in known {
        let word = sizes.entry(key(w)).or_insert(0);
        places.push((numbers[&key(w)], *word));
        *word += 1;
    }
    let keys: Vec<_> = sizes.keys().copied().collect();
    let banks = keys.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).map(<[_]>::len).collect();
    Some(Cut { rows: u32::from(sizes.into_values().max()?), banks, places })
}

#[cfg(test)]
mod tests {
    use super::by_wave;

    #[test]
    fn waves_that_follow_each_other_lie_apart() {
        // Two planes, five waves of three rows each.
        let written: Vec<_> = (0..30u16).map(|r| Some((r / 15, r % 15 / 3))).collect();
        let cut = by_wave(&written, 2).expect("all rows are written");
        // Waves 0 and 4 of a plane share a chunk; slices have two banks each.
        assert_eq!((cut.rows, cut.chunks(), &cut.banks[..]), (6, 8, &[2, 2, 2, 2][..]));
        let mut places = cut.places.clone();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 30, "two rows in one place");
        for r in 0..27 {
            let (a, b) = (cut.chunk_of(r), cut.chunk_of(r + 3));
            assert_ne!(a, b, "rows {r} and {} of waves that follow each other", r + 3);
        }
        assert!(by_wave(&[Some((0, 0)), None], 2).is_none());
    }
}
