//! What the rewriter knows of a target: what operations cost there, in cycles, resource by resource.
//!
//! Knows: the trait, and how costs of operations add up. Must not know: any machine. The models
//! belong to the target compilers, which know what they would do with an operation; they
//! are estimates by which alternatives are compared. An operation's time is its busiest resource plus the time
//! to fill and drain the machine. A graph takes at least as long as its busiest resource, and as its longest
//! chain of operations that wait for each other; at most as long as the sum of all.

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
        self.busiest().saturating_add(self.fill)
    }

    /// Busy cycles of the busiest resource.
    pub fn busiest(self) -> u64 {
        self.busy.into_iter().max().unwrap_or(0)
    }
}

/// How far an operation overlaps with what is before and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wait {
    /// Cycles that it works before the first of its result is there and after the last of its operands has come: all, where it waits for
    /// whole operands; none, where it keeps step with them.
    pub lead: u64,
    /// It is done by whoever makes its operand, who is busy with it, too.
    pub joins: bool,
}

/// When a value is there, if nothing but operands and its own work is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Times {
    first: u64,
    last: u64,
    /// Busy cycles of who makes it, of resources that are its own.
    maker: u64,
}

impl Times {
    /// Of the result of an operation on operands of the given times.
    pub(crate) fn after(operands: impl Iterator<Item = Times>, c: Cycles, w: Wait, shared: [bool; RESOURCES]) -> Times {
        let before = operands.fold(Times::default(), |a, b| Times {
            first: a.first.max(b.first),
            last: a.last.max(b.last),
            maker: a.maker.max(b.maker),
        });
        let own = c.busy.iter().zip(shared).filter(|(_, s)| !s).map(|(b, _)| *b).max().unwrap_or(0);
        if w.joins {
            let last = before.last.saturating_add(c.busiest());
            return Times { first: before.first, last, maker: before.maker.saturating_add(own) };
        }
        let end = before.first.saturating_add(c.busiest()).max(before.last.saturating_add(w.lead));
        Times {
            first: before.first.saturating_add(w.lead).saturating_add(c.fill),
            last: end.saturating_add(c.fill),
            maker: own,
        }
    }
}

/// What no schedule of some operations beats if the costs are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bound {
    /// Busy cycles by resource: the sum of a shared one, else the most of one operation.
    pub(crate) busy: [u64; RESOURCES],
    /// When the last value is there, along the longest chain.
    pub(crate) chain: u64,
    /// The busiest maker of values.
    maker: u64,
}

impl Bound {
    /// Adds an operation with the times of its result.
    pub(crate) fn add(&mut self, c: Cycles, t: Times, shared: [bool; RESOURCES]) {
        for ((sum, own), shared) in self.busy.iter_mut().zip(c.busy).zip(shared) {
            *sum = if shared { sum.saturating_add(own) } else { own.max(*sum) };
        }
        self.chain = self.chain.max(t.last);
        self.maker = self.maker.max(t.maker);
    }

    pub(crate) fn cycles(&self) -> u64 {
        self.busy.into_iter().max().unwrap_or(0).max(self.chain).max(self.maker)
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
    /// The target's compiler takes it where it is the fastest. False for one that depends on what is around the operation: costs do
    /// not count on it.
    pub likely: bool,
}

/// What the choice among equal forms minimises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Objective {
    /// The bound on overlap: the busiest resource, or the longest chain; and a sixteenth of the sum.
    #[default]
    Overlap,
    /// The bound and the whole sum.
    Both,
    /// The sum of all operations' times, as if nothing overlapped.
    Sum,
}

impl Objective {
    /// The part of the sum that counts.
    pub(super) fn sum_sixteenths(self) -> u64 {
        match self {
            Objective::Overlap => 1,
            Objective::Both | Objective::Sum => 16,
        }
    }

    /// What it says of a graph, in cycles.
    pub fn cycles(self, cost: &GraphCost) -> u64 {
        let sum = cost.serial_cycles / 16 * self.sum_sixteenths();
        if self == Objective::Sum { sum } else { cost.overlapped_cycles.saturating_add(sum) }
    }
}

/// Cost of operations on a target.
pub trait CostModel: Send + Sync {
    /// The target.
    fn target(&self) -> Target;

    /// The model to rewrite a graph by, where the target decides something for all of it.
    fn of_graph(&self, _g: &crate::ir::Graph) -> Option<Box<dyn CostModel>> {
        None
    }

    /// What was decided for all of the graph, in the target's terms.
    fn decided(&self) -> Option<String> {
        None
    }

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

    /// How an operation of these cycles waits for its operands: for all of them, where the model knows no better.
    fn wait(&self, _op: &Op, _inputs: &[Operand<'_>], cycles: Cycles) -> Wait {
        Wait { lead: cycles.busiest(), joins: false }
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
    /// What no schedule beats if the costs are right: the busiest resource, or the longest chain of operations that wait for each other.
    pub overlapped_cycles: u64,
}

impl GraphCost {
    /// The cost in words: the sum, the bound on overlap, and what the choice among equal forms minimises.
    pub fn lines(&self) -> [(&'static str, u64); 3] {
        [
            ("one operation after the other", self.serial_cycles),
            ("busiest resource or longest chain of waits", self.overlapped_cycles),
            ("minimised: the latter and a sixteenth of the former", Objective::default().cycles(self)),
        ]
    }
}

/// Cost of a whole graph under a model.
pub fn graph_cost(g: &crate::ir::Graph, model: &dyn CostModel) -> GraphCost {
    let mut cost = GraphCost::default();
    let (mut bound, shared) = (Bound::default(), model.shared());
    let mut times = vec![Times::default(); g.values().len()];
    for (n, c) in g.nodes().iter().zip(node_costs(g, model)) {
        let Some(NodeCost { cycles, wait }) = c else { continue };
        cost.nodes += 1;
        cost.serial_cycles = cost.serial_cycles.saturating_add(cycles.alone());
        let t = Times::after(n.inputs.iter().map(|v| times[v.0 as usize]), cycles, wait, shared);
        times[n.output.0 as usize] = t;
        bound.add(cycles, t, shared);
    }
    cost.busy_cycles = bound.busy;
    cost.overlapped_cycles = bound.cycles();
    cost
}

/// What a node costs, and how it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeCost {
    /// What it adds to the graph.
    pub cycles: Cycles,
    /// How it overlaps with its neighbours.
    pub wait: Wait,
}

/// What each node adds. Operations on constants alone have none: they are evaluated at compile time.
pub fn node_costs(g: &crate::ir::Graph, model: &dyn CostModel) -> Vec<Option<NodeCost>> {
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
            let cycles = model.joined(&n.op, &inputs, g.ty(n.output));
            costs.push(Some(NodeCost { cycles, wait: model.wait(&n.op, &inputs, cycles) }));
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
