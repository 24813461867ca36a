//! What a graph computes for each position of a cache from the token's place: masks, and where the new key goes.
//!
//! An expression over tables of one value a position, scalar inputs and constants. It is computed on the PEs that hold
//! the positions, each for its own.

use super::phase::{Arg, BufId, Init, LocalOp, NONE, Place, View};
use super::plan::Planner;
use super::recognise::{constant, keeps_order, scalar};
use crate::collective::wires::Axis;
use quadrille_compiler::ir::{Binary, DType, Graph, Op, Unary, ValueDef, ValueId};
use quadrille_isa::wafer::{ElemType, PeOp};
use std::sync::Arc;

/// A value a position.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pos {
    /// Whole numbers, by position.
    Whole(Vec<i32>),
    Table(Vec<f32>),
    /// A scalar input of whole numbers, by its place among the inputs.
    Input(usize),
    Number(f32),
    Op(PeOp, Vec<Pos>),
}

/// Operations that an expression may have: what is read twice counts twice.
const MOST: usize = 200;

/// The expression that a value is, of `n` positions or a scalar; none when it is no such thing, or a very long one.
pub(super) fn expression(g: &Graph, v: ValueId, n: usize) -> Option<Pos> {
    within(g, v, n, &mut { MOST })
}

fn within(g: &Graph, v: ValueId, n: usize, left: &mut usize) -> Option<Pos> {
    *left = left.checked_sub(1)?;
    let elements = g.ty(v).elements();
    let is_whole = matches!(g.ty(v).dtype, DType::I64 | DType::I32);
    if elements != 1 && elements != n {
        return None;
    }
    match g.value(v).def {
        ValueDef::Input(i) if elements == 1 && is_whole => return Some(Pos::Input(i as usize)),
        ValueDef::Const(ref t) if is_whole => {
            let size = t.dtype.size();
            // The low word: positions are small.
            let word = |c: &[u8]| i32::from_le_bytes([c[0], c[1], c[2], c[3]]);
            let values: Vec<i32> = t.data.chunks_exact(size).map(word).collect();
            return Some(Pos::Whole(if elements == 1 { vec![values[0]; n] } else { values }));
        }
        ValueDef::Const(_) if elements == 1 => return scalar(g, v).map(Pos::Number),
        ValueDef::Const(_) => return constant(g, v).map(Pos::Table),
        _ => {}
    }
    let node = g.producer(v)?;
    let is_float = g.ty(v).dtype.is_float();
    let not = |p: Pos| Pos::Op(PeOp::Sub, vec![Pos::Number(1.0), p]);
    // The operation on these operands, and whether its truth is turned round.
    let (op, operands, turned): (PeOp, &[usize], bool) = match &node.op {
        _ if keeps_order(g, node) => return within(g, node.inputs[0], n, left),
        // Truth is 1 and 0 in f32.
        Op::Cast(to) if to.is_float() => {
            let from = g.ty(node.inputs[0]).dtype;
            let same = from == DType::Bool || from.is_float();
            return same.then(|| within(g, node.inputs[0], n, left)).flatten();
        }
        Op::Unary(Unary::Not) => return within(g, node.inputs[0], n, left).map(not),
        Op::Unary(Unary::Neg) if is_float => {
            return Some(Pos::Op(PeOp::Mul, vec![within(g, node.inputs[0], n, left)?, Pos::Number(-1.0)]));
        }
        Op::Select => (PeOp::Select, &[0, 1, 2], false),
        Op::Binary(Binary::Eq) => (PeOp::CmpEq, &[0, 1], false),
        Op::Binary(Binary::Lt) => (PeOp::CmpLt, &[0, 1], false),
        Op::Binary(Binary::Gt) => (PeOp::CmpLt, &[1, 0], false),
        Op::Binary(Binary::Le) => (PeOp::CmpLt, &[1, 0], true),
        Op::Binary(Binary::Ge) => (PeOp::CmpLt, &[0, 1], true),
        Op::Binary(Binary::Add) if is_float => (PeOp::Add, &[0, 1], false),
        Op::Binary(Binary::Sub) if is_float => (PeOp::Sub, &[0, 1], false),
        Op::Binary(Binary::Mul) if is_float => (PeOp::Mul, &[0, 1], false),
        Op::Binary(Binary::And) => (PeOp::Min, &[0, 1], false),
        Op::Binary(Binary::Or) => (PeOp::Max, &[0, 1], false),
        _ => return None,
    };
    let args = operands.iter().map(|&i| within(g, node.inputs[i], n, left)).collect::<Option<Vec<_>>>()?;
    let p = Pos::Op(op, args);
    Some(if turned { not(p) } else { p })
}

impl Pos {
    /// Its value at a position for one value of all scalar inputs.
    pub(super) fn value(&self, position: usize, input: i32) -> f64 {
        match self {
            Pos::Whole(t) => f64::from(t[position]),
            Pos::Table(t) => f64::from(t[position]),
            Pos::Input(_) => f64::from(input),
            Pos::Number(v) => f64::from(*v),
            Pos::Op(op, args) => {
                let a: Vec<f64> = args.iter().map(|p| p.value(position, input)).collect();
                match op {
                    PeOp::CmpEq => f64::from(u8::from(a[0] == a[1])),
                    PeOp::CmpLt => f64::from(u8::from(a[0] < a[1])),
                    PeOp::Add => a[0] + a[1],
                    PeOp::Sub => a[0] - a[1],
                    PeOp::Mul => a[0] * a[1],
                    PeOp::Min => a[0].min(a[1]),
                    PeOp::Max => a[0].max(a[1]),
                    PeOp::Select if a[0] != 0.0 => a[1],
                    PeOp::Select => a[2],
                    _ => f64::NAN,
                }
            }
        }
    }

    /// True for a choice of positions, one or none, and the other the opposite, wherever the token is among `n`.
    pub(super) fn chooses(&self, rest: &Pos, n: usize) -> bool {
        if n == 0 {
            return false;
        }
        let tokens = (0..n).step_by((n / 64).max(1)).chain([n - 1]);
        tokens.into_iter().all(|token| {
            (0..n).all(|s| {
                let (here, keep) = (self.value(s, token as i32), rest.value(s, token as i32));
                (here == 0.0 || here == 1.0) && keep == 1.0 - here
            })
        })
    }
}

/// Where positions lie: `held` of them on each place across an axis, going round.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) at: Place,
    /// The axis along which positions go round.
    pub(super) cross: Axis,
    pub(super) rows: usize,
    pub(super) held: usize,
    pub(super) positions: usize,
    /// True for those of the caches; others are rows of tables.
    pub(super) of_caches: bool,
}

impl Held {
    /// Position of a slot on a PE, if there is one.
    pub(super) fn position(&self, (x, y): (u16, u16), slot: usize) -> Option<usize> {
        let row = if self.cross == Axis::Row { x } else { y };
        Some(slot * self.rows + usize::from(row)).filter(|&p| p < self.positions)
    }
}

impl Planner<'_> {
    /// A buffer of one element a position, the same on all layers.
    fn of_positions(&mut self, h: &Held, ty: ElemType, value: impl Fn(Option<usize>) -> u32) -> View {
        let mut bytes = Vec::new();
        for pe in h.at.pes() {
            (0..h.held).for_each(|slot| bytes.extend(value(h.position(pe, slot)).to_le_bytes()));
        }
        let buf = self.alloc(ty, h.held, h.at.clone(), Init::Bytes(bytes.into()));
        self.of_position(buf, usize::from(h.of_caches), true);
        View::dense(buf, 0)
    }

    /// Says that a buffer has so many elements a position.
    pub(super) fn of_position(&mut self, buf: BufId, elements: usize, shared: bool) {
        let b = &mut self.plan.bufs[buf.0];
        (b.of_position, b.shared) = (elements, shared);
    }

    /// A scalar input of whole numbers, on every PE.
    pub(super) fn whole_number(&mut self, input: usize) -> BufId {
        if let Some(&b) = self.numbers.get(&input) {
            return b;
        }
        let at = self.plan.mesh.whole();
        let index = Arc::new(vec![0; at.len()]);
        let buf = self.alloc(ElemType::I32, 1, at, Init::Input(input, index));
        self.numbers.insert(input, buf);
        buf
    }

    /// The operations of an expression; its value in f32 (whole numbers alone in i32).
    pub(super) fn positions(&mut self, p: &Pos, h: &Held, ops: &mut Vec<LocalOp>) -> Arg {
        match p {
            Pos::Number(v) => Arg::Imm(*v),
            Pos::Whole(t) => Arg::View(self.of_positions(h, ElemType::I32, |p| p.map_or(-1, |p| t[p]) as u32)),
            Pos::Table(t) => Arg::View(self.of_positions(h, ElemType::F32, |p| p.map_or(0.0, |p| t[p]).to_bits())),
            Pos::Input(i) => {
                let buf = self.whole_number(*i);
                Arg::View(View { buf, offset: 0, s1: 0, s0: 0 })
            }
            Pos::Op(op, args) => {
                let args = args.iter().map(|a| self.positions(a, h, ops)).collect();
                let buf = self.alloc(ElemType::F32, h.held, h.at.clone(), Init::Free);
                self.of_position(buf, usize::from(h.of_caches), true);
                let dst = View::dense(buf, 0);
                ops.push(LocalOp { op: *op, n1: 1, n0: h.held, dst, args });
                Arg::View(dst)
            }
        }
    }

    /// What the slots without a position add to their scores.
    pub(super) fn no_position(&mut self, h: &Held, never: f32) -> View {
        self.of_positions(h, ElemType::F32, |p| if p.is_some() { 0.0f32 } else { never }.to_bits())
    }
}

/// Numbers of elements of rows of a table, on the PEs that hold them: `[element][position]`.
pub(super) fn split_rows(
    h: &Held,
    slots: usize,
    element: impl Fn((u16, u16), usize) -> Option<usize>,
) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    for pe in h.at.pes() {
        for slot in 0..slots {
            for s in 0..h.held {
                match (element(pe, slot), h.position(pe, s)) {
                    (Some(d), Some(p)) => out.push((p as u32, d as u32)),
                    _ => out.push((NONE, NONE)),
                }
            }
        }
    }
    out
}
