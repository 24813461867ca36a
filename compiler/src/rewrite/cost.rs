//! What the rewriter knows of a target: what operations cost there, in cycles, resource by resource.
//!
//! Knows: the trait, and how costs of operations add up. Must not know: any machine. The models
//! belong to the target compilers, which know what they would do with an operation; they
//! are estimates by which alternatives are compared. An operation's time is its busiest resource plus the time
//! to fill and drain the machine. A graph takes at least as long as its busiest resource, and as its longest
//! chain of fills; at most as long as the sum of all.

use crate::ir::{Binary, Op, Reduce, TensorType, Unary};
use std::fmt;

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

/// A way in which a target can do an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its name, in the target's terms.
    pub name: String,
    /// What it costs.
    pub cycles: Cycles,
}

/// Cost of operations on a target.
pub trait CostModel: Send + Sync {
    /// The target.
    fn target(&self) -> Target;

    /// Names of the resources.
    fn resources(&self) -> [&'static str; RESOURCES];

    /// Which resources all operations share, so that their cycles add up; of the others every operation has its own.
    fn shared(&self) -> [bool; RESOURCES] {
        [true; RESOURCES]
    }

    /// The ways in which the target's compiler can do an operation, none where there is but one.
    fn mappings(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping>;

    /// Cycles of one operation, by the mapping that its compiler takes.
    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles;

    /// Cycles that an operation adds to a graph: less than alone where the target does it together with what is
    /// before or after it.
    fn joined(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        self.cycles(op, inputs, result)
    }

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
    /// Busy cycles by resource: the sum over all operations of a shared one, else the most.
    pub busy_cycles: [u64; RESOURCES],
    /// Filling and draining along the longest chain of operations.
    pub chain_cycles: u64,
}

impl GraphCost {
    /// What no schedule beats if the costs are right: the busiest resource, or the longest chain.
    pub fn overlapped_cycles(&self) -> u64 {
        self.busy_cycles.into_iter().max().unwrap_or(0).max(self.chain_cycles)
    }

    /// Adds an operation.
    pub(crate) fn add(&mut self, c: Cycles, shared: [bool; RESOURCES]) {
        self.nodes += 1;
        self.serial_cycles = self.serial_cycles.saturating_add(c.alone());
        for ((sum, b), shared) in self.busy_cycles.iter_mut().zip(c.busy).zip(shared) {
            *sum = if shared { sum.saturating_add(b) } else { b.max(*sum) };
        }
    }
}

/// Cost of a whole graph under a model.
pub fn graph_cost(g: &crate::ir::Graph, model: &dyn CostModel) -> GraphCost {
    let mut cost = GraphCost::default();
    let mut ready = vec![0u64; g.values().len()];
    for (n, c) in g.nodes().iter().zip(node_costs(g, model)) {
        let Some(c) = c else { continue };
        cost.add(c, model.shared());
        let start = n.inputs.iter().map(|v| ready[v.0 as usize]).max().unwrap_or(0);
        ready[n.output.0 as usize] = start.saturating_add(c.fill);
    }
    cost.chain_cycles = ready.into_iter().max().unwrap_or(0);
    cost
}

/// What each node adds. Operations on constants alone have none: they are evaluated at compile time.
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
            costs.push(Some(model.joined(&n.op, &inputs, g.ty(n.output))));
        }
    }
    costs
}

/// An operation with the types of its operands, those that are constants marked, and of its result.
type Typed = (Op, Vec<(TensorType, bool)>, TensorType);

/// The operations that a norm stands for, with their operands and results, for models of machines without a mapping of it.
fn spelled_out(axes: &[usize], centered: bool, x: &TensorType) -> Vec<Typed> {
    let mut kept = x.clone();
    axes.iter().filter(|&&a| a < x.rank()).for_each(|&a| kept.shape[a] = 1);
    let mean = || {
        let op = Op::Reduce { kind: Reduce::Mean, axes: axes.to_vec(), keep: true };
        (op, vec![(x.clone(), false)], kept.clone())
    };
    let join = |b: Binary, other: &TensorType, fixed: bool| {
        (Op::Binary(b), vec![(x.clone(), false), (other.clone(), fixed)], x.clone())
    };
    let number = TensorType::new(x.dtype, []);
    let mut all = Vec::new();
    if centered {
        all.extend([mean(), join(Binary::Sub, &kept, false)]);
    }
    // The square at its cheapest, so that no spelling is cheaper than the norm.
    all.extend([join(Binary::Pow, &number, true), mean()]);
    all.push((Op::Unary(Unary::Rsqrt), vec![(kept.clone(), false)], kept.clone()));
    all.push(join(Binary::Mul, &kept, false));
    all
}

/// What a norm costs as the chain that it stands for.
pub fn as_chain(model: &dyn CostModel, axes: &[usize], centered: bool, x: &TensorType) -> Cycles {
    spelled_out(axes, centered, x).into_iter().fold(Cycles::default(), |sum, (op, types, result)| {
        let operands: Vec<Operand<'_>> = types.iter().map(|(ty, fixed)| Operand { ty, fixed: *fixed }).collect();
        let c = model.joined(&op, &operands, &result);
        let mut busy = sum.busy;
        busy.iter_mut().zip(c.busy).for_each(|(a, b)| *a += b);
        Cycles { busy, fill: sum.fill + c.fill }
    })
}

/// The sizes of a matrix product: `batch` independent products of `m x k` by `k x n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Product {
    pub batch: u64,
    pub m: u64,
    pub k: u64,
    pub n: u64,
}

impl Product {
    /// The product that an operation is, if it is one; convolutions are taken as the product
    /// over all taps of the window.
    pub fn of(op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Option<Product> {
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
