//! Convolutions whose weights are computed: the cells under each tap side by side, and one matrix product.

use super::build::{Builder, Made};
use crate::ir::{Binary, DType, EpilogueStep, Op, TypeError, Unary, ValueId, Window};

impl Builder<'_> {
    pub(super) fn conv(
        &mut self,
        w: &Window,
        groups: usize,
        epilogue: &[EpilogueStep],
        x: &[ValueId],
    ) -> Result<Option<ValueId>, TypeError> {
        if self.is_constant(x[1]) || !self.dtype(x[0]).is_float() {
            return Ok(None);
        }
        let (shape, kernels) = (self.shape(x[0]), self.shape(x[1]));
        let (batch, channels, outputs) = (shape[0], shape[1], kernels[0]);
        let spatial = shape.len() - 2;
        let types = [self.ty(x[0]), self.ty(x[1])];
        let out = Op::Conv { window: w.clone(), groups, epilogue: Vec::new() }.result_type(&types)?.shape;
        let pixels: usize = out[2..].iter().product();
        let taps: usize = w.kernel.iter().product();
        let edge = |e: &[usize]| -> Vec<isize> { [0, 0].into_iter().chain(e.iter().map(|&n| n as isize)).collect() };
        let padded = self.zeros_around(x[0], edge(&w.before), edge(&w.after))?;
        let mut parts = Vec::with_capacity(taps);
        for t in 0..taps {
            let (mut start, mut step) = (vec![0; spatial + 2], vec![1; spatial + 2]);
            let mut rest = t;
            for i in (0..spatial).rev() {
                start[i + 2] = rest % w.kernel[i] * w.dilation[i];
                step[i + 2] = w.stride[i] as isize;
                rest /= w.kernel[i];
            }
            let mut shape = out.clone();
            shape[1] = channels;
            let cells = self.op(Op::Slice { start, step, shape }, &[padded])?;
            parts.push(self.reshape(cells, &[batch, groups, channels / groups, 1, pixels])?);
        }
        let cells = if taps == 1 { parts[0] } else { self.op(Op::Concat { axis: 3 }, &parts)? };
        let depth = channels / groups * taps;
        let cells = self.reshape(cells, &[batch, groups, depth, pixels])?;
        let weights = self.reshape(x[1], &[1, groups, outputs / groups, depth])?;
        let y = self.op(Op::MatMul { epilogue: Vec::new() }, &[weights, cells])?;
        let mut y = self.reshape(y, &out)?;
        let mut operands = x[2..].iter();
        for &step in epilogue {
            let operand = if step.takes_operand() { operands.next().copied() } else { None };
            y = self.epilogue(step, y, operand)?;
        }
        Ok(Some(y))
    }

    /// A step after a product as operations of its own.
    fn epilogue(&mut self, step: EpilogueStep, y: ValueId, operand: Option<ValueId>) -> Made {
        let other = operand.unwrap_or(y);
        let bits = |b: u32| f64::from(f32::from_bits(b));
        match step {
            EpilogueStep::Add => self.binary(Binary::Add, y, other),
            EpilogueStep::Mul => self.binary(Binary::Mul, y, other),
            EpilogueStep::Relu => self.unary(Unary::Relu, y),
            EpilogueStep::LeakyRelu(slope) => self.with(Binary::Prelu, y, bits(slope)),
            EpilogueStep::Prelu => self.binary(Binary::Prelu, y, other),
            EpilogueStep::MaxConst(c) => self.with(Binary::Max, y, bits(c)),
            EpilogueStep::MinConst(c) => self.with(Binary::Min, y, bits(c)),
            EpilogueStep::Sigmoid => self.unary(Unary::Sigmoid, y),
            EpilogueStep::Tanh => self.unary(Unary::Tanh, y),
            EpilogueStep::Gelu => {
                let scaled = self.with(Binary::Mul, y, std::f64::consts::FRAC_1_SQRT_2)?;
                let e = self.unary(Unary::Erf, scaled)?;
                let e = self.with(Binary::Add, e, 1.0)?;
                let half = self.with(Binary::Mul, y, 0.5)?;
                self.binary(Binary::Mul, half, e)
            }
            EpilogueStep::GeluTanh => {
                let square = self.binary(Binary::Mul, y, y)?;
                let inner = self.with(Binary::Mul, square, 0.044715)?;
                let inner = self.with(Binary::Add, inner, 1.0)?;
                let inner = self.binary(Binary::Mul, inner, y)?;
                let inner = self.with(Binary::Mul, inner, (2.0 / std::f64::consts::PI).sqrt())?;
                let t = self.unary(Unary::Tanh, inner)?;
                let t = self.with(Binary::Add, t, 1.0)?;
                let half = self.with(Binary::Mul, y, 0.5)?;
                self.binary(Binary::Mul, half, t)
            }
            EpilogueStep::Silu(a) => {
                let scaled = self.with(Binary::Mul, y, bits(a))?;
                let s = self.unary(Unary::Sigmoid, scaled)?;
                self.binary(Binary::Mul, y, s)
            }
            EpilogueStep::HardSwish => {
                let gate = self.with(Binary::Mul, y, 1.0 / 6.0)?;
                let gate = self.with(Binary::Add, gate, 0.5)?;
                let gate = self.with(Binary::Max, gate, 0.0)?;
                let gate = self.with(Binary::Min, gate, 1.0)?;
                self.binary(Binary::Mul, y, gate)
            }
            #[allow(unreachable_patterns)]
            _ => Err(TypeError { op: "conv".into(), reason: format!("{step:?} on {}", DType::F32) }),
        }
    }
}
