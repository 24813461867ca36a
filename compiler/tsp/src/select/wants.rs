//! What consumers want of each value: which element types, whether it may stay unfinished, which
//! axis belongs on the lanes. Knows the graph alone.

use super::byte_product::factors;
use quadrille_compiler::ir::{Graph, Node, Op, Unary, ValueId};
use quadrille_compiler::ir::{Pool, Reduce};
use quadrille_isa::DType;
use quadrille_isa::tsp::AluType;

#[derive(Clone, Copy, Debug, Default)]
struct Want {
    own: bool,
    half: bool,
    uses: u32,
    user: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    values: Vec<Want>,
    types: Vec<DType>,
    /// Bytes that a product takes as they are.
    multiplied: Vec<bool>,
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. })
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_))
}

impl Wants {
    /// Walks the graph from its outputs.
    pub(crate) fn of(g: &Graph) -> Wants {
        let mut w = Wants {
            values: vec![Want::default(); g.values().len()],
            types: g.values().iter().map(|v| v.ty.dtype).collect(),
            multiplied: vec![false; g.values().len()],
        };
        for [left, right] in g.nodes().iter().filter_map(|n| factors(g, n)) {
            w.multiplied[left.bytes.0 as usize] = true;
            w.multiplied[right.bytes.0 as usize] = true;
        }
        for o in &g.outputs {
            let v = &mut w.values[o.value.0 as usize];
            v.own = true;
            // An output is a use that no kernel can join.
            v.uses += 2;
        }
        for (n, node) in g.nodes().iter().enumerate().rev() {
            let out = w.values[node.output.0 as usize];
            if out.uses == 0 {
                continue;
            }
            for (k, &v) in node.inputs.iter().enumerate() {
                let x = &mut w.values[v.0 as usize];
                x.uses += 1;
                x.user = n as u32;
                let float = g.ty(v).dtype == DType::F32;
                match &node.op {
                    Op::MatMul { .. } | Op::Conv { .. } if k < 2 && float => x.half = true,
                    op if is_view(op) => {
                        x.own |= out.own;
                        x.half |= out.half;
                    }
                    // Rounding keeps order, so a maximum of rounded values is the rounded maximum.
                    Op::Pool { kind: Pool::Max, .. } if out.half && !out.own => x.half = true,
                    _ => x.own = true,
                }
            }
        }
        w
    }

    /// True when an output depends on the value.
    pub(crate) fn alive(&self, v: ValueId) -> bool {
        self.values[v.0 as usize].uses > 0
    }

    /// True when an operation takes the value, not only the host.
    pub(crate) fn used(&self, g: &Graph, v: ValueId) -> bool {
        g.nodes().iter().any(|n| n.inputs.contains(&v) && self.alive(n.output))
    }

    /// Element types that consumers want.
    pub(crate) fn forms(&self, v: ValueId) -> Vec<AluType> {
        let w = self.values[v.0 as usize];
        let own = super::device_type(self.types[v.0 as usize]).unwrap_or(AluType::F32);
        match (w.own, w.half && own == AluType::F32) {
            (_, false) => vec![own],
            (false, true) => vec![AluType::F16],
            (true, true) => vec![own, AluType::F16],
        }
    }

    /// True when the last consumer makes integers of the value.
    pub(crate) fn rounded(&self, g: &Graph, v: ValueId) -> bool {
        let w = self.values[v.0 as usize];
        w.uses > 0
            && g.nodes().get(w.user as usize).is_some_and(|n| {
                let rounds = match &n.op {
                    Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil) => true,
                    Op::Cast(to) => to.is_int(),
                    _ => false,
                };
                rounds && n.inputs.contains(&v)
            })
    }

    /// The only consumer, of what is no output.
    pub(crate) fn only_user<'g>(&self, g: &'g Graph, v: ValueId) -> Option<&'g Node> {
        let w = self.values[v.0 as usize];
        (w.uses == 1).then(|| &g.nodes()[w.user as usize])
    }

    /// True when the only consumer is elementwise and keeps the shape, or is a softmax, or sums.
    pub(crate) fn stays_lazy(&self, g: &Graph, v: ValueId) -> bool {
        let sums = |op: &Op| matches!(op, Op::Reduce { kind: Reduce::Sum | Reduce::Mean, .. });
        let joins = |op: &Op| is_elementwise(op) || matches!(op, Op::Softmax { .. } | Op::Norm { .. });
        if self.multiplied[v.0 as usize] {
            return false;
        }
        self.first_is_norm(g, v)
            || self
                .only_user(g, v)
                .is_some_and(|user| sums(&user.op) || joins(&user.op) && g.shape(user.output) == g.shape(v))
    }

    /// True when a norm is the first consumer: it ends the sequence, and the others find it ended.
    fn first_is_norm(&self, g: &Graph, v: ValueId) -> bool {
        // Users were noted from the last to the first.
        let w = self.values[v.0 as usize];
        let first = g.nodes().get(w.user as usize).filter(|n| n.inputs.contains(&v));
        first.is_some_and(|n| matches!(n.op, Op::Norm { .. }))
    }

    /// True when consumers take the value in f16 or make bytes of it.
    pub(crate) fn narrow(&self, g: &Graph, v: ValueId) -> bool {
        if self.forms(v) == [AluType::F16] {
            return true;
        }
        self.only_user(g, v).is_some_and(|n| match &n.op {
            Op::Cast(to) => to.size() == 1,
            op => is_elementwise(op) && self.narrow(g, n.output),
        })
    }

    /// True when nothing cuts or joins the last axis of a value before a product takes it as inner axis.
    pub(crate) fn lanes_stay(&self, g: &Graph, v: ValueId) -> bool {
        let users = || g.nodes().iter().filter(|n| self.alive(n.output) && n.inputs.contains(&v));
        users().next().is_some()
            && users().all(|n| match &n.op {
                Op::MatMul { .. } => n.inputs[0] == v && !n.inputs[1..].contains(&v),
                op => is_elementwise(op) && g.shape(n.output) == g.shape(v) && self.lanes_stay(g, n.output),
            })
    }

    /// Axis of an input that the first consumer wants on lanes.
    pub(crate) fn lane_axis(&self, g: &Graph, v: ValueId) -> Option<usize> {
        let rank = g.ty(v).rank();
        if rank == 0 {
            return None;
        }
        let mut at: Vec<usize> = (0..rank).collect();
        let mut value = v;
        for _ in 0..8 {
            let Some(user) = g.nodes().iter().find(|n| n.inputs.contains(&value) && self.alive(n.output)) else {
                break;
            };
            match &user.op {
                Op::Transpose { perm } => {
                    at = at.iter().map(|&a| perm.iter().position(|&p| p == a).unwrap_or(a)).collect();
                    value = user.output;
                }
                Op::Conv { .. } | Op::Pool { .. } => return at.iter().position(|&a| a == 1),
                op if is_elementwise(op) && g.shape(user.output) == g.shape(value) => value = user.output,
                Op::Pad { .. } => value = user.output,
                _ => break,
            }
        }
        let shape = g.shape(v);
        Some((0..rank).rev().find(|&i| shape[i] != 1).unwrap_or(rank - 1))
    }
}
