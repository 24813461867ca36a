//! A `tsp` program: what every queue issues and when, what is in SRAM at the start, where
//! inputs and outputs lie, and the provenance of every value that an instruction takes.

use super::inst::{Inst, QueueId, Slice};
use crate::tensor::DType;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Index into [`Program::nodes`]: the node of the user's model that an instruction serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeIx(pub u32);

/// Index into [`Program::values`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueIx(pub u32);

/// One instruction of one queue: index `index` of `queues[queue]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct IssueRef {
    pub queue: QueueId,
    pub index: u32,
}

/// `REPEAT n, d, a`: after the first issue at t, n more at t+d, t+2d, …, t+nd. `a` is added
/// each time to the word address, accumulator row or map index. `n == 0` is no repeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs)]
pub struct Repeat {
    pub n: u32,
    pub d: u32,
    pub a: i32,
}

/// Latest cycle that a program may name: adding any latency to it stays within `u32`.
pub const MAX_CYCLE: u32 = (1 << 31) - 1;

/// Most entries of an SXM map: lanes of the largest machine a description may declare.
pub const MAX_MAP_LANES: usize = 64 * 16;

/// An instruction with its exact issue cycle.
///
/// Waiting is not written down: the encoder puts a `NOP` into the binary text where the next
/// issue is not the next cycle, and the text size counts it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Issue {
    pub cycle: u32,
    pub inst: Inst,
    pub repeat: Repeat,
    pub node: NodeIx,
}

impl Issue {
    /// Number of executions: the first and the repeated ones.
    pub fn executions(&self) -> u32 {
        self.repeat.n + 1
    }

    /// Cycle of execution `k`.
    pub fn cycle_of(&self, k: u32) -> u32 {
        self.cycle + k * self.repeat.d
    }

    /// Cycle of the last execution, or `None` when it lies beyond [`MAX_CYCLE`] or repeats
    /// without moving on. Programs that were read from bytes or text never give `None`.
    pub fn checked_last_cycle(&self) -> Option<u32> {
        if self.repeat.n > 0 && self.repeat.d == 0 {
            return None;
        }
        let last = self.repeat.n.checked_mul(self.repeat.d)?.checked_add(self.cycle)?;
        (last <= MAX_CYCLE).then_some(last)
    }

    /// Cycle of the last execution.
    pub fn last_cycle(&self) -> u32 {
        self.cycle_of(self.repeat.n)
    }
}

/// Consecutive words of one slice that hold something before the program starts.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct ImageSegment {
    pub value: ValueIx,
    pub slice: Slice,
    pub addr: u16,
    /// Whole words, `lanes` bytes each.
    pub words: Bytes,
}

/// One version of the contents of some SRAM words. Every write instruction, image segment and
/// input placement defines words of exactly one value, each word at most once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct ValueInfo {
    pub name: String,
    pub node: NodeIx,
}

/// A loop of a placement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Loop {
    pub count: u32,
    pub addr_step: i32,
    pub lane_step: i32,
    /// In elements of the host tensor.
    pub elem_step: i64,
}

/// Where bytes of a host tensor lie in SRAM: for every point of the loop nest, byte `byte` of
/// element `elem0 + sum(i * elem_step)` is at lane `lane0 + sum(i * lane_step)` of word
/// `addr0 + sum(i * addr_step)` of `slice`. Bytes of a covered word that no point names are
/// zero. An input's placement may name one element at many places; an output's bytes are each
/// named once over all its placements.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Placement {
    pub value: ValueIx,
    pub slice: Slice,
    pub addr0: u16,
    pub lane0: u16,
    /// Byte of the element, 0 the lowest.
    pub byte: u8,
    pub elem0: u64,
    pub loops: Vec<Loop>,
}

/// An input or an output and its place in SRAM.
///
/// The host copies bytes and does not compute. When `device_bytes` is less than the element
/// size (64-bit integers kept as 32, 16 or 8 bits), the host refuses an input with an element
/// that the low bytes do not represent (sign-extended for signed types).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct TensorLayout {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub device_bytes: u8,
    pub placements: Vec<Placement>,
}

/// On-chip dataflow: executions `first .. first+count` of `use_`, sample slots `slot ..
/// slot+width`, see result `out ..out+width` of executions `def_first + i*def_step` of `def`.
///
/// Slots by instruction: `alu` operand a 0-3, b 4-7, c 8-11 (a byte of the element each; a
/// chained operand is its first slot alone, width 1, `out` = [`OUT_CHAIN`]) · `write` 0 ·
/// `gather` map 0 · `scatter` data 0, map 1 · `load_weights` 0-15 · `activations` 0 (and 1 for
/// f16) from streams, [`SLOT_STATE`] from the `install_weights` whose weights it meets ·
/// `install_weights` i from its i-th `load_weights` (out 0) · `accumulate` 0 from its
/// `activations`, [`SLOT_STATE`] (mode `add` only) from the `accumulate` that left the row ·
/// SXM from 0 on. Results: `alu` and `accumulate` bytes 0-3, `read`/`gather` 0, SXM from 0 on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Provenance {
    pub use_: IssueRef,
    pub slot: u8,
    pub width: u8,
    pub first: u32,
    pub count: u32,
    pub def: IssueRef,
    pub out: u8,
    pub def_first: u32,
    pub def_step: u32,
}

/// `Provenance::out` of a chained ALU result.
pub const OUT_CHAIN: u8 = 0xFF;
/// `Provenance::slot` of a unit's own state: installed weights, an accumulator row.
pub const SLOT_STATE: u8 = 0x80;

/// SRAM dataflow of a MEM instruction: execution k reads (or defines) word `addr + k*step` of
/// `value`. A gather or scatter has its word range here, `addr = lo`, `step = hi - lo`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct MemProvenance {
    pub issue: IssueRef,
    pub value: ValueIx,
    pub addr: u16,
    pub step: i32,
}

/// A program for one machine description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// Name of the machine description.
    pub machine: String,
    /// [`super::Machine::hash`] of it.
    pub machine_hash: String,
    /// Name of the model.
    pub model: String,
    /// Node names of the user's model.
    pub nodes: Vec<String>,
    /// SRAM values.
    pub values: Vec<ValueInfo>,
    /// SXM maps, one entry a lane; instructions name them by index. They live in the reserved
    /// slices and count as program text (2 bytes a lane).
    pub maps: Vec<Vec<u16>>,
    /// What each queue issues, in order. Queues without instructions are absent.
    pub queues: BTreeMap<QueueId, Vec<Issue>>,
    /// SRAM contents at the start, besides inputs.
    pub image: Vec<ImageSegment>,
    /// Inputs, in the model's order.
    pub inputs: Vec<TensorLayout>,
    /// Outputs, in the model's order.
    pub outputs: Vec<TensorLayout>,
    /// Provenance of every stream sample, chained operand and unit state.
    pub provenance: Vec<Provenance>,
    /// Provenance of every SRAM access.
    pub mem_provenance: Vec<MemProvenance>,
}

/// Of each issue of a queue: its cycle, and the instructions of program text that it takes, a NOP before it and a REPEAT
/// after it included.
pub fn text_slots(queue: &[Issue]) -> impl Iterator<Item = (u32, u64)> {
    let mut next = 0;
    queue.iter().map(move |i| {
        let slots = 1 + u64::from(u64::from(i.cycle) > next) + u64::from(i.repeat.n > 0);
        next = u64::from(i.last_cycle()) + 1;
        (i.cycle, slots)
    })
}

impl Program {
    /// Bytes of program text: instructions, repeats, NOPs (16 B each) and maps.
    pub fn text_bytes(&self, instruction_bytes: u32) -> u64 {
        let slots: u64 = self.queues.values().flat_map(|q| text_slots(q)).map(|(_, slots)| slots).sum();
        let maps: usize = self.maps.iter().map(|m| 2 * m.len()).sum();
        slots * u64::from(instruction_bytes) + maps as u64
    }

    /// The instruction that a reference names.
    pub fn issue(&self, r: IssueRef) -> Option<&Issue> {
        self.queues.get(&r.queue)?.get(r.index as usize)
    }
}
