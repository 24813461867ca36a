//! `NegativeLogLikelihoodLoss`, `SoftmaxCrossEntropyLoss`.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Op, Reduce, Unary, ValueId};

pub(super) const OPS: &[OpDef] =
    &[onnx("NegativeLogLikelihoodLoss", 12, nll), onnx("SoftmaxCrossEntropyLoss", 12, cross_entropy)];

struct Settings {
    ignore: Option<i64>,
    reduction: &'static str,
}

fn settings(c: &mut Call<'_, '_>) -> Result<Settings, Fail> {
    c.at_most(3)?;
    Ok(Settings {
        ignore: c.int_opt("ignore_index")?,
        reduction: c.choice("reduction", "mean", &["none", "mean", "sum"])?,
    })
}

/// -log_prob at the target class, weighted, and reduced. `log_prob` is `[N, C, d...]`, the
/// target `[N, d...]`.
fn loss(c: &mut Call<'_, '_>, log_prob: ValueId, set: &Settings) -> Result<ValueId, Fail> {
    let (target, weight) = (c.x(1)?, c.opt(2)?);
    let (ps, ts, dtype) = (c.shape(log_prob), c.shape(target), c.dtype(log_prob));
    if ps.len() < 2 || ts.len() + 1 != ps.len() || ts[0] != ps[0] || ts[1..] != ps[2..] {
        return Err(Fail::invalid(format!("target {} does not fit {}", c.ty(target), c.ty(log_prob))));
    }
    let target = c.cast(target, DType::I64)?;
    // An ignored target may be no class at all, so it is looked up as class 0.
    let (kept, class) = match set.ignore {
        Some(i) => {
            let ignored =
                c.add_tensor(crate::ir::Tensor { shape: Vec::new(), ..crate::ir::Tensor::from_i64(&[1], &[i]) });
            let hit = c.binary(Binary::Eq, target, ignored)?;
            let zero = c.scalar(DType::I64, 0.0);
            let class = c.select(hit, zero, target)?;
            (Some(c.unary(Unary::Not, hit)?), class)
        }
        None => (None, target),
    };
    let mut wide = ts.clone();
    wide.insert(1, 1);
    let index = c.reshape(class, &wide)?;
    let picked = c.op(Op::GatherElements { axis: 1 }, &[log_prob, index])?;
    let picked = c.reshape(picked, &ts)?;
    let mut losses = c.unary(Unary::Neg, picked)?;
    let mut weights = None;
    if let Some(w) = weight {
        weights = Some(c.op(Op::Gather { axis: 0 }, &[w, class])?);
    }
    if let Some(kept) = kept {
        let k = c.cast(kept, dtype)?;
        weights = Some(match weights {
            Some(w) => c.mul(w, k)?,
            None => k,
        });
    }
    if let Some(w) = weights {
        losses = c.mul(losses, w)?;
    }
    let all: Vec<usize> = (0..ts.len()).collect();
    match (set.reduction, weights) {
        ("none", _) => Ok(losses),
        ("sum", _) => c.reduce(Reduce::Sum, losses, &all, false),
        (_, None) => c.reduce(Reduce::Mean, losses, &all, false),
        (_, Some(w)) => {
            let sum = c.reduce(Reduce::Sum, losses, &all, false)?;
            let total = c.reduce(Reduce::Sum, w, &all, false)?;
            c.div(sum, total)
        }
    }
}

fn nll(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let set = settings(c)?;
    let x = c.x(0)?;
    Ok(vec![Val::Tensor(loss(c, x, &set)?)])
}

/// The same of the log softmax over the classes, which is the second result.
fn cross_entropy(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let set = settings(c)?;
    let x = c.x(0)?;
    if c.rank(x) < 2 {
        return Err(Fail::invalid(format!("scores {} have no class axis", c.ty(x))));
    }
    let max = c.reduce(Reduce::Max, x, &[1], true)?;
    let d = c.sub(x, max)?;
    let e = c.unary(Unary::Exp, d)?;
    let s = c.reduce(Reduce::Sum, e, &[1], true)?;
    let l = c.unary(Unary::Log, s)?;
    let log_prob = c.sub(d, l)?;
    let y = loss(c, log_prob, &set)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(log_prob)])
}
