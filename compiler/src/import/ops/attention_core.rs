//! What all forms of attention share: softmax(scale * q kᵀ + bias) v, for operands
//! `[batch, heads, length, size]`.

use super::attention::repeat_heads;
use crate::import::call::Call;
use crate::import::error::Fail;
use crate::ir::{Binary, DType, Op, Unary, ValueId};

/// How scores become weights.
pub(super) struct Scores {
    /// Factor of the products; the inverse root of the head's size when none is given.
    pub(super) scale: Option<f64>,
    /// Scores are bounded by `cap * tanh(score / cap)` when positive.
    pub(super) softcap: f64,
    /// Added to the scores; broadcasts to `[batch, heads, queries, keys]`.
    pub(super) bias: Option<ValueId>,
    /// A score that takes part in the softmax without a value: it broadcasts to `[batch, heads, queries, 1]`.
    pub(super) sink: Option<ValueId>,
}

/// `[batch, heads, queries, size of v]`. Fewer key heads than query heads are shared evenly.
pub(super) fn attend(
    c: &mut Call<'_, '_>,
    q: ValueId,
    k: ValueId,
    v: ValueId,
    scores: &Scores,
) -> Result<ValueId, Fail> {
    let (qs, ks, vs) = (c.shape(q), c.shape(k), c.shape(v));
    let ranked = qs.len() == 4 && ks.len() == 4 && vs.len() == 4;
    if !ranked || ks[1] == 0 || !qs[1].is_multiple_of(ks[1]) || ks[..3] != vs[..3] || qs[0] != ks[0] || qs[3] != ks[3] {
        return Err(Fail::invalid(format!("{} {} {} do not fit together", c.ty(q), c.ty(k), c.ty(v))));
    }
    let k = repeat_heads(c, k, qs[1] / ks[1])?;
    let v = repeat_heads(c, v, qs[1] / ks[1])?;
    let kt = c.transpose_last(k)?;
    let q = c.scale(q, scores.scale.unwrap_or(1.0 / (qs[3] as f64).sqrt()))?;
    let mut s = c.matmul(q, kt)?;
    let shape = c.shape(s);
    if scores.softcap > 0.0 {
        let cap = c.scalar_like(s, scores.softcap);
        let t = c.div(s, cap)?;
        let t = c.unary(Unary::Tanh, t)?;
        s = c.mul(t, cap)?;
    }
    if let Some(bias) = scores.bias {
        let dtype = c.dtype(s);
        let bias = c.cast(bias, dtype)?;
        s = c.add(s, bias)?;
        if c.shape(s) != shape {
            return Err(Fail::invalid(format!("{} does not broadcast to the scores {shape:?}", c.ty(bias))));
        }
    }
    if let Some(sink) = scores.sink {
        let dtype = c.dtype(s);
        let sink = c.cast(sink, dtype)?;
        let sink = c.broadcast(sink, &[shape[0], shape[1], shape[2], 1])?;
        s = c.concat(3, &[s, sink])?;
    }
    let w = c.op(Op::Softmax { axis: 3 }, &[s])?;
    let w = c.slice_axis(w, 3, 0, shape[3])?;
    c.matmul(w, v)
}

/// A bias from a mask of numbers: zero where it is not zero, `filter` where it is.
pub(super) fn bias_of_mask(c: &mut Call<'_, '_>, mask: ValueId, dtype: DType, filter: f64) -> Result<ValueId, Fail> {
    let on = c.cast(mask, DType::Bool)?;
    bias_where(c, on, dtype, filter)
}

/// Zero where `on`, else `filter`.
pub(super) fn bias_where(c: &mut Call<'_, '_>, on: ValueId, dtype: DType, filter: f64) -> Result<ValueId, Fail> {
    let (zero, low) = (c.scalar(dtype, 0.0), c.scalar(dtype, filter));
    c.select(on, zero, low)
}

/// True where a query may see a key: up to its own position, which counts from `past` (an `i64` that
/// broadcasts to `[batch, 1, queries, 1]`), and no farther back than `window` keys before it.
pub(super) fn causal(
    c: &mut Call<'_, '_>,
    queries: usize,
    keys: usize,
    past: ValueId,
    window: Option<i64>,
) -> Result<ValueId, Fail> {
    const MAX: usize = 1 << 24;
    if queries.saturating_mul(keys) > MAX {
        return Err(Fail::unsupported("a causal mask of this size is not supported", "use shorter sequences"));
    }
    let key = c.iota(keys, 4, 3)?;
    let query = c.iota(queries, 4, 2)?;
    let position = c.add(query, past)?;
    let mut on = c.binary(Binary::Le, key, position)?;
    if let Some(window) = window {
        let first = c.offset(position, -(window as f64))?;
        let near = c.binary(Binary::Ge, key, first)?;
        on = c.binary(Binary::And, on, near)?;
    }
    Ok(on)
}

/// The sum of biases that may be there.
pub(super) fn sum_of(c: &mut Call<'_, '_>, parts: &[Option<ValueId>]) -> Result<Option<ValueId>, Fail> {
    let mut sum = None;
    for &v in parts.iter().flatten() {
        sum = Some(match sum {
            Some(s) => c.add(s, v)?,
            None => v,
        });
    }
    Ok(sum)
}

/// `[batch, length, heads * size]` to `[batch, heads, length, size]`.
pub(super) fn split_heads(c: &mut Call<'_, '_>, x: ValueId, heads: usize) -> Result<ValueId, Fail> {
    let s = c.shape(x);
    if s.len() != 3 || heads == 0 || !s[2].is_multiple_of(heads) {
        return Err(Fail::invalid(format!("{} does not divide into {heads} heads", c.ty(x))));
    }
    let y = c.reshape(x, &[s[0], s[1], heads, s[2] / heads])?;
    c.transpose(y, &[0, 2, 1, 3])
}

/// `[batch, heads, length, size]` to `[batch, length, heads * size]`.
pub(super) fn join_heads(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let s = c.shape(x);
    let y = c.transpose(x, &[0, 2, 1, 3])?;
    c.reshape(y, &[s[0], s[2], s[1] * s[3]])
}

/// Heads that an operator may have.
const MAX_HEADS: usize = 1 << 16;

/// A number of heads, which must be there.
pub(super) fn head_count(c: &mut Call<'_, '_>, name: &str) -> Result<usize, Fail> {
    let n = c.int(name, 0)?;
    usize::try_from(n)
        .ok()
        .filter(|&n| n > 0 && n <= MAX_HEADS)
        .ok_or_else(|| Fail::invalid(format!("attribute '{name}' must be positive and at most {MAX_HEADS}")))
}
