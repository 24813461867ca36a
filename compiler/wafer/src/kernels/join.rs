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
    how: How,
}

/// What it does with a pair.
#[derive(Clone, Copy, Debug)]
struct How {
    op: PeOp,
    /// The second operand is inverted first.
    divide: bool,
    /// The factor of the first operand of an `fma`.
    factor: Option<f32>,
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
        Some(Join::of(How { op, divide, factor: None, name: b.name() }, order))
    }

    /// `x * factor + y`.
    pub(crate) fn scaled(factor: f32, order: &Layout) -> Join {
        Join::of(How { op: PeOp::Fma, divide: false, factor: Some(factor), name: "fma" }, order)
    }

    fn of(how: How, order: &Layout) -> Join {
        Join { layout: shared_blocks(order, BLOCK), how }
    }

    /// The operation on a pair.
    fn operands(&self, x: Src, y: Src) -> [Src; 3] {
        match self.how.factor {
            Some(f) => [x, Src::Imm(f.to_bits(), ElemType::F32), y],
            None => [x, y, Src::None],
        }
    }
}

impl Core for Join {
    fn op(&self) -> &'static str {
        self.how.name
    }

    fn describe(&self) -> String {
        match self.how {
            How { divide: true, .. } => "by reciprocal".to_string(),
            How { factor: Some(f), .. } => format!("first times {f:e}"),
            _ => String::new(),
        }
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn takes_f16(&self) -> bool {
        !self.how.divide
    }

    fn joins_branches(&self) -> bool {
        true
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        inputs[0].filter(|_| inputs[0] == inputs[1])
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        let layout = lane_blocks(&Layout::image([n, c, h, columns.len()]), BLOCK);
        Some(Box::new(Join { layout, how: self.how }))
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        let layout = lane_blocks(&Layout::image([n, c, rows.len(), w]), BLOCK);
        Some(Box::new(Join { layout, how: self.how }))
    }

    fn units(&self) -> usize {
        if self.how.divide {
            return 1;
        }
        self.layout.loops[self.layout.loops.len() - 2].count
    }

    fn streams_through(&self, steps: &[Step], output: Format) -> bool {
        steps.is_empty() && !self.how.divide && output.elem == ElemType::F32
    }

    fn unit_name(&self) -> &'static str {
        "rows of a block"
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let loops = &self.layout.loops;
        let (outer, block) = loops.split_at(loops.len() - 2);
        let (all, cols) = (block[0].count, num(block[1].count));
        let units = if self.how.divide { 0..all } else { cx.units.clone() };
        let rows = num(units.len());
        let repeat = outer.iter().map(|l| l.count).product();
        let [x, y] = [0, 1].map(|i| fabric(in_queue(i), cx.inputs[i].elem));
        let whole = units.len() == all;
        let mut body = Vec::new();
        if whole && self.streams_through(cx.steps, cx.output) {
            body.push(op(self.how.op, rows, cols, to_fabric(super::OUT, ElemType::F32), self.operands(x, y)));
        } else {
            let z = cx.block(b, units.clone(), 0..block[1].count);
            let at = mem(ElemType::F32, z.base, z.pitch, 1);
            if self.how.divide {
                body.push(mov(rows, cols, Dst::Mem(at), y));
                body.push(op(PeOp::Recip, rows, cols, Dst::Mem(at), [Src::Mem(at), Src::None, Src::None]));
                body.push(op(self.how.op, rows, cols, Dst::Mem(at), [x, Src::Mem(at), Src::None]));
            } else {
                // What is for other PEs goes pair by pair, as what is for this one does.
                let drop = |b: &mut Builder, n: usize| {
                    (n > 0).then(|| op(self.how.op, b.param(n), cols, Dst::None, self.operands(x, y)))
                };
                body.extend(drop(b, units.start));
                body.push(op(self.how.op, rows, cols, Dst::Mem(at), self.operands(x, y)));
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
                let y = if self.how.divide { scalar(PeOp::Recip, y, 0.0, 0.0) } else { y };
                match self.how.factor {
                    Some(f) => scalar(self.how.op, x, f, y),
                    None => scalar(self.how.op, x, y, 0.0),
                }
            })
            .collect()
    }
}
