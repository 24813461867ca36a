//! `Expand`, `Tile`.

use crate::import::call::{Call, Val, axis, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{ValueId, broadcast_shapes};

pub(super) const OPS: &[OpDef] = &[onnx("Expand", 8, expand), onnx("Tile", 1, tile)];

/// The operand's own extents win over ones in the given shape.
fn expand(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let x = c.x(0)?;
    let want = c.known_ints(1, "the shape")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let shape = broadcast_shapes(&c.shape(x), &want)
        .ok_or_else(|| Fail::invalid(format!("{} does not broadcast with {want:?}", c.ty(x))))?;
    one(c.broadcast(x, &shape)?)
}

/// Each axis gets an axis of repetitions before it, which a reshape then joins with it.
fn tile(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    if c.opset < 6 {
        return tile_axis(c);
    }
    c.at_most(2)?;
    let x = c.x(0)?;
    let repeats = c.known_ints(1, "the repeats")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    repeated(c, x, &repeats)
}

/// Before version 6: how often, and along which axis.
fn tile_axis(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let x = c.x(0)?;
    let (count, at) = (c.known_number(1, "the count")?, c.known_number(2, "the axis")?);
    let mut repeats = vec![1; c.rank(x)];
    repeats[axis(at as i64, c.rank(x))?] = extent(count as i64)?;
    repeated(c, x, &repeats)
}

fn repeated(c: &mut Call<'_, '_>, x: ValueId, repeats: &[usize]) -> Result<Vec<Val>, Fail> {
    let xs = c.shape(x);
    if repeats.len() != xs.len() {
        return Err(Fail::invalid(format!("{} repeats do not fit {}", repeats.len(), c.ty(x))));
    }
    let mut apart = Vec::new();
    let mut wide = Vec::new();
    let mut joined = Vec::new();
    for (&n, &r) in xs.iter().zip(repeats) {
        apart.extend([1, n]);
        wide.extend([r, n]);
        joined.push(n.checked_mul(r).ok_or_else(|| Fail::invalid("the result is too large"))?);
    }
    let y = c.reshape(x, &apart)?;
    let y = c.broadcast(y, &wide)?;
    one(c.reshape(y, &joined)?)
}
