//! `GridSample`, `AffineGrid`.

use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Tensor, Unary, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("AffineGrid", 20, affine_grid), onnx("GridSample", 16, grid_sample)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

struct Settings {
    padding: Padding,
    align_corners: bool,
    /// Extents of the spatial axes.
    spatial: Vec<usize>,
}

fn grid_sample(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let mode = c.string("mode", if c.opset < 20 { "bilinear" } else { "linear" })?;
    let padding = match c.choice("padding_mode", "zeros", &["zeros", "border", "reflection"])? {
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        _ => Padding::Zeros,
    };
    let align_corners = c.flag("align_corners", false)?;
    let (x, grid) = (c.x(0)?, c.x(1)?);
    let (xs, gs) = (c.shape(x), c.shape(grid));
    let n = xs.len().saturating_sub(2);
    if n == 0 || n > 3 || gs.len() != xs.len() || gs[0] != xs[0] || gs[n + 1] != n {
        return Err(Fail::invalid(format!("grid {} does not fit {}", c.ty(grid), c.ty(x))));
    }
    if xs[2..].contains(&0) {
        return Err(Fail::invalid("cannot sample an empty axis"));
    }
    let set = Settings { padding, align_corners, spatial: xs[2..].to_vec() };
    let cells: usize = gs[1..=n].iter().product();
    // Channels last, so that one index takes all of them.
    let plane: usize = xs[2..].iter().product();
    let data = c.reshape(x, &[xs[0], xs[1], plane])?;
    let data = c.transpose(data, &[0, 2, 1])?;
    let grid = c.reshape(grid, &[xs[0], cells, n])?;
    let dtype = c.dtype(x);
    let grid = c.cast(grid, dtype)?;
    let mut taps_by_axis = Vec::new();
    for a in 0..n {
        // The grid gives the last spatial axis first.
        let g = c.slice_axis(grid, 2, n - 1 - a, 1)?;
        let p = set.place(c, g, a)?;
        let p = if mode == "nearest" { c.unary(Unary::Round, p)? } else { p };
        let p = set.pad_place(c, p, a)?;
        taps_by_axis.push(taps(c, &mode, p)?);
    }
    // Every combination of one tap an axis.
    let mut sum: Option<ValueId> = None;
    let total: usize = taps_by_axis.iter().map(Vec::len).product();
    for mut i in 0..total {
        let mut index: Option<ValueId> = None;
        let mut weight: Option<ValueId> = None;
        for (a, taps) in taps_by_axis.iter().enumerate() {
            let (at, w) = taps[i % taps.len()];
            i /= taps.len();
            let (at, inside) = set.pad_index(c, at, a)?;
            let stride: usize = set.spatial[a + 1..].iter().product();
            let at = c.cast(at, DType::I64)?;
            let part = c.scale(at, stride as f64)?;
            index = Some(match index {
                Some(s) => c.add(s, part)?,
                None => part,
            });
            for w in [w, inside].into_iter().flatten() {
                weight = Some(match weight {
                    Some(s) => c.mul(s, w)?,
                    None => w,
                });
            }
        }
        let index = index.ok_or_else(|| Fail::invalid("no spatial axis"))?;
        let mut v = c.op(Op::GatherNd { batch_dims: 1 }, &[data, index])?;
        if let Some(w) = weight {
            v = c.mul(v, w)?;
        }
        sum = Some(match sum {
            Some(s) => c.add(s, v)?,
            None => v,
        });
    }
    let y = sum.ok_or_else(|| Fail::invalid("no spatial axis"))?;
    let y = c.transpose(y, &[0, 2, 1])?;
    let mut shape = vec![xs[0], xs[1]];
    shape.extend(&gs[1..=n]);
    one(c.reshape(y, &shape)?)
}

impl Settings {
    /// From [-1, 1] to a place among the elements of an axis.
    fn place(&self, c: &mut Call<'_, '_>, g: ValueId, a: usize) -> Result<ValueId, Fail> {
        let n = self.spatial[a] as f64;
        let g = c.offset(g, 1.0)?;
        if self.align_corners {
            return c.scale(g, (n - 1.0) / 2.0);
        }
        let p = c.scale(g, n)?;
        let p = c.offset(p, -1.0)?;
        c.scale(p, 0.5)
    }

    fn bounds(&self, a: usize) -> (f64, f64) {
        let n = self.spatial[a] as f64;
        if self.align_corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) }
    }

    fn pad_place(&self, c: &mut Call<'_, '_>, p: ValueId, a: usize) -> Result<ValueId, Fail> {
        match self.padding {
            Padding::Zeros => Ok(p),
            Padding::Border => c.clamp(p, 0.0, self.spatial[a] as f64 - 1.0),
            Padding::Reflection => self.reflect(c, p, a),
        }
    }

    /// Folds the axis at its ends, again and again.
    fn reflect(&self, c: &mut Call<'_, '_>, p: ValueId, a: usize) -> Result<ValueId, Fail> {
        let (lo, hi) = self.bounds(a);
        let span = hi - lo;
        if span <= 0.0 {
            return c.scale(p, 0.0);
        }
        let period = c.scalar_like(p, 2.0 * span);
        let t = c.offset(p, -lo)?;
        let t = c.binary(Binary::Mod, t, period)?;
        let back = c.sub(period, t)?;
        let t = c.binary(Binary::Min, t, back)?;
        c.offset(t, lo)
    }

    /// A tap's index inside the axis, and a factor that is zero when it was outside.
    fn pad_index(&self, c: &mut Call<'_, '_>, at: ValueId, a: usize) -> Result<(ValueId, Option<ValueId>), Fail> {
        let last = self.spatial[a] as f64 - 1.0;
        let inside = match self.padding {
            Padding::Reflection => {
                let r = self.reflect(c, at, a)?;
                return Ok((c.clamp(r, 0.0, last)?, None));
            }
            Padding::Border => None,
            Padding::Zeros => {
                let (zero, end) = (c.scalar_like(at, 0.0), c.scalar_like(at, last));
                let (lo, hi) = (c.binary(Binary::Ge, at, zero)?, c.binary(Binary::Le, at, end)?);
                let both = c.binary(Binary::And, lo, hi)?;
                let dtype = c.dtype(at);
                Some(c.cast(both, dtype)?)
            }
        };
        Ok((c.clamp(at, 0.0, last)?, inside))
    }
}

/// The elements around a place and their weights.
fn taps(c: &mut Call<'_, '_>, mode: &str, p: ValueId) -> Result<Vec<(ValueId, Option<ValueId>)>, Fail> {
    match mode {
        "nearest" => Ok(vec![(p, None)]),
        "bilinear" | "linear" => {
            let base = c.unary(Unary::Floor, p)?;
            let up = c.sub(p, base)?;
            let one_ = c.scalar_like(p, 1.0);
            let down = c.sub(one_, up)?;
            let next = c.offset(base, 1.0)?;
            Ok(vec![(base, Some(down)), (next, Some(up))])
        }
        "bicubic" | "cubic" => {
            const A: f64 = -0.75;
            let base = c.unary(Unary::Floor, p)?;
            let f = c.sub(p, base)?;
            let mut list = Vec::new();
            for k in -1..=2i32 {
                // Distance of the tap from the place.
                let d = c.offset(f, f64::from(-k))?;
                let d = c.unary(Unary::Abs, d)?;
                let w = if k == 0 || k == 1 {
                    // ((a + 2) d - (a + 3)) d^2 + 1
                    let w = c.scale(d, A + 2.0)?;
                    let w = c.offset(w, -(A + 3.0))?;
                    let w = c.mul(w, d)?;
                    let w = c.mul(w, d)?;
                    c.offset(w, 1.0)?
                } else {
                    // ((a d - 5 a) d + 8 a) d - 4 a
                    let w = c.scale(d, A)?;
                    let w = c.offset(w, -5.0 * A)?;
                    let w = c.mul(w, d)?;
                    let w = c.offset(w, 8.0 * A)?;
                    let w = c.mul(w, d)?;
                    c.offset(w, -4.0 * A)?
                };
                list.push((c.offset(base, f64::from(k))?, Some(w)));
            }
            Ok(list)
        }
        other => Err(Fail::unsupported(format!("mode = '{other}' is not supported"), "use nearest, linear or cubic")),
    }
}

/// A regular grid over the output, transformed by `theta` of each batch.
fn affine_grid(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let align_corners = c.flag("align_corners", false)?;
    let theta = c.x(0)?;
    let size = c.known_ints(1, "the size")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let n = size.len().saturating_sub(2);
    if !(2..=3).contains(&n) || c.shape(theta) != [size[0], n, n + 1] {
        return Err(Fail::invalid(format!("theta {} does not fit size {size:?}", c.ty(theta))));
    }
    let spatial = &size[2..];
    let cells = quadrille_isa::tensor::element_count(spatial).filter(|&n| n <= 1 << 24);
    let cells = cells.ok_or_else(|| Fail::unsupported(format!("a grid of {spatial:?} is too large"), ""))?;
    let coordinate = |i: usize, n: usize| match (align_corners, n) {
        (true, 1) => -1.0,
        (true, _) => -1.0 + 2.0 * i as f64 / (n as f64 - 1.0),
        (false, _) => (2.0 * i as f64 + 1.0) / n as f64 - 1.0,
    };
    let mut base = Vec::with_capacity(cells * (n + 1));
    for cell in 0..cells {
        let mut rest = cell;
        let mut row = vec![0.0; n];
        for a in (0..n).rev() {
            row[a] = coordinate(rest % spatial[a], spatial[a]);
            rest /= spatial[a];
        }
        // The last spatial axis comes first.
        base.extend(row.iter().rev().map(|&v| v as f32));
        base.push(1.0);
    }
    let dtype = c.dtype(theta);
    let base = c.add_tensor(Tensor::from_f32(&[cells, n + 1], &base));
    let base = c.cast(base, dtype)?;
    let theta = c.transpose_last(theta)?;
    let y = c.matmul(base, theta)?;
    let mut shape = vec![size[0]];
    shape.extend(spatial);
    shape.push(n);
    one(c.reshape(y, &shape)?)
}
