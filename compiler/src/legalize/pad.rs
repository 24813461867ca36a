//! Padding by other cells is a gather at constant places; padding by anything but a constant zero is a
//! padding by zeros and a choice.

use super::build::Builder;
use crate::ir::{Binary, DType, Graph, Node, Op, PadMode, Tensor, TypeError, ValueId};

/// The fill of a padding of bytes that a machine can leave to the convolutions behind it: a constant along spatial
/// axes, read by nothing but convolutions with constant weights, none of which pads again. Legalisation leaves
/// such a padding as it is.
pub fn taken_over(graph: &Graph, node: &Node) -> Option<u8> {
    let Op::Pad { mode: PadMode::Constant, before, after } = &node.op else { return None };
    let (x, v) = (graph.ty(node.output), node.output);
    if !matches!(x.dtype, DType::I8 | DType::U8) || graph.outputs.iter().any(|o| o.value == v) {
        return None;
    }
    let fill = graph.constant(node.inputs[1]).filter(|t| t.len() == 1)?;
    let grows = before.iter().chain(after).all(|&n| n >= 0);
    let spatial = before.iter().take(2).chain(after.iter().take(2)).all(|&n| n == 0);
    let takes = |n: &Node| match &n.op {
        Op::Conv { window, .. } => {
            n.inputs[0] == v
                && !n.inputs[1..].contains(&v)
                && graph.constant(n.inputs[1]).is_some()
                && window.before.iter().chain(&window.after).all(|&p| p == 0)
        }
        _ => false,
    };
    let taken = graph.nodes().iter().filter(|n| n.inputs.contains(&v)).all(takes);
    (grows && spatial && taken).then(|| fill.data[0])
}

impl Builder<'_> {
    pub(super) fn pad(
        &mut self,
        mode: PadMode,
        before: &[isize],
        after: &[isize],
        x: &[ValueId],
    ) -> Result<Option<ValueId>, TypeError> {
        if mode == PadMode::Constant {
            self.filled(before, after, x)
        } else {
            self.pad_by_cells(mode, before, after, x)
        }
    }

    fn filled(&mut self, before: &[isize], after: &[isize], x: &[ValueId]) -> Result<Option<ValueId>, TypeError> {
        if self.constant_of(x[1]).is_some_and(|t| t.data.iter().all(|&b| b == 0)) || self.taken_over() {
            return Ok(None);
        }
        if !before.iter().chain(after).any(|&n| n > 0) {
            return self.zeros_around(x[0], before.to_vec(), after.to_vec()).map(Some);
        }
        let y = self.zeros_around(x[0], before.to_vec(), after.to_vec())?;
        let out = self.shape(y);
        let mut inside: Option<ValueId> = None;
        for (a, &n) in out.iter().enumerate() {
            if before[a] <= 0 && after[a] <= 0 {
                continue;
            }
            let cells = before[a].max(0) as usize..n - after[a].max(0) as usize;
            let mut shape = vec![1; out.len()];
            shape[a] = n;
            let data: Vec<u8> = (0..n).map(|i| u8::from(cells.contains(&i))).collect();
            let own = self.constant(Tensor { dtype: DType::Bool, shape, data: data.into() });
            inside = Some(match inside {
                None => own,
                Some(other) => self.binary(Binary::And, other, own)?,
            });
        }
        match inside {
            Some(inside) => self.select(inside, y, x[1]).map(Some),
            None => Ok(Some(y)),
        }
    }

    fn pad_by_cells(
        &mut self,
        mode: PadMode,
        before: &[isize],
        after: &[isize],
        x: &[ValueId],
    ) -> Result<Option<ValueId>, TypeError> {
        let mut y = x[0];
        for a in 0..before.len() {
            if (before[a], after[a]) == (0, 0) {
                continue;
            }
            let n = self.shape(y)[a];
            // Which cell each place takes is what padding the cells' own numbers gives.
            let numbers = self.counter(n, 1, 0);
            let places = self.op(Op::Pad { mode, before: vec![before[a]], after: vec![after[a]] }, &[numbers])?;
            if !self.is_constant(places) {
                return Ok(None);
            }
            y = self.op(Op::Gather { axis: a }, &[y, places])?;
        }
        Ok(Some(y))
    }
}
