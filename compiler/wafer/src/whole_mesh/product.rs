//! Products of one vector with matrices of weights, in one go.
//!
//! A PE holds the rows of its elements of the vector and the columns of its elements of the results. Results of equal
//! layouts are interleaved, so that what a place does not hold is at the end of its columns and takes no memory.

use super::layout::Layout;
use super::phase::{BufId, Init, NONE, Place, Work, other};
use super::plan::{Planner, Vector, elem};
use super::recognise::{REMEDY, refuse};
use crate::CompileError;
use crate::collective::wires::Axis;
use quadrille_compiler::ir::{DType, Node, Op, Tensor};
use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::wafer::{ElemType, PeOp};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The columns of all results on the places of a line.
struct Columns<'a> {
    parts: Vec<(&'a Node, Layout)>,
    interleaved: bool,
}

impl Columns<'_> {
    /// Elements of all results on a place.
    fn piece(&self) -> usize {
        self.parts.iter().map(|(_, l)| l.piece).sum()
    }

    /// Result and column of every element of a place; those at the end that hold nothing are left out.
    fn of(&self, place: usize) -> Vec<Option<(usize, usize)>> {
        let column = |part: usize, slot: usize| {
            let c = self.parts[part].1.of(place)[slot];
            (c != NONE).then_some((part, c as usize))
        };
        let mut out: Vec<Option<(usize, usize)>> = Vec::new();
        match self.interleaved {
            true => (0..self.parts[0].1.piece)
                .for_each(|slot| out.extend((0..self.parts.len()).map(|part| column(part, slot)))),
            false => (0..self.parts.len())
                .for_each(|part| out.extend((0..self.parts[part].1.piece).map(|slot| column(part, slot)))),
        }
        while out.last() == Some(&None) {
            out.pop();
        }
        out
    }
}

/// Places by what is the same for them; those of nothing are left out.
fn alike(sizes: &[usize]) -> BTreeMap<usize, Vec<u16>> {
    let mut out: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
    sizes.iter().enumerate().filter(|s| *s.1 > 0).for_each(|(p, &s)| out.entry(s).or_default().push(p as u16));
    out
}

impl<'a> Planner<'a> {
    /// All products of one vector with weights.
    pub(super) fn products(&mut self, n: &'a Node) -> Result<(), CompileError> {
        let g = self.g;
        let source = n.inputs[0];
        let x = self.vector(n, source)?;
        if x.layout.is_none() || g.ty(source).elements() != g.shape(source).last().copied().unwrap_or(0) {
            return Err(refuse(g, n, "its left operand is not one row", REMEDY));
        }
        let x = self.closed(n, &x);
        let dense = self.plan.buf(x.buf).ty == ElemType::F16 && x.stride == 1;
        let x = if dense { x } else { self.cast(n, &x, ElemType::F16) };
        let axis = other(x.axis);
        let parts = self.parts(n, &x, axis)?;
        let equal = parts.iter().all(|(_, l)| l.heads.is_none() && *l == parts[0].1);
        let columns = Columns { interleaved: equal, parts };
        let piece = columns.piece();
        let of: Vec<Vec<Option<(usize, usize)>>> =
            (0..usize::from(self.plan.mesh.len(axis))).map(|p| columns.of(p)).collect();
        let ns: Vec<usize> = of.iter().map(Vec::len).collect();
        let rows = x.layout.clone().unwrap_or_else(|| Layout::plain(0, 1));
        let used = |line: usize| rows.of(line).iter().rposition(|&r| r != NONE).map_or(0, |last| last + 1);
        let ks: Vec<usize> = (0..usize::from(self.plan.mesh.len(x.axis))).map(used).collect();
        let mut blocks = Vec::new();
        for (k, lines) in alike(&ks) {
            for (width, places) in alike(&ns) {
                let at = self.plan.mesh.place(axis, places, lines.clone());
                let bytes = self.weights(&columns, &of, &rows, (&at, axis), (k, width));
                let buf = self.alloc(ElemType::F16, k * width, at.clone(), Init::Bytes(bytes.into()));
                blocks.push((at, buf));
            }
        }
        self.multiply(n, &x, axis, (ks, ns, blocks), piece, &columns)
    }

    /// The phases, and the results as vectors.
    fn multiply(
        &mut self,
        n: &Node,
        x: &Vector,
        axis: Axis,
        (ks, ns, blocks): (Vec<usize>, Vec<usize>, Vec<(Place, BufId)>),
        piece: usize,
        columns: &Columns<'_>,
    ) -> Result<(), CompileError> {
        let sums = self.alloc(ElemType::F32, piece, self.plan.mesh.whole(), Init::Zero);
        let into = self.on_line(axis, ElemType::F32, piece);
        let work = Work::Product { axis, x: x.view(), ks, ns, blocks, sums, clears: Vec::new() };
        self.push(n, "product", work);
        let lines = self.plan.mesh.all(axis);
        let work = Work::Reduce { axis: x.axis, lines, op: PeOp::Add, from: sums, n: piece, into };
        self.push(n, "sum of the product", work);
        let (mut offset, stride) = (0, if columns.interleaved { columns.parts.len() } else { 1 });
        for (m, layout) in &columns.parts {
            let v = Vector { axis, layout: Some(layout.clone()), buf: into, offset, stride, zero_gaps: true };
            offset += if columns.interleaved { 1 } else { layout.piece };
            let v = match elem(self.g.ty(m.output).dtype) {
                Some(ElemType::F16) => self.cast(m, &v, ElemType::F16),
                _ => v,
            };
            self.values.insert(m.output, v);
        }
        Ok(())
    }

    /// The products with the same left operand, and the layouts of their results.
    fn parts(&self, n: &'a Node, x: &Vector, axis: Axis) -> Result<Vec<(&'a Node, Layout)>, CompileError> {
        let g: &'a quadrille_compiler::ir::Graph = self.g;
        let places = self.plan.mesh.len(axis);
        let same = |m: &&Node| matches!(m.op, Op::MatMul { .. }) && m.inputs[0] == n.inputs[0];
        let nodes: Vec<&'a Node> = g.nodes().iter().filter(same).collect();
        let mut parts = Vec::new();
        for &m in &nodes {
            let w = m.inputs[1];
            let is_matrix = g.constant(w).is_some()
                && elem(g.ty(w).dtype).is_some()
                && g.ty(w).elements() == g.shape(w).iter().rev().take(2).product::<usize>()
                && m.inputs.len() == 2;
            if !is_matrix {
                return Err(refuse(g, m, "its right operand is no constant matrix of floats", REMEDY));
            }
            let columns = g.shape(w).last().copied().unwrap_or(1);
            let layout = match self.wanted.get(&m.output) {
                Some(&h) if h.groups.axis == axis => Layout::of_heads(h, places),
                Some(_) => return Err(refuse(g, m, "queries would lie along the wrong axis", REMEDY)),
                None => match self.room(axis, x.piece(), nodes.len(), columns) {
                    Some(room) => Layout::uneven(columns, &room),
                    None => Layout::plain(columns, places),
                },
            };
            parts.push((m, layout));
        }
        Ok(parts)
    }

    /// Elements for each place, more of them where no heads lie, so that all PEs hold about as many bytes; none when
    /// nobody asks for that.
    fn room(&self, axis: Axis, k: usize, products: usize, columns: usize) -> Option<Vec<usize>> {
        let groups = self.plan.groups.filter(|g| self.even && g.axis == axis)?;
        let members = usize::from(groups.count * groups.size);
        let places = usize::from(self.plan.mesh.len(axis));
        let others = places - members;
        let heads = self.wanted.values().max_by_key(|h| h.reps)?;
        // Queries, keys, values and the product after the attention; the caches are small beside them.
        let taken = 2 * k * heads.slots() * (2 * heads.reps + 2);
        // A column of each product, and a row of the one that reads them.
        let difference = taken / (2 * k * (products + 1));
        let most = difference.min(columns.checked_div(others).unwrap_or(0));
        let member = (columns - (most * others).min(columns)).div_ceil(places);
        let of = |p: usize| if groups.within(p as u16).is_some() { member } else { member + most };
        Some((0..places).map(of).collect())
    }

    /// Weights of the PEs of a block.
    fn weights(
        &self,
        columns: &Columns<'_>,
        of: &[Vec<Option<(usize, usize)>>],
        rows: &Layout,
        (at, axis): (&Place, Axis),
        (k, width): (usize, usize),
    ) -> Vec<u8> {
        let tensors: Vec<&Tensor> = columns.parts.iter().filter_map(|(m, _)| self.g.constant(m.inputs[1])).collect();
        let half = |t: &Tensor, at: usize| match t.dtype {
            DType::F16 => [t.data[2 * at], t.data[2 * at + 1]],
            _ => {
                let b = &t.data[4 * at..4 * at + 4];
                f32_to_f16(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).to_le_bytes()
            }
        };
        let size = k * width * 2;
        let mut bytes = vec![0u8; at.len() * size];
        bytes.par_chunks_exact_mut(size).enumerate().for_each(|(pe, out)| {
            let (px, py) = (at.x[pe % at.x.len()], at.y[pe / at.x.len()]);
            let (line, place) = if axis == Axis::Row { (py, px) } else { (px, py) };
            for (row, out) in rows.of(usize::from(line)).iter().zip(out.chunks_exact_mut(width * 2)) {
                if *row == NONE {
                    continue;
                }
                for (c, out) in of[usize::from(place)].iter().zip(out.chunks_exact_mut(2)) {
                    if let Some((part, column)) = *c {
                        let wide = tensors[part].shape.last().copied().unwrap_or(1);
                        out.copy_from_slice(&half(tensors[part], *row as usize * wide + column));
                    }
                }
            }
        });
        bytes
    }
}
