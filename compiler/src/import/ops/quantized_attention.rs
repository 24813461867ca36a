//! ONNX Runtime's `QAttention`: `Attention` whose projection is a product of integers.

use super::dynamic_matmul::to_float;
use super::multi_head_attention::{Context, of_projection, packed_settings};
use super::quantized::integer_matmul;
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};

pub(super) const OPS: &[OpDef] = &[microsoft("QAttention", q_attention)];

/// Operands: input `[B, S, in]`, weights `[in, 3 * hidden]`, bias, their scales (the weights' may be one a column), mask,
/// their zero points, past `[2, B, heads, P, size]`. Results: y, the keys and values of past and input.
fn q_attention(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    let set = packed_settings(c)?;
    let (x, w, bias, sx, sw) = (c.x(0)?, c.x(1)?, c.x(2)?, c.x(3)?, c.x(4)?);
    let (mask, zx, zw, past) = (c.opt(5)?, c.opt(6)?, c.opt(7)?, c.opt(8)?);
    let columns = c.shape(w).get(1).copied().unwrap_or(0);
    if c.rank(x) != 3 || c.rank(w) != 2 || !columns.is_multiple_of(3) {
        return Err(Fail::invalid(format!(
            "{} and {} are not [batch, sequence, in] and [in, 3 * hidden]",
            c.ty(x),
            c.ty(w)
        )));
    }
    let sum = integer_matmul(c, x, w, zx, zw)?;
    let sx = c.reshape(sx, &[])?;
    let all = to_float(c, sum, sx, sw, Some(bias))?;
    of_projection(c, &set, all, &[columns / 3; 3], &Context { mask, past, extra: None })
}
