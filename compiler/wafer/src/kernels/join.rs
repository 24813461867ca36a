//! Elementwise work on two streams of one order: a residual sum, a gate.

use super::{BandInput, Core, Format, InputUse, LaneInput, PeContext, in_queue, lane_blocks, shared_blocks};
use crate::code::{Builder, fabric, mem, mov, num, op, to_fabric};
use crate::layout::Layout;
use crate::steps::{self, Step, scalar};
use quadrille_compiler::ir::Binary;
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use std::ops::Range;

/// Largest block, elements.
const BLOCK: usize = 1024;

/// A binary operation on two streams.
#[derive(Debug)]
pub(crate) struct Join {
    layout: Layout,
    op: PeOp,
    /// The second operand is inverted first.
    divide: bool,
    name: &'static str,
}

impl Join {
    /// For two streams of that order; `None` when the machine has no such operation.
    pub(crate) fn new(b: Binary, order: &Layout) -> Option<Join> {
        let (op, divide) = match b {
            Binary::Add => (PeOp::Add, false),
            Binary::Sub => (PeOp::Sub, false),
            Binary::Mul => (PeOp::Mul, false),
            Binary::Div => (PeOp::Mul, true),
            Binary::Max => (PeOp::Max, false),
            Binary::Min => (PeOp::Min, false),
            _ => return None,
        };
        Some(Join { layout: shared_blocks(order, BLOCK), op, divide, name: b.name() })
    }
}

impl Core for Join {
    fn op(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> String {
        if self.divide { "by reciprocal".to_string() } else { String::new() }
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn joins_branches(&self) -> bool {
        true
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        inputs[0].filter(|_| inputs[0] == inputs[1])
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        let layout = lane_blocks(&Layout::image([n, c, h, columns.len()]), BLOCK);
        Some(Box::new(Join { layout, op: self.op, divide: self.divide, name: self.name }))
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        let layout = lane_blocks(&Layout::image([n, c, rows.len(), w]), BLOCK);
        Some(Box::new(Join { layout, op: self.op, divide: self.divide, name: self.name }))
    }

    fn units(&self) -> usize {
        if self.divide {
            return 1;
        }
        self.layout.loops[self.layout.loops.len() - 2].count
    }

    fn streams_through(&self, steps: &[Step], output: Format) -> bool {
        steps.is_empty() && !self.divide && output.elem == ElemType::F32
    }

    fn unit_name(&self) -> &'static str {
        "rows of a block"
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let loops = &self.layout.loops;
        let (outer, block) = loops.split_at(loops.len() - 2);
        let (all, cols) = (block[0].count, num(block[1].count));
        let units = if self.divide { 0..all } else { cx.units.clone() };
        let rows = num(units.len());
        let repeat = outer.iter().map(|l| l.count).product();
        let (x, y) = (fabric(in_queue(0), ElemType::F32), fabric(in_queue(1), ElemType::F32));
        let whole = units.len() == all;
        let mut body = Vec::new();
        if whole && self.streams_through(cx.steps, cx.output) {
            body.push(op(self.op, rows, cols, to_fabric(super::OUT, ElemType::F32), [x, y, Src::None]));
        } else {
            let z = cx.block(b, units.clone(), 0..block[1].count);
            let at = mem(ElemType::F32, z.base, z.pitch, 1);
            if self.divide {
                body.push(mov(rows, cols, Dst::Mem(at), y));
                body.push(op(PeOp::Recip, rows, cols, Dst::Mem(at), [Src::Mem(at), Src::None, Src::None]));
                body.push(op(self.op, rows, cols, Dst::Mem(at), [x, Src::Mem(at), Src::None]));
            } else {
                // What is for other PEs goes pair by pair, as what is for this one does.
                let drop = |b: &mut Builder, n: usize| {
                    (n > 0).then(|| op(self.op, b.param(n), cols, Dst::None, [x, y, Src::None]))
                };
                body.extend(drop(b, units.start));
                body.push(op(self.op, rows, cols, Dst::Mem(at), [x, y, Src::None]));
                body.extend(drop(b, all - units.end));
            }
            body.extend(steps::emit(cx.steps, b, &z));
            body.extend(cx.send(b, self, &z));
        }
        b.sequence(in_queue(0), vec![("block".to_string(), repeat, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let pairs = inputs[0].iter().zip(inputs[1]);
        pairs
            .map(|(&x, &y)| {
                let y = if self.divide { scalar(PeOp::Recip, y, 0.0, 0.0) } else { y };
                scalar(self.op, x, y, 0.0)
            })
            .collect()
    }
}
