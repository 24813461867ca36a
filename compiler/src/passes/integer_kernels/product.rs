//! Convolutions and matrix products of dequantised operands.

use super::constants::{i32_tensor, integers, narrow};
use super::recognise::{Target, dequantised, quantise};
use super::{Islands, Made, Quant};
use crate::ir::builder::{Rebuild, scalar};
use crate::ir::{Binary, DType, Node, Op, PadMode, Tensor, TypeError, ValueId};

/// An `i32` sum of the new graph and the factor that makes it a real number.
pub(super) struct Sum {
    /// `acc + bias`.
    pub(super) acc: ValueId,
    /// Real value of one, for each channel.
    pub(super) scales: Vec<f64>,
    /// Shape in which the scales broadcast against the sum.
    pub(super) shape: Vec<usize>,
    /// Where the product was quantised before its bias: what it can be at least and at most, with the bias.
    pub(super) bounds: Option<(f64, f64)>,
}

impl Sum {
    /// `f32(acc) `, and the constant `m = scale / target`.
    pub(super) fn scaled(
        &self,
        r: &mut Rebuild<'_>,
        target: f64,
        node: &Node,
    ) -> Result<(ValueId, ValueId), TypeError> {
        let wide = r.add(Op::Cast(DType::F32), &[self.acc], node)?;
        let factors: Vec<f32> = self.scales.iter().map(|s| (s / target) as f32).collect();
        let same = factors.iter().all(|f| f.to_bits() == factors[0].to_bits());
        let m = if same { scalar(DType::F32, f64::from(factors[0])) } else { Tensor::from_f32(&self.shape, &factors) };
        Ok((wide, r.constant("", m)))
    }
}

impl Islands<'_> {
    /// A product (with bias) of a dequantised activation and dequantised weights, quantised.
    pub(super) fn product(&self, r: &mut Rebuild<'_>, x: ValueId, t: Target) -> Made<ValueId> {
        let Some((sum, node)) = self.sum_of_products(r, x)? else { return Ok(None) };
        let (wide, m) = sum.scaled(r, t.scale, node)?;
        let v = r.add(Op::Binary(Binary::Mul), &[wide, m], node)?;
        self.rounded(r, v, t, node).map(Some)
    }

    /// A product of a dequantised activation and dequantised weights that stays a float, as gates of recurrent cells do:
    /// the integer sum, scaled. A bias goes with it where the product alone was quantised before.
    pub(super) fn float_product(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<ValueId> {
        let product = matches!(node.op, Op::Conv { .. } | Op::MatMul { .. });
        let sum = node.op == Op::Binary(Binary::Add)
            && node.inputs.iter().any(|&v| self.quantised_product(v).is_some())
            && node.inputs.iter().any(|&v| self.constant(v).is_some());
        if !(product || sum) || self.old.ty(node.output).dtype != DType::F32 {
            return Ok(None);
        }
        let output = node.output;
        let Some((sum, node)) = self.sum_of_products(r, output)? else { return Ok(None) };
        let (wide, m) = sum.scaled(r, 1.0, node)?;
        let mut y = r.add(Op::Binary(Binary::Mul), &[wide, m], node)?;
        // What follows otherwise, a norm, may ask what range it has.
        if let Some((low, high)) = sum.bounds.filter(|_| self.only_summed[output.0 as usize]) {
            for (op, bound) in [(Binary::Max, low), (Binary::Min, high)] {
                let c = r.constant("", scalar(DType::F32, bound));
                y = r.add(Op::Binary(op), &[y, c], node)?;
            }
        }
        Ok(Some(y))
    }

    /// What is quantised and dequantised on its way and used here alone, and how it was quantised.
    fn behind(&self, x: ValueId) -> Option<(ValueId, Target)> {
        let d = dequantised(self.old, x)?;
        let single = self.uses[x.0 as usize] == 1 && self.uses[d.q.0 as usize] == 1;
        let (inner, t) = self.old.producer(d.q).and_then(|n| quantise(self.old, n))?;
        let own = d.scale() == Some(t.scale) && d.zero() == Some(t.zero);
        (single && own && t.is_full()).then_some((inner, t))
    }

    fn is_product(&self, v: ValueId) -> bool {
        self.old.producer(v).is_some_and(|n| matches!(n.op, Op::Conv { .. } | Op::MatMul { .. }))
    }

    /// The product behind such a value.
    fn quantised_product(&self, x: ValueId) -> Option<(ValueId, Target)> {
        self.behind(x).filter(|(inner, _)| self.is_product(*inner))
    }

    /// The sum of products behind a value that is quantised and dequantised on its way and used here alone.
    pub(super) fn product_behind(&self, r: &mut Rebuild<'_>, x: ValueId) -> Made<Sum> {
        let Some((inner, _)) = self.behind(x) else { return Ok(None) };
        Ok(self.sum_of_products(r, inner)?.map(|(s, _)| s))
    }

    /// `conv(x, w) + bias` in `i32`. The product's own rounding in front of the bias is dropped.
    fn sum_of_products(&self, r: &mut Rebuild<'_>, x: ValueId) -> Made<(Sum, &Node)> {
        let (core, bias) = match self.old.producer(x) {
            Some(n) if n.op == Op::Binary(Binary::Add) => {
                let (a, b) = (n.inputs[0], n.inputs[1]);
                let first = self.is_product(a) || self.quantised_product(a).is_some();
                if first { (a, Some(b)) } else { (b, Some(a)) }
            }
            _ => (x, None),
        };
        let (core, own) = match self.quantised_product(core).filter(|_| bias.is_some()) {
            Some((inner, t)) => (inner, Some(t)),
            None => (core, None),
        };
        let Some(node) = self.old.producer(core) else { return Ok(None) };
        if bias.is_some() && (self.uses[core.0 as usize] != 1 || self.old.shape(core) != self.old.shape(x)) {
            return Ok(None);
        }
        let conv = match &node.op {
            Op::Conv { epilogue, .. } if epilogue.is_empty() => true,
            Op::MatMul { epilogue } if epilogue.is_empty() => false,
            _ => return Ok(None),
        };
        let Some(w) = self.weights(node.inputs[1]) else { return Ok(None) };
        let channel_axis = if conv { 0 } else { w.q.shape.len() - 1 };
        let channels = w.q.shape[channel_axis];
        // One scale an output channel.
        let per = w.scales.shape.iter().enumerate().all(|(i, &d)| d == 1 || i == channel_axis);
        let (Some(scales), true) = (w.scales.as_f32(), per) else { return Ok(None) };
        let sums = column_sums(&w.q, channel_axis);
        let depth = w.q.len() / channels.max(1);
        let flat = w.q.shape.iter().enumerate().all(|(i, &d)| conv || i + 2 >= w.q.shape.len() || d == 1);
        if w.q.is_empty() || !flat {
            return Ok(None);
        }
        let Some(a) = self.activation(r, node.inputs[0], 0)? else { return Ok(None) };
        let scales: Vec<f64> =
            (0..channels).map(|c| a.scale * f64::from(scales[if scales.len() == 1 { 0 } else { c }])).collect();
        let mut shape = vec![channels];
        if conv {
            shape.extend(vec![1; w.q.shape.len() - 2]);
        }
        let mut offsets = vec![0f64; channels];
        let mut bounds = None;
        if let Some(bias) = bias {
            let Some(values) = self.per_channel(bias, &shape, self.old.ty(x).rank()) else { return Ok(None) };
            bounds = own.map(|t| with_bias(t, &values));
            for (o, (b, s)) in offsets.iter_mut().zip(values.iter().zip(&scales)) {
                *o = (f64::from(*b) / s).round_ties_even();
            }
        }
        for (o, s) in offsets.iter_mut().zip(&sums) {
            *o -= f64::from(a.zero) * f64::from(*s);
        }
        // Every partial sum stays within 32 bits.
        let most = offsets.iter().fold(0f64, |m, o| m.max(o.abs()));
        if most.is_nan() || most + depth as f64 * 255.0 * 128.0 >= f64::from(i32::MAX) {
            return Ok(None);
        }
        let acc = self.integer_core(r, node, a, w.q)?;
        let acc = if offsets.iter().all(|o| *o == 0.0) {
            acc
        } else {
            let values: Vec<i32> = offsets.iter().map(|o| *o as i32).collect();
            let bias = r.constant("", i32_tensor(shape.clone(), &values));
            r.add(Op::Binary(Binary::Add), &[acc, bias], node)?
        };
        Ok(Some((Sum { acc, scales, shape, bounds }, node)))
    }

    /// The node's product on integers; padding is with the zero point.
    fn integer_core(&self, r: &mut Rebuild<'_>, node: &Node, a: Quant, w: Tensor) -> Result<ValueId, TypeError> {
        let name = self.old.value(node.inputs[1]).name.clone();
        let w = r.constant(name, w);
        let (mut q, mut op) = (a.q, node.op.clone());
        if let Op::Conv { window, .. } = &mut op
            && a.zero != 0
            && window.before.iter().chain(&window.after).any(|&p| p > 0)
        {
            let mut around = [vec![0isize; 2], vec![0isize; 2]];
            around[0].extend(window.before.iter().map(|&p| p as isize));
            around[1].extend(window.after.iter().map(|&p| p as isize));
            window.before.fill(0);
            window.after.fill(0);
            let [before, after] = around;
            let fill = r.constant("", scalar(a.dtype, f64::from(a.zero)));
            q = r.add(Op::Pad { mode: PadMode::Constant, before, after }, &[q, fill], node)?;
        }
        r.add(op, &[q, w], node)
    }

    /// The elements of a constant that has one a channel, in the trailing axes `shape` (or one in all).
    fn per_channel(&self, v: ValueId, shape: &[usize], rank: usize) -> Option<Vec<f32>> {
        let t = self.constant(v)?;
        let values = t.as_f32()?;
        let mut padded = vec![1; rank.checked_sub(t.shape.len())?];
        padded.extend(&t.shape);
        let mut want = vec![1; rank.checked_sub(shape.len())?];
        want.extend(shape);
        if values.len() == 1 {
            return Some(vec![values[0]; shape.iter().product()]);
        }
        (padded == want && values.iter().all(|v| v.is_finite())).then_some(values)
    }

    /// True for a product with a constant whose integer operand was widened to `i32`.
    pub(super) fn is_integer_product(&self, node: &Node) -> bool {
        matches!(node.op, Op::Conv { .. } | Op::MatMul { .. })
            && self.old.ty(node.output).dtype == DType::I32
            && self.widened(node.inputs[0]).is_some()
            && self.constant(node.inputs[1]).is_some_and(|t| narrow(&t, None).is_some())
    }

    /// A product whose integer operands were widened to `i32`, narrowed again: the same integers.
    pub(super) fn integer_product(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<ValueId> {
        let conv = match &node.op {
            Op::Conv { epilogue, .. } if epilogue.is_empty() => true,
            Op::MatMul { epilogue } if epilogue.is_empty() => false,
            _ => return Ok(None),
        };
        if self.old.ty(node.output).dtype != DType::I32 || self.old.ty(node.inputs[0]).dtype != DType::I32 {
            return Ok(None);
        }
        let Some((q, zero)) = self.widened(node.inputs[0]) else { return Ok(None) };
        let Some(w) = self.constant(node.inputs[1]).and_then(|t| narrow(&t, None)) else { return Ok(None) };
        let axis = if conv { 0 } else { w.shape.len() - 1 };
        let flat = conv || w.shape[..w.shape.len() - 2].iter().all(|&d| d == 1);
        let depth = w.len() / w.shape[axis].max(1);
        if w.is_empty() || !flat || depth > 1 << 15 {
            return Ok(None);
        }
        let sums = column_sums(&w, axis);
        let mut shape = vec![sums.len()];
        if conv {
            shape.extend(vec![1; w.shape.len() - 2]);
        }
        let dtype = self.old.ty(q).dtype;
        let a = Quant { q: r.value(q), dtype, scale: 1.0, zero: 0 };
        let Some(zero) = zero else { return self.integer_core(r, node, a, w).map(Some) };
        if self.old.ty(zero).elements() != 1 {
            return Ok(None);
        }
        if let Some(z) = self.constant(zero) {
            let z = integers(&z)[0];
            let acc = self.integer_core(r, node, Quant { zero: z, ..a }, w)?;
            let offsets: Vec<i32> = sums.iter().map(|s| s.wrapping_mul(z).wrapping_neg()).collect();
            let offsets = r.constant("", i32_tensor(shape, &offsets));
            return r.add(Op::Binary(Binary::Add), &[acc, offsets], node).map(Some);
        }
        // A computed zero point cannot be padded with.
        let padded = match &node.op {
            Op::Conv { window, .. } => window.before.iter().chain(&window.after).any(|&p| p > 0),
            _ => false,
        };
        if padded || self.old.ty(zero).rank() > 1 {
            return Ok(None);
        }
        let acc = self.integer_core(r, node, a, w)?;
        let sums = r.constant("", i32_tensor(shape, &sums));
        let zero = r.value(zero);
        let offsets = r.add(Op::Binary(Binary::Mul), &[zero, sums], node)?;
        r.add(Op::Binary(Binary::Sub), &[acc, offsets], node).map(Some)
    }

    /// The narrow integer behind `cast(q)` or `cast(q) - zero`, with the zero point in `i32`.
    fn widened(&self, v: ValueId) -> Option<(ValueId, Option<ValueId>)> {
        let node = self.old.producer(v)?;
        let narrow = |n: &Node| {
            let q = n.inputs[0];
            (n.op == Op::Cast(DType::I32) && matches!(self.old.ty(q).dtype, DType::I8 | DType::U8)).then_some(q)
        };
        if node.op == Op::Binary(Binary::Sub) && self.old.shape(v) == self.old.shape(node.inputs[0]) {
            let q = self.old.producer(node.inputs[0]).and_then(narrow)?;
            return Some((q, Some(node.inputs[1])));
        }
        narrow(node).map(|q| (q, None))
    }
}

/// What a quantised value is at least and at most, with a bias added.
fn with_bias(t: Target, bias: &[f32]) -> (f64, f64) {
    let real = |q: i32| f64::from(q - t.zero) * t.scale;
    let (least, most) =
        bias.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |b, &x| (b.0.min(x.into()), b.1.max(x.into())));
    (real(t.low) + least, real(t.high) + most)
}

/// Sum of the weights of each channel of `axis`, which is the first or the last.
pub(in crate::passes) fn column_sums(w: &Tensor, axis: usize) -> Vec<i32> {
    let channels = w.shape[axis];
    let values = integers(w);
    if axis == 0 {
        let inner = (values.len() / channels.max(1)).max(1);
        let mut sums: Vec<i32> = values.chunks(inner).map(|c| c.iter().sum()).collect();
        sums.resize(channels, 0);
        return sums;
    }
    let mut sums = vec![0i32; channels];
    for row in values.chunks(channels.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    sums
}
