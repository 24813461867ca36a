//! Constant subtrees: values that the importer left unfolded for this pass to see.

use super::Islands;
use super::recognise::{dequantised, single};
use crate::ir::eval::eval_op;
use crate::ir::{DType, Op, Tensor, ValueId};

/// Elements of a constant subtree that is computed at most.
const MOST: usize = 1 << 27;

/// Integer weights and the scale of each output channel.
pub(super) struct Weights {
    /// `i8`, zero points subtracted.
    pub(super) q: Tensor,
    /// Broadcasts against `q`.
    pub(super) scales: Tensor,
}

impl Islands<'_> {
    /// The one value of a constant.
    pub(super) fn scalar(&self, v: ValueId) -> Option<f64> {
        self.old.constant(v).and_then(single)
    }

    /// The value of a subtree of constants.
    pub(super) fn constant(&self, v: ValueId) -> Option<Tensor> {
        self.constant_within(v, 8)
    }

    fn constant_within(&self, v: ValueId, depth: u32) -> Option<Tensor> {
        if let Some(t) = self.old.constant(v) {
            return Some(t.clone());
        }
        let node = self.old.producer(v)?;
        if depth == 0 || self.old.ty(v).elements() > MOST || matches!(node.op, Op::Conv { .. } | Op::MatMul { .. }) {
            return None;
        }
        let operands: Option<Vec<Tensor>> = node.inputs.iter().map(|&i| self.constant_within(i, depth - 1)).collect();
        let operands = operands?;
        eval_op(&node.op, &operands.iter().collect::<Vec<_>>()).ok()
    }

    /// Dequantised constants, perhaps moved: transposed, or a part of them under another shape, as gates of recurrent
    /// cells are.
    pub(super) fn weights(&self, v: ValueId) -> Option<Weights> {
        if let Some(node) = self.old.producer(v)
            && matches!(node.op, Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. })
        {
            let w = self.weights(node.inputs[0])?;
            let moved = |t: &Tensor| eval_op(&node.op, &[t]).ok();
            let scales = if w.scales.len() == 1 {
                Tensor { shape: vec![1; self.old.ty(v).rank()], ..w.scales }
            } else {
                let shape = w.q.shape.clone();
                narrowest(moved(&eval_op(&Op::Broadcast { shape }, &[&w.scales]).ok()?)?)?
            };
            return Some(Weights { q: moved(&w.q)?, scales });
        }
        let d = dequantised(self.old, v)?;
        let rank = self.old.ty(v).rank();
        let q = narrow(&self.constant(d.q)?, d.zeros.as_ref())?;
        let mut shape = vec![1; rank.checked_sub(d.scales.shape.len())?];
        shape.extend(&d.scales.shape);
        let fine = d.scales.as_f32()?.iter().all(|s| s.is_normal() && *s > 0.0);
        fine.then_some(Weights { q, scales: Tensor { shape, ..d.scales } })
    }
}

/// The tensor with extent 1 along axes where all is the same.
fn narrowest(t: Tensor) -> Option<Tensor> {
    let mut t = t;
    for axis in 0..t.shape.len() {
        let mut shape = t.shape.clone();
        shape[axis] = 1;
        let start = vec![0; shape.len()];
        let first = eval_op(&Op::Slice { start, step: vec![1; shape.len()], shape }, &[&t]).ok()?;
        let again = eval_op(&Op::Broadcast { shape: t.shape.clone() }, &[&first]).ok()?;
        if again.data == t.data {
            t = first;
        }
    }
    Some(t)
}

/// `t - zeros` in `i8`, when that is exact.
pub(super) fn narrow(t: &Tensor, zeros: Option<&Tensor>) -> Option<Tensor> {
    let zero_free = zeros.is_none_or(|z| single(z) == Some(0.0));
    if t.dtype == DType::I8 && zero_free {
        return Some(t.clone());
    }
    if !t.dtype.is_int() {
        return None;
    }
    let wide = eval_op(&Op::Cast(DType::I32), &[t]).ok()?;
    let wide = match zeros {
        Some(z) => {
            let z = eval_op(&Op::Cast(DType::I32), &[z]).ok()?;
            eval_op(&Op::Binary(crate::ir::Binary::Sub), &[&wide, &z]).ok()?
        }
        None => wide,
    };
    let fits = integers(&wide).iter().all(|v| (-128..=127).contains(v));
    (fits && wide.shape == t.shape).then(|| eval_op(&Op::Cast(DType::I8), &[&wide]).ok()).flatten()
}

/// Elements of an `i32`, `i8` or `u8` tensor.
pub(in crate::passes) fn integers(t: &Tensor) -> Vec<i32> {
    match t.dtype {
        DType::I8 => t.data.iter().map(|&b| i32::from(b as i8)).collect(),
        DType::U8 => t.data.iter().map(|&b| i32::from(b)).collect(),
        _ => t.data.chunks_exact(4).map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect(),
    }
}

/// An `i32` tensor.
pub(super) fn i32_tensor(shape: Vec<usize>, values: &[i32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor { dtype: DType::I32, shape, data: data.into() }
}
