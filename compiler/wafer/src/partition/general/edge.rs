//! The PEs at which other types than f32 enter and leave: there elements change from the bits
//! of their type to a lane, and back. Constants that are outputs start from such a PE, too.

use super::super::{Obstacle, Partitioner, Source, torn};
use super::asm::{A, Asm, T};
use super::{constant_bits, general};
use crate::kernels::general::{Input, Lowered};
use crate::lane::{is_plain, lane, raw};
use crate::layout::Layout;
use crate::streams::{Operand, StreamId};
use quadrille_compiler::ir::DType;
use quadrille_isa::wafer::{ElemType, PeOp};

/// Elements a round.
const CHUNK: usize = 1024;

/// Rounds and elements of each; 16-bit types must fill their wavelets.
fn rounds(n: usize) -> (usize, usize) {
    if n <= CHUNK {
        return (1, n);
    }
    let chunk = (1..=CHUNK).rev().find(|c| n.is_multiple_of(*c) && c.is_multiple_of(2));
    match chunk {
        Some(c) if c >= 16 => (n / c, c),
        _ => (1, n),
    }
}

fn program(asm: Asm) -> Result<Lowered, Obstacle> {
    let too_long = || Obstacle::new("a conversion at the edge is too long", "report this as a bug of the compiler");
    asm.prog.lower(256).ok_or_else(too_long)
}

impl Asm {
    /// Bits of the edge to a lane.
    fn enter(&mut self, x: &T, d: DType) -> T {
        let t = self.fresh(d, &x.dims);
        self.copy(&t, x);
        if d == DType::U16 {
            let neg = self.make(DType::F32, &x.dims, PeOp::CmpLt, &[A::T(&t), A::F(0.0)]);
            self.to(&t, PeOp::Fma, &[A::T(&neg), A::F(65536.0), A::T(&t)]);
        }
        t
    }

    /// A lane to the bits of the edge.
    fn leave(&mut self, x: &T, d: DType) -> T {
        let (ty, words) = raw(d);
        let n = x.len();
        if words == 2 {
            let t = self.fresh_as(ty, d, &[n, 2]);
            self.copy(&t.at(1, 0), x);
            let high = t.at(1, 1);
            if d == DType::I64 {
                self.to(&high, PeOp::CmpLt, &[A::T(x), A::I(0)]);
                self.to(&high, PeOp::Sub, &[A::I(0), A::T(&high)]);
            }
            return t;
        }
        let mut x = x.clone();
        if d == DType::U16 {
            let high = self.make(DType::F32, &x.dims, PeOp::CmpLt, &[A::F(32767.5), A::T(&x)]);
            x = self.make(DType::F32, &x.dims.clone(), PeOp::Fma, &[A::T(&high), A::F(-65536.0), A::T(&x)]);
        }
        let t = self.fresh_as(ty, d, &x.dims);
        self.copy(&t, &x);
        t
    }
}

impl Partitioner<'_> {
    /// An input of the model that does not cross the edge as it is used: the PE that converts it.
    pub(in super::super) fn enter(
        &mut self,
        raw_stream: StreamId,
        name: &str,
        d: DType,
        shape: &[usize],
    ) -> Result<StreamId, Obstacle> {
        if lane(d).is_none() {
            return Err(Obstacle::new(
                format!("an input of {d} has no lane on the PEs"),
                "convert the model to float32",
            ));
        }
        let n: usize = shape.iter().product();
        let (rounds, len) = rounds(n);
        let (ty, words) = raw(d);
        let mut asm = Asm::default();
        let x = asm.fresh_as(ty, d, &[len]);
        let value = if words == 2 { x.clone() } else { asm.enter(&x, d) };
        let layout = if rounds > 1 { Layout::new(&[(rounds, len), (len, 1)]) } else { Layout::new(&[(n, 1)]) };
        let order = Layout::row_major(&[len]);
        let input = Input { buf: x.view.buf, ty, words, order, once: false, len, turn: 0 };
        let kernel = general("enter", program(asm)?, vec![input], Vec::new(), &value, len, rounds, shape);
        let s = &mut self.out.streams[raw_stream.0];
        (s.layout, s.fixed) = (Some(layout.clone()), Some(ty));
        let operand = Operand { stream: raw_stream, layout };
        let elem = value.elem();
        let (_, id) = self.out.add_kernel(name, Box::new(kernel), vec![operand], shape.to_vec());
        self.out.streams[id.0].fixed = Some(elem);
        Ok(id)
    }

    /// The stream that leaves as an output of another type than f32, or as a constant.
    pub(in super::super) fn leave(
        &mut self,
        source: &Source,
        name: &str,
        d: DType,
        shape: &[usize],
    ) -> Result<StreamId, Obstacle> {
        let n: usize = shape.iter().product();
        let mut asm = Asm::default();
        let (inputs, operands, x, rounds, len) = match source {
            Source::Constant(t) => {
                let bits = constant_bits(t, d)?;
                (Vec::new(), Vec::new(), asm.constant(d, &[n], bits), 1, n)
            }
            Source::Stream { id, views, .. } => {
                self.settle(*id, views, shape);
                let at = self.order_of(*id, views).ok_or_else(torn)?;
                let (mut rounds, mut len) = rounds(n);
                let mut order = at.clone();
                match super::slice_order(&at, rounds, len) {
                    Some(o) if rounds > 1 => order = o,
                    _ => (rounds, len) = (1, n),
                }
                let x = asm.fresh(d, &[len]);
                let buf = x.view.buf;
                let input = Input { buf, ty: x.elem(), words: 1, order, once: false, len, turn: 0 };
                (vec![input], vec![Operand { stream: *id, layout: at }], x, rounds, len)
            }
        };
        let value = if is_plain(d) { x } else { asm.leave(&x, d) };
        let mut kernel = general("leave", program(asm)?, inputs, Vec::new(), &value, len, rounds, shape);
        kernel.output.2 = raw(d).1;
        let elem: ElemType = value.elem();
        let (_, id) = self.out.add_kernel(name, Box::new(kernel), operands, shape.to_vec());
        self.out.streams[id.0].fixed = Some(elem);
        Ok(id)
    }
}
