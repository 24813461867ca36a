//! `DepthToSpace`, `SpaceToDepth`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::ValueId;

pub(super) const OPS: &[OpDef] = &[onnx("DepthToSpace", 1, depth_to_space), onnx("SpaceToDepth", 1, space_to_depth)];

fn settings(c: &mut Call<'_, '_>) -> Result<(ValueId, [usize; 4], usize, bool), Fail> {
    c.at_most(1)?;
    let block = c.int_opt("blocksize")?.ok_or_else(|| Fail::invalid("attribute 'blocksize' is missing"))?;
    let block = usize::try_from(block).ok().filter(|&b| b > 0 && b < 1 << 20);
    let block = block.ok_or_else(|| Fail::invalid("attribute 'blocksize' is out of range"))?;
    let crd = c.choice("mode", "DCR", &["DCR", "CRD"])? == "CRD";
    let x = c.x(0)?;
    let shape = <[usize; 4]>::try_from(c.shape(x)).map_err(|_| Fail::invalid(format!("{} has not 4 axes", c.ty(x))))?;
    Ok((x, shape, block, crd))
}

fn depth_to_space(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (x, [n, ch, h, w], b, crd) = settings(c)?;
    if !ch.is_multiple_of(b * b) {
        return Err(Fail::invalid(format!("{ch} channels do not divide by {b} x {b}")));
    }
    let d = ch / (b * b);
    let y = if crd {
        let y = c.reshape(x, &[n, d, b, b, h, w])?;
        c.transpose(y, &[0, 1, 4, 2, 5, 3])?
    } else {
        let y = c.reshape(x, &[n, b, b, d, h, w])?;
        c.transpose(y, &[0, 3, 4, 1, 5, 2])?
    };
    one(c.reshape(y, &[n, d, h * b, w * b])?)
}

fn space_to_depth(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let (x, [n, ch, h, w], b, crd) = settings(c)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(Fail::invalid(format!("{h} x {w} does not divide by {b}")));
    }
    let y = c.reshape(x, &[n, ch, h / b, b, w / b, b])?;
    let y = c.transpose(y, if crd { &[0, 1, 3, 5, 2, 4] } else { &[0, 3, 5, 1, 2, 4] })?;
    one(c.reshape(y, &[n, ch * b * b, h / b, w / b])?)
}
