//! Words that hold one byte in every lane, from which instructions copy fill words.
//!
//! They lie at the end of a bank, where the image has them, and nothing else may: by the time they are asked for, there may be no word
//! left that nothing has held. Knows no instruction.

use super::*;

impl Memory {
    /// Keeps a word on each side for each byte of a computed tensor's fill word.
    pub(super) fn reserve_bytes(&mut self, g: &TiledGraph) {
        let filled =
            g.tensors.iter().filter(|t| matches!(t.init, Init::Computed)).filter_map(|t| t.fill.map(|f| (t, f)));
        let mut bytes: Vec<u8> =
            filled.flat_map(|(t, fill)| (0..t.ty.bytes()).map(move |byte| (fill >> (8 * byte)) as u8)).collect();
        bytes.sort_unstable();
        bytes.dedup();
        for (n, byte) in bytes.into_iter().enumerate() {
            let index = (self.usable - 1 - n as u32 % self.usable) as u8;
            for hemisphere in [Hemisphere::West, Hemisphere::East] {
                let slice = Slice { hemisphere, index };
                let base = (2 * self.bank_words - 1 - self.bank(slice, 1).reserved) as u16;
                self.bank(slice, 1).reserved += 1;
                self.bytes.push((byte, Region { slice, base }, None));
            }
        }
    }

    /// The word of a byte on a side.
    pub(in super::super) fn byte_word(&mut self, byte: u8, side: Hemisphere) -> Option<FillWord> {
        let at = self.bytes.iter().position(|(b, r, _)| *b == byte && r.slice.hemisphere == side)?;
        let (_, region, known) = self.bytes[at];
        let value = known.unwrap_or_else(|| ValueIx(self.new_value()));
        self.bytes[at].2 = Some(value);
        Some(FillWord { at: region, value })
    }

    /// Those that something copies.
    pub(crate) fn byte_words(&self) -> impl Iterator<Item = (u8, FillWord)> {
        self.bytes.iter().filter_map(|&(byte, at, value)| Some((byte, FillWord { at, value: value? })))
    }
}
