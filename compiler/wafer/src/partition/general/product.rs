//! Products: matrices and convolutions whose operands are both computed, or of integers.
//!
//! Sums are in f32, one rounding a multiply-add. Products of 8-bit integers are exact there as
//! long as few enough are added; then i32 goes on.

use super::super::Obstacle;
use super::asm::{A, Asm, T, lane_of};
use super::range::Range;
use crate::steps::Step;
use quadrille_compiler::ir::{Binary, DType, EpilogueStep, Unary, Window};
use quadrille_isa::wafer::{ElemType, PeOp};

/// Products of two 8-bit integers of which the sum is exact in f32: 255 * 255 * 257 < 2^24.
const EXACT_PRODUCTS: usize = 256;

/// The spatial part of a window operation, one entry an axis.
pub(super) struct Spatial {
    pub(super) rank: usize,
    pub(super) out: Vec<usize>,
}

impl Asm {
    /// Sums are f32; what they become depends on the operands.
    fn sum_type(&self, x: &T, y: &T, products: usize) -> Result<DType, Obstacle> {
        let narrow = |d: DType| matches!(d, DType::I8 | DType::U8);
        if x.dtype.is_float() {
            return Ok(x.dtype);
        }
        if narrow(x.dtype) && narrow(y.dtype) && products <= EXACT_PRODUCTS {
            return Ok(DType::I32);
        }
        Err(Obstacle::new(
            format!("{products} products of {} and {} are not exact in sums of f32", x.dtype, y.dtype),
            "use at most 256 products of 8-bit integers a sum, or --target tsp",
        ))
    }

    fn finish_sum(&mut self, sum: &T, d: DType) -> T {
        if lane_of(d) == ElemType::I32 {
            return self.make(d, &sum.dims.clone(), PeOp::Mov, &[A::T(sum)]);
        }
        sum.typed(d)
    }

    /// Wider integers whose sums of products are known to be exact in f32, there.
    fn in_f32(&mut self, x: &T, y: &T, products: usize, ranges: &[Option<Range>]) -> Option<(T, T)> {
        if x.elem() != ElemType::I32 && y.elem() != ElemType::I32 {
            return None;
        }
        let most = |r: Option<Range>| r.map(|(lo, hi)| lo.abs().max(hi.abs()));
        let bound = most(ranges[0])?.checked_mul(most(ranges[1])?)?.checked_mul(products as i64)?;
        if bound > 1 << 24 {
            return None;
        }
        let mut f = |t: &T| self.make(DType::F32, &t.dims.clone(), PeOp::Mov, &[A::T(t)]);
        Some((f(x), f(y)))
    }

    /// `[…, M, K] x […, K, N]`.
    pub(super) fn matmul(&mut self, x: &T, y: &T, out: &[usize], ranges: &[Option<Range>]) -> Result<T, Obstacle> {
        let r = out.len();
        if let Some((x, y)) = self.in_f32(x, y, x.dims[x.rank() - 1], ranges) {
            let t = self.matmul(&x, &y, out, ranges)?;
            return Ok(self.make(DType::I32, out, PeOp::Mov, &[A::T(&t)]));
        }
        let k = x.dims[x.rank() - 1];
        // Loops: batches, M, K, N.
        let mut dims = out[..r - 1].to_vec();
        dims.extend([k, out[r - 1]]);
        let x = x.with_axis(x.rank());
        let y = y.with_axis(y.rank() - 2);
        let narrow = !x.dtype.is_float();
        let d = match self.sum_type(&x, &y, k) {
            Ok(d) => d,
            Err(_) if narrow && k > EXACT_PRODUCTS && lane_of(x.dtype) == ElemType::F32 && x.dtype.size() == 1 => {
                return Ok(self.long_matmul(&x, &y, &dims));
            }
            Err(e) => return Err(e),
        };
        let sum = self.make(DType::F32, out, PeOp::Mov, &[A::F(0.0)]);
        let acc = sum.with_axis(r - 1);
        self.over(&dims, PeOp::Fma, &acc, &[A::T(&x), A::T(&y), A::T(&acc)]);
        Ok(self.finish_sum(&sum, d))
    }

    /// Sums of many integer products, by pieces.
    fn long_matmul(&mut self, x: &T, y: &T, dims: &[usize]) -> T {
        let r = dims.len() - 1;
        let mut out = dims.to_vec();
        let k = out.remove(r - 1);
        let total = self.make(DType::I32, &out, PeOp::Mov, &[A::I(0)]);
        let part = self.fresh(DType::F32, &out);
        let whole = self.fresh(DType::I32, &out);
        for from in (0..k).step_by(EXACT_PRODUCTS) {
            let n = EXACT_PRODUCTS.min(k - from);
            self.to(&part, PeOp::Mov, &[A::F(0.0)]);
            let acc = part.with_axis(r - 1);
            let (xs, ys) = (x.slice(x.rank() - 2, from, 1, n), y.slice(y.rank() - 2, from, 1, n));
            let mut d = dims.to_vec();
            d[r - 1] = n;
            self.over(&d, PeOp::Fma, &acc, &[A::T(&xs), A::T(&ys), A::T(&acc)]);
            self.copy(&whole, &part);
            self.to(&total, PeOp::Add, &[A::T(&total), A::T(&whole)]);
        }
        total
    }

    /// The input of a window with its padding around it.
    pub(super) fn padded(&mut self, x: &T, w: &Window, out: &[usize], fill: f32) -> T {
        let mut dims = x.dims.clone();
        let mut inside = x.clone();
        for i in 0..w.kernel.len() {
            let reach = (out[i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1;
            dims[i + 2] = reach;
            // Cells that no window reaches are left out.
            let n = x.dims[i + 2].min(reach.saturating_sub(w.before[i]));
            inside = inside.slice(i + 2, 0, 1, n);
        }
        if dims == x.dims && w.before.iter().all(|&b| b == 0) {
            return x.clone();
        }
        let p = self.make(x.dtype, &dims, PeOp::Mov, &[A::F(fill)]);
        let mut hole = p.clone();
        for i in 0..w.kernel.len() {
            hole = hole.slice(i + 2, w.before[i].min(dims[i + 2]), 1, inside.dims[i + 2]);
        }
        if inside.len() > 0 {
            self.copy(&hole, &inside);
        }
        p
    }

    /// A padded input seen by window cells and results: `[N, C, kernel…, out…]`.
    pub(super) fn windows(p: &T, w: &Window, s: &Spatial) -> T {
        let mut t = p.clone();
        let strides = p.view.strides[2..].to_vec();
        t.dims.truncate(2);
        t.view.strides.truncate(2);
        t.dims.extend(&w.kernel);
        t.view.strides.extend(strides.iter().zip(&w.dilation).map(|(s, &d)| s * d as isize));
        t.dims.extend(&s.out);
        t.view.strides.extend(strides.iter().zip(&w.stride).map(|(s, &d)| s * d as isize));
        t
    }

    pub(super) fn conv(
        &mut self,
        x: &T,
        w: &T,
        window: &Window,
        groups: usize,
        out: &[usize],
        ranges: &[Option<Range>],
    ) -> Result<T, Obstacle> {
        let s = Spatial { rank: window.kernel.len(), out: out[2..].to_vec() };
        let (n, m, cg) = (out[0], out[1], w.dims[1]);
        let products: usize = w.dims[1..].iter().product();
        if let Some((x, w)) = self.in_f32(x, w, products, ranges) {
            let t = self.conv(&x, &w, window, groups, out, ranges)?;
            return Ok(self.make(DType::I32, out, PeOp::Mov, &[A::T(&t)]));
        }
        let d = self.sum_type(x, w, products)?;
        let p = self.padded(x, window, &s.out, 0.0);
        let p = self.dense(&p, &p.dims.clone());
        let w = self.dense(w, &w.dims.clone());
        let x = Self::windows(&p, window, &s);
        // Loops: N, groups, M of a group, C of a group, kernel, out.
        let split = |t: &T, at: usize, by: usize| {
            let mut t = t.clone();
            let (len, stride) = (t.dims[at], t.view.strides[at]);
            t.dims.splice(at..=at, [len / by.max(1), by]);
            t.view.strides.splice(at..=at, [stride * by as isize, stride]);
            t
        };
        let x = split(&x, 1, cg).with_axis(2);
        let mg = m / groups;
        let mut w = split(&w, 0, mg);
        for _ in 0..s.rank {
            let r = w.rank();
            w = w.with_axis(r);
        }
        let w = w.with_axis(0);
        let sum = self.make(DType::F32, out, PeOp::Mov, &[A::F(0.0)]);
        let mut acc = split(&sum, 1, mg);
        for _ in 0..=s.rank {
            acc = acc.with_axis(3);
        }
        let mut dims = vec![n, groups, mg, cg];
        dims.extend(&window.kernel);
        dims.extend(&s.out);
        self.over(&dims, PeOp::Fma, &acc, &[A::T(&x), A::T(&w), A::T(&acc)]);
        Ok(self.finish_sum(&sum, d))
    }

    /// Every input element adds its multiple of the kernel to the full result, which is cropped.
    pub(super) fn conv_transpose(
        &mut self,
        x: &T,
        w: &T,
        window: &Window,
        groups: usize,
        extra: &[usize],
        out: &[usize],
    ) -> Result<T, Obstacle> {
        let rank = window.kernel.len();
        if !x.dtype.is_float() {
            return Err(Obstacle::new("transposed convolutions of integers have no kernel", "use a float model"));
        }
        let (n, c, mg) = (x.dims[0], x.dims[1], w.dims[1]);
        let cg = c / groups;
        let mut full = vec![n, groups * mg];
        for i in 0..rank {
            let reach = (x.dims[i + 2] - 1) * window.stride[i] + (window.kernel[i] - 1) * window.dilation[i] + 1;
            full.push(reach.max(out[i + 2] + window.before[i]) + extra.get(i).copied().unwrap_or(0));
        }
        let sum = self.make(DType::F32, &full, PeOp::Mov, &[A::F(0.0)]);
        let x = self.dense(x, &x.dims.clone());
        let w = self.dense(w, &w.dims.clone());
        // Loops: N, groups, C of a group, M of a group, kernel, in.
        let mut dims = vec![n, groups, cg, mg];
        dims.extend(&window.kernel);
        dims.extend(&x.dims[2..]);
        let view = |t: &T, strides: Vec<isize>| {
            let mut t = t.clone();
            t.view.strides = strides;
            t.dims = dims.clone();
            t
        };
        let (xs, ws, ss) = (&x.view.strides, &w.view.strides, &sum.view.strides);
        let mut a = vec![xs[0], xs[1] * cg as isize, xs[1], 0];
        a.extend(vec![0; rank]);
        a.extend(&xs[2..]);
        let mut b = vec![0, ws[0] * cg as isize, ws[0], ws[1]];
        b.extend(&ws[2..]);
        b.extend(vec![0; rank]);
        let mut o = vec![ss[0], ss[1] * mg as isize, 0, ss[1]];
        o.extend((0..rank).map(|i| ss[i + 2] * window.dilation[i] as isize));
        o.extend((0..rank).map(|i| ss[i + 2] * window.stride[i] as isize));
        let acc = view(&sum, o);
        self.over(&dims, PeOp::Fma, &acc, &[A::T(&view(&x, a)), A::T(&view(&w, b)), A::T(&acc)]);
        let mut r = sum;
        for i in 0..rank {
            r = r.slice(i + 2, window.before[i], 1, out[i + 2]);
        }
        Ok(self.dense(&r, out).typed(x.dtype))
    }

    /// Steps on a sum; operands are taken in order.
    pub(super) fn epilogue(
        &mut self,
        sum: T,
        steps: &[EpilogueStep],
        operands: &[T],
        out: &[usize],
    ) -> Result<T, Obstacle> {
        let mut t = sum;
        let mut next = operands.iter();
        for s in steps {
            let mut operand = || {
                next.next().cloned().ok_or_else(|| Obstacle::new("an epilogue operand is missing", "check the graph"))
            };
            let bin = |a: &mut Asm, b: Binary, t: &T, y: &T| a.binary(b, t, y, out, [None; 3]);
            t = match s {
                EpilogueStep::Add => {
                    let y = operand()?;
                    bin(self, Binary::Add, &t, &y)?
                }
                EpilogueStep::Mul => {
                    let y = operand()?;
                    bin(self, Binary::Mul, &t, &y)?
                }
                EpilogueStep::Prelu => {
                    let y = operand()?;
                    bin(self, Binary::Prelu, &t, &y)?
                }
                EpilogueStep::Relu => self.unary(Unary::Relu, &t)?,
                EpilogueStep::Sigmoid => self.unary(Unary::Sigmoid, &t)?,
                EpilogueStep::Tanh => self.unary(Unary::Tanh, &t)?,
                EpilogueStep::Gelu => self.step(&t, &Step::gelu()),
                EpilogueStep::GeluTanh => self.step(&t, &Step::gelu_tanh()),
                EpilogueStep::Silu(b) => self.step(&t, &Step::silu(f32::from_bits(*b))),
                EpilogueStep::HardSwish => self.step(&t, &Step::hard_swish()),
                EpilogueStep::LeakyRelu(b) => self.step(&t, &Step::leaky(f32::from_bits(*b))),
                EpilogueStep::MaxConst(b) => self.make(t.dtype, out, PeOp::Max, &[A::T(&t), A::F(f32::from_bits(*b))]),
                EpilogueStep::MinConst(b) => self.make(t.dtype, out, PeOp::Min, &[A::T(&t), A::F(f32::from_bits(*b))]),
            };
        }
        let d = t.dtype;
        Ok(if d == DType::F16 { self.fit(&t, d) } else { t })
    }
}
