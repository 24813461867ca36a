//! ONNX Runtime's `EmbedLayerNormalization`: word, position and segment embeddings summed and normalised.

use super::layer_norm::{affine, normalize};
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{DType, Op, Reduce, ValueId};

pub(super) const OPS: &[OpDef] = &[microsoft("EmbedLayerNormalization", embed_layer_norm)];

/// Operands: ids, segment ids, the tables of words, positions and segments, gamma, beta, mask, position ids.
/// Results: y, the number of ones in each row of the mask, the sum before the normalisation.
fn embed_layer_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    let epsilon = c.float("epsilon", 1e-12)?;
    // Says what the second result means; with a mask it is the count either way.
    c.ignore(&["mask_index_type"]);
    let (ids, segments) = (c.x(0)?, c.opt(1)?);
    let (words, places, kinds) = (c.x(2)?, c.x(3)?, c.opt(4)?);
    let (gamma, beta, mask, position) = (c.x(5)?, c.x(6)?, c.opt(7)?, c.opt(8)?);
    let [batch, length] = c.shape(ids)[..] else {
        return Err(Fail::invalid(format!("ids {} are not [batch, sequence]", c.ty(ids))));
    };
    let look = |c: &mut Call<'_, '_>, table: ValueId, ids: ValueId| c.op(Op::Gather { axis: 0 }, &[table, ids]);
    let mut sum = look(c, words, ids)?;
    let position = match position {
        Some(p) => p,
        None => c.iota(length, 2, 1)?,
    };
    let place = look(c, places, position)?;
    sum = c.add(sum, place)?;
    if let (Some(ids), Some(table)) = (segments, kinds) {
        let kind = look(c, table, ids)?;
        sum = c.add(sum, kind)?;
    }
    let dtype = c.dtype(sum);
    let stash = if dtype == DType::F64 { dtype } else { DType::F32 };
    let n = normalize(c, sum, &[2], epsilon, true, stash)?;
    let y = affine(c, n.y, Some(gamma), Some(beta))?;
    let count = match mask {
        Some(m) => {
            let m = c.cast(m, DType::I32)?;
            c.reduce(Reduce::Sum, m, &[1], false)?
        }
        None => c.full(DType::I32, &[batch], 0.0)?,
    };
    Ok(vec![Val::Tensor(y), Val::Tensor(count), Val::Tensor(sum)])
}
