//! The `Reduce` family, `ArgMax`, `ArgMin`.

use crate::import::call::{Call, Val, axes, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Reduce, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("ArgMax", 1, |c| arg(c, true)),
    onnx("ArgMin", 1, |c| arg(c, false)),
    onnx("ReduceL1", 1, |c| over(c, 18, |c, x, a, k| lp_norm(c, x, 1, a, k))),
    onnx("ReduceL2", 1, |c| over(c, 18, |c, x, a, k| lp_norm(c, x, 2, a, k))),
    onnx("ReduceLogSum", 1, |c| {
        over(c, 18, |c, x, a, k| {
            let s = sum(c, x, a, k)?;
            c.unary(Unary::Log, s)
        })
    }),
    onnx("ReduceLogSumExp", 1, |c| over(c, 18, log_sum_exp)),
    onnx("ReduceMax", 1, |c| over(c, 18, |c, x, a, k| extreme(c, Reduce::Max, x, a, k))),
    onnx("ReduceMean", 1, |c| over(c, 18, |c, x, a, k| c.reduce(Reduce::Mean, x, a, k))),
    onnx("ReduceMin", 1, |c| over(c, 18, |c, x, a, k| extreme(c, Reduce::Min, x, a, k))),
    onnx("ReduceProd", 1, |c| over(c, 18, |c, x, a, k| c.reduce(Reduce::Prod, x, a, k))),
    onnx("ReduceSum", 1, |c| over(c, 13, sum)),
    onnx("ReduceSumSquare", 1, |c| {
        over(c, 18, |c, x, a, k| {
            let s = c.mul(x, x)?;
            sum(c, s, a, k)
        })
    }),
];

type Body = fn(&mut Call<'_, '_>, ValueId, &[usize], bool) -> Result<ValueId, Fail>;

/// Reads axes (an attribute before version `operand_since`, an operand from then on) and
/// `keepdims`, then reduces.
fn over(c: &mut Call<'_, '_>, operand_since: i64, body: Body) -> Result<Vec<Val>, Fail> {
    let keep = c.flag("keepdims", true)?;
    let x = c.x(0)?;
    let rank = c.rank(x);
    let (given, noop) = if c.opset < operand_since {
        c.at_most(1)?;
        (c.int_list("axes")?, false)
    } else {
        c.at_most(2)?;
        let noop = c.flag("noop_with_empty_axes", false)?;
        (c.known_ints_opt(1, "the axes")?, noop)
    };
    let list = match given {
        Some(list) if !list.is_empty() => axes(&list, rank)?,
        _ if noop => Vec::new(),
        _ => (0..rank).collect(),
    };
    one(body(c, x, &list, keep)?)
}

fn sum(c: &mut Call<'_, '_>, x: ValueId, over: &[usize], keep: bool) -> Result<ValueId, Fail> {
    c.reduce(Reduce::Sum, x, over, keep)
}

/// Largest or smallest; of bools, true counts as larger.
fn extreme(c: &mut Call<'_, '_>, kind: Reduce, x: ValueId, over: &[usize], keep: bool) -> Result<ValueId, Fail> {
    if c.dtype(x) != DType::Bool {
        return c.reduce(kind, x, over, keep);
    }
    let n = c.cast(x, DType::U8)?;
    let r = c.reduce(kind, n, over, keep)?;
    c.cast(r, DType::Bool)
}

/// log(sum(exp(x))), shifted by the maximum so that nothing overflows.
fn log_sum_exp(c: &mut Call<'_, '_>, x: ValueId, over: &[usize], keep: bool) -> Result<ValueId, Fail> {
    let max = c.reduce(Reduce::Max, x, over, true)?;
    // An infinite maximum would make inf - inf.
    let infinite = c.unary(Unary::IsInf, max)?;
    let zero = c.scalar_like(x, 0.0);
    let shift = c.select(infinite, zero, max)?;
    let d = c.sub(x, shift)?;
    let e = c.unary(Unary::Exp, d)?;
    let s = c.reduce(Reduce::Sum, e, over, true)?;
    let l = c.unary(Unary::Log, s)?;
    let y = c.add(l, shift)?;
    if keep {
        return Ok(y);
    }
    let shape: Vec<usize> =
        c.shape(y).into_iter().enumerate().filter(|(i, _)| !over.contains(i)).map(|(_, d)| d).collect();
    c.reshape(y, &shape)
}

/// (sum |x|^p)^(1/p).
pub(super) fn lp_norm(c: &mut Call<'_, '_>, x: ValueId, p: i64, over: &[usize], keep: bool) -> Result<ValueId, Fail> {
    let a = c.unary(Unary::Abs, x)?;
    match p {
        1 => c.reduce(Reduce::Sum, a, over, keep),
        2 => {
            let s = c.mul(x, x)?;
            let s = c.reduce(Reduce::Sum, s, over, keep)?;
            square_root(c, s)
        }
        p if p > 2 => {
            let e = c.scalar_like(x, p as f64);
            let s = c.binary(Binary::Pow, a, e)?;
            let s = c.reduce(Reduce::Sum, s, over, keep)?;
            let e = c.scalar_like(x, 1.0 / p as f64);
            c.binary(Binary::Pow, s, e)
        }
        p => Err(Fail::invalid(format!("p = {p} is no norm"))),
    }
}

/// The root, truncated for integers.
fn square_root(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let dtype = c.dtype(x);
    if dtype.is_float() {
        return c.unary(Unary::Sqrt, x);
    }
    let wide = c.cast(x, DType::F64)?;
    let root = c.unary(Unary::Sqrt, wide)?;
    c.cast(root, dtype)
}

fn arg(c: &mut Call<'_, '_>, max: bool) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (a, keep, last) = (c.int("axis", 0)?, c.flag("keepdims", true)?, c.flag("select_last_index", false)?);
    let x = c.x(0)?;
    let a = axis(a, c.rank(x))?;
    one(c.op(Op::ArgReduce { max, axis: a, keep, last }, &[x])?)
}
