//! Examples for the rules of algebra.

use super::{Gen, binary, either, unary};
use crate::ir::{Binary, DType, Graph, Op, Unary};

/// `x op c` with `c` one number everywhere; now and then `c` widens the shape.
fn with_number(g: &mut Gen, ops: [Binary; 2], v: f64) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 4));
    let x = g.input(dtype, &shape);
    let mut narrow = g.narrower(&shape);
    if g.one_in(8) {
        narrow.insert(0, 1);
        narrow.splice(0..0, vec![2; shape.len().saturating_sub(narrow.len()) + 1]);
    }
    let c = g.splat(dtype, &narrow, v);
    let r = match g.pick(&ops) {
        op @ (Binary::Div | Binary::Sub) => binary(g, op, x, c),
        op => either(g, op, x, c),
    }?;
    g.done(r)
}

pub(crate) fn mul_one(g: &mut Gen) -> Option<Graph> {
    let v = if g.one_in(10) { 2.0 } else { 1.0 };
    with_number(g, [Binary::Mul, Binary::Div], v)
}

pub(crate) fn add_zero(g: &mut Gen) -> Option<Graph> {
    let v = g.pick(&[0.0, 0.0, 0.0, -0.0, 1.0]);
    with_number(g, [Binary::Add, Binary::Sub], v)
}

pub(crate) fn unary_pairs(g: &mut Gen) -> Option<Graph> {
    use Unary::*;
    let (inner, outer) = g.pick(&[
        (Neg, Neg),
        (Not, Not),
        (Abs, Abs),
        (Relu, Relu),
        (Floor, Floor),
        (Ceil, Ceil),
        (Round, Round),
        (Neg, Abs),
        (Abs, Neg),
    ]);
    let dtype = if inner == Not { g.pick(&[DType::Bool, DType::I32, DType::U8]) } else { g.float() };
    let shape = g.shape(0, 3);
    let x = g.input(dtype, &shape);
    let a = unary(g, inner, x)?;
    let b = unary(g, outer, a)?;
    g.done(b)
}

pub(crate) fn sub_constant(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 3));
    let x = g.input(dtype, &shape);
    let narrow = g.narrower(&shape);
    let c = g.constant(dtype, &narrow);
    let r = binary(g, Binary::Sub, x, c)?;
    g.done(r)
}

pub(crate) fn add_neg(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 3));
    let (x, y) = (g.input(dtype, &shape), g.input(dtype, &shape));
    let n = unary(g, Unary::Neg, y)?;
    let r = if g.one_in(2) { either(g, Binary::Add, x, n) } else { binary(g, Binary::Sub, x, n) }?;
    g.done(r)
}

pub(crate) fn div_constant(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(0, 3));
    let x = g.input(dtype, &shape);
    let narrow = g.narrower(&shape);
    let c = if g.one_in(2) {
        let v = g.pick(&[0.25, 0.5, 2.0, -4.0, 8.0, 3.0]);
        g.splat(dtype, &narrow, v)
    } else {
        // Away from zero, so that the tolerance means something.
        let c = g.constant(dtype, &narrow);
        let s = unary(g, Unary::Abs, c)?;
        let one = g.splat(dtype, &[], 1.0);
        binary(g, Binary::Add, s, one)?
    };
    let r = binary(g, Binary::Div, x, c)?;
    g.done(r)
}

pub(crate) fn constants_meet(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(0, 3));
    let op = g.pick(&[Binary::Add, Binary::Mul, Binary::Max, Binary::Min]);
    let x = g.input(dtype, &shape);
    let (a, b) = (g.narrower(&shape), g.narrower(&shape));
    let (c, d) = (g.constant(dtype, &a), g.constant(dtype, &b));
    let i = either(g, op, x, c)?;
    let r = either(g, op, i, d)?;
    g.done(r)
}

pub(crate) fn scale_before_shift(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.number(), g.shape(1, 4));
    let x = g.input(dtype, &shape);
    let (a, b) = (g.narrower(&shape), g.narrower(&shape));
    let (c, d) = (g.constant(dtype, &a), g.constant(dtype, &b));
    let s = either(g, Binary::Add, x, c)?;
    let r = either(g, Binary::Mul, s, d)?;
    g.done(r)
}

pub(crate) fn rsqrt(g: &mut Gen) -> Option<Graph> {
    let (dtype, shape) = (g.float(), g.shape(0, 3));
    let x = g.input(dtype, &shape);
    let a = unary(g, Unary::Abs, x)?;
    let one = g.splat(dtype, &[], 1.0);
    let p = binary(g, Binary::Add, a, one)?;
    let s = unary(g, Unary::Sqrt, p)?;
    let r = if g.one_in(2) {
        unary(g, Unary::Recip, s)
    } else {
        let y = g.input(dtype, &shape);
        binary(g, Binary::Div, y, s)
    }?;
    g.done(r)
}

pub(crate) fn cast_cast(g: &mut Gen) -> Option<Graph> {
    let shape = g.shape(0, 3);
    let all =
        [DType::F16, DType::BF16, DType::F32, DType::F64, DType::I8, DType::I16, DType::I32, DType::U8, DType::U16];
    let (a, b) = (g.pick(&all), g.pick(&all));
    let x = g.input(a, &shape);
    let r = if g.one_in(6) {
        g.node(Op::Cast(a), &[x])
    } else {
        let m = g.node(Op::Cast(b), &[x])?;
        g.node(Op::Cast(a), &[m])
    }?;
    g.done(r)
}

pub(crate) fn scale_into_matmul(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let (m, k, n) = (g.between(1, 5), g.between(1, 6), g.between(1, 5));
    let left = g.one_in(2);
    let x = g.input(dtype, &if left { [m, k] } else { [k, n] });
    let w = g.constant(dtype, &if left { [k, n] } else { [m, k] });
    let v = g.pick(&[0.125, 0.5, -3.0, 1.5]);
    let shape = if g.one_in(2) { vec![] } else { vec![1, 1] };
    let c = g.splat(dtype, &shape, v);
    let s = either(g, Binary::Mul, x, c)?;
    let r = g.node(Op::MatMul { epilogue: vec![] }, &if left { [s, w] } else { [w, s] })?;
    g.done(r)
}
