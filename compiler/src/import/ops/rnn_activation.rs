//! The activation functions that recurrent cells name by string.

use super::activation::softplus_of;
use crate::import::call::Call;
use crate::import::error::Fail;
use crate::ir::{Binary, Unary, ValueId};

/// A function with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

/// The functions of each direction, from `activations`, `activation_alpha` and
/// `activation_beta`; parameters are given only for the functions that take them, in order.
pub(super) fn activations(
    c: &mut Call<'_, '_>,
    defaults: &[&str],
    directions: usize,
) -> Result<Vec<Vec<Activation>>, Fail> {
    let names = c
        .string_list("activations")?
        .unwrap_or_else(|| (0..directions).flat_map(|_| defaults.iter().map(|s| s.to_string())).collect());
    let mut alphas = c.float_list("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = c.float_list("activation_beta")?.unwrap_or_default().into_iter();
    if names.len() != defaults.len() * directions {
        return Err(Fail::invalid(format!("needs {} activations, got {}", defaults.len() * directions, names.len())));
    }
    let all = names
        .into_iter()
        .map(|name| {
            let (alpha, beta) = match name.to_ascii_lowercase().as_str() {
                "affine" | "scaledtanh" => {
                    (Some(1.0), Some(if name.eq_ignore_ascii_case("affine") { 0.0 } else { 1.0 }))
                }
                "hardsigmoid" => (Some(0.2), Some(0.5)),
                "leakyrelu" => (Some(0.01), None),
                "elu" | "thresholdedrelu" => (Some(1.0), None),
                "relu" | "tanh" | "sigmoid" | "softsign" | "softplus" => (None, None),
                _ => return Err(Fail::unsupported(format!("activation '{name}' is unknown"), "use one of ONNX's")),
            };
            let next = |default: Option<f64>, given: &mut std::vec::IntoIter<f32>| match default {
                Some(d) => given.next().map_or(d, f64::from),
                None => 0.0,
            };
            let (alpha, beta) = (next(alpha, &mut alphas), next(beta, &mut betas));
            Ok(Activation { name: name.to_ascii_lowercase(), alpha, beta })
        })
        .collect::<Result<Vec<_>, Fail>>()?;
    Ok(all.chunks(defaults.len()).map(<[Activation]>::to_vec).collect())
}

impl Activation {
    /// The function of `x`.
    pub(super) fn apply(&self, c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
        match self.name.as_str() {
            "relu" => c.unary(Unary::Relu, x),
            "tanh" => c.unary(Unary::Tanh, x),
            "sigmoid" => c.unary(Unary::Sigmoid, x),
            "affine" => {
                let y = c.scale(x, self.alpha)?;
                c.offset(y, self.beta)
            }
            "scaledtanh" => {
                let y = c.scale(x, self.beta)?;
                let y = c.unary(Unary::Tanh, y)?;
                c.scale(y, self.alpha)
            }
            "hardsigmoid" => {
                let y = c.scale(x, self.alpha)?;
                let y = c.offset(y, self.beta)?;
                c.clamp(y, 0.0, 1.0)
            }
            "leakyrelu" => {
                let slope = c.scalar_like(x, self.alpha);
                c.binary(Binary::Prelu, x, slope)
            }
            "thresholdedrelu" => {
                let (limit, zero) = (c.scalar_like(x, self.alpha), c.scalar_like(x, 0.0));
                let above = c.binary(Binary::Gt, x, limit)?;
                c.select(above, x, zero)
            }
            "elu" => {
                let e = c.unary(Unary::Exp, x)?;
                let e = c.offset(e, -1.0)?;
                let e = c.scale(e, self.alpha)?;
                let zero = c.scalar_like(x, 0.0);
                let above = c.binary(Binary::Gt, x, zero)?;
                c.select(above, x, e)
            }
            "softsign" => {
                let a = c.unary(Unary::Abs, x)?;
                let d = c.offset(a, 1.0)?;
                c.div(x, d)
            }
            _ => softplus_of(c, x),
        }
    }
}
