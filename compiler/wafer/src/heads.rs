//! The heads of an attention in groups, each with products, keys and values of its own.
//!
//! ```text
//!  x ====> q, k, v of heads 0, 1 ====> attention ====\\
//!     \\==> q, k, v of heads 2, 3 ====> attention ====== one after the other, row by row ====> ...
//! ```
//!
//! A PE of an attention lets the keys and values of all heads pass that come on its streams: fewer heads a stream, less to
//! wait for. The columns of the products with constant matrices that queries, keys and values come from are shared out; all sums
//! stay as they are. Knows nothing of kernels.

use super::partition::{Attended, attentions, on_one};
use quadrille_compiler::ir::builder::{live_nodes, remove_dead, use_counts};
use quadrille_compiler::ir::eval::eval_op;
use quadrille_compiler::ir::{Graph, Node, NodeId, Op, Tensor, ValueDef, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Groups that one kernel can join.
pub(crate) const MOST: usize = crate::kernels::MAX_INPUTS;

/// Columns of a product with a constant matrix, and the nodes that make heads of them.
struct Chain {
    dense: NodeId,
    first: usize,
    /// From the product on: reshapes, transposes, and what is done to each element, with a number or a value a column.
    then: Vec<NodeId>,
}

/// An attention that can be in groups.
struct Parted {
    inner: Vec<NodeId>,
    /// Queries, keys, values, and where they come from.
    chains: [(ValueId, Chain); 3],
    heads: usize,
    size: usize,
}

/// The same model with the heads of its attentions in so many groups; `None` where none can be.
pub(crate) fn in_groups(g: &Graph, groups: usize) -> Option<Graph> {
    let uses = use_counts(g);
    let found = attentions(g, &uses);
    let parted = found.iter().filter_map(|(id, f)| Some((*id, parted(g, &uses, f, groups)?)));
    let parted: BTreeMap<NodeId, Parted> = parted.collect();
    if !(2..=MOST).contains(&groups) || parted.is_empty() {
        return None;
    }
    let within: BTreeSet<NodeId> = parted
        .values()
        .flat_map(|p| p.inner.iter().chain(p.chains.iter().flat_map(|(_, c)| &c.then)).copied())
        .collect();
    let mut w = Weaver { old: g, new: Graph::new(g.name.clone()), map: vec![None; g.values().len()] };
    g.origins().iter().for_each(|o| _ = w.new.push_origin(o.name.clone()));
    for &v in &g.inputs {
        let value = g.value(v);
        w.map[v.0 as usize] = Some(w.new.add_input(value.name.clone(), value.ty.clone()));
    }
    let live = live_nodes(g);
    for (i, node) in g.nodes().iter().enumerate() {
        let id = NodeId(i as u32);
        if !live[i] || within.contains(&id) {
            continue;
        }
        let made = match parted.get(&id) {
            Some(p) => w.groups(node, p, groups)?,
            None => {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| w.value(v)).collect::<Option<_>>()?;
                w.new.add_node(node.op.clone(), &inputs, node.origin).ok()?
            }
        };
        w.new.set_name(made, g.value(node.output).name.clone());
        w.map[node.output.0 as usize] = Some(made);
    }
    for o in &g.outputs {
        let v = w.value(o.value)?;
        w.new.add_output(o.name.clone(), v);
    }
    Some(remove_dead(&w.new))
}

fn parted(g: &Graph, uses: &[usize], f: &Attended, groups: usize) -> Option<Parted> {
    let [1, heads, _, size] = *g.shape(f.q) else { return None };
    if !heads.is_multiple_of(groups) {
        return None;
    }
    let chain = |v: ValueId| Some((v, chain(g, uses, v, [heads, size])?));
    Some(Parted { inner: f.inner.clone(), chains: [chain(f.q)?, chain(f.k)?, chain(f.v)?], heads, size })
}

/// The way back from heads to the product with a constant matrix whose columns they are.
fn chain(g: &Graph, uses: &[usize], v: ValueId, [heads, size]: [usize; 2]) -> Option<Chain> {
    let (mut at, mut then, mut first, mut split) = (v, Vec::new(), 0, false);
    // Columns that constants were met for.
    let mut of_columns = None;
    loop {
        let ValueDef::Node(id) = g.value(at).def else { return None };
        let node = g.node(id);
        let alone = uses[at.0 as usize] == 1;
        match &node.op {
            Op::MatMul { .. } => {
                let columns = g.shape(node.output).last().copied()?;
                let constant = (1..node.inputs.len()).all(|i| g.constant(node.inputs[i]).is_some());
                let whole = alone || columns > heads * size;
                let constant = constant && of_columns.is_none_or(|n| n == columns);
                then.reverse();
                return (split && constant && whole && first + heads * size <= columns).then_some(Chain {
                    dense: id,
                    first,
                    then,
                });
            }
            Op::Reshape { shape } if alone && !split && shape[shape.len() - 2..] == [heads, size] => split = true,
            Op::Transpose { .. } if alone && !split => {}
            Op::Binary(_) if alone && split && on_one(g, node).is_none() => {
                let x = node.inputs.iter().position(|&v| g.constant(v).is_none())?;
                let constant = g.constant(node.inputs[1 - x])?;
                let columns = constant.shape.last().copied()?;
                if columns != constant.shape.iter().product() || of_columns.is_some_and(|n| n != columns) {
                    return None;
                }
                of_columns = Some(columns);
                then.push(id);
                at = node.inputs[x];
                continue;
            }
            Op::Slice { start, step, shape } if alone && split => {
                let from = g.shape(node.inputs[0]);
                let last = from.len() - 1;
                let others = (0..last).all(|a| start[a] == 0 && shape[a] == from[a]);
                if !others || step.iter().any(|&s| s != 1) || shape[last] != heads * size {
                    return None;
                }
                first += start[last];
                at = node.inputs[0];
                continue;
            }
            _ => {
                at = on_one(g, node).filter(|_| alone)?;
                then.push(id);
                continue;
            }
        }
        then.push(id);
        at = node.inputs[0];
    }
}

/// A graph in groups while it is made.
struct Weaver<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<ValueId>>,
}

impl Weaver<'_> {
    fn value(&mut self, v: ValueId) -> Option<ValueId> {
        if self.map[v.0 as usize].is_none() {
            let t = self.old.constant(v)?.clone();
            self.map[v.0 as usize] = Some(self.new.add_const(self.old.value(v).name.clone(), t));
        }
        self.map[v.0 as usize]
    }

    /// Some places of a constant along an axis, where it has all of them.
    fn part(&mut self, v: ValueId, axis: usize, (first, n, all): (usize, usize, usize)) -> Option<ValueId> {
        let t = self.old.constant(v)?;
        if t.shape.get(axis).is_none_or(|&d| d != all || all == n) {
            return self.value(v);
        }
        let t = cut(t, axis, first, n)?;
        Some(self.new.add_const(self.old.value(v).name.clone(), t))
    }

    /// The result of an attention: its groups, one after the other.
    fn groups(&mut self, last: &Node, p: &Parted, groups: usize) -> Option<ValueId> {
        let heads = p.heads / groups;
        let mut made = Vec::new();
        for i in 0..groups {
            let mut own: BTreeMap<ValueId, ValueId> = BTreeMap::new();
            for (v, chain) in &p.chains {
                let x = self.chain(chain, (i * heads * p.size, heads, p.size))?;
                own.insert(*v, x);
            }
            let inner = p.inner.iter().map(|id| self.old.node(*id)).chain([last]);
            for node in inner {
                let mut inputs = Vec::new();
                for &v in &node.inputs {
                    let rank = self.old.shape(v).len();
                    let constant = self.old.constant(v).is_some();
                    inputs.push(match own.get(&v) {
                        Some(&x) => x,
                        None if constant && rank > 2 => self.part(v, rank - 3, (i * heads, heads, p.heads))?,
                        None => self.value(v)?,
                    });
                }
                let x = self.new.add_node(node.op.clone(), &inputs, node.origin).ok()?;
                own.insert(node.output, x);
            }
            made.push(*own.get(&last.output)?);
        }
        self.new.add_node(Op::Concat { axis: 1 }, &made, last.origin).ok()
    }

    /// Some heads of queries, keys or values: columns of the product from the given one of the chain's on.
    fn chain(&mut self, c: &Chain, (from, heads, size): (usize, usize, usize)) -> Option<ValueId> {
        let dense = self.old.node(c.dense);
        let all = self.old.shape(dense.output).last().copied()?;
        let columns = (c.first + from, heads * size, all);
        let mut inputs = vec![self.value(dense.inputs[0])?];
        for &v in &dense.inputs[1..] {
            let rank = self.old.shape(v).len();
            inputs.push(if rank == 0 { self.value(v)? } else { self.part(v, rank - 1, columns)? });
        }
        let mut x = self.new.add_node(dense.op.clone(), &inputs, dense.origin).ok()?;
        for id in &c.then {
            let node = self.old.node(*id);
            let op = match &node.op {
                Op::Reshape { shape } => {
                    let mut shape = shape.clone();
                    let n = shape.len();
                    shape[n - 2] = heads;
                    Op::Reshape { shape }
                }
                op => op.clone(),
            };
            let mut inputs = Vec::new();
            for &v in &node.inputs {
                inputs.push(match (self.old.constant(v).is_some(), self.old.shape(v).len()) {
                    (false, _) => x,
                    (true, 0) => self.value(v)?,
                    (true, rank) => self.part(v, rank - 1, columns)?,
                });
            }
            x = self.new.add_node(op, &inputs, node.origin).ok()?;
        }
        Some(x)
    }
}

fn cut(t: &Tensor, axis: usize, first: usize, n: usize) -> Option<Tensor> {
    let (mut start, mut shape) = (vec![0; t.shape.len()], t.shape.clone());
    (start[axis], shape[axis]) = (first, n);
    let step = vec![1; t.shape.len()];
    eval_op(&Op::Slice { start, step, shape }, &[t]).ok()
}
