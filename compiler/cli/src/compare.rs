//! How close results are to what was expected, and whether that is close enough.
//!
//! **The tolerance of `f16`.** Operands of products are rounded to f16, everything else is f32.
//! Rounding changes an operand by at most 2^-11 of itself, so a product by 2^-10, and a sum of
//! many by about 2^-10 of the length of its terms: errors of single products are independent and
//! mostly cancel. What leaves one layer is the next one's input, so the errors of L layers add
//! like random steps, to about sqrt(L) 2^-10 of the output's range: 1 % at a hundred layers. Layers
//! whose large terms cancel do worse. An output is close enough when no element is off by more
//! than 2 % of its range, the range being the largest magnitude expected. A wrong program is off
//! by the range itself.
//!
//! **`int8`** follows the model's own integers. Each of L quantisations may fall one quantum of 1/127 of
//! the range beside another runtime's, where a sum is near a tie; these are independent and most vanish
//! in the next rounding, so that four quanta are allowed at the end of a hundred.
//!
//! Integer and bool outputs must be equal. `--rtol` and `--atol` replace all this by NumPy's
//! `allclose` rule: |got - want| <= atol + rtol |want|.

use half::{bf16, f16};
use quadrille_isa::{DType, Tensor, narrow};
use serde::Serialize;

/// Arithmetic of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f16 operands of products, f32 sums, f32 elementwise.
    F16,
    /// The integers of a quantised model; on a mesh whole numbers in f16, summed in f32.
    Int8,
}

impl Precision {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
        }
    }
}

/// What difference of a float element is accepted:
/// |got - want| <= atol + rtol |want| + of_range max|want|.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Tolerance {
    pub atol: f64,
    pub rtol: f64,
    /// Share of the largest magnitude that is expected anywhere in the output.
    pub of_range: f64,
}

impl Tolerance {
    /// The tolerance of a precision; see the module page for where it comes from.
    pub fn of(precision: Precision) -> Tolerance {
        let of_range = match precision {
            Precision::F16 => 2e-2,
            Precision::Int8 => 4.0 / 127.0,
        };
        // An output that should be zero everywhere has no range; f16 has no smaller normal number.
        Tolerance { atol: 6.1e-5, rtol: 0.0, of_range }
    }

    /// NumPy's rule with what was given; what was not given is zero.
    pub fn numpy(rtol: Option<f64>, atol: Option<f64>) -> Tolerance {
        Tolerance { atol: atol.unwrap_or(0.0), rtol: rtol.unwrap_or(0.0), of_range: 0.0 }
    }
}

/// Differences over all outputs. A float that is not finite where a finite one is expected (or
/// the other way round) makes `max_abs` and `max_rel` infinite, which JSON has no number for:
/// they are `null` then, and `ok` is false.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// Every element of every output is within the tolerance.
    pub ok: bool,
    /// The output that is worst in relation to its tolerance.
    pub worst_output: String,
    /// Largest |got - want|.
    pub max_abs: f64,
    /// Largest |got - want| / |want| over elements where `want` is not 0.
    pub max_rel: f64,
    /// Largest distance in representable numbers of the output's type; 1 is the next number.
    pub max_ulp: u64,
    /// Smallest cosine of the angle between an output and what was expected.
    pub cosine: f64,
}

/// Why two lists of tensors cannot be compared.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("output `{output}` is {got}, but {want} is expected")]
#[allow(missing_docs)]
pub struct Mismatch {
    pub output: String,
    pub got: String,
    pub want: String,
}

/// Compares outputs with what was expected: (name, got, want) each. An empty list has no result.
pub fn compare(outputs: &[(&str, &Tensor, &Tensor)], tolerance: Tolerance) -> Result<Option<Comparison>, Mismatch> {
    let mut all: Option<(Comparison, f64)> = None;
    for &(name, got, want) in outputs {
        if (got.dtype, &got.shape) != (want.dtype, &want.shape) {
            let show = |t: &Tensor| format!("{}{:?}", t.dtype, t.shape);
            return Err(Mismatch { output: name.to_string(), got: show(got), want: show(want) });
        }
        let (one, excess) = compare_one(name, got, want, tolerance);
        all = Some(match all {
            None => (one, excess),
            Some((sum, worst)) => {
                let worst_output = if excess > worst { one.worst_output.clone() } else { sum.worst_output.clone() };
                let sum = Comparison {
                    ok: sum.ok && one.ok,
                    worst_output,
                    max_abs: sum.max_abs.max(one.max_abs),
                    max_rel: sum.max_rel.max(one.max_rel),
                    max_ulp: sum.max_ulp.max(one.max_ulp),
                    cosine: sum.cosine.min(one.cosine),
                };
                (sum, worst.max(excess))
            }
        });
    }
    Ok(all.map(|(c, _)| c))
}

/// The comparison of one output, and its largest error as a multiple of what is allowed.
fn compare_one(name: &str, got: &Tensor, want: &Tensor, tolerance: Tolerance) -> (Comparison, f64) {
    let exact = !got.dtype.is_float();
    let size = got.dtype.size();
    let pairs = || got.data.chunks_exact(size).zip(want.data.chunks_exact(size));
    let finite = |b: &[u8]| Some(value(got.dtype, b).abs()).filter(|v| v.is_finite());
    let range = want.data.chunks_exact(size).filter_map(finite).fold(0.0, f64::max);
    let mut c =
        Comparison { ok: true, worst_output: name.to_string(), max_abs: 0.0, max_rel: 0.0, max_ulp: 0, cosine: 1.0 };
    let (mut excess, mut dot, mut gg, mut ww) = (0f64, 0.0, 0.0, 0.0);
    for (g, w) in pairs() {
        let ulp = ordinal(got.dtype, g).abs_diff(ordinal(got.dtype, w));
        let (g, w) = (value(got.dtype, g), value(got.dtype, w));
        (dot, gg, ww) = (dot + g * w, gg + g * g, ww + w * w);
        if g == w && (!exact || ulp == 0) || g.is_nan() && w.is_nan() {
            continue;
        }
        let diff = if g.is_finite() && w.is_finite() { (g - w).abs() } else { f64::INFINITY };
        let allowed = tolerance.atol + tolerance.rtol * w.abs() + tolerance.of_range * range;
        c.max_abs = c.max_abs.max(diff);
        if w != 0.0 {
            c.max_rel = c.max_rel.max(if diff.is_finite() { diff / w.abs() } else { diff });
        }
        c.max_ulp = c.max_ulp.max(u64::try_from(ulp).unwrap_or(u64::MAX));
        // `!(<=)` so that a NaN anywhere counts as too much.
        let within = !exact && diff <= allowed;
        c.ok &= within;
        excess = excess.max(if within { diff / allowed } else { f64::max(diff, 2.0) });
    }
    // Equal vectors point the same way, zero ones included; a zero and another do not.
    c.cosine = if c.max_ulp == 0 { 1.0 } else { dot / (gg.sqrt() * ww.sqrt()) };
    if !c.cosine.is_finite() {
        c.cosine = if c.max_abs == 0.0 { 1.0 } else { 0.0 };
    }
    (c, excess)
}

/// An element as f64 (64-bit integers lose low bits; equality of integers is by `ordinal`).
fn value(dtype: DType, b: &[u8]) -> f64 {
    match dtype {
        DType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f64(),
        DType::BF16 => bf16::from_le_bytes([b[0], b[1]]).to_f64(),
        DType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
        DType::F64 => f64::from_le_bytes(b.try_into().expect("eight bytes")),
        d if d.is_narrow() => narrow::decode(d, b[0]),
        _ => integer(dtype, b) as f64,
    }
}

fn integer(dtype: DType, b: &[u8]) -> i128 {
    let mut wide = [0u8; 16];
    wide[..b.len()].copy_from_slice(b);
    if (dtype.is_signed_int() || dtype.is_signed_narrow()) && b[b.len() - 1] >= 0x80 {
        wide[b.len()..].fill(0xFF);
    }
    i128::from_le_bytes(wide)
}

/// Place of an element among all numbers of its type, so that neighbours differ by one.
fn ordinal(dtype: DType, b: &[u8]) -> i128 {
    if !dtype.is_float() {
        return integer(dtype, b);
    }
    let mut wide = [0u8; 16];
    wide[..b.len()].copy_from_slice(b);
    let bits = i128::from_le_bytes(wide);
    let sign = 1i128 << (8 * b.len() - 1);
    if bits & sign != 0 { sign - bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(got: &[f32], want: &[f32]) -> Comparison {
        let (g, w) = (Tensor::from_f32(&[got.len()], got), Tensor::from_f32(&[want.len()], want));
        compare(&[("y", &g, &w)], Tolerance::of(Precision::F16)).unwrap().unwrap()
    }

    #[test]
    fn measures() {
        let c = of(&[1.0, -2.0, 0.0], &[1.0, -2.0, 0.0]);
        assert_eq!((c.ok, c.max_abs, c.max_rel, c.max_ulp, c.cosine), (true, 0.0, 0.0, 0, 1.0));
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(of(&[next], &[1.0]).max_ulp, 1);
        assert_eq!(of(&[f32::from_bits(1)], &[-f32::from_bits(1)]).max_ulp, 2);
        let c = of(&[10.0, 0.19], &[10.0, 0.0]);
        assert!(c.ok && (c.max_abs - 0.19).abs() < 1e-6 && c.max_rel == 0.0);
        assert!(!of(&[10.0, 0.21], &[10.0, 0.0]).ok);
        assert!((of(&[1.0, 0.0], &[0.0, 1.0]).cosine).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_finite_is_never_close() {
        for (g, w) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::INFINITY, 1.0), (f32::INFINITY, -f32::INFINITY)] {
            let c = of(&[g, 5.0], &[w, 5.0]);
            assert!(!c.ok && c.max_abs.is_infinite(), "{g} {w}");
            assert_eq!(serde_json::to_value(&c).unwrap()["max_abs"], serde_json::Value::Null);
        }
        assert!(of(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]).ok);
    }

    #[test]
    fn integers_must_be_equal() {
        let (a, b) = (Tensor::from_i64(&[2], &[1 << 60, 5]), Tensor::from_i64(&[2], &[(1 << 60) + 1, 5]));
        let close = |a, b| compare(&[("y", a, b)], Tolerance::numpy(Some(1.0), Some(9.0))).unwrap().unwrap();
        assert!(close(&a, &a).ok);
        let c = close(&a, &b);
        assert_eq!(c.max_ulp, 1);
        assert!(!c.ok, "2^60 and 2^60 + 1 are one f64, but not one integer");
    }

    #[test]
    fn the_worst_output_is_worst_by_its_own_tolerance() {
        let big = (Tensor::from_f32(&[1], &[1001.0]), Tensor::from_f32(&[1], &[1000.0]));
        let small = (Tensor::from_f32(&[1], &[1.01]), Tensor::from_f32(&[1], &[1.0]));
        let c = compare(&[("big", &big.0, &big.1), ("small", &small.0, &small.1)], Tolerance::of(Precision::F16));
        let c = c.unwrap().unwrap();
        assert_eq!((c.worst_output.as_str(), c.ok), ("small", true));
        let e = compare(&[("y", &big.0, &Tensor::from_f32(&[2], &[0.0; 2]))], Tolerance::of(Precision::F16));
        assert_eq!(e.unwrap_err().to_string(), "output `y` is f32[1], but f32[2] is expected");
    }
}
