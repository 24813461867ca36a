//! Sum, mean, maximum and minimum over the pixels of each channel of an image, or over whole
//! rows. Order of a sum: zero, then image rows, inside a row the columns ascending.

use super::{Core, Format, InputUse, Parts, PeContext, Total, discard, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, scalar};
use quadrille_isa::numerics::recip_f32;
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};

/// What is taken of the elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReduceKind {
    Sum,
    Mean,
    Max,
    Min,
}

/// Of an (n, c, h, w) image stream to (n, c).
#[derive(Debug)]
pub(crate) struct Reduce {
    kind: ReduceKind,
    n: usize,
    c: usize,
    h: usize,
    w: usize,
    layout: Layout,
}

impl Reduce {
    /// Over h and w.
    pub(crate) fn new(kind: ReduceKind, [n, c, h, w]: [usize; 4]) -> Reduce {
        Reduce { kind, n, c, h, w, layout: Layout::new(&[(n, c), (1, 0), (c, 1)]) }
    }

    fn start(&self) -> (PeOp, f32) {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => (PeOp::Add, 0.0),
            ReduceKind::Max => (PeOp::Max, f32::NEG_INFINITY),
            ReduceKind::Min => (PeOp::Min, f32::INFINITY),
        }
    }

    fn scale(&self) -> Option<f32> {
        (self.kind == ReduceKind::Mean).then(|| recip_f32((self.h * self.w) as f32))
    }
}

impl Core for Reduce {
    fn op(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Mean => "reduce_mean",
            ReduceKind::Max => "reduce_max",
            ReduceKind::Min => "reduce_min",
        }
    }

    fn describe(&self) -> String {
        format!("over {}x{}; order: rows, columns", self.h, self.w)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn input_run(&self, _: usize) -> usize {
        self.w
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        (inputs[0] == Some([self.n, self.c, self.h, self.w])).then_some([self.n, self.c, 1, 1])
    }

    fn in_parts(&self, parts: &[[usize; 2]]) -> Option<Parts> {
        let kind = if self.kind == ReduceKind::Mean { ReduceKind::Sum } else { self.kind };
        let lane = |&[h, w]: &[usize; 2]| -> Box<dyn Core> { Box::new(Reduce::new(kind, [self.n, self.c, h, w])) };
        let (n, c, (op, _), scale) = (self.n, self.c, self.start(), self.scale());
        let layout = self.layout.clone();
        Some(Parts {
            lanes: parts.iter().map(lane).collect(),
            join: Box::new(move |inputs, last| {
                Box::new(Total { op, n, c, inputs, scale: scale.filter(|_| last), layout: layout.clone() })
            }),
        })
    }

    fn lead(&self, _: usize) -> f64 {
        1.0
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        self.n
    }

    fn units(&self) -> usize {
        self.c
    }

    fn splits_columns(&self) -> bool {
        true
    }

    fn unit_name(&self) -> &'static str {
        "channels"
    }

    fn allows(&self, per: usize, output: Format) -> bool {
        super::shares_start_on_wavelets(self.c, per, output)
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (join, start) = self.start();
        let (f, q, own) = (cx.inputs[0], in_queue(0), cx.units.len());
        let x = b.zeros(ElemType::F32, own * self.w);
        let acc = cx.block(b, 0..1, cx.units.clone());
        let scratch = b.zeros(f.elem, 1);
        let all = mem(ElemType::F32, acc.base, 0, 1);
        let each = Dst::Mem(mem(ElemType::F32, acc.base, 1, 0));
        let each_src = Src::Mem(mem(ElemType::F32, acc.base, 1, 0));
        let row = mem(ElemType::F32, x, self.w, 1);
        let begin = vec![mov(num(1), num(own), Dst::Mem(all), imm(start))];
        let mut rows = Vec::new();
        let drop = |b: &mut Builder, rows: &mut Vec<_>, channels: usize| {
            if channels > 0 {
                rows.push(discard(q, f, b.param(channels), self.w, scratch));
            }
        };
        drop(b, &mut rows, cx.units.start);
        rows.push(mov(num(own), num(self.w), Dst::Mem(row), fabric(q, f.elem)));
        drop(b, &mut rows, self.c - cx.units.end);
        rows.push(op(join, num(own), num(self.w), each, [each_src, Src::Mem(row), Src::None]));
        let mut end = Vec::new();
        if let Some(s) = self.scale() {
            end.push(op(PeOp::Mul, num(1), num(own), Dst::Mem(all), [Src::Mem(all), imm(s), Src::None]));
        }
        end.extend(steps::emit(cx.steps, b, &acc));
        end.extend(cx.send(b, self, &acc));
        b.sequence(
            q,
            vec![("begin".to_string(), 1, begin), ("rows".to_string(), self.h, rows), ("end".to_string(), 1, end)],
        );
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (join, start) = self.start();
        let each = inputs[0].chunks((self.h * self.w).max(1)).map(|x| {
            let v = x.iter().fold(start, |a, &v| scalar(join, a, v, 0.0));
            self.scale().map_or(v, |s| scalar(PeOp::Mul, v, s, 0.0))
        });
        each.collect()
    }
}
