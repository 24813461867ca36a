//! `RoiAlign`: bilinear samples of regions, gathered and pooled.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, numbers, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Reduce, Tensor, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("RoiAlign", 10, roi_align)];

/// Regions that may have sampling grids of their own, each a dozen primitives.
const MAX_REGIONS: usize = 4096;
/// Samples along one side of a region.
const MAX_SAMPLES: usize = 1 << 16;

/// How one side of the regions is sampled.
#[derive(Clone, Copy)]
struct Side {
    /// Extent of the image.
    extent: usize,
    /// Cells of the result.
    cells: usize,
    /// Samples in a cell.
    samples: usize,
}

struct Regions {
    image: ValueId,
    mode_max: bool,
    /// Region bounds in pixels are moved by this much.
    shift: f64,
    scale: f64,
    /// Regions are at least one pixel wide and high.
    at_least_one: bool,
}

fn roi_align(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let old = c.opset < 16;
    let kinds = ["half_pixel", "output_half_pixel"];
    let half_pixel = c.choice("coordinate_transformation_mode", kinds[usize::from(old)], &kinds)? == "half_pixel";
    let mode_max = c.choice("mode", "avg", &["avg", "max"])? == "max";
    let count = |v: i64, what: &str| {
        let v = usize::try_from(v).ok().filter(|&v| v <= MAX_SAMPLES);
        v.ok_or_else(|| Fail::invalid(format!("{what} is out of range")))
    };
    let height = count(c.int("output_height", 1)?, "output_height")?;
    let width = count(c.int("output_width", 1)?, "output_width")?;
    let ratio = count(c.int("sampling_ratio", 0)?, "sampling_ratio")?;
    let scale = f64::from(c.float("spatial_scale", 1.0)?);
    let (x, rois, batch) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (xs, rs) = (c.shape(x), c.shape(rois));
    if xs.len() != 4 || xs[1..].contains(&0) || rs.len() != 2 || rs[1] != 4 || c.shape(batch) != [rs[0]] {
        return Err(Fail::invalid(format!("regions {} of {} do not fit {}", c.ty(rois), c.ty(batch), c.ty(x))));
    }
    // Channels last, so that one index takes all of them.
    let image = c.transpose(x, &[0, 2, 3, 1])?;
    let image = c.reshape(image, &[xs[0] * xs[2] * xs[3], xs[1]])?;
    let dtype = c.dtype(x);
    let rois = c.cast(rois, dtype)?;
    let batch = c.cast(batch, DType::I64)?;
    let shift = if half_pixel { -0.5 } else { 0.0 };
    let set = Regions { image, mode_max, shift, scale, at_least_one: !half_pixel };
    let side = |extent, cells, samples| Side { extent, cells, samples };
    if ratio > 0 {
        let (v, h) = (side(xs[2], height, ratio), side(xs[3], width, ratio));
        return one(set.pool(c, rois, batch, v, h)?);
    }
    // As many samples as the region has pixels: they must be known.
    if rs[0] > MAX_REGIONS {
        return Err(Fail::unsupported(format!("{} regions are too many", rs[0]), "give a sampling_ratio"));
    }
    let bounds = numbers(c.known_value(rois, "the regions, which decide how often they are sampled,")?);
    let samples = |low: f64, high: f64, cells: usize| {
        // In f32, as the regions are.
        let length = (high as f32 * scale as f32 + shift as f32) - (low as f32 * scale as f32 + shift as f32);
        let length = if half_pixel { length } else { length.max(1.0) };
        (length / cells.max(1) as f32).ceil().max(0.0) as usize
    };
    let mut parts = Vec::new();
    for (i, b) in bounds.chunks_exact(4).enumerate() {
        let (sv, sh) = (samples(b[1], b[3], height), samples(b[0], b[2], width));
        if sv.saturating_mul(sh) > MAX_SAMPLES {
            return Err(Fail::unsupported(format!("region {i} takes too many samples"), "give a sampling_ratio"));
        }
        if sv == 0 || sh == 0 {
            parts.push(c.full(dtype, &[1, xs[1], height, width], 0.0)?);
            continue;
        }
        let (roi, at) = (c.slice_axis(rois, 0, i, 1)?, c.slice_axis(batch, 0, i, 1)?);
        parts.push(set.pool(c, roi, at, side(xs[2], height, sv), side(xs[3], width, sh))?);
    }
    one(if parts.is_empty() { c.full(dtype, &[0, xs[1], height, width], 0.0)? } else { c.concat(0, &parts)? })
}

impl Regions {
    /// `[R, C, height, width]` of regions `[R, 4]` in images `[R]`.
    fn pool(
        &self,
        c: &mut Call<'_, '_>,
        rois: ValueId,
        batch: ValueId,
        vertical: Side,
        horizontal: Side,
    ) -> Result<ValueId, Fail> {
        let n = c.shape(rois)[0];
        let channels = c.shape(self.image)[1];
        let rows = self.taps(c, rois, 1, vertical)?;
        let columns = self.taps(c, rois, 0, horizontal)?;
        let (ny, nx) = (vertical.cells * vertical.samples, horizontal.cells * horizontal.samples);
        let batch = c.scale(batch, vertical.extent as f64)?;
        let batch = c.reshape(batch, &[n, 1])?;
        let join = if self.mode_max { Binary::Max } else { Binary::Add };
        let mut all: Option<ValueId> = None;
        for &(row, wy) in &rows {
            let row = c.add(batch, row)?;
            let row = c.scale(row, horizontal.extent as f64)?;
            let row = c.reshape(row, &[n, ny, 1])?;
            let wy = c.reshape(wy, &[n, ny, 1, 1])?;
            for &(column, wx) in &columns {
                let column = c.reshape(column, &[n, 1, nx])?;
                let index = c.add(row, column)?;
                let v = c.op(Op::Gather { axis: 0 }, &[self.image, index])?;
                let wx = c.reshape(wx, &[n, 1, nx, 1])?;
                let w = c.mul(wy, wx)?;
                let v = c.mul(v, w)?;
                all = Some(match all {
                    Some(a) => c.binary(join, a, v)?,
                    None => v,
                });
            }
        }
        let y = all.ok_or_else(|| Fail::invalid("no samples"))?;
        let y = c.reshape(y, &[n, vertical.cells, vertical.samples, horizontal.cells, horizontal.samples, channels])?;
        let y = c.reduce(if self.mode_max { Reduce::Max } else { Reduce::Mean }, y, &[2, 4], false)?;
        c.transpose(y, &[0, 3, 1, 2])
    }

    /// For one side (0 horizontal, 1 vertical): index and weight of the two pixels around each sample,
    /// `[R, cells * samples]` each. Samples more than a pixel outside have weight 0.
    fn taps(
        &self,
        c: &mut Call<'_, '_>,
        rois: ValueId,
        axis: usize,
        side: Side,
    ) -> Result<[(ValueId, ValueId); 2], Fail> {
        let dtype = c.dtype(rois);
        let bound = |c: &mut Call<'_, '_>, at: usize| -> Result<ValueId, Fail> {
            let v = c.slice_axis(rois, 1, at, 1)?;
            let v = c.scale(v, self.scale)?;
            c.offset(v, self.shift)
        };
        let (low, high) = (bound(c, axis)?, bound(c, axis + 2)?);
        let mut length = c.sub(high, low)?;
        if self.at_least_one {
            length = c.clamp(length, 1.0, f64::INFINITY)?;
        }
        let cells = c.scalar(dtype, side.cells as f64);
        let cell = c.div(length, cells)?;
        // low + cell * i + (k + 1/2) * cell / samples
        let total = side.cells * side.samples;
        let table = |c: &mut Call<'_, '_>, f: &dyn Fn(usize) -> f64| {
            let data: Vec<u8> = (0..total).flat_map(|i| scalar_tensor(dtype, f(i)).data.to_vec()).collect();
            c.add_tensor(Tensor { dtype, shape: vec![1, total], data: data.into() })
        };
        let whole = table(c, &|i| (i / side.samples) as f64);
        let part = table(c, &|i| (i % side.samples) as f64 + 0.5);
        let whole = c.mul(cell, whole)?;
        let part = c.mul(cell, part)?;
        let samples = c.scalar(dtype, side.samples as f64);
        let part = c.div(part, samples)?;
        let p = c.add(low, whole)?;
        let p = c.add(p, part)?;
        let (first, last) = (c.scalar(dtype, -1.0), c.scalar(dtype, side.extent as f64));
        let (after, before) = (c.binary(Binary::Ge, p, first)?, c.binary(Binary::Le, p, last)?);
        let inside = c.binary(Binary::And, after, before)?;
        let inside = c.cast(inside, dtype)?;
        // From the last pixel on, it alone counts.
        let p = c.clamp(p, 0.0, side.extent as f64 - 1.0)?;
        let base = c.unary(Unary::Floor, p)?;
        let up = c.sub(p, base)?;
        let one_ = c.scalar(dtype, 1.0);
        let down = c.sub(one_, up)?;
        let next = c.offset(base, 1.0)?;
        let next = c.clamp(next, 0.0, side.extent as f64 - 1.0)?;
        let (down, up) = (c.mul(down, inside)?, c.mul(up, inside)?);
        Ok([(c.cast(base, DType::I64)?, down), (c.cast(next, DType::I64)?, up)])
    }
}
