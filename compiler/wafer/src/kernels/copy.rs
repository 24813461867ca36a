//! Elementwise work on one stream, in the stream's own order: blocks go into SRAM, the steps
//! run over them, blocks go out; PEs share the rows of a block. Without steps it is a copy or a cast from port to port.

use super::{BandInput, Core, Format, InputUse, LaneInput, PeContext, in_queue, lane_blocks, shared_blocks};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::Layout;
use crate::steps::{self, Step};
use quadrille_isa::wafer::{Dst, ElemType, VecOp};
use std::ops::Range;

/// Largest block, elements: a few registers of it fit beside tables.
const BLOCK: usize = 1024;

/// A copy with steps.
#[derive(Debug)]
pub(crate) struct Copy {
    layout: Layout,
}

impl Copy {
    /// For a stream of that order.
    pub(crate) fn new(order: &Layout) -> Copy {
        Copy { layout: shared_blocks(order, BLOCK) }
    }

    /// The same in one block a pass over the two innermost loops: each PE holds constants of its own rows only.
    pub(crate) fn in_large_blocks(order: &Layout) -> Copy {
        // Blocks that follow each other are one.
        let (rows, run) = order.loops.split_at(order.loops.len().saturating_sub(1));
        let mut loops = Layout { loops: rows.to_vec() }.normalized();
        loops.extend(run);
        Copy { layout: shared_blocks(&Layout { loops }, order.elements().max(1)) }
    }
}

impl Core for Copy {
    fn op(&self) -> &'static str {
        "map"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        inputs[0]
    }

    fn lane(&self, [n, c, h, _]: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        Some(Box::new(Copy { layout: lane_blocks(&Layout::image([n, c, h, columns.len()]), BLOCK) }))
    }

    fn band(&self, [n, c, _, w]: [usize; 4], rows: &Range<usize>, _: bool, _: &[BandInput]) -> Option<Box<dyn Core>> {
        Some(Box::new(Copy { layout: lane_blocks(&Layout::image([n, c, rows.len(), w]), BLOCK) }))
    }

    fn units(&self) -> usize {
        self.layout.loops[self.layout.loops.len() - 2].count
    }

    fn streams_through(&self, steps: &[Step], _: Format) -> bool {
        steps.is_empty()
    }

    fn unit_name(&self) -> &'static str {
        "rows of a block"
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let loops = &self.layout.loops;
        let (outer, block) = loops.split_at(loops.len() - 2);
        let (rows, cols) = (block[0].count, block[1].count);
        let repeat = outer.iter().map(|l| l.count).product();
        let (f, q, own) = (cx.inputs[0], in_queue(0), cx.units.len());
        let body = if cx.steps.is_empty() && f == cx.output && own == rows {
            vec![mov(num(rows), num(f.pitch), to_fabric(super::OUT, f.elem), fabric(q, f.elem))]
        } else {
            let mut x = cx.block(b, cx.units.clone(), 0..cols);
            if f.pitch > x.pitch {
                x.pitch = f.pitch;
                x.base = b.zeros(ElemType::F32, own * x.pitch);
            }
            let into = Dst::Mem(mem(ElemType::F32, x.base, x.pitch, 1));
            let drop = |b: &mut Builder, n: usize| {
                (n > 0).then(|| mov(b.param(n), num(f.pitch), Dst::None, fabric(q, f.elem)))
            };
            let mut ops: Vec<VecOp> = drop(b, cx.units.start).into_iter().collect();
            ops.push(mov(num(own), num(f.pitch), into, fabric(q, f.elem)));
            ops.extend(drop(b, rows - cx.units.end));
            ops.extend(steps::emit(cx.steps, b, &x));
            ops.extend(cx.send(b, self, &x));
            ops
        };
        b.sequence(q, vec![("block".to_string(), repeat, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        inputs[0].to_vec()
    }
}
