//! Operators whose result's shape depends on values, possible only when those are known:
//! `NonZero`, `Compress`, `Unique`.

use crate::import::call::{Call, Val, axis, numbers, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, Tensor};

pub(super) const OPS: &[OpDef] =
    &[onnx("Compress", 9, compress), onnx("NonZero", 9, non_zero), onnx("Unique", 11, unique)];

/// Coordinates of the elements that are not zero, `[rank, count]`.
fn non_zero(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let t = c.known(0, "the operand of NonZero")?.clone();
    let values = numbers(&t);
    let found: Vec<usize> = (0..values.len()).filter(|&i| values[i] != 0.0).collect();
    let mut rows = Vec::with_capacity(t.shape.len() * found.len());
    let mut stride = values.len();
    for &d in &t.shape {
        stride /= d.max(1);
        rows.extend(found.iter().map(|&i| ((i / stride.max(1)) % d.max(1)) as i64));
    }
    one(c.add_tensor(Tensor::from_i64(&[t.shape.len(), found.len()], &rows)))
}

/// The elements (along an axis, or of all) where a known condition holds.
fn compress(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let a = c.int_opt("axis")?;
    let cond = c.known_ints(1, "the condition")?;
    let mut x = c.x(0)?;
    let a = match a {
        Some(a) => axis(a, c.rank(x))?,
        None => {
            let n = c.ty(x).elements();
            x = c.reshape(x, &[n])?;
            0
        }
    };
    let n = c.shape(x)[a];
    if cond.len() > n {
        return Err(Fail::invalid(format!("{} conditions for {n} elements", cond.len())));
    }
    let index: Vec<i64> = (0..cond.len()).filter(|&i| cond[i] != 0).map(|i| i as i64).collect();
    let index = c.ints(&index);
    one(c.op(Op::Gather { axis: a }, &[x, index])?)
}

/// Distinct elements (or slices along an axis), where each first stands, which each is, and how
/// often it stands.
fn unique(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (a, sorted) = (c.int_opt("axis")?, c.flag("sorted", true)?);
    let t = c.known(0, "the operand of Unique")?.clone();
    let values = numbers(&t);
    let (outer, n, inner, a) = match a {
        None => (1, values.len(), 1, None),
        Some(a) => {
            let a = axis(a, t.shape.len())?;
            (t.shape[..a].iter().product(), t.shape[a], t.shape[a + 1..].iter().product(), Some(a))
        }
    };
    let key = |i: usize| -> Vec<f64> {
        (0..outer).flat_map(|o| values[(o * n + i) * inner..(o * n + i + 1) * inner].to_vec()).collect()
    };
    let compare = |x: &[f64], y: &[f64]| {
        x.iter().zip(y).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..n).collect();
    let keys: Vec<Vec<f64>> = (0..n).map(key).collect();
    order.sort_by(|&i, &j| compare(&keys[i], &keys[j]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match groups.last_mut() {
            Some(g) if compare(&keys[g[0]], &keys[i]).is_eq() => g.push(i),
            _ => groups.push(vec![i]),
        }
    }
    if !sorted {
        groups.sort_by_key(|g| g[0]);
    }
    let first: Vec<i64> = groups.iter().map(|g| g[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
    let mut inverse = vec![0; n];
    for (k, g) in groups.iter().enumerate() {
        g.iter().for_each(|&i| inverse[i] = k as i64);
    }
    let x = c.x(0)?;
    let x = if a.is_none() { c.reshape(x, &[n])? } else { x };
    let first = c.ints(&first);
    let y = c.op(Op::Gather { axis: a.unwrap_or(0) }, &[x, first])?;
    let (inverse, counts) = (c.ints(&inverse), c.ints(&counts));
    Ok([y, first, inverse, counts].map(Val::Tensor).to_vec())
}
