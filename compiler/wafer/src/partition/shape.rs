//! Softmax, reductions, concatenation and slices: nodes that care for the order of the axes.

use super::{Obstacle, Partitioner, Source};
use crate::kernels::{Concat, Reduce, ReduceKind, Slice, Softmax};
use crate::layout::{Layout, Loop, Part, strides};
use crate::streams::{Operand, Producer};
use quadrille_compiler::ir::{Node, Reduce as IrReduce, ValueDef};

/// Largest block of a softmax, elements of f32.
const SOFTMAX_BLOCK: usize = 8192;

/// Rows of a block of a softmax along them: so many elements, or rows that PEs can share in a block of so many.
const SHORT_BLOCK: usize = 256;
const SHARED_ROWS: usize = 16;
const SHARED_BLOCK: usize = 4096;

/// Rows of so many elements that PEs share in a block of a softmax along them.
pub(crate) fn shared_rows(along: usize) -> usize {
    (SHARED_BLOCK / along.max(1)).clamp(1, SHARED_ROWS)
}

impl Partitioner<'_> {
    pub(super) fn softmax(&mut self, node: &Node, axis: usize) -> Result<Source, Obstacle> {
        let x = node.inputs[0];
        let shape = self.g.shape(x).to_vec();
        let core = match self.axis_order(x)? {
            Some(order) => softmax_over(&shape, &order, axis),
            None => None,
        };
        let core = match core {
            Some(c) => c,
            None => {
                // Bring the axis innermost.
                let mut order: Vec<usize> = (0..shape.len()).filter(|&a| a != axis).collect();
                order.push(axis);
                softmax_over(&shape, &order, axis).ok_or_else(|| {
                    Obstacle::new(
                        format!("a softmax over {} elements does not fit one PE", shape[axis]),
                        "use --target tsp",
                    )
                })?
            }
        };
        let layout = core.layout.clone();
        let input = self.want(x, &layout)?;
        Ok(self.add(node, Box::new(core), vec![input]).1)
    }

    pub(super) fn reduce(&mut self, node: &Node, kind: IrReduce, axes: &[usize]) -> Result<Source, Obstacle> {
        let kind = match kind {
            IrReduce::Sum => ReduceKind::Sum,
            IrReduce::Mean => ReduceKind::Mean,
            IrReduce::Max => ReduceKind::Max,
            IrReduce::Min => ReduceKind::Min,
            IrReduce::Prod => return Err(Obstacle::new("products along an axis have no kernel", "use --target tsp")),
        };
        let x = node.inputs[0];
        let shape = self.g.shape(x).to_vec();
        let image = shape.len() == 4 && axes == [2, 3];
        // The order in which the elements must come, and that order as the kernel sees it.
        let (dims, wanted, seen) = if image {
            let d = [shape[0], shape[1], shape[2], shape[3]];
            (d, Layout::image(d), Layout::image(d))
        } else if let Some((dims, order)) = self.axis_order(x)?.and_then(|o| Some((rows_of(&shape, axes, &o)?, o))) {
            (dims, Layout::axes(&shape, &order), Layout::image(dims))
        } else {
            let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
            let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
            let count = |a: &[usize]| a.iter().map(|&a| shape[a]).product::<usize>();
            let permuted: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
            ([count(&kept), 1, 1, count(axes)], Layout::axes(&shape, &order), Layout::row_major(&permuted))
        };
        let input = Operand { layout: seen, ..self.want(x, &wanted)? };
        Ok(self.add(node, Box::new(Reduce::new(kind, dims)), vec![input]).1)
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<Source, Obstacle> {
        if node.inputs.len() > crate::kernels::MAX_INPUTS {
            return Err(Obstacle::new(
                format!("{} operands; a PE receives at most 7 streams beside its chain", node.inputs.len()),
                "concatenate in two steps",
            ));
        }
        let mut ids = Vec::new();
        for &v in &node.inputs {
            let id = self.source(v)?.0;
            if ids.contains(&id) {
                return Err(Obstacle::new("an operand appears twice, but its stream arrives once", "use --target tsp"));
            }
            ids.push(id);
        }
        let out = self.g.shape(node.output).to_vec();
        let mut order = None;
        for &v in &node.inputs {
            if order.is_none() && self.arrives(v)?.is_some() {
                order = self.axis_order(v)?;
            }
        }
        let order = order.unwrap_or_else(|| (0..out.len()).collect());
        let at = order.iter().position(|&a| a == axis).unwrap_or(0);
        let innermost = order[order.len() - 1];
        let mut inputs = Vec::new();
        let mut runs = Vec::new();
        for &v in &node.inputs {
            let shape = self.g.shape(v).to_vec();
            inputs.push(self.want(v, &Layout::axes(&shape, &order))?);
            // Runs a block: loops from the axis inwards, without the innermost when that is a run.
            let inner: usize = order[at..].iter().map(|&a| shape[a]).product();
            runs.push(if innermost == axis { inner } else { inner / shape[innermost] });
        }
        let core = Concat {
            outer: order[..at].iter().map(|&a| out[a]).product(),
            runs,
            run: if innermost == axis { 1 } else { out[innermost] },
            lead: out[..axis].iter().product(),
            extents: node.inputs.iter().map(|&v| self.g.shape(v)[axis]).collect(),
            tail: out[axis + 1..].iter().product(),
            layout: Layout::axes(&out, &order),
        };
        Ok(self.add(node, Box::new(core), inputs).1)
    }

    pub(super) fn slice(
        &mut self,
        node: &Node,
        start: &[usize],
        step: &[isize],
        out: &[usize],
    ) -> Result<Source, Obstacle> {
        let x = node.inputs[0];
        if let Some(source) = self.slice_of_input(node, start, step, out) {
            return Ok(source);
        }
        let shape = self.g.shape(x).to_vec();
        let mut order = self.axis_order(x)?.unwrap_or_else(|| (0..shape.len()).collect());
        let (mut shape, mut start, mut step, mut out) = (shape, start.to_vec(), step.to_vec(), out.to_vec());
        if order == [0, 1] && start[0] == 0 && step[0] == 1 && out[0] == shape[0] {
            // A batch of rows goes row by row: images do not wait for each other.
            shape.insert(1, 1);
            start.insert(1, 0);
            step.insert(1, 1);
            out.insert(1, 1);
            order.push(2);
        }
        let layout = Layout::axes(&out, &order);
        let core = Slice { shape: shape.clone(), start, step, out_shape: out, layout, order: order.clone() }
            .in_fitting_blocks();
        if let Some(o) = core.obstacle() {
            return Err(Obstacle::new(o, "slice one axis after the other, or use --target tsp"));
        }
        let input = self.want(x, &Layout::axes(&shape, &order))?;
        Ok(self.add(node, Box::new(core), vec![input]).1)
    }
}

impl Partitioner<'_> {
    /// Part of an input of the model: a port sends just that, as often as it is wanted.
    fn slice_of_input(&mut self, node: &Node, start: &[usize], step: &[isize], out: &[usize]) -> Option<Source> {
        let x = node.inputs[0];
        let ValueDef::Input(input) = self.g.value(x).def else { return None };
        let forward: Vec<usize> = step.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<_>>()?;
        let (order, layout) = match *out {
            [n, c, h, w] if self.goes_to_window(node.output) => (vec![0, 2, 1, 3], Layout::image([n, c, h, w])),
            _ => ((0..out.len()).collect(), Layout::row_major(out)),
        };
        let there = strides(self.g.shape(x));
        let first = start.iter().zip(&there).map(|(a, s)| a * s).sum();
        let part = order.iter().map(|&a| Loop { count: out[a], step: forward[a] * there[a] });
        let part = Layout { loops: part.collect() };
        let id = self.out.add_stream(Producer::Input(input as usize), out.to_vec(), Some(layout));
        self.out.streams[id.0].part = Some(Part { first, layout: part, upward: false });
        let solo = self.uses[node.output.0 as usize] == 1;
        Some(Source::Stream { id, views: Vec::new(), solo })
    }
}

/// The extents (n, c, h, w) of an image of one column whose rows a reduction is over, where the axes in their order are such:
/// some that stay, those that go, others that stay.
fn rows_of(shape: &[usize], axes: &[usize], order: &[usize]) -> Option<[usize; 4]> {
    let first = order.iter().position(|a| axes.contains(a))?;
    let end = first + axes.len();
    let (before, gone) = (&order[..first], order.get(first..end)?);
    let after = &order[end..];
    let count = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
    let stay = before.iter().chain(after);
    let ascending = stay.is_sorted() && gone.is_sorted() && gone.iter().all(|a| axes.contains(a));
    (ascending && count(after) > 1).then(|| [count(before), count(after), count(gone), 1])
}

/// A softmax over `axis` of a stream whose axes go in `order`, when the axis is one of the two
/// innermost loops of a block that fits a PE.
fn softmax_over(shape: &[usize], order: &[usize], axis: usize) -> Option<Softmax> {
    let loops = Layout { loops: Layout::axes(shape, order).loops };
    let at = order.iter().position(|&a| a == axis)?;
    let mut outer: Vec<Loop> = loops.loops[..at].to_vec();
    let along = loops.loops[at];
    let inner = Layout { loops: Layout { loops: loops.loops[at + 1..].to_vec() }.normalized() };
    match inner.loops[..] {
        [] => {
            // Innermost: take as many rows a block as are there and fit.
            let last = outer.iter().rposition(|l| l.count > 1);
            let rows = match last {
                None => Loop { count: 1, step: 0 },
                Some(i) => {
                    let l = outer[i];
                    outer.truncate(i);
                    // Images of a batch do not wait for each other.
                    let images = i == 0 && l.count == shape[0] && shape.len() > 1;
                    let most = if images { 1 } else { (SHORT_BLOCK / along.count).max(shared_rows(along.count)) };
                    let n = (1..=l.count.min(most)).rev().find(|d| l.count.is_multiple_of(*d)).unwrap_or(1);
                    outer.push(Loop { count: l.count / n, step: l.step * n });
                    Loop { count: n, step: l.step }
                }
            };
            outer.extend([rows, along]);
            (along.count * rows.count <= SOFTMAX_BLOCK)
                .then_some(Softmax { layout: Layout { loops: outer }, over_rows: false })
        }
        [lane] => {
            outer.extend([along, lane]);
            (along.count * lane.count <= SOFTMAX_BLOCK)
                .then_some(Softmax { layout: Layout { loops: outer }, over_rows: true })
        }
        _ => None,
    }
}
