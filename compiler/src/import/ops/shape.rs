//! `Shape`, `Size`: always known, since shapes are static.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Shape", 1, shape), onnx("Size", 1, size)];

fn shape(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (start, end) = (c.int("start", 0)?, c.int_opt("end")?);
    let x = c.x(0)?;
    let xs: Vec<i64> = c.shape(x).into_iter().map(|d| d as i64).collect();
    let rank = xs.len() as i64;
    let place = |a: i64| if a < 0 { (a + rank).max(0) } else { a.min(rank) } as usize;
    let (start, end) = (place(start), place(end.unwrap_or(rank)));
    let part = if start < end { &xs[start..end] } else { &[] };
    one(c.ints(part))
}

fn size(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    let n = c.ty(x).elements();
    let v = c.ints(&[n as i64]);
    one(c.reshape(v, &[])?)
}
