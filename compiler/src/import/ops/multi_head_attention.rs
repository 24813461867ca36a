//! ONNX Runtime's `Attention` (which projects by itself) and `MultiHeadAttention`.

use super::attention_core::{
    Scores, attend, bias_of_mask, bias_where, causal, head_count, join_heads, split_heads, sum_of,
};
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{Binary, DType, ValueId};

pub(super) const OPS: &[OpDef] =
    &[microsoft("Attention", attention), microsoft("MultiHeadAttention", multi_head_attention)];

/// What the operators of this family say in the same words.
pub(super) struct Settings {
    heads: usize,
    causal: bool,
    scale: Option<f64>,
    /// Added to the score of a masked key.
    filter: f64,
}

fn settings(c: &mut Call<'_, '_>) -> Result<Settings, Fail> {
    Ok(Settings {
        heads: head_count(c, "num_heads")?,
        causal: c.flag("unidirectional", false)?,
        scale: c.float_opt("scale")?.map(f64::from).filter(|&s| s != 0.0),
        filter: f64::from(c.float("mask_filter_value", -10000.0)?),
    })
}

/// Operands: input `[B, S, in]`, weights `[in, q + k + v]`, bias, mask, past `[2, B, heads, P, size]`, a bias of the
/// scores. Results: y, the keys and values of past and input.
fn attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(7)?;
    let set = packed_settings(c)?;
    if c.opt(6)?.is_some() {
        return Err(no_shared_cache());
    }
    let sizes = c.int_list("qkv_hidden_sizes")?;
    let (x, w, bias, mask, past, extra) = (c.x(0)?, c.x(1)?, c.opt(2)?, c.opt(3)?, c.opt(4)?, c.opt(5)?);
    let columns = c.shape(w).get(1).copied().unwrap_or(0);
    let sizes: Vec<usize> = match sizes {
        Some(v) => v.iter().map(|&n| usize::try_from(n).map_or(0, |n| n.min(columns))).collect(),
        None => vec![columns / 3; 3],
    };
    if sizes.len() != 3 || sizes.iter().sum::<usize>() != columns || c.rank(x) != 3 || c.rank(w) != 2 {
        return Err(Fail::invalid(format!("{} and {} do not give {sizes:?}", c.ty(x), c.ty(w))));
    }
    let mut all = c.matmul(x, w)?;
    if let Some(b) = bias {
        all = c.add(all, b)?;
    }
    of_projection(c, &set, all, &sizes, &Context { mask, past, extra })
}

/// The settings of an operator that projects by itself.
pub(super) fn packed_settings(c: &mut Call<'_, '_>) -> Result<Settings, Fail> {
    let set = settings(c)?;
    if c.flag("do_rotary", false)? || c.flag("past_present_share_buffer", false)? {
        return Err(no_shared_cache());
    }
    c.ignore(&["rotary_embedding_dim"]);
    Ok(set)
}

fn no_shared_cache() -> Fail {
    Fail::unsupported(
        "rotary embedding and shared caches are not supported here",
        "use GroupQueryAttention, or export without them",
    )
}

/// What attention knows beside the tokens of now.
pub(super) struct Context {
    pub mask: Option<ValueId>,
    /// Keys and values of before, `[2, B, heads, P, size]`.
    pub past: Option<ValueId>,
    /// A bias of the scores.
    pub extra: Option<ValueId>,
}

/// Attention over queries, keys and values side by side, `[B, S, q + k + v]`. Results: y, and if wanted the
/// keys and values of past and input.
pub(super) fn of_projection(
    c: &mut Call<'_, '_>,
    set: &Settings,
    all: ValueId,
    sizes: &[usize],
    with: &Context,
) -> Result<Vec<Val>, Fail> {
    let mut parts = Vec::new();
    let mut at = 0;
    for &n in sizes {
        let part = c.slice_axis(all, 2, at, n)?;
        parts.push(split_heads(c, part, set.heads)?);
        at += n;
    }
    let (q, mut k, mut v) = (parts[0], parts[1], parts[2]);
    if let Some(past) = with.past {
        let s = c.shape(past);
        if s.len() != 5 || s[0] != 2 {
            return Err(Fail::invalid(format!("past {} is not [2, batch, heads, length, size]", c.ty(past))));
        }
        for (i, new) in [&mut k, &mut v].into_iter().enumerate() {
            let old = c.slice_axis(past, 0, i, 1)?;
            let old = c.reshape(old, &s[1..])?;
            *new = c.concat(2, &[old, *new])?;
        }
    }
    let y = masked(c, set, q, k, v, with.mask, with.extra)?;
    let mut results = vec![Val::Tensor(y)];
    if c.wants(1) {
        let mut halves = Vec::new();
        for part in [k, v] {
            let mut shape = c.shape(part);
            shape.insert(0, 1);
            halves.push(c.reshape(part, &shape)?);
        }
        results.push(Val::Tensor(c.concat(0, &halves)?));
    }
    Ok(results)
}

/// Operands: query `[B, S, heads * size]`, key and value (`[B, L, …]`, or `[B, heads, L, size]` as they are), bias of the
/// three, mask of the keys, a bias of the scores, past keys and values. Query alone may hold all three as
/// `[B, S, heads, 3, size]`, key both as `[B, L, heads, 2, size]`.
fn multi_head_attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(8)?;
    let set = settings(c)?;
    let (query, key, value) = (c.x(0)?, c.opt(1)?, c.opt(2)?);
    let (bias, mask, extra) = (c.opt(3)?, c.opt(4)?, c.opt(5)?);
    let mut qkv = match (key, value) {
        (None, None) => unpacked(c, query, 3)?,
        (Some(kv), None) => {
            let mut all = vec![query];
            all.extend(unpacked(c, kv, 2)?);
            all
        }
        (Some(k), Some(v)) => vec![query, k, v],
        (None, Some(_)) => return Err(Fail::invalid("a value without a key")),
    };
    if let Some(bias) = bias {
        let mut at = 0;
        for x in &mut qkv {
            if c.rank(*x) != 3 {
                continue;
            }
            let n = c.shape(*x)[2];
            let part = c.slice_axis(bias, 0, at, n)?;
            *x = c.add(*x, part)?;
            at += n;
        }
    }
    let mut heads = Vec::new();
    for &x in &qkv {
        heads.push(if c.rank(x) == 4 { x } else { split_heads(c, x, set.heads)? });
    }
    let (q, mut k, mut v) = (heads[0], heads[1], heads[2]);
    if let (Some(pk), Some(pv)) = (c.opt(6)?, c.opt(7)?) {
        k = c.concat(2, &[pk, k])?;
        v = c.concat(2, &[pv, v])?;
    }
    let y = masked(c, &set, q, k, v, mask, extra)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(k), Val::Tensor(v)])
}

/// The `n` parts of `[B, L, heads, n, size]`, each as `[B, heads, L, size]`.
fn unpacked(c: &mut Call<'_, '_>, x: ValueId, n: usize) -> Result<Vec<ValueId>, Fail> {
    let s = c.shape(x);
    if s.len() != 5 || s[3] != n {
        return Err(Fail::invalid(format!("{} does not hold {n} parts", c.ty(x))));
    }
    (0..n)
        .map(|i| {
            let part = c.slice_axis(x, 3, i, 1)?;
            let part = c.reshape(part, &[s[0], s[1], s[2], s[4]])?;
            c.transpose(part, &[0, 2, 1, 3])
        })
        .collect()
}

/// Attention with the mask in any of its forms, heads joined again.
fn masked(
    c: &mut Call<'_, '_>,
    set: &Settings,
    q: ValueId,
    k: ValueId,
    v: ValueId,
    mask: Option<ValueId>,
    extra: Option<ValueId>,
) -> Result<ValueId, Fail> {
    let (qs, ks) = (c.shape(q), c.shape(k));
    let (batch, queries, keys, dtype) = (qs[0], qs[2], ks[2], c.dtype(q));
    let mask = mask.map(|m| key_mask(c, m, [batch, queries, keys], dtype, set.filter)).transpose()?;
    let order = if set.causal {
        let past = c.scalar(DType::I64, keys as f64 - queries as f64);
        let on = causal(c, queries, keys, past, None)?;
        Some(bias_where(c, on, dtype, f64::from(f32::MIN))?)
    } else {
        None
    };
    let bias = sum_of(c, &[mask, order, extra])?;
    let y = attend(c, q, k, v, &Scores { scale: set.scale, softcap: 0.0, bias, sink: None })?;
    join_heads(c, y)
}

/// The bias of a mask: the lengths of the keys `[B]`, their ends and starts `[2B]`, a mask of the keys
/// `[B, T]`, of queries and keys `[B, S, T]`, or with heads before those.
fn key_mask(
    c: &mut Call<'_, '_>,
    mask: ValueId,
    [batch, queries, keys]: [usize; 3],
    dtype: DType,
    filter: f64,
) -> Result<ValueId, Fail> {
    let s = c.shape(mask);
    match s[..] {
        [b, t] if b == batch && t == keys => {
            let m = c.reshape(mask, &[batch, 1, 1, keys])?;
            bias_of_mask(c, m, dtype, filter)
        }
        [b, q, t] if (b, q, t) == (batch, queries, keys) => {
            let m = c.reshape(mask, &[batch, 1, queries, keys])?;
            bias_of_mask(c, m, dtype, filter)
        }
        [n] if n == batch || n == 2 * batch => {
            let m = c.cast(mask, DType::I64)?;
            let key = c.iota(keys, 4, 3)?;
            let end = c.slice_axis(m, 0, 0, batch)?;
            let end = c.reshape(end, &[batch, 1, 1, 1])?;
            let mut on = c.binary(Binary::Lt, key, end)?;
            if n == 2 * batch {
                let start = c.slice_axis(m, 0, batch, batch)?;
                let start = c.reshape(start, &[batch, 1, 1, 1])?;
                let after = c.binary(Binary::Ge, key, start)?;
                on = c.binary(Binary::And, on, after)?;
            }
            bias_where(c, on, dtype, filter)
        }
        _ => Err(Fail::unsupported(
            format!("a mask {} for {queries} queries and {keys} keys of batch {batch} is not supported", c.ty(mask)),
            "use one of [batch], [2 * batch], [batch, keys], [batch, queries, keys]",
        )),
    }
}
