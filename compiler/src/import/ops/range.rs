//! `Range`.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, integers, numbers, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Tensor};

pub(super) const OPS: &[OpDef] = &[onnx("Range", 11, range)];

/// Elements a range may have.
const MAX_ELEMENTS: f64 = (1u64 << 24) as f64;

/// start, start + delta, … before limit. All three must be known: they make the shape.
fn range(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    c.ignore(&["stash_type"]);
    let dtype = c.dtype(c.x(0)?);
    let parts = [(0, "start"), (1, "limit"), (2, "delta")];
    let mut values = Vec::new();
    for (i, what) in parts {
        let t = c.known(i, what)?;
        if t.len() != 1 {
            return Err(Fail::invalid(format!("{what} must be one number, got {}", t.len())));
        }
        if t.dtype != dtype {
            return Err(Fail::invalid(format!("{what} is {}, but start is {dtype}", t.dtype)));
        }
        values.push(t.clone());
    }
    if dtype == DType::Bool {
        return Err(Fail::invalid("bool is no number"));
    }
    let data: Vec<u8> = if let Some(v) = values.iter().map(|t| integers(t).map(|v| v[0])).collect::<Option<Vec<i64>>>()
    {
        let (start, limit, delta) = (i128::from(v[0]), i128::from(v[1]), i128::from(v[2]));
        if delta == 0 {
            return Err(Fail::invalid("delta is zero"));
        }
        let span = limit - start;
        let n = if (span > 0) == (delta > 0) { (span.abs() + delta.abs() - 1) / delta.abs() } else { 0 };
        check(n as f64)?;
        (0..n).flat_map(|i| ((start + i * delta) as i64).to_le_bytes()[..dtype.size()].to_vec()).collect()
    } else {
        let v: Vec<f64> = values.iter().map(|t| numbers(t)[0]).collect();
        let n = ((v[1] - v[0]) / v[2]).ceil().max(0.0);
        if n.is_nan() || v[2] == 0.0 {
            return Err(Fail::invalid("start, limit and delta make no range"));
        }
        check(n)?;
        (0..n as u64).flat_map(|i| scalar_tensor(dtype, v[0] + i as f64 * v[2]).data.to_vec()).collect()
    };
    let n = data.len() / dtype.size();
    let t = Tensor::new(dtype, vec![n], data).map_err(|e| Fail::invalid(e.to_string()))?;
    one(c.add_tensor(t))
}

fn check(n: f64) -> Result<(), Fail> {
    if n > MAX_ELEMENTS {
        return Err(Fail::unsupported(format!("a range of {n} elements is too long"), "use a shorter one"));
    }
    Ok(())
}
