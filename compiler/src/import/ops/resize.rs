//! `Resize` and its old name `Upsample`: axis by axis, each a selection of elements (nearest) or
//! a product with a constant matrix of weights (linear, cubic).

use super::resample::{Axis, Coordinates, Interpolation, Nearest};
use crate::import::call::{Call, Val, axis, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Op, Tensor, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("Resize", 10, resize), onnx("Upsample", 1, upsample)];

/// Elements of an interpolation matrix.
const MAX_MATRIX: usize = 1 << 24;

fn upsample(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let mode = c.choice("mode", "nearest", &["nearest", "linear", "bilinear"])?;
    let scales = if c.opset < 7 {
        c.at_most(1)?;
        let (h, w) = (c.float_opt("height_scale")?, c.float_opt("width_scale")?);
        let (h, w) = h.zip(w).ok_or_else(|| Fail::invalid("attributes 'height_scale', 'width_scale' are missing"))?;
        vec![1.0, 1.0, f64::from(h), f64::from(w)]
    } else if c.opset < 9 {
        c.at_most(1)?;
        let s = c.float_list("scales")?.ok_or_else(|| Fail::invalid("attribute 'scales' is missing"))?;
        s.into_iter().map(f64::from).collect()
    } else {
        c.at_most(2)?;
        c.known_numbers(1, "the scales")?
    };
    one(old_style(c, mode, scales)?)
}

/// Version 10 and earlier: asymmetric coordinates, nearest by floor.
fn old_style(c: &mut Call<'_, '_>, mode: &str, scales: Vec<f64>) -> Result<ValueId, Fail> {
    let x = c.x(0)?;
    let xs = c.shape(x);
    if scales.len() != xs.len() {
        return Err(Fail::invalid(format!("{} scales do not fit {}", scales.len(), c.ty(x))));
    }
    let mut y = x;
    for (a, &scale) in scales.iter().enumerate() {
        let plan = Axis {
            input: xs[a],
            output: scaled(xs[a], scale)?,
            scale,
            coordinates: Coordinates::Asymmetric,
            interpolation: if mode == "nearest" {
                Interpolation::Nearest(Nearest::Floor)
            } else {
                Interpolation::Linear
            },
            antialias: false,
            exclude_outside: false,
            roi: (0.0, 1.0),
        };
        y = apply(c, y, a, &plan)?;
    }
    Ok(y)
}

fn scaled(n: usize, scale: f64) -> Result<usize, Fail> {
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(Fail::invalid(format!("scale {scale} is not positive")));
    }
    extent((n as f64 * scale).floor() as i64)
}

fn resize(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let mode = c.choice("mode", "nearest", &["nearest", "linear", "cubic"])?;
    if c.opset < 11 {
        c.at_most(2)?;
        let scales = c.known_numbers(1, "the scales")?;
        return one(old_style(c, mode, scales)?);
    }
    c.at_most(4)?;
    let coordinates = match c.string("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNearest,
        other => {
            return Err(Fail::unsupported(format!("coordinate_transformation_mode = '{other}' is not supported"), ""));
        }
    };
    let nearest = match c.choice(
        "nearest_mode",
        "round_prefer_floor",
        &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
    )? {
        "round_prefer_ceil" => Nearest::PreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        _ => Nearest::PreferFloor,
    };
    let cubic = f64::from(c.float("cubic_coeff_a", -0.75)?);
    let (antialias, exclude_outside) = (c.flag("antialias", false)?, c.flag("exclude_outside", false)?);
    let extrapolation = c.float("extrapolation_value", 0.0)?;
    let policy = c.choice("keep_aspect_ratio_policy", "stretch", &["stretch", "not_larger", "not_smaller"])?;
    let x = c.x(0)?;
    let xs = c.shape(x);
    let list: Vec<usize> = match c.int_list("axes")? {
        Some(l) => l.iter().map(|&a| axis(a, xs.len())).collect::<Result<_, _>>()?,
        None => (0..xs.len()).collect(),
    };
    let given = |c: &Call<'_, '_>, i: usize, what: &str| -> Result<Option<Vec<f64>>, Fail> {
        Ok(if c.opt(i)?.is_none() { None } else { Some(c.known_numbers(i, what)?).filter(|v| !v.is_empty()) })
    };
    let (roi, scales, sizes) = (given(c, 1, "the roi")?, given(c, 2, "the scales")?, given(c, 3, "the sizes")?);
    let (scales, outputs) = match (scales, sizes) {
        (Some(s), None) if s.len() == list.len() => {
            let out = list.iter().zip(&s).map(|(&a, &s)| scaled(xs[a], s)).collect::<Result<Vec<_>, _>>()?;
            (s, out)
        }
        (None, Some(s)) if s.len() == list.len() => by_sizes(&xs, &list, &s, policy)?,
        _ => return Err(Fail::invalid("needs either scales or sizes, one for each axis")),
    };
    let roi = match roi {
        Some(r) if coordinates == Coordinates::CropAndResize => {
            if r.len() != 2 * list.len() {
                return Err(Fail::invalid(format!("the roi needs {} numbers, got {}", 2 * list.len(), r.len())));
            }
            r
        }
        _ => [vec![0.0; list.len()], vec![1.0; list.len()]].concat(),
    };
    let mut y = x;
    let mut outside = None;
    for (i, &a) in list.iter().enumerate() {
        let plan = Axis {
            input: xs[a],
            output: outputs[i],
            scale: scales[i],
            coordinates,
            interpolation: match mode {
                "nearest" => Interpolation::Nearest(nearest),
                "linear" => Interpolation::Linear,
                _ => Interpolation::Cubic(cubic),
            },
            antialias,
            exclude_outside,
            roi: (roi[i], roi[i + list.len()]),
        };
        y = apply(c, y, a, &plan)?;
        if coordinates == Coordinates::CropAndResize {
            outside = outside_mask(c, outside, &plan, xs.len(), a)?;
        }
    }
    if let Some(mask) = outside {
        let v = c.scalar_like(y, f64::from(extrapolation));
        y = c.select(mask, v, y)?;
    }
    one(y)
}

/// Scales and extents when sizes are given, which may keep the aspect ratio.
fn by_sizes(xs: &[usize], list: &[usize], sizes: &[f64], policy: &str) -> Result<(Vec<f64>, Vec<usize>), Fail> {
    let each: Vec<f64> = list.iter().zip(sizes).map(|(&a, &s)| s / xs[a] as f64).collect();
    if each.iter().any(|s| !s.is_finite() || *s < 0.0) {
        return Err(Fail::invalid("cannot resize an empty axis"));
    }
    let common = match policy {
        "not_larger" => each.iter().copied().reduce(f64::min),
        "not_smaller" => each.iter().copied().reduce(f64::max),
        _ => None,
    };
    match common {
        Some(s) => {
            let out =
                list.iter().map(|&a| extent((s * xs[a] as f64 + 0.5).floor() as i64)).collect::<Result<_, _>>()?;
            Ok((vec![s; list.len()], out))
        }
        None => Ok((each, sizes.iter().map(|&s| extent(s as i64)).collect::<Result<_, _>>()?)),
    }
}

/// Where a crop reaches outside, so that the extrapolation value stands there.
fn outside_mask(
    c: &mut Call<'_, '_>,
    before: Option<ValueId>,
    plan: &Axis,
    rank: usize,
    a: usize,
) -> Result<Option<ValueId>, Fail> {
    let flags: Vec<u8> = (0..plan.output).map(|i| u8::from(plan.is_outside(i))).collect();
    if flags.iter().all(|&f| f == 0) {
        return Ok(before);
    }
    let mut shape = vec![1; rank];
    shape[a] = plan.output;
    let t = Tensor::new(DType::Bool, shape, flags).map_err(|e| Fail::invalid(e.to_string()))?;
    let mask = c.add_tensor(t);
    Ok(Some(match before {
        Some(b) => c.binary(crate::ir::Binary::Or, b, mask)?,
        None => mask,
    }))
}

/// Resamples one axis.
fn apply(c: &mut Call<'_, '_>, x: ValueId, a: usize, plan: &Axis) -> Result<ValueId, Fail> {
    if plan.is_identity() {
        return Ok(x);
    }
    if plan.input == 0 {
        return Err(Fail::invalid("cannot resize an empty axis"));
    }
    if plan.output.saturating_mul(plan.input) > MAX_MATRIX {
        return Err(Fail::unsupported(format!("resizing {} to {} is too large", plan.input, plan.output), ""));
    }
    if let Interpolation::Nearest(_) = plan.interpolation {
        return select(c, x, a, &plan.nearest());
    }
    let dtype = c.dtype(x);
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let matrix = plan.matrix();
    let rank = c.rank(x);
    let x = c.cast(x, wide)?;
    // The second to last axis is multiplied from the left, any other as the last one.
    let y = if rank >= 2 && a == rank - 2 {
        let m = matrix_constant(c, &matrix, &[plan.output, plan.input], wide)?;
        c.matmul(m, x)?
    } else {
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(a, rank - 1);
        let moved = c.transpose(x, &perm)?;
        let moved = if rank == 1 { c.reshape(moved, &[1, plan.input])? } else { moved };
        let m = matrix_constant(c, &matrix, &[plan.output, plan.input], wide)?;
        let m = c.transpose(m, &[1, 0])?;
        let y = c.matmul(moved, m)?;
        let y = if rank == 1 { c.reshape(y, &[plan.output])? } else { y };
        c.transpose(y, &perm)?
    };
    if dtype.is_float() {
        return c.cast(y, dtype);
    }
    let y = c.unary(crate::ir::Unary::Round, y)?;
    c.cast(y, dtype)
}

fn matrix_constant(c: &mut Call<'_, '_>, m: &[f64], shape: &[usize], dtype: DType) -> Result<ValueId, Fail> {
    let t = if dtype == DType::F64 {
        let bytes: Vec<u8> = m.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::F64, shape.to_vec(), bytes).map_err(|e| Fail::invalid(e.to_string()))?
    } else {
        Tensor::from_f32(shape, &m.iter().map(|&v| v as f32).collect::<Vec<_>>())
    };
    Ok(c.add_tensor(t))
}

/// Picks elements of an axis; whole repetitions become a broadcast.
fn select(c: &mut Call<'_, '_>, x: ValueId, a: usize, index: &[i64]) -> Result<ValueId, Fail> {
    let xs = c.shape(x);
    let (n, m) = (xs[a], index.len());
    if n > 0 && m.is_multiple_of(n) && index.iter().enumerate().all(|(i, &p)| p as usize == i / (m / n)) {
        let mut apart = xs.clone();
        apart.insert(a + 1, 1);
        let y = c.reshape(x, &apart)?;
        apart[a + 1] = m / n;
        let y = c.broadcast(y, &apart)?;
        let mut joined = xs;
        joined[a] = m;
        return c.reshape(y, &joined);
    }
    let ix = c.ints(index);
    c.op(Op::Gather { axis: a }, &[x, ix])
}
