//! Transcendentals for `f32` results: computed in `f64` with a relative error below 1e-13.
//!
//! Additions, products and selections only, in a fixed order, so that loops over them vectorise and
//! the bits are the same on every host. Rounded to `f32` the result is the correctly rounded one but
//! for about one argument in a million. Results in `f64` come from `libm`.

/// 1.5 * 2^52: added to a small number, it leaves the nearest integer in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// ln 2 in two parts; products of the first with exponents are exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// 1 / n! from n = 11 down to 0.
const EXP: [f64; 12] = [
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// erf(x) / x as a polynomial in x^2 on 0..1 (interpolated at Chebyshev points), highest first.
const ERF_SMALL: [f64; 12] = [
    -7.795_898_827_002_142e-10,
    1.372_006_454_677_768_6e-8,
    -1.620_848_380_187_170_5e-7,
    1.644_742_470_331_736_2e-6,
    -1.492_473_690_741_966e-5,
    0.000_120_552_949_048_397_07,
    -0.000_854_832_597_538_969_2,
    0.005_223_977_607_116_422_5,
    -0.026_866_170_643_237_77,
    0.112_837_916_709_450_06,
    -0.376_126_389_031_835_43,
    std::f64::consts::FRAC_2_SQRT_PI,
];

/// erfc(x) * exp(x^2) as a polynomial in 1 / (x + 2) on 1..6, highest first.
const ERFC_LARGE: [f64; 13] = [
    -124.286_658_508_654_17,
    494.032_558_583_841_8,
    -819.022_098_516_072_6,
    730.706_916_974_239_7,
    -371.079_611_991_397_37,
    109.114_029_058_076_98,
    -27.085_218_028_988_702,
    7.140_927_418_664_164,
    2.285_019_018_501_289_5,
    2.020_119_999_873_823,
    1.125_791_958_713_440_8,
    0.564_278_346_823_665_6,
    -1.388_333_075_459_834_2e-6,
];

#[inline(always)]
fn polynomial<const N: usize>(c: &[f64; N], x: f64) -> f64 {
    let mut y = c[0];
    for c in &c[1..] {
        y = y * x + c;
    }
    y
}

/// e^x; NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    // Beyond these, an f32 has long overflowed or vanished. A comparison with NaN is false.
    let x = if x > 708.0 { 708.0 } else { x };
    let x = if x < -708.0 { -708.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUNDER;
    let k = shifted - ROUNDER;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    polynomial(&EXP, r) * power
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent.
#[inline(always)]
pub(super) fn tanh(x: f64) -> f64 {
    let large = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    // Near zero the difference would cancel.
    let s = x * x;
    let small = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0))));
    if x.abs() < 1.0 / 64.0 { small } else { large }
}

/// Error function.
#[inline(always)]
pub(super) fn erf(x: f64) -> f64 {
    let a = x.abs();
    let small = x * polynomial(&ERF_SMALL, x * x);
    let far = if a > 6.0 { 6.0 } else { a };
    let tail = polynomial(&ERFC_LARGE, 1.0 / (far + 2.0)) * exp(-far * far);
    let large = (1.0 - tail).copysign(x);
    if a < 1.0 { small } else { large }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(f: impl Fn(f64) -> f64, reference: fn(f64) -> f64, range: f64) -> f64 {
        let points = (-20_000..=20_000).map(|i| f64::from(i) / 20_000.0);
        // Dense near zero, too.
        let errors = points.flat_map(|t| [t, t * t * t * t * t]).map(|t| {
            let x = t * range;
            let (got, want) = (f(x), reference(x));
            if want == 0.0 { got.abs() } else { ((got - want) / want).abs() }
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn agree_with_libm() {
        assert!(worst(exp, libm::exp, 700.0) < 2e-14);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), 700.0) < 2e-14);
        assert!(worst(tanh, libm::tanh, 30.0) < 1e-13);
        assert!(worst(erf, libm::erf, 8.0) < 1e-13);
    }

    #[test]
    fn ends_of_the_line() {
        for f in [exp, sigmoid, tanh, erf] {
            assert!(f(f64::NAN).is_nan());
        }
        assert_eq!(exp(f64::INFINITY) as f32, f32::INFINITY);
        assert_eq!(exp(f64::NEG_INFINITY) as f32, 0.0);
        assert_eq!((tanh(f64::INFINITY), tanh(-f64::INFINITY)), (1.0, -1.0));
        assert_eq!((erf(f64::INFINITY), erf(f64::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((sigmoid(f64::INFINITY), sigmoid(f64::NEG_INFINITY) as f32), (1.0, 0.0));
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
    }
}
