//! Sequences of known length, and optionals: both exist only while the model is imported.

use crate::import::call::{Call, Val, axis, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, ValueId};
use std::rc::Rc;

pub(super) const OPS: &[OpDef] = &[
    onnx("ConcatFromSequence", 11, concat_from_sequence),
    onnx("Optional", 15, optional),
    onnx("OptionalGetElement", 15, optional_get),
    onnx("OptionalHasElement", 15, optional_has),
    onnx("SequenceAt", 11, sequence_at),
    onnx("SequenceConstruct", 11, sequence_construct),
    onnx("SequenceEmpty", 11, sequence_empty),
    onnx("SequenceErase", 11, sequence_erase),
    onnx("SequenceInsert", 11, sequence_insert),
    onnx("SequenceLength", 11, sequence_length),
    onnx("SplitToSequence", 11, split_to_sequence),
];

/// Longest axis that is split into a sequence.
const MAX_PARTS: usize = 1 << 20;

fn sequence(c: &Call<'_, '_>, i: usize) -> Result<Rc<Vec<ValueId>>, Fail> {
    match c.operands.get(i) {
        Some(Some(Val::Sequence(s))) => Ok(s.clone()),
        _ => Err(Fail::invalid(format!("operand {i} is no sequence"))),
    }
}

fn made(items: Vec<ValueId>) -> Result<Vec<Val>, Fail> {
    Ok(vec![Val::Sequence(Rc::new(items))])
}

/// A place in a sequence of `n`, or just behind it when `behind`.
fn place(c: &Call<'_, '_>, operand: usize, n: usize, behind: bool) -> Result<usize, Fail> {
    match c.known_ints(operand, "the position")?[..] {
        [p] => {
            let end = n as i64 + i64::from(behind);
            let at = if p < 0 { p + n as i64 } else { p };
            if at < 0 || at >= end {
                return Err(Fail::invalid(format!("position {p} is outside a sequence of {n}")));
            }
            Ok(at as usize)
        }
        _ => Err(Fail::invalid("the position must be one number")),
    }
}

fn sequence_construct(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    made(c.all()?)
}

fn sequence_empty(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(0)?;
    c.ignore(&["dtype"]);
    made(Vec::new())
}

fn sequence_at(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let s = sequence(c, 0)?;
    one(s[place(c, 1, s.len(), false)?])
}

fn sequence_insert(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let s = sequence(c, 0)?;
    let x = c.x(1)?;
    let at = if c.opt(2)?.is_some() { place(c, 2, s.len(), true)? } else { s.len() };
    let mut items = s.to_vec();
    items.insert(at, x);
    made(items)
}

fn sequence_erase(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let s = sequence(c, 0)?;
    let last = s.len().checked_sub(1).ok_or_else(|| Fail::invalid("the sequence is empty"))?;
    let at = if c.opt(1)?.is_some() { place(c, 1, s.len(), false)? } else { last };
    let mut items = s.to_vec();
    items.remove(at);
    made(items)
}

fn sequence_length(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let n = sequence(c, 0)?.len();
    let v = c.ints(&[n as i64]);
    one(c.reshape(v, &[])?)
}

fn concat_from_sequence(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let a = c.int_opt("axis")?.ok_or_else(|| Fail::invalid("attribute 'axis' is missing"))?;
    let new_axis = c.flag("new_axis", false)?;
    let s = sequence(c, 0)?;
    let first = *s.first().ok_or_else(|| Fail::invalid("the sequence is empty"))?;
    let rank = c.rank(first) + usize::from(new_axis);
    let a = axis(a, rank)?;
    let mut parts = Vec::new();
    for &v in s.iter() {
        let mut shape = c.shape(v);
        if new_axis && a <= shape.len() {
            shape.insert(a, 1);
        }
        parts.push(c.reshape(v, &shape)?);
    }
    one(c.concat(a, &parts)?)
}

fn split_to_sequence(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (a, keep) = (c.int("axis", 0)?, c.flag("keepdims", true)?);
    let x = c.x(0)?;
    let a = axis(a, c.rank(x))?;
    let total = c.shape(x)[a];
    if total > MAX_PARTS {
        return Err(Fail::unsupported(format!("splitting an axis of {total} is not supported"), "use a shorter one"));
    }
    let given = c.known_ints_opt(1, "the sizes")?;
    let scalar = match c.opt(1)? {
        Some(v) => c.rank(v) == 0,
        None => false,
    };
    let (sizes, drop) = match given {
        None => (vec![1; total], !keep),
        Some(v) if scalar => {
            let n = extent(v.first().copied().unwrap_or(1))?.max(1);
            ((0..total.div_ceil(n)).map(|i| (total - i * n).min(n)).collect(), false)
        }
        Some(v) => (v.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?, false),
    };
    if sizes.len() > MAX_PARTS || sizes.iter().try_fold(0usize, |s, &n| s.checked_add(n)) != Some(total) {
        return Err(Fail::invalid(format!("the parts do not add up to {total}")));
    }
    let mut items = Vec::new();
    let mut start = 0;
    for n in sizes {
        let mut v = c.slice_axis(x, a, start, n)?;
        if drop {
            let mut shape = c.shape(v);
            shape.remove(a);
            v = c.reshape(v, &shape)?;
        }
        items.push(v);
        start += n;
    }
    made(items)
}

fn optional(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    c.ignore(&["type"]);
    Ok(vec![c.operands.first().cloned().flatten().unwrap_or(Val::Nothing)])
}

fn optional_has(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let has = matches!(c.operands.first(), Some(Some(_)));
    one(c.scalar(DType::Bool, f64::from(u8::from(has))))
}

fn optional_get(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    match c.operands.first() {
        Some(Some(v)) => Ok(vec![v.clone()]),
        _ => Err(Fail::invalid("the optional is empty")),
    }
}
