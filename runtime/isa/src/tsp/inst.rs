//! Instructions of the `tsp` machine, one type per thing that can be named in them.
//!
//! An instruction says what a unit does when it issues; when it issues is part of the
//! program ([`super::program::Issue`]). See docs/isa-tsp.md for the meaning of each. How one is
//! written is in [`super::text`], its sixteen bytes in [`super::binary`].

use super::opcode::Opcode;

pub use super::alu_op::*;
pub use super::place::*;

/// Type of the rows that enter a plane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum ActType {
    I8,
    U8,
    F16,
}

/// What an accumulator row does with a sum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AccMode {
    /// Replace the row.
    Over,
    /// Add to the row.
    Add,
    /// Leave the row alone; the sum itself may be emitted.
    Bypass,
}

/// One instruction. Which queue may hold which is in [`Inst::fits`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Inst {
    /// Drives the word at `addr`.
    Read { addr: u16, stream: Stream },
    /// Stores the vector on `stream`.
    Write { stream: Stream, addr: u16 },
    /// Each superlane reads the word that its lanes 0-1 of `map` name, in `[lo, hi)`.
    Gather { map: Stream, lo: u16, hi: u16, stream: Stream },
    /// Each superlane writes to the word that its lanes 0-1 of `map` name, in `[lo, hi)`.
    Scatter { stream: Stream, map: Stream, lo: u16, hi: u16 },
    /// One operation in every lane. `ty` is the type of the value operands (for `Select` of
    /// `b` and `c`, the condition having the integer of equal width).
    Alu { op: AluOp, ty: AluType, a: Operand, b: Operand, c: Operand, dst: Option<StreamGroup> },
    /// Rows `k0 .. k0+16` of the plane's buffer, row `k0 + i` from stream `streams[i]` (all of
    /// the hemisphere's outward direction).
    LoadWeights { k0: u16, streams: [u8; 16] },
    /// The buffer becomes the array. Only this instruction may share its cycle, with an
    /// `activations` in the same queue, which then follows it in the list.
    InstallWeights,
    /// One row enters. Sampled from the outward direction; `base` is the first stream of an
    /// aligned pair for f16.
    Activations { base: u8, ty: ActType },
    /// Exactly one per activation, `mxm_activation_to_sum` after it. `emit` is the base of an
    /// aligned four of inward streams, driven `mxm_sum_to_stream` later.
    Accumulate { row: u16, mode: AccMode, emit: Option<u8> },
    /// Lane i gets lane `i - lanes` (so a positive count moves up), zeros enter.
    Shift { from: Stream, to: Stream, lanes: i16 },
    /// Lane i of `a` where the map says 0, of `b` where it says 1.
    Select { a: Stream, b: Stream, map: u16, to: Stream },
    /// Lane i gets lane `map[i]`; the map is a bijection of all lanes.
    Permute { map: u16, from: Stream, to: Stream },
    /// Lane i gets lane `map[i]` of its own superlane (index within the superlane), or zero.
    Distribute { map: u16, from: Stream, to: Stream },
    /// Streams `from.. from+n` to `n*n` streams: output `r*n + c` is input `r` rotated down by
    /// `c` lanes within each superlane. `n` is 3 or 4.
    Rotate { n: u8, from: Stream, to: Stream },
    /// In every superlane the 16 x 16 bytes of 16 streams (aligned base) are transposed.
    Transpose { from: Stream, to: Stream },
    /// Waits for the chip-wide start; the first instruction of every queue that has any.
    Sync,
    /// Gives the chip-wide start; in one queue, at cycle 0, in place of its `sync`.
    Notify,
}

/// Value in a `distribute` map for "zero".
pub const DISTRIBUTE_ZERO: u16 = 0xFFFF;
/// Address in a gather or scatter map for "read zeros" / "write nothing".
pub const MAP_NONE: u16 = 0xFFFF;

/// Stream ids of a direction: five bits in an instruction.
pub const STREAM_IDS: u8 = 32;

impl Inst {
    /// The opcode, which is also the mnemonic.
    pub fn opcode(&self) -> Opcode {
        match self {
            Inst::Read { .. } => Opcode::Read,
            Inst::Write { .. } => Opcode::Write,
            Inst::Gather { .. } => Opcode::Gather,
            Inst::Scatter { .. } => Opcode::Scatter,
            Inst::Alu { .. } => Opcode::Alu,
            Inst::LoadWeights { .. } => Opcode::LoadWeights,
            Inst::InstallWeights => Opcode::InstallWeights,
            Inst::Activations { .. } => Opcode::Activations,
            Inst::Accumulate { .. } => Opcode::Accumulate,
            Inst::Shift { .. } => Opcode::Shift,
            Inst::Select { .. } => Opcode::Select,
            Inst::Permute { .. } => Opcode::Permute,
            Inst::Distribute { .. } => Opcode::Distribute,
            Inst::Rotate { .. } => Opcode::Rotate,
            Inst::Transpose { .. } => Opcode::Transpose,
            Inst::Sync => Opcode::Sync,
            Inst::Notify => Opcode::Notify,
        }
    }

    /// True when `queue` may hold this instruction.
    pub fn fits(&self, queue: QueueId) -> bool {
        use Inst::*;
        matches!(
            (self, queue),
            (Sync | Notify, _)
                | (Read { .. } | Gather { .. }, QueueId::Mem(_, Thread::Read))
                | (Write { .. } | Scatter { .. }, QueueId::Mem(_, Thread::Write))
                | (Alu { .. }, QueueId::Vxm(_))
                | (LoadWeights { .. }, QueueId::Mxm(_, MxmPart::Weights))
                | (InstallWeights | Activations { .. }, QueueId::Mxm(_, MxmPart::Activations))
                | (Accumulate { .. }, QueueId::Mxm(_, MxmPart::Accumulators))
                | (Shift { .. } | Select { .. } | Permute { .. }, QueueId::Sxm(_, SxmUnit::Permuter, _))
                | (Distribute { .. }, QueueId::Sxm(_, SxmUnit::Distributor(_), _))
                | (Rotate { .. } | Transpose { .. }, QueueId::Sxm(_, SxmUnit::Transposer(_), _))
        )
    }
}
