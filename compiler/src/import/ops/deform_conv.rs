//! `DeformConv`: the operand sampled at displaced places, then one matrix product.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Tensor, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("DeformConv", 19, deform_conv)];

/// Places that the taps of all outputs have together.
const MAX_PLACES: usize = 1 << 24;

/// A list of `n` non-negative attribute entries, or `n` times the default.
fn list(c: &mut Call<'_, '_>, name: &str, n: usize, default: i64) -> Result<Vec<i64>, Fail> {
    let v = c.int_list(name)?.unwrap_or_else(|| vec![default; n]);
    let small = |v: &i64| (0..1 << 20).contains(v);
    if v.len() == n && v.iter().all(small) {
        Ok(v)
    } else {
        Err(Fail::invalid(format!("attribute '{name}' = {v:?} does not fit {n} entries")))
    }
}

fn deform_conv(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let (x, w, offset) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (bias, mask) = (c.opt(3)?, c.opt(4)?);
    let (xs, ws, os) = (c.shape(x), c.shape(w), c.shape(offset));
    if xs.len() != 4 || ws.len() != 4 || os.len() != 4 {
        return Err(Fail::unsupported("only two spatial axes are supported", "use Conv"));
    }
    let kernel = [ws[2], ws[3]];
    let given = c.int_list("kernel_shape")?;
    if given.is_some_and(|k| k != [ws[2] as i64, ws[3] as i64]) {
        return Err(Fail::invalid(format!("kernel_shape does not fit weights {}", c.ty(w))));
    }
    let (strides, dilations) = (list(c, "strides", 2, 1)?, list(c, "dilations", 2, 1)?);
    let pads = list(c, "pads", 4, 0)?;
    let positive = |v: i64| usize::try_from(v).ok().filter(|&v| v > 0 && v <= 1 << 20);
    let (groups, places) = (c.int("group", 1)?, c.int("offset_group", 1)?);
    let (Some(groups), Some(og)) = (positive(groups), positive(places)) else {
        return Err(Fail::invalid("group and offset_group must be positive"));
    };
    let (n, channels, taps) = (xs[0], xs[1], kernel[0] * kernel[1]);
    let fits = channels == ws[1] * groups
        && ws[0].is_multiple_of(groups)
        && channels.is_multiple_of(og)
        && os[0] == n
        && os[1] == 2 * og * taps
        && !xs.contains(&0);
    if !fits {
        return Err(Fail::invalid(format!("{}, {} and {} do not fit together", c.ty(x), c.ty(w), c.ty(offset))));
    }
    let out = [os[2], os[3]];
    let cells = out[0] * out[1];
    if n.saturating_mul(og).saturating_mul(taps).saturating_mul(cells) > MAX_PLACES {
        return Err(Fail::unsupported("so many displaced taps are not supported", "use smaller extents"));
    }
    let dtype = c.dtype(x);
    // Displacements of each axis: [N, offset groups, taps, cells].
    let offset = c.reshape(offset, &[n, og, taps, 2, cells])?;
    let mut around = Vec::new();
    for a in 0..2 {
        let d = c.slice_axis(offset, 3, a, 1)?;
        let d = c.reshape(d, &[n, og, taps, cells])?;
        let base: Vec<u8> = (0..taps)
            .flat_map(|t| (0..cells).map(move |p| (t, p)))
            .flat_map(|(t, p)| {
                let k = if a == 0 { t / kernel[1] } else { t % kernel[1] };
                let at = if a == 0 { p / out[1] } else { p % out[1] };
                let place = at as i64 * strides[a] - pads[a] + k as i64 * dilations[a];
                scalar_tensor(dtype, place as f64).data.to_vec()
            })
            .collect();
        let base = c.add_tensor(Tensor { dtype, shape: vec![1, 1, taps, cells], data: base.into() });
        let place = c.add(d, base)?;
        around.push(neighbours(c, place, xs[2 + a])?);
    }
    let data = c.reshape(x, &[n, og, channels / og, xs[2] * xs[3]])?;
    let data = c.transpose(data, &[0, 1, 3, 2])?;
    let mut sum: Option<ValueId> = None;
    for &(row, wy) in &around[0] {
        let row = c.scale(row, xs[3] as f64)?;
        for &(column, wx) in &around[1] {
            let index = c.add(row, column)?;
            let index = c.reshape(index, &[n, og, taps * cells, 1])?;
            let v = c.op(Op::GatherNd { batch_dims: 2 }, &[data, index])?;
            let weight = c.mul(wy, wx)?;
            let weight = c.reshape(weight, &[n, og, taps * cells, 1])?;
            let v = c.mul(v, weight)?;
            sum = Some(match sum {
                Some(s) => c.add(s, v)?,
                None => v,
            });
        }
    }
    let mut columns = sum.ok_or_else(|| Fail::invalid("no taps"))?;
    if let Some(m) = mask {
        if c.shape(m) != [n, og * taps, out[0], out[1]] {
            return Err(Fail::invalid(format!("mask {} does not fit", c.ty(m))));
        }
        let m = c.reshape(m, &[n, og, taps * cells, 1])?;
        columns = c.mul(columns, m)?;
    }
    // [N, og, taps * cells, C / og] to [N, groups, C / groups * taps, cells].
    let columns = c.reshape(columns, &[n, og, taps, cells, channels / og])?;
    let columns = c.transpose(columns, &[0, 1, 4, 2, 3])?;
    let columns = c.reshape(columns, &[n, groups, channels / groups * taps, cells])?;
    let w = c.reshape(w, &[1, groups, ws[0] / groups, ws[1] * taps])?;
    let y = c.matmul(w, columns)?;
    let y = c.reshape(y, &[n, ws[0], out[0], out[1]])?;
    one(super::conv::add_bias(c, y, bias)?)
}

/// Index and weight of the two elements around each place of an axis; those outside have weight 0.
fn neighbours(c: &mut Call<'_, '_>, place: ValueId, extent: usize) -> Result<[(ValueId, ValueId); 2], Fail> {
    let base = c.unary(Unary::Floor, place)?;
    let up = c.sub(place, base)?;
    let one_ = c.scalar_like(place, 1.0);
    let down = c.sub(one_, up)?;
    let next = c.offset(base, 1.0)?;
    let last = extent as f64 - 1.0;
    let mut inside = |at: ValueId, weight: ValueId| -> Result<(ValueId, ValueId), Fail> {
        let (lo, hi) = (c.scalar_like(at, 0.0), c.scalar_like(at, last));
        let (lo, hi) = (c.binary(Binary::Ge, at, lo)?, c.binary(Binary::Le, at, hi)?);
        let both = c.binary(Binary::And, lo, hi)?;
        let zero = c.scalar_like(weight, 0.0);
        let weight = c.select(both, weight, zero)?;
        let at = c.clamp(at, 0.0, last)?;
        Ok((c.cast(at, DType::I64)?, weight))
    };
    Ok([inside(base, down)?, inside(next, up)?])
}
