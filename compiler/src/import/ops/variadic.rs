//! Elementwise operators of any number of operands: `Max`, `Min`, `Sum`, `Mean`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, ValueId};

pub(super) const OPS: &[OpDef] = &[
    onnx("Max", 1, |c| chain(c, Binary::Max)),
    onnx("Mean", 1, mean),
    onnx("Min", 1, |c| chain(c, Binary::Min)),
    onnx("Sum", 1, |c| chain(c, Binary::Add)),
];

fn fold(c: &mut Call<'_, '_>, b: Binary) -> Result<ValueId, Fail> {
    let all = c.all()?;
    let (first, rest) = all.split_first().ok_or_else(|| Fail::invalid("takes at least one operand"))?;
    rest.iter().try_fold(*first, |acc, &x| c.binary(b, acc, x))
}

fn chain(c: &mut Call<'_, '_>, b: Binary) -> Result<Vec<Val>, Fail> {
    one(fold(c, b)?)
}

fn mean(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let sum = fold(c, Binary::Add)?;
    let count = c.operand_count() as f64;
    let n = c.scalar_like(sum, count);
    one(c.div(sum, n)?)
}
