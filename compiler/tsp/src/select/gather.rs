//! Gather: constant indices are movement; computed ones read a table by address.
//!
//! A table of more rows than a bank has words is cut into segments. Each is read with indices of its own, which name no
//! row where the index belongs to another segment, and the results are joined.

use super::expr::Why;
use super::view::{Axis, View, lane_axis};
use super::{Form, Select, Val};
use crate::tiled::{HostLoop, HostPiece, Init, Kind, Rows, Src, Step, TensorId};
use quadrille_compiler::ir::{Node, Op, ValueDef, ValueId};
use quadrille_isa::DType;
use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::tsp::{AluOp, AluType};

/// A table of floats that would take more than one in so many words is kept in f16.
const LARGE: usize = 4;

/// Segments whose indices one ALU sequence makes.
const SEGMENTS_AT_ONCE: usize = 3;

/// Parts that one ALU sequence joins.
const PARTS_AT_ONCE: usize = 4;

impl Select<'_> {
    pub(super) fn gather(&mut self, node: &Node, axis: usize) -> Result<Val, Why> {
        if let Val::Const(ix) = self.vals[node.inputs[1].0 as usize].clone() {
            let indices: Vec<i64> = super::constant::bits(&ix)?.iter().map(|&b| i64::from(b as i32)).collect();
            return self.gather_constant(node, axis, &indices);
        }
        let data_shape = self.graph.shape(node.inputs[0]).to_vec();
        let Val::Const(table) = self.vals[node.inputs[0].0 as usize].clone() else {
            return Err(("both data and indices are computed".into(), "make the table constant".into()));
        };
        if axis != 0 {
            return Err((
                format!("computed indices along axis {axis}"),
                "transpose the table so that the gathered axis is the first".into(),
            ));
        }
        let Some((input, index)) = self.index_input(node.inputs[1]) else {
            return Err(("its indices are computed on the chip".into(), "make them an input of the model".into()));
        };
        let dtype = self.graph.ty(input).dtype;
        if !dtype.is_int() || dtype.size() < 2 {
            return Err((format!("indices of {dtype}"), "use 16-, 32- or 64-bit indices".into()));
        }
        let ids_shape = self.graph.shape(node.inputs[1]).to_vec();
        let count: usize = ids_shape.iter().product();
        let width: usize = data_shape[1..].iter().product();
        let own = self.ty(node.inputs[0]);
        let values = super::constant::bits(&table)?;
        let row_axis = lane_axis(width, self.lanes, 1);
        let (blocks, lanes) = match row_axis.digits.as_slice() {
            [o, l] => (o.extent, l.extent),
            _ => (1, width),
        };
        let segment = self.bank_words.min(data_shape[0]);
        let segments = data_shape[0].div_ceil(segment);
        // The high byte of an index must say its segment.
        if segments > 1 && !(segment.is_multiple_of(256) && segment.is_power_of_two() && data_shape[0] <= 1 << 16) {
            return Err((format!("a table of {} rows", data_shape[0]), "split the table in the model".into()));
        }
        // Floats that would fill the SRAM are kept as products take them.
        let words = segments * segment * blocks * usize::from(own.bytes());
        let ty = if own == AluType::F32 && words * LARGE > self.row_words { AluType::F16 } else { own };
        let name = self.graph.value(input).name.clone();
        let ids = self.index_bytes(&name, index, count, [0, 1]);
        let indices =
            if segments == 1 { vec![ids] } else { self.segment_indices(index, ids, count, segment, segments, &name) };
        let rows: Vec<u32> = (0..count as u32).collect();
        let mut parts = Vec::new();
        for (number, &ids) in indices.iter().enumerate() {
            let here = number * segment..data_shape[0].min((number + 1) * segment);
            let out = self.tensor("", ty, count * blocks, lanes, Init::Computed);
            for b in 0..blocks {
                let mut data = Vec::with_capacity(here.len() * lanes);
                for r in here.clone() {
                    data.extend((0..lanes).map(|l| {
                        let c = b * lanes + l;
                        let v = if c < width { values[r * width + c] } else { 0 };
                        if ty == own { v } else { u32::from(f32_to_f16(f32::from_bits(v))) }
                    }));
                }
                let init = Init::Const(super::constant::to_bytes(&data, ty));
                let t = self.tensor("embedding table", ty, here.len(), lanes, init);
                self.out.tensors[t.0 as usize].table = true;
                let out_rows = rows.iter().map(|r| r * blocks as u32 + b as u32).collect();
                let out = Rows { tensor: out, rows: out_rows };
                self.kernel(count, Kind::Gather { ids: Rows { tensor: ids, rows: rows.clone() }, table: t, out });
            }
            parts.push(out);
        }
        let out = self.joined_parts(parts, ty, count * blocks, lanes);
        let flat = View { tensor: out, axes: vec![Axis::rows(count, blocks as i64), row_axis], row0: 0, lane0: 0 };
        let shape = self.graph.shape(node.output).to_vec();
        let view = flat
            .reshape(&shape)
            .ok_or(("its rows do not line up with lanes".to_string(), "reshape the table in the model".to_string()))?;
        Ok(Val::Forms(vec![Form { ty, view }]))
    }

    /// Bytes of indices: byte `bytes[l]` in lane `l` of every superlane.
    fn index_bytes(&mut self, name: &str, index: u32, count: usize, bytes: [u8; 2]) -> TensorId {
        let superlanes = (self.lanes / 16) as u32;
        let piece = |(lane, &byte): (usize, &u8)| HostPiece {
            row0: 0,
            lane0: lane as u32,
            elem0: 0,
            byte: Some(byte),
            loops: vec![
                HostLoop { count: count as u32, row: 1, lane: 0, elem: 1 },
                HostLoop { count: superlanes, row: 0, lane: 16, elem: 0 },
            ],
        };
        let pieces = bytes.iter().enumerate().map(piece).collect();
        self.tensor(name, AluType::U8, count, self.lanes, Init::Input { index, pieces })
    }

    /// Indices into each segment of a table: those of other segments read zeros. The last segment takes all that is
    /// above, so that what is too large stops the run.
    fn segment_indices(
        &mut self,
        index: u32,
        ids: TensorId,
        count: usize,
        segment: usize,
        segments: usize,
        name: &str,
    ) -> Vec<TensorId> {
        let high = self.index_bytes(name, index, count, [1, 1]);
        let each = (segment / 256) as u32;
        let u8_op = |op, a, b, c| Step { op, ty: AluType::U8, src: [a, b, c] };
        let mut out = Vec::new();
        for first in (0..segments).step_by(SEGMENTS_AT_ONCE) {
            let mut steps = Vec::new();
            let mut outs = Vec::new();
            let mut ins = vec![Rows { tensor: ids, rows: (0..count as u32).collect() }];
            ins.push(Rows { tensor: high, rows: (0..count as u32).collect() });
            for number in first..segments.min(first + SEGMENTS_AT_ONCE) {
                let lowest = number as u32 * each;
                // The high byte counts from the first of the segment.
                let row: Vec<u8> = (0..self.lanes).map(|l| if l % 16 == 1 { lowest as u8 } else { 0 }).collect();
                let offset = self.tensor("segment", AluType::U8, 1, self.lanes, Init::Const(row.into()));
                ins.push(Rows { tensor: offset, rows: vec![0; count] });
                let at = steps.len() as u16;
                steps.push(u8_op(AluOp::Sub, Src::In(0), Src::In(ins.len() as u16 - 1), Src::None));
                let mine = if number + 1 == segments {
                    steps.push(u8_op(AluOp::CmpGe, Src::In(1), Src::Imm(lowest), Src::None));
                    at + 1
                } else {
                    let part = !(each - 1) & 0xFF;
                    steps.push(u8_op(AluOp::And, Src::In(1), Src::Imm(part), Src::None));
                    steps.push(u8_op(AluOp::CmpEq, Src::Op(at + 1), Src::Imm(lowest), Src::None));
                    at + 2
                };
                steps.push(u8_op(AluOp::Select, Src::Op(mine), Src::Op(at), Src::Imm(0xFF)));
                let t = self.tensor(name, AluType::U8, count, self.lanes, Init::Computed);
                outs.push((Src::Op(mine + 1), Rows { tensor: t, rows: (0..count as u32).collect() }));
                out.push(t);
            }
            self.kernel(count, Kind::Map { ins, steps, outs });
        }
        out
    }

    /// Parts of which all but one are zero in each row, as one.
    fn joined_parts(&mut self, mut parts: Vec<TensorId>, ty: AluType, rows: usize, lanes: usize) -> TensorId {
        let int = [AluType::U8, AluType::U8, AluType::I16, AluType::I32, AluType::I32][usize::from(ty.bytes())];
        let all: Vec<u32> = (0..rows as u32).collect();
        while parts.len() > 1 {
            let mut next = Vec::new();
            for few in parts.chunks(PARTS_AT_ONCE) {
                if few.len() == 1 {
                    next.push(few[0]);
                    continue;
                }
                let ins = few.iter().map(|&tensor| Rows { tensor, rows: all.clone() }).collect();
                let mut steps = Vec::new();
                let mut last = Src::In(0);
                for k in 1..few.len() as u16 {
                    steps.push(Step { op: AluOp::Or, ty: int, src: [last, Src::In(k), Src::None] });
                    last = Src::Op(k - 1);
                }
                let t = self.tensor("", ty, rows, lanes, Init::Computed);
                let outs = vec![(last, Rows { tensor: t, rows: all.clone() })];
                self.kernel(rows, Kind::Map { ins, steps, outs });
                next.push(t);
            }
            parts = next;
        }
        parts[0]
    }

    /// The input that indices are, if only reshapes and integer casts lie between.
    fn index_input(&self, v: ValueId) -> Option<(ValueId, u32)> {
        match &self.graph.value(v).def {
            ValueDef::Input(i) => Some((v, *i)),
            ValueDef::Const(_) => None,
            ValueDef::Node(n) => {
                let node = self.graph.node(*n);
                match &node.op {
                    Op::Reshape { .. } => self.index_input(node.inputs[0]),
                    Op::Cast(to) if to.is_int() && to.size() >= 4 => {
                        let from: DType = self.graph.ty(node.inputs[0]).dtype;
                        if from.is_int() { self.index_input(node.inputs[0]) } else { None }
                    }
                    _ => None,
                }
            }
        }
    }

    fn gather_constant(&mut self, node: &Node, axis: usize, indices: &[i64]) -> Result<Val, Why> {
        let shape = self.graph.shape(node.inputs[0]).to_vec();
        let v = self.view(node.inputs[0])?;
        let out_shape = self.graph.shape(node.output).to_vec();
        let extent = shape[axis] as i64;
        let mut at = Vec::new();
        for &i in indices {
            let i = if i < 0 { i + extent } else { i };
            if !(0..extent).contains(&i) {
                return Err((format!("index {i} is not in an axis of {extent}"), "fix the model".into()));
            }
            at.push(i as usize);
        }
        let mut flat = shape.clone();
        flat[axis] = at.len();
        let lane_axis = (0..flat.len()).rev().find(|&i| v.axes[i].on_lanes());
        let (axes, rows, lanes) = self.layout(&flat, lane_axis);
        let ty = self.ty(node.output);
        let tensor: TensorId = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0: 0 };
        let mut pieces = Vec::new();
        for (k, &i) in at.iter().enumerate() {
            let piece = v
                .slice(axis, i, 1, 1)
                .ok_or(("a slice that no view can express".to_string(), "reshape in the model".to_string()))?;
            let mut offset = vec![0; flat.len()];
            offset[axis] = k;
            pieces.push((piece, offset));
        }
        self.assemble(&target, rows, &pieces, None)?;
        let view = target
            .reshape(&out_shape)
            .ok_or(("its result does not line up with lanes".to_string(), "reshape in the model".to_string()))?;
        Ok(Val::Forms(vec![Form { ty, view }]))
    }
}
