//! The tiled graph: exactly what is scheduled, as kernels over rows of lanes.
//!
//! A row tensor is `rows` vectors of `lanes` elements; a kernel names, row by row, what it reads
//! and writes. Everything that decides bits is here: which rows meet which weights in which
//! pass, the order of sums, every cast and ALU operation. Nothing here knows slices, addresses,
//! streams or cycles; those follow in `crate::sched`.

mod eval;
mod print;

use bytes::Bytes;
use quadrille_isa::DType;
use quadrille_isa::tsp::{AluOp, AluType};
use std::sync::Arc;

pub use eval::TiledEvalError;
pub(crate) use eval::device_bytes;

/// A row tensor of a tiled graph. Prints as `t7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TensorId(pub u32);

/// Index into [`TiledGraph::nodes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeNo(pub u32);

/// Row number that names the fill row: the same element in every lane.
pub const FILL: u32 = u32::MAX;

/// Source row that a [`Init::Gather`] names where it reads zeros.
pub const NOTHING: u32 = u32::MAX - 1;

/// Lanes of a superlane: a gather chooses a row for each group of so many lanes.
pub const GROUP_LANES: usize = 16;

/// One loop of a [`HostPiece`]; steps per turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct HostLoop {
    pub count: u32,
    pub row: i32,
    pub lane: i32,
    /// In elements of the host tensor.
    pub elem: i64,
}

/// A loop nest that pairs elements of a host tensor with (row, lane) places.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct HostPiece {
    pub row0: u32,
    pub lane0: u32,
    pub elem0: u64,
    /// `Some(b)`: the row tensor has one byte an element and takes byte `b` of the host's.
    pub byte: Option<u8>,
    pub loops: Vec<HostLoop>,
}

/// Where the rows of a tensor come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Init {
    /// Kernels write them.
    Computed,
    /// Elements, row-major, little endian; part of the program's SRAM image.
    Const(Bytes),
    /// Bytes of input number `index`, placed by the host; lanes that no piece names are zero.
    #[allow(missing_docs)]
    Input { index: u32, pieces: Vec<HostPiece> },
    /// Never stored: each row is put together while it is read. Lane group `g` of row `i` is that of row
    /// `sources[i * groups + g]` of `from`, of its fill row ([`FILL`]) or zeros ([`NOTHING`]).
    #[allow(missing_docs)]
    Gather { from: TensorId, sources: Arc<[u32]>, groups: u32 },
}

/// A row tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowTensor {
    /// Name of the value in the user's model, or of what it is for.
    pub name: String,
    /// Node that makes it.
    pub node: NodeNo,
    /// Number of rows.
    pub rows: u32,
    /// Lanes that mean something.
    pub lanes: u32,
    /// Element type.
    pub ty: AluType,
    /// Source of the rows.
    pub init: Init,
    /// Element of the row [`FILL`], for tensors that have one.
    pub fill: Option<u32>,
    /// What every lane beyond `lanes` holds.
    pub tail: u32,
    /// Weights: rows are spread over as many slices as a weight load samples streams.
    pub weights: bool,
    /// The dynamic table of a gather: row r lies at word r.
    pub table: bool,
    /// Pixels side by side in a row, in equal runs of lanes; 1 for ordinary tensors.
    pub pixels: u32,
}

impl RowTensor {
    /// Ordinary rows, zero beyond their lanes.
    pub(crate) fn new(name: String, node: NodeNo, ty: AluType, (rows, lanes): (usize, usize), init: Init) -> RowTensor {
        RowTensor {
            name,
            node,
            rows: rows as u32,
            lanes: lanes as u32,
            ty,
            init,
            fill: None,
            tail: 0,
            weights: false,
            table: false,
            pixels: 1,
        }
    }
}

/// Rows of one tensor, one for each row of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Rows {
    pub tensor: TensorId,
    /// Row numbers, or [`FILL`].
    pub rows: Vec<u32>,
}

/// Operand of an ALU step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// Not used.
    None,
    /// Operand rows by number.
    In(u16),
    /// The same bits in every lane.
    Imm(u32),
    /// Result of an earlier step.
    Op(u16),
}

/// One ALU step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Step {
    pub op: AluOp,
    pub ty: AluType,
    pub src: [Src; 3],
}

/// One pass over a plane (pair): rows meet installed weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pass {
    /// Activation rows: f16, or i8 or u8 (weights are then i8).
    pub act: Rows,
    /// Weight tensor.
    pub weights: TensorId,
    /// `(plane row / 16, weight tensor row / 16)` of each load of 16 rows.
    pub loads: Vec<(u16, u32)>,
    /// Which of 16 rows a load takes: `(first, count)`; the others are zero.
    pub slots: (u8, u8),
}

/// One pass of a lane move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovePass {
    /// Rows that are read.
    pub from: Rows,
    /// (source lane, destination lane); a destination lane is fed by one pass at most.
    pub map: Vec<(u16, u16)>,
    /// The map as an int8 matrix of zeros and ones, of the rows that `loads` names.
    pub weights: TensorId,
    /// As in [`Pass::loads`].
    pub loads: Vec<(u16, u32)>,
    /// As in [`Pass::slots`].
    pub slots: (u8, u8),
}

/// What a kernel does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    /// `outs` = ALU steps over operand rows.
    Map { ins: Vec<Rows>, steps: Vec<Step>, outs: Vec<(Src, Rows)> },
    /// Each chain is a sum of passes (f32, in order; i32 for a product of bytes, which has one chain); operands `0..chains` of the steps are the
    /// sums, the rest are `ins`.
    MatMul { chains: Vec<Vec<Pass>>, ins: Vec<Rows>, steps: Vec<Step>, outs: Vec<(Src, Rows)> },
    /// Elements move between lanes; every other lane of the result is zero.
    Move { passes: Vec<MovePass>, out: Rows },
    /// Row i of `out` is the row of `table` that the index in lanes 0-1 of each superlane of row i
    /// of `ids` names.
    Gather { ids: Rows, table: TensorId, out: Rows },
    /// Groups of 16 rows: row `16 groups[a] + j` of `out` has at lane `16s + i` what row `16a + i` of `from` has at
    /// lane `16s + j`. Both are weights tensors, `from` read as a whole.
    Transpose { from: TensorId, out: TensorId, groups: Vec<u32> },
}

impl Kind {
    /// All of `rows` rows, each group in its place.
    pub(crate) fn transpose(from: TensorId, out: TensorId, rows: usize) -> Kind {
        Kind::Transpose { from, out, groups: (0..rows as u32 / 16).collect() }
    }
}

/// A kernel: `n` rows of work.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Kernel {
    pub node: NodeNo,
    pub n: u32,
    pub kind: Kind,
}

/// An input of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct InputDef {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
}

/// An output of the model and where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct OutputDef {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub tensor: TensorId,
    pub pieces: Vec<HostPiece>,
}

/// What the scheduler schedules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TiledGraph {
    /// Name of the model.
    pub name: String,
    /// Names of the user's nodes.
    pub nodes: Vec<String>,
    /// All row tensors.
    pub tensors: Vec<RowTensor>,
    /// All kernels, in program order.
    pub kernels: Vec<Kernel>,
    /// Inputs in the model's order.
    pub inputs: Vec<InputDef>,
    /// Outputs in the model's order.
    pub outputs: Vec<OutputDef>,
}

impl TiledGraph {
    /// A tensor.
    pub fn tensor(&self, t: TensorId) -> &RowTensor {
        &self.tensors[t.0 as usize]
    }

    /// The tensor that holds the rows: the source of a gathered one, else itself.
    pub fn stored(&self, t: TensorId) -> TensorId {
        match &self.tensor(t).init {
            Init::Gather { from, .. } => *from,
            _ => t,
        }
    }
}

impl Kernel {
    /// Calls `f` for every operand that is read row by row.
    pub fn each_read(&self, mut f: impl FnMut(&Rows)) {
        match &self.kind {
            Kind::Map { ins, .. } => ins.iter().for_each(f),
            Kind::MatMul { chains, ins, .. } => {
                chains.iter().flatten().for_each(|p| f(&p.act));
                ins.iter().for_each(f);
            }
            Kind::Move { passes, .. } => passes.iter().for_each(|p| f(&p.from)),
            Kind::Gather { ids, .. } => f(ids),
            Kind::Transpose { .. } => {}
        }
    }

    /// Calls `f` for every tensor that is read as a whole (weights, tables, transposed rows).
    pub fn each_whole(&self, mut f: impl FnMut(TensorId)) {
        match &self.kind {
            Kind::Map { .. } => {}
            Kind::MatMul { chains, .. } => chains.iter().flatten().for_each(|p| f(p.weights)),
            Kind::Move { passes, .. } => passes.iter().for_each(|p| f(p.weights)),
            Kind::Gather { table, .. } => f(*table),
            Kind::Transpose { from, .. } => f(*from),
        }
    }

    /// Calls `f` for every tensor that is written.
    pub fn each_write(&self, mut f: impl FnMut(TensorId)) {
        match &self.kind {
            Kind::Map { outs, .. } | Kind::MatMul { outs, .. } => outs.iter().for_each(|(_, r)| f(r.tensor)),
            Kind::Move { out, .. } | Kind::Gather { out, .. } => f(out.tensor),
            Kind::Transpose { out, .. } => f(*out),
        }
    }
}

/// Calls `f(row, lane, element)` for each point of a host piece, in loop order.
pub fn each_host_point(p: &HostPiece, mut f: impl FnMut(u32, u32, u64)) {
    fn walk(loops: &[HostLoop], row: i64, lane: i64, elem: i64, f: &mut impl FnMut(u32, u32, u64)) {
        match loops.split_first() {
            None => f(row as u32, lane as u32, elem as u64),
            Some((l, rest)) => {
                for i in 0..i64::from(l.count) {
                    walk(rest, row + i * i64::from(l.row), lane + i * i64::from(l.lane), elem + i * l.elem, f);
                }
            }
        }
    }
    walk(&p.loops, i64::from(p.row0), i64::from(p.lane0), p.elem0 as i64, &mut f);
}
