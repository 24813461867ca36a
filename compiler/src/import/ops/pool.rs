//! `MaxPool`, `AveragePool`.

use super::window::{self, Resolved};
use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, Pool, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("AveragePool", 1, average_pool), onnx("MaxPool", 1, max_pool)];

/// Reads and resolves the window of a pooling node.
pub(super) fn pool_window(c: &mut Call<'_, '_>, x: ValueId) -> Result<Resolved, Fail> {
    let xs = c.shape(x);
    if xs.len() < 3 {
        return Err(Fail::invalid(format!("input {} has no spatial axes", c.ty(x))));
    }
    let attributes = window::read(c, xs.len() - 2)?;
    let ceil_mode = c.flag("ceil_mode", false)?;
    let kernel = attributes.kernel.clone().ok_or_else(|| Fail::invalid("attribute 'kernel_shape' is missing"))?;
    attributes.resolve(&kernel, &xs[2..], ceil_mode)
}

fn max_pool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    let window = pool_window(c, x)?.window;
    let column_major = c.flag("storage_order", false)?;
    if c.wants(1) {
        return super::max_pool_indices::with_indices(c, x, window, column_major);
    }
    one(c.op(Op::Pool { kind: Pool::Max, window }, &[x])?)
}

fn average_pool(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let x = c.x(0)?;
    one(average(c, x)?)
}

/// The average with the node's window.
pub(super) fn average(c: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Fail> {
    let mut x = x;
    let Resolved { mut window, ceil } = pool_window(c, x)?;
    let include_pad = c.flag("count_include_pad", false)?;
    let mut kind = if include_pad { Pool::AverageIncludePad } else { Pool::AverageExcludePad };
    if include_pad && ceil.iter().any(|&n| n > 0) {
        // The model's padding counts, what `ceil_mode` adds does not: the first becomes part of
        // the input.
        let rank = ceil.len() + 2;
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        for i in 0..ceil.len() {
            before[i + 2] = window.before[i] as isize;
            after[i + 2] = (window.after[i] - ceil[i]) as isize;
        }
        x = c.pad(x, &before, &after, 0.0)?;
        window.before.fill(0);
        window.after = ceil;
        kind = Pool::AverageExcludePad;
    }
    c.op(Op::Pool { kind, window }, &[x])
}
