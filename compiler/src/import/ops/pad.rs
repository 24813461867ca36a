//! `Pad`: pads and value are attributes before version 11, operands since; also `CenterCropPad`.

use crate::import::call::{Call, Val, axis, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, PadMode, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("CenterCropPad", 18, center_crop_pad), onnx("Pad", 1, pad)];

fn pad(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let mode = match c.choice("mode", "constant", &["constant", "reflect", "edge", "wrap"])? {
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        _ => PadMode::Constant,
    };
    let x = c.x(0)?;
    let rank = c.rank(x);
    let (pads, value, list) = if c.opset < 11 {
        c.at_most(1)?;
        let value = c.float("value", 0.0)?;
        let name = if c.opset < 2 { "paddings" } else { "pads" };
        let pads = c.int_list(name)?.ok_or_else(|| Fail::invalid("attribute 'pads' is missing"))?;
        (pads, c.scalar_like(x, f64::from(value)), None)
    } else {
        c.at_most(4)?;
        let value = match c.opt(2)? {
            Some(v) if c.ty(v).elements() == 1 => c.reshape(v, &[])?,
            Some(v) => return Err(Fail::invalid(format!("the value {} is no scalar", c.ty(v)))),
            None => c.scalar_like(x, 0.0),
        };
        (c.known_ints(1, "the pads")?, value, c.known_ints_opt(3, "the axes")?)
    };
    let list = list.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * list.len() {
        return Err(Fail::invalid(format!("{} pads do not fit {} axes", pads.len(), list.len())));
    }
    let (mut before, mut after) = (vec![0isize; rank], vec![0isize; rank]);
    for (i, &a) in list.iter().enumerate() {
        let a = axis(a, rank)?;
        before[a] = amount(pads[i])?;
        after[a] = amount(pads[i + list.len()])?;
    }
    one(pad_with(c, x, mode, before, after, value)?)
}

fn amount(p: i64) -> Result<isize, Fail> {
    if p.unsigned_abs() > 1 << 40 {
        return Err(Fail::invalid(format!("pad {p} is out of range")));
    }
    Ok(p as isize)
}

/// Pads with the value or from the operand itself; negative entries crop first.
fn pad_with(
    c: &mut Call<'_, '_>,
    mut x: ValueId,
    mode: PadMode,
    mut before: Vec<isize>,
    mut after: Vec<isize>,
    value: ValueId,
) -> Result<ValueId, Fail> {
    if mode != PadMode::Constant {
        for a in 0..before.len() {
            let (b, e) = (before[a].min(0).unsigned_abs(), after[a].min(0).unsigned_abs());
            if b + e > 0 {
                let n = c.shape(x)[a].checked_sub(b + e);
                let n = n.ok_or_else(|| Fail::invalid(format!("axis {a} is cropped to less than nothing")))?;
                x = c.slice_axis(x, a, b, n)?;
            }
            (before[a], after[a]) = (before[a].max(0), after[a].max(0));
        }
    }
    if before.iter().chain(&after).all(|&p| p == 0) {
        return Ok(x);
    }
    if mode == PadMode::Constant {
        return c.op(Op::Pad { mode, before, after }, &[x, value]);
    }
    c.op(Op::Pad { mode, before, after }, &[x])
}

/// Centred: half the difference, rounded down, comes off or on at the start.
fn center_crop_pad(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let list = c.int_list("axes")?;
    let x = c.x(0)?;
    let (xs, rank) = (c.shape(x), c.rank(x));
    let want = c.known_ints(1, "the shape")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let list = list.unwrap_or_else(|| (0..rank as i64).collect());
    if list.len() != want.len() {
        return Err(Fail::invalid(format!("{} extents do not fit {} axes", want.len(), list.len())));
    }
    let (mut before, mut after) = (vec![0isize; rank], vec![0isize; rank]);
    for (&a, &n) in list.iter().zip(&want) {
        let a = axis(a, rank)?;
        let more = n as isize - xs[a] as isize;
        before[a] = if more < 0 { -(-more / 2) } else { more / 2 };
        after[a] = more - before[a];
    }
    one(c.pad(x, &before, &after, 0.0)?)
}
