//! `Det` of small matrices, by cofactors.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::ValueId;

pub(super) const OPS: &[OpDef] = &[onnx("Det", 11, det)];

/// Rows up to which cofactors are reasonable.
const MAX_ROWS: usize = 5;

fn det(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    let s = c.shape(x);
    let n = s.last().copied().unwrap_or(0);
    if s.len() < 2 || s[s.len() - 2] != n {
        return Err(Fail::invalid(format!("{} is no square matrix", c.ty(x))));
    }
    if n == 0 || n > MAX_ROWS {
        return Err(Fail::unsupported(format!("the determinant of {n} x {n} is not supported"), "at most 5 x 5"));
    }
    let columns: Vec<usize> = (0..n).collect();
    let y = minor(c, x, 0, &columns)?;
    one(c.reshape(y, &s[..s.len() - 2])?)
}

/// Determinant of the rows from `row` on and some columns, `[..., 1, 1]`.
fn minor(c: &mut Call<'_, '_>, x: ValueId, row: usize, columns: &[usize]) -> Result<ValueId, Fail> {
    let r = c.rank(x);
    let mut sum: Option<ValueId> = None;
    for (i, &col) in columns.iter().enumerate() {
        let e = c.slice_axis(x, r - 2, row, 1)?;
        let mut e = c.slice_axis(e, r - 1, col, 1)?;
        if columns.len() > 1 {
            let rest: Vec<usize> = columns.iter().copied().filter(|&k| k != col).collect();
            let m = minor(c, x, row + 1, &rest)?;
            e = c.mul(e, m)?;
        }
        sum = Some(match sum {
            None => e,
            Some(s) if i % 2 == 1 => c.sub(s, e)?,
            Some(s) => c.add(s, e)?,
        });
    }
    sum.ok_or_else(|| Fail::invalid("an empty matrix has no determinant"))
}
