//! The steps after a sum, on the unrounded result.

use super::broadcast::update2;
use super::buffer::{view, widen};
use super::gemm::Gemm;
use super::math;
use super::num::Num;
use crate::ir::{EpilogueStep, Tensor};

/// Applies `steps` in place to `values`, the result of shape `shape`; `extra` are the operands
/// that the steps take, in order.
pub(super) fn apply<T: Gemm>(values: &mut [T], shape: &[usize], steps: &[EpilogueStep], extra: &[&Tensor]) {
    let mut extra = extra.iter();
    for step in steps {
        match *step {
            EpilogueStep::Add => join(values, shape, extra.next(), T::add),
            EpilogueStep::Mul => join(values, shape, extra.next(), T::mul),
            EpilogueStep::Prelu => join(values, shape, extra.next(), T::prelu),
            EpilogueStep::Relu => each(values, T::relu),
            EpilogueStep::LeakyRelu(bits) => {
                let slope = constant::<T>(bits);
                each(values, |v| v.prelu(slope));
            }
            EpilogueStep::MaxConst(bits) => {
                let c = constant::<T>(bits);
                each(values, |v| v.maximum(c));
            }
            EpilogueStep::MinConst(bits) => {
                let c = constant::<T>(bits);
                each(values, |v| v.minimum(c));
            }
            EpilogueStep::Sigmoid => through(values, math::sigmoid, |x| 1.0 / (1.0 + libm::exp(-x))),
            EpilogueStep::Tanh => through(values, math::tanh, libm::tanh),
            EpilogueStep::Gelu => through(values, |x| gelu(x, math::erf), |x| gelu(x, libm::erf)),
            EpilogueStep::GeluTanh => through(values, |x| gelu_tanh(x, math::tanh), |x| gelu_tanh(x, libm::tanh)),
            EpilogueStep::Silu(bits) => {
                let a = f64::from(f32::from_bits(bits));
                through(values, |x| x * math::sigmoid(a * x), |x| x / (1.0 + libm::exp(-a * x)))
            }
            EpilogueStep::HardSwish => through(values, hard_swish, hard_swish),
        }
    }
}

/// With the next operand; the type rules have counted them.
fn join<T: Num>(values: &mut [T], shape: &[usize], operand: Option<&&Tensor>, f: impl Fn(T, T) -> T) {
    if let Some(t) = operand {
        let wide = widen(t);
        update2(values, shape, &view::<T>(&wide), &t.shape, f);
    }
}

fn constant<T: Num>(bits: u32) -> T {
    T::from_f64(f64::from(f32::from_bits(bits)))
}

fn each<T: Num>(values: &mut [T], f: impl Fn(T) -> T) {
    values.iter_mut().for_each(|v| *v = f(*v));
}

/// Through `single` for `f32`, as the operation of that name computes it, through `double` for `f64`.
fn through<T: Num>(values: &mut [T], single: impl Fn(f64) -> f64, double: impl Fn(f64) -> f64) {
    if size_of::<T>() == 4 {
        each(values, |v| T::from_f64(single(v.to_f64())));
    } else {
        each(values, |v| T::from_f64(double(v.to_f64())));
    }
}

fn hard_swish(x: f64) -> f64 {
    x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)
}

fn gelu_tanh(x: f64, tanh: impl Fn(f64) -> f64) -> f64 {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + tanh(root * (x + 0.044715 * x * x * x)))
}

fn gelu(x: f64, erf: impl Fn(f64) -> f64) -> f64 {
    0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}
