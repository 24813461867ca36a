//! What an operation costs on a target, in cycles, resource by resource.
//!
//! Knows: shapes and the machine descriptions. Must not know: the e-graph, or how the target's
//! compiler really schedules; these are estimates by which alternatives are compared, and the
//! reports say so. An operation's time is its busiest resource plus the time to fill and drain
//! the machine; a graph's time lies between the busiest resource over all operations (perfect
//! overlap) and the sum of the operations' times (none).

mod tsp;
mod wafer;

use crate::ir::{Op, TensorType};
use std::fmt;

pub use tsp::Tsp;
pub use wafer::Wafer;

/// The machine to compile for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Target {
    /// TSP-style chip.
    Tsp,
    /// Wafer-scale mesh.
    Wafer,
}

impl Target {
    /// Name as given to `--target`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Tsp => "tsp",
            Target::Wafer => "wafer",
        }
    }

    /// The cost model of the full-size machine.
    pub fn cost_model(self) -> Box<dyn CostModel> {
        match self {
            Target::Tsp => Box::new(Tsp::default()),
            Target::Wafer => Box::new(Wafer::default()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Number of resources that a model tells apart.
pub const RESOURCES: usize = 4;

/// Cycles by resource; the model names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cycles {
    /// Busy cycles of each resource, in the order of [`CostModel::resources`].
    pub busy: [u64; RESOURCES],
    /// Cycles to fill and drain the machine, not overlapped within the operation.
    pub fill: u64,
}

impl Cycles {
    /// Time of one operation that runs alone: its busiest resource, and the fill.
    pub fn alone(self) -> u64 {
        self.busy.into_iter().max().unwrap_or(0).saturating_add(self.fill)
    }
}

/// An operand as a cost model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a TensorType,
    /// True when it is a constant.
    pub fixed: bool,
}

/// Cost of operations on a target.
pub trait CostModel: Send + Sync {
    /// Names of the resources.
    fn resources(&self) -> [&'static str; RESOURCES];

    /// Cycles of one operation.
    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles;

    /// Steps that the target takes in the epilogue of one product.
    fn epilogue_steps(&self) -> usize;

    /// True when the target takes epilogue operands that are not constants.
    fn epilogue_operands(&self) -> bool;
}

/// Cost of a graph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GraphCost {
    /// Operations that are not constants.
    pub nodes: usize,
    /// Sum of the operations' times: the schedule without overlap.
    pub serial_cycles: u64,
    /// Busy cycles by resource, over all operations.
    pub busy_cycles: [u64; RESOURCES],
}

impl GraphCost {
    /// The busiest resource: the schedule with perfect overlap.
    pub fn overlapped_cycles(&self) -> u64 {
        self.busy_cycles.into_iter().max().unwrap_or(0)
    }

    /// Adds an operation.
    pub(crate) fn add(&mut self, c: Cycles) {
        self.nodes += 1;
        self.serial_cycles = self.serial_cycles.saturating_add(c.alone());
        for (sum, b) in self.busy_cycles.iter_mut().zip(c.busy) {
            *sum = sum.saturating_add(b);
        }
    }
}

/// Cost of a whole graph under a model.
pub fn graph_cost(g: &crate::ir::Graph, model: &dyn CostModel) -> GraphCost {
    let mut cost = GraphCost::default();
    node_costs(g, model).into_iter().flatten().for_each(|c| cost.add(c));
    cost
}

/// Cost of each node. Operations on constants alone have none: they are evaluated at compile time.
pub fn node_costs(g: &crate::ir::Graph, model: &dyn CostModel) -> Vec<Option<Cycles>> {
    use crate::ir::ValueDef;
    let mut fixed = vec![false; g.values().len()];
    for (i, v) in g.values().iter().enumerate() {
        fixed[i] = matches!(v.def, ValueDef::Const(_));
    }
    let mut costs = Vec::with_capacity(g.nodes().len());
    for n in g.nodes() {
        let inputs: Vec<Operand<'_>> =
            n.inputs.iter().map(|&v| Operand { ty: g.ty(v), fixed: fixed[v.0 as usize] }).collect();
        if !inputs.is_empty() && inputs.iter().all(|i| i.fixed) {
            fixed[n.output.0 as usize] = true;
            costs.push(None);
        } else {
            costs.push(Some(model.cycles(&n.op, &inputs, g.ty(n.output))));
        }
    }
    costs
}

/// The sizes of a matrix product: `batch` independent products of `m x k` by `k x n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Product {
    pub(crate) batch: u64,
    pub(crate) m: u64,
    pub(crate) k: u64,
    pub(crate) n: u64,
}

impl Product {
    /// The product that an operation is, if it is one; convolutions are taken as the product
    /// over all taps of the window.
    pub(crate) fn of(op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Option<Product> {
        let u = |x: usize| x as u64;
        match op {
            Op::MatMul { .. } => {
                let (r, b) = (&result.shape, &inputs[1].ty.shape);
                let (m, n) = (u(r[r.len() - 2]), u(r[r.len() - 1]));
                let batch: u64 = r[..r.len() - 2].iter().map(|&d| u(d)).product();
                let k = u(b[b.len() - 2]);
                // One right operand for the whole batch makes it one tall product.
                let shared = b[..b.len() - 2].iter().all(|&d| d == 1);
                Some(if shared { Product { batch: 1, m: m * batch, k, n } } else { Product { batch, m, k, n } })
            }
            Op::Conv { groups, .. } => {
                let (r, w) = (&result.shape, &inputs[1].ty.shape);
                let rows = u(r[0]) * r[2..].iter().map(|&d| u(d)).product::<u64>();
                let k = w[1..].iter().map(|&d| u(d)).product();
                Some(Product { batch: u(*groups), m: rows, k, n: u(r[1] / groups) })
            }
            Op::ConvTranspose { groups, .. } => {
                let (x, w) = (&inputs[0].ty.shape, &inputs[1].ty.shape);
                let rows = u(x[0]) * x[2..].iter().map(|&d| u(d)).product::<u64>();
                let n = w[1..].iter().map(|&d| u(d)).product();
                Some(Product { batch: u(*groups), m: rows, k: u(x[1] / groups), n })
            }
            _ => None,
        }
    }
}
