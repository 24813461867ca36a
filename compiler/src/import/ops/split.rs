//! `Split`: sizes are an attribute before version 13, an operand since.

use crate::import::call::{Call, Val, axis, extent};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Split", 1, split)];

fn split(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let a = c.int("axis", 0)?;
    let x = c.x(0)?;
    let a = axis(a, c.rank(x))?;
    let given = if c.opset < 2 && c.opt(1)?.is_some() {
        c.at_most(2)?;
        c.known_ints_opt(1, "the sizes")?
    } else if c.opset < 13 {
        c.at_most(1)?;
        c.int_list("split")?
    } else {
        c.at_most(2)?;
        c.known_ints_opt(1, "the sizes")?
    };
    let results = c.result_count() as i64;
    let count = c.int("num_outputs", results)?;
    let total = c.shape(x)[a];
    let sizes = match given {
        Some(list) => list.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?,
        None => equal_parts(total, count)?,
    };
    if sizes.iter().try_fold(0usize, |s, &n| s.checked_add(n)) != Some(total) {
        return Err(Fail::invalid(format!("parts {sizes:?} do not add up to {total}")));
    }
    let mut start = 0;
    let mut parts = Vec::new();
    for n in sizes {
        parts.push(Val::Tensor(c.slice_axis(x, a, start, n)?));
        start += n;
    }
    Ok(parts)
}

/// Equal parts, the last one smaller if need be.
fn equal_parts(total: usize, count: i64) -> Result<Vec<usize>, Fail> {
    let count = usize::try_from(count).ok().filter(|&n| n > 0 && n <= 1 << 20);
    let count = count.ok_or_else(|| Fail::invalid("the number of parts is out of range"))?;
    let part = total.div_ceil(count);
    Ok((0..count).map(|i| total.saturating_sub(i * part).min(part)).collect())
}
