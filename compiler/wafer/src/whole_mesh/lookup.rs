//! Rows of constant tables at run-time places: every PE compares the place with those that it holds, multiplies its rows
//! with 1 or 0, and the sum over all is the row.

use super::layout::{Heads, Layout};
use super::phase::{Arg, BufId, Init, LocalOp, View, Work, other};
use super::plan::{Planner, Vector};
use super::position::{Held, Pos, split_rows};
use super::recognise::{constant, refuse};
use crate::CompileError;
use crate::collective::wires::Axis;
use quadrille_compiler::ir::{DType, Graph, Node, Op, ValueDef, ValueId};
use quadrille_isa::wafer::{ElemType, PeOp};

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Row by row.
    pub(super) table: Vec<f32>,
    pub(super) width: usize,
    /// The graph input that says which.
    pub(super) input: usize,
}

/// The row that a value is: a gather of one row of a constant matrix at an input.
pub(super) fn row(g: &Graph, v: ValueId) -> Option<Row> {
    let n = g.producer(v)?;
    let (Op::Gather { axis: 0 }, [table, index]) = (&n.op, &n.inputs[..]) else { return None };
    let index = super::recognise::behind_views(g, *index);
    let ValueDef::Input(input) = g.value(index).def else { return None };
    let whole = matches!(g.ty(index).dtype, DType::I64 | DType::I32) && g.ty(index).elements() == 1;
    let [_, width] = g.shape(*table)[..] else { return None };
    whole.then_some(Row { table: constant(g, *table)?, width, input: input as usize })
}

impl Planner<'_> {
    /// An embedded token, along columns.
    pub(super) fn embedding(&mut self, n: &Node, r: &Row) -> Result<Vector, CompileError> {
        let axis = Axis::Column;
        let layout = Layout::plain(r.width, self.plan.mesh.len(axis));
        let (across, piece) = (usize::from(self.plan.mesh.len(other(axis))), layout.piece);
        let rows = r.table.len() / r.width.max(1);
        if rows >= 1 << 31 || !matches!(self.g.ty(n.output).dtype, DType::F32 | DType::F16) {
            return Err(refuse(self.g, n, "its table is no matrix of f32 or f16", "give the embedded token as input"));
        }
        let held = rows.div_ceil(across);
        let at = self.plan.mesh.whole();
        let h = Held { at: at.clone(), cross: other(axis), rows: across, held, positions: rows, of_caches: false };
        // [row][element]
        let mut bytes = Vec::new();
        for pe in at.pes() {
            for s in 0..held {
                for &e in layout.of(usize::from(pe.1)) {
                    let row = h.position(pe, s).filter(|_| e != super::phase::NONE);
                    bytes.extend(row.map_or(0.0, |p| r.table[p * r.width + e as usize]).to_le_bytes());
                }
            }
        }
        let table = self.alloc(ElemType::F32, held * piece, at.clone(), Init::Bytes(bytes.into()));
        let part = self.alloc(ElemType::F32, piece, at.clone(), Init::Zero);
        let mut ops = Vec::new();
        let here = Pos::Op(PeOp::CmpEq, vec![Pos::Whole((0..rows as i32).collect()), Pos::Input(r.input)]);
        let Arg::View(here) = self.positions(&here, &h, &mut ops) else {
            return Err(refuse(self.g, n, "its place is no input", "give the embedded token as input"));
        };
        let sum = View::dense(part, 0);
        let args = vec![
            Arg::Row(View { s1: 1, s0: 0, ..here }),
            Arg::View(View { buf: table, offset: 0, s1: piece, s0: 1 }),
            Arg::View(sum),
        ];
        ops.push(LocalOp { op: PeOp::Fma, n1: held, n0: piece, dst: sum, args });
        self.push(n, "look-up", Work::Local { at, ops });
        let into = self.on_line(axis, ElemType::F32, piece);
        let lines = self.plan.mesh.all(axis);
        let work = Work::Reduce { axis: other(axis), lines, op: PeOp::Add, from: part, n: piece, into };
        self.push(n, "sum of the look-up", work);
        let v = Vector { axis, layout: Some(layout), buf: into, offset: 0, stride: 1, zero_gaps: true };
        Ok(match self.g.ty(n.output).dtype {
            DType::F16 => self.cast(n, &v, ElemType::F16),
            _ => v,
        })
    }

    /// A row of a table with an element for each of a head's, where the heads lie: `slots` elements on each place.
    pub(super) fn head_row(&mut self, n: &Node, r: &Row, heads: &Heads) -> BufId {
        if let Some((_, _, b)) = self.rows.iter().find(|(h, row, _)| h.groups == heads.groups && row == r) {
            return *b;
        }
        let (axis, cross) = (heads.groups.axis, other(heads.groups.axis));
        let rows = usize::from(self.plan.mesh.len(cross));
        let (positions, slots) = (r.table.len() / r.width, heads.slots());
        let lines = heads.groups.members();
        let at = self.plan.mesh.place(axis, lines.clone(), self.plan.mesh.all(cross));
        let h = Held { at: at.clone(), cross, rows, held: positions.div_ceil(rows), positions, of_caches: false };
        let element = |(x, y): (u16, u16), slot: usize| {
            let place = if axis == Axis::Row { x } else { y };
            heads.groups.within(place).and_then(|j| heads.element(j, slot))
        };
        let value = |&(p, d): &(u32, u32)| match p {
            super::phase::NONE => 0.0,
            p => r.table[p as usize * r.width + d as usize],
        };
        let bytes = split_rows(&h, slots, element).iter().map(value).flat_map(f32::to_le_bytes).collect();
        let table = self.alloc(ElemType::F32, slots * h.held, at.clone(), Init::Bytes(bytes));
        self.plan.bufs[table.0].shared = true;
        let part = self.alloc(ElemType::F32, slots, at.clone(), Init::Zero);
        let mut ops = Vec::new();
        let here = Pos::Op(PeOp::CmpEq, vec![Pos::Whole((0..positions as i32).collect()), Pos::Input(r.input)]);
        let here = self.positions(&here, &h, &mut ops);
        let each = View { buf: part, offset: 0, s1: 1, s0: 0 };
        let table = View { buf: table, offset: 0, s1: h.held, s0: 1 };
        ops.push(LocalOp {
            op: PeOp::Fma,
            n1: slots,
            n0: h.held,
            dst: each,
            args: vec![Arg::View(table), here, Arg::View(each)],
        });
        self.push_early(n, "look-up", Work::Local { at, ops });
        let into = self.on_line(axis, ElemType::F32, slots);
        let work = Work::Reduce { axis: cross, lines, op: PeOp::Add, from: part, n: slots, into };
        self.push_early(n, "sum of the look-up", work);
        self.rows.push((*heads, r.clone(), into));
        into
    }
}
