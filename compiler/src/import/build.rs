//! Makes primitives: the importer's view of the graph under construction.
//!
//! Folds what is constant and small (shape arithmetic above all), keeps within budgets so that
//! a small file cannot ask for an endless graph, and refuses extents that would overflow.

use super::error::Fail;
use super::fold;
use crate::ir::{Binary, DType, Graph, Op, OriginId, PadMode, Reduce, Tensor, TensorType, Unary, ValueDef, ValueId};
use half::{bf16, f16};
use std::collections::BTreeMap;

/// Primitives a model may expand to.
const MAX_NODES: usize = 8_000_000;
/// Elements a tensor may have.
const MAX_ELEMENTS: usize = 1 << 40;
/// Bytes of constants that operators may make altogether.
const MADE_BUDGET: usize = 1 << 30;
/// Bytes that folding may produce altogether.
const FOLD_BUDGET: usize = 1 << 30;

/// True when no product of some of the extents exceeds the limit, zeros left out: so whatever an
/// operator multiplies of a shape does not overflow.
pub(crate) fn is_moderate(shape: &[usize]) -> bool {
    let product = shape.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    product.is_some_and(|n| n <= MAX_ELEMENTS)
}

/// The graph under construction.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    pub(crate) origin: OriginId,
    scalars: BTreeMap<(DType, u64), ValueId>,
    folded_bytes: usize,
    made_bytes: usize,
}

impl Builder {
    pub(crate) fn new(name: &str) -> Builder {
        let graph = Graph::new(name);
        Builder { graph, origin: OriginId(0), scalars: BTreeMap::new(), folded_bytes: 0, made_bytes: 0 }
    }

    pub(crate) fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }

    pub(crate) fn shape(&self, v: ValueId) -> Vec<usize> {
        self.graph.shape(v).to_vec()
    }

    pub(crate) fn dtype(&self, v: ValueId) -> DType {
        self.graph.ty(v).dtype
    }

    pub(crate) fn rank(&self, v: ValueId) -> usize {
        self.graph.shape(v).len()
    }

    pub(crate) fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.graph.constant(v)
    }

    /// Adds a constant that the importer computed.
    pub(crate) fn add_tensor(&mut self, t: Tensor) -> ValueId {
        self.made_bytes = self.made_bytes.saturating_add(t.data.len());
        self.graph.add_const("", t)
    }

    /// Fails once the importer's own constants (counters, tables, filters) fill the memory.
    pub(crate) fn check_budget(&self) -> Result<(), Fail> {
        if self.made_bytes > MADE_BUDGET {
            return Err(Fail::unsupported(
                format!("the model needs more than {MADE_BUDGET} bytes of computed constants"),
                "use smaller extents",
            ));
        }
        Ok(())
    }

    /// Adds a primitive, or its value when that is known and small.
    pub(crate) fn op(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fail> {
        self.make(op, inputs, true)
    }

    /// Adds a primitive and does not compute it, even on constants: for what a later pass
    /// wants to see, such as the dequantisation of weights.
    pub(crate) fn op_unfolded(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fail> {
        self.make(op, inputs, false)
    }

    fn make(&mut self, op: Op, inputs: &[ValueId], may_fold: bool) -> Result<ValueId, Fail> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let ty = op.result_type(&types)?;
        if !is_moderate(&ty.shape) {
            return Err(Fail::unsupported(format!("the result {ty} is too large"), "use smaller extents"));
        }
        if may_fold
            && self.folded_bytes < FOLD_BUDGET
            && inputs.iter().all(|&v| self.graph.constant(v).is_some())
            && fold::is_worthwhile(&op, &types, &ty)
        {
            let tensors: Vec<&Tensor> = inputs.iter().filter_map(|&v| self.graph.constant(v)).collect();
            if let Some(t) = fold::fold(&op, &tensors, &ty) {
                self.folded_bytes += t.data.len().max(64);
                return Ok(self.graph.add_const("", t));
            }
        }
        if self.graph.nodes().len() >= MAX_NODES {
            return Err(Fail::unsupported(
                format!("the model expands to more than {MAX_NODES} primitives"),
                "unroll less, or call fewer functions",
            ));
        }
        Ok(self.graph.add_node(op, inputs, self.origin)?)
    }

    // ---- constants ----

    /// A scalar of a type; the value is rounded to it.
    pub(crate) fn scalar(&mut self, dtype: DType, v: f64) -> ValueId {
        let key = (dtype, v.to_bits());
        if let Some(&id) = self.scalars.get(&key) {
            return id;
        }
        let id = self.graph.add_const("", scalar_tensor(dtype, v));
        self.scalars.insert(key, id);
        id
    }

    /// A scalar of the type of `x`.
    pub(crate) fn scalar_like(&mut self, x: ValueId, v: f64) -> ValueId {
        let dtype = self.dtype(x);
        self.scalar(dtype, v)
    }

    /// A vector of `i64`.
    pub(crate) fn ints(&mut self, v: &[i64]) -> ValueId {
        self.graph.add_const("", Tensor::from_i64(&[v.len()], v))
    }

    /// 0, 1, … n-1 as `i64` along one axis of a rank, the other axes having one element.
    pub(crate) fn iota(&mut self, n: usize, rank: usize, axis: usize) -> Result<ValueId, Fail> {
        const MAX: usize = 1 << 22;
        if n > MAX {
            return Err(Fail::unsupported(format!("counting to {n} is not supported"), "use smaller extents"));
        }
        let mut shape = vec![1; rank];
        if let Some(d) = shape.get_mut(axis) {
            *d = n;
        }
        let values: Vec<i64> = (0..n as i64).collect();
        Ok(self.add_tensor(Tensor::from_i64(&shape, &values)))
    }

    /// A tensor filled with a scalar.
    pub(crate) fn full(&mut self, dtype: DType, shape: &[usize], v: f64) -> Result<ValueId, Fail> {
        let s = self.scalar(dtype, v);
        self.broadcast(s, shape)
    }

    // ---- elementwise ----

    pub(crate) fn unary(&mut self, u: Unary, x: ValueId) -> Result<ValueId, Fail> {
        self.op(Op::Unary(u), &[x])
    }

    pub(crate) fn binary(&mut self, b: Binary, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
        self.op(Op::Binary(b), &[x, y])
    }

    pub(crate) fn add(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
        self.binary(Binary::Add, x, y)
    }

    pub(crate) fn sub(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
        self.binary(Binary::Sub, x, y)
    }

    pub(crate) fn mul(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
        self.binary(Binary::Mul, x, y)
    }

    pub(crate) fn div(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, Fail> {
        self.binary(Binary::Div, x, y)
    }

    /// `x * v` for a number.
    pub(crate) fn scale(&mut self, x: ValueId, v: f64) -> Result<ValueId, Fail> {
        if v == 1.0 {
            return Ok(x);
        }
        let s = self.scalar_like(x, v);
        self.mul(x, s)
    }

    /// `x + v` for a number.
    pub(crate) fn offset(&mut self, x: ValueId, v: f64) -> Result<ValueId, Fail> {
        if v == 0.0 {
            return Ok(x);
        }
        let s = self.scalar_like(x, v);
        self.add(x, s)
    }

    /// min(max(x, lo), hi) for numbers; an infinite bound is none.
    pub(crate) fn clamp(&mut self, x: ValueId, lo: f64, hi: f64) -> Result<ValueId, Fail> {
        let mut y = x;
        if lo > f64::NEG_INFINITY {
            let s = self.scalar_like(x, lo);
            y = self.binary(Binary::Max, y, s)?;
        }
        if hi < f64::INFINITY {
            let s = self.scalar_like(x, hi);
            y = self.binary(Binary::Min, y, s)?;
        }
        Ok(y)
    }

    pub(crate) fn select(&mut self, cond: ValueId, yes: ValueId, no: ValueId) -> Result<ValueId, Fail> {
        self.op(Op::Select, &[cond, yes, no])
    }

    pub(crate) fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId, Fail> {
        if self.dtype(x) == to { Ok(x) } else { self.op(Op::Cast(to), &[x]) }
    }

    // ---- shapes ----

    pub(crate) fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, Fail> {
        if self.graph.shape(x) == shape { Ok(x) } else { self.op(Op::Reshape { shape: shape.to_vec() }, &[x]) }
    }

    pub(crate) fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Fail> {
        if perm.len() == self.rank(x) && perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        self.op(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Exchanges the last two axes.
    pub(crate) fn transpose_last(&mut self, x: ValueId) -> Result<ValueId, Fail> {
        let r = self.rank(x);
        let mut perm: Vec<usize> = (0..r).collect();
        if r >= 2 {
            perm.swap(r - 1, r - 2);
        }
        self.transpose(x, &perm)
    }

    pub(crate) fn broadcast(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, Fail> {
        if self.graph.shape(x) == shape { Ok(x) } else { self.op(Op::Broadcast { shape: shape.to_vec() }, &[x]) }
    }

    pub(crate) fn concat(&mut self, axis: usize, parts: &[ValueId]) -> Result<ValueId, Fail> {
        if let [one] = parts { Ok(*one) } else { self.op(Op::Concat { axis }, parts) }
    }

    /// `len` elements of one axis from `start`.
    pub(crate) fn slice_axis(&mut self, x: ValueId, axis: usize, start: usize, len: usize) -> Result<ValueId, Fail> {
        let mut shape = self.shape(x);
        if shape.get(axis) == Some(&len) && start == 0 {
            return Ok(x);
        }
        let mut starts = vec![0; shape.len()];
        if axis >= shape.len() {
            return Err(Fail::invalid(format!("axis {axis} is out of range for {}", self.ty(x))));
        }
        starts[axis] = start;
        shape[axis] = len;
        let step = vec![1; shape.len()];
        self.op(Op::Slice { start: starts, step, shape }, &[x])
    }

    /// Pads with a number; negative entries crop.
    pub(crate) fn pad(&mut self, x: ValueId, before: &[isize], after: &[isize], v: f64) -> Result<ValueId, Fail> {
        if before.iter().chain(after).all(|&p| p == 0) {
            return Ok(x);
        }
        let s = self.scalar_like(x, v);
        self.op(Op::Pad { mode: PadMode::Constant, before: before.to_vec(), after: after.to_vec() }, &[x, s])
    }

    /// A reduction; over no axes it is the operand.
    pub(crate) fn reduce(&mut self, kind: Reduce, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId, Fail> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.op(Op::Reduce { kind, axes: axes.to_vec(), keep }, &[x])
    }

    pub(crate) fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Fail> {
        self.op(Op::MatMul { epilogue: Vec::new() }, &[a, b])
    }

    /// Names of the graph inputs that a value depends on, in the graph's order.
    pub(crate) fn inputs_behind(&self, v: ValueId) -> Vec<String> {
        // Shapes are computed near their use; a search through the whole network would tell the
        // user nothing.
        const MAX_VISITED: usize = 1 << 16;
        let mut seen = std::collections::HashSet::from([v]);
        let mut todo = vec![v];
        let mut found = Vec::new();
        while let Some(v) = todo.pop() {
            match &self.graph.value(v).def {
                ValueDef::Input(i) => found.push(*i),
                ValueDef::Const(_) => {}
                ValueDef::Node(_) if seen.len() > MAX_VISITED => {}
                ValueDef::Node(n) => {
                    todo.extend(self.graph.node(*n).inputs.iter().copied().filter(|&i| seen.insert(i)));
                }
            }
        }
        found.sort_unstable();
        found.iter().map(|&i| self.graph.value(self.graph.inputs[i as usize]).name.clone()).collect()
    }
}

/// A scalar tensor; the value is rounded to the type (integers saturate).
pub(crate) fn scalar_tensor(dtype: DType, v: f64) -> Tensor {
    let bytes: Vec<u8> = match dtype {
        DType::F16 => f16::from_f64(v).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(v).to_le_bytes().to_vec(),
        DType::F32 => (v as f32).to_le_bytes().to_vec(),
        DType::F64 => v.to_le_bytes().to_vec(),
        DType::I8 => (v as i8).to_le_bytes().to_vec(),
        DType::I16 => (v as i16).to_le_bytes().to_vec(),
        DType::I32 => (v as i32).to_le_bytes().to_vec(),
        DType::I64 => (v as i64).to_le_bytes().to_vec(),
        DType::U8 => (v as u8).to_le_bytes().to_vec(),
        DType::U16 => (v as u16).to_le_bytes().to_vec(),
        DType::U32 => (v as u32).to_le_bytes().to_vec(),
        DType::U64 => (v as u64).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(v != 0.0)],
        narrow => vec![quadrille_isa::narrow::encode(narrow, v)],
    };
    Tensor { dtype, shape: Vec::new(), data: bytes.into() }
}
