//! `Gemm`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{ValueId, broadcast_shapes};

pub(super) const OPS: &[OpDef] = &[onnx("Gemm", 1, gemm)];

/// alpha * A' B' + beta * C, where C broadcasts to the product.
fn gemm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    one(general_product(c)?)
}

/// The node's product with its attributes and operands.
pub(super) fn general_product(c: &mut Call<'_, '_>) -> Result<ValueId, Fail> {
    c.at_most(3)?;
    if c.opset < 7 {
        // Whether C broadcasts shows in its shape.
        c.ignore(&["broadcast"]);
    }
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let (ta, tb) = (c.flag("transA", false)?, c.flag("transB", false)?);
    let (mut a, mut b) = (c.x(0)?, c.x(1)?);
    if c.rank(a) != 2 || c.rank(b) != 2 {
        return Err(Fail::invalid(format!("{} and {} are no matrices", c.ty(a), c.ty(b))));
    }
    if ta {
        a = c.transpose(a, &[1, 0])?;
    }
    if tb {
        b = c.transpose(b, &[1, 0])?;
    }
    let dtype = c.dtype(a);
    let y = c.matmul(a, b)?;
    let y = c.cast(y, dtype)?;
    let mut y = c.scale(y, f64::from(alpha))?;
    if let Some(bias) = c.opt(2)? {
        let ys = c.shape(y);
        if broadcast_shapes(&ys, &c.shape(bias)).as_ref() != Some(&ys) {
            return Err(Fail::invalid(format!("{} does not broadcast to {}", c.ty(bias), c.ty(y))));
        }
        let bias = c.scale(bias, f64::from(beta))?;
        y = c.add(y, bias)?;
    }
    Ok(y)
}
