//! What quantisation looks like in primitives: `(q - zero) * scale`, and its inverse with saturation.

use crate::ir::{Binary, DType, Graph, Node, Op, Tensor, Unary, ValueId};

/// A float value that is `(q - zero) * scale`; both parameters broadcast against `q`.
#[derive(Clone, Debug)]
pub(super) struct Dequantised {
    /// Of the old graph.
    pub(super) q: ValueId,
    pub(super) dtype: DType,
    pub(super) scales: Tensor,
    /// As `f32`; `None` is zero.
    pub(super) zeros: Option<Tensor>,
}

impl Dequantised {
    /// The scale, when there is one.
    pub(super) fn scale(&self) -> Option<f64> {
        single(&self.scales)
    }

    /// The zero point, when there is one.
    pub(super) fn zero(&self) -> Option<i32> {
        self.zeros.as_ref().map_or(Some(0), |z| single(z).map(|z| z as i32))
    }
}

/// The element of a tensor of equal positive finite or zero elements.
pub(super) fn single(t: &Tensor) -> Option<f64> {
    let v = t.as_f32()?;
    let first = *v.first()?;
    (first.is_finite() && v.iter().all(|x| x.to_bits() == first.to_bits())).then_some(f64::from(first))
}

/// Recognises `cast(q) * scale` and `(cast(q) - zero) * scale`.
pub(super) fn dequantised(g: &Graph, v: ValueId) -> Option<Dequantised> {
    let node = g.producer(v).filter(|n| n.op == Op::Binary(Binary::Mul))?;
    let scales = g.constant(node.inputs[1]).filter(|t| t.dtype == DType::F32)?;
    if g.shape(v) != g.shape(node.inputs[0]) {
        return None;
    }
    let mut inner = g.producer(node.inputs[0])?;
    let mut zeros = None;
    if inner.op == Op::Binary(Binary::Sub) {
        zeros = Some(g.constant(inner.inputs[1]).filter(|t| t.dtype == DType::F32)?.clone());
        inner = g.producer(inner.inputs[0])?;
    }
    let q = inner.inputs.first().copied().filter(|_| inner.op == Op::Cast(DType::F32))?;
    let dtype = g.ty(q).dtype;
    if !matches!(dtype, DType::I8 | DType::U8 | DType::I32) || g.shape(q) != g.shape(v) {
        return None;
    }
    Some(Dequantised { q, dtype, scales: scales.clone(), zeros })
}

/// How a float becomes an integer: `clamp(rne(x / scale) + zero, low, high)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) dtype: DType,
    pub(super) scale: f64,
    pub(super) zero: i32,
    /// Bounds of the result, within the type.
    pub(super) low: i32,
    pub(super) high: i32,
}

/// Least and greatest value of `i8` or `u8`.
pub(in crate::passes) fn range(dtype: DType) -> (i32, i32) {
    if dtype == DType::U8 { (0, 255) } else { (-128, 127) }
}

impl Target {
    /// Where a float lands.
    fn of(&self, x: f64) -> i32 {
        let q = ((x as f32) / (self.scale as f32)).round_ties_even() + self.zero as f32;
        let (low, high) = range(self.dtype);
        q.clamp(low as f32, high as f32) as i32
    }

    pub(super) fn at_least(self, x: f64) -> Target {
        let low = self.of(x).max(self.low);
        Target { low, high: self.high.max(low), ..self }
    }

    pub(super) fn at_most(self, x: f64) -> Target {
        let high = self.of(x).min(self.high);
        Target { high, low: self.low.min(high), ..self }
    }

    /// True when nothing but the type bounds the result.
    pub(super) fn is_full(&self) -> bool {
        (self.low, self.high) == range(self.dtype)
    }
}

/// The operand and the target of a quantisation that ends at `node`.
pub(super) fn quantise(g: &Graph, node: &Node) -> Option<(ValueId, Target)> {
    let Op::Cast(dtype @ (DType::I8 | DType::U8)) = node.op else { return None };
    let (low, high) = range(dtype);
    let bounded = |v: ValueId, b: Binary, want: i32| {
        let n = g.producer(v).filter(|n| n.op == Op::Binary(b))?;
        (constant(g, n.inputs[1])? == f64::from(want)).then_some(n.inputs[0])
    };
    let v = bounded(node.inputs[0], Binary::Min, high)?;
    let v = bounded(v, Binary::Max, low)?;
    let mut n = g.producer(v)?;
    let mut zero = 0;
    if n.op == Op::Binary(Binary::Add) {
        zero = constant(g, n.inputs[1]).filter(|z| z.fract() == 0.0 && (low..=high).contains(&(*z as i32)))? as i32;
        n = g.producer(n.inputs[0])?;
    }
    let n = (n.op == Op::Unary(Unary::Round)).then(|| g.producer(n.inputs[0])).flatten()?;
    if n.op != Op::Binary(Binary::Div) || g.shape(n.inputs[0]) != g.shape(node.output) {
        return None;
    }
    let scale = constant(g, n.inputs[1]).filter(|s| s.is_normal() && *s > 0.0)?;
    Some((n.inputs[0], Target { dtype, scale, zero, low, high }))
}

/// The one value of an `f32` constant.
fn constant(g: &Graph, v: ValueId) -> Option<f64> {
    g.constant(v).and_then(single)
}
