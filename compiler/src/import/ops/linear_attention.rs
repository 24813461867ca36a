//! `LinearAttention`, `CausalConvWithState`: recurrent token mixers with explicit state.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Op, Unary, ValueId, Window};

pub(super) const OPS: &[OpDef] =
    &[onnx("CausalConvWithState", 27, causal_conv), onnx("LinearAttention", 27, linear_attention)];

/// Steps a sequence may have: each becomes a dozen primitives.
const MAX_STEPS: usize = 1 << 16;

/// A depthwise convolution over the past and the present, with the last k - 1 cells as new past.
fn causal_conv(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let activation = c.choice("activation", "none", &["none", "silu", "swish"])?;
    let (x, w, bias, past) = (c.x(0)?, c.x(1)?, c.opt(2)?, c.opt(3)?);
    let (xs, ws) = (c.shape(x), c.shape(w));
    if xs.len() != 3 || ws.len() != 3 || ws[0] != xs[1] || ws[1] != 1 || ws[2] == 0 {
        return Err(Fail::invalid(format!("weights {} do not fit {}", c.ty(w), c.ty(x))));
    }
    let k = ws[2];
    let whole = match past {
        Some(p) if c.shape(p) == [xs[0], xs[1], k - 1] => c.concat(2, &[p, x])?,
        Some(p) => return Err(Fail::invalid(format!("past {} does not fit {}", c.ty(p), c.ty(x)))),
        None => c.pad(x, &[0, 0, k as isize - 1], &[0, 0, 0], 0.0)?,
    };
    let window = Window { kernel: vec![k], stride: vec![1], dilation: vec![1], before: vec![0], after: vec![0] };
    let y = c.op(Op::Conv { window, groups: xs[1], epilogue: Vec::new() }, &[whole, w])?;
    let mut y = super::conv::add_bias(c, y, bias)?;
    if activation != "none" {
        let s = c.unary(Unary::Sigmoid, y)?;
        y = c.mul(y, s)?;
    }
    let state = c.slice_axis(whole, 2, xs[2], k - 1)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(state)])
}

/// `[B, T, H * D]` as `[B, H, T, D]`.
fn heads(c: &mut Call<'_, '_>, x: ValueId, h: usize) -> Result<ValueId, Fail> {
    let s = c.shape(x);
    if s.len() != 3 || h == 0 || !s[2].is_multiple_of(h) {
        return Err(Fail::invalid(format!("{} does not divide into {h} heads", c.ty(x))));
    }
    let y = c.reshape(x, &[s[0], s[1], h, s[2] / h])?;
    c.transpose(y, &[0, 2, 1, 3])
}

/// One time step, `[B, H, 1, D]`.
fn at(c: &mut Call<'_, '_>, x: ValueId, t: usize) -> Result<ValueId, Fail> {
    c.slice_axis(x, 2, t, 1)
}

fn linear_attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(6)?;
    // A hint about tiling, without influence on the result.
    c.ignore(&["chunk_size"]);
    let count = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
    let (hq, hkv) = (c.int_opt("q_num_heads")?, c.int_opt("kv_num_heads")?);
    let (Some(hq), Some(hkv)) = (count(hq), count(hkv)) else {
        return Err(Fail::invalid("q_num_heads and kv_num_heads must be positive"));
    };
    let rule = c.choice("update_rule", "gated_delta", &["linear", "gated", "delta", "gated_delta"])?;
    let scale = f64::from(c.float("scale", 0.0)?);
    let (q, k, v) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let dtype = c.dtype(q);
    let (q, k, v) = (heads(c, q, hq)?, heads(c, k, hkv)?, heads(c, v, hkv)?);
    let (qs, ks, vs) = (c.shape(q), c.shape(k), c.shape(v));
    let (batch, time, dk, dv) = (ks[0], ks[2], ks[3], vs[3]);
    if !hq.is_multiple_of(hkv) || qs[3] != dk || qs[2] != time || vs[2] != time || qs[0] != batch || vs[0] != batch {
        return Err(Fail::invalid(format!("{}, {} and {} do not fit together", c.ty(q), c.ty(k), c.ty(v))));
    }
    if time > MAX_STEPS {
        return Err(Fail::unsupported(format!("{time} steps are too many to unroll"), "use a shorter sequence"));
    }
    let scale = if scale == 0.0 { 1.0 / (dk as f64).sqrt() } else { scale };
    let gated = matches!(rule, "gated" | "gated_delta");
    let delta = matches!(rule, "delta" | "gated_delta");
    let decay = match (gated, c.opt(4)?) {
        (true, Some(d)) => {
            // Per head, or per head and key element: `[B, H, T, 1 or dk]`, as a factor of the state's rows.
            let d = heads(c, d, hkv)?;
            let d = if c.dtype(d) == DType::F64 { d } else { c.cast(d, DType::F32)? };
            Some(c.unary(Unary::Exp, d)?)
        }
        (true, None) => return Err(Fail::invalid(format!("update rule '{rule}' needs a decay"))),
        _ => None,
    };
    let beta = match (delta, c.opt(5)?) {
        (true, Some(b)) => {
            let h = if c.shape(b).last() == Some(&1) { 1 } else { hkv };
            Some(heads(c, b, h)?)
        }
        (true, None) => return Err(Fail::invalid(format!("update rule '{rule}' needs a beta"))),
        _ => None,
    };
    let mut state = match c.opt(3)? {
        Some(s) if c.shape(s) == [batch, hkv, dk, dv] => s,
        Some(s) => return Err(Fail::invalid(format!("past state {} does not fit", c.ty(s)))),
        None => c.full(dtype, &[batch, hkv, dk, dv], 0.0)?,
    };
    // The state is kept wide over all steps, as the definition says.
    let given_dtype = c.dtype(state);
    let state_dtype = if given_dtype == DType::F64 { DType::F64 } else { DType::F32 };
    state = c.cast(state, state_dtype)?;
    let group = hq / hkv;
    let mut outputs = Vec::new();
    for t in 0..time {
        if let Some(g) = decay {
            let g = at(c, g, t)?;
            let g = c.transpose_last(g)?;
            let g = c.cast(g, state_dtype)?;
            state = c.mul(state, g)?;
        }
        let (kt, vt) = (at(c, k, t)?, at(c, v, t)?);
        let (kt, vt) = (c.cast(kt, state_dtype)?, c.cast(vt, state_dtype)?);
        let mut update = vt;
        if let Some(b) = beta {
            let known = c.matmul(kt, state)?;
            let error = c.sub(vt, known)?;
            let b = at(c, b, t)?;
            let b = c.cast(b, state_dtype)?;
            update = c.mul(b, error)?;
        }
        let column = c.transpose_last(kt)?;
        let outer = c.mul(column, update)?;
        state = c.add(state, outer)?;
        // Query heads of a group share the state of their key head.
        let qt = at(c, q, t)?;
        let qt = c.cast(qt, state_dtype)?;
        let qt = c.reshape(qt, &[batch, hkv, group, dk])?;
        let o = c.matmul(qt, state)?;
        let o = c.scale(o, scale)?;
        let o = c.cast(o, dtype)?;
        outputs.push(c.reshape(o, &[batch, 1, hq * dv])?);
    }
    let y = if outputs.is_empty() { c.full(dtype, &[batch, 0, hq * dv], 0.0)? } else { c.concat(1, &outputs)? };
    let state = c.cast(state, given_dtype)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(state)])
}
