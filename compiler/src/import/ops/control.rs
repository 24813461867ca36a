//! `If`, `Loop`, `Scan`, `SequenceMap`: conditions and trip counts must be known, loops are unrolled.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, axis};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::import::tensor;
use crate::ir::{DType, Tensor, TensorType, ValueId};
use quadrille_onnx::{Dim, Graph, ValueType};
use std::rc::Rc;

pub(super) const OPS: &[OpDef] =
    &[onnx("If", 1, if_else), onnx("Loop", 1, loop_body), onnx("Scan", 8, scan), onnx("SequenceMap", 17, sequence_map)];

/// The branch that a known condition takes; with an unknown one both are computed and chosen
/// from, which is right because no operator has effects.
fn if_else(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (yes, no) = (c.graph_attribute("then_branch")?, c.graph_attribute("else_branch")?);
    let cond = c.x(0)?;
    if c.constant(cond).is_some() {
        let taken = c.known_number(0, "the condition")? != 0.0;
        return c.importer.body(if taken { yes } else { no }, Vec::new());
    }
    if c.ty(cond).elements() != 1 {
        return Err(Fail::invalid(format!("the condition {} is no scalar", c.ty(cond))));
    }
    let problems = c.importer.problems();
    let (yes, no) = (c.importer.body(yes, Vec::new()), c.importer.body(no, Vec::new()));
    let inside = c.importer.take_problems(problems);
    let first = inside.first().map(ToString::to_string);
    if let Some(why) =
        first.or_else(|| [&yes, &no].into_iter().find_map(|r| r.as_ref().err().map(|f| f.reason.clone())))
    {
        // Exporters keep branches for other shapes than those bound: the branch to take has to be known then.
        let what = "the condition, one of whose branches does not import as the shapes are bound,";
        let mut fail = c.known_value(cond, what).err().unwrap_or_else(|| Fail::invalid(""));
        fail.reason = format!("{} (in the branch: {why})", fail.reason);
        return Err(fail);
    }
    let cond = c.reshape(cond, &[])?;
    yes?.into_iter().zip(no?).map(|(y, n)| either(c, cond, y, n)).collect()
}

fn either(c: &mut Call<'_, '_>, cond: ValueId, yes: Val, no: Val) -> Result<Val, Fail> {
    match (yes, no) {
        (Val::Tensor(y), Val::Tensor(n)) if c.ty(y) == c.ty(n) => Ok(Val::Tensor(c.select(cond, y, n)?)),
        (Val::Failed, _) | (_, Val::Failed) => Ok(Val::Failed),
        _ => {
            // Names the inputs that decide.
            c.known_value(cond, "the condition, whose branches give different types,")?;
            Err(Fail::invalid("the branches give different types"))
        }
    }
}

/// A known bool or number.
fn known_flag(c: &Call<'_, '_>, v: &Val, what: &str) -> Result<bool, Fail> {
    match v {
        Val::Tensor(v) => Ok(c.known_value(*v, what)?.data.iter().any(|&b| b != 0)),
        _ => Err(Fail::invalid(format!("{what} is no tensor"))),
    }
}

fn loop_body(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let body = c.graph_attribute("body")?;
    let count = match c.opt(0)? {
        Some(_) => match c.known_ints(0, "the trip count")?[..] {
            [n] => n,
            _ => return Err(Fail::invalid("the trip count must be one number")),
        },
        None => i64::MAX,
    };
    let mut go = match c.operands.get(1).cloned().flatten() {
        Some(v) => known_flag(c, &v, "the loop condition")?,
        None => true,
    };
    let mut state: Vec<Val> = c.operands.iter().skip(2).map(|v| v.clone().unwrap_or(Val::Nothing)).collect();
    let collected = body.outputs.len().checked_sub(1 + state.len());
    let collected = collected.ok_or_else(|| Fail::invalid("the body returns too few values"))?;
    let mut scans: Vec<Vec<Val>> = vec![Vec::new(); collected];
    let mut i = 0;
    while go && i < count {
        let step = c.add_tensor(scalar_i64(i));
        let on = c.scalar(DType::Bool, 1.0);
        let arguments = [Val::Tensor(step), Val::Tensor(on)].into_iter().chain(state).collect();
        let mut results = c.importer.body(body, arguments)?.into_iter();
        let next = results.next().unwrap_or(Val::Nothing);
        let rest: Vec<Val> = results.collect();
        state = rest[..rest.len() - collected].to_vec();
        scans.iter_mut().zip(&rest[rest.len() - collected..]).for_each(|(s, v)| s.push(v.clone()));
        if rest.iter().chain([&next]).any(|v| matches!(v, Val::Failed)) {
            return Ok(vec![Val::Failed; c.result_count()]);
        }
        go = known_flag(c, &next, "the loop condition")?;
        i += 1;
    }
    let first = 1 + state.len();
    for (k, values) in scans.into_iter().enumerate() {
        let v = stack(c, values, 0, body, first + k)?;
        state.push(v);
    }
    Ok(state)
}

fn scalar_i64(v: i64) -> Tensor {
    Tensor { shape: Vec::new(), ..Tensor::from_i64(&[1], &[v]) }
}

/// Joins what the iterations gave along a new axis.
fn stack(c: &mut Call<'_, '_>, values: Vec<Val>, a: i64, body: &Graph, output: usize) -> Result<Val, Fail> {
    if values.is_empty() {
        return Ok(Val::Tensor(empty(c, body, output)?));
    }
    let mut parts = Vec::new();
    let mut at = 0;
    for v in values {
        let Val::Tensor(v) = v else { return Err(Fail::invalid("a loop collects tensors only")) };
        let mut shape = c.shape(v);
        at = axis(a, shape.len() + 1)?;
        shape.insert(at, 1);
        parts.push(c.reshape(v, &shape)?);
    }
    Ok(Val::Tensor(c.concat(at, &parts)?))
}

/// What no iteration at all gives: nothing of the declared type.
fn empty(c: &mut Call<'_, '_>, body: &Graph, output: usize) -> Result<ValueId, Fail> {
    let missing = || Fail::unsupported("a loop without iterations collects values of unknown shape", "declare it");
    let ty = &body.outputs.get(output).ok_or_else(missing)?.ty;
    let ValueType::Tensor { element, shape: Some(dims) } = ty else { return Err(missing()) };
    let dtype = tensor::dtype_of(*element)?;
    let mut shape = vec![0];
    for d in dims {
        let Dim::Fixed(n) = d else { return Err(missing()) };
        shape.push(*n);
    }
    let s = c.add_tensor(scalar_tensor(dtype, 0.0));
    let ty = TensorType::new(dtype, shape);
    c.broadcast(s, &ty.shape)
}

/// What a scan walks along: a tensor, an axis, and whether from its end.
type Scanned = (ValueId, usize, bool);

/// States after the last step, and what the steps gave; `None` when the body failed.
type Steps = Option<(Vec<Val>, Vec<Vec<Val>>)>;

/// Version 9 and later: state variables, then inputs to scan along an axis.
fn scan(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    if c.opset < 9 {
        return scan_batches(c);
    }
    let body = c.graph_attribute("body")?;
    let operands = c.all()?;
    let inputs = scan_inputs(c, operands.len())?;
    let states = operands.len() - inputs;
    let outputs = body.outputs.len().checked_sub(states);
    let outputs = outputs.ok_or_else(|| Fail::invalid("the body returns too few values"))?;
    let in_axes = entries(c, "scan_input_axes", inputs)?;
    let in_back = entries(c, "scan_input_directions", inputs)?;
    let out_axes = entries(c, "scan_output_axes", outputs)?;
    let out_back = entries(c, "scan_output_directions", outputs)?;
    let mut scanned = Vec::new();
    for (k, &x) in operands[states..].iter().enumerate() {
        scanned.push((x, axis(in_axes[k], c.rank(x))?, in_back[k] != 0));
    }
    let state: Vec<Val> = operands[..states].iter().map(|&v| Val::Tensor(v)).collect();
    let Some((mut results, scans)) = steps(c, body, state, &scanned)? else {
        return Ok(vec![Val::Failed; c.result_count()]);
    };
    for (k, mut values) in scans.into_iter().enumerate() {
        if out_back[k] != 0 {
            values.reverse();
        }
        let v = stack(c, values, out_axes[k], body, states + k)?;
        results.push(v);
    }
    Ok(results)
}

/// Version 8: every operand has a batch axis first, and time second; lengths come before the states.
fn scan_batches(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let body = c.graph_attribute("body")?;
    let operands = (1..c.operand_count()).map(|i| c.x(i)).collect::<Result<Vec<_>, _>>()?;
    let inputs = scan_inputs(c, operands.len())?;
    let states = operands.len() - inputs;
    let back = entries(c, "directions", inputs)?;
    let first = c.shape(operands[states]);
    let (&batch, &time) = first.first().zip(first.get(1)).ok_or_else(|| Fail::invalid("no batch or time axis"))?;
    if let Some(lengths) = c.known_ints_opt(0, "the lengths")?
        && lengths.iter().any(|&n| n != time as i64)
    {
        return Err(Fail::unsupported("sequences shorter than the time axis are not supported", "split the batch"));
    }
    let mut all: Vec<Vec<Val>> = vec![Vec::new(); body.outputs.len()];
    for b in 0..batch {
        let mut rows = Vec::new();
        for &x in &operands {
            if c.shape(x).first() != Some(&batch) {
                return Err(Fail::invalid(format!("{} does not have {batch} batches", c.ty(x))));
            }
            let v = c.slice_axis(x, 0, b, 1)?;
            let shape = c.shape(v)[1..].to_vec();
            rows.push(c.reshape(v, &shape)?);
        }
        let mut scanned = Vec::new();
        for (k, &x) in rows[states..].iter().enumerate() {
            scanned.push((x, axis(0, c.rank(x))?, back[k] != 0));
        }
        let state: Vec<Val> = rows[..states].iter().map(|&v| Val::Tensor(v)).collect();
        let Some((mut results, scans)) = steps(c, body, state, &scanned)? else {
            return Ok(vec![Val::Failed; c.result_count()]);
        };
        for (k, values) in scans.into_iter().enumerate() {
            let v = stack(c, values, 0, body, states + k)?;
            results.push(v);
        }
        all.iter_mut().zip(results).for_each(|(list, v)| list.push(v));
    }
    all.into_iter().enumerate().map(|(k, values)| stack(c, values, 0, body, k)).collect()
}

fn scan_inputs(c: &mut Call<'_, '_>, operands: usize) -> Result<usize, Fail> {
    let inputs = usize::try_from(c.int("num_scan_inputs", 0)?).ok().filter(|&n| n > 0 && n <= operands);
    inputs.ok_or_else(|| Fail::invalid("attribute 'num_scan_inputs' is out of range"))
}

/// A list attribute of `n` entries, zeros when it is left out.
fn entries(c: &mut Call<'_, '_>, name: &str, n: usize) -> Result<Vec<i64>, Fail> {
    let v = c.int_list(name)?.unwrap_or_else(|| vec![0; n]);
    if v.len() == n { Ok(v) } else { Err(Fail::invalid(format!("attribute '{name}' needs {n} entries"))) }
}

/// The body once for every element of the scanned axes.
fn steps<'a>(c: &mut Call<'_, 'a>, body: &'a Graph, mut state: Vec<Val>, scanned: &[Scanned]) -> Result<Steps, Fail> {
    let states = state.len();
    let outputs = body.outputs.len().checked_sub(states);
    let outputs = outputs.ok_or_else(|| Fail::invalid("the body returns too few values"))?;
    let lengths: Vec<usize> = scanned.iter().map(|&(x, a, _)| c.shape(x)[a]).collect();
    let count = lengths.first().copied().unwrap_or(0);
    if lengths.iter().any(|&n| n != count) {
        return Err(Fail::invalid("the scanned operands differ in length"));
    }
    let mut scans: Vec<Vec<Val>> = vec![Vec::new(); outputs];
    for i in 0..count {
        let mut arguments = state;
        for &(x, a, back) in scanned {
            let v = c.slice_axis(x, a, if back { count - 1 - i } else { i }, 1)?;
            let mut shape = c.shape(v);
            shape.remove(a);
            arguments.push(Val::Tensor(c.reshape(v, &shape)?));
        }
        let results = c.importer.body(body, arguments)?;
        if results.iter().any(|v| matches!(v, Val::Failed)) {
            return Ok(None);
        }
        state = results[..states].to_vec();
        scans.iter_mut().zip(&results[states..]).for_each(|(s, v)| s.push(v.clone()));
    }
    Ok(Some((state, scans)))
}

/// The body for every element of the sequences; tensors are passed whole.
fn sequence_map(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let body = c.graph_attribute("body")?;
    let Some(Some(Val::Sequence(first))) = c.operands.first().cloned() else {
        return Err(Fail::invalid("the first operand must be a sequence"));
    };
    let operands = c.operands.clone();
    let mut outputs: Vec<Vec<ValueId>> = vec![Vec::new(); body.outputs.len()];
    for i in 0..first.len() {
        let mut arguments = Vec::new();
        for v in &operands {
            arguments.push(match v {
                Some(Val::Sequence(s)) => {
                    Val::Tensor(*s.get(i).ok_or_else(|| Fail::invalid("the sequences differ in length"))?)
                }
                Some(v) => v.clone(),
                None => Val::Nothing,
            });
        }
        for (list, v) in outputs.iter_mut().zip(c.importer.body(body, arguments)?) {
            match v {
                Val::Tensor(v) => list.push(v),
                Val::Failed => return Ok(vec![Val::Failed; c.result_count()]),
                _ => return Err(Fail::unsupported("the body must return tensors", "")),
            }
        }
    }
    Ok(outputs.into_iter().map(|s| Val::Sequence(Rc::new(s))).collect())
}
