//! Examples for fusion into epilogues.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, DType, EpilogueStep, Graph, Unary, ValueId};

/// A product, with or without earlier steps.
pub(super) fn product(g: &mut Gen, dtype: DType) -> Option<ValueId> {
    let p = g.product(dtype)?;
    match g.below(4) {
        0 => g.with_epilogue(p, &[EpilogueStep::Add]),
        1 => g.with_epilogue(p, &[EpilogueStep::Mul, EpilogueStep::Relu]),
        _ => Some(p),
    }
}

fn operand(g: &mut Gen, p: ValueId) -> ValueId {
    let dtype = g.dtype_of(p);
    let mut shape = g.shape_of(p);
    match g.below(6) {
        // A residual.
        0 => g.input(dtype, &shape),
        // Wider than the result: no match.
        1 => {
            shape.insert(0, 2);
            g.constant(dtype, &shape)
        }
        2 => {
            let narrow = g.narrower(&shape);
            g.constant(dtype, &narrow)
        }
        _ => {
            let channel = g.channel_shape(p);
            g.constant(dtype, &channel)
        }
    }
}

pub(crate) fn epilogue_add(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::I8]);
    let p = product(g, dtype)?;
    let o = operand(g, p);
    let r = either(g, Binary::Add, p, o)?;
    g.done(r)
}

pub(crate) fn epilogue_mul(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let p = product(g, dtype)?;
    let o = operand(g, p);
    let r = either(g, Binary::Mul, p, o)?;
    g.done(r)
}

pub(crate) fn epilogue_relu(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::I8]);
    let p = product(g, dtype)?;
    let r = unary(g, Unary::Relu, p)?;
    g.done(r)
}

pub(crate) fn epilogue_prelu(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let p = product(g, dtype)?;
    let o = if g.one_in(2) {
        let v = g.pick(&[0.01, 0.25, -0.5, 2.0]);
        let channel = g.channel_shape(p);
        g.splat(dtype, &channel, v)
    } else {
        operand(g, p)
    };
    let r = binary(g, Binary::Prelu, p, o)?;
    g.done(r)
}

pub(crate) fn epilogue_clip(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let p = product(g, dtype)?;
    let shape = if g.one_in(2) { vec![] } else { g.channel_shape(p) };
    let v = g.pick(&[-1.0, 0.0, 0.5, 0.1]);
    let lo = g.splat(dtype, &shape, v);
    let hi = g.splat(dtype, &[], 6.0);
    let m = if g.one_in(3) { p } else { either(g, Binary::Max, p, lo)? };
    let r = either(g, Binary::Min, m, hi)?;
    g.done(r)
}

pub(crate) fn epilogue_unary(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let p = product(g, dtype)?;
    let u = g.pick(&[Unary::Sigmoid, Unary::Tanh]);
    let r = unary(g, u, p)?;
    g.done(r)
}

pub(crate) fn epilogue_gelu(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let y = product(g, dtype)?;
    // Far below zero a gelu is what the rounding of 1 + erf leaves; with several results another one is larger.
    if g.shape_of(y).iter().product::<usize>() < 6 {
        return None;
    }
    let u = if g.one_in(2) {
        let c = g.splat(dtype, &[], std::f64::consts::FRAC_1_SQRT_2);
        either(g, Binary::Mul, y, c)
    } else {
        let c = g.splat(dtype, &[], std::f64::consts::SQRT_2);
        binary(g, Binary::Div, y, c)
    }?;
    let e = unary(g, Unary::Erf, u)?;
    let one = g.splat(dtype, &[], 1.0);
    let bell = either(g, Binary::Add, e, one)?;
    let half = g.splat(dtype, &[], 0.5);
    let mut factors = vec![y, bell, half];
    let third = factors.remove(g.below(3));
    let pair = either(g, Binary::Mul, factors[0], factors[1])?;
    let r = either(g, Binary::Mul, pair, third)?;
    g.done(r)
}
