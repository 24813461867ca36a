//! `QuantizeLinear`, `DequantizeLinear`, `DynamicQuantizeLinear`, as arithmetic on casts.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft, onnx};
use crate::ir::{DType, Op, Reduce, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("DequantizeLinear", 10, dequantize),
    onnx("DynamicQuantizeLinear", 11, dynamic_quantize),
    onnx("QuantizeLinear", 10, quantize),
    microsoft("DequantizeLinear", dequantize),
    microsoft("QuantizeLinear", quantize),
];

/// Smallest and largest value of an integer type.
pub(super) fn range(d: DType) -> Option<(f64, f64)> {
    Some(match d {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        DType::I2 => (-2.0, 1.0),
        DType::U2 => (0.0, 3.0),
        DType::I4 => (-8.0, 7.0),
        DType::U4 => (0.0, 15.0),
        _ => return None,
    })
}

/// Scale or zero point, shaped to broadcast against `x`: a scalar, one an element of the axis,
/// or one a block along it.
pub(super) fn spread(c: &mut Call<'_, '_>, v: ValueId, x: ValueId, a: i64, block: i64) -> Result<ValueId, Fail> {
    let (vs, xs) = (c.shape(v), c.shape(x));
    if vs.iter().product::<usize>() == 1 && vs.len() <= 1 {
        return c.reshape(v, &[]);
    }
    let a = axis(a, xs.len())?;
    if vs.len() == 1 && block == 0 {
        if vs[0] != xs[a] {
            return Err(Fail::invalid(format!("{} does not fit axis {a} of {}", c.ty(v), c.ty(x))));
        }
        let mut shape = vec![1; xs.len() - a];
        shape[0] = xs[a];
        return c.reshape(v, &shape);
    }
    let block = usize::try_from(block).ok().filter(|&b| b > 0);
    let block = block.ok_or_else(|| Fail::invalid(format!("{} needs a block_size", c.ty(v))))?;
    let fits = vs.len() == xs.len()
        && (0..xs.len()).all(|i| if i == a { vs[i] == xs[i].div_ceil(block) } else { vs[i] == xs[i] });
    if !fits {
        return Err(Fail::invalid(format!("{} does not fit blocks of {block} along axis {a} of {}", c.ty(v), c.ty(x))));
    }
    let mut apart = vs.clone();
    apart.insert(a + 1, 1);
    let y = c.reshape(v, &apart)?;
    apart[a + 1] = block;
    let y = c.broadcast(y, &apart)?;
    let mut joined = vs;
    joined[a] *= block;
    let y = c.reshape(y, &joined)?;
    c.slice_axis(y, a, 0, xs[a])
}

fn quantize(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let saturate = c.flag("saturate", true)?;
    let (a, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let (wanted, precision) = (c.dtype_attribute("output_dtype")?, c.dtype_attribute("precision")?);
    let (x, scale, zero) = (c.x(0)?, c.x(1)?, c.opt(2)?);
    let to = zero.map(|z| c.dtype(z)).or(wanted).unwrap_or(DType::U8);
    // A scale may be a power of two in a type that is not computed with.
    let wide = precision.unwrap_or(if c.dtype(scale).is_float() { c.dtype(scale) } else { c.dtype(x) });
    let s = spread(c, scale, x, a, block)?;
    let s = c.cast(s, wide)?;
    let v = c.cast(x, wide)?;
    let z = zero.map(|z| spread(c, z, x, a, block)).transpose()?;
    if to.is_narrow_float() {
        return one(quantize_float(c, v, s, z, to, saturate)?);
    }
    one(quantize_value(c, v, s, z, to)?)
}

/// x / scale as a small float. 8-bit floats have no zero point: the operand only names the type.
fn quantize_float(
    c: &mut Call<'_, '_>,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    to: DType,
    saturate: bool,
) -> Result<ValueId, Fail> {
    let mut y = c.div(x, scale)?;
    if let (DType::F4E2M1, Some(z)) = (to, zero) {
        let dtype = c.dtype(y);
        let z = c.cast(z, dtype)?;
        y = c.add(y, z)?;
    }
    if saturate { super::cast::saturated(c, y, to) } else { c.cast(y, to) }
}

/// saturate(round(x / scale) + zero point), the operands already broadcastable.
pub(super) fn quantize_value(
    c: &mut Call<'_, '_>,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    to: DType,
) -> Result<ValueId, Fail> {
    let (lo, hi) = range(to).ok_or_else(|| Fail::unsupported(format!("quantisation to {to} is not supported"), ""))?;
    let y = c.div(x, scale)?;
    let mut y = c.unary(Unary::Round, y)?;
    // Half precision cannot add a zero point to a large value exactly.
    if matches!(c.dtype(y), DType::F16 | DType::BF16) {
        y = c.cast(y, DType::F32)?;
    }
    if let Some(z) = zero {
        let dtype = c.dtype(y);
        let z = c.cast(z, dtype)?;
        y = c.add(y, z)?;
    }
    let y = c.clamp(y, lo, hi)?;
    c.cast(y, to)
}

fn dequantize(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (a, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let wanted = c.dtype_attribute("output_dtype")?;
    let (x, scale, zero) = (c.x(0)?, c.x(1)?, c.opt(2)?);
    let to = wanted.unwrap_or(c.dtype(scale));
    let s = spread(c, scale, x, a, block)?;
    let z = zero.map(|z| spread(c, z, x, a, block)).transpose()?;
    one(dequantize_value(c, x, s, z, to)?)
}

/// (x - zero point) * scale. Not computed on constants: passes look for this shape to find
/// integer weights.
pub(super) fn dequantize_value(
    c: &mut Call<'_, '_>,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    to: DType,
) -> Result<ValueId, Fail> {
    // Integers of 16 bits and their differences are exact in f32, not in half precision.
    let wide = match to {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    };
    let mut y = if c.dtype(x) == wide { x } else { c.op_unfolded(Op::Cast(wide), &[x])? };
    if let Some(z) = zero
        && !c.constant(z).is_some_and(|t| t.data.iter().all(|&b| b == 0))
    {
        let z = c.cast(z, wide)?;
        y = c.op_unfolded(Op::Binary(crate::ir::Binary::Sub), &[y, z])?;
    }
    let s = c.cast(scale, wide)?;
    let y = c.op_unfolded(Op::Binary(crate::ir::Binary::Mul), &[y, s])?;
    c.cast(y, to)
}

fn dynamic_quantize(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    let q = dynamic_value(c, x)?;
    Ok(vec![Val::Tensor(q.values), Val::Tensor(q.scale), Val::Tensor(q.zero)])
}

/// A tensor quantised by the range of its own values.
pub(super) struct Dynamic {
    /// `u8`, shaped like the operand.
    pub(super) values: ValueId,
    /// A scalar of the operand's type.
    pub(super) scale: ValueId,
    /// A scalar `u8`.
    pub(super) zero: ValueId,
}

/// To `u8` over the range of the values, zero included.
pub(super) fn dynamic_value(c: &mut Call<'_, '_>, x: ValueId) -> Result<Dynamic, Fail> {
    let all: Vec<usize> = (0..c.rank(x)).collect();
    let max = c.reduce(Reduce::Max, x, &all, false)?;
    let max = c.clamp(max, 0.0, f64::INFINITY)?;
    let min = c.reduce(Reduce::Min, x, &all, false)?;
    let min = c.clamp(min, f64::NEG_INFINITY, 0.0)?;
    let span = c.sub(max, min)?;
    let steps = c.scalar_like(x, 255.0);
    let scale = c.div(span, steps)?;
    let low = c.unary(Unary::Neg, min)?;
    let z = c.div(low, scale)?;
    let z = c.unary(Unary::Round, z)?;
    let z = c.clamp(z, 0.0, 255.0)?;
    let zero = c.cast(z, DType::U8)?;
    let values = quantize_value(c, x, scale, Some(zero), DType::U8)?;
    Ok(Dynamic { values, scale, zero })
}
