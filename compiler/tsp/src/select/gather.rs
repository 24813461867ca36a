//! Gather: constant indices are movement; computed ones read a table by address.

use super::expr::Why;
use super::view::{Axis, View, lane_axis};
use super::{Form, Select, Val};
use crate::tiled::{HostLoop, HostPiece, Init, Kind, Rows, TensorId};
use quadrille_compiler::ir::{Node, Op, ValueDef, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::AluType;

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
        let ty = self.ty(node.inputs[0]);
        let values = super::constant::bits(&table)?;
        // One byte tensor of indices: the low two bytes in the first lanes of every superlane.
        let superlanes = (self.lanes / 16) as u32;
        let pieces = (0..2u8)
            .map(|b| HostPiece {
                row0: 0,
                lane0: u32::from(b),
                elem0: 0,
                byte: Some(b),
                loops: vec![
                    HostLoop { count: count as u32, row: 1, lane: 0, elem: 1 },
                    HostLoop { count: superlanes, row: 0, lane: 16, elem: 0 },
                ],
            })
            .collect();
        let name = self.graph.value(input).name.clone();
        let ids = self.tensor(&name, AluType::U8, count, self.lanes, Init::Input { index, pieces });
        let row_axis = lane_axis(width, self.lanes, count as i64);
        let (blocks, lanes) = match row_axis.digits.as_slice() {
            [o, l] => (o.extent, l.extent),
            _ => (1, width),
        };
        let out = self.tensor("", ty, count * blocks, lanes, Init::Computed);
        for b in 0..blocks {
            let mut data = Vec::with_capacity(data_shape[0] * lanes);
            for r in 0..data_shape[0] {
                data.extend((0..lanes).map(|l| {
                    let c = b * lanes + l;
                    if c < width { values[r * width + c] } else { 0 }
                }));
            }
            let init = Init::Const(super::constant::to_bytes(&data, ty));
            let t = self.tensor("embedding table", ty, data_shape[0], lanes, init);
            self.out.tensors[t.0 as usize].table = true;
            let rows: Vec<u32> = (0..count as u32).collect();
            let out_rows = rows.iter().map(|r| r + (b * count) as u32).collect();
            let out = Rows { tensor: out, rows: out_rows };
            self.kernel(count, Kind::Gather { ids: Rows { tensor: ids, rows }, table: t, out });
        }
        let flat = View { tensor: out, axes: vec![Axis::rows(count, 1), row_axis], row0: 0, lane0: 0 };
        let shape = self.graph.shape(node.output).to_vec();
        let view = flat
            .reshape(&shape)
            .ok_or(("its rows do not line up with lanes".to_string(), "reshape the table in the model".to_string()))?;
        Ok(Val::Forms(vec![Form { ty, view }]))
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
