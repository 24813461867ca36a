//! The e-graph's language: a term is an operation with its operands' classes.
//!
//! Knows: how operations and constants are shared by number, so that terms are small and their
//! order never depends on addresses. Must not know: what any operation means.

use crate::ir::{Op, Tensor};
use egg::{Id, Language};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;

/// What a term is, without attributes. Rules are looked up by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    /// A value made outside the region, or a graph input.
    Leaf,
    /// A constant by number.
    Const,
    Unary,
    Binary,
    Select,
    Fma,
    Cast,
    BitCast,
    MatMul,
    Conv,
    ConvTranspose,
    Pool,
    Reduce,
    ArgReduce,
    CumSum,
    Softmax,
    Norm,
    Reshape,
    Transpose,
    Broadcast,
    Slice,
    Concat,
    Pad,
    Gather,
    GatherElements,
    GatherNd,
    ScatterElements,
    ScatterNd,
    TopKValues,
    TopKIndices,
}

impl Kind {
    /// Kind of an operation.
    pub(crate) fn of(op: &Op) -> Kind {
        match op {
            Op::Unary(_) => Kind::Unary,
            Op::Binary(_) => Kind::Binary,
            Op::Select => Kind::Select,
            Op::Fma => Kind::Fma,
            Op::Cast(_) => Kind::Cast,
            Op::BitCast(_) => Kind::BitCast,
            Op::MatMul { .. } => Kind::MatMul,
            Op::Conv { .. } => Kind::Conv,
            Op::ConvTranspose { .. } => Kind::ConvTranspose,
            Op::Pool { .. } => Kind::Pool,
            Op::Reduce { .. } => Kind::Reduce,
            Op::ArgReduce { .. } => Kind::ArgReduce,
            Op::CumSum { .. } => Kind::CumSum,
            Op::Softmax { .. } => Kind::Softmax,
            Op::Norm { .. } => Kind::Norm,
            Op::Reshape { .. } => Kind::Reshape,
            Op::Transpose { .. } => Kind::Transpose,
            Op::Broadcast { .. } => Kind::Broadcast,
            Op::Slice { .. } => Kind::Slice,
            Op::Concat { .. } => Kind::Concat,
            Op::Pad { .. } => Kind::Pad,
            Op::Gather { .. } => Kind::Gather,
            Op::GatherElements { .. } => Kind::GatherElements,
            Op::GatherNd { .. } => Kind::GatherNd,
            Op::ScatterElements { .. } => Kind::ScatterElements,
            Op::ScatterNd { .. } => Kind::ScatterNd,
            Op::TopKValues { .. } => Kind::TopKValues,
            Op::TopKIndices { .. } => Kind::TopKIndices,
        }
    }
}

/// One node of the e-graph: leaf, constant or operation, with the classes of its operands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Term {
    /// What it is.
    pub(crate) kind: Kind,
    /// Number of the leaf, the constant or the operation (with its attributes) in its table.
    pub(crate) payload: u32,
    /// Operands.
    pub(crate) children: SmallVec<[Id; 3]>,
}

impl Language for Term {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        self.kind
    }

    fn matches(&self, other: &Term) -> bool {
        self.kind == other.kind && self.payload == other.payload && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.kind, self.payload)
    }
}

/// Operations with their attributes, each stored once.
#[derive(Default, Debug)]
pub(crate) struct OpTable {
    ops: Vec<Op>,
    index: HashMap<Op, u32>,
}

impl OpTable {
    /// Number of an operation.
    pub(crate) fn intern(&mut self, op: Op) -> u32 {
        if let Some(&i) = self.index.get(&op) {
            return i;
        }
        let i = self.ops.len() as u32;
        self.ops.push(op.clone());
        self.index.insert(op, i);
        i
    }

    /// The operation of a number.
    pub(crate) fn get(&self, i: u32) -> &Op {
        &self.ops[i as usize]
    }
}

/// Constants, each stored once.
///
/// Small ones are compared by content; large ones by the place of their bytes, since reading
/// all weights of a model only to find twins would cost more than it saves.
#[derive(Default, Debug)]
pub(crate) struct ConstTable {
    tensors: Vec<(Tensor, String)>,
    index: HashMap<ConstKey, u32>,
}

#[derive(PartialEq, Eq, Hash, Debug)]
enum ConstKey {
    Content(crate::ir::DType, Vec<usize>, bytes::Bytes),
    Place(crate::ir::DType, Vec<usize>, usize),
}

const COMPARED_BY_CONTENT: usize = 4096;

impl ConstTable {
    /// Number of a constant; its first name stays.
    pub(crate) fn intern(&mut self, t: Tensor, name: &str) -> u32 {
        let key = if t.data.len() <= COMPARED_BY_CONTENT {
            ConstKey::Content(t.dtype, t.shape.clone(), t.data.clone())
        } else {
            ConstKey::Place(t.dtype, t.shape.clone(), t.data.as_ptr() as usize)
        };
        if let Some(&i) = self.index.get(&key) {
            return i;
        }
        let i = self.tensors.len() as u32;
        self.tensors.push((t, name.to_string()));
        self.index.insert(key, i);
        i
    }

    /// The constant of a number.
    pub(crate) fn get(&self, i: u32) -> &Tensor {
        &self.tensors[i as usize].0
    }

    /// Its name in the user's model, possibly empty.
    pub(crate) fn name(&self, i: u32) -> &str {
        &self.tensors[i as usize].1
    }
}
