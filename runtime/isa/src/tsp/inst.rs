//! Instructions of the `tsp` machine, one type per thing that can be named in them.
//!
//! An instruction says what a unit does when it issues; when it issues is part of the
//! program ([`super::program::Issue`]). See docs/isa-tsp.md for the meaning of each.

use std::fmt;

/// Direction in which a stream flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Dir {
    East,
    West,
}

impl Dir {
    /// The other direction.
    pub fn opposite(self) -> Dir {
        match self {
            Dir::East => Dir::West,
            Dir::West => Dir::East,
        }
    }
}

/// Side of the chip, seen from the VXM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Hemisphere {
    West,
    East,
}

impl Hemisphere {
    /// Direction from the VXM outwards: towards this hemisphere's MXM.
    pub fn outward(self) -> Dir {
        match self {
            Hemisphere::West => Dir::West,
            Hemisphere::East => Dir::East,
        }
    }

    /// Direction from this hemisphere's MXM to the VXM.
    pub fn inward(self) -> Dir {
        self.outward().opposite()
    }
}

/// One stream: a byte per lane. Prints as `e5` or `w17`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Stream {
    pub dir: Dir,
    pub id: u8,
}

/// An aligned group of 1, 2 or 4 streams; byte k of an element travels on stream `base + k`
/// (little endian). Prints as `e5`, `e4:2`, `w8:4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct StreamGroup {
    pub dir: Dir,
    pub base: u8,
    /// 1, 2 or 4; `base` is a multiple of it.
    pub width: u8,
}

impl StreamGroup {
    /// Stream of byte `k`.
    pub fn stream(self, k: u8) -> Stream {
        Stream { dir: self.dir, id: self.base + k }
    }
}

/// A MEM slice; slice 0 is nearest to the VXM. Prints as `mem.w12`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Slice {
    pub hemisphere: Hemisphere,
    pub index: u8,
}

/// The two in-order threads of a MEM queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Thread {
    /// `read` and `gather`.
    Read,
    /// `write` and `scatter`.
    Write,
}

/// The three queues of an MXM plane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MxmPart {
    /// `load_weights`.
    Weights,
    /// `install_weights` and `activations`.
    Activations,
    /// `accumulate`.
    Accumulators,
}

/// The units of an SXM, each with two queues.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SxmUnit {
    /// `shift`, `select`, `permute`.
    Permuter,
    /// `distribute`.
    Distributor(u8),
    /// `transpose`, `rotate`.
    Transposer(u8),
}

/// An instruction queue. A MEM queue is two entries here, one per thread.
///
/// Prints as `mem.w12.read`, `vxm.3`, `mxm.2.weights`, `sxm.e.distribute1.west` (the last
/// word is the direction of the streams that it samples).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum QueueId {
    /// Slice and thread.
    Mem(Slice, Thread),
    /// ALU number.
    Vxm(u8),
    /// Plane and part.
    Mxm(u8, MxmPart),
    /// Hemisphere, unit, and the direction of its inputs.
    Sxm(Hemisphere, SxmUnit, Dir),
}

/// Type of an ALU's operands or result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum AluType {
    I8,
    U8,
    I16,
    F16,
    I32,
    F32,
}

impl AluType {
    /// Bytes of an element, which is the width of the stream group that carries it.
    pub const fn bytes(self) -> u8 {
        match self {
            AluType::I8 | AluType::U8 => 1,
            AluType::I16 | AluType::F16 => 2,
            AluType::I32 | AluType::F32 => 4,
        }
    }
}

/// Operations of an ALU. Compares give 1 or 0 in the operand type's integer of equal width
/// (all ones are not used); `Select` takes `a != 0 ? b : c`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    AddSat,
    Sub,
    SubSat,
    Mul,
    MulSat,
    Fma,
    Min,
    Max,
    Abs,
    Neg,
    And,
    Or,
    Xor,
    Not,
    Shl,
    /// Arithmetic for signed types, logical for `u8`.
    Shr,
    CmpEq,
    CmpNe,
    CmpLt,
    CmpLe,
    CmpGt,
    CmpGe,
    Select,
    /// To the type given: ties to even, saturating for integers.
    Cast(AluType),
    Relu,
    Exp2,
    Log2,
    Rsqrt,
    Recip,
    Tanh,
    Sin,
    Floor,
    Round,
}

impl AluOp {
    /// Number of operands taken.
    pub const fn arity(self) -> usize {
        use AluOp::*;
        match self {
            Fma | Select => 3,
            Add | AddSat | Sub | SubSat | Mul | MulSat | Min | Max | And | Or | Xor | Shl | Shr | CmpEq | CmpNe
            | CmpLt | CmpLe | CmpGt | CmpGe => 2,
            Abs | Neg | Not | Cast(_) | Relu | Exp2 | Log2 | Rsqrt | Recip | Tanh | Sin | Floor | Round => 1,
        }
    }
}

/// Where an ALU takes an operand from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// Not used by the operation.
    None,
    /// A stream group as wide as the operand's type, sampled at the issue cycle.
    Stream(StreamGroup),
    /// The same bits in every lane (low bytes for narrow types). At most one per instruction.
    Imm(u32),
    /// The result of another ALU that comes out in the cycle in which this one executes: the
    /// other must have issued exactly `vxm_alu` cycles earlier.
    Alu(u8),
}

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

impl Inst {
    /// True when `queue` may hold this instruction.
    pub fn fits(&self, queue: QueueId) -> bool {
        use Inst::*;
        match (self, queue) {
            (Sync | Notify, _) => true,
            (Read { .. } | Gather { .. }, QueueId::Mem(_, Thread::Read)) => true,
            (Write { .. } | Scatter { .. }, QueueId::Mem(_, Thread::Write)) => true,
            (Alu { .. }, QueueId::Vxm(_)) => true,
            (LoadWeights { .. }, QueueId::Mxm(_, MxmPart::Weights)) => true,
            (InstallWeights | Activations { .. }, QueueId::Mxm(_, MxmPart::Activations)) => true,
            (Accumulate { .. }, QueueId::Mxm(_, MxmPart::Accumulators)) => true,
            (Shift { .. } | Select { .. } | Permute { .. }, QueueId::Sxm(_, SxmUnit::Permuter, _)) => true,
            (Distribute { .. }, QueueId::Sxm(_, SxmUnit::Distributor(_), _)) => true,
            (Rotate { .. } | Transpose { .. }, QueueId::Sxm(_, SxmUnit::Transposer(_), _)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.dir == Dir::East { 'e' } else { 'w' }, self.id)
    }
}

impl fmt::Display for StreamGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream(0).fmt(f)?;
        if self.width == 1 { Ok(()) } else { write!(f, ":{}", self.width) }
    }
}

impl fmt::Display for Hemisphere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Hemisphere::West { "w" } else { "e" })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mem.{}{}", self.hemisphere, self.index)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueId::Mem(s, Thread::Read) => write!(f, "{s}.read"),
            QueueId::Mem(s, Thread::Write) => write!(f, "{s}.write"),
            QueueId::Vxm(n) => write!(f, "vxm.{n}"),
            QueueId::Mxm(p, MxmPart::Weights) => write!(f, "mxm.{p}.weights"),
            QueueId::Mxm(p, MxmPart::Activations) => write!(f, "mxm.{p}.activations"),
            QueueId::Mxm(p, MxmPart::Accumulators) => write!(f, "mxm.{p}.accumulators"),
            QueueId::Sxm(h, unit, dir) => {
                let dir = if *dir == Dir::East { "east" } else { "west" };
                match unit {
                    SxmUnit::Permuter => write!(f, "sxm.{h}.permute.{dir}"),
                    SxmUnit::Distributor(n) => write!(f, "sxm.{h}.distribute{n}.{dir}"),
                    SxmUnit::Transposer(n) => write!(f, "sxm.{h}.transpose{n}.{dir}"),
                }
            }
        }
    }
}
