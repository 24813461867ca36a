//! What lies in SRAM before the program starts: image segments and inputs.
//!
//! Knows which value each preloaded word holds, that nothing is placed over anything else, and
//! the bytes of the image (for address maps that are constants).

use super::{Checker, Rule};
use crate::tsp::layout::each_point;
use quadrille_isa::tsp::{Hemisphere, ImageSegment, Slice};

/// No value.
pub(super) const NO_VALUE: u32 = u32::MAX;

/// A slice's number, west first; below [`SLICES`].
pub(super) fn slice_number(s: Slice) -> usize {
    usize::from(s.hemisphere == Hemisphere::East) * 256 + usize::from(s.index)
}

/// Numbers of slices on any machine.
pub(super) const SLICES: usize = 512;

/// Values of preloaded words, by slice; empty for a slice with none.
pub(super) struct Preload<'a> {
    pub(super) values: Vec<Vec<u32>>,
    /// Segments by slice number and address.
    segments: Vec<(usize, &'a ImageSegment)>,
    lanes: usize,
}

impl<'a> Preload<'a> {
    /// Bytes of a word that the image defines as part of `value`.
    pub(super) fn image_word(&self, slice: usize, word: u16, value: u32) -> Option<&'a [u8]> {
        let after = self.segments.partition_point(|(n, s)| (*n, s.addr) <= (slice, word));
        let (n, s) = self.segments.get(after.checked_sub(1)?)?;
        let at = usize::from(word.checked_sub(s.addr)?) * self.lanes;
        (*n == slice && s.value.0 == value).then(|| s.words.get(at..at + self.lanes)).flatten()
    }
}

impl<'a> Checker<'a> {
    /// Places image and inputs.
    pub(super) fn preload(&mut self) -> Preload<'a> {
        let words = self.machine.geometry.words_per_slice as usize;
        let lanes = self.machine.lanes();
        let program = self.program;
        let mut values: Vec<Vec<u32>> = vec![Vec::new(); SLICES];
        let mut segments: Vec<(usize, &ImageSegment)> = Vec::with_capacity(program.image.len());
        for (n, s) in program.image.iter().enumerate() {
            let number = slice_number(s.slice);
            segments.push((number, s));
            let slice = &mut values[number];
            slice.resize(words, NO_VALUE);
            let from = usize::from(s.addr);
            let mut over = None;
            for (word, v) in slice.iter_mut().enumerate().skip(from).take(s.words.len() / lanes) {
                if *v != NO_VALUE {
                    // The first stays: one fault, one error.
                    over = over.or(Some((word, *v)));
                } else {
                    *v = s.value.0;
                }
            }
            if let Some((word, v)) = over {
                let name = self.value_name(v).to_string();
                let message = format!("segment {n} is placed over `{name}` in {} word {word}", s.slice);
                self.report_table(Rule::Layout, "image", message);
            }
        }
        segments.sort_by_key(|(n, s)| (*n, s.addr));
        let mut bytes: Vec<Vec<u64>> = vec![Vec::new(); SLICES];
        for (n, input) in program.inputs.iter().enumerate() {
            // Words that an earlier tensor placed; words of this one may take many bytes.
            let before = values.clone();
            let mut over = None;
            for p in &input.placements {
                let number = slice_number(p.slice);
                values[number].resize(words, NO_VALUE);
                bytes[number].resize((words * lanes).div_ceil(64), 0);
                let (slice, placed) = (&mut values[number], &mut bytes[number]);
                let earlier = |word: u16| before[number].get(usize::from(word)).is_some_and(|&v| v != NO_VALUE);
                each_point(p, |_, word, lane| {
                    let v = &mut slice[usize::from(word)];
                    let byte = usize::from(word) * lanes + lane;
                    let twice = placed[byte / 64] >> (byte % 64) & 1 == 1;
                    if twice || earlier(word) || (*v != NO_VALUE && *v != p.value.0) {
                        over = over.or(Some((p.slice, word, lane)));
                    } else {
                        *v = p.value.0;
                    }
                    placed[byte / 64] |= 1 << (byte % 64);
                });
            }
            if let Some((slice, word, lane)) = over {
                let message = format!(
                    "input {n} `{}` is placed over something else, or over itself, in {slice} word {word} lane {lane}",
                    input.name
                );
                self.report_table(Rule::Layout, "layout", message);
            }
        }
        Preload { values, segments, lanes }
    }
}
