//! What is said when a tensor finds no room in SRAM: the sum, and how many chips would hold it.

use super::memory::Memory;
use crate::error::CompileError;
use crate::tiled::{Init, TensorId, TiledGraph};
use quadrille_isa::tsp::Machine;

/// Bytes of weights, tables and other constants as they are laid out, one copy each.
fn constants(g: &TiledGraph, m: &Machine) -> u64 {
    let laid_out = |t: &crate::tiled::RowTensor| u64::from(t.rows) * u64::from(t.ty.bytes()) * m.lanes() as u64;
    g.tensors.iter().filter(|t| matches!(t.init, Init::Const(_))).map(laid_out).sum()
}

/// `need` bytes for a tensor found no room. Every chip more has as much SRAM again, and the constants and
/// this tensor must be somewhere: that is the least number of chips.
pub(super) fn shortage(
    mem: &Memory,
    (g, m): (&TiledGraph, &Machine),
    (t, need): (TensorId, u64),
    reason: &str,
) -> CompileError {
    let info = &g.tensors[t.0 as usize];
    let (size, taken, constants) = (mem.capacity(), mem.now_bytes(), constants(g, m));
    let chips = (constants + need).div_ceil(size).max(2);
    CompileError::DoesNotFit {
        what: format!("bytes of SRAM for tensor `{}` ({} rows of {} lanes)", info.name, info.rows, info.lanes),
        need,
        have: size.saturating_sub(taken),
        reason: format!(
            "{reason}; of {size} bytes of SRAM, {taken} were taken by then; all weights and constants of the model \
             are {constants}"
        ),
        remedy: format!(
            "a smaller batch, input or model, bytes instead of floats, or a machine with more SRAM: not fewer than \
             {chips} chips of this size"
        ),
    }
}
