//! `ScatterElements` (and its old name `Scatter`), `ScatterND`, `TensorScatter`.

use super::gather::indices;
use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, ScatterMode};

pub(super) const OPS: &[OpDef] = &[
    onnx("Scatter", 9, scatter_elements),
    onnx("ScatterElements", 11, scatter_elements),
    onnx("ScatterND", 11, scatter_nd),
    onnx("TensorScatter", 24, tensor_scatter),
];

fn mode(c: &mut Call<'_, '_>) -> Result<ScatterMode, Fail> {
    Ok(match c.choice("reduction", "none", &["none", "add", "mul", "max", "min"])? {
        "add" => ScatterMode::Add,
        "mul" => ScatterMode::Mul,
        "max" => ScatterMode::Max,
        "min" => ScatterMode::Min,
        _ => ScatterMode::Replace,
    })
}

fn scatter_elements(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let (a, mode) = (c.int("axis", 0)?, mode(c)?);
    let (x, ix, updates) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let axis = axis(a, c.rank(x))?;
    let ix = indices(c, ix)?;
    one(c.op(Op::ScatterElements { axis, mode }, &[x, ix, updates])?)
}

fn scatter_nd(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let mode = mode(c)?;
    let (x, ix, updates) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let ix = indices(c, ix)?;
    one(c.op(Op::ScatterNd { mode }, &[x, ix, updates])?)
}

/// Writes `update` into the cache from a position of each batch on.
fn tensor_scatter(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let circular = c.choice("mode", "linear", &["linear", "circular"])? == "circular";
    let a = c.int("axis", -2)?;
    let (cache, update) = (c.x(0)?, c.x(1)?);
    let (cs, us) = (c.shape(cache), c.shape(update));
    let a = axis(a, cs.len())?;
    if a == 0 || us.len() != cs.len() {
        return Err(Fail::invalid(format!("{} does not fit into {} along axis {a}", c.ty(update), c.ty(cache))));
    }
    let mut position = c.iota(us[a], cs.len(), a)?;
    if let Some(start) = c.opt(2)? {
        if c.shape(start) != [cs[0]] {
            return Err(Fail::invalid(format!("write_indices {} do not fit batch {}", c.ty(start), cs[0])));
        }
        let mut batch = vec![1; cs.len()];
        batch[0] = cs[0];
        let start = c.cast(start, DType::I64)?;
        let start = c.reshape(start, &batch)?;
        position = c.add(start, position)?;
    }
    if circular {
        let n = c.scalar(DType::I64, cs[a] as f64);
        position = c.binary(Binary::Mod, position, n)?;
    }
    let ix = c.broadcast(position, &us)?;
    one(c.op(Op::ScatterElements { axis: a, mode: ScatterMode::Replace }, &[cache, ix, update])?)
}
