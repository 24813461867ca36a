//! `Squeeze`, `Unsqueeze`: axes are an attribute before version 13, an operand since.

use crate::import::call::{Call, Val, axes, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Squeeze", 1, squeeze), onnx("Unsqueeze", 1, unsqueeze)];

fn given_axes(c: &mut Call<'_, '_>) -> Result<Option<Vec<i64>>, Fail> {
    if c.opset < 13 {
        c.at_most(1)?;
        c.int_list("axes")
    } else {
        c.at_most(2)?;
        c.known_ints_opt(1, "the axes")
    }
}

fn squeeze(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = c.x(0)?;
    let xs = c.shape(x);
    let drop = match given_axes(c)? {
        Some(list) => axes(&list, xs.len())?,
        None => (0..xs.len()).filter(|&i| xs[i] == 1).collect(),
    };
    if let Some(&a) = drop.iter().find(|&&a| xs[a] != 1) {
        return Err(Fail::invalid(format!("axis {a} of {} has more than one element", c.ty(x))));
    }
    let shape: Vec<usize> = (0..xs.len()).filter(|i| !drop.contains(i)).map(|i| xs[i]).collect();
    one(c.reshape(x, &shape)?)
}

fn unsqueeze(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let x = c.x(0)?;
    let list = given_axes(c)?.ok_or_else(|| Fail::invalid("the axes are missing"))?;
    let xs = c.shape(x);
    let rank = xs.len() + list.len();
    let new = axes(&list, rank)?;
    let mut old = xs.into_iter();
    let shape: Vec<usize> = (0..rank).map(|i| if new.contains(&i) { 1 } else { old.next().unwrap_or(1) }).collect();
    one(c.reshape(x, &shape)?)
}
