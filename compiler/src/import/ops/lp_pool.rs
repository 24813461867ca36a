//! `LpPool`.

use super::pool::pool_window;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, Op, Pool, Unary};

pub(super) const OPS: &[OpDef] = &[onnx("LpPool", 1, lp_pool)];

/// (sum of |x|^p over the window)^(1/p); the sum is the mean with the padding counted, times
/// the number of cells.
fn lp_pool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let p = if c.opset < 2 { c.float("p", 2.0)? as i64 } else { c.int("p", 2)? };
    if p < 1 {
        return Err(Fail::invalid(format!("p = {p} is no norm")));
    }
    let x = c.x(0)?;
    let window = pool_window(c, x)?.window;
    let cells: usize = window.kernel.iter().product();
    let a = c.unary(Unary::Abs, x)?;
    let e = c.scalar_like(x, p as f64);
    let powers = if p == 1 { a } else { c.binary(Binary::Pow, a, e)? };
    let mean = c.op(Op::Pool { kind: Pool::AverageIncludePad, window }, &[powers])?;
    let sum = c.scale(mean, cells as f64)?;
    let e = c.scalar_like(x, 1.0 / p as f64);
    one(if p == 1 { sum } else { c.binary(Binary::Pow, sum, e)? })
}
