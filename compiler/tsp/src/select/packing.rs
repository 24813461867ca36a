//! Several pixels a word: layouts, and which pixels meet in which pass.
//!
//! A packed tensor holds pixel `v` (a linear number: image, row and column by their pitches) in word
//! `v / pixels`, lane group `v mod pixels`. Views of packed tensors count pixels where others count rows. One pass
//! of a window computes all pixels of an output word: every position of the union of their windows
//! is in the lane group that its pixel lies in, and a gather brings all groups at once. Positions
//! of one group need passes of their own, so the pitch decides how many passes there are.

use super::Select;
use super::view::{Axis, View};
use crate::tiled::TensorId;
use quadrille_compiler::ir::Window;
use std::collections::BTreeMap;

/// Most sets of weights that one window may need because lane groups change from word to word.
const MAX_CLASSES: usize = 20;

/// Where pixels of an image tensor lie, in pixels from the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PixelLayout {
    /// Pixels a word.
    pub(super) pixels: usize,
    /// Lanes of a pixel, a multiple of a superlane's.
    pub(super) group: usize,
    /// Distance of neighbours along each spatial axis; the last is 1.
    pub(super) pitches: Vec<usize>,
    /// Distance of images: a multiple of `pixels`.
    pub(super) image: usize,
    /// Words in all.
    pub(super) words: usize,
}

impl PixelLayout {
    /// A layout whose innermost spatial rows start `pitch` pixels apart.
    pub(super) fn new(pixels: usize, group: usize, batch: usize, spatial: &[usize], pitch: usize) -> PixelLayout {
        let mut pitches = vec![1usize; spatial.len()];
        let mut step = pitch;
        for i in (0..spatial.len().saturating_sub(1)).rev() {
            pitches[i] = step;
            step *= spatial[i];
        }
        let used: usize = spatial.iter().zip(&pitches).map(|(e, p)| (e - 1) * p).sum::<usize>() + 1;
        let image = used.div_ceil(pixels) * pixels;
        PixelLayout { pixels, group, pitches, image, words: batch * image / pixels }
    }

    /// Axes of a tensor `[batch, channels, spatial…]`.
    pub(super) fn axes(&self, shape: &[usize]) -> Vec<Axis> {
        let rows =
            |extent: usize, step: usize| if extent == 1 { Axis::unit() } else { Axis::rows(extent, step as i64) };
        let mut axes = vec![rows(shape[0], self.image), Axis::lanes(shape[1], 1)];
        if shape[1] == 1 {
            axes[1] = Axis::unit();
        }
        axes.extend(shape[2..].iter().zip(&self.pitches).map(|(&e, &p)| rows(e, p)));
        axes
    }
}

/// What one slot of an output word needs of one tap.
pub(super) const UNKNOWN: i64 = -1;
pub(super) const PAD: i64 = -2;

/// Where a position of the windows of an output word stands, relative to the word's first pixel.
pub(super) type Position = Vec<i64>;

/// Output words that take the same weights.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// Output words.
    pub(super) words: Vec<u32>,
    /// `keys[pass][lane group]`: position that the pass takes from the group.
    pub(super) keys: Vec<Vec<Option<usize>>>,
    /// `pixels[word of the class][position]`: input pixel, or `None` outside the image.
    pub(super) pixels: Vec<Vec<Option<u32>>>,
}

impl Class {
    /// True when a pass takes a position that lies outside the image for some word.
    pub(super) fn reads_outside(&self) -> bool {
        let mut taken = self.keys.iter().flatten().flatten();
        taken.any(|&key| self.pixels.iter().any(|word| word[key].is_none()))
    }
}

/// How a window over packed pixels is computed.
#[derive(Clone, Debug)]
pub(super) struct WindowPlan {
    pub(super) classes: Vec<Class>,
    /// `key_of[slot][tap]`: position of each tap of each pixel of a word.
    pub(super) key_of: Vec<Vec<usize>>,
}

impl WindowPlan {
    /// Passes times words, over all classes.
    pub(super) fn rows(&self) -> usize {
        self.classes.iter().map(|c| c.words.len() * c.keys.len()).sum()
    }

    /// Weight sets.
    pub(super) fn passes(&self) -> usize {
        self.classes.iter().map(|c| c.keys.len()).sum()
    }
}

/// Position of each (slot, tap), and all positions.
pub(super) fn positions(pixels: usize, window: &Window, taps: &[Vec<usize>]) -> (Vec<Vec<usize>>, Vec<Position>) {
    let last = window.kernel.len() - 1;
    let mut number: BTreeMap<Position, usize> = BTreeMap::new();
    let of = |slot: usize, tap: &[usize]| -> Position {
        let mut at: Position = tap.iter().zip(&window.dilation).map(|(t, d)| (t * d) as i64).collect();
        at[last] += (slot * window.stride[last]) as i64;
        at
    };
    for slot in 0..pixels {
        taps.iter().for_each(|t| {
            number.insert(of(slot, t), 0);
        });
    }
    number.values_mut().enumerate().for_each(|(n, v)| *v = n);
    let key_of = (0..pixels).map(|s| taps.iter().map(|t| number[&of(s, t)]).collect()).collect();
    (key_of, number.into_keys().collect())
}

/// What the words of a result need.
pub(super) struct Needs {
    /// `key_of[slot][tap]`: position of each tap of each pixel of a word.
    pub(super) key_of: Vec<Vec<usize>>,
    /// `of[word][position]`: input pixel, or [`PAD`], or [`UNKNOWN`].
    pub(super) of: Vec<Vec<i64>>,
}

/// Where a window takes its pixels from and where its result goes.
pub(super) struct Frame<'a> {
    /// The operand, its virtual rows being pixels.
    pub(super) x: &'a View,
    /// Pixels a word of the operand.
    pub(super) x_pixels: usize,
    pub(super) out: &'a PixelLayout,
    pub(super) out_spatial: &'a [usize],
    pub(super) batch: usize,
    pub(super) window: &'a Window,
    pub(super) taps: &'a [Vec<usize>],
}

/// `None` when a position would have to be two pixels at once.
pub(super) fn needs(f: &Frame<'_>) -> Option<Needs> {
    let Frame { x, out, out_spatial, batch, window, taps, .. } = *f;
    let tables = x.tables();
    let (key_of, keys) = positions(out.pixels, window, taps);
    // Input row of every output index and tap offset along each axis.
    let words = batch * out.image / out.pixels;
    let mut need: Vec<Vec<i64>> = vec![vec![UNKNOWN; keys.len()]; words];
    let mut index = vec![0usize; out_spatial.len()];
    let rank = out_spatial.len();
    for n in 0..batch {
        let base = x.row0 + tables[0][n].0;
        index.fill(0);
        'pixels: loop {
            let v: usize = n * out.image + index.iter().zip(&out.pitches).map(|(i, p)| i * p).sum::<usize>();
            let (word, slot) = (v / out.pixels, v % out.pixels);
            for (t, tap) in taps.iter().enumerate() {
                let mut at = base;
                for i in 0..rank {
                    let pos =
                        (index[i] * window.stride[i] + tap[i] * window.dilation[i]) as i64 - window.before[i] as i64;
                    if pos < 0 || pos >= tables[i + 2].len() as i64 {
                        at = PAD;
                        break;
                    }
                    at += tables[i + 2][pos as usize].0;
                }
                let held = &mut need[word][key_of[slot][t]];
                if *held != UNKNOWN && *held != at {
                    return None;
                }
                *held = at;
            }
            for i in (0..rank).rev() {
                index[i] += 1;
                if index[i] < out_spatial[i] {
                    continue 'pixels;
                }
                index[i] = 0;
            }
            break;
        }
    }
    Some(Needs { key_of, of: need })
}

/// Plans a window. `None` when a position would have to be two pixels at once, or too many weight sets were needed. `outside`: what
/// lies outside of the image is not zero, so that it must be brought too.
pub(super) fn plan(f: &Frame<'_>, outside: bool) -> Option<WindowPlan> {
    let x_pixels = f.x_pixels;
    let Needs { key_of, of: need } = needs(f)?;
    // Words whose positions lie in the same groups share weights.
    let mut classes: Vec<(Vec<Option<usize>>, Vec<u32>)> = Vec::new();
    for (w, list) in need.iter().enumerate() {
        let group = |v: i64| (v >= 0).then_some(v as usize % x_pixels);
        let fits = |held: &[Option<usize>]| {
            held.iter().zip(list).all(|(h, &v)| match (h, group(v)) {
                (Some(a), Some(b)) => *a == b,
                _ => true,
            })
        };
        if list.iter().all(|&v| v == UNKNOWN) {
            continue;
        }
        let at = match classes.iter().position(|c| fits(&c.0)) {
            Some(k) => k,
            None => {
                classes.push((vec![None; list.len()], Vec::new()));
                classes.len() - 1
            }
        };
        if classes.len() > MAX_CLASSES {
            return None;
        }
        for (h, &v) in classes[at].0.iter_mut().zip(list) {
            *h = h.or(group(v));
        }
        classes[at].1.push(w as u32);
    }
    let classes = classes
        .into_iter()
        .map(|(groups, words)| {
            let mut passes: Vec<Vec<Option<usize>>> = Vec::new();
            for (key, g) in groups.iter().enumerate() {
                let Some(g) = *g else { continue };
                match passes.iter_mut().find(|p| p[g].is_none()) {
                    Some(p) => p[g] = Some(key),
                    None => {
                        let mut p = vec![None; x_pixels];
                        p[g] = Some(key);
                        passes.push(p);
                    }
                }
            }
            // What is outside for all words of the class may come in any group.
            let away = |key: usize| groups[key].is_none() && words.iter().any(|&w| need[w as usize][key] == PAD);
            for key in (0..groups.len()).filter(|&key| outside && away(key)) {
                let free = |p: &&mut Vec<Option<usize>>| p.iter().any(Option::is_none);
                if passes.iter_mut().find(free).is_none() {
                    passes.push(vec![None; x_pixels]);
                }
                let slot = passes.iter_mut().flatten().find(|s| s.is_none());
                slot.into_iter().for_each(|s| *s = Some(key));
            }
            let pixels = words
                .iter()
                .map(|&w| need[w as usize].iter().map(|&v| (v >= 0).then_some(v as u32)).collect())
                .collect();
            Class { words, keys: passes, pixels }
        })
        .collect();
    Some(WindowPlan { classes, key_of })
}

/// Passes of a window over a packed image whose rows are `pitch` apart, if all goes well; for choosing pitches.
pub(super) fn passes_at(
    pixels: usize,
    out_pixels: usize,
    pitches: &[usize],
    window: &Window,
    taps: &[Vec<usize>],
) -> usize {
    let (_, keys) = positions(out_pixels, window, taps);
    let mut count = vec![0usize; pixels];
    for k in keys {
        let v: usize = k.iter().zip(pitches).map(|(&k, &p)| k as usize * p).sum();
        count[v % pixels] += 1;
    }
    count.into_iter().max().unwrap_or(1)
}

impl Select<'_> {
    /// Pixels a word of a tensor.
    pub(super) fn pixels(&self, t: TensorId) -> usize {
        self.out.tensors[t.0 as usize].pixels as usize
    }

    /// Physical row and lane of a view's row and lane.
    pub(super) fn physical(&self, t: TensorId, row: i64, lane: i64) -> (i64, i64) {
        let info = &self.out.tensors[t.0 as usize];
        let pixels = i64::from(info.pixels);
        (row / pixels, lane + row % pixels * i64::from(info.lanes) / pixels)
    }

    /// Pixels of `channels` channels that a word holds.
    pub(super) fn pixels_a_word(&self, channels: usize) -> (usize, usize) {
        let group = channels.div_ceil(16) * 16;
        ((self.lanes / group).max(1), group)
    }
}
