//! Elementwise nodes: they join the unfinished sequences of their operands.

use super::constant::bits;
use super::expr::Why;
use super::{Lazy, LazyIn, Select, Val};
use crate::tiled::{Src, Step};
use quadrille_compiler::ir::{Binary, Node, Op, Unary, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::AluType;

impl Select<'_> {
    pub(super) fn elementwise(&mut self, node: &Node) -> Result<Val, Why> {
        let shape = self.graph.shape(node.output).to_vec();
        let mut lazy = self.start(&shape);
        let mut args = Vec::new();
        // A product's sums come first in the numbering, so its sequence is joined first.
        let order = self.mat_first(&node.inputs, &shape);
        let mut taken = vec![Src::None; node.inputs.len()];
        for k in order {
            taken[k] = self.join(&mut lazy, node.inputs[k])?;
        }
        args.extend(taken);
        let result = self.steps_of(&mut lazy.expr, node, &args)?;
        lazy.result = result;
        lazy.ty = self.ty(node.output);
        Ok(Val::Lazy(Box::new(lazy)))
    }

    /// Adds the steps of an elementwise node.
    pub(super) fn steps_of(&self, expr: &mut super::Expr, node: &Node, args: &[Src]) -> Result<Src, Why> {
        let ty = self.ty(node.inputs[node.inputs.len() - 1]);
        let wide = |d: DType| matches!(d, DType::I64);
        let result = match &node.op {
            Op::Cast(to) => expr.convert(self.graph.ty(node.inputs[0]).dtype, *to, args[0])?,
            _ if node.inputs.iter().any(|v| wide(self.graph.ty(*v).dtype)) && !keeps_width(&node.op) => {
                return Err(("64-bit arithmetic".into(), "cast to f32 or i32 first".into()));
            }
            Op::Unary(u) => {
                if *u == Unary::Not && self.graph.ty(node.inputs[0]).dtype == DType::Bool {
                    expr.op(quadrille_isa::tsp::AluOp::Xor, ty, args[0], Src::Imm(1), Src::None)
                } else {
                    expr.unary(*u, ty, args[0])?
                }
            }
            Op::Binary(b) => {
                let power = match (&self.vals[node.inputs[1].0 as usize], b) {
                    (Val::Const(t), Binary::Pow) if t.len() == 1 => bits(t)?.first().map(|&v| f32::from_bits(v)),
                    _ => None,
                };
                let computed = matches!(args[1], Src::In(_) | Src::Op(_));
                if *b == Binary::Div && ty == AluType::F32 && computed && self.wants.rounded(self.graph, node.output) {
                    // One unit of the last place may decide which integer it is.
                    expr.quotient(args[0], args[1])
                } else {
                    expr.binary(*b, ty, args[0], args[1], power)?
                }
            }
            Op::Fma => expr.op(quadrille_isa::tsp::AluOp::Fma, ty, args[0], args[1], args[2]),
            Op::Select => {
                let int = match ty.bytes() {
                    1 => AluType::U8,
                    2 => AluType::I16,
                    _ => AluType::I32,
                };
                let c = expr.cast(AluType::U8, int, args[0]);
                expr.op(quadrille_isa::tsp::AluOp::Select, ty, c, args[1], args[2])
            }
            _ => return Err(("not elementwise".into(), "this is a bug of the compiler".into())),
        };
        Ok(result)
    }

    pub(super) fn start(&self, shape: &[usize]) -> Lazy {
        Lazy {
            mat: None,
            ins: Vec::new(),
            expr: super::Expr::default(),
            result: Src::None,
            ty: AluType::F32,
            shape: shape.to_vec(),
            node: self.node,
        }
    }

    fn mat_first(&self, inputs: &[ValueId], shape: &[usize]) -> Vec<usize> {
        let is_mat =
            |v: ValueId| matches!(&self.vals[v.0 as usize], Val::Lazy(l) if l.mat.is_some() && l.shape == shape);
        let first = (0..inputs.len()).find(|&k| is_mat(inputs[k]));
        let mut order: Vec<usize> = first.into_iter().collect();
        order.extend((0..inputs.len()).filter(|&k| Some(k) != first));
        order
    }

    /// Makes a value an operand of a sequence.
    pub(super) fn join(&mut self, lazy: &mut Lazy, v: ValueId) -> Result<Src, Why> {
        if let Val::Const(t) = &self.vals[v.0 as usize] {
            let t = t.clone();
            if t.len() == 1 {
                return Ok(Src::Imm(bits(&t)?[0]));
            }
            return Ok(add_in(lazy, LazyIn::Const(t)));
        }
        let mergeable = match &self.vals[v.0 as usize] {
            Val::Lazy(l) => {
                l.shape == lazy.shape
                    && (l.mat.is_none() || (lazy.mat.is_none() && lazy.expr.steps.is_empty() && lazy.ins.is_empty()))
            }
            _ => false,
        };
        if !mergeable {
            if let Some(src) = self.join_narrow(lazy, v)? {
                return Ok(src);
            }
            let view = self.any_form(v, self.ty(v))?;
            return Ok(add_in(lazy, LazyIn::View(view)));
        }
        // Its one consumer is this sequence, so it is taken, not copied.
        let Val::Lazy(other) = std::mem::replace(&mut self.vals[v.0 as usize], Val::None) else {
            return Err(("an operand has no value".into(), "this is a bug of the compiler".into()));
        };
        if other.mat.is_some() {
            let result = other.result;
            let shape = std::mem::take(&mut lazy.shape);
            *lazy = *other;
            lazy.shape = shape;
            lazy.node = self.node;
            return Ok(result);
        }
        let mut place = Vec::new();
        for i in other.ins {
            place.push(add_in(lazy, i));
        }
        let base = lazy.expr.steps.len() as u16;
        let moved = |s: Src| match s {
            Src::In(k) => place[usize::from(k)],
            Src::Op(k) => Src::Op(k + base),
            s => s,
        };
        lazy.expr.steps.extend(other.expr.steps.iter().map(|s| Step { src: s.src.map(moved), ..*s }));
        Ok(moved(other.result))
    }
}

impl Select<'_> {
    /// A product that widens its bytes again for its one consumer: the bytes become an operand of the sequence, which
    /// widens them itself.
    fn join_narrow(&mut self, lazy: &mut Lazy, v: ValueId) -> Result<Option<Src>, Why> {
        let Val::Lazy(other) = &self.vals[v.0 as usize] else { return Ok(None) };
        let Some(at) = other.mat.as_ref().and(bytes_behind(&other.expr.steps, other.result)) else { return Ok(None) };
        let Val::Lazy(mut other) = std::mem::replace(&mut self.vals[v.0 as usize], Val::None) else { return Ok(None) };
        let widening = other.expr.steps.split_off(at + 1);
        let last = &other.expr.steps[at];
        let (result, ty) = (other.result, last.op.result(last.ty));
        (other.result, other.ty) = (Src::Op(at as u16), ty);
        let forms = self.finish(*other, vec![ty])?;
        let bytes = add_in(lazy, LazyIn::View(forms[0].view.clone()));
        let base = lazy.expr.steps.len() as u16;
        let moved = |s: Src| match s {
            Src::Op(k) if usize::from(k) == at => bytes,
            Src::Op(k) => Src::Op(k - at as u16 - 1 + base),
            s => s,
        };
        lazy.expr.steps.extend(widening.iter().map(|s| Step { src: s.src.map(moved), ..*s }));
        Ok(Some(moved(result)))
    }
}

/// The step that makes bytes, where all steps behind it only work on these and on constants, in a row.
fn bytes_behind(steps: &[Step], result: Src) -> Option<usize> {
    if result != Src::Op(steps.len().checked_sub(1)? as u16) {
        return None;
    }
    let mut at = steps.len() - 1;
    while steps[at].op.result(steps[at].ty).bytes() != 1 {
        let before = Src::Op(at.checked_sub(1)? as u16);
        let own = |s: &Src| *s == before || matches!(s, Src::Imm(_) | Src::None);
        if !steps[at].src.contains(&before) || !steps[at].src.iter().all(own) {
            return None;
        }
        at -= 1;
    }
    (at + 1 < steps.len()).then_some(at)
}

/// True for operations whose result on values that fit 32 bits fits them too.
fn keeps_width(op: &Op) -> bool {
    match op {
        Op::Select => true,
        Op::Binary(b) => {
            b.is_compare() || matches!(b, Binary::Max | Binary::Min | Binary::And | Binary::Or | Binary::Xor)
        }
        _ => false,
    }
}

/// Adds an operand, or finds it.
pub(super) fn add_in(lazy: &mut Lazy, i: LazyIn) -> Src {
    let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
    let same = |x: &LazyIn| match (x, &i) {
        (LazyIn::View(a), LazyIn::View(b)) => a == b,
        (LazyIn::Const(a), LazyIn::Const(b)) => a.dtype == b.dtype && a.shape == b.shape && a.data == b.data,
        _ => false,
    };
    if let Some(k) = lazy.ins.iter().position(same) {
        return Src::In((chains + k) as u16);
    }
    lazy.ins.push(i);
    Src::In((chains + lazy.ins.len() - 1) as u16)
}
