//! `CumSum`, `CumProd`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Op;

pub(super) const OPS: &[OpDef] = &[onnx("CumProd", 26, cum_prod), onnx("CumSum", 11, cum_sum)];

/// The axis (an operand), `exclusive` and `reverse`.
fn settings(c: &mut Call<'_, '_>) -> Result<(usize, bool, bool), Fail> {
    c.at_most(2)?;
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let x = c.x(0)?;
    let a = match c.known_ints(1, "the axis")?[..] {
        [a] => axis(a, c.rank(x))?,
        _ => return Err(Fail::invalid("the axis must be one number")),
    };
    Ok((a, exclusive, reverse))
}

fn cum_sum(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (axis, exclusive, reverse) = settings(c)?;
    let x = c.x(0)?;
    one(c.op(Op::CumSum { axis, exclusive, reverse }, &[x])?)
}

/// Products over ever longer spans: after step i each element holds the product of 2^i
/// neighbours.
fn cum_prod(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (axis, exclusive, reverse) = settings(c)?;
    let mut y = c.x(0)?;
    let n = c.shape(y)[axis];
    let shifted = |c: &mut Call<'_, '_>, x, by: usize| {
        let rank = c.rank(x);
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        before[axis] = if reverse { -(by as isize) } else { by as isize };
        after[axis] = -before[axis];
        c.pad(x, &before, &after, 1.0)
    };
    if exclusive && n > 0 {
        y = shifted(c, y, 1)?;
    }
    let mut span = 1;
    while span < n {
        let other = shifted(c, y, span)?;
        y = c.mul(y, other)?;
        span *= 2;
    }
    one(y)
}
