//! `HannWindow`, `HammingWindow`, `BlackmanWindow`, `DFT`, `STFT`, `MelWeightMatrix`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Op, Tensor, ValueId};
use std::f64::consts::PI;

pub(super) const OPS: &[OpDef] = &[
    onnx("BlackmanWindow", 17, |c| window(c, &[0.42, -0.5, 0.08])),
    onnx("DFT", 17, dft),
    onnx("HammingWindow", 17, |c| window(c, &[25.0 / 46.0, -21.0 / 46.0])),
    onnx("HannWindow", 17, |c| window(c, &[0.5, -0.5])),
    onnx("MelWeightMatrix", 17, mel),
    onnx("STFT", 17, stft),
];

/// Points of a transform, which is a product with a constant matrix.
const MAX_POINTS: usize = 1 << 12;

fn constant(c: &mut Call<'_, '_>, shape: &[usize], v: &[f64], dtype: DType) -> Result<ValueId, Fail> {
    let bytes: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()).collect();
    let t = Tensor::new(DType::F64, shape.to_vec(), bytes).map_err(|e| Fail::invalid(e.to_string()))?;
    let id = c.add_tensor(t);
    c.cast(id, dtype)
}

/// A sum of cosines of growing frequency.
fn window(c: &mut Call<'_, '_>, terms: &[f64]) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let periodic = c.flag("periodic", true)?;
    let dtype = c.dtype_attribute("output_datatype")?.unwrap_or(DType::F32);
    let n = count(c.known_number(0, "the size")?)?;
    let period = if periodic { n as f64 } else { n as f64 - 1.0 };
    let values: Vec<f64> = (0..n)
        .map(|i| terms.iter().enumerate().map(|(k, t)| t * (2.0 * PI * k as f64 * i as f64 / period).cos()).sum())
        .collect();
    one(constant(c, &[n], &values, dtype)?)
}

fn count(v: f64) -> Result<usize, Fail> {
    if !(0.0..=(1u64 << 24) as f64).contains(&v) {
        return Err(Fail::invalid(format!("a size of {v} is out of range")));
    }
    Ok(v as usize)
}

/// Cosines and sines of the transform of `n` points, `[n, bins]` each.
fn fourier(n: usize, bins: usize, inverse: bool) -> (Vec<f64>, Vec<f64>) {
    let (mut re, mut im) = (Vec::new(), Vec::new());
    let sign = if inverse { 1.0 } else { -1.0 };
    let norm = if inverse { n as f64 } else { 1.0 };
    for i in 0..n {
        for k in 0..bins {
            // Reduced first: large products would lose the angle's precision.
            let angle = 2.0 * PI * ((i * k) % n) as f64 / n as f64;
            re.push(angle.cos() / norm);
            im.push(sign * angle.sin() / norm);
        }
    }
    (re, im)
}

/// Operands: signal `[..., n, 1 or 2]`, length, axis (an attribute before version 20).
fn dft(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (inverse, onesided) = (c.flag("inverse", false)?, c.flag("onesided", false)?);
    let x = c.x(0)?;
    let rank = c.rank(x);
    let a = if c.opset < 20 {
        c.at_most(2)?;
        c.int("axis", 1)?
    } else {
        c.at_most(3)?;
        match c.known_ints_opt(2, "the axis")? {
            Some(v) if v.len() == 1 => v[0],
            Some(_) => return Err(Fail::invalid("the axis must be one number")),
            None => -2,
        }
    };
    let a = axis(a, rank)?;
    if rank < 2 || a == rank - 1 {
        return Err(Fail::invalid(format!("cannot transform axis {a} of {}", c.ty(x))));
    }
    let xs = c.shape(x);
    let given = if c.opt(1)?.is_some() { Some(count(c.known_number(1, "the length")?)?) } else { None };
    if inverse && onesided {
        return one(inverse_onesided(c, x, a, given.unwrap_or(2 * xs[a].saturating_sub(1)))?);
    }
    let n = given.unwrap_or(xs[a]);
    // The signal is cut or filled with zeros to the length.
    let mut after = vec![0; rank];
    after[a] = n as isize - xs[a] as isize;
    let x = c.pad(x, &vec![0; rank], &after, 0.0)?;
    one(transform(c, x, a, n, inverse, onesided)?)
}

/// The transform along an axis of `n`; the last axis holds real and imaginary parts.
fn transform(
    c: &mut Call<'_, '_>,
    x: ValueId,
    a: usize,
    n: usize,
    inverse: bool,
    onesided: bool,
) -> Result<ValueId, Fail> {
    if n == 0 || n > MAX_POINTS {
        return Err(Fail::unsupported(format!("a transform of {n} points is not supported"), "use 1 to 4096"));
    }
    let rank = c.rank(x);
    let parts = c.shape(x)[rank - 1];
    if !(1..=2).contains(&parts) {
        return Err(Fail::invalid(format!("the last axis of {} must be 1 or 2", c.ty(x))));
    }
    let dtype = c.dtype(x);
    let bins = if onesided { n / 2 + 1 } else { n };
    let (re, im) = fourier(n, bins, inverse);
    let (re, im) = (constant(c, &[n, bins], &re, dtype)?, constant(c, &[n, bins], &im, dtype)?);
    // The axis to transform last, the parts apart.
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, rank - 1);
    let part = |c: &mut Call<'_, '_>, i: usize| -> Result<ValueId, Fail> {
        let v = c.slice_axis(x, rank - 1, i, 1)?;
        c.transpose(v, &perm)
    };
    let real = part(c, 0)?;
    let mut out_re = product(c, real, re)?;
    let mut out_im = product(c, real, im)?;
    if parts == 2 {
        let imaginary = part(c, 1)?;
        let minus = product(c, imaginary, im)?;
        out_re = c.sub(out_re, minus)?;
        let plus = product(c, imaginary, re)?;
        out_im = c.add(out_im, plus)?;
    }
    let (out_re, out_im) = (c.transpose(out_re, &perm)?, c.transpose(out_im, &perm)?);
    c.concat(rank - 1, &[out_re, out_im])
}

/// The real signal of `n` points whose one-sided transform is given along an axis.
fn inverse_onesided(c: &mut Call<'_, '_>, x: ValueId, a: usize, n: usize) -> Result<ValueId, Fail> {
    if n == 0 || n > MAX_POINTS {
        return Err(Fail::unsupported(format!("a transform of {n} points is not supported"), "use 1 to 4096"));
    }
    let (rank, bins) = (c.rank(x), n / 2 + 1);
    let xs = c.shape(x);
    if xs[rank - 1] != 2 {
        return Err(Fail::invalid(format!("the last axis of {} must hold real and imaginary parts", c.ty(x))));
    }
    let mut after = vec![0; rank];
    after[a] = bins as isize - xs[a] as isize;
    let x = c.pad(x, &vec![0; rank], &after, 0.0)?;
    // The bins that are left out mirror the others, so those count twice.
    let (mut re, mut im) = (vec![0.0; bins * n], vec![0.0; bins * n]);
    for k in 0..bins {
        let weight = if k == 0 || 2 * k == n { 1.0 } else { 2.0 } / n as f64;
        for i in 0..n {
            let angle = 2.0 * PI * ((i * k) % n) as f64 / n as f64;
            re[k * n + i] = weight * angle.cos();
            im[k * n + i] = -weight * angle.sin();
        }
    }
    let dtype = c.dtype(x);
    let (re, im) = (constant(c, &[bins, n], &re, dtype)?, constant(c, &[bins, n], &im, dtype)?);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, rank - 1);
    let mut sum = Vec::new();
    for (i, m) in [re, im].into_iter().enumerate() {
        let v = c.slice_axis(x, rank - 1, i, 1)?;
        let v = c.transpose(v, &perm)?;
        sum.push(product(c, v, m)?);
    }
    let y = c.add(sum[0], sum[1])?;
    c.transpose(y, &perm)
}

/// A product of the last axis, also for vectors.
fn product(c: &mut Call<'_, '_>, x: ValueId, m: ValueId) -> Result<ValueId, Fail> {
    super::matmul::numpy_matmul(c, x, m)
}

/// Operands: signal `[batch, samples, 1]`, step, window, frame length.
fn stft(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(4)?;
    let onesided = c.flag("onesided", true)?;
    let x = c.x(0)?;
    let xs = c.shape(x);
    let step = count(c.known_number(1, "the step")?)?;
    let window = c.opt(2)?;
    let n = if c.opt(3)?.is_some() {
        count(c.known_number(3, "the frame length")?)?
    } else {
        let w = window.ok_or_else(|| Fail::invalid("needs a window or a frame length"))?;
        c.shape(w).first().copied().unwrap_or(0)
    };
    let (samples, parts) = match xs[..] {
        [_, s] => (s, 1),
        [_, s, p] => (s, p),
        _ => return Err(Fail::invalid(format!("a signal {} is not supported", c.ty(x)))),
    };
    if step == 0 || n == 0 || n > samples {
        return Err(Fail::invalid(format!("frames of {n} every {step} do not fit {samples} samples")));
    }
    let frames = (samples - n) / step + 1;
    if frames.saturating_mul(n) > 1 << 24 {
        return Err(Fail::unsupported("a transform of this size is not supported", ""));
    }
    let index: Vec<i64> = (0..frames).flat_map(|f| (0..n).map(move |i| (f * step + i) as i64)).collect();
    let index = c.add_tensor(Tensor::from_i64(&[frames, n], &index));
    let x = c.reshape(x, &[xs[0], samples, parts])?;
    let mut y = c.op(Op::Gather { axis: 1 }, &[x, index])?;
    if let Some(w) = window {
        if c.shape(w) != [n] {
            return Err(Fail::invalid(format!("window {} does not fit frames of {n}", c.ty(w))));
        }
        let w = c.reshape(w, &[n, 1])?;
        y = c.mul(y, w)?;
    }
    one(transform(c, y, 2, n, false, onesided)?)
}

/// Triangles over the bins of a spectrum, evenly spaced in mels.
fn mel(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let dtype = c.dtype_attribute("output_datatype")?.unwrap_or(DType::F32);
    let bands = count(c.known_number(0, "num_mel_bins")?)?;
    let length = count(c.known_number(1, "dft_length")?)?;
    let rate = c.known_number(2, "sample_rate")?;
    let (low, high) = (c.known_number(3, "lower_edge_hertz")?, c.known_number(4, "upper_edge_hertz")?);
    let bins = length / 2 + 1;
    if bins.saturating_mul(bands) > 1 << 24 {
        return Err(Fail::unsupported("a matrix of this size is not supported", ""));
    }
    let to_mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let (lo, hi) = (to_mel(low), to_mel(high));
    let step = (hi - lo) / (bands as f64 + 2.0);
    let edges: Vec<f64> = (0..bands + 2)
        .map(|i| {
            let hz = 700.0 * (10f64.powf((i as f64 * step + lo) / 2595.0) - 1.0);
            ((length as f64 + 1.0) * hz / rate).floor()
        })
        .collect();
    let mut m = vec![0.0; bins * bands];
    for b in 0..bands {
        let (left, centre, right) = (edges[b], edges[b + 1], edges[b + 2]);
        for i in 0..bins {
            let x = i as f64;
            let up = if centre > left { (x - left) / (centre - left) } else { f64::from(u8::from(x == centre)) };
            let v = if x >= left && x <= centre && (centre > left || x == centre) {
                up
            } else if x > centre && x < right {
                (right - x) / (right - centre)
            } else {
                0.0
            };
            m[i * bands + b] = v;
        }
    }
    one(constant(c, &[bins, bands], &m, dtype)?)
}
