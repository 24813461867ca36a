//! `--check-rewrites`: evaluates a graph before and after on seeded random inputs.
//!
//! Knows: the oracle, and how far rounding may carry. Must not know: which rules ran.

use super::RewriteError;
use super::fold;
use crate::ir::{DType, Graph, Tensor, TensorType, eval};
use std::fmt;

/// Largest difference found, when it is within the tolerance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Check {
    /// Largest absolute difference of a float output.
    pub max_abs: f64,
    /// Largest difference over the output's largest magnitude.
    pub max_rel: f64,
}

impl Eq for Check {}

/// A difference beyond the tolerance.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Name of the output.
    pub output: String,
    /// Element, row-major.
    pub element: usize,
    /// Its value before.
    pub before: f64,
    /// Its value after.
    pub after: f64,
    /// What was allowed.
    pub tolerance: f64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "output `{}`, element {}: {} before, {} after, tolerance {:e}",
            self.output, self.element, self.before, self.after, self.tolerance
        )
    }
}

/// Relative tolerance of an element type, against the largest magnitude of the output: a few
/// hundred roundings, which is what deep networks add up to; none for integers and `bool`.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 5e-4,
        DType::F16 => 5e-2,
        DType::BF16 => 3e-1,
        _ => 0.0,
    }
}

/// Inputs of a graph: floats in [-2, 2), zeros and ones for other types.
pub fn random_inputs(g: &Graph, seed: u64) -> Vec<Tensor> {
    let mut random = Random::new(seed);
    g.inputs.iter().map(|&v| random.tensor(g.ty(v))).collect()
}

/// Evaluates two graphs of the same inputs and outputs and compares. With `exact`, bits must be equal, NaN
/// payloads and the sign of a zero aside.
pub fn compare_graphs(before: &Graph, after: &Graph, inputs: &[Tensor], exact: bool) -> Result<Check, RewriteError> {
    let run = |g: &Graph, which| {
        eval::eval(g, inputs).map_err(|e| RewriteError::NotEvaluated { which, reason: e.to_string() })
    };
    let (a, b) = (run(before, "before")?, run(after, "after")?);
    let mut worst = Check { max_abs: 0.0, max_rel: 0.0 };
    for ((x, y), o) in a.iter().zip(&b).zip(&before.outputs) {
        let rel = if exact { 0.0 } else { tolerance(x.dtype) };
        let (abs, r) = compare(x, y, rel).map_err(|mut d| {
            d.output = o.name.clone();
            RewriteError::Changed { difference: d }
        })?;
        worst.max_abs = worst.max_abs.max(abs);
        worst.max_rel = worst.max_rel.max(r);
    }
    Ok(worst)
}

/// Largest absolute difference, and the same over the largest magnitude; or the first element
/// that differs by more than `rel` of that magnitude. `rel` 0 asks for equal values (any two NaN
/// are equal, and so are the two zeros).
pub(super) fn compare(x: &Tensor, y: &Tensor, rel: f64) -> Result<(f64, f64), Difference> {
    compare_by(x, y, rel, magnitude(x))
}

/// The largest magnitude of a finite element.
pub(super) fn magnitude(x: &Tensor) -> f64 {
    let elements = (0..x.len()).filter_map(|i| fold::element(x, i));
    elements.filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// [`compare`] with another magnitude to be relative to.
pub(super) fn compare_by(x: &Tensor, y: &Tensor, rel: f64, scale: f64) -> Result<(f64, f64), Difference> {
    let differ =
        |element, before, after, tolerance| Difference { output: String::new(), element, before, after, tolerance };
    if x.dtype != y.dtype || x.shape != y.shape {
        return Err(differ(0, f64::NAN, f64::NAN, 0.0));
    }
    let at = |t: &Tensor, i| fold::element(t, i);
    let size = x.dtype.size();
    let mut worst = 0.0f64;
    for i in 0..x.len() {
        let bytes = i * size..(i + 1) * size;
        if x.data[bytes.clone()] == y.data[bytes] {
            continue;
        }
        // Integers that are not exact as f64 differ in bytes, and no tolerance applies to them.
        let (a, b) = (at(x, i).unwrap_or(f64::NAN), at(y, i).unwrap_or(f64::NAN));
        // The sign of a zero is nobody's promise; NaN payloads are not either.
        if x.dtype.is_float() && (a == b || a.is_nan() && b.is_nan()) {
            continue;
        }
        let d = (a - b).abs();
        if rel == 0.0 || d.is_nan() || d > rel * scale.max(f64::MIN_POSITIVE) {
            return Err(differ(i, a, b, rel * scale));
        }
        worst = worst.max(d);
    }
    Ok((worst, if scale > 0.0 { worst / scale } else { 0.0 }))
}

/// A small seeded generator (SplitMix64): the same inputs on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    pub(super) fn signed_unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Random elements: floats around zero, small integers (inputs are often indices), bits.
    pub(super) fn tensor(&mut self, ty: &TensorType) -> Tensor {
        let mut bytes = Vec::with_capacity(ty.elements() * ty.dtype.size());
        for _ in 0..ty.elements() {
            let v = match ty.dtype {
                DType::F16 | DType::BF16 | DType::F32 | DType::F64 => self.signed_unit() * 2.0,
                DType::Bool => (self.next() & 1) as f64,
                _ => (self.next() & 1) as f64,
            };
            match ty.dtype {
                DType::F16 => bytes.extend(half::f16::from_f64(v).to_le_bytes()),
                DType::BF16 => bytes.extend(half::bf16::from_f64(v).to_le_bytes()),
                DType::F32 => bytes.extend((v as f32).to_le_bytes()),
                DType::F64 => bytes.extend(v.to_le_bytes()),
                d => bytes.extend(&(v as u64).to_le_bytes()[..d.size()]),
            }
        }
        Tensor::new(ty.dtype, ty.shape.clone(), bytes).expect("as many bytes as the type has")
    }
}
