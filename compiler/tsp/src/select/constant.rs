//! Constants: folding, and rows that meet the rows of a kernel.

use super::expr::Why;
use super::view::{Axis, Digit, View, layout};
use super::{Select, Val, device_type};
use crate::tiled::{Init, TensorId};
use bytes::Bytes;
use quadrille_compiler::ir::{Node, eval};
use quadrille_isa::tsp::AluType;
use quadrille_isa::{DType, Tensor};
use std::collections::BTreeSet;

/// The elements of a constant as device bits.
pub(crate) fn bits(t: &Tensor) -> Result<Vec<u32>, Why> {
    let size = t.dtype.size();
    if device_type(t.dtype).is_none() {
        return Err((format!("a constant of {} elements", t.dtype), "convert the model to f32".into()));
    }
    t.data
        .chunks_exact(size)
        .map(|c| match t.dtype {
            DType::I64 => {
                let v = c.try_into().map(i64::from_le_bytes).unwrap_or(0);
                i32::try_from(v)
                    .map(|v| v as u32)
                    .map_err(|_| (format!("the constant {v} needs 64 bits"), "use 32-bit values".into()))
            }
            _ => {
                let mut b = [0u8; 4];
                b[..size.min(4)].copy_from_slice(&c[..size.min(4)]);
                Ok(u32::from_le_bytes(b))
            }
        })
        .collect()
}

/// Device bits as bytes of a type.
pub(crate) fn to_bytes(values: &[u32], ty: AluType) -> Bytes {
    let w = usize::from(ty.bytes());
    values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(w)).collect::<Vec<u8>>().into()
}

impl Select<'_> {
    /// Evaluates a node whose operands are all constant.
    pub(super) fn fold_constant(&mut self, node: &Node) -> Result<bool, Why> {
        let mut operands = Vec::new();
        for v in &node.inputs {
            match &self.vals[v.0 as usize] {
                Val::Const(t) => operands.push(t.clone()),
                _ => return Ok(false),
            }
        }
        let refs: Vec<&Tensor> = operands.iter().collect();
        let t = eval::eval_op(&node.op, &refs).map_err(|e| (e, "fix the model".to_string()))?;
        self.vals[node.output.0 as usize] = Val::Const(t);
        Ok(true)
    }

    /// Rows of a constant for a kernel whose output has the axes `like` (by value) or a layout of its own.
    pub(super) fn constant_view(&mut self, t: &Tensor, like: Option<(&[Axis], i64)>) -> Result<View, Why> {
        let Some(ty) = device_type(t.dtype) else {
            return Err((format!("a constant of {} elements", t.dtype), "convert the model to f32".into()));
        };
        let own;
        let (axes, lane0) = match like {
            Some(l) => l,
            None => {
                let last = t.shape.len().checked_sub(1);
                own = layout(&t.shape, last, self.lanes).0;
                (&own[..], 0)
            }
        };
        let rank = axes.len();
        let mut shape = vec![1usize; rank.saturating_sub(t.shape.len())];
        shape.extend(&t.shape);
        // Axes of the constant: row digits in a row of their own, none where it is broadcast.
        let mut step = 1usize;
        let mut view_axes = vec![Axis::unit(); rank];
        for (i, a) in axes.iter().enumerate().rev() {
            let mut digits: Vec<Digit> = Vec::new();
            for d in a.digits.iter().rev() {
                let row = if d.lane != 0 || shape[i] == 1 || d.extent == 1 {
                    0
                } else {
                    let here = step;
                    step *= d.extent;
                    here as i64
                };
                digits.insert(0, Digit { row, ..*d });
            }
            view_axes[i] = Axis { extent: a.extent, digits, copies: a.copies.clone() };
        }
        let values = bits(t)?;
        // Per axis: distinct (row, lane, constant index).
        let mut parts: Vec<Vec<(i64, i64, usize)>> = Vec::new();
        for (i, a) in view_axes.iter().enumerate() {
            let (copies, one) = (a.copy_lanes(), shape[i] == 1);
            let set: BTreeSet<(i64, i64, usize)> = a
                .table()
                .into_iter()
                .enumerate()
                .flat_map(|(k, (r, l))| copies.iter().map(move |c| (r, l + c, if one { 0 } else { k })))
                .collect();
            parts.push(set.into_iter().collect());
        }
        let reach = |f: &dyn Fn(&(i64, i64, usize)) -> i64| -> i64 {
            parts.iter().map(|p| p.iter().map(f).max().unwrap_or(0)).sum()
        };
        let rows = step;
        let lanes = (lane0 + reach(&|p| p.1) + 1) as usize;
        let mut data = vec![0u32; rows * lanes];
        let mut all = vec![(0i64, lane0, 0usize)];
        for (i, p) in parts.iter().enumerate() {
            let extent = shape[i];
            all = all
                .iter()
                .flat_map(|&(r, l, e)| p.iter().map(move |&(pr, pl, pk)| (r + pr, l + pl, e * extent + pk)))
                .collect();
        }
        for (r, l, e) in all {
            data[r as usize * lanes + l as usize] = values[e];
        }
        let tensor: TensorId = self.tensor("", ty, rows, lanes, Init::Const(to_bytes(&data, ty)));
        Ok(View { tensor, axes: view_axes, row0: 0, lane0 })
    }
}
