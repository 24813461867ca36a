//! `Adagrad`, `Adam`, `Momentum` of the `ai.onnx.preview.training` domain: one update of a list of
//! tensors.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, training};
use crate::ir::{Binary, Unary, ValueId};

pub(super) const OPS: &[OpDef] =
    &[training("Adagrad", adagrad), training("Adam", adam), training("Momentum", momentum)];

/// Learning rate, update count, and the operands of each updated tensor.
struct Updates {
    rate: ValueId,
    count: ValueId,
    /// `[tensor][role]`: the tensor, its gradient, its states.
    tensors: Vec<Vec<ValueId>>,
}

/// Operands come role by role: all tensors, all gradients, all first states, …
fn updates(c: &mut Call<'_, '_>, roles: usize) -> Result<Updates, Fail> {
    let all = c.all()?;
    if all.len() < 2 + roles || !(all.len() - 2).is_multiple_of(roles) {
        return Err(Fail::invalid(format!("takes a rate, a count and {roles} operands a tensor, got {}", all.len())));
    }
    let n = (all.len() - 2) / roles;
    let tensors: Vec<Vec<ValueId>> = (0..n).map(|i| (0..roles).map(|r| all[2 + r * n + i]).collect()).collect();
    if let Some(t) = tensors.iter().find(|t| t.iter().any(|&v| c.ty(v) != c.ty(t[0]))) {
        let listed: Vec<String> = t.iter().map(|&v| c.ty(v).to_string()).collect();
        return Err(Fail::invalid(format!("the operands of one tensor differ in type: {}", listed.join(", "))));
    }
    if c.ty(all[0]).elements() != 1 || c.ty(all[1]).elements() != 1 {
        return Err(Fail::invalid("the rate and the count must be scalars"));
    }
    Ok(Updates { rate: c.reshape(all[0], &[])?, count: c.reshape(all[1], &[])?, tensors })
}

/// Results come role by role, too.
fn by_role(results: Vec<Vec<ValueId>>) -> Vec<Val> {
    let roles = results.first().map_or(0, Vec::len);
    (0..roles).flat_map(|r| results.iter().map(move |t| Val::Tensor(t[r]))).collect()
}

/// gradient + norm_coefficient * tensor.
fn regularized(c: &mut Call<'_, '_>, x: ValueId, g: ValueId, norm: f64) -> Result<ValueId, Fail> {
    let n = c.scale(x, norm)?;
    c.add(n, g)
}

fn adagrad(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let decay = f64::from(c.float("decay_factor", 0.0)?);
    let epsilon = f64::from(c.float("epsilon", 0.0)?);
    let norm = f64::from(c.float("norm_coefficient", 0.0)?);
    let u = updates(c, 3)?;
    let mut results = Vec::new();
    for t in &u.tensors {
        let (x, g, h) = (t[0], t[1], t[2]);
        let dtype = c.dtype(x);
        let (rate, count) = (c.cast(u.rate, dtype)?, c.cast(u.count, dtype)?);
        let slower = c.scale(count, decay)?;
        let slower = c.offset(slower, 1.0)?;
        let rate = c.div(rate, slower)?;
        let g = regularized(c, x, g, norm)?;
        let square = c.mul(g, g)?;
        let h = c.add(h, square)?;
        let root = c.unary(Unary::Sqrt, h)?;
        let root = c.offset(root, epsilon)?;
        let step = c.mul(rate, g)?;
        let step = c.div(step, root)?;
        results.push(vec![c.sub(x, step)?, h]);
    }
    Ok(by_role(results))
}

fn adam(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (alpha, beta) = (f64::from(c.float("alpha", 0.9)?), f64::from(c.float("beta", 0.999)?));
    let epsilon = f64::from(c.float("epsilon", 0.0)?);
    let norm = f64::from(c.float("norm_coefficient", 0.0)?);
    let post = f64::from(c.float("norm_coefficient_post", 0.0)?);
    let u = updates(c, 4)?;
    let mut results = Vec::new();
    for t in &u.tensors {
        let (x, g, v, h) = (t[0], t[1], t[2], t[3]);
        let dtype = c.dtype(x);
        let (rate, count) = (c.cast(u.rate, dtype)?, c.cast(u.count, dtype)?);
        let g = regularized(c, x, g, norm)?;
        let (old, new) = (c.scale(v, alpha)?, c.scale(g, 1.0 - alpha)?);
        let v = c.add(old, new)?;
        let square = c.mul(g, g)?;
        let (old, new) = (c.scale(h, beta)?, c.scale(square, 1.0 - beta)?);
        let h = c.add(old, new)?;
        let root = c.unary(Unary::Sqrt, h)?;
        let root = c.offset(root, epsilon)?;
        // 1 - a^count: how much of the running means has been filled; from the second update on.
        let mut filled = |a: f64| -> Result<ValueId, Fail> {
            let a = c.scalar(dtype, a);
            let power = c.binary(Binary::Pow, a, count)?;
            let one = c.scalar(dtype, 1.0);
            c.sub(one, power)
        };
        let (first, second) = (filled(alpha)?, filled(beta)?);
        let second = c.unary(Unary::Sqrt, second)?;
        let adjusted = c.mul(rate, second)?;
        let adjusted = c.div(adjusted, first)?;
        let zero = c.scalar(dtype, 0.0);
        let later = c.binary(Binary::Gt, count, zero)?;
        let rate = c.select(later, adjusted, rate)?;
        let step = c.div(v, root)?;
        let step = c.mul(rate, step)?;
        let y = c.sub(x, step)?;
        results.push(vec![c.scale(y, 1.0 - post)?, v, h]);
    }
    Ok(by_role(results))
}

fn momentum(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let need = |v: Option<f32>, name: &str| {
        v.map(f64::from).ok_or_else(|| Fail::invalid(format!("attribute '{name}' is missing")))
    };
    let (alpha, beta) = (c.float_opt("alpha")?, c.float_opt("beta")?);
    let norm = c.float_opt("norm_coefficient")?;
    let (alpha, beta, norm) = (need(alpha, "alpha")?, need(beta, "beta")?, need(norm, "norm_coefficient")?);
    let nesterov = c.choice("mode", "", &["standard", "nesterov"])? == "nesterov";
    let u = updates(c, 3)?;
    let mut results = Vec::new();
    for t in &u.tensors {
        let (x, g, v) = (t[0], t[1], t[2]);
        let dtype = c.dtype(x);
        let (rate, count) = (c.cast(u.rate, dtype)?, c.cast(u.count, dtype)?);
        let g = regularized(c, x, g, norm)?;
        // The first gradient counts in full.
        let (zero, one, beta) = (c.scalar(dtype, 0.0), c.scalar(dtype, 1.0), c.scalar(dtype, beta));
        let later = c.binary(Binary::Gt, count, zero)?;
        let beta = c.select(later, beta, one)?;
        let (old, new) = (c.scale(v, alpha)?, c.mul(beta, g)?);
        let v = c.add(old, new)?;
        let step = if nesterov {
            let ahead = c.scale(v, alpha)?;
            c.add(g, ahead)?
        } else {
            v
        };
        let step = c.mul(rate, step)?;
        results.push(vec![c.sub(x, step)?, v]);
    }
    Ok(by_role(results))
}
