//! What is computed together, and when values are dropped.
//!
//! An elementwise operation joins the one that alone uses its result, when both results have one
//! shape: the result in between is then never stored. Every other node is a step of its own.

use super::kernel::Kernel;
use super::tape::{Source, Step};
use super::{binary, cast, unary};
use crate::ir::{DType, Graph, Node, Op, ValueDef, ValueId};
use smallvec::SmallVec;

/// Operations of a chain, at most: each may need a block of its own.
const CHAIN: usize = 48;

/// A unit of work.
pub(super) struct Task {
    /// The node whose result it gives, by number.
    pub(super) node: usize,
    /// Nodes of the chain in order, `node` last; empty for a node by itself.
    pub(super) chain: Vec<usize>,
    /// Values it reads: the node's operands, or what enters the chain.
    pub(super) reads: SmallVec<[ValueId; 3]>,
    /// Values that no later task reads.
    pub(super) last: Vec<ValueId>,
}

/// The tasks of a graph, in order. Without `join`, every node is a task, and every value outlives
/// the run.
pub(super) fn tasks(graph: &Graph, join: bool) -> Vec<Task> {
    let joins = if join { joins(graph) } else { vec![false; graph.nodes().len()] };
    let mut tasks = Vec::with_capacity(graph.nodes().len());
    for (i, node) in graph.nodes().iter().enumerate() {
        if joins[i] {
            continue;
        }
        let mut task = Task { node: i, chain: Vec::new(), reads: SmallVec::new(), last: Vec::new() };
        collect(graph, &joins, i, &mut task);
        if task.chain.len() == 1 {
            task.chain.clear();
            task.reads = SmallVec::from_slice(&node.inputs);
        }
        tasks.push(task);
    }
    if join {
        mark_last_uses(graph, &mut tasks);
    }
    tasks
}

/// Adds a node to a chain, and before it the nodes that join it. Chains are short, so this is not deep.
fn collect(graph: &Graph, joins: &[bool], i: usize, task: &mut Task) {
    for &v in &graph.nodes()[i].inputs {
        match graph.value(v).def {
            ValueDef::Node(n) if joins[n.0 as usize] => {
                // An operand may be named twice.
                if !task.chain.contains(&(n.0 as usize)) {
                    collect(graph, joins, n.0 as usize, task);
                }
            }
            _ if task.reads.contains(&v) => {}
            _ => task.reads.push(v),
        }
    }
    task.chain.push(i);
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_))
}

/// For each node, whether it joins the node that uses its result.
fn joins(graph: &Graph) -> Vec<bool> {
    const NOBODY: usize = usize::MAX;
    const MANY: usize = usize::MAX - 1;
    let mut user = vec![NOBODY; graph.values().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        for v in &node.inputs {
            let u = &mut user[v.0 as usize];
            *u = if *u == NOBODY || *u == i { i } else { MANY };
        }
    }
    for o in &graph.outputs {
        user[o.value.0 as usize] = MANY;
    }
    let mut joins = vec![false; graph.nodes().len()];
    // Nodes in the chain that ends here so far.
    let mut length = vec![1usize; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        let u = user[node.output.0 as usize];
        if u >= MANY || !is_elementwise(&node.op) || !is_elementwise(&graph.nodes()[u].op) {
            continue;
        }
        let same_shape = graph.shape(node.output) == graph.shape(graph.nodes()[u].output);
        if same_shape && length[i] + length[u] <= CHAIN {
            length[u] += length[i];
            joins[i] = true;
        }
    }
    joins
}

fn mark_last_uses(graph: &Graph, tasks: &mut [Task]) {
    let mut seen = vec![false; graph.values().len()];
    for o in &graph.outputs {
        seen[o.value.0 as usize] = true;
    }
    for task in tasks.iter_mut().rev() {
        // The task's own result first: nothing may read it at all.
        let own = graph.nodes()[task.node].output;
        for &v in std::iter::once(&own).chain(&task.reads) {
            if !std::mem::replace(&mut seen[v.0 as usize], true) {
                task.last.push(v);
            }
        }
    }
}

/// The loop of an elementwise operation over operands of these types.
pub(super) fn kernel(op: &Op, operands: &[DType]) -> Option<Kernel> {
    Some(match op {
        Op::Unary(u) => unary::kernel(*u, operands[0]),
        Op::Binary(b) => binary::kernel(*b, operands[0]),
        Op::Select => binary::select(operands[1]),
        Op::Fma => binary::fma(),
        Op::Cast(to) => cast::kernel(operands[0], *to),
        _ => return None,
    })
}

/// The steps of a chain, over the values that it reads.
pub(super) fn steps(graph: &Graph, task: &Task) -> Option<Vec<Step>> {
    let step = |(k, &i): (usize, &usize)| {
        let node: &Node = &graph.nodes()[i];
        let dtypes: SmallVec<[DType; 3]> = node.inputs.iter().map(|&v| graph.ty(v).dtype).collect();
        let source = |&v: &ValueId| {
            let inside = task.chain[..k].iter().position(|&j| graph.nodes()[j].output == v);
            inside.map(Source::Step).or_else(|| task.reads.iter().position(|&r| r == v).map(Source::Leaf))
        };
        let args = node.inputs.iter().map(source).collect::<Option<_>>()?;
        Some(Step { kernel: kernel(&node.op, &dtypes)?, args, dtype: graph.ty(node.output).dtype })
    };
    task.chain.iter().enumerate().map(step).collect()
}
