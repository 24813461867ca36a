//! `ReverseSequence`.

use crate::import::call::{Call, Val, axis, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op};

pub(super) const OPS: &[OpDef] = &[onnx("ReverseSequence", 10, reverse_sequence)];

/// Element t of a sequence of length n becomes element n - 1 - t; what lies beyond stays.
fn reverse_sequence(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (batch, time) = (c.int("batch_axis", 1)?, c.int("time_axis", 0)?);
    let (x, lengths) = (c.x(0)?, c.x(1)?);
    let xs = c.shape(x);
    let (batch, time) = (axis(batch, xs.len())?, axis(time, xs.len())?);
    if c.shape(lengths) != [xs[batch]] || batch == time {
        return Err(Fail::invalid(format!("lengths {} do not fit {}", c.ty(lengths), c.ty(x))));
    }
    let mut place = vec![1; xs.len()];
    place[batch] = xs[batch];
    let n = c.cast(lengths, DType::I64)?;
    let n = c.reshape(n, &place)?;
    let t = c.iota(xs[time], xs.len(), time)?;
    let inside = c.binary(Binary::Lt, t, n)?;
    let back = c.sub(n, t)?;
    let back = c.offset(back, -1.0)?;
    let index = c.select(inside, back, t)?;
    let index = c.broadcast(index, &xs)?;
    one(c.op(Op::GatherElements { axis: time }, &[x, index])?)
}
