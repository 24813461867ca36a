//! `RotaryEmbedding`, of the standard and of ONNX Runtime.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{DType, Op, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("RotaryEmbedding", 23, rotary), microsoft("RotaryEmbedding", rotary_microsoft)];

fn rotary(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let interleaved = c.flag("interleaved", false)?;
    let (heads, dim) = (c.int("num_heads", 0)?, c.int("rotary_embedding_dim", 0)?);
    let (input, mut cos, mut sin) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let shape = c.shape(input);
    // To [batch, sequence, heads, size].
    let x = match shape[..] {
        [_, _, _, _] => c.transpose(input, &[0, 2, 1, 3])?,
        [b, s, hidden] => {
            let h = usize::try_from(heads).ok().filter(|&h| h > 0 && hidden.is_multiple_of(h));
            let h = h.ok_or_else(|| Fail::invalid(format!("{} does not divide into {heads} heads", c.ty(input))))?;
            c.reshape(input, &[b, s, h, hidden / h])?
        }
        _ => return Err(Fail::invalid(format!("{} has not 3 or 4 axes", c.ty(input)))),
    };
    let xs = c.shape(x);
    let dim = usize::try_from(dim).map_err(|_| Fail::invalid("rotary_embedding_dim is negative"))?;
    let dim = if dim == 0 { xs[3] } else { dim };
    if let Some(ids) = c.opt(3)? {
        cos = c.op(Op::Gather { axis: 0 }, &[cos, ids])?;
        sin = c.op(Op::Gather { axis: 0 }, &[sin, ids])?;
    }
    let y = rotate(c, x, dim, cos, sin, interleaved)?;
    if shape.len() == 4 { one(c.transpose(y, &[0, 2, 1, 3])?) } else { one(c.reshape(y, &shape)?) }
}

/// ONNX Runtime's: positions come second, either `[batch, sequence]` or the first of consecutive ones.
fn rotary_microsoft(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let interleaved = c.flag("interleaved", false)?;
    let (heads, dim) = (c.int("num_heads", 0)?, c.int("rotary_embedding_dim", 0)?);
    c.ignore(&["scale"]);
    if c.flag("is_packed_batching", false)? {
        return Err(Fail::unsupported("packed batches are not supported", "pad the sequences"));
    }
    let (input, ids, cos, sin) = (c.x(0)?, c.x(1)?, c.x(2)?, c.x(3)?);
    let shape = c.shape(input);
    let half = c.shape(cos).last().copied().unwrap_or(0);
    let x = match shape[..] {
        [_, _, _, _] => c.transpose(input, &[0, 2, 1, 3])?,
        [b, s, hidden] => {
            let h = if dim == 0 { hidden / (2 * half).max(1) } else { usize::try_from(heads).unwrap_or(0) };
            if h == 0 || !hidden.is_multiple_of(h) {
                return Err(Fail::invalid(format!("{} does not divide into {h} heads", c.ty(input))));
            }
            c.reshape(input, &[b, s, h, hidden / h])?
        }
        _ => return Err(Fail::invalid(format!("{} has not 3 or 4 axes", c.ty(input)))),
    };
    let (batch, length) = (c.shape(x)[0], c.shape(x)[1]);
    let mut ids = c.cast(ids, DType::I64)?;
    if c.shape(ids) == [1] {
        let count = c.iota(length, 2, 1)?;
        ids = c.add(ids, count)?;
        ids = c.broadcast(ids, &[batch, length])?;
    }
    let cos = c.op(Op::Gather { axis: 0 }, &[cos, ids])?;
    let sin = c.op(Op::Gather { axis: 0 }, &[sin, ids])?;
    let y = rotate(c, x, 2 * half, cos, sin, interleaved)?;
    if shape.len() == 4 { one(c.transpose(y, &[0, 2, 1, 3])?) } else { one(c.reshape(y, &shape)?) }
}

/// Turns the first `dim` elements of each head of `[batch, sequence, heads, size]` by the angles whose cosines and
/// sines are `[batch, sequence, dim / 2]`.
pub(super) fn rotate(
    c: &mut Call<'_, '_>,
    x: ValueId,
    dim: usize,
    cos: ValueId,
    sin: ValueId,
    interleaved: bool,
) -> Result<ValueId, Fail> {
    let xs = c.shape(x);
    if xs.len() != 4 || dim > xs[3] || !dim.is_multiple_of(2) {
        return Err(Fail::invalid(format!("cannot rotate {dim} elements of {}", c.ty(x))));
    }
    let turn = c.slice_axis(x, 3, 0, dim)?;
    let rest = if dim < xs[3] { Some(c.slice_axis(x, 3, dim, xs[3] - dim)?) } else { None };
    let cos = per_position(c, cos, dim / 2)?;
    let sin = per_position(c, sin, dim / 2)?;
    let (x1, x2) = halves(c, turn, interleaved)?;
    let (a, b) = (c.mul(cos, x1)?, c.mul(sin, x2)?);
    let real = c.sub(a, b)?;
    let (a, b) = (c.mul(sin, x1)?, c.mul(cos, x2)?);
    let imaginary = c.add(a, b)?;
    let turned = if interleaved {
        let pairs = [xs[0], xs[1], xs[2], dim / 2, 1];
        let (r, i) = (c.reshape(real, &pairs)?, c.reshape(imaginary, &pairs)?);
        let y = c.concat(4, &[r, i])?;
        c.reshape(y, &[xs[0], xs[1], xs[2], dim])?
    } else {
        c.concat(3, &[real, imaginary])?
    };
    match rest {
        Some(rest) => c.concat(3, &[turned, rest]),
        None => Ok(turned),
    }
}

/// `[batch, sequence, n]` as `[batch, sequence, 1, n]`.
fn per_position(c: &mut Call<'_, '_>, v: ValueId, n: usize) -> Result<ValueId, Fail> {
    match c.shape(v)[..] {
        [b, s, m] if m == n => c.reshape(v, &[b, s, 1, n]),
        _ => Err(Fail::invalid(format!("the cache gives {}, wanted [batch, sequence, {n}]", c.ty(v)))),
    }
}

fn halves(c: &mut Call<'_, '_>, x: ValueId, interleaved: bool) -> Result<(ValueId, ValueId), Fail> {
    let s = c.shape(x);
    let n = s[3] / 2;
    if interleaved {
        let pairs = c.reshape(x, &[s[0], s[1], s[2], n, 2])?;
        let mut part = |i| {
            let v = c.slice_axis(pairs, 4, i, 1)?;
            c.reshape(v, &[s[0], s[1], s[2], n])
        };
        return Ok((part(0)?, part(1)?));
    }
    Ok((c.slice_axis(x, 3, 0, n)?, c.slice_axis(x, 3, n, n)?))
}
