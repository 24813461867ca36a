//! Examples for norms in their spellings.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, DType, Graph, Op, Reduce, Unary, ValueId};

fn reduce(g: &mut Gen, kind: Reduce, x: ValueId, axes: &[usize], keep: bool) -> Option<ValueId> {
    g.node(Op::Reduce { kind, axes: axes.to_vec(), keep }, &[x])
}

/// The mean along axes, as a mean, as one that is reshaped, or as a sum over their number.
fn mean(g: &mut Gen, x: ValueId, axes: &[usize]) -> Option<ValueId> {
    let (dtype, shape) = (g.dtype_of(x), g.shape_of(x));
    let n: usize = axes.iter().map(|&a| shape[a]).product();
    match g.below(4) {
        0 => {
            let sum = reduce(g, Reduce::Sum, x, axes, true)?;
            let c = g.splat(dtype, &[], 1.0 / n as f64);
            either(g, Binary::Mul, sum, c)
        }
        1 => {
            let sum = reduce(g, Reduce::Sum, x, axes, true)?;
            let c = g.splat(dtype, &[], n as f64);
            binary(g, Binary::Div, sum, c)
        }
        2 => {
            let m = reduce(g, Reduce::Mean, x, axes, false)?;
            let mut kept = shape;
            axes.iter().for_each(|&a| kept[a] = 1);
            g.node(Op::Reshape { shape: kept }, &[m])
        }
        _ => reduce(g, Reduce::Mean, x, axes, true),
    }
}

fn square(g: &mut Gen, x: ValueId) -> Option<ValueId> {
    if g.one_in(3) {
        let two = g.splat(g.dtype_of(x), &[], 2.0);
        return binary(g, Binary::Pow, x, two);
    }
    binary(g, Binary::Mul, x, x)
}

/// The inverse root of a value plus a number that f32 has.
fn inverse_root(g: &mut Gen, v: ValueId) -> Option<ValueId> {
    let dtype = g.dtype_of(v);
    let e = g.splat(dtype, &[], 0.125);
    let sum = either(g, Binary::Add, v, e)?;
    if g.one_in(4) {
        let n = g.splat(dtype, &[], -0.5);
        return binary(g, Binary::Pow, sum, n);
    }
    unary(g, Unary::Rsqrt, sum)
}

fn operand(g: &mut Gen) -> (ValueId, Vec<usize>) {
    // Sums of squares in f16 are too coarse to tell roundings from errors.
    let dtype = g.pick(&[DType::F32, DType::F32, DType::F64]);
    let shape = g.shape(1, 4);
    let mut axes: Vec<usize> = (0..shape.len()).filter(|_| g.one_in(3)).collect();
    if axes.is_empty() {
        axes.push(shape.len() - 1);
    }
    (g.input(dtype, &shape), axes)
}

pub(crate) fn norm(g: &mut Gen) -> Option<Graph> {
    let (x, axes) = operand(g);
    let shape = g.shape_of(x);
    let centered = g.one_in(2);
    let u = if centered {
        let m = mean(g, x, &axes)?;
        binary(g, Binary::Sub, x, m)?
    } else {
        x
    };
    // Now and then along other axes, which no norm is.
    let over: Vec<usize> = if g.one_in(10) { vec![g.below(shape.len())] } else { axes.clone() };
    let s = square(g, u)?;
    let v = mean(g, s, &over)?;
    let r = inverse_root(g, v)?;
    let y = if g.one_in(3) {
        let c = g.narrower(&shape);
        let c = g.constant(g.dtype_of(x), &c);
        let r = either(g, Binary::Mul, r, c)?;
        either(g, Binary::Mul, u, r)?
    } else {
        either(g, Binary::Mul, u, r)?
    };
    g.done(y)
}

pub(crate) fn from_moments(g: &mut Gen) -> Option<Graph> {
    let (x, axes) = operand(g);
    let (dtype, shape) = (g.dtype_of(x), g.shape_of(x));
    let m = mean(g, x, &axes)?;
    let d = binary(g, Binary::Sub, x, m)?;
    let s = square(g, d)?;
    let v = mean(g, s, &axes)?;
    let mut scale = inverse_root(g, v)?;
    if g.one_in(2) {
        let c = g.narrower(&shape);
        let c = g.constant(dtype, &c);
        scale = either(g, Binary::Mul, scale, c)?;
    }
    let b = g.narrower(&shape);
    let b = g.constant(dtype, &b);
    let scaled = either(g, Binary::Mul, x, scale)?;
    let own = either(g, Binary::Mul, m, scale)?;
    let shift = binary(g, Binary::Sub, b, own)?;
    let y = either(g, Binary::Add, scaled, shift)?;
    g.done(y)
}
