//! A part of a stream: whole blocks are taken or dropped, and inside a block the elements that
//! stay are picked by the strides of one operand.

use super::{Core, InputUse, LARGE, LaneInput, PeContext, discard, in_queue};
use crate::code::{Builder, fabric, mem, mov, num, to_fabric};
use crate::layout::{Layout, strides};
use quadrille_isa::wafer::{Dst, ElemType, Mem, Src, Val};
use std::ops::Range;

/// A slice; the stream's axes go in `order`.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) shape: Vec<usize>,
    pub(crate) start: Vec<usize>,
    pub(crate) step: Vec<isize>,
    pub(crate) out_shape: Vec<usize>,
    pub(crate) order: Vec<usize>,
    pub(crate) layout: Layout,
}

impl Slice {
    fn is_whole(&self, a: usize) -> bool {
        self.start[a] == 0 && self.out_shape[a] == self.shape[a]
    }

    /// The axes that are n, c, h and w of an image that the stream carries row by row.
    fn image_axes(&self) -> Option<[usize; 4]> {
        match self.order[..] {
            [n, h, c, w] => Some([n, c, h, w]),
            _ => None,
        }
    }

    /// Outer axes (all but the two innermost of the stream).
    fn outer(&self) -> &[usize] {
        &self.order[..self.order.len().saturating_sub(2)]
    }

    /// The same row by row, where a block of the two innermost axes is more than one PE should hold.
    pub(crate) fn in_fitting_blocks(self) -> Slice {
        let inner = self.order.iter().rev().take(2).map(|&a| self.shape[a]).product::<usize>();
        if self.order.len() < 2 || 4 * inner <= LARGE {
            return self;
        }
        let with = |v: &[usize], last: usize| v.iter().copied().chain([last]).collect::<Vec<_>>();
        let (shape, start, out_shape) = (with(&self.shape, 1), with(&self.start, 0), with(&self.out_shape, 1));
        let mut order = self.order.clone();
        order.insert(order.len() - 1, self.shape.len());
        let step = self.step.iter().copied().chain([1]).collect();
        let layout = Layout::axes(&out_shape, &order);
        let rows = Slice { shape, start, step, out_shape, order, layout };
        if rows.obstacle().is_none() { rows } else { self }
    }

    /// Blocks that go together for one index of an outer axis.
    fn blocks_within(&self, a: usize) -> usize {
        self.outer().iter().rev().take_while(|&&b| b != a).map(|&b| self.shape[b]).product()
    }

    /// Why it cannot be done in one kernel, if so.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        let cut: Vec<usize> = self.outer().iter().copied().filter(|&a| !self.is_whole(a)).collect();
        match cut[..] {
            [] => None,
            [a] if self.step[a] == 1 || self.step[a] > 0 && self.blocks_within(a) == 1 => None,
            [_] => Some("it takes reversed blocks of an outer axis, or every k-th of several together"),
            _ => Some("it cuts more than one outer axis of the stream"),
        }
    }
}

impl Core for Slice {
    fn op(&self) -> &'static str {
        "slice"
    }

    fn describe(&self) -> String {
        format!("from {:?} step {:?} shape {:?}", self.start, self.step, self.out_shape)
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn input_use(&self, _: usize) -> InputUse {
        InputUse::Passes
    }

    fn input_run(&self, _: usize) -> usize {
        self.order.last().map_or(1, |&a| self.shape[a])
    }

    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let axes = self.image_axes()?;
        let of = |extents: &[usize]| axes.map(|a| extents[a]);
        (inputs[0] == Some(of(&self.shape)) && self.is_whole(axes[3])).then(|| of(&self.out_shape))
    }

    fn lane(&self, dims: [usize; 4], columns: &Range<usize>, _: &[LaneInput]) -> Option<Box<dyn Core>> {
        let axes = self.image_axes()?;
        let in_order = |v: &[usize]| axes.map(|a| v[a]).to_vec();
        let (mut shape, mut out_shape) = (in_order(&self.shape), dims.to_vec());
        (shape[3], out_shape[3]) = (columns.len(), columns.len());
        let layout = Layout::image([dims[0], dims[1], dims[2], columns.len()]);
        let step = axes.map(|a| self.step[a]).to_vec();
        let order = vec![0, 2, 1, 3];
        Some(Box::new(Slice { shape, start: in_order(&self.start), step, out_shape, order, layout }))
    }

    fn takes_steps(&self) -> bool {
        false
    }

    fn one_task(&self) -> bool {
        false
    }

    fn firings(&self) -> usize {
        let cut = self.outer().iter().position(|&a| !self.is_whole(a));
        cut.map_or(1, |i| self.outer()[..i].iter().map(|&a| self.shape[a]).product())
    }

    fn code(&self, cx: &PeContext<'_>, b: &mut Builder) {
        let (f, out, q) = (cx.inputs[0], cx.output, in_queue(0));
        let n = self.order.len();
        let axis = |i: usize| n.checked_sub(i).map(|k| self.order[k]);
        let part = |a: Option<usize>| {
            a.map_or((1, 0, 1, 1), |a| (self.shape[a], self.start[a], self.step[a], self.out_shape[a]))
        };
        let (c1, s1, t1, o1) = part(axis(2));
        let (_, s0, t0, o0) = part(axis(1));
        let ty = if cx.narrow { ElemType::F16 } else { ElemType::F32 };
        let at = b.zeros(ty, c1 * f.pitch);
        let scratch = b.zeros(f.elem, 1);
        // Runs that end in a pad are put together with it; the pad is a zero of their own buffer.
        let packed = b.zeros(ty, o1 * out.pitch);
        let pick = Mem {
            stride1: Val::Const((t1 * f.pitch as isize) as i32),
            stride0: Val::Const(t0 as i32),
            ..mem(ty, at + ((s1 * f.pitch + s0) as u32) * ty.bytes(), 0, 0)
        };
        let pack = mem(ty, packed, out.pitch, 1);
        let body = vec![
            mov(num(c1), num(f.pitch), Dst::Mem(mem(ty, at, f.pitch, 1)), fabric(q, f.elem)),
            mov(num(o1), num(o0), Dst::Mem(pack), Src::Mem(pick)),
            mov(num(o1), num(out.pitch), to_fabric(super::OUT, out.elem), Src::Mem(pack)),
        ];
        let drop_blocks = |n: usize| discard(q, f, num(n * c1), f.pitch, scratch);
        let drop = || vec![drop_blocks(1)];
        let outer = self.outer();
        let blocks = |axes: &[usize]| axes.iter().map(|&a| self.shape[a]).product::<usize>();
        let parts = match outer.iter().position(|&a| !self.is_whole(a)) {
            None => vec![("block".to_string(), blocks(outer), body)],
            Some(i) => {
                let (a, inner) = (outer[i], self.blocks_within(outer[i]));
                let (start, keep, step) = (self.start[a], self.out_shape[a], self.step[a].unsigned_abs());
                let after = self.shape[a] - start - (keep - 1) * step - 1;
                let mut parts = vec![("before".to_string(), start * inner, drop())];
                if step > 1 {
                    let next = body.iter().cloned().chain([drop_blocks(step - 1)]).collect();
                    parts.push(("blocks".to_string(), keep - 1, next));
                    parts.push(("last".to_string(), 1, body));
                } else {
                    parts.push(("block".to_string(), keep * inner, body));
                }
                parts.push(("after".to_string(), after * inner, drop()));
                parts
            }
        };
        b.sequence(q, parts);
    }

    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let s = strides(&self.shape);
        let total: usize = self.out_shape.iter().product();
        let os = strides(&self.out_shape);
        (0..total)
            .map(|ix| {
                let at: isize = (0..os.len())
                    .map(|a| {
                        let d = (ix / os[a]) % self.out_shape[a];
                        (self.start[a] as isize + d as isize * self.step[a]) * s[a] as isize
                    })
                    .sum();
                inputs[0][at as usize]
            })
            .collect()
    }
}
