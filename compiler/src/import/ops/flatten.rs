//! `Flatten`.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Flatten", 1, flatten)];

fn flatten(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let a = c.int("axis", 1)?;
    let x = c.x(0)?;
    let xs = c.shape(x);
    let r = xs.len() as i64;
    if a < -r || a > r {
        return Err(Fail::invalid(format!("axis {a} is out of range for {}", c.ty(x))));
    }
    let a = if a < 0 { a + r } else { a } as usize;
    let shape = [xs[..a].iter().product(), xs[a..].iter().product()];
    one(c.reshape(x, &shape)?)
}
