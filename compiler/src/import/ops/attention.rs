//! `Attention` (versions 23 to 25), lowered as its definition says.

use super::attention_core::split_heads;
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Reduce, Tensor, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("Attention", 23, attention)];

/// Elements a mask built here may have.
const MAX_MASK: usize = 1 << 24;

/// What the attributes say.
struct Settings {
    causal: bool,
    left: Option<i64>,
    right: Option<i64>,
    softcap: f32,
    precision: Option<DType>,
    scale: Option<f32>,
    heads: Option<(usize, usize)>,
    scores_mode: i64,
}

fn settings(c: &mut Call<'_, '_>) -> Result<Settings, Fail> {
    let bound = |v: i64| if v < 0 { None } else { Some(v) };
    let heads = match (c.int_opt("q_num_heads")?, c.int_opt("kv_num_heads")?) {
        (Some(q), Some(kv)) if q > 0 && kv > 0 => Some((q as usize, kv as usize)),
        (None, None) => None,
        _ => return Err(Fail::invalid("q_num_heads and kv_num_heads must be positive and go together")),
    };
    Ok(Settings {
        causal: c.flag("is_causal", false)?,
        left: bound(c.int("left_window_size", -1)?),
        right: bound(c.int("right_window_size", -1)?),
        softcap: c.float("softcap", 0.0)?,
        precision: c.dtype_attribute("softmax_precision")?,
        scale: c.float_opt("scale")?,
        heads,
        scores_mode: c.int("qk_matmul_output_mode", 0)?,
    })
}

/// `[B, H, S, D]` with every head repeated `n` times.
pub(super) fn repeat_heads(c: &mut Call<'_, '_>, x: ValueId, n: usize) -> Result<ValueId, Fail> {
    if n == 1 {
        return Ok(x);
    }
    let s = c.shape(x);
    let y = c.reshape(x, &[s[0], s[1], 1, s[2], s[3]])?;
    let y = c.broadcast(y, &[s[0], s[1], n, s[2], s[3]])?;
    c.reshape(y, &[s[0], s[1] * n, s[2], s[3]])
}

fn attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(7)?;
    let set = settings(c)?;
    let (mut q, mut k, mut v) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let flat = c.rank(q) == 3;
    if flat {
        let (hq, hkv) = set.heads.ok_or_else(|| Fail::invalid("3D operands need q_num_heads and kv_num_heads"))?;
        q = split_heads(c, q, hq)?;
        k = split_heads(c, k, hkv)?;
        v = split_heads(c, v, hkv)?;
    }
    let ranks = [c.rank(q), c.rank(k), c.rank(v)];
    if ranks != [4; 3] {
        return Err(Fail::invalid(format!("operands have ranks {ranks:?}, wanted all 3 or all 4")));
    }
    let mut past = 0;
    if let (Some(pk), Some(pv)) = (c.opt(4)?, c.opt(5)?) {
        past = c.shape(pk).get(2).copied().unwrap_or(0);
        k = c.concat(2, &[pk, k])?;
        v = c.concat(2, &[pv, v])?;
    }
    let (present_k, present_v) = (k, v);
    let (qs, ks, vs) = (c.shape(q), c.shape(k), c.shape(v));
    if ks[1] == 0 || !qs[1].is_multiple_of(ks[1]) || ks[1] != vs[1] || ks[2] != vs[2] || qs[3] != ks[3] {
        return Err(Fail::invalid(format!("{} {} {} do not fit together", c.ty(q), c.ty(k), c.ty(v))));
    }
    let k = repeat_heads(c, k, qs[1] / ks[1])?;
    let v = repeat_heads(c, v, qs[1] / ks[1])?;

    // Both operands carry the root of the scale, which keeps half precision in range.
    let scale = set.scale.map_or(1.0 / (qs[3] as f64).sqrt(), f64::from).sqrt();
    let q = c.scale(q, scale)?;
    let kt = c.transpose_last(k)?;
    let kt = c.scale(kt, scale)?;
    let raw = c.matmul(q, kt)?;
    let capped = if set.softcap > 0.0 {
        let s = c.scalar_like(raw, f64::from(set.softcap));
        let t = c.div(raw, s)?;
        let t = c.unary(Unary::Tanh, t)?;
        c.mul(t, s)?
    } else {
        raw
    };
    let (bias, may_be_empty) = bias(c, &set, raw, past)?;
    let scores = match bias {
        Some(b) => c.add(capped, b)?,
        None => capped,
    };
    if c.shape(scores) != c.shape(raw) {
        return Err(Fail::invalid(format!("the mask does not broadcast to the scores {}", c.ty(raw))));
    }
    let dtype = c.dtype(q);
    let wide = c.cast(scores, set.precision.unwrap_or(dtype))?;
    let mut weights = super::softmax::normalised(c, wide, 3)?;
    if may_be_empty {
        // A query that may attend to nothing gets zeros, not the NaN of an empty softmax.
        let max = c.reduce(Reduce::Max, wide, &[3], true)?;
        let lowest = c.scalar_like(max, f64::NEG_INFINITY);
        let empty = c.binary(Binary::Eq, max, lowest)?;
        let zero = c.scalar_like(weights, 0.0);
        weights = c.select(empty, zero, weights)?;
    }
    let weights = c.cast(weights, dtype)?;
    let value_dtype = c.dtype(v);
    let weights_v = c.cast(weights, value_dtype)?;
    let mut y = c.matmul(weights_v, v)?;
    if flat {
        y = c.transpose(y, &[0, 2, 1, 3])?;
        y = c.reshape(y, &[qs[0], qs[2], qs[1] * vs[3]])?;
    }
    let scores_out = match set.scores_mode {
        0 => raw,
        1 => capped,
        2 => scores,
        3 => weights,
        m => return Err(Fail::invalid(format!("qk_matmul_output_mode {m} is not defined"))),
    };
    Ok(vec![Val::Tensor(y), Val::Tensor(present_k), Val::Tensor(present_v), Val::Tensor(scores_out)])
}

/// What is added to the scores, and whether it can disable all the keys of a query.
fn bias(c: &mut Call<'_, '_>, set: &Settings, scores: ValueId, past: usize) -> Result<(Option<ValueId>, bool), Fail> {
    let s = c.shape(scores);
    let (batch, queries, keys, dtype) = (s[0], s[2], s[3], c.dtype(scores));
    let mut bias = None;
    let mut may_be_empty = false;
    if let Some(mask) = c.opt(3)? {
        let is_bool = c.dtype(mask) == DType::Bool;
        let mut m = if is_bool {
            may_be_empty = true;
            let (zero, lowest) = (c.scalar(dtype, 0.0), c.scalar(dtype, f64::NEG_INFINITY));
            c.select(mask, zero, lowest)?
        } else {
            // A float mask may hold infinities; integers are added as numbers.
            may_be_empty = c.dtype(mask).is_float();
            c.cast(mask, dtype)?
        };
        let ms = c.shape(m);
        if let Some(&last) = ms.last()
            && last < keys
            && last != 1
        {
            let mut after = vec![0; ms.len()];
            after[ms.len() - 1] = (keys - last) as isize;
            m = c.pad(m, &vec![0; ms.len()], &after, f64::NEG_INFINITY)?;
            may_be_empty = true;
        }
        bias = Some(m);
    }
    let windowed = set.causal || set.left.is_some() || set.right.is_some();
    let seqlen = c.opt(6)?;
    if !windowed && seqlen.is_none() {
        return Ok((bias, may_be_empty));
    }
    if queries.saturating_mul(keys) > MAX_MASK {
        return Err(Fail::unsupported("a causal mask of this size is not supported", "use shorter sequences"));
    }
    let mut allowed: Option<ValueId> = None;
    let mut restrict = |c: &mut Call<'_, '_>, cond: ValueId| -> Result<(), Fail> {
        allowed = Some(match allowed {
            Some(a) => c.binary(Binary::And, a, cond)?,
            None => cond,
        });
        Ok(())
    };
    let key: Vec<i64> = (0..keys as i64).collect();
    let key = c.add_tensor(Tensor::from_i64(&[1, 1, 1, keys], &key));
    // Position of each query among the keys.
    let query: Vec<i64> = (0..queries as i64).collect();
    let query = c.add_tensor(Tensor::from_i64(&[1, 1, queries, 1], &query));
    let position = match seqlen {
        Some(n) => {
            if c.shape(n) != [batch] {
                return Err(Fail::invalid(format!("nonpad_kv_seqlen {} does not fit batch {batch}", c.ty(n))));
            }
            let n = c.cast(n, DType::I64)?;
            let n = c.reshape(n, &[batch, 1, 1, 1])?;
            let valid = c.binary(Binary::Lt, key, n)?;
            restrict(c, valid)?;
            let before = c.offset(n, -(queries as f64))?;
            c.add(query, before)?
        }
        None => c.offset(query, past as f64)?,
    };
    if set.causal {
        let ok = c.binary(Binary::Le, key, position)?;
        restrict(c, ok)?;
    }
    if let Some(left) = set.left {
        let first = c.offset(position, -(left as f64))?;
        let ok = c.binary(Binary::Ge, key, first)?;
        restrict(c, ok)?;
    }
    if let Some(right) = set.right {
        let last = c.offset(position, right as f64)?;
        let ok = c.binary(Binary::Le, key, last)?;
        restrict(c, ok)?;
    }
    if let Some(allowed) = allowed {
        let (zero, lowest) = (c.scalar(dtype, 0.0), c.scalar(dtype, f64::NEG_INFINITY));
        let b = c.select(allowed, zero, lowest)?;
        bias = Some(match bias {
            Some(m) => c.add(m, b)?,
            None => b,
        });
    }
    Ok((bias, true))
}
