//! The new graph while it grows, and short names for what rules are made of.

use super::Legal;
use crate::ir::builder::splat;
use crate::ir::eval::eval_op;
use crate::ir::{
    Binary, DType, Graph, Node, Op, OriginId, Reduce, Tensor, TensorType, TypeError, Unary, ValueDef, ValueId,
};

/// Constants are computed here only while they are small: larger ones cost more than they save.
const FOLD_BYTES: usize = 64 << 20;

pub(super) struct Builder<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<ValueId>>,
    from: Vec<usize>,
    node: usize,
    origin: OriginId,
    /// Operations are looked up among the rules, and computed where all is constant.
    rules: bool,
}

pub(super) type Made = Result<ValueId, TypeError>;

impl<'a> Builder<'a> {
    pub(super) fn new(old: &'a Graph) -> Builder<'a> {
        let mut new = Graph::new(old.name.clone());
        for o in old.origins() {
            new.push_origin(o.name.clone());
        }
        let mut map = vec![None; old.values().len()];
        for &v in &old.inputs {
            let value = old.value(v);
            map[v.0 as usize] = Some(new.add_input(value.name.clone(), value.ty.clone()));
        }
        Builder { old, new, map, from: Vec::new(), node: 0, origin: OriginId(0), rules: true }
    }

    /// One that adds operations as they are.
    pub(super) fn as_it_is(old: &'a Graph) -> Builder<'a> {
        Builder { rules: false, ..Builder::new(old) }
    }

    /// What follows is on behalf of this node.
    pub(super) fn start(&mut self, number: usize, node: &Node) {
        self.node = number;
        self.origin = node.origin;
    }

    pub(super) fn inputs(&mut self, node: &Node) -> Vec<ValueId> {
        node.inputs.iter().map(|&v| self.value(v)).collect()
    }

    fn value(&mut self, old: ValueId) -> ValueId {
        if let Some(v) = self.map[old.0 as usize] {
            return v;
        }
        let value = self.old.value(old);
        let v = match &value.def {
            ValueDef::Const(t) => self.new.add_const(value.name.clone(), t.clone()),
            // Nodes are in order, so every other operand was made before.
            _ => panic!("{old} is read before it is made"),
        };
        self.map[old.0 as usize] = Some(v);
        v
    }

    pub(super) fn stands_for(&mut self, old: ValueId, new: ValueId) {
        let name = &self.old.value(old).name;
        if self.new.value(new).name.is_empty() && !name.is_empty() {
            self.new.set_name(new, name.clone());
        }
        self.map[old.0 as usize] = Some(new);
    }

    pub(super) fn finish(mut self) -> Legal {
        for o in &self.old.outputs {
            let v = self.value(o.value);
            self.new.add_output(o.name.clone(), v);
        }
        Legal { graph: self.new, from: self.from }
    }

    /// True when the old node is a padding that convolutions take over.
    pub(super) fn taken_over(&self) -> bool {
        super::pad::taken_over(self.old, &self.old.nodes()[self.node]).is_some()
    }

    pub(super) fn ty(&self, v: ValueId) -> &TensorType {
        self.new.ty(v)
    }

    pub(super) fn shape(&self, v: ValueId) -> Vec<usize> {
        self.new.shape(v).to_vec()
    }

    pub(super) fn dtype(&self, v: ValueId) -> DType {
        self.new.ty(v).dtype
    }

    pub(super) fn is_constant(&self, v: ValueId) -> bool {
        self.new.constant(v).is_some()
    }

    pub(super) fn constant_of(&self, v: ValueId) -> Option<&Tensor> {
        self.new.constant(v)
    }

    /// True when only reshapes and integer casts lie between a value and an input of the model.
    pub(super) fn is_input(&self, v: ValueId) -> bool {
        match &self.new.value(v).def {
            ValueDef::Input(_) => true,
            ValueDef::Const(_) => false,
            ValueDef::Node(n) => {
                let node = self.new.node(*n);
                match &node.op {
                    Op::Reshape { .. } => self.is_input(node.inputs[0]),
                    Op::Cast(to) => to.is_int() && self.dtype(node.inputs[0]).is_int() && self.is_input(node.inputs[0]),
                    _ => false,
                }
            }
        }
    }

    /// An operation: computed if all is constant, in other words if there is a rule, else added.
    pub(super) fn op(&mut self, op: Op, x: &[ValueId]) -> Made {
        if !self.rules {
            return self.raw(op, x);
        }
        if let Some(t) = self.folded(&op, x)? {
            return Ok(self.new.add_const("", t));
        }
        match self.rule(&op, x)? {
            Some(v) => Ok(v),
            None => self.raw(op, x),
        }
    }

    /// An operation as it is.
    pub(super) fn raw(&mut self, op: Op, x: &[ValueId]) -> Made {
        let v = self.new.add_node(op, x, self.origin)?;
        self.from.push(self.node);
        Ok(v)
    }

    fn folded(&self, op: &Op, x: &[ValueId]) -> Result<Option<Tensor>, TypeError> {
        let types: Vec<&TensorType> = x.iter().map(|&v| self.ty(v)).collect();
        let ty = op.result_type(&types)?;
        if ty.elements() == 0 {
            return Ok(Some(splat(&ty, 0.0)));
        }
        let empty: Vec<Option<Tensor>> = types.iter().map(|t| (t.elements() == 0).then(|| splat(t, 0.0))).collect();
        let operands: Option<Vec<&Tensor>> =
            x.iter().zip(&empty).map(|(&v, e)| self.constant_of(v).or(e.as_ref())).collect();
        match operands {
            Some(t) if !t.is_empty() && ty.bytes() <= FOLD_BYTES => Ok(eval_op(op, &t).ok()),
            _ => Ok(None),
        }
    }

    pub(super) fn constant(&mut self, t: Tensor) -> ValueId {
        self.new.add_const("", t)
    }

    /// A number of any element type, of rank 0.
    pub(super) fn number(&mut self, dtype: DType, x: f64) -> ValueId {
        self.constant(splat(&TensorType::new(dtype, []), x))
    }

    /// 0, 1, 2 … along one axis of `rank`, as i32.
    pub(super) fn counter(&mut self, n: usize, rank: usize, axis: usize) -> ValueId {
        let mut shape = vec![1; rank];
        shape[axis] = n;
        let data: Vec<u8> = (0..n as i32).flat_map(i32::to_le_bytes).collect();
        self.constant(Tensor { dtype: DType::I32, shape, data: data.into() })
    }

    pub(super) fn cast(&mut self, x: ValueId, to: DType) -> Made {
        if self.dtype(x) == to { Ok(x) } else { self.op(Op::Cast(to), &[x]) }
    }

    /// A constant in f32.
    pub(super) fn float_constant(&mut self, x: ValueId) -> Made {
        self.computed(Op::Cast(DType::F32), x)
    }

    /// Part of a constant along an axis.
    pub(super) fn constant_part(&mut self, x: ValueId, axis: usize, first: usize, count: usize) -> Made {
        let mut shape = self.shape(x);
        if first == 0 && count == shape[axis] {
            return Ok(x);
        }
        let mut start = vec![0; shape.len()];
        start[axis] = first;
        shape[axis] = count;
        let step = vec![1; shape.len()];
        self.computed(Op::Slice { start, step, shape }, x)
    }

    /// An operation on a constant: a constant.
    fn computed(&mut self, op: Op, x: ValueId) -> Made {
        match self.folded(&op, &[x])? {
            Some(t) => Ok(self.constant(t)),
            None => self.raw(op, &[x]),
        }
    }

    pub(super) fn unary(&mut self, u: Unary, x: ValueId) -> Made {
        self.op(Op::Unary(u), &[x])
    }

    pub(super) fn binary(&mut self, b: Binary, x: ValueId, y: ValueId) -> Made {
        self.op(Op::Binary(b), &[x, y])
    }

    /// With a number on the right.
    pub(super) fn with(&mut self, b: Binary, x: ValueId, y: f64) -> Made {
        let y = self.number(self.dtype(x), y);
        self.binary(b, x, y)
    }

    pub(super) fn select(&mut self, cond: ValueId, x: ValueId, y: ValueId) -> Made {
        self.op(Op::Select, &[cond, x, y])
    }

    pub(super) fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Made {
        if self.ty(x).shape == shape { Ok(x) } else { self.op(Op::Reshape { shape: shape.to_vec() }, &[x]) }
    }

    pub(super) fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Made {
        if perm.is_sorted() { Ok(x) } else { self.op(Op::Transpose { perm: perm.to_vec() }, &[x]) }
    }

    pub(super) fn reduce(&mut self, kind: Reduce, x: ValueId, axis: usize, keep: bool) -> Made {
        self.op(Op::Reduce { kind, axes: vec![axis], keep }, &[x])
    }

    /// `count` elements from `start` on along one axis; the whole of the others.
    pub(super) fn part(&mut self, x: ValueId, axis: usize, start: usize, count: usize) -> Made {
        let mut shape = self.shape(x);
        if start == 0 && count == shape[axis] {
            return Ok(x);
        }
        let mut starts = vec![0; shape.len()];
        starts[axis] = start;
        shape[axis] = count;
        let step = vec![1; shape.len()];
        self.op(Op::Slice { start: starts, step, shape }, &[x])
    }

    /// The elements of some axes in reverse order.
    pub(super) fn reversed(&mut self, x: ValueId, axes: std::ops::Range<usize>) -> Made {
        let shape = self.shape(x);
        let mut start = vec![0; shape.len()];
        let mut step = vec![1; shape.len()];
        for a in axes {
            start[a] = shape[a] - 1;
            step[a] = -1;
        }
        self.op(Op::Slice { start, step, shape }, &[x])
    }

    /// Zeros around: `before` and `after` may crop.
    pub(super) fn zeros_around(&mut self, x: ValueId, before: Vec<isize>, after: Vec<isize>) -> Made {
        if before.iter().chain(&after).all(|&n| n == 0) {
            return Ok(x);
        }
        let zero = self.number(self.dtype(x), 0.0);
        self.op(Op::Pad { mode: crate::ir::PadMode::Constant, before, after }, &[x, zero])
    }
}
