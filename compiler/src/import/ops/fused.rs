//! ONNX Runtime's fusions of a product or convolution with what surrounds it: `FusedMatMul`, `FusedConv`,
//! `FusedGemm`.

use super::conv::{add_bias, product};
use super::gemm::general_product;
use super::matmul::numpy_matmul;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{Binary, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    microsoft("FusedConv", fused_conv),
    microsoft("FusedGemm", fused_gemm),
    microsoft("FusedMatMul", fused_matmul),
    // The older name of the same operator.
    microsoft("TransposeMatMul", fused_matmul),
];

/// alpha * A' B', where an operand may have its last two axes exchanged, and its first axis moved behind the
/// batch axes before that.
fn fused_matmul(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let alpha = c.float("alpha", 1.0)?;
    let (mut a, mut b) = (c.x(0)?, c.x(1)?);
    for (v, last, batch) in [(&mut a, "transA", "transBatchA"), (&mut b, "transB", "transBatchB")] {
        let rank = c.rank(*v);
        if c.flag(batch, false)? && rank > 2 {
            let perm: Vec<usize> = (1..rank - 1).chain([0, rank - 1]).collect();
            *v = c.transpose(*v, &perm)?;
        }
        // A vector has nothing to exchange.
        if c.flag(last, false)? && rank > 1 {
            *v = c.transpose_last(*v)?;
        }
    }
    let y = numpy_matmul(c, a, b)?;
    one(c.scale(y, f64::from(alpha))?)
}

/// activation(convolution + bias + z).
fn fused_conv(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let name = c.string("activation", "")?;
    let params = c.float_list("activation_params")?.unwrap_or_default();
    let (x, w, bias, z) = (c.x(0)?, c.x(1)?, c.opt(2)?, c.opt(3)?);
    let y = product(c, x, w)?;
    let mut y = add_bias(c, y, bias)?;
    if let Some(z) = z {
        if c.ty(z) != c.ty(y) {
            return Err(Fail::invalid(format!("{} cannot be added to {}", c.ty(z), c.ty(y))));
        }
        y = c.add(y, z)?;
    }
    one(activate(c, y, &name, &params)?)
}

fn fused_gemm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let name = c.string("activation", "")?;
    let mut params = Vec::new();
    for key in ["activation_alpha", "activation_beta", "activation_gamma"] {
        params.extend(c.float_opt(key)?);
    }
    let y = general_product(c)?;
    one(activate(c, y, &name, &params)?)
}

/// An activation by its name; parameters that are missing have the defaults of the operator of that name.
fn activate(c: &mut Call<'_, '_>, x: ValueId, name: &str, params: &[f32]) -> Result<ValueId, Fail> {
    let param = |i: usize, default: f64| params.get(i).map_or(default, |&v| f64::from(v));
    match name {
        "" => Ok(x),
        "Relu" => c.unary(Unary::Relu, x),
        "Tanh" => c.unary(Unary::Tanh, x),
        "Sigmoid" => c.unary(Unary::Sigmoid, x),
        "LeakyRelu" => {
            let slope = c.scalar_like(x, param(0, 0.01));
            c.binary(Binary::Prelu, x, slope)
        }
        "Clip" => c.clamp(x, param(0, f64::NEG_INFINITY), param(1, f64::INFINITY)),
        "HardSigmoid" => {
            let y = c.scale(x, param(0, 0.2))?;
            let y = c.offset(y, param(1, 0.5))?;
            c.clamp(y, 0.0, 1.0)
        }
        _ => Err(Fail::unsupported(
            format!("activation '{name}' is not supported"),
            "use one of Relu, Tanh, Sigmoid, LeakyRelu, Clip, HardSigmoid, or save the model without this fusion",
        )),
    }
}
