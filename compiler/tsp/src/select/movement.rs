//! Reshape, transpose, broadcast, slice, concat, pad: views where possible, else moved rows and lanes.

use super::expr::Why;
use super::view::{View, layout};
use super::{Form, Select, Val};
use crate::tiled::Init;
use quadrille_compiler::ir::PadMode;
use quadrille_compiler::ir::{Node, Op};

impl Select<'_> {
    pub(super) fn movement(&mut self, node: &Node) -> Result<Val, Why> {
        match &node.op {
            Op::Concat { axis } => return self.concat(node, *axis),
            Op::Pad { mode, before, after } => return self.pad(node, *mode, before, after),
            _ => {}
        }
        let out_shape = self.graph.shape(node.output).to_vec();
        let forms = self.forms(node.inputs[0])?;
        let mut made = Vec::new();
        for f in forms {
            let changed = self.changed(&f.view, &node.op, &out_shape);
            let view = match changed {
                Some(v) => v,
                None => {
                    let view = self.plain(f.view)?;
                    // In row-major rows of the last axis any reshape and any slice is a view or nearly so.
                    let aligned = self.row_major(&view, &out_shape)?;
                    match aligned.and_then(|v| self.changed(&v, &node.op, &out_shape)) {
                        Some(v) => v,
                        None => self.element_by_element(&view, &node.op, &out_shape)?,
                    }
                }
            };
            made.push(Form { ty: f.ty, view });
        }
        Ok(Val::Forms(made))
    }

    pub(super) fn changed(&self, v: &View, op: &Op, out_shape: &[usize]) -> Option<View> {
        match op {
            Op::Reshape { shape } => v.reshape(shape),
            Op::Transpose { perm } => Some(v.transpose(perm)),
            Op::Broadcast { .. } => Some(v.broadcast(out_shape)),
            Op::Slice { start, step, shape } => {
                let mut v = v.clone();
                for a in 0..shape.len() {
                    v = v.slice(a, start[a], step[a], shape[a])?;
                }
                Some(v)
            }
            _ => None,
        }
    }

    /// The view in lanes that a result of `out_shape` can share: the common run of innermost extents.
    fn row_major(&mut self, v: &View, out_shape: &[usize]) -> Result<Option<View>, Why> {
        let shape = v.shape();
        let total: usize = shape.iter().product();
        // The largest lane extent that divides both innermost extents, so that both are digits of it.
        let inner = |s: &[usize]| s.iter().rev().copied().find(|&d| d != 1).unwrap_or(1);
        let (a, b) = (inner(&shape), inner(out_shape));
        let (mut x, mut y) = (a, b);
        while y != 0 {
            (x, y) = (y, x % y);
        }
        let mut lanes = x;
        if lanes > self.lanes {
            lanes = (1..=self.lanes).rev().find(|d| x % d == 0).unwrap_or(1);
        }
        // One run of lanes that is a factor of the flat index: rows for the rest.
        let flat = [total / lanes, lanes];
        let (axes, rows, _) = layout(&flat, Some(1), self.lanes);
        let target = View { tensor: v.tensor, axes, row0: 0, lane0: 0 };
        let Some(shaped) = target.reshape(&shape) else { return Ok(None) };
        self.relayout(v, shaped.axes, 0, rows).map(Some)
    }

    /// A reshape or slice as a list of elements.
    fn element_by_element(&mut self, v: &View, op: &Op, out_shape: &[usize]) -> Result<View, Why> {
        let own = v.shape();
        let flat = |index: &mut dyn Iterator<Item = usize>, shape: &[usize]| {
            index.zip(shape).fold(0usize, |at, (i, &n)| at * n + i)
        };
        match op {
            Op::Slice { start, step, .. } => self.rearranged(v, out_shape, |index| {
                let mut at = (0..own.len()).map(|a| (start[a] as isize + index[a] as isize * step[a]) as usize);
                flat(&mut at, &own)
            }),
            Op::Reshape { .. } => self.rearranged(v, out_shape, |index| flat(&mut index.iter().copied(), out_shape)),
            _ => Err(("its elements do not line up with rows and lanes".into(), "reshape in the model".into())),
        }
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Result<Val, Why> {
        let out_shape = self.graph.shape(node.output).to_vec();
        let mut views = Vec::new();
        for &v in &node.inputs {
            if self.graph.ty(v).elements() > 0 {
                let view = self.view(v)?;
                views.push((view, self.graph.shape(v)[axis]));
            }
        }
        let lane_of = |v: &View| (0..out_shape.len()).rev().find(|&i| v.axes[i].on_lanes());
        let last = (0..out_shape.len()).rev().find(|&i| out_shape[i] != 1);
        let lane_axis = views.iter().find_map(|(v, _)| lane_of(v)).or(last);
        let (axes, rows, lanes) = self.layout(&out_shape, lane_axis);
        let ty = self.ty(node.output);
        let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0: 0 };
        let mut at = 0;
        let mut pieces = Vec::new();
        for (v, extent) in views {
            let mut offset = vec![0; out_shape.len()];
            offset[axis] = at;
            at += extent;
            pieces.push((v, offset));
        }
        self.assemble(&target, rows, &pieces, None)?;
        Ok(Val::Forms(vec![Form { ty, view: target }]))
    }

    fn pad(&mut self, node: &Node, mode: PadMode, before: &[isize], after: &[isize]) -> Result<Val, Why> {
        if mode != PadMode::Constant {
            return Err(("only padding with a constant is mapped".into(), "pad outside the model".into()));
        }
        let value = match &self.vals[node.inputs[1].0 as usize] {
            Val::Const(t) => super::constant::bits(t)?.first().copied().unwrap_or(0),
            _ => return Err(("its fill value is computed".into(), "make the fill value constant".into())),
        };
        let in_shape = self.graph.shape(node.inputs[0]).to_vec();
        let out_shape = self.graph.shape(node.output).to_vec();
        let mut v = self.view(node.inputs[0])?;
        let mut offset = vec![0usize; out_shape.len()];
        let (mut start, mut cropped) = (vec![0usize; out_shape.len()], in_shape.clone());
        for a in 0..out_shape.len() {
            let (cut, end) = ((-before[a]).max(0) as usize, (-after[a]).max(0) as usize);
            offset[a] = before[a].max(0) as usize;
            start[a] = cut;
            cropped[a] = in_shape[a].saturating_sub(cut + end);
        }
        let crop = Op::Slice { start, step: vec![1; out_shape.len()], shape: cropped.clone() };
        v = match self.changed(&v, &crop, &cropped) {
            Some(v) => v,
            None => self.element_by_element(&v, &crop, &cropped)?,
        };
        let lane_axis = (0..out_shape.len()).rev().find(|&i| v.axes[i].on_lanes());
        if value != 0 && lane_axis.is_some_and(|a| out_shape[a] != v.axes[a].extent) {
            return Err((
                "it fills lanes with another value than zero".into(),
                "pad with zero, or another axis than the channels".into(),
            ));
        }
        let last = lane_axis.or((0..out_shape.len()).rev().find(|&i| out_shape[i] != 1));
        let (axes, rows, lanes) = self.layout(&out_shape, last);
        let ty = self.ty(node.output);
        let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
        let target = View { tensor, axes, row0: 0, lane0: 0 };
        let data = super::constant::to_bytes(&vec![value; lanes], ty);
        let fill = self.tensor("pad value", ty, 1, lanes, Init::Const(data));
        self.assemble(&target, rows, &[(v, offset)], Some(fill))?;
        Ok(Val::Forms(vec![Form { ty, view: target }]))
    }
}
