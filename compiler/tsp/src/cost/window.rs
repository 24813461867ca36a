//! Convolutions and pools: a pass a tap, or several pixels a word and a pass a position.

use super::lanes::one_after_the_other;
use super::product::Passes;
use super::{Cost, SRAM, VXM, alu_steps, mapping};
use quadrille_compiler::ir::{Op, TensorType, Window};
use quadrille_compiler::rewrite::{Cycles, Mapping, Operand, RESOURCES};

/// One pixel a word.
const PLAIN: &str = "a pixel a word";
/// Several pixels a word, of an operand that has several.
const PACKED: &str = "pixels packed";
/// Several pixels a word, of an operand that has one.
const PACKING: &str = "pixels packed, of one a word";
/// All positions of a word laid side by side by the host.
const HOST: &str = "pixels packed, laid out by the host";
/// The same, one pixel a word.
const HOST_PLAIN: &str = "a pixel a word, laid out by the host";

/// Channels of a model input at most that the host lays out window by window.
const HOST_CHANNELS: u64 = 4;

/// Taps that one sequence folds, each from a copy of its own.
const FOLD: u64 = 4;

impl Cost {
    /// Pixels of so many channels that a word holds.
    pub(super) fn pixels_a_word(&self, channels: u64) -> u64 {
        (self.lanes / (channels.div_ceil(self.superlane) * self.superlane).max(1)).max(1)
    }

    /// Ways to do a convolution or a pool.
    pub(super) fn windows(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        match op {
            Op::Conv { window, groups, .. } => self.convolutions(op, window, *groups as u64, inputs, result),
            Op::Pool { window, .. } => vec![mapping(PLAIN, self.pool(window, inputs, result))],
            _ => Vec::new(),
        }
    }

    fn convolutions(
        &self,
        op: &Op,
        window: &Window,
        groups: u64,
        inputs: &[Operand<'_>],
        result: &TensorType,
    ) -> Vec<Mapping> {
        let u = |x: usize| x as u64;
        let (x, r) = (&inputs[0].ty.shape, &result.shape);
        let (channels, m) = (u(x[1]), u(r[1]));
        let pixels = u(r[0]) * r[2..].iter().map(|&d| u(d)).product::<u64>();
        let taps: u64 = window.kernel.iter().map(|&k| u(k)).product();
        let bytes = inputs[0].ty.dtype.size() == 1;
        let (steps, operands) = (alu_steps(op, inputs), inputs[2..].iter().filter(|i| !i.fixed).count() as u64);
        let blocks = m.div_ceil(self.lanes);
        // Blocks of bytes leave out the channels of other groups.
        let inner = if bytes && groups > 1 {
            channels.div_ceil(self.lanes).div_ceil(blocks)
        } else {
            channels.div_ceil(self.lanes)
        };
        let of = |passes: u64, rows: u64, depth: u64| Passes { blocks, passes, rows, depth, steps, operands, bytes };
        let mut ways = Vec::new();
        // A window as large as its image is a product of something computed.
        let covers = x[2..].iter().eq(&window.kernel);
        if channels <= HOST_CHANNELS && taps > 1 && !covers {
            for (name, out) in [(HOST, self.pixels_a_word(m)), (HOST_PLAIN, 1)] {
                let lanes = positions(window, out) * channels;
                let (passes, rows) = (lanes.div_ceil(self.lanes), words(r, out));
                ways.push(mapping(name, self.passes(of(passes, rows, lanes.min(self.lanes)))));
            }
        }
        let mut plain = self.passes(of(taps * inner, pixels, channels.min(self.lanes)));
        // Something else than channels is likely to be on lanes, and is moved first.
        let turned = self.lane_axis(inputs[0].ty) != 1;
        if turned {
            plain = one_after_the_other(plain, self.moves(u(x[0]) * x[2..].iter().map(|&d| u(d)).product::<u64>(), 1));
        }
        ways.push(mapping(PLAIN, plain));
        if turned {
            return ways;
        }
        let (from, to) = (self.pixels_a_word(channels), self.pixels_a_word(m));
        if to > 1 {
            let passes = positions(window, to) * inner;
            let packing = mapping(PACKING, self.passes(of(passes, words(r, to), channels.min(self.lanes))));
            // Only a way in: what packs stands behind others that are packed.
            ways.push(Mapping { likely: false, ..packing });
        }
        if from > 1 || to > 1 {
            // Lane groups of a word bring a position each; where words and strides do not agree, some bring none.
            let uneven = if from == to && window.stride.iter().all(|&s| s == 1) { 0 } else { 1 };
            let passes = positions(window, to).div_ceil(from) * inner + uneven;
            ways.push(mapping(PACKED, self.passes(of(passes, words(r, to), self.lanes))));
        }
        ways
    }

    fn pool(&self, window: &Window, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let taps: u64 = window.kernel.iter().map(|&k| k as u64).product();
        let rows = self.rows(result);
        let kernels = taps.saturating_sub(1).div_ceil(FOLD - 1).max(1);
        let mut busy = [0; RESOURCES];
        busy[VXM] = kernels * rows;
        busy[SRAM] = (taps * rows + self.rows(inputs[0].ty)).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: kernels * self.through_alus }
    }
}

/// Positions in the union of the windows of so many pixels side by side.
fn positions(window: &Window, pixels: u64) -> u64 {
    let u = |x: usize| x as u64;
    let last = window.kernel.len() - 1;
    let others: u64 = window.kernel[..last].iter().map(|&k| u(k)).product();
    let (k, s, d) = (u(window.kernel[last]), u(window.stride[last]), u(window.dilation[last]));
    // Neighbours share positions where their taps fall on the same columns.
    let wide = if d == 1 && s < k { (pixels - 1) * s + k } else { pixels * k };
    others * wide.min(pixels * k)
}

/// Words of a result of so many pixels each, its rows in words of their own.
fn words(shape: &[usize], pixels: u64) -> u64 {
    let u = |x: usize| x as u64;
    let last = shape.len() - 1;
    let rows: u64 = u(shape[0]) * shape[2..last].iter().map(|&d| u(d)).product::<u64>();
    // Rows start where the one before ends, or nearly so.
    (rows * u(shape[last])).div_ceil(pixels)
}
