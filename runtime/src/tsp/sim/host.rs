//! The host's side: image and inputs into SRAM before the start, outputs out of it at the end.
//!
//! Knows layouts and SRAM. The host copies bytes and does not compute.

use super::{Chip, SimError};
use crate::tsp::layout::{check_layout, each_point, elements};
use quadrille_isa::Tensor;
use quadrille_isa::tsp::{Program, TensorLayout};

fn bad_layout(e: crate::tsp::form::Problem) -> SimError {
    SimError::Program { reason: e.1 }
}

/// Copies the image.
pub(super) fn load_image(chip: &mut Chip<'_>, program: &Program) -> Result<(), SimError> {
    let lanes = chip.machine.lanes();
    for segment in &program.image {
        let words = segment.words.len() / lanes;
        let end = usize::from(segment.addr) + words;
        if !segment.words.len().is_multiple_of(lanes)
            || end > chip.machine.geometry.words_per_slice as usize
            || !crate::tsp::form::data_slice(segment.slice, chip.machine)
        {
            return Err(SimError::Program {
                reason: format!(
                    "an image segment of {} bytes at {} word {}",
                    segment.words.len(),
                    segment.slice,
                    segment.addr
                ),
            });
        }
        for (n, word) in segment.words.chunks_exact(lanes).enumerate() {
            chip.slice(segment.slice).preload(segment.addr + n as u16, word);
        }
    }
    Ok(())
}

/// Checks one input against its layout and copies it.
pub(super) fn load_input(
    chip: &mut Chip<'_>,
    layout: &TensorLayout,
    tensor: &Tensor,
    values: usize,
) -> Result<(), SimError> {
    check_layout(layout, chip.machine, values).map_err(bad_layout)?;
    let refuse = |reason: String| Err(SimError::Input { name: layout.name.clone(), reason });
    if tensor.dtype != layout.dtype || tensor.shape != layout.shape {
        return refuse(format!(
            "is {}{:?}, the program takes {}{:?}",
            tensor.dtype, tensor.shape, layout.dtype, layout.shape
        ));
    }
    let (size, device) = (layout.dtype.size(), usize::from(layout.device_bytes));
    for (n, element) in tensor.data.chunks_exact(size).enumerate() {
        let fill = extension(layout, element[device - 1]);
        if element[device..].iter().any(|&b| b != fill) {
            return refuse(format!("element {n} does not fit the {device} bytes that the device keeps of it"));
        }
    }
    for p in &layout.placements {
        let slice = chip.slice(p.slice);
        each_point(p, |element, word, lane| {
            slice.preload_byte(word, lane, tensor.data[element * size + usize::from(p.byte)]);
        });
    }
    Ok(())
}

/// Byte that extends an element whose highest device byte is `top`.
fn extension(layout: &TensorLayout, top: u8) -> u8 {
    if layout.dtype.is_signed_int() && top & 0x80 != 0 { 0xFF } else { 0 }
}

/// Reads one output back.
pub(super) fn read_output(chip: &mut Chip<'_>, layout: &TensorLayout, values: usize) -> Result<Tensor, SimError> {
    check_layout(layout, chip.machine, values).map_err(bad_layout)?;
    let (size, device) = (layout.dtype.size(), usize::from(layout.device_bytes));
    let count = elements(layout).unwrap_or(0);
    // Before anything is allocated: a shape may promise more than the chip holds.
    let placed: u64 =
        layout.placements.iter().map(|p| p.loops.iter().map(|l| u64::from(l.count)).product::<u64>()).sum();
    if placed != (count * device) as u64 {
        let reason = format!("output `{}`: {placed} bytes are placed, it has {}", layout.name, count * device);
        return Err(SimError::Program { reason });
    }
    let mut data = vec![0u8; count * size];
    let per = chip.machine.geometry.lanes_per_superlane as usize;
    let mut unwritten = None;
    for p in &layout.placements {
        let slice = chip.slice(p.slice);
        each_point(p, |element, word, lane| match slice.part(word, lane / per) {
            Some(part) => data[element * size + usize::from(p.byte)] = part[lane % per],
            None => unwritten = Some((p.slice, word)),
        });
    }
    if let Some((slice, word)) = unwritten {
        return Err(SimError::Trap {
            cycle: chip.last_event,
            unit: slice.to_string(),
            reason: format!("output `{}` lies in word {word}, which was never written", layout.name),
        });
    }
    for element in data.chunks_exact_mut(size) {
        let fill = extension(layout, element[device - 1]);
        element[device..].fill(fill);
    }
    Tensor::new(layout.dtype, layout.shape.clone(), data).map_err(|e| SimError::Program { reason: e.to_string() })
}
