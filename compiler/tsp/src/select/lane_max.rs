//! The maximum of bytes over lanes, through the transposer.
//!
//! Sixteen rows by sixteen lanes turn, so that the sixteen lanes of a superlane become rows, which one ALU sequence
//! folds; what is left, a row for sixteen, is joined across superlanes, spread over sixteen rows and turned back.

use super::Select;
use super::finish::tree;
use super::view::{Axis, View};
use crate::tiled::{Init, Kind, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::{AluOp, AluType};

/// Superlanes of an axis at most: one sequence joins them.
const MOST_SUPERLANES: usize = 8;

/// Rows and lanes of a transpose.
const SIDE: usize = 16;

impl Select<'_> {
    /// The view with an axis of whole superlanes reduced to extent 1; nothing where it lies otherwise. The tensor must have no
    /// other use.
    pub(super) fn lane_max(&mut self, v: &View, axis: usize) -> Option<View> {
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        let digits: Vec<_> = v.axes[axis].digits.iter().filter(|d| d.extent > 1).copied().collect();
        let &[d] = &digits[..] else { return None };
        let (rows, lanes, superlanes) = (info.rows as usize, info.lanes as usize, d.extent / SIDE);
        let aligned = v.axes.iter().flat_map(|a| &a.digits).all(|x| *x == d || x.extent == 1 || x.lane % 16 == 0);
        let whole = d.lane == 1 && d.row == 0 && d.extent.is_multiple_of(SIDE) && lanes.is_multiple_of(SIDE);
        let fits = rows.is_multiple_of(SIDE) && superlanes <= MOST_SUPERLANES && (v.row0, v.lane0) == (0, 0);
        let one = matches!(info.ty, AluType::I8 | AluType::U8) && info.pixels == 1 && info.fill.is_none();
        if !(self.transposers && whole && fits && aligned && one) {
            return None;
        }
        let (mut axes, own_rows) = Self::compact(v);
        let template = View { tensor: v.tensor, axes: axes.clone(), row0: 0, lane0: 0 };
        let (own, theirs) = template.row_pairs(&[v])?;
        if own_rows != rows || own != theirs[0] {
            return None;
        }
        let (ty, groups) = (info.ty, rows / SIDE);
        let all: Vec<u32> = (0..groups as u32).collect();
        let row_of = |k: usize| all.iter().map(|a| a * SIDE as u32 + k as u32).collect::<Vec<u32>>();
        self.out.tensors[v.tensor.0 as usize].weights = true;
        let turned = self.byte_tensor(ty, rows, lanes, info.tail, true);
        self.kernel(rows, Kind::transpose(v.tensor, turned, rows));

        let folded = self.byte_tensor(ty, groups, lanes, info.tail, false);
        let ins = (0..SIDE).map(|k| Rows { tensor: turned, rows: row_of(k) }).collect();
        let steps = tree(AluOp::Max, ty, SIDE);
        let last = Src::Op(steps.len() as u16 - 1);
        let outs = vec![(last, Rows { tensor: folded, rows: all.clone() })];
        self.kernel(groups, Kind::Map { ins, steps, outs });

        let mut ins = vec![Rows { tensor: folded, rows: all.clone() }];
        let bases = Self::first_lanes(&axes, 0, axis, axes[axis].digits.iter().position(|x| x.extent > 1)?);
        for r in 1..superlanes {
            let mut map = Vec::new();
            for &b in &bases {
                for lane in 0..d.extent {
                    let from = (lane + r * SIDE) % d.extent;
                    map.push(((b as usize + from) as u16, (b as usize + lane) as u16));
                }
            }
            map.sort_unstable();
            let moved = self.byte_tensor(ty, groups, lanes, 0, false);
            let passes = self.move_passes(Rows { tensor: folded, rows: all.clone() }, &map);
            let out = Rows { tensor: moved, rows: all.clone() };
            self.kernel(groups, Kind::Move { passes, out: out.clone() });
            ins.push(out);
        }
        let mut steps = tree(AluOp::Max, ty, ins.len());
        if steps.is_empty() {
            steps.push(Step { op: AluOp::Or, ty, src: [Src::In(0), Src::Imm(0), Src::None] });
        }
        let spread = self.byte_tensor(ty, rows, lanes, info.tail, true);
        let last = Src::Op(steps.len() as u16 - 1);
        let outs = (0..SIDE).map(|k| (last, Rows { tensor: spread, rows: row_of(k) })).collect();
        self.kernel(groups, Kind::Map { ins, steps, outs });

        let back = self.byte_tensor(ty, rows, lanes, info.tail, true);
        self.kernel(rows, Kind::transpose(spread, back, rows));
        axes[axis] = Axis { extent: 1, digits: Vec::new(), copies: vec![(d.extent, 1)] };
        Some(View { tensor: back, axes, row0: 0, lane0: 0 })
    }

    fn byte_tensor(&mut self, ty: AluType, rows: usize, lanes: usize, tail: u32, weights: bool) -> TensorId {
        let t = self.tensor("", ty, rows, lanes, Init::Computed);
        self.out.tensors[t.0 as usize].weights = weights;
        self.out.tensors[t.0 as usize].tail = tail;
        t
    }
}
