//! `RotaryEmbedding`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("RotaryEmbedding", 23, rotary)];

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
    if dim > xs[3] || !dim.is_multiple_of(2) {
        return Err(Fail::invalid(format!("cannot rotate {dim} of {} elements", xs[3])));
    }
    if let Some(ids) = c.opt(3)? {
        cos = c.op(Op::Gather { axis: 0 }, &[cos, ids])?;
        sin = c.op(Op::Gather { axis: 0 }, &[sin, ids])?;
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
    let y = match rest {
        Some(rest) => c.concat(3, &[turned, rest])?,
        None => turned,
    };
    if shape.len() == 4 { one(c.transpose(y, &[0, 2, 1, 3])?) } else { one(c.reshape(y, &shape)?) }
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
