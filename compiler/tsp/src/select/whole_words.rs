//! Windows over packed pixels without gathers: each pass takes one word for each word of the result.
//!
//! A gather chooses among the words of one bank and needs an address map. Images of more words are read as they lie: a pass brings all
//! pixels of a word that some pixel of the result wants, the weights of the others are zero. Rows of the image start words, so that a
//! word lies inside of the image or outside of it, or, at the end of a row, has weights of its own.

use super::Select;
use super::packing::{Class, Frame, Needs, PAD, PixelLayout, UNKNOWN, WindowPlan, needs};
use super::view::{Axis, View};
use crate::tiled::FILL;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Most sets of weights of one window.
const MAX_CLASSES: usize = 512;

/// `keys[pass][pixel of the word]`: position that the pass takes from it.
type Passes = Vec<Vec<Option<usize>>>;

/// Passes that bring what a word of the result needs, a word of the image each.
fn passes_of(list: &[i64], x_pixels: usize) -> Passes {
    let mut of: BTreeMap<i64, Vec<Option<usize>>> = BTreeMap::new();
    for (key, &v) in list.iter().enumerate().filter(|(_, v)| **v >= 0) {
        let pixels = x_pixels as i64;
        of.entry(v / pixels).or_insert_with(|| vec![None; x_pixels])[(v % pixels) as usize] = Some(key);
    }
    of.into_values().collect()
}

/// True when passes bring all that a word of the result needs, and nothing that lies outside beside what lies inside.
fn bring(passes: &Passes, list: &[i64], x_pixels: usize) -> bool {
    let pixels = x_pixels as i64;
    let mut brought = 0;
    for pass in passes {
        let (mut word, mut outside) = (None, false);
        for (group, key) in pass.iter().enumerate() {
            let Some(key) = *key else { continue };
            match list[key] {
                UNKNOWN => {}
                PAD => outside = true,
                v if v % pixels == group as i64 && word.is_none_or(|w| w == v / pixels) => {
                    word = Some(v / pixels);
                    brought += 1;
                }
                _ => return false,
            }
        }
        if outside && word.is_some() {
            return false;
        }
    }
    brought == list.iter().filter(|&&v| v >= 0).count()
}

/// Parts of an image that planes may take.
const PARTS: usize = 4;

/// Words of an image in the order of its columns, where these have more of them than the rows have: reads and writes step by one
/// distance for longer then. Each part of the image by itself, so that planes that take one each are rows of the image apart.
fn by_columns(words: &[u32], row_words: u32) -> Option<Vec<u32>> {
    let rows: Vec<&[u32]> = words.chunk_by(|a, b| a / row_words == b / row_words).collect();
    let (columns, part) = (rows.first()?.len(), rows.len() / PARTS);
    if columns >= part || !rows.len().is_multiple_of(PARTS) || rows.iter().any(|r| r.len() != columns) {
        return None;
    }
    let of_part = |part: &[&[u32]]| -> Vec<u32> { (0..columns).flat_map(|c| part.iter().map(move |r| r[c])).collect() };
    Some(rows.chunks(part).flat_map(of_part).collect())
}

/// Plans a window. `None` where that would need too many sets of weights. `fills`: what lies outside counts, so that no word may have
/// pixels inside and outside; `long_runs`: program text counts.
pub(super) fn by_word(f: &Frame<'_>, fills: bool, long_runs: bool) -> Option<WindowPlan> {
    let Needs { key_of, of: need } = needs(f)?;
    let mut order: Vec<usize> = (0..need.len()).filter(|&w| need[w].iter().any(|&v| v != UNKNOWN)).collect();
    // Words at borders may take the weights of those inside.
    order.sort_by_key(|&w| Reverse(need[w].iter().filter(|&&v| v >= 0).count()));
    let mut classes: Vec<(Passes, Vec<u32>)> = Vec::new();
    for w in order {
        let list = &need[w];
        match classes.iter_mut().find(|c| bring(&c.0, list, f.x_pixels)) {
            Some(c) => c.1.push(w as u32),
            None if fills && list.contains(&PAD) => return None,
            None => classes.push((passes_of(list, f.x_pixels), vec![w as u32])),
        }
        if classes.len() > MAX_CLASSES {
            return None;
        }
    }
    let inside = |w: &u32| need[*w as usize].iter().map(|&v| (v >= 0).then_some(v as u32)).collect();
    // Where rows start words.
    let pitch = f.out.pitches.iter().rev().nth(1).filter(|&&p| long_runs && p.is_multiple_of(f.out.pixels));
    let row_words = pitch.map(|&p| (p / f.out.pixels) as u32);
    let classes = classes.into_iter().map(|(keys, mut words)| {
        words.sort_unstable();
        words = row_words.and_then(|n| by_columns(&words, n)).unwrap_or(words);
        Class { pixels: words.iter().map(inside).collect(), words, keys }
    });
    Some(WindowPlan { classes: classes.collect(), key_of })
}

/// The word that a pass takes for each word of a class: the fill word where that lies outside.
pub(super) fn word_rows(class: &Class, keys: &[Option<usize>], x_pixels: usize) -> Vec<u32> {
    let of = |pixels: &Vec<Option<u32>>| keys.iter().flatten().find_map(|&key| pixels[key]);
    class.pixels.iter().map(|p| of(p).map_or(FILL, |v| v / x_pixels as u32)).collect()
}

impl Select<'_> {
    /// True where a gather cannot choose among all words.
    pub(super) fn too_many(&self, layout: &PixelLayout) -> bool {
        layout.words >= self.bank_words
    }

    /// An image of one channel whose innermost rows lie on lanes, as one of many pixels a word of one lane each; and how many.
    pub(super) fn lanes_as_pixels(&self, x: &View) -> Option<(View, usize)> {
        let info = &self.out.tensors[x.tensor.0 as usize];
        let pixels = info.lanes as usize;
        let (inner, outer) = x.axes.split_last()?;
        let [digit] = inner.digits[..] else { return None };
        let along = digit.row == 0 && digit.lane == 1 && digit.extent == inner.extent;
        let straight = outer.iter().all(|a| !a.on_lanes()) && x.axes.get(1)?.extent == 1;
        if info.pixels != 1 || pixels < 2 || !along || !straight {
            return None;
        }
        let mut axes: Vec<Axis> = outer.to_vec();
        axes.iter_mut().flat_map(|a| &mut a.digits).for_each(|d| (d.row, d.lane) = (d.row * pixels as i64, 0));
        axes.push(Axis::rows(inner.extent, 1));
        Some((View { tensor: x.tensor, axes, row0: x.row0 * pixels as i64 + x.lane0, lane0: 0 }, pixels))
    }
}

#[cfg(test)]
mod tests {
    use super::by_columns;

    #[test]
    fn tall_images_go_column_by_column_in_each_quarter() {
        // Words 1 and 2 of each of 12 rows of 5.
        let words: Vec<u32> = (0..12).flat_map(|y| [5 * y + 1, 5 * y + 2]).collect();
        let order = by_columns(&words, 5).expect("a tall image");
        assert_eq!(order[..8], [1, 6, 11, 2, 7, 12, 16, 21]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, words);
        assert_eq!(by_columns(&words[..8], 5), None, "as wide as a quarter is tall");
        assert_eq!(by_columns(&words[1..], 5), None, "a row that lacks a word");
    }
}
