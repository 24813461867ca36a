//! ONNX Runtime's `GroupQueryAttention`: causal, fewer key heads than query heads, a cache of keys and values.

use super::attention_core::{Scores, attend, bias_where, causal, head_count, join_heads, split_heads, sum_of};
use super::rotary::rotate;
use crate::import::call::{Call, Val, integers};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{DType, Op, ScatterMode, ValueId};

pub(super) const OPS: &[OpDef] = &[microsoft("GroupQueryAttention", group_query_attention)];

/// Where the new keys and values go.
struct Cache {
    /// Positions filled before, `[batch]` of `i64`.
    past: ValueId,
    /// The same if it is one number for all of the batch and known.
    known: Option<usize>,
    /// Positions of the result.
    length: usize,
}

/// Operands: query (or all three in one), key, value, past key and value `[B, heads, P, size]`, the last valid position
/// of each sequence, the total length (which must be known), tables of cosines and sines, positions, a bias of the
/// scores, a sink for each head. Results: y, the caches.
fn group_query_attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(12)?;
    let (heads, kv_heads) = (head_count(c, "num_heads")?, head_count(c, "kv_num_heads")?);
    let scale = c.float_opt("scale")?.map(f64::from).filter(|&s| s != 0.0);
    let softcap = f64::from(c.float("softcap", 0.0)?);
    let window = Some(c.int("local_window_size", -1)?).filter(|&w| w > 0).map(|w| w - 1);
    let turned = c.flag("do_rotary", false)?;
    let interleaved = c.flag("rotary_interleaved", false)?;
    let smooth = c.int("smooth_softmax", 0)? > 0;
    for name in ["k_quant_type", "v_quant_type"] {
        c.choice(name, "NONE", &["NONE"])?;
    }
    if c.int("qk_output", 0)? != 0 || c.int("kv_cache_bit_width", 0)? != 0 {
        return Err(Fail::unsupported("scores as a result and quantised caches are not supported", "leave them out"));
    }
    let [batch, length, _] = c.shape(c.x(0)?)[..] else {
        return Err(Fail::invalid("the query is not [batch, length, heads * size]"));
    };
    let (q, k, v) = parts(c, heads, kv_heads)?;
    let cache = cache(c, batch, length)?;

    let mut position = c.iota(length, 2, 1)?;
    let start = c.reshape(cache.past, &[batch, 1])?;
    position = c.add(start, position)?;
    let (mut q, mut k) = (q, k);
    if turned {
        if let Some(given) = c.opt(9)? {
            position = c.cast(given, DType::I64)?;
        }
        let (cos, sin) = (c.x(7)?, c.x(8)?);
        let cos = c.op(Op::Gather { axis: 0 }, &[cos, position])?;
        let sin = c.op(Op::Gather { axis: 0 }, &[sin, position])?;
        let dim = 2 * c.shape(cos).last().copied().unwrap_or(0);
        q = rotate(c, q, dim, cos, sin, interleaved)?;
        k = rotate(c, k, dim, cos, sin, interleaved)?;
    }
    let q = c.transpose(q, &[0, 2, 1, 3])?;
    let k = c.transpose(k, &[0, 2, 1, 3])?;
    let k = store(c, &cache, 3, k)?;
    let v = store(c, &cache, 4, v)?;

    let dtype = c.dtype(q);
    let past = c.reshape(cache.past, &[batch, 1, 1, 1])?;
    let on = causal(c, length, cache.length, past, window)?;
    let order = bias_where(c, on, dtype, f64::NEG_INFINITY)?;
    let mut extra = c.opt(10)?;
    if let Some(e) = extra {
        let s = c.shape(e);
        let last = s.last().copied().unwrap_or(0);
        if last != 1 && last < cache.length {
            // The bias knows the positions in use, the cache may have more.
            let mut after = vec![0; s.len()];
            after[s.len() - 1] = (cache.length - last) as isize;
            extra = Some(c.pad(e, &vec![0; s.len()], &after, 0.0)?);
        }
    }
    let bias = sum_of(c, &[Some(order), extra])?;
    let sink = match c.opt(11)? {
        Some(s) => Some(c.reshape(s, &[1, heads, 1, 1])?),
        None if smooth => Some(c.scalar(dtype, 0.0)),
        None => None,
    };
    let y = attend(c, q, k, v, &Scores { scale, softcap, bias, sink })?;
    Ok(vec![Val::Tensor(join_heads(c, y)?), Val::Tensor(k), Val::Tensor(v)])
}

/// Query and key as `[B, length, heads, size]`, the value as `[B, heads, length, size]`.
fn parts(c: &mut Call<'_, '_>, heads: usize, kv_heads: usize) -> Result<(ValueId, ValueId, ValueId), Fail> {
    let (mut q, k, v) = (c.x(0)?, c.opt(1)?, c.opt(2)?);
    let (k, v) = match (k, v) {
        (Some(k), Some(v)) => (k, v),
        (None, None) => {
            let all = c.shape(q).get(2).copied().unwrap_or(0);
            let size = all / (heads + 2 * kv_heads);
            let k = c.slice_axis(q, 2, heads * size, kv_heads * size)?;
            let v = c.slice_axis(q, 2, (heads + kv_heads) * size, kv_heads * size)?;
            q = c.slice_axis(q, 2, 0, heads * size)?;
            (k, v)
        }
        _ => return Err(Fail::invalid("key and value go together")),
    };
    let apart = |c: &mut Call<'_, '_>, x: ValueId, n: usize| {
        let x = split_heads(c, x, n)?;
        c.transpose(x, &[0, 2, 1, 3])
    };
    Ok((apart(c, q, heads)?, apart(c, k, kv_heads)?, split_heads(c, v, kv_heads)?))
}

fn cache(c: &mut Call<'_, '_>, batch: usize, length: usize) -> Result<Cache, Fail> {
    let total = match c.known_ints(6, "the total length")?[..] {
        [n] => usize::try_from(n).ok().filter(|&n| n >= length && n <= 1 << 24),
        _ => None,
    };
    let total =
        total.ok_or_else(|| Fail::invalid(format!("the total length must be a number of at least {length}")))?;
    let room = match c.opt(3)? {
        Some(p) => c.shape(p).get(2).copied().unwrap_or(0),
        None => 0,
    };
    let whole = total.max(room);
    if total == length {
        // The first tokens: nothing is filled, whatever the lengths say.
        let past = c.full(DType::I64, &[batch], 0.0)?;
        return Ok(Cache { past, known: Some(0), length: whole });
    }
    let last = c.x(5)?;
    let last = c.reshape(last, &[batch])?;
    let last = c.cast(last, DType::I64)?;
    let past = c.offset(last, 1.0 - length as f64)?;
    let known = c.constant(past).and_then(integers).and_then(|v| {
        let first = usize::try_from(*v.first()?).ok()?;
        v.iter().all(|&n| n == first as i64).then_some(first)
    });
    Ok(Cache { past, known, length: whole })
}

/// The cache at operand `i` with the new entries `[B, heads, length, size]` in their places.
fn store(c: &mut Call<'_, '_>, cache: &Cache, i: usize, new: ValueId) -> Result<ValueId, Fail> {
    let s = c.shape(new);
    let old = match c.opt(i)? {
        Some(old) => old,
        None => {
            let dtype = c.dtype(new);
            c.full(dtype, &[s[0], s[1], 0, s[3]], 0.0)?
        }
    };
    let os = c.shape(old);
    if os.len() != 4 || [os[0], os[1], os[3]] != [s[0], s[1], s[3]] {
        return Err(Fail::invalid(format!("a cache {} does not take {}", c.ty(old), c.ty(new))));
    }
    if let Some(past) = cache.known
        && past <= os[2]
        && past + s[2] <= cache.length
    {
        let mut parts = vec![new];
        if past > 0 {
            parts.insert(0, c.slice_axis(old, 2, 0, past)?);
        }
        let filled = past + s[2];
        if filled < os[2] {
            parts.push(c.slice_axis(old, 2, filled, os[2] - filled)?);
        }
        let y = c.concat(2, &parts)?;
        let have = filled.max(os[2]);
        return c.pad(y, &[0; 4], &[0, 0, (cache.length - have) as isize, 0], 0.0);
    }
    let room = c.pad(old, &[0; 4], &[0, 0, (cache.length - os[2]) as isize, 0], 0.0)?;
    let position = c.iota(s[2], 4, 2)?;
    let past = c.reshape(cache.past, &[s[0], 1, 1, 1])?;
    let position = c.add(past, position)?;
    let at = c.broadcast(position, &s)?;
    c.op(Op::ScatterElements { axis: 2, mode: ScatterMode::Replace }, &[room, at, new])
}
