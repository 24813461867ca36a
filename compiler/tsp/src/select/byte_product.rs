//! Products of two computed operands that were bytes, each less a zero point and times a scale: the scores of a quantised attention,
//! and its mix. The bytes are multiplied as they are, four times as fast as halves, and the sums are exact.
//!
//! `sum (a - za) (b - zb)` over the inner axis is a pass of `a` over planes that hold `b`, one of `a` over planes that hold `-zb`, and
//! a row more: that of `-za`, which passes over both like any other. Its sums are the same for all rows of `a`, and the ALUs add them.

use super::elementwise::add_in;
use super::view::{Axis, View};
use super::{LazyIn, MatBlock, Select, Val};
use crate::tiled::{Init, Kind, Pass, Rows, Src, Step};
use crate::unsigned::SHIFT;
use crate::way::{Columns, Held, Inner, ProductWay};
use quadrille_compiler::ir::{Binary, EpilogueStep, Graph, Node, Op, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::{AluOp, AluType};

/// Operations between a byte and a product at most.
const MOST_STEPS: usize = 16;

/// A value that is `(bytes - zero) * scale`, moved.
pub(crate) struct Widened {
    pub(super) bytes: ValueId,
    /// From the value on: the last move first.
    moves: Vec<(Op, Vec<usize>)>,
    zero: i32,
    scale: f32,
}

impl Widened {
    /// The zero point of the bytes as signed ones.
    fn signed_zero(&self, g: &Graph) -> i32 {
        self.zero - if g.ty(self.bytes).dtype == DType::U8 { SHIFT } else { 0 }
    }
}

/// Zero points of the operands of a product of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Zeros {
    pub(super) left: i32,
    pub(super) right: i32,
}

/// The one number of a constant.
fn number(g: &Graph, v: ValueId) -> Option<f32> {
    let t = g.constant(v)?;
    let all = t.as_f32()?;
    let first = *all.first()?;
    (t.dtype == DType::F32 && first.is_finite() && all.iter().all(|x| x.to_bits() == first.to_bits())).then_some(first)
}

/// The bytes behind an operand.
fn widened(g: &Graph, mut v: ValueId) -> Option<Widened> {
    let (mut moves, mut zero, mut scale) = (Vec::new(), None, None);
    for _ in 0..MOST_STEPS {
        let node = g.producer(v)?;
        let inner = *node.inputs.first()?;
        let kept = g.shape(inner) == g.shape(v);
        match &node.op {
            Op::Reshape { .. } | Op::Transpose { .. } => moves.push((node.op.clone(), g.shape(v).to_vec())),
            Op::Binary(Binary::Mul) if kept && scale.is_none() && zero.is_none() => {
                scale = Some(number(g, node.inputs[1])?);
            }
            Op::Binary(b @ (Binary::Add | Binary::Sub)) if kept && zero.is_none() => {
                let x = number(g, node.inputs[1])?;
                let x = if *b == Binary::Sub { x } else { -x };
                zero = Some((x.fract() == 0.0 && x.abs() <= 255.0).then_some(x as i32)?);
            }
            Op::Cast(DType::F32) if matches!(g.ty(inner).dtype, DType::I8 | DType::U8) => {
                let (zero, scale) = (zero.unwrap_or(0), scale.unwrap_or(1.0));
                return Some(Widened { bytes: inner, moves, zero, scale });
            }
            _ => return None,
        }
        v = inner;
    }
    None
}

/// The bytes that both operands of a product were made of, where planes can take them.
pub(crate) fn factors(g: &Graph, node: &Node) -> Option<[Widened; 2]> {
    let Op::MatMul { .. } = &node.op else { return None };
    let [left, right] = [widened(g, node.inputs[0])?, widened(g, node.inputs[1])?];
    let depth = *g.shape(node.inputs[0]).last()?;
    // Weights are signed, those that take the zero point off, too; sums stay within 32 bits.
    let fits = (-127..=128).contains(&right.signed_zero(g)) && depth < 1 << 14;
    fits.then_some([left, right])
}

impl Select<'_> {
    /// The product of the bytes of two computed operands; nothing where there are none, or they lie otherwise.
    pub(super) fn byte_product(&mut self, node: &Node, epilogue: &[EpilogueStep]) -> Option<Val> {
        let [left, right] = factors(self.graph, node)?;
        let (mut x, b) = (self.bytes_of(&left)?, self.bytes_of(&right)?);
        let b = self.signed(b)?;
        let mut zeros = Zeros { left: left.zero, right: right.signed_zero(self.graph) };
        // The row that takes a zero point off holds bytes, too.
        if left.zero > SHIFT {
            (x, zeros.left) = (self.signed(x)?, left.signed_zero(self.graph));
        }
        let way = ProductWay { held: Held::Right, inner: Inner::Whole, columns: Columns::Even, parts: 1 };
        let (base, shared) = self.dynamic_product(node, x, b, way, false, zeros).ok()?;
        let mut lazy = self.sums(node, base);
        if let Some(row) = shared {
            let row = add_in(&mut lazy, LazyIn::View(row));
            lazy.result = lazy.expr.op(AluOp::Add, AluType::I32, lazy.result, row, Src::None);
        }
        let wide = lazy.expr.cast(AluType::I32, AluType::F32, lazy.result);
        lazy.result = lazy.expr.f2(AluOp::Mul, wide, Src::Imm((left.scale * right.scale).to_bits()));
        self.with_epilogue(lazy, node, epilogue, 2).ok()
    }

    fn bytes_of(&mut self, w: &Widened) -> Option<View> {
        let Val::Forms(_) = &self.vals[w.bytes.0 as usize] else { return None };
        let mut v = self.view(w.bytes).ok()?;
        for (op, shape) in w.moves.iter().rev() {
            v = self.changed(&v, op, shape)?;
        }
        Some(v)
    }

    /// Bytes as weights are: `u8` less 128.
    fn signed(&mut self, v: View) -> Option<View> {
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        if info.ty == AluType::I8 {
            return Some(v);
        }
        if info.pixels != 1 || info.weights {
            return None;
        }
        let (rows, lanes) = (info.rows as usize, info.lanes as usize);
        let turned = self.tensor(&info.name, AluType::I8, rows, lanes, Init::Computed);
        self.out.tensors[turned.0 as usize].tail = info.tail ^ SHIFT as u32;
        let all = |tensor| Rows { tensor, rows: (0..info.rows).collect() };
        let step = Step { op: AluOp::Xor, ty: AluType::U8, src: [Src::In(0), Src::Imm(SHIFT as u32), Src::None] };
        let kind = Kind::Map { ins: vec![all(v.tensor)], steps: vec![step], outs: vec![(Src::Op(0), all(turned))] };
        self.kernel(rows, kind);
        Some(View { tensor: turned, ..v })
    }

    /// The sums of a row of `-zero` over the planes of each block, which is a row of the result that lies as `axes` say.
    pub(super) fn zero_rows(&mut self, zero: i32, axes: Vec<Axis>, lane0: i64, blocks: &[(u32, &MatBlock)]) -> View {
        let ty = if -zero > i32::from(i8::MAX) { AluType::U8 } else { AluType::I8 };
        let bytes = vec![(-zero) as u8; self.lanes];
        let row = self.tensor("zero point", ty, 1, self.lanes, Init::Const(bytes.into()));
        let (rows, lanes) = (blocks.iter().map(|b| b.0 + 1).max().unwrap_or(1), Self::reach(&axes, lane0));
        let sums = self.tensor("", AluType::I32, rows as usize, lanes, Init::Computed);
        self.zero_rows.insert(sums);
        for (at, block) in blocks {
            let pass = |p: &Pass| Pass { act: Rows { tensor: row, rows: vec![0] }, ..p.clone() };
            let chains = block.chains.iter().map(|c| c.iter().map(pass).collect()).collect();
            let steps = vec![Step { op: AluOp::Or, ty: AluType::I32, src: [Src::In(0), Src::Imm(0), Src::None] }];
            let outs = vec![(Src::Op(0), Rows { tensor: sums, rows: vec![*at] })];
            self.kernel(1, Kind::MatMul { chains, ins: Vec::new(), steps, outs });
        }
        View { tensor: sums, axes, row0: 0, lane0 }
    }
}
