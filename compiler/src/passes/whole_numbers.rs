//! `whole-numbers`: the integers of a quantised graph as floats that hold them.
//!
//! For machines whose floating-point products are no slower than those of integers, and whose f16
//! holds every integer of nine bits. Knows the graph that `integer-kernels` makes.

use super::Pass;
use super::integer_kernels::{self, Roundings, integers};
use crate::ir::builder::{Rebuild, rebuild, scalar};
use crate::ir::{Binary, DType, Graph, Node, Op, PadMode, Pool, Reduce, Tensor, TypeError, Unary, ValueDef, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "whole-numbers",
    summary: "Turns quantised islands into products of whole numbers in floats, less their zero points.",
    details: "The graph that `integer-kernels` makes, every quantisation kept, with `f32` in place of its integers: a quantised \
              activation becomes `q - zero`, a whole number between -255 and 255 that `f16` holds, weights and biases become \
              the whole numbers that they are, and padding is with zero again. Sums of products are exact up to 2^24 and \
              beyond that rounded as floats are; the scale follows the sum, `max(min(rne(f32(acc + bias) * m), high - zero), \
              low - zero)`. A sum of two activations is `rne((x * (sx / sy) + y) * (sy / s))`.\n\n\
              What is not made of whole numbers there (a cast of a value that was not rounded, say) stays an integer and is \
              cast where a product reads it. A graph with products of integers that it widened itself (QLinearConv, ConvInteger) \
              is not for this pass.",
    run,
};

/// True when the graph quantises float values and multiplies no integers itself.
pub fn applies(graph: &Graph) -> bool {
    integer_kernels::quantises(graph)
}

fn run(graph: &Graph) -> Result<Graph, TypeError> {
    let integer = integer_kernels::with(graph, Roundings::Kept)?;
    let mut twins = Twins { old: &integer, of: vec![None; integer.values().len()] };
    rebuild(&integer, |r, node| twins.step(r, node))
}

/// The float `v` of the new graph and the integers `plus` that were taken from it: together an integer value of the old graph.
#[derive(Clone, Debug)]
struct Twin {
    v: ValueId,
    plus: Plus,
}

/// Integers that broadcast against a value; one of them has the shape `[]`.
#[derive(Clone, PartialEq, Debug)]
struct Plus {
    shape: Vec<usize>,
    values: Vec<i32>,
}

impl Plus {
    fn one(value: i32) -> Plus {
        Plus { shape: Vec::new(), values: vec![value] }
    }

    /// Some of a shape; of equal ones one.
    fn of(shape: &[usize], values: Vec<i32>) -> Plus {
        match values.first() {
            Some(&first) if values.iter().all(|&v| v == first) => Plus::one(first),
            _ => Plus { shape: shape.to_vec(), values },
        }
    }

    /// The integer, when there is one.
    fn single(&self) -> Option<i32> {
        self.shape.is_empty().then(|| self.values[0])
    }

    fn is_zero(&self) -> bool {
        self.values.iter().all(|&v| v == 0)
    }

    /// The sum with a constant.
    fn and(&self, t: &Tensor) -> Option<Plus> {
        let other = Plus::of(&t.shape, integers(t));
        let (few, many) = if self.shape.is_empty() { (self, &other) } else { (&other, self) };
        let each = match &few.values[..] {
            _ if few.shape == many.shape => few.values.clone(),
            [one] => vec![*one; many.values.len()],
            _ => return None,
        };
        let sum = |(a, b): (&i32, i32)| a.checked_add(b);
        let values = many.values.iter().zip(each).map(sum).collect::<Option<_>>()?;
        Some(Plus::of(&many.shape, values))
    }

    fn tensor(&self) -> Tensor {
        let values: Vec<f32> = self.values.iter().map(|&v| v as f32).collect();
        Tensor::from_f32(&self.shape, &values)
    }
}

type Made<T> = Result<Option<T>, TypeError>;

struct Twins<'a> {
    old: &'a Graph,
    of: Vec<Option<Twin>>,
}

impl Twins<'_> {
    /// What stands for the result of a node: an integer that is made of its twin, or a float.
    fn step(&mut self, r: &mut Rebuild<'_>, node: &Node) -> Made<ValueId> {
        if self.old.ty(node.output).dtype == DType::F32 {
            return self.float(r, node);
        }
        let Some(twin) = self.twin_of(r, node)?.filter(|t| self.is_as_large(r, t, node)) else { return Ok(None) };
        self.of[node.output.0 as usize] = Some(twin.clone());
        // For whoever wants the integer itself; removed where nobody does.
        let all = self.added(r, &twin, node)?;
        r.add(Op::Cast(self.old.ty(node.output).dtype), &[all], node).map(Some)
    }

    /// A float made of an integer that has a twin, perhaps less a constant.
    fn float(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<ValueId> {
        let cast = |v: ValueId| {
            let n = self.old.producer(v).filter(|n| n.op == Op::Cast(DType::F32))?;
            self.of[n.inputs[0].0 as usize].as_ref()
        };
        let twin = match node.op {
            Op::Cast(DType::F32) => cast(node.output).cloned(),
            Op::Binary(b @ (Binary::Add | Binary::Sub)) => (|| {
                let t = cast(node.inputs[0])?;
                let c = self.whole_scalar(node.inputs[1])?;
                let c = if b == Binary::Sub { -c } else { c };
                let plus = Plus::one(t.plus.single()?.checked_add(c)?);
                Some(Twin { v: t.v, plus })
            })(),
            _ => None,
        };
        twin.filter(|t| self.is_as_large(r, t, node)).map(|t| self.added(r, &t, node)).transpose()
    }

    /// True when it has the shape of a node's result: a constant of one element may have more axes than the operand.
    fn is_as_large(&self, r: &Rebuild<'_>, twin: &Twin, node: &Node) -> bool {
        r.graph().shape(twin.v) == self.old.shape(node.output)
    }

    fn added(&self, r: &mut Rebuild<'_>, twin: &Twin, node: &Node) -> Result<ValueId, TypeError> {
        if twin.plus.is_zero() {
            return Ok(twin.v);
        }
        let c = r.constant("", twin.plus.tensor());
        r.add(Op::Binary(Binary::Add), &[twin.v, c], node)
    }

    /// The one value of an `f32` constant, if it is an integer.
    fn whole_scalar(&self, v: ValueId) -> Option<i32> {
        let [value] = self.old.constant(v)?.as_f32()?[..] else { return None };
        (value.fract() == 0.0 && value.abs() < 65536.0).then_some(value as i32)
    }

    /// The one value of an integer constant.
    fn integer(&self, v: ValueId) -> Option<i32> {
        let t = self.old.constant(v).filter(|t| matches!(t.dtype, DType::I8 | DType::U8 | DType::I32))?;
        let [value] = integers(t)[..] else { return None };
        Some(value)
    }

    fn known(&self, v: ValueId) -> Option<Twin> {
        self.of[v.0 as usize].clone()
    }

    /// The twin of a narrow integer, by a cast where it has none.
    fn narrow(&self, r: &mut Rebuild<'_>, v: ValueId, node: &Node) -> Made<Twin> {
        if let Some(t) = self.known(v) {
            return Ok(Some(t));
        }
        let narrow = matches!(self.old.ty(v).dtype, DType::I8 | DType::U8);
        if !narrow || matches!(self.old.value(v).def, ValueDef::Const(_)) {
            return Ok(None);
        }
        let q = r.value(v);
        let v = r.add(Op::Cast(DType::F32), &[q], node)?;
        Ok(Some(Twin { v, plus: Plus::one(0) }))
    }

    fn twin_of(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<Twin> {
        match &node.op {
            Op::Cast(to @ (DType::I8 | DType::U8)) => self.quantised(r, node, *to),
            Op::Cast(DType::I32) => Ok(self.known(node.inputs[0]).filter(|t| t.plus.single().is_some())),
            Op::Binary(b @ (Binary::Max | Binary::Min)) => {
                let (Some(t), Some(bound)) = (self.known(node.inputs[0]), self.integer(node.inputs[1])) else {
                    return Ok(None);
                };
                let Some(plus) = t.plus.single() else { return Ok(None) };
                let v = bounded(r, t.v, *b, bound - plus, node)?;
                Ok(Some(Twin { v, ..t }))
            }
            Op::Binary(Binary::Add) => {
                let (Some(t), Some(c)) = (self.known(node.inputs[0]), self.old.constant(node.inputs[1])) else {
                    return Ok(None);
                };
                Ok(t.plus.and(c).map(|plus| Twin { plus, ..t }))
            }
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Broadcast { .. }
            | Op::Pool { kind: Pool::Max, .. }
            | Op::Reduce { kind: Reduce::Max | Reduce::Min, .. } => self.moved(r, node),
            Op::Concat { .. } => self.concat(r, node),
            Op::Pad { mode: PadMode::Constant, .. } => self.padded(r, node),
            Op::Reduce { kind: Reduce::Sum, axes, .. } => {
                let n: usize = axes.iter().map(|&a| self.old.shape(node.inputs[0])[a]).product();
                let Some(t) = self.moved(r, node)? else { return Ok(None) };
                let all = t.plus.single().and_then(|p| p.checked_mul(i32::try_from(n).ok()?));
                Ok(all.map(|p| Twin { plus: Plus::one(p), ..t }))
            }
            Op::Conv { epilogue, .. } | Op::MatMul { epilogue } if epilogue.is_empty() => self.product(r, node),
            _ => Ok(None),
        }
    }

    /// A rounded float, perhaps with a whole number added, saturated.
    fn quantised(&self, r: &mut Rebuild<'_>, node: &Node, to: DType) -> Made<Twin> {
        let rounded = |v: ValueId| self.old.producer(v).is_some_and(|n| n.op == Op::Unary(Unary::Round));
        let x = node.inputs[0];
        let (x, zero) = match self.old.producer(x) {
            Some(n) if n.op == Op::Binary(Binary::Add) => match self.whole_scalar(n.inputs[1]) {
                Some(z) => (n.inputs[0], z),
                None => return Ok(None),
            },
            _ => (x, 0),
        };
        if !rounded(x) {
            return Ok(None);
        }
        let (low, high) = integer_kernels::range(to);
        let v = r.value(x);
        let v = bounded(r, v, Binary::Max, low - zero, node)?;
        let v = bounded(r, v, Binary::Min, high - zero, node)?;
        Ok(Some(Twin { v, plus: Plus::one(zero) }))
    }

    /// The same operation on the twin.
    fn moved(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<Twin> {
        let Some(t) = self.known(node.inputs[0]).filter(|t| t.plus.single().is_some()) else { return Ok(None) };
        let v = r.add(node.op.clone(), &[t.v], node)?;
        Ok(Some(Twin { v, ..t }))
    }

    fn concat(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<Twin> {
        let Some(parts) = node.inputs.iter().map(|&v| self.known(v)).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let plus = parts[0].plus.clone();
        let same = plus.single().is_some() && parts.iter().all(|p| p.plus == plus);
        let mut inputs = Vec::new();
        for p in &parts {
            inputs.push(if same { p.v } else { self.added(r, p, node)? });
        }
        let v = r.add(node.op.clone(), &inputs, node)?;
        Ok(Some(Twin { v, plus: if same { plus } else { Plus::one(0) } }))
    }

    fn padded(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<Twin> {
        let (Some(t), Some(fill)) = (self.known(node.inputs[0]), self.integer(node.inputs[1])) else { return Ok(None) };
        let Some(plus) = t.plus.single() else { return Ok(None) };
        let fill = r.constant("", scalar(DType::F32, f64::from(fill - plus)));
        let v = r.add(node.op.clone(), &[t.v, fill], node)?;
        Ok(Some(Twin { v, ..t }))
    }

    /// A product with constant weights. What was taken from the activation comes back with the sums of the weights.
    fn product(&self, r: &mut Rebuild<'_>, node: &Node) -> Made<Twin> {
        let Some(w) = self.old.constant(node.inputs[1]).filter(|t| t.dtype == DType::I8) else { return Ok(None) };
        let mut op = node.op.clone();
        let mut x = node.inputs[0];
        if !has_border(&node.op)
            && let Op::Conv { window, .. } = &mut op
            && let Some((inner, before, after)) = self.zero_padding(x)
        {
            (x, window.before, window.after) = (inner, before, after);
        }
        let Some(mut t) = self.narrow(r, x, node)? else { return Ok(None) };
        let Some(zero) = t.plus.single() else { return Ok(None) };
        let channel = if matches!(op, Op::Conv { .. }) { 0 } else { w.shape.len() - 1 };
        let mut plus = Plus::one(0);
        if zero != 0 {
            // Cells around the image are zeros of the integers, where they are not zero points.
            if has_border(&node.op) {
                t.v = self.added(r, &t, node)?;
            } else {
                let sums = integer_kernels::column_sums(w, channel);
                let back = sums.iter().map(|s| s.checked_mul(zero)).collect::<Option<Vec<i32>>>();
                let Some(values) = back else { return Ok(None) };
                let mut shape = vec![values.len()];
                if matches!(op, Op::Conv { .. }) {
                    shape.extend(vec![1; w.shape.len() - 2]);
                }
                plus = Plus::of(&shape, values);
            }
        }
        let values: Vec<f32> = integers(w).into_iter().map(|v| v as f32).collect();
        let name = self.old.value(node.inputs[1]).name.clone();
        let weights = r.constant(name, Tensor::from_f32(&w.shape, &values));
        let v = r.add(op, &[t.v, weights], node)?;
        Ok(Some(Twin { v, plus }))
    }

    /// The value under padding of spatial axes with what is zero for its twin, and the cells.
    fn zero_padding(&self, v: ValueId) -> Option<(ValueId, Vec<usize>, Vec<usize>)> {
        let node = self.old.producer(v)?;
        let Op::Pad { mode: PadMode::Constant, before, after } = &node.op else { return None };
        let fill = self.integer(node.inputs[1])?;
        let zero = self.known(node.inputs[0])?.plus.single()?;
        let outer = before[..2].iter().chain(&after[..2]).all(|&p| p == 0);
        let cells = |p: &[isize]| p[2..].iter().map(|&p| usize::try_from(p).ok()).collect::<Option<Vec<_>>>();
        (fill == zero && outer).then_some(())?;
        Some((node.inputs[0], cells(before)?, cells(after)?))
    }
}

/// True for a convolution with cells around its image.
fn has_border(op: &Op) -> bool {
    matches!(op, Op::Conv { window, .. } if window.before.iter().chain(&window.after).any(|&p| p > 0))
}

fn bounded(r: &mut Rebuild<'_>, v: ValueId, op: Binary, bound: i32, node: &Node) -> Result<ValueId, TypeError> {
    let c = r.constant("", scalar(DType::F32, f64::from(bound)));
    r.add(Op::Binary(op), &[v, c], node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::eval;
    use crate::ir::verify::verify;
    use crate::passes::integer_kernels::tests::Build;

    /// Random islands one behind the other, so that what one leaves is what the next takes.
    fn islands(seed: u64) -> Build {
        let mut b = Build::new(seed);
        let y = b.island(seed as usize % 8);
        let p = b.params();
        let q = b.quantise(y, p);
        b.g.add_output("q", q);
        b
    }

    #[test]
    fn whole_numbers_are_the_integers_bit_for_bit() {
        for seed in 0..1600 {
            let mut b = islands(seed);
            assert!(applies(&b.g));
            let integers = integer_kernels::with(&b.g, Roundings::Kept).unwrap();
            let whole = run(&b.g).unwrap();
            verify(&whole).unwrap();
            let wide = whole.nodes().iter().find(|n| whole.ty(n.output).dtype == DType::I32);
            assert!(wide.is_none(), "seed {seed}: {wide:?} is left");
            let inputs = b.inputs();
            let (want, got) = (eval(&integers, &inputs).unwrap(), eval(&whole, &inputs).unwrap());
            assert_eq!(got[0].data, want[0].data, "seed {seed}");
        }
    }

    #[test]
    fn a_constant_of_more_axes_is_left_to_the_integers() {
        let text = "graph \"q\" {\n  %0 = input : f32[3] as \"x\"\n  %1 = const [2.0] : f32[1x1]\n  \
                    %2 = round %0 : f32[3] from \"q\"\n  %3 = add %2, %1 : f32[1x3] from \"q\"\n  \
                    %4 = cast %3 : i8[1x3] from \"q\"\n  output \"y\" = %4\n}\n";
        let g = crate::ir::text::parse(text).unwrap();
        let whole = run(&g).unwrap();
        verify(&whole).unwrap();
        let x = [Tensor::from_f32(&[3], &[-1.4, 0.0, 130.0])];
        assert!(eval(&whole, &x).unwrap() == eval(&g, &x).unwrap());
    }
}
