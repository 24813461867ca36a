//! Vectors of one value a channel, from several streams, as one: what lanes of an image reduced of their columns.
//! Order of a sum: the lanes from left to right.

use super::{Core, Format, InputUse, PeContext, discard, in_queue};
use crate::code::{Builder, fabric, imm, mem, mov, num, op};
use crate::layout::Layout;
use crate::steps::{self, scalar};
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};

/// Of `inputs` streams of (n, c) to one.
#[derive(Debug)]
pub(crate) struct Total {
    pub(crate) op: PeOp,
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) inputs: usize,
    /// What the total is multiplied by.
    pub(crate) scale: Option<f32>,
    pub(crate) layout: Layout,
}

impl Core for Total {
    fn op(&self) -> &'static str {
        "total"
    }

    fn describe(&self) -> String {
        format!("of {} lanes", self.inputs)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Exact
    }

    fn one_task(&self) -> bool {
        false
    }

    fn splits_columns(&self) -> bool {
        true
    }

    fn units(&self) -> usize {
        self.c
    }

    fn unit_name(&self) -> &'static str {
        "channels"
    }

    fn allows(&self, per: usize, output: Format) -> bool {
        super::shares_start_on_wavelets(self.c, per, output)
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let own = cx.units.len();
        let acc = cx.block(b, 0..1, cx.units.clone());
        let scratch = b.zeros(ElemType::F32, 1);
        let all = mem(ElemType::F32, acc.base, 0, 1);
        let (n1, n0) = (num(1), num(own));
        let from = |i: usize| fabric(in_queue(i), ElemType::F32);
        let mut body = Vec::new();
        for i in 0..self.inputs {
            let drop = |b: &mut Builder, channels: usize| {
                (channels > 0).then(|| discard(in_queue(i), cx.inputs[i], b.param(channels), 1, scratch))
            };
            let (before, behind) = (drop(b, cx.units.start), drop(b, self.c - cx.units.end));
            body.extend(before);
            body.push(match i {
                0 => mov(n1, n0, Dst::Mem(all), from(0)),
                _ => op(self.op, n1, n0, Dst::Mem(all), [Src::Mem(all), from(i), Src::None]),
            });
            body.extend(behind);
        }
        body.extend(self.scale.map(|s| op(PeOp::Mul, n1, n0, Dst::Mem(all), [Src::Mem(all), imm(s), Src::None])));
        body.extend(steps::emit(cx.steps, b, &acc));
        body.extend(cx.send(b, self, &acc));
        b.sequence(in_queue(0), vec![("image".to_string(), self.n, body)]);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let value = |i: usize| {
            let sum = inputs[1..].iter().fold(inputs[0][i], |a, x| scalar(self.op, a, x[i], 0.0));
            self.scale.map_or(sum, |s| scalar(PeOp::Mul, sum, s, 0.0))
        };
        (0..self.n * self.c).map(value).collect()
    }
}
