//! Small nodes of long graphs share a PE: a node whose operand nobody else reads takes over the
//! program that makes it, instead of receiving it from a PE of its own.
//!
//! An unrolled recurrent layer has thousands of small nodes; each on its own PE, their streams
//! would crowd the routers.

use super::super::{Partitioner, Source};
use super::asm::{Asm, T};
use super::{Feed, Given, SRAM};
use crate::kernels::general::{Arg, BufId, Input, Nest, Prog, Stmt, View};
use crate::layout::Layout;
use crate::streams::{Operand, StreamId};
use quadrille_compiler::ir::{Node, Op};

/// A general kernel of one round, as it can be taken over.
#[derive(Clone, Debug)]
pub(in super::super) struct Pending {
    pub(super) prog: Prog,
    pub(super) value: T,
    pub(super) inputs: Vec<(Input, Operand)>,
}

/// Elements of a tensor that counts as small.
const SMALL: usize = 1024;

/// Live nodes from which on a graph counts as long.
const LONG_GRAPH: usize = 200;

/// True when the small nodes of a graph of so many nodes should share PEs.
pub(in super::super) fn is_long(nodes: usize) -> bool {
    nodes > LONG_GRAPH
}

impl Partitioner<'_> {
    /// True for a node that goes to a general kernel although another could do it, to be joined
    /// with its neighbours.
    pub(in super::super) fn prefers_fusion(&self, node: &Node) -> bool {
        let elements = |v: quadrille_compiler::ir::ValueId| self.g.ty(v).elements();
        let constant = |i: usize| matches!(self.sources[node.inputs[i].0 as usize], Some(Source::Constant(_)));
        let special = match node.op {
            Op::Conv { .. } => true,
            Op::MatMul { .. } => constant(1),
            _ => false,
        };
        // What no PE holds is joined with nothing.
        let held = (0..node.inputs.len()).all(|i| constant(i) || elements(node.inputs[i]) <= SRAM / 4);
        self.fuses && !special && held && elements(node.output) <= SMALL
    }

    /// The program that makes an operand, when nobody else wants its result.
    pub(super) fn fusible(&self, g: &Given) -> Option<&Pending> {
        match &g.source {
            Source::Stream { id, views, solo: true } if views.is_empty() => self.pending.get(id),
            _ => None,
        }
    }
}

/// The input that already receives a stream whole, in that order.
pub(super) fn received(
    inputs: &[Input],
    feeds: &[Feed],
    given: &[Given],
    stream: StreamId,
    order: &Layout,
    len: usize,
) -> Option<usize> {
    inputs.iter().zip(feeds).position(|(i, f)| {
        let from = match f {
            Feed::Inherited(o) => Some(o.stream),
            Feed::Given(k, reorder) => given[*k].stream().filter(|_| !reorder),
        };
        from == Some(stream) && i.order == *order && i.len == len
    })
}

/// Appends a program; its value.
pub(super) fn inline(asm: &mut Asm, p: &Pending, given: &[Given], inputs: &mut Vec<Input>, feeds: &mut Vec<Feed>) -> T {
    let mut map: Vec<BufId> = Vec::new();
    let mut taken: Vec<Option<BufId>> = vec![None; p.prog.bufs.len()];
    for (input, operand) in &p.inputs {
        // What this kernel receives already is not received again.
        let same = received(inputs, feeds, given, operand.stream, &input.order, input.len);
        taken[input.buf.0] = same.map(|k| inputs[k].buf);
    }
    for (i, b) in p.prog.bufs.iter().enumerate() {
        map.push(match taken[i] {
            Some(there) => there,
            None => asm.prog.buf(b.ty, b.len, b.init.clone()),
        });
    }
    for (input, operand) in &p.inputs {
        if taken[input.buf.0].is_none() {
            inputs.push(Input { buf: map[input.buf.0], ..input.clone() });
            feeds.push(Feed::Inherited(operand.clone()));
        }
    }
    let view = |v: &View| View { buf: map[v.buf.0], ..v.clone() };
    let nest = |n: &Nest| Nest {
        dst: view(&n.dst),
        args: n
            .args
            .iter()
            .map(|a| match a {
                Arg::View(v) => Arg::View(view(v)),
                Arg::Imm(b, t) => Arg::Imm(*b, *t),
            })
            .collect(),
        ..n.clone()
    };
    for s in &p.prog.stmts {
        asm.prog.stmts.push(match s {
            Stmt::One(n) => Stmt::One(nest(n)),
            Stmt::Loop(n, body) => Stmt::Loop(*n, body.iter().map(nest).collect()),
        });
    }
    T { view: view(&p.value.view), ..p.value.clone() }
}
