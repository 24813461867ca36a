//! `Dropout` in inference: the operand, and a mask of true.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::DType;

pub(super) const OPS: &[OpDef] = &[onnx("Dropout", 1, dropout)];

fn dropout(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    c.ignore(&["is_test", "ratio", "seed"]);
    let x = c.x(0)?;
    if c.opt(2)?.is_some() && c.known_number(2, "training_mode")? != 0.0 {
        let ratio = if c.opt(1)?.is_some() { c.known_number(1, "the ratio")? } else { 0.5 };
        if ratio != 0.0 {
            return Err(Fail::unsupported(
                "dropping at random is not supported: no two runtimes draw alike",
                "export the model for inference, or with ratio 0",
            ));
        }
    }
    let shape = c.shape(x);
    let mask = if c.wants(1) {
        // Before version 10 the mask had the operand's type.
        let dtype = if c.opset < 10 { c.dtype(x) } else { DType::Bool };
        vec![Val::Tensor(c.full(dtype, &shape, 1.0)?)]
    } else {
        Vec::new()
    };
    Ok(std::iter::once(Val::Tensor(x)).chain(mask).collect())
}
