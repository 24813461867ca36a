//! When an instruction samples and drives, and on which streams: the table of docs/isa-tsp.md.
//!
//! Knows the offsets of one instruction from its issue cycle. Knows nothing of other
//! instructions, and assumes that [`super::form`] found this one well formed.

use super::form::MapInfo;
use quadrille_isa::tsp::{Dir, Inst, Latency, Machine, Operand, QueueId, Stream};

/// One stream that an instruction samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Slot of the provenance table.
    pub(super) slot: u8,
    pub(super) stream: Stream,
    /// Cycles after the issue.
    pub(super) offset: u32,
}

/// One stream that an instruction drives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drive {
    /// Result number of the provenance table.
    pub(super) out: u8,
    pub(super) stream: Stream,
    /// Cycles after the issue.
    pub(super) offset: u32,
}

/// Direction in which the streams that a plane samples flow.
pub(super) fn plane_inputs(machine: &Machine, queue: QueueId) -> Dir {
    match queue {
        QueueId::Mxm(plane, _) => machine.plane_hemisphere(plane).outward(),
        _ => Dir::East,
    }
}

fn next(base: Stream, k: u8) -> Stream {
    Stream { dir: base.dir, id: base.id.wrapping_add(k) }
}

/// Calls `f` for each stream sample, in slot order.
pub(super) fn samples(inst: &Inst, queue: QueueId, machine: &Machine, mut f: impl FnMut(Sample)) {
    let lat = &machine.latency;
    let mut at = |slot: u8, stream: Stream, offset: u32| f(Sample { slot, stream, offset });
    match *inst {
        Inst::Read { .. } | Inst::InstallWeights | Inst::Accumulate { .. } | Inst::Sync | Inst::Notify => {}
        Inst::Write { stream, .. } => at(0, stream, lat.mem_write_sample),
        Inst::Gather { map, .. } => at(0, map, 0),
        Inst::Scatter { stream, map, .. } => {
            at(0, stream, lat.mem_scatter_sample);
            at(1, map, 0);
        }
        Inst::Alu { a, b, c, .. } => {
            for (n, operand) in [a, b, c].into_iter().enumerate() {
                if let Operand::Stream(g) = operand {
                    for k in 0..g.width {
                        at(4 * n as u8 + k, g.stream(k), 0);
                    }
                }
            }
        }
        Inst::LoadWeights { ref streams, .. } => {
            let dir = plane_inputs(machine, queue);
            for (slot, &id) in streams.iter().enumerate() {
                at(slot as u8, Stream { dir, id }, 0);
            }
        }
        Inst::Activations { base, ty } => {
            let dir = plane_inputs(machine, queue);
            for k in 0..activation_streams(ty) {
                at(k, Stream { dir, id: base + k }, 0);
            }
        }
        Inst::Shift { from, .. } | Inst::Permute { from, .. } | Inst::Distribute { from, .. } => at(0, from, 0),
        Inst::Select { a, b, .. } => {
            at(0, a, 0);
            at(1, b, 0);
        }
        Inst::Rotate { n, from, .. } => (0..n).for_each(|k| at(k, next(from, k), 0)),
        Inst::Transpose { from, .. } => (0..16).for_each(|k| at(k, next(from, k), 0)),
    }
}

/// Streams of a row: a byte each.
pub(super) fn activation_streams(ty: quadrille_isa::tsp::ActType) -> u8 {
    if ty == quadrille_isa::tsp::ActType::F16 { 2 } else { 1 }
}

/// Calls `f` for each stream that execution `k` drives, in result order.
pub(super) fn drives(
    inst: &Inst,
    queue: QueueId,
    machine: &Machine,
    maps: &[MapInfo],
    step: i64,
    mut f: impl FnMut(Drive),
) {
    let lat = &machine.latency;
    let mut at = |out: u8, stream: Stream, offset: u32| f(Drive { out, stream, offset });
    match *inst {
        Inst::Read { stream, .. } => at(0, stream, lat.mem_read),
        Inst::Gather { stream, .. } => at(0, stream, lat.mem_gather),
        Inst::Alu { dst: Some(g), .. } => (0..g.width).for_each(|k| at(k, g.stream(k), alu_drive(lat))),
        Inst::Accumulate { emit: Some(base), .. } => {
            let dir = plane_inputs(machine, queue).opposite();
            (0..4).for_each(|k| at(k, Stream { dir, id: base + k }, lat.mxm_sum_to_stream));
        }
        Inst::Shift { to, .. } => at(0, to, lat.sxm_entry + lat.sxm_shift),
        Inst::Select { to, .. } => at(0, to, lat.sxm_entry + lat.sxm_select),
        Inst::Distribute { to, .. } => at(0, to, lat.sxm_entry + lat.sxm_distribute),
        Inst::Permute { map, to, .. } => {
            let crossed = maps.get((i64::from(map) + step) as usize).and_then(|m| m.permute_crosses).unwrap_or(0);
            at(0, to, lat.sxm_entry + lat.sxm_permute + crossed);
        }
        Inst::Rotate { n, to, .. } => (0..n * n).for_each(|k| at(k, next(to, k), lat.sxm_entry + lat.sxm_rotate)),
        Inst::Transpose { to, .. } => (0..16).for_each(|k| at(k, next(to, k), lat.sxm_entry + lat.sxm_transpose)),
        Inst::Alu { dst: None, .. }
        | Inst::Accumulate { emit: None, .. }
        | Inst::Write { .. }
        | Inst::Scatter { .. }
        | Inst::LoadWeights { .. }
        | Inst::InstallWeights
        | Inst::Activations { .. }
        | Inst::Sync
        | Inst::Notify => {}
    }
}

/// Issue of an `alu` to its drive.
fn alu_drive(lat: &Latency) -> u32 {
    lat.vxm_entry + lat.vxm_alu + lat.vxm_exit
}

/// True when the drive offset can differ between the executions of a repeat.
pub(super) fn drive_varies(inst: &Inst) -> bool {
    matches!(inst, Inst::Permute { .. })
}

/// Cycles from the issue to the last thing that the instruction itself does: a sample, a drive,
/// a stored word becoming readable.
pub(super) fn last_event(inst: &Inst, queue: QueueId, machine: &Machine, maps: &[MapInfo], step: i64) -> u32 {
    let lat = &machine.latency;
    let mut last = match inst {
        Inst::Write { .. } => lat.mem_write_readable,
        Inst::Scatter { .. } => lat.mem_scatter_readable,
        _ => 0,
    };
    samples(inst, queue, machine, |s| last = last.max(s.offset));
    drives(inst, queue, machine, maps, step, |d| last = last.max(d.offset));
    last
}

/// A latency that no judge can work with, by key and reason.
///
/// A result that comes out in the cycle in which its operands are taken would make the order of
/// events within a cycle matter; a latency in the thousands would need as many cycles of
/// stream history.
pub(super) fn unusable_latency(machine: &Machine) -> Option<(&'static str, u32)> {
    let l = &machine.latency;
    let positive = [
        ("mem_read", l.mem_read),
        ("mem_gather", l.mem_gather),
        ("mem_write_readable", l.mem_write_readable),
        ("mem_scatter_readable", l.mem_scatter_readable),
        ("vxm_alu", l.vxm_alu),
        ("sxm_entry + sxm_distribute", l.sxm_entry.saturating_add(l.sxm_distribute)),
        ("sxm_entry + sxm_shift", l.sxm_entry.saturating_add(l.sxm_shift)),
        ("sxm_entry + sxm_select", l.sxm_entry.saturating_add(l.sxm_select)),
        ("sxm_entry + sxm_rotate", l.sxm_entry.saturating_add(l.sxm_rotate)),
        ("sxm_entry + sxm_permute", l.sxm_entry.saturating_add(l.sxm_permute)),
        ("sxm_entry + sxm_transpose", l.sxm_entry.saturating_add(l.sxm_transpose)),
        ("mxm_weight_row", l.mxm_weight_row),
        ("mxm_install", l.mxm_install),
        ("mxm_activation_to_sum", l.mxm_activation_to_sum),
        ("mxm_sum_to_stream", l.mxm_sum_to_stream),
    ];
    let any = [
        ("mem_write_sample", l.mem_write_sample),
        ("mem_scatter_sample", l.mem_scatter_sample),
        ("vxm_entry", l.vxm_entry),
        ("vxm_exit", l.vxm_exit),
        ("mxm_f16_row_interval", l.mxm_f16_row_interval),
        ("barrier", l.barrier),
    ];
    let late = [
        ("mem_write_readable", l.mem_write_readable, l.mem_write_sample),
        ("mem_scatter_readable", l.mem_scatter_readable, l.mem_scatter_sample),
    ];
    let max = 4096;
    positive
        .into_iter()
        .find(|&(_, v)| v == 0 || v > max)
        .or_else(|| any.into_iter().find(|&(_, v)| v > max))
        .or_else(|| late.into_iter().find(|&(_, readable, sample)| readable < sample).map(|(k, r, _)| (k, r)))
}
