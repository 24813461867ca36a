//! `FlexAttention` of the preview domain: attention with subgraphs applied to scores and weights.

use super::attention::repeat_heads;
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, preview};
use crate::ir::{DType, Op, ValueId};

pub(super) const OPS: &[OpDef] = &[preview("FlexAttention", flex_attention)];

fn flex_attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let scale = c.float_opt("scale")?;
    let precision = c.dtype_attribute("softmax_precision")?;
    let (q, k, v) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (qs, ks, vs) = (c.shape(q), c.shape(k), c.shape(v));
    let fits = qs.len() == 4 && ks.len() == 4 && vs.len() == 4 && ks[1] > 0 && qs[1].is_multiple_of(ks[1]);
    if !fits || qs[3] != ks[3] || ks[1] != vs[1] || ks[2] != vs[2] {
        return Err(Fail::invalid(format!("{} {} {} do not fit together", c.ty(q), c.ty(k), c.ty(v))));
    }
    let dtype = c.dtype(q);
    let wide = precision.unwrap_or(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
    let k = repeat_heads(c, k, qs[1] / ks[1])?;
    let v = repeat_heads(c, v, qs[1] / ks[1])?;
    let kt = c.transpose_last(k)?;
    let (q, kt) = (c.cast(q, wide)?, c.cast(kt, wide)?);
    let scores = c.matmul(q, kt)?;
    let scores = c.scale(scores, scale.map_or(1.0 / (qs[3] as f64).sqrt(), f64::from))?;
    let Some(scores) = modified(c, "score_mod", scores)? else { return Ok(vec![Val::Failed]) };
    let weights = c.op(Op::Softmax { axis: 3 }, &[scores])?;
    let Some(weights) = modified(c, "prob_mod", weights)? else { return Ok(vec![Val::Failed]) };
    let v = c.cast(v, wide)?;
    let y = c.matmul(weights, v)?;
    Ok(vec![Val::Tensor(c.cast(y, dtype)?)])
}

/// The value after a subgraph, if there is one; `None` when the subgraph could not be imported.
fn modified(c: &mut Call<'_, '_>, name: &str, x: ValueId) -> Result<Option<ValueId>, Fail> {
    if !c.has(name) {
        return Ok(Some(x));
    }
    let body = c.graph_attribute(name)?;
    match c.importer.body(body, vec![Val::Tensor(x)])?.first() {
        Some(Val::Tensor(y)) if c.ty(*y) == c.ty(x) => Ok(Some(*y)),
        Some(Val::Failed) => Ok(None),
        _ => Err(Fail::invalid(format!("{name} must return one tensor of its operand's type"))),
    }
}
