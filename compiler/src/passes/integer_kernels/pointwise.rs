//! Sums, averages, products and rescaling of quantised values, and the end of every island.

use super::recognise::{Dequantised, Target, range};
use super::{Islands, Made, Quant, Roundings};
use crate::ir::builder::{Rebuild, scalar};
use crate::ir::{Binary, DType, Node, Op, Pool, Reduce, Tensor, TensorType, TypeError, Unary, ValueId};
use crate::passes::integer_kernels::constants::i32_tensor;

impl Islands<'_> {
    /// `clamp(sat(rne(v) + zero))`. The cast of a rounded value rounds nothing, and saturates.
    pub(super) fn rounded(
        &self,
        r: &mut Rebuild<'_>,
        v: ValueId,
        t: Target,
        node: &Node,
    ) -> Result<ValueId, TypeError> {
        let mut y = r.add(Op::Unary(Unary::Round), &[v], node)?;
        if t.zero != 0 {
            let z = r.constant("", scalar(DType::F32, f64::from(t.zero)));
            y = r.add(Op::Binary(Binary::Add), &[y, z], node)?;
        }
        let mut y = r.add(Op::Cast(t.dtype), &[y], node)?;
        let (low, high) = range(t.dtype);
        for (bound, own, op) in [(t.low, low, Binary::Max), (t.high, high, Binary::Min)] {
            if bound != own {
                let c = r.constant("", scalar(t.dtype, f64::from(bound)));
                y = r.add(Op::Binary(op), &[y, c], node)?;
            }
        }
        Ok(y)
    }

    /// `rne(v * m)` and so on.
    fn rescaled(&self, r: &mut Rebuild<'_>, v: ValueId, m: f64, t: Target, node: &Node) -> Result<ValueId, TypeError> {
        let m = r.constant("", scalar(DType::F32, m));
        let y = r.add(Op::Binary(Binary::Mul), &[v, m], node)?;
        self.rounded(r, y, t, node)
    }

    /// A float value of the graph, by the reciprocal of the scale: what a vector unit does.
    pub(super) fn float_input(&self, r: &mut Rebuild<'_>, x: ValueId, t: Target, node: &Node) -> Made<ValueId> {
        if self.old.ty(x).dtype != DType::F32 || self.old.constant(x).is_some() {
            return Ok(None);
        }
        let x = r.value(x);
        self.rescaled(r, x, 1.0 / t.scale, t, node).map(Some)
    }

    /// An integer in `f32`, less its zero point: exact.
    fn centred(&self, r: &mut Rebuild<'_>, q: ValueId, zero: i32, node: &Node) -> Result<ValueId, TypeError> {
        let wide = r.add(Op::Cast(DType::F32), &[q], node)?;
        if zero == 0 {
            return Ok(wide);
        }
        let z = r.constant("", scalar(DType::F32, f64::from(zero)));
        r.add(Op::Binary(Binary::Sub), &[wide, z], node)
    }

    /// One quantisation after another.
    pub(super) fn requantised(&self, r: &mut Rebuild<'_>, d: &Dequantised, t: Target, node: &Node) -> Made<ValueId> {
        if let (Some(scale), Some(zero)) = (d.scale(), d.zero()) {
            let q = r.value(d.q);
            // A bound of a result that is used here alone could be one of its own; on bytes it costs the same.
            if d.dtype == t.dtype && scale == t.scale && zero == t.zero {
                let mut y = q;
                let (low, high) = range(t.dtype);
                for (bound, own, op) in [(t.low, low, Binary::Max), (t.high, high, Binary::Min)] {
                    if bound != own {
                        let c = r.constant("", scalar(t.dtype, f64::from(bound)));
                        y = r.add(Op::Binary(op), &[y, c], node)?;
                    }
                }
                return Ok(Some(y));
            }
            let v = self.centred(r, q, zero, node)?;
            return self.rescaled(r, v, scale / t.scale, t, node).map(Some);
        }
        // A scale for each channel: the sums of a product.
        let (DType::I32, Some(0), Some(scales)) = (d.dtype, d.zero(), d.scales.as_f32()) else { return Ok(None) };
        let factors: Vec<f32> = scales.iter().map(|s| (f64::from(*s) / t.scale) as f32).collect();
        let q = r.value(d.q);
        let v = self.centred(r, q, 0, node)?;
        let m = r.constant("", Tensor::from_f32(&d.scales.shape, &factors));
        let y = r.add(Op::Binary(Binary::Mul), &[v, m], node)?;
        self.rounded(r, y, t, node).map(Some)
    }

    /// A sum or difference of two quantised values of one shape.
    pub(super) fn sum(&self, r: &mut Rebuild<'_>, node: &Node, t: Target) -> Made<ValueId> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let minus = node.op == Op::Binary(Binary::Sub);
        if self.old.shape(a) != self.old.shape(b) {
            return Ok(None);
        }
        let side = |r: &mut Rebuild<'_>, q: Quant, negative: bool| -> Result<(ValueId, f64), TypeError> {
            let m = q.scale / t.scale;
            Ok((self.centred(r, q.q, q.zero, node)?, if negative { -m } else { m }))
        };
        // The product that ends last, if one side is a product of this sum alone.
        let sides = if a.0 > b.0 {
            [(a, false, b, minus), (b, minus, a, false)]
        } else {
            [(b, minus, a, false), (a, false, b, minus)]
        };
        for (product, negative, other, other_negative) in sides {
            if self.roundings == Roundings::Kept || negative || product == other {
                continue;
            }
            let Some(q) = self.activation(r, other, 0)? else { continue };
            let Some(sum) = self.product_behind(r, product)? else { continue };
            let (x, m) = side(r, q, other_negative)?;
            let m = r.constant("", scalar(DType::F32, m));
            let x = r.add(Op::Binary(Binary::Mul), &[x, m], node)?;
            let (wide, m) = sum.scaled(r, t.scale, node)?;
            let y = r.add(Op::Fma, &[wide, m, x], node)?;
            return self.rounded(r, y, t, node).map(Some);
        }
        let (Some(p), Some(q)) = (self.activation(r, a, 0)?, self.activation(r, b, 0)?) else { return Ok(None) };
        let (x, mx) = side(r, p, false)?;
        let (y, my) = side(r, q, minus)?;
        if self.roundings == Roundings::Kept {
            // Narrow streams meet in one operation, and the scale of the second follows it.
            let ratio = r.constant("", scalar(DType::F32, mx / my));
            let v = r.add(Op::Fma, &[x, ratio, y], node)?;
            return self.rescaled(r, v, my, t, node).map(Some);
        }
        let my = r.constant("", scalar(DType::F32, my));
        let y = r.add(Op::Binary(Binary::Mul), &[y, my], node)?;
        let mx = r.constant("", scalar(DType::F32, mx));
        let v = r.add(Op::Fma, &[x, mx, y], node)?;
        self.rounded(r, v, t, node).map(Some)
    }

    /// The product of two quantised values, element by element: exact in `i32`.
    pub(super) fn scaled_product(&self, r: &mut Rebuild<'_>, node: &Node, t: Target) -> Made<ValueId> {
        let Some(p) = self.activation(r, node.inputs[0], 0)? else { return Ok(None) };
        let Some(q) = self.activation(r, node.inputs[1], 0)? else { return Ok(None) };
        // Two integers of nine bits: their product is exact in f32 as well.
        let x = self.centred(r, p.q, p.zero, node)?;
        let y = self.centred(r, q.q, q.zero, node)?;
        let v = r.add(Op::Binary(Binary::Mul), &[x, y], node)?;
        self.rescaled(r, v, p.scale * q.scale / t.scale, t, node).map(Some)
    }

    /// The mean over axes: a sum in `i32` and one factor.
    pub(super) fn mean(&self, r: &mut Rebuild<'_>, node: &Node, axes: &[usize], t: Target) -> Made<ValueId> {
        let n: usize = axes.iter().map(|&a| self.old.shape(node.inputs[0])[a]).product();
        if n == 0 || n > 1 << 22 {
            return Ok(None);
        }
        let Some(a) = self.activation(r, node.inputs[0], 0)? else { return Ok(None) };
        let Op::Reduce { keep, .. } = node.op else { return Ok(None) };
        let wide = r.add(Op::Cast(DType::I32), &[a.q], node)?;
        let mut sum = r.add(Op::Reduce { kind: Reduce::Sum, axes: axes.to_vec(), keep }, &[wide], node)?;
        if a.zero != 0 {
            let z = r.constant("", scalar(DType::I32, -f64::from(a.zero) * n as f64));
            sum = r.add(Op::Binary(Binary::Add), &[sum, z], node)?;
        }
        let v = r.add(Op::Cast(DType::F32), &[sum], node)?;
        self.rescaled(r, v, a.scale / (n as f64 * t.scale), t, node).map(Some)
    }

    /// An average over windows: a product with ones, channel by channel, and a factor for each pixel.
    pub(super) fn average(&self, r: &mut Rebuild<'_>, node: &Node, t: Target) -> Made<ValueId> {
        let Op::Pool { kind, window } = &node.op else { return Ok(None) };
        let Some(a) = self.activation(r, node.inputs[0], 0)? else { return Ok(None) };
        let shape = self.old.shape(node.inputs[0]);
        let (channels, cells) = (shape[1], window.kernel.iter().product::<usize>());
        if cells > 1 << 15 {
            return Ok(None);
        }
        let mut ones = vec![channels, 1];
        ones.extend(&window.kernel);
        let ones = r.constant("", crate::ir::builder::splat(&TensorType::new(DType::I8, ones), 1.0));
        let op = Op::Conv { window: window.clone(), groups: channels, epilogue: Vec::new() };
        let mut sum = r.add(op, &[a.q, ones], node)?;
        let inside = inside(window, &shape[2..], &self.old.shape(node.output)[2..]);
        let mut per_pixel = vec![1, 1];
        per_pixel.extend(&self.old.shape(node.output)[2..]);
        if a.zero != 0 {
            let z: Vec<i32> = inside.iter().map(|&n| -a.zero * n as i32).collect();
            let z = r.constant("", i32_tensor(per_pixel.clone(), &z));
            sum = r.add(Op::Binary(Binary::Add), &[sum, z], node)?;
        }
        let v = r.add(Op::Cast(DType::F32), &[sum], node)?;
        let divisor = |n: usize| if *kind == Pool::AverageExcludePad { n.max(1) } else { cells };
        let factors: Vec<f64> = inside.iter().map(|&n| a.scale / (divisor(n) as f64 * t.scale)).collect();
        if factors.iter().all(|f| *f == factors[0]) {
            return self.rescaled(r, v, factors[0], t, node).map(Some);
        }
        let factors: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        let m = r.constant("", Tensor::from_f32(&per_pixel, &factors));
        let y = r.add(Op::Binary(Binary::Mul), &[v, m], node)?;
        self.rounded(r, y, t, node).map(Some)
    }
}

/// Cells of the unpadded input in the window of each output pixel.
fn inside(w: &crate::ir::Window, input: &[usize], output: &[usize]) -> Vec<usize> {
    let mut all = vec![1usize];
    for i in 0..output.len() {
        let own: Vec<usize> = (0..output[i])
            .map(|o| {
                let cell = |k: &usize| {
                    let at = (o * w.stride[i] + k * w.dilation[i]) as i64 - w.before[i] as i64;
                    (0..input[i] as i64).contains(&at)
                };
                (0..w.kernel[i]).filter(cell).count()
            })
            .collect();
        all = all.iter().flat_map(|a| own.iter().map(move |b| a * b)).collect();
    }
    all
}
