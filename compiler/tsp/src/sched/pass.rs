//! What passes through planes have in common.

use super::Scheduler;
use super::burst::{At, Burst, Def, InstNo, PlacedNo, Proto, StateDef, StreamNo, Use};
use super::rows::{repeat, whole};
use super::vxm::Plan;
use quadrille_isa::tsp::{AccMode, ActType, Column, Hemisphere, MxmPart, QueueId, SLOT_STATE};

/// Rows of bytes through one plane.
pub(super) struct BytePass {
    pub(super) plane: u8,
    pub(super) column: Column,
    /// The rows, on their stream, and how many.
    pub(super) acts: StreamNo,
    /// Which byte of that stream.
    pub(super) byte: u8,
    pub(super) ty: ActType,
    pub(super) n: u32,
    /// Cycle in which the first of them enters.
    pub(super) at: i64,
    pub(super) install: PlacedNo,
    /// Accumulator row of the first.
    pub(super) row: u16,
    /// Adds to sums; which ones, the caller says.
    pub(super) adds: bool,
    /// The sum of one pass that leaves the accumulators alone.
    pub(super) alone: bool,
    /// Where the sums go.
    pub(super) emit: Option<StreamNo>,
}

impl Scheduler<'_> {
    /// Adds the activations and the accumulation of a pass; gives the latter.
    pub(super) fn byte_pass(&self, b: &mut Burst, p: &BytePass) -> InstNo {
        let (n, queue) = (p.n, |part| At::Queue(QueueId::Mxm(p.plane, part)));
        let proto = Proto::Act { from: p.acts, byte: p.byte, ty: p.ty };
        let act = b.inst(queue(MxmPart::Activations), p.at, repeat(n, 1, 0), proto, None);
        b.use_(p.acts, Use { byte: p.byte, ..whole(act, 0, 1, n, p.column) });
        b.uses_state(act, SLOT_STATE, StateDef::Earlier(p.install), 0, n);
        let sum = p.at + i64::from(self.m.latency.mxm_activation_to_sum);
        let mode = if p.adds {
            AccMode::Add
        } else if p.alone {
            AccMode::Bypass
        } else {
            AccMode::Over
        };
        let proto = Proto::Acc { row: p.row, mode, emit: p.emit };
        let acc = b.inst(queue(MxmPart::Accumulators), sum, repeat(n, 1, 1), proto, None);
        b.uses_state(acc, 0, StateDef::Here(act), 1, n);
        if let Some(s) = p.emit {
            let t = p.at + self.to_stream();
            b.def(s, Def { inst: acc, byte: 0, bytes: 4, out: 0, off: 0, n, t, column: p.column });
        }
        acc
    }

    /// Cycles from an activation to its sum on a stream.
    pub(super) fn to_stream(&self) -> i64 {
        let l = &self.m.latency;
        i64::from(l.mxm_activation_to_sum + l.mxm_sum_to_stream)
    }

    /// Cycles from an activation to its sum at the ALUs.
    pub(super) fn to_alus(&self, side: Hemisphere) -> i64 {
        self.hops(side.inward(), self.m.mxm_column(side), self.m.vxm_column()) + self.to_stream()
    }

    /// The first activation of a pass whose sum meets the step that takes it (as input `input`), which need not be the first.
    pub(super) fn meeting(&self, side: Hemisphere, plan: &Plan, input: usize) -> i64 {
        let step = i64::from(plan.ins_at[input].unwrap_or(0) * self.m.latency.vxm_alu);
        step - self.to_alus(side)
    }
}
