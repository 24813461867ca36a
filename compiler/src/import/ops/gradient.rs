//! `Gradient` of the `ai.onnx.preview.training` domain: reverse differentiation of the primitives
//! imported so far.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, training};
use crate::ir::{Binary, DType, Node, Op, Reduce, Unary, ValueDef, ValueId};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const OPS: &[OpDef] = &[training("Gradient", gradient)];

fn gradient(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    let need =
        |v: Option<Vec<String>>, name: &str| v.ok_or_else(|| Fail::invalid(format!("attribute '{name}' is missing")));
    let xs = c.string_list("xs")?;
    let xs = need(xs, "xs")?;
    let zs = c.string_list("zs")?.unwrap_or_default();
    let y = c.string("y", "")?;
    let operands = c.all()?;
    if operands.len() != xs.len() + zs.len() {
        return Err(Fail::invalid(format!(
            "names {} tensors, but has {} operands",
            xs.len() + zs.len(),
            operands.len()
        )));
    }
    let y = tensor(c, &y)?;
    // The operands are where the derivative is taken: the very tensors that `y` was computed from.
    for (name, &v) in xs.iter().chain(&zs).zip(&operands) {
        if tensor(c, name)? != v {
            let reason = format!("the gradient at other values than those of '{name}' is not supported");
            return Err(Fail::unsupported(reason, "pass the tensors that xs and zs name"));
        }
    }
    let (xs, zs) = operands.split_at(xs.len());
    if let Some(&x) = xs.iter().find(|&&x| c.constant(x).is_some()) {
        // What depends on constants alone has been computed, and nothing tells how.
        let reason = format!("the gradient with respect to a constant {} is not supported", c.ty(x));
        return Err(Fail::unsupported(reason, "make it an input"));
    }
    let path = path(c, y, xs, zs);
    let shape = c.shape(y);
    let dtype = c.dtype(y);
    if !dtype.is_float() {
        return Err(Fail::invalid(format!("{} has no gradient", c.ty(y))));
    }
    let mut slopes = BTreeMap::from([(y, c.full(dtype, &shape, 1.0)?)]);
    // Values ascend with the nodes, so the largest is the one that all its uses have contributed to.
    for &v in path.iter().rev() {
        let Some(&slope) = slopes.get(&v) else { continue };
        let ValueDef::Node(n) = c.graph.value(v).def else { continue };
        if xs.contains(&v) || zs.contains(&v) {
            continue;
        }
        let node = c.graph.node(n).clone();
        for (i, &x) in node.inputs.iter().enumerate() {
            if !path.contains(&x) {
                continue;
            }
            let part = backward(c, &node, i, slope)?;
            let sum = match slopes.get(&x) {
                Some(&s) => c.add(s, part)?,
                None => part,
            };
            slopes.insert(x, sum);
        }
    }
    let mut results = Vec::new();
    for &x in xs {
        let (dtype, shape) = (c.dtype(x), c.shape(x));
        // What `y` does not depend on has no influence.
        let slope = slopes.get(&x).copied();
        results.push(Val::Tensor(match slope {
            Some(s) => s,
            None => c.full(dtype, &shape, 0.0)?,
        }));
    }
    Ok(results)
}

fn tensor(c: &mut Call<'_, '_>, name: &str) -> Result<ValueId, Fail> {
    match c.importer.lookup(name) {
        Some(Ok(Val::Tensor(v))) => Ok(v),
        Some(Err(e)) => Err(e),
        _ => Err(Fail::invalid(format!("'{name}' is no tensor computed before this node"))),
    }
}

/// The values between `xs` and `y`, both included; nothing is followed through `zs`.
fn path(c: &Call<'_, '_>, y: ValueId, xs: &[ValueId], zs: &[ValueId]) -> BTreeSet<ValueId> {
    let mut above = BTreeSet::from([y]);
    let mut todo = vec![y];
    while let Some(v) = todo.pop() {
        if let Some(n) = c.graph.producer(v)
            && !xs.contains(&v)
            && !zs.contains(&v)
        {
            todo.extend(n.inputs.iter().copied().filter(|&i| above.insert(i)));
        }
    }
    let mut path = BTreeSet::new();
    for &v in &above {
        let from = c.graph.producer(v).is_some_and(|n| n.inputs.iter().any(|i| path.contains(i)));
        if xs.contains(&v) || from && !zs.contains(&v) {
            path.insert(v);
        }
    }
    path
}

/// Sums a slope over the axes that `x` was repeated along.
fn unbroadcast(c: &mut Call<'_, '_>, slope: ValueId, x: ValueId) -> Result<ValueId, Fail> {
    let (ss, xs) = (c.shape(slope), c.shape(x));
    let lead = ss.len() - xs.len();
    let repeated: Vec<usize> = (0..ss.len()).filter(|&i| i < lead || xs[i - lead] == 1 && ss[i] != 1).collect();
    let s = c.reduce(Reduce::Sum, slope, &repeated, true)?;
    c.reshape(s, &xs)
}

/// What operand `i` of a node contributes, given the slope of the node's result.
fn backward(c: &mut Call<'_, '_>, n: &Node, i: usize, slope: ValueId) -> Result<ValueId, Fail> {
    let x = n.inputs[i];
    let y = n.output;
    let none = || Fail::unsupported(format!("no derivative of {} is known", n.op.name()), "compute it in training");
    match &n.op {
        Op::Unary(u) => {
            let factor = match u {
                Unary::Neg => return c.unary(Unary::Neg, slope),
                Unary::Abs => c.unary(Unary::Sign, x)?,
                Unary::Exp => y,
                Unary::Log => c.unary(Unary::Recip, x)?,
                Unary::Sin => c.unary(Unary::Cos, x)?,
                Unary::Cos => {
                    let s = c.unary(Unary::Sin, x)?;
                    c.unary(Unary::Neg, s)?
                }
                Unary::Sqrt => {
                    let half = c.scalar_like(y, 0.5);
                    c.div(half, y)?
                }
                Unary::Recip => {
                    let square = c.mul(y, y)?;
                    c.unary(Unary::Neg, square)?
                }
                Unary::Tanh => {
                    let square = c.mul(y, y)?;
                    let one = c.scalar_like(y, 1.0);
                    c.sub(one, square)?
                }
                Unary::Sigmoid => {
                    let one = c.scalar_like(y, 1.0);
                    let rest = c.sub(one, y)?;
                    c.mul(y, rest)?
                }
                Unary::Relu => {
                    let zero = c.scalar_like(x, 0.0);
                    let on = c.binary(Binary::Gt, x, zero)?;
                    let dtype = c.dtype(x);
                    c.cast(on, dtype)?
                }
                _ => return Err(none()),
            };
            c.mul(slope, factor)
        }
        Op::Binary(b) => {
            let other = n.inputs[1 - i];
            let s = match (b, i) {
                (Binary::Add, _) | (Binary::Sub, 0) => slope,
                (Binary::Sub, _) => c.unary(Unary::Neg, slope)?,
                (Binary::Mul, _) => c.mul(slope, other)?,
                (Binary::Div, 0) => c.div(slope, other)?,
                (Binary::Div, _) => {
                    // y = other / x, whose derivative is -y / x.
                    let s = c.mul(slope, y)?;
                    let s = c.div(s, x)?;
                    c.unary(Unary::Neg, s)?
                }
                (Binary::Pow, 0) => {
                    let less = c.offset(other, -1.0)?;
                    let p = c.binary(Binary::Pow, x, less)?;
                    let p = c.mul(other, p)?;
                    c.mul(slope, p)?
                }
                _ => return Err(none()),
            };
            unbroadcast(c, s, x)
        }
        Op::Cast(_) if c.dtype(x).is_float() && c.dtype(y).is_float() => {
            let dtype: DType = c.dtype(x);
            c.cast(slope, dtype)
        }
        Op::Reshape { .. } => {
            let shape = c.shape(x);
            c.reshape(slope, &shape)
        }
        Op::Broadcast { .. } => unbroadcast(c, slope, x),
        Op::Transpose { perm } => {
            let mut inverse = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
            c.transpose(slope, &inverse)
        }
        Op::Reduce { kind: kind @ (Reduce::Sum | Reduce::Mean), axes, .. } => {
            let shape = c.shape(x);
            let kept: Vec<usize> = (0..shape.len()).map(|a| if axes.contains(&a) { 1 } else { shape[a] }).collect();
            let s = c.reshape(slope, &kept)?;
            let count: usize = axes.iter().map(|&a| shape[a]).product();
            let s = if *kind == Reduce::Mean { c.scale(s, 1.0 / count.max(1) as f64)? } else { s };
            c.broadcast(s, &shape)
        }
        Op::MatMul { epilogue } if epilogue.is_empty() => {
            let other = c.transpose_last(n.inputs[1 - i])?;
            let s = if i == 0 { c.matmul(slope, other)? } else { c.matmul(other, slope)? };
            unbroadcast(c, s, x)
        }
        _ => Err(none()),
    }
}
