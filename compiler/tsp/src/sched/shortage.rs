//! What is said when a tensor finds no room in SRAM: the sum, and how many chips would hold it.

use super::memory::Memory;
use crate::error::CompileError;
use crate::tiled::{Init, RowTensor, TensorId, TiledGraph};
use quadrille_isa::tsp::Machine;

/// Bytes of a tensor as it is laid out, one copy.
fn laid_out(t: &RowTensor, m: &Machine) -> u64 {
    u64::from(t.rows) * u64::from(t.ty.bytes()) * m.lanes() as u64
}

/// Bytes of weights, tables and other constants, one copy each.
pub(super) fn constants(g: &TiledGraph, m: &Machine) -> u64 {
    g.tensors.iter().filter(|t| matches!(t.init, Init::Const(_))).map(|t| laid_out(t, m)).sum()
}

/// Most bytes of other tensors that are there at once, one copy each, if every tensor goes with the last kernel that reads it; and how many.
fn most_at_once(g: &TiledGraph, m: &Machine) -> (u64, usize) {
    let last = g.kernels.len();
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; g.tensors.len()];
    let mut note = |t: TensorId, n: usize| {
        let span = spans[g.stored(t).0 as usize].get_or_insert((n, n));
        *span = (span.0.min(n), span.1.max(n));
    };
    for (n, k) in g.kernels.iter().enumerate() {
        k.each_read(|r| note(r.tensor, n));
        k.each_whole(|t| note(t, n));
        k.each_write(|t| note(t, n));
    }
    g.outputs.iter().for_each(|o| note(o.tensor, last));
    let mut change = vec![(0i64, 0i64); last + 2];
    for (t, span) in g.tensors.iter().zip(spans) {
        let Some((first, end)) = span.filter(|_| !matches!(t.init, Init::Const(_))) else { continue };
        // What the host brings is there from the start.
        let first = if matches!(t.init, Init::Input { .. }) { 0 } else { first };
        let bytes = laid_out(t, m) as i64;
        change[first] = (change[first].0 + bytes, change[first].1 + 1);
        change[end + 1] = (change[end + 1].0 - bytes, change[end + 1].1 - 1);
    }
    let sums = change.into_iter().scan((0, 0), |sum, c| {
        *sum = (sum.0 + c.0, sum.1 + c.1);
        Some(*sum)
    });
    let (bytes, count) = sums.max().unwrap_or_default();
    (bytes as u64, count as usize)
}

/// `need` bytes for a tensor found no room. Every chip more has as much SRAM again, and the constants and either this tensor or all that
/// is there at once must be somewhere: that is the least number of chips.
pub(super) fn shortage(
    mem: &Memory,
    (g, m): (&TiledGraph, &Machine),
    (t, need): (TensorId, u64),
    reason: &str,
) -> CompileError {
    let info = &g.tensors[t.0 as usize];
    let (size, taken, constants) = (mem.capacity(), mem.now_bytes(), constants(g, m));
    let (at_once, count) = most_at_once(g, m);
    let chips = (constants + need.max(at_once)).div_ceil(size).max(2);
    CompileError::DoesNotFit {
        what: format!("bytes of SRAM for tensor `{}` ({} rows of {} lanes)", info.name, info.rows, info.lanes),
        need,
        have: size.saturating_sub(taken),
        reason: format!(
            "{reason}; of {size} bytes of SRAM, {taken} were taken by then; all weights and constants of the model \
             are {constants}, and the {count} other tensors that are there at once take {at_once}, one copy each"
        ),
        remedy: format!(
            "a smaller batch, input or model, bytes instead of floats, or a machine with more SRAM: not fewer than \
             {chips} chips of this size"
        ),
    }
}
