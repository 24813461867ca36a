//! `Gelu`, exact (erf) and with tanh, and ONNX Runtime's variants.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("Gelu", 20, gelu),
    microsoft("BiasGelu", |c| {
        c.at_most(2)?;
        let (x, bias) = (c.x(0)?, c.x(1)?);
        let x = c.add(x, bias)?;
        one(with_erf(c, x)?)
    }),
    microsoft("FastGelu", fast_gelu),
    microsoft("Gelu", |c| {
        c.at_most(1)?;
        let x = c.x(0)?;
        one(with_erf(c, x)?)
    }),
    microsoft("QuickGelu", quick_gelu),
];

fn gelu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let approximate = c.choice("approximate", "none", &["none", "tanh"])?;
    c.at_most(1)?;
    let x = c.x(0)?;
    one(if approximate == "tanh" { with_tanh(c, x)? } else { with_erf(c, x)? })
}

/// ONNX Runtime's: tanh, after an optional bias.
fn fast_gelu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let mut x = c.x(0)?;
    if let Some(bias) = c.opt(1)? {
        x = c.add(x, bias)?;
    }
    one(with_tanh(c, x)?)
}

/// x sigmoid(alpha x).
fn quick_gelu(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let alpha = c.float("alpha", 1.702)?;
    let x = c.x(0)?;
    let s = c.scale(x, f64::from(alpha))?;
    let s = c.unary(Unary::Sigmoid, s)?;
    one(c.mul(x, s)?)
}

/// 0.5 x (1 + erf(x / sqrt 2)).
pub(super) fn with_erf(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let s = c.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
    let e = c.unary(Unary::Erf, s)?;
    finish(c, x, e)
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
fn with_tanh(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let x2 = c.mul(x, x)?;
    let x3 = c.mul(x2, x)?;
    let k = c.scale(x3, 0.044715)?;
    let sum = c.add(x, k)?;
    let s = c.scale(sum, (2.0 / std::f64::consts::PI).sqrt())?;
    let t = c.unary(Unary::Tanh, s)?;
    finish(c, x, t)
}

fn finish(c: &mut Call<'_, '_>, x: ValueId, t: ValueId) -> Result<ValueId, Fail> {
    let t = c.offset(t, 1.0)?;
    let half = c.scale(x, 0.5)?;
    c.mul(half, t)
}
