//! `Transpose`.

use crate::import::call::{Call, Val, axes, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};

pub(super) const OPS: &[OpDef] = &[onnx("Transpose", 1, transpose)];

fn transpose(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let perm = c.int_list("perm")?;
    let x = c.x(0)?;
    let rank = c.rank(x);
    let perm: Vec<usize> = match perm {
        None => (0..rank).rev().collect(),
        Some(p) => {
            if axes(&p, rank)?.len() != rank {
                return Err(Fail::invalid(format!("{p:?} is no permutation of the axes of {}", c.ty(x))));
            }
            p.iter().map(|&a| if a < 0 { a + rank as i64 } else { a } as usize).collect()
        }
    };
    one(c.transpose(x, &perm)?)
}
