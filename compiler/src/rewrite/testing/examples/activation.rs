//! Examples for activations that gate a sum by itself.

use super::epilogue::product;
use super::{Gen, binary, either, unary};
use crate::ir::{Binary, DType, Graph, Unary, ValueId};

/// A product of floats with several results, so that one of them is not near zero.
fn sum(g: &mut Gen) -> Option<(ValueId, DType)> {
    let dtype = g.float();
    let y = product(g, dtype)?;
    (g.shape_of(y).iter().product::<usize>() >= 6).then_some((y, dtype))
}

pub(crate) fn silu(g: &mut Gen) -> Option<Graph> {
    let (y, dtype) = sum(g)?;
    let u = if g.one_in(2) {
        // Exact in every type.
        let v = g.pick(&[1.75, 0.5, 2.0]);
        let a = g.splat(dtype, &[], v);
        either(g, Binary::Mul, y, a)?
    } else {
        y
    };
    let s = unary(g, Unary::Sigmoid, u)?;
    let r = either(g, Binary::Mul, y, s)?;
    g.done(r)
}

fn clip(g: &mut Gen, x: ValueId, dtype: DType, most: f64) -> Option<ValueId> {
    let (lo, hi) = (g.splat(dtype, &[], 0.0), g.splat(dtype, &[], most));
    match g.below(3) {
        0 => {
            let x = either(g, Binary::Min, x, hi)?;
            either(g, Binary::Max, x, lo)
        }
        1 => {
            let x = either(g, Binary::Max, x, lo)?;
            either(g, Binary::Min, x, hi)
        }
        _ => {
            let x = unary(g, Unary::Relu, x)?;
            either(g, Binary::Min, x, hi)
        }
    }
}

pub(crate) fn hard_swish(g: &mut Gen) -> Option<Graph> {
    let (y, dtype) = sum(g)?;
    let sixth = g.splat(dtype, &[], 1.0 / 6.0);
    if g.one_in(2) {
        let half = g.splat(dtype, &[], 0.5);
        let z = either(g, Binary::Mul, y, sixth)?;
        let z = either(g, Binary::Add, z, half)?;
        let gate = clip(g, z, dtype, 1.0)?;
        let r = either(g, Binary::Mul, y, gate)?;
        return g.done(r);
    }
    let three = g.splat(dtype, &[], 3.0);
    let z = either(g, Binary::Add, y, three)?;
    let gate = clip(g, z, dtype, 6.0)?;
    let r = match g.below(4) {
        0 => {
            let p = either(g, Binary::Mul, y, gate)?;
            either(g, Binary::Mul, p, sixth)?
        }
        1 => {
            let p = either(g, Binary::Mul, gate, sixth)?;
            either(g, Binary::Mul, p, y)?
        }
        2 => {
            let six = g.splat(dtype, &[], 6.0);
            let p = either(g, Binary::Mul, y, gate)?;
            binary(g, Binary::Div, p, six)?
        }
        _ => {
            let p = either(g, Binary::Mul, y, sixth)?;
            either(g, Binary::Mul, p, gate)?
        }
    };
    g.done(r)
}

pub(crate) fn gelu_tanh(g: &mut Gen) -> Option<Graph> {
    let (y, dtype) = sum(g)?;
    // Far below zero a gelu is what the rounding of 1 + tanh leaves; with several results another one is larger.
    if g.shape_of(y).iter().product::<usize>() < 10 {
        return None;
    }
    let cube = if g.one_in(2) {
        let three = g.splat(dtype, &[], 3.0);
        binary(g, Binary::Pow, y, three)?
    } else {
        let square = either(g, Binary::Mul, y, y)?;
        either(g, Binary::Mul, square, y)?
    };
    let k = g.splat(dtype, &[], 0.044715);
    let part = either(g, Binary::Mul, cube, k)?;
    let z = either(g, Binary::Add, y, part)?;
    let root = g.splat(dtype, &[], (2.0 / std::f64::consts::PI).sqrt());
    let u = either(g, Binary::Mul, z, root)?;
    let e = unary(g, Unary::Tanh, u)?;
    let one = g.splat(dtype, &[], 1.0);
    let bell = either(g, Binary::Add, e, one)?;
    let half = g.splat(dtype, &[], 0.5);
    let mut factors = vec![y, bell, half];
    let third = factors.remove(g.below(3));
    let pair = either(g, Binary::Mul, factors[0], factors[1])?;
    let r = either(g, Binary::Mul, pair, third)?;
    g.done(r)
}
