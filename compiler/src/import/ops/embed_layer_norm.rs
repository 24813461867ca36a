//! ONNX Runtime's `EmbedLayerNormalization`: word, position and segment embeddings summed and normalised; and
//! `QEmbedLayerNormalization`, whose tables are bytes.

use super::layer_norm::{affine, normalize};
use super::quantize::dequantize_value;
use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{DType, Op, Reduce, ValueId};

pub(super) const OPS: &[OpDef] = &[
    microsoft("EmbedLayerNormalization", embed_layer_norm),
    microsoft("QEmbedLayerNormalization", quantized_embed_layer_norm),
];

/// A table of floats, or of bytes with their scale and zero point.
struct Table {
    rows: ValueId,
    bytes: Option<(ValueId, ValueId)>,
}

impl Table {
    fn floats(rows: ValueId) -> Table {
        Table { rows, bytes: None }
    }

    fn as_floats(&self, c: &mut Call<'_, '_>, v: ValueId) -> Result<ValueId, Fail> {
        match self.bytes {
            Some((scale, zero)) => dequantize_value(c, v, scale, Some(zero), DType::F32),
            None => Ok(v),
        }
    }

    /// The rows of some ids, as floats.
    fn look(&self, c: &mut Call<'_, '_>, ids: ValueId) -> Result<ValueId, Fail> {
        let rows = c.op(Op::Gather { axis: 0 }, &[self.rows, ids])?;
        self.as_floats(c, rows)
    }
}

/// The operands of both.
struct Embedding {
    ids: ValueId,
    segments: Option<ValueId>,
    words: Table,
    places: Table,
    kinds: Option<Table>,
    gamma: ValueId,
    beta: ValueId,
    mask: Option<ValueId>,
    position: Option<ValueId>,
}

/// Operands: ids, segment ids, the tables of words, positions and segments, gamma, beta, mask, position ids.
/// Results: y, the number of ones in each row of the mask, the sum before the normalisation.
fn embed_layer_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(9)?;
    // Says what the second result means; with a mask it is the count either way.
    c.ignore(&["mask_index_type"]);
    let operands = Embedding {
        ids: c.x(0)?,
        segments: c.opt(1)?,
        words: Table::floats(c.x(2)?),
        places: Table::floats(c.x(3)?),
        kinds: c.opt(4)?.map(Table::floats),
        gamma: c.x(5)?,
        beta: c.x(6)?,
        mask: c.opt(7)?,
        position: c.opt(8)?,
    };
    embedded(c, &operands)
}

/// Operands: ids, segment ids, the tables of words, positions and segments, gamma, beta, mask; then the scales of those
/// five tables and their zero points. Results: y, the number of ones in each row of the mask.
fn quantized_embed_layer_norm(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(18)?;
    // Scale and zero point of table i stand among the operands from 8 and from 13.
    let table = |c: &mut Call<'_, '_>, i: usize| -> Result<Table, Fail> {
        let (rows, scale, zero) = (c.x(2 + i)?, c.x(8 + i)?, c.x(13 + i)?);
        Ok(Table { rows, bytes: Some((c.reshape(scale, &[])?, c.reshape(zero, &[])?)) })
    };
    let kinds = if c.opt(4)?.is_some() { Some(table(c, 2)?) } else { None };
    let (gamma, beta) = (table(c, 3)?, table(c, 4)?);
    let operands = Embedding {
        ids: c.x(0)?,
        segments: c.opt(1)?,
        words: table(c, 0)?,
        places: table(c, 1)?,
        kinds,
        gamma: gamma.as_floats(c, gamma.rows)?,
        beta: beta.as_floats(c, beta.rows)?,
        mask: c.opt(7)?,
        position: None,
    };
    let mut results = embedded(c, &operands)?;
    results.truncate(2);
    Ok(results)
}

fn embedded(c: &mut Call<'_, '_>, o: &Embedding) -> Result<Vec<Val>, Fail> {
    let epsilon = c.float("epsilon", 1e-12)?;
    let [batch, length] = c.shape(o.ids)[..] else {
        return Err(Fail::invalid(format!("ids {} are not [batch, sequence]", c.ty(o.ids))));
    };
    let mut sum = o.words.look(c, o.ids)?;
    let position = match o.position {
        Some(p) => p,
        None => c.iota(length, 2, 1)?,
    };
    let place = o.places.look(c, position)?;
    sum = c.add(sum, place)?;
    if let (Some(ids), Some(table)) = (o.segments, &o.kinds) {
        let kind = table.look(c, ids)?;
        sum = c.add(sum, kind)?;
    }
    let dtype = c.dtype(sum);
    let stash = if dtype == DType::F64 { dtype } else { DType::F32 };
    let n = normalize(c, sum, &[2], epsilon, true, stash)?;
    let y = affine(c, n.y, Some(o.gamma), Some(o.beta))?;
    let count = match o.mask {
        Some(m) => {
            let m = c.cast(m, DType::I32)?;
            c.reduce(Reduce::Sum, m, &[1], false)?
        }
        None => c.full(DType::I32, &[batch], 0.0)?,
    };
    Ok(vec![Val::Tensor(y), Val::Tensor(count), Val::Tensor(sum)])
}
