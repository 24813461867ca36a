//! `Trilu`, `EyeLike`: comparisons of row and column numbers.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{Binary, DType, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("EyeLike", 9, eye_like), onnx("Trilu", 14, trilu), microsoft("Trilu", trilu)];

/// Rows plus k against columns of a matrix.
fn compare(c: &mut Call<'_, '_>, b: Binary, rows: usize, columns: usize, k: i64) -> Result<ValueId, Fail> {
    let row = c.iota(rows, 2, 0)?;
    let column = c.iota(columns, 2, 1)?;
    // Beyond the matrix all values of k mean the same, and clamping avoids overflow.
    let limit = (rows + columns) as i64;
    let diagonal = c.offset(row, k.clamp(-limit, limit) as f64)?;
    c.binary(b, column, diagonal)
}

fn trilu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let upper = c.flag("upper", true)?;
    let k = match c.known_ints_opt(1, "k")?.as_deref() {
        None => 0,
        Some([k]) => *k,
        Some(_) => return Err(Fail::invalid("k must be one number")),
    };
    let x = c.x(0)?;
    let s = c.shape(x);
    if s.len() < 2 {
        return Err(Fail::invalid(format!("{} is no matrix", c.ty(x))));
    }
    let b = if upper { Binary::Ge } else { Binary::Le };
    let keep = compare(c, b, s[s.len() - 2], s[s.len() - 1], k)?;
    let zero = c.scalar_like(x, 0.0);
    one(c.select(keep, x, zero)?)
}

fn eye_like(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (dtype, k) = (c.dtype_attribute("dtype")?, c.int("k", 0)?);
    let x = c.x(0)?;
    let s = c.shape(x);
    if s.len() != 2 {
        return Err(Fail::invalid(format!("{} is no matrix", c.ty(x))));
    }
    let hit = compare(c, Binary::Eq, s[0], s[1], k)?;
    let dtype: DType = dtype.unwrap_or(c.dtype(x));
    one(c.cast(hit, dtype)?)
}
