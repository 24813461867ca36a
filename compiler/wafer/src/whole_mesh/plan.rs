//! From the graph to phases: a walk over its nodes, each value a vector in pieces on a line.

use super::layout::{Heads, Layout};
use super::lookup::{self, Row};
use super::phase::{
    Arg, BufId, Buffer, Groups, In, Init, LocalOp, Mesh, NONE, Out, Phase, Place, Plan, View, Work, other,
};
use super::position::Pos;
use super::recognise::{self, Attention, Factor, Found, REMEDY, Rope, constant, keeps_order, refuse, scalar};
use super::{attention, memory};
use crate::CompileError;
use crate::collective::gemv::Grid;
use crate::collective::wires::Axis;
use crate::steps::{self, Micro, Step};
use quadrille_compiler::ir::{Binary, DType, Graph, Node, NodeId, Op, Reduce, Unary, ValueId};
use quadrille_isa::wafer::{ElemType, Machine, PeOp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A vector in pieces along the middle line of an axis; a scalar is the same on all of the line.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    pub(super) axis: Axis,
    /// None for a scalar.
    pub(super) layout: Option<Layout>,
    pub(super) buf: BufId,
    pub(super) offset: usize,
    /// From one element of a piece to the next.
    pub(super) stride: usize,
    /// Slots without an element hold zero.
    pub(super) zero_gaps: bool,
}

impl Vector {
    pub(super) fn view(&self) -> View {
        View { buf: self.buf, offset: self.offset, s1: 0, s0: self.stride }
    }

    /// Elements on a PE.
    pub(super) fn piece(&self) -> usize {
        self.layout.as_ref().map_or(1, |l| l.piece)
    }
}

/// The walk.
pub(super) struct Planner<'a> {
    pub(super) g: &'a Graph,
    pub(super) plan: Plan,
    found: Found,
    pub(super) values: BTreeMap<ValueId, Vector>,
    /// Layouts that the readers of products want, by result of the product.
    pub(super) wanted: BTreeMap<ValueId, Heads>,
    /// PEs shall hold about as many bytes each.
    pub(super) even: bool,
    /// Tables of rotary embeddings that lie on the line already.
    tables: Vec<(Heads, Vec<f32>, BufId)>,
    /// Rows looked up for heads that lie on the line already.
    pub(super) rows: Vec<(Heads, Row, BufId)>,
    /// What depends on inputs alone and is done first, once for all layers.
    early: Vec<Phase>,
    /// Scalar inputs of whole numbers on every PE, by input.
    pub(super) numbers: BTreeMap<usize, BufId>,
    /// Computed for each position and kept for all layers.
    pub(super) computed: Vec<(Pos, Place, View)>,
    /// Caches with the new position, by the value of the concatenation.
    pub(super) caches: BTreeMap<ValueId, (BufId, Arc<Vec<u32>>)>,
}

/// The phases of a graph.
pub(super) fn plan(g: &Graph, machine: &Machine, grid: Grid, even: bool) -> Result<Plan, CompileError> {
    let have = (machine.geometry.width_pes, machine.geometry.height_pes);
    if grid.width < 3 || grid.height < 3 || u32::from(grid.width) > have.0 || u32::from(grid.height) > have.1 {
        return Err(CompileError::DoesNotFit {
            what: format!("a grid of {} x {} PEs", grid.width, grid.height),
            need: u64::from(grid.width) * u64::from(grid.height),
            have: u64::from(have.0) * u64::from(have.1),
            reason: format!("the machine has {} x {} PEs, and a line needs 3", have.0, have.1),
            remedy: "choose another grid".to_string(),
        });
    }
    let mesh = Mesh { grid };
    let found = recognise::recognise(g)?;
    let input = |&v: &ValueId| In { name: g.value(v).name.clone(), dtype: g.ty(v).dtype, shape: g.shape(v).to_vec() };
    let plan = Plan {
        mesh,
        bufs: Vec::new(),
        phases: Vec::new(),
        groups: None,
        attentions: None,
        inputs: g.inputs.iter().map(input).collect(),
        outs: Vec::new(),
        before: 0,
        round: 0,
        rounds: 1,
        spans: BTreeMap::new(),
        next: BTreeMap::new(),
        top: 0,
    };
    let mut p = Planner {
        g,
        plan,
        found,
        values: BTreeMap::new(),
        wanted: BTreeMap::new(),
        even,
        tables: Vec::new(),
        rows: Vec::new(),
        early: Vec::new(),
        numbers: BTreeMap::new(),
        computed: Vec::new(),
        caches: BTreeMap::new(),
    };
    p.choose_heads()?;
    p.inputs();
    for (i, n) in g.nodes().iter().enumerate() {
        p.node(NodeId(i as u32), n)?;
    }
    p.outputs()?;
    p.plan.phases.splice(0..0, p.early);
    memory::give_out(&mut p.plan);
    Ok(p.plan)
}

pub(super) fn elem(d: DType) -> Option<ElemType> {
    match d {
        DType::F32 => Some(ElemType::F32),
        DType::F16 => Some(ElemType::F16),
        _ => None,
    }
}

impl<'a> Planner<'a> {
    pub(super) fn alloc(&mut self, ty: ElemType, len: usize, at: Place, init: Init) -> BufId {
        self.plan.bufs.push(Buffer { ty, len, at, init, addr: 0, step: 0, of_position: 0, shared: false });
        BufId(self.plan.bufs.len() - 1)
    }

    /// A buffer on the middle line of an axis, to be written before it is read.
    pub(super) fn on_line(&mut self, axis: Axis, ty: ElemType, len: usize) -> BufId {
        self.alloc(ty, len, self.plan.mesh.line(axis), Init::Free)
    }

    pub(super) fn push(&mut self, n: &Node, what: &'static str, work: Work) {
        let node = self.g.origin_name(n).to_string();
        self.plan.phases.push(Phase { node, what, work });
    }

    /// The same for what depends on inputs alone.
    pub(super) fn push_early(&mut self, n: &Node, what: &'static str, work: Work) {
        let node = self.g.origin_name(n).to_string();
        self.early.push(Phase { node, what, work });
    }

    /// Operations on the middle line of an axis.
    fn local(&mut self, n: &Node, axis: Axis, ops: Vec<LocalOp>) {
        let at = self.plan.mesh.line(axis);
        self.push(n, "elementwise", Work::Local { at, ops });
    }

    /// Gives the groups of heads their places, and the products before them their layouts.
    fn choose_heads(&mut self) -> Result<(), CompileError> {
        // Vectors start along columns, and every product turns them, so heads lie along the row.
        let axis = Axis::Row;
        let places = usize::from(self.plan.mesh.len(axis));
        let attentions: Vec<(ValueId, Attention)> =
            self.found.attentions.iter().map(|(v, a)| (*v, a.clone())).collect();
        for (out, a) in attentions {
            let node = self.g.producer(out).expect("the result of an attention is a node's");
            let half = a.width / 2;
            let fitting = (1..=half).find(|p| a.kv_heads * half.div_ceil(*p) <= places);
            let Some(pairs) = fitting else {
                let reason = format!("{} heads of keys need as many places, the line has {places}", a.kv_heads);
                return Err(refuse(self.g, node, reason, "choose a wider grid"));
            };
            let size = half.div_ceil(pairs);
            let first = ((places - a.kv_heads * size) / 2) as u16;
            let groups = Groups { axis, first, count: a.kv_heads as u16, size: size as u16 };
            if self.plan.groups.is_some_and(|g| g != groups) {
                return Err(refuse(self.g, node, "its heads are unlike those of another attention", REMEDY));
            }
            self.plan.groups = Some(groups);
            let reps = a.heads / a.kv_heads;
            for (v, reps) in [(a.q, reps), (a.keys.new, 1), (a.values.new, 1)] {
                let heads = Heads { groups, reps, width: a.width, pairs };
                let product = self.product_before(v).ok_or_else(|| {
                    refuse(self.g, node, "queries, keys or values come from no product with weights", REMEDY)
                })?;
                self.wanted.insert(product, heads);
            }
        }
        Ok(())
    }

    /// The product whose result a vector is, but for elementwise work.
    fn product_before(&self, mut v: ValueId) -> Option<ValueId> {
        loop {
            if let Some(r) = self.found.ropes.get(&v) {
                v = r.x;
                continue;
            }
            let n = self.g.producer(v)?;
            v = match n.op {
                Op::MatMul { .. } => return Some(v),
                Op::Cast(_) | Op::Unary(_) => n.inputs[0],
                Op::Binary(_) if self.g.constant(n.inputs[1]).is_some() => n.inputs[0],
                Op::Binary(_) if self.g.constant(n.inputs[0]).is_some() => n.inputs[1],
                _ if keeps_order(self.g, n) => n.inputs[0],
                _ => return None,
            };
        }
    }

    /// Inputs that are no cache lie along columns.
    fn inputs(&mut self) {
        let g = self.g;
        let caches: Vec<usize> = self.found.attentions.values().flat_map(|a| [a.keys.past, a.values.past]).collect();
        for (i, &v) in g.inputs.iter().enumerate() {
            let Some(ty) = elem(g.ty(v).dtype).filter(|_| !caches.contains(&i)) else { continue };
            let axis = Axis::Column;
            let layout = Layout::plain(g.ty(v).elements(), self.plan.mesh.len(axis));
            let init = Init::Input(i, layout.index.clone());
            let buf = self.alloc(ty, layout.piece, self.plan.mesh.line(axis), init);
            self.values.insert(v, Vector { axis, layout: Some(layout), buf, offset: 0, stride: 1, zero_gaps: true });
        }
    }

    fn outputs(&mut self) -> Result<(), CompileError> {
        let g = self.g;
        for o in &g.outputs {
            let mut v = o.value;
            while let Some(n) = g.producer(v).filter(|n| !self.values.contains_key(&v) && keeps_order(g, n)) {
                v = n.inputs[0];
            }
            let (name, dtype, shape) = (o.name.clone(), g.ty(o.value).dtype, g.shape(o.value).to_vec());
            // Caches are kept in f16, whatever their type in the model.
            let mut whole = v;
            while let Some(n) = g.producer(whole).filter(|n| matches!(n.op, Op::Cast(_))) {
                whole = n.inputs[0];
            }
            if let (Some(x), Some(n)) = (self.values.get(&v).filter(|x| x.stride != 1).cloned(), g.producer(v)) {
                let dense = self.cast(n, &x, self.plan.buf(x.buf).ty);
                self.values.insert(v, dense);
            }
            let out = match (self.values.get(&v), self.caches.get(&whole)) {
                (_, Some((buf, index))) => {
                    let len = self.plan.buf(*buf).len;
                    Out { name, dtype, shape, buf: *buf, offset: 0, len, index: index.clone() }
                }
                (Some(Vector { layout: Some(l), buf, offset, .. }), _) => {
                    Out { name, dtype, shape, buf: *buf, offset: *offset, len: l.piece, index: l.index.clone() }
                }
                _ => {
                    let n = g.producer(v).or(g.nodes().last());
                    let reason = format!("output `{}` is no vector of floats and no cache", o.name);
                    return Err(match n {
                        Some(n) => refuse(g, n, reason, REMEDY),
                        None => CompileError::DoesNotFit {
                            what: "a graph without nodes".to_string(),
                            need: 1,
                            have: 0,
                            reason,
                            remedy: REMEDY.to_string(),
                        },
                    });
                }
            };
            self.plan.outs.push(out);
        }
        Ok(())
    }

    /// The vector that a node reads.
    pub(super) fn vector(&self, n: &Node, v: ValueId) -> Result<Vector, CompileError> {
        let v = match self.values.get(&v) {
            Some(_) => v,
            None => recognise::behind_views(self.g, v),
        };
        self.values.get(&v).cloned().ok_or_else(|| {
            let reason = format!("its operand `{}` is no vector of floats on a line of PEs", self.g.value(v).name);
            refuse(self.g, n, reason, REMEDY)
        })
    }

    fn node(&mut self, id: NodeId, n: &'a Node) -> Result<(), CompileError> {
        let g = self.g;
        if self.values.contains_key(&n.output) {
            return Ok(());
        }
        if let Some(a) = self.found.attentions.get(&n.output).cloned() {
            let out = attention::lower(self, n, &a)?;
            self.values.insert(n.output, out);
            return Ok(());
        }
        if let Some(r) = self.found.ropes.get(&n.output).cloned() {
            let out = self.rope(n, &r)?;
            self.values.insert(n.output, out);
            return Ok(());
        }
        if self.found.inner.contains(&id) {
            return Ok(());
        }
        if let Some(row) = lookup::row(g, n.output) {
            let out = self.embedding(n, &row)?;
            self.values.insert(n.output, out);
            return Ok(());
        }
        if n.inputs.iter().all(|&v| g.constant(v).is_some()) && !n.inputs.is_empty() {
            return Err(refuse(g, n, "all its operands are constants", "run the pass fold-constants first"));
        }
        let out = match &n.op {
            Op::MatMul { epilogue } if epilogue.is_empty() => return self.products(n),
            Op::Unary(u) => {
                let x = self.vector(n, n.inputs[0])?;
                let step = Step::unary(*u).ok_or_else(|| refuse(g, n, "the PEs have no such function", REMEDY))?;
                let keeps = matches!(u, Unary::Neg | Unary::Abs | Unary::Relu | Unary::Tanh | Unary::Erf);
                let mut y = self.steps(n, &x, &step.micros);
                y.zero_gaps = keeps && x.zero_gaps;
                y
            }
            Op::Binary(b) => self.binary(n, *b)?,
            Op::Cast(to) => {
                let Some(ty) = elem(*to) else { return Err(refuse(g, n, "only f32 and f16 are known here", REMEDY)) };
                let x = self.vector(n, n.inputs[0])?;
                self.cast(n, &x, ty)
            }
            Op::Reduce { kind, .. } => self.reduce(n, *kind)?,
            _ if keeps_order(g, n) => self.vector(n, n.inputs[0])?,
            _ => return Err(refuse(g, n, "it is no step of a decoder that the whole mesh can do in turn", REMEDY)),
        };
        self.values.insert(n.output, out);
        Ok(())
    }

    /// The same vector in another buffer and type.
    pub(super) fn cast(&mut self, n: &Node, x: &Vector, ty: ElemType) -> Vector {
        let buf = self.on_line(x.axis, ty, x.piece());
        let y = Vector { buf, offset: 0, stride: 1, ..x.clone() };
        let op = LocalOp { op: PeOp::Mov, n1: 1, n0: x.piece(), dst: y.view(), args: vec![Arg::View(x.view())] };
        self.local(n, x.axis, vec![op]);
        y
    }

    /// A new vector like `x`, of the type of a node's result.
    fn like(&mut self, n: &Node, x: &Vector) -> Vector {
        let ty = elem(self.g.ty(n.output).dtype).unwrap_or(ElemType::F32);
        let buf = self.on_line(x.axis, ty, x.piece());
        Vector { buf, offset: 0, stride: 1, zero_gaps: false, ..x.clone() }
    }

    /// Operations on registers, the first of which is `x`.
    fn steps(&mut self, n: &Node, x: &Vector, micros: &[Micro]) -> Vector {
        let out = self.like(n, x);
        let last = micros.iter().rposition(|m| m.dst == 0).unwrap_or(0);
        let mut regs: BTreeMap<steps::Reg, View> = BTreeMap::from([(0, x.view())]);
        let mut ops = Vec::new();
        for (i, m) in micros.iter().enumerate() {
            let arg = |a: &steps::Arg| match a {
                steps::Arg::Reg(r) => Arg::View(regs.get(r).copied().unwrap_or(x.view())),
                steps::Arg::Imm(v) => Arg::Imm(*v),
                steps::Arg::Table(_) => Arg::Imm(f32::NAN),
            };
            let args: Vec<Arg> = m.args.iter().map(arg).collect();
            let dst = match m.dst {
                0 if i == last => out.view(),
                // What the vector's own buffer holds may be read again.
                r => match regs.get(&r) {
                    Some(v) if r != 0 || v.buf != x.buf => *v,
                    _ => View::dense(self.on_line(x.axis, ElemType::F32, x.piece()), 0),
                },
            };
            regs.insert(m.dst, dst);
            ops.push(LocalOp { op: m.op, n1: 1, n0: x.piece(), dst, args });
        }
        self.local(n, x.axis, ops);
        out
    }

    /// A constant that broadcasts against a node's result, where a vector's elements lie.
    fn table(&mut self, n: &Node, c: ValueId, like: &Vector, f: impl Fn(f32) -> f32) -> Option<View> {
        let g = self.g;
        let (values, shape, out) = (constant(g, c)?, g.shape(c).to_vec(), g.shape(n.output).to_vec());
        let layout = like.layout.as_ref()?;
        let strides = crate::layout::strides(&out);
        let own = crate::layout::strides(&shape);
        let lead = out.len() - shape.len();
        let at = |i: usize| -> usize {
            (lead..out.len()).filter(|&a| shape[a - lead] > 1).map(|a| i / strides[a] % out[a] * own[a - lead]).sum()
        };
        let value = |&i: &u32| if i == NONE { 0.0 } else { f(values[at(i as usize)]) };
        let bytes = layout.index.iter().map(value).flat_map(f32::to_le_bytes).collect();
        let place = self.plan.mesh.line(like.axis);
        Some(View::dense(self.alloc(ElemType::F32, layout.piece, place, Init::Bytes(bytes)), 0))
    }

    fn binary(&mut self, n: &Node, b: Binary) -> Result<Vector, CompileError> {
        let g = self.g;
        let unknown = || refuse(g, n, "the PEs have no such operation on vectors", REMEDY);
        let simple = crate::code::simple(b);
        let [l, r] = [n.inputs[0], n.inputs[1]];
        let constants = [g.constant(l).is_some(), g.constant(r).is_some()];
        if let Some(side) = constants.iter().position(|&c| c) {
            let (c, x) = (n.inputs[side], self.vector(n, n.inputs[1 - side])?);
            if g.ty(n.output).elements() != g.ty(n.inputs[1 - side]).elements() {
                return Err(refuse(g, n, "its result is larger than the vector", REMEDY));
            }
            if let Some(v) = scalar(g, c) {
                let step = Step::binary(b, steps::Arg::Imm(v), side == 0).ok_or_else(unknown)?;
                let zero = matches!((b, side), (Binary::Mul, _) | (Binary::Div, 1)) || v == 0.0;
                let keeps = zero || matches!(b, Binary::Pow) && v > 0.0;
                let mut y = self.steps(n, &x, &step.micros);
                y.zero_gaps = keeps && x.zero_gaps;
                return Ok(y);
            }
            let recip = b == Binary::Div && side == 1;
            let op = if recip { PeOp::Mul } else { simple.ok_or_else(unknown)? };
            let f = move |v: f32| if recip { quadrille_isa::numerics::recip_f32(v) } else { v };
            let Some(t) = self.table(n, c, &x, f) else {
                return Err(refuse(g, n, "its constant is no f32 or f16", REMEDY));
            };
            let y = self.like(n, &x);
            let mut args = vec![Arg::View(x.view()), Arg::View(t)];
            if side == 0 {
                args.reverse();
            }
            self.local(n, x.axis, vec![LocalOp { op, n1: 1, n0: x.piece(), dst: y.view(), args }]);
            return Ok(Vector { zero_gaps: x.zero_gaps, ..y });
        }
        let (x, y) = (self.vector(n, l)?, self.vector(n, r)?);
        let (wide, both) = match (&x.layout, &y.layout) {
            (Some(a), Some(b)) => (&x, a == b),
            (Some(_), None) => (&x, true),
            (None, Some(_)) => (&y, true),
            (None, None) => (&x, true),
        };
        if x.axis != y.axis || !both || g.ty(n.output).elements() != g.ty(l).elements().max(g.ty(r).elements()) {
            let reason = "its operands lie in different places: one is the result of an odd number of products more";
            return Err(refuse(g, n, reason, REMEDY));
        }
        let (wide, mut ops) = (wide.clone(), Vec::new());
        let mut args: Vec<Arg> = Vec::new();
        for v in [&x, &y] {
            let s0 = if v.layout.is_some() { v.stride } else { 0 };
            args.push(Arg::View(View { s0, ..v.view() }));
        }
        let op = match simple {
            Some(op) => op,
            None if b == Binary::Div => {
                let t = View::dense(self.on_line(x.axis, ElemType::F32, y.piece()), 0);
                ops.push(LocalOp { op: PeOp::Recip, n1: 1, n0: y.piece(), dst: t, args: vec![Arg::View(y.view())] });
                args[1] = Arg::View(View { s0: usize::from(y.layout.is_some()), ..t });
                PeOp::Mul
            }
            None => return Err(unknown()),
        };
        let out = self.like(n, &wide);
        ops.push(LocalOp { op, n1: 1, n0: wide.piece(), dst: out.view(), args });
        self.local(n, wide.axis, ops);
        let zero = |v: &Vector| v.layout.is_some() && v.zero_gaps;
        let zero_gaps = if op == PeOp::Mul { zero(&x) || zero(&y) } else { zero(&x) && zero(&y) };
        Ok(Vector { zero_gaps, ..out })
    }

    /// The vector with zeros where no element is.
    pub(super) fn closed(&mut self, n: &Node, x: &Vector) -> Vector {
        let Some(layout) = x.layout.as_ref().filter(|l| l.has_gaps() && !x.zero_gaps) else { return x.clone() };
        let bytes = layout.index.iter().map(|&i| f32::from(u8::from(i != NONE))).flat_map(f32::to_le_bytes).collect();
        let line = self.plan.mesh.line(x.axis);
        let mask = View::dense(self.alloc(ElemType::F32, layout.piece, line, Init::Bytes(bytes)), 0);
        let buf = self.on_line(x.axis, self.plan.buf(x.buf).ty, layout.piece);
        let y = Vector { buf, offset: 0, stride: 1, zero_gaps: true, ..x.clone() };
        let args = vec![Arg::View(mask), Arg::View(x.view()), Arg::Imm(0.0)];
        self.local(n, x.axis, vec![LocalOp { op: PeOp::Select, n1: 1, n0: layout.piece, dst: y.view(), args }]);
        y
    }

    /// A sum over a whole vector, known to all of its line.
    fn reduce(&mut self, n: &Node, kind: Reduce) -> Result<Vector, CompileError> {
        let g = self.g;
        let x = self.vector(n, n.inputs[0])?;
        let whole = g.ty(n.output).elements() == 1 && x.layout.is_some();
        if !whole || !matches!(kind, Reduce::Sum | Reduce::Mean) {
            return Err(refuse(g, n, "only sums and means over a whole vector are known", REMEDY));
        }
        let x = self.closed(n, &x);
        let axis = x.axis;
        let part = self.alloc(ElemType::F32, 1, self.plan.mesh.line(axis), Init::Zero);
        let sum = View { s0: 0, ..View::dense(part, 0) };
        let args = vec![Arg::View(sum), Arg::View(x.view())];
        self.local(n, axis, vec![LocalOp { op: PeOp::Add, n1: 1, n0: x.piece(), dst: sum, args }]);
        let total = self.on_line(axis, ElemType::F32, 1);
        let lines = vec![self.plan.mesh.middle(other(axis))];
        let work = Work::Reduce { axis, lines: lines.clone(), op: PeOp::Add, from: part, n: 1, into: total };
        self.push(n, "sum along the line", work);
        self.push(n, "to all of the line", Work::Spread { axis, lines, buf: total, n: 1 });
        let sum = Vector { axis, layout: None, buf: total, offset: 0, stride: 1, zero_gaps: false };
        if kind == Reduce::Sum {
            return Ok(sum);
        }
        let mean = self.like(n, &sum);
        let count = g.ty(n.inputs[0]).elements() as f32;
        let args = vec![Arg::View(sum.view()), Arg::Imm(1.0 / count)];
        self.local(n, axis, vec![LocalOp { op: PeOp::Mul, n1: 1, n0: 1, dst: mean.view(), args }]);
        Ok(mean)
    }

    /// A constant for each element of a head, where the heads lie.
    fn head_table(&mut self, axis: Axis, heads: &Heads, values: &[f32]) -> BufId {
        let same =
            |t: &&(Heads, Vec<f32>, BufId)| (t.0.groups, t.0.pairs, &t.1[..]) == (heads.groups, heads.pairs, values);
        if let Some(t) = self.tables.iter().find(same) {
            return t.2;
        }
        let mut bytes = Vec::new();
        for place in 0..self.plan.mesh.len(axis) {
            let within = heads.groups.within(place);
            for s in 0..heads.slots() {
                let v = within.and_then(|j| heads.element(j, s)).map_or(0.0, |d| values[d]);
                bytes.extend(v.to_le_bytes());
            }
        }
        let line = self.plan.mesh.line(axis);
        let buf = self.alloc(ElemType::F32, heads.slots(), line, Init::Bytes(bytes.into()));
        self.plan.bufs[buf.0].shared = true;
        self.tables.push((*heads, values.to_vec(), buf));
        buf
    }

    fn rope(&mut self, n: &Node, r: &Rope) -> Result<Vector, CompileError> {
        let x = self.vector(n, r.x)?;
        let Some(heads) = x.layout.as_ref().and_then(|l| l.heads).filter(|h| h.width == r.width) else {
            return Err(refuse(self.g, n, "a rotary embedding of what are no queries or keys of an attention", REMEDY));
        };
        let slots = heads.slots();
        let line = self.plan.mesh.line(x.axis);
        let mut factor = |f: &Factor| match f {
            Factor::Constant(values) => self.head_table(x.axis, &heads, values),
            Factor::Row(row) => self.head_row(n, row, &heads),
        };
        let (cos, sin) = (factor(&r.cos), factor(&r.sin));
        let kept = self.on_line(x.axis, ElemType::F32, x.piece());
        let out = self.like(n, &x);
        let rows = |buf, offset, s1| View { buf, offset, s1, s0: 1 };
        let mut ops = vec![LocalOp {
            op: PeOp::Mul,
            n1: heads.reps,
            n0: slots,
            dst: rows(kept, 0, slots),
            args: vec![Arg::View(rows(x.buf, x.offset, slots)), Arg::View(rows(cos, 0, 0))],
        }];
        for half in [0, 1] {
            let (own, across) = (half * heads.pairs, (1 - half) * heads.pairs);
            ops.push(LocalOp {
                op: PeOp::Fma,
                n1: heads.reps,
                n0: heads.pairs,
                dst: rows(out.buf, own, slots),
                args: vec![
                    Arg::View(rows(x.buf, x.offset + across, slots)),
                    Arg::View(rows(sin, own, 0)),
                    Arg::View(rows(kept, own, slots)),
                ],
            });
        }
        self.push(n, "rotary embedding", Work::Local { at: line, ops });
        Ok(Vector { zero_gaps: x.zero_gaps, ..out })
    }
}
