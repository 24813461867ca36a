//! The host side of the ports: what is sent next on each row and color, and where received
//! elements go.
//!
//! Ports of one row and color go one after another in the order of the program's list.

use super::super::ports::{self, Carried, Cursor};
use quadrille_isa::Tensor;
use quadrille_isa::wafer::Program;
use std::collections::BTreeMap;

/// Cursors of the ports of one (row, color), with the tensor of each, and the one in turn.
#[derive(Default)]
struct Stream {
    ports: Vec<(u32, Cursor)>,
    at: usize,
}

impl Stream {
    fn next(&mut self) -> Option<(u32, Carried)> {
        while let Some((tensor, cursor)) = self.ports.get_mut(self.at) {
            if let Some(carried) = cursor.next_wavelet() {
                return Some((*tensor, carried));
            }
            self.at += 1;
        }
        None
    }

    fn left(&self) -> u64 {
        self.ports.iter().skip(self.at).map(|(_, c)| c.left()).sum()
    }
}

/// Both edges.
pub(super) struct Host<'a> {
    inputs: &'a [Tensor],
    sends: BTreeMap<(u16, u8), Stream>,
    receives: BTreeMap<(u16, u8), Stream>,
    outputs: Vec<Vec<u8>>,
    sizes: Vec<usize>,
    /// Elements of one image, by output; empty unless all outputs have one leading batch >= 2.
    image_len: Vec<u64>,
    /// Cycle of the last element, by image; rows may be told of in any order.
    image_end: Vec<u64>,
}

impl<'a> Host<'a> {
    pub(super) fn new(program: &Program, inputs: &'a [Tensor]) -> Host<'a> {
        let mut sends: BTreeMap<_, Stream> = BTreeMap::new();
        for p in &program.in_ports {
            let cursor = Cursor::new(p, program.inputs[p.tensor as usize].dtype);
            sends.entry((p.row, p.color.0)).or_default().ports.push((p.tensor, cursor));
        }
        let mut receives: BTreeMap<_, Stream> = BTreeMap::new();
        for p in &program.out_ports {
            let cursor = Cursor::new(p, program.outputs[p.tensor as usize].dtype);
            receives.entry((p.row, p.color.0)).or_default().ports.push((p.tensor, cursor));
        }
        let lens: Vec<u64> = program.outputs.iter().map(|t| ports::tensor_len(t).unwrap_or(0)).collect();
        let sizes: Vec<usize> = program.outputs.iter().map(|t| t.dtype.size()).collect();
        let batch = program.outputs.first().and_then(|t| t.shape.first()).copied().unwrap_or(1);
        let batched = batch >= 2
            && program.out_sram.is_empty()
            && program.outputs.iter().all(|t| t.shape.first() == Some(&batch));
        let image_len: Vec<u64> = if batched { lens.iter().map(|&l| l / batch as u64).collect() } else { Vec::new() };
        Host {
            inputs,
            sends,
            receives,
            outputs: lens.iter().zip(&sizes).map(|(&l, &s)| vec![0; l as usize * s]).collect(),
            sizes,
            image_end: vec![0; if batched { batch } else { 0 }],
            image_len,
        }
    }

    /// The rows and colors that send.
    pub(super) fn senders(&self) -> Vec<(u16, u8)> {
        self.sends.keys().copied().collect()
    }

    /// The next wavelet of a row and color.
    pub(super) fn next(&mut self, row: u16, color: u8) -> Option<u32> {
        let (tensor, carried) = self.sends.get_mut(&(row, color))?.next()?;
        Some(ports::pack(&self.inputs[tensor as usize], carried))
    }

    /// A wavelet leaves the mesh; false when its port has all it names already.
    pub(super) fn receive(&mut self, row: u16, color: u8, word: u32, cycle: u64) -> bool {
        let Some((tensor, carried)) = self.receives.get_mut(&(row, color)).and_then(Stream::next) else {
            return false;
        };
        let t = tensor as usize;
        ports::unpack(word, carried, self.sizes[t], &mut self.outputs[t]);
        if let Some(&len) = self.image_len.get(t)
            && len > 0
            && carried.last
        {
            for &e in carried.elements() {
                let image = (e / len) as usize;
                self.image_end[image] = self.image_end[image].max(cycle);
            }
        }
        true
    }

    /// Rows and colors with elements still to send or to receive: (row, color, elements, sends).
    pub(super) fn unfinished(&self) -> Vec<(u16, u8, u64, bool)> {
        let sends = self.sends.iter().map(|(&(r, c), s)| (r, c, s.left(), true));
        let receives = self.receives.iter().map(|(&(r, c), s)| (r, c, s.left(), false));
        sends.chain(receives).filter(|x| x.2 > 0).collect()
    }

    /// Cycles between the ends of the last two images.
    pub(super) fn interval(&self) -> Option<u64> {
        let [.., a, b] = self.image_end[..] else { return None };
        Some(b.saturating_sub(a))
    }

    /// The output bytes, by output.
    pub(super) fn take_outputs(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.outputs)
    }
}
