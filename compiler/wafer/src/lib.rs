//! The wafer compiler: tensor graph -> kernels and streams -> places, routes, colors -> program.
//!
//! Pipeline mode: every node has PEs of its own, activations stream from west to east, one
//! stream an edge of the graph, no work replicated, no switch positions. [`compile`] does it
//! all; [`check`] says for each node whether it could. `docs/wafer-mapping.md` has pictures.
//! Knows nothing of the runtime that checks and runs the program.

mod bands;
mod buffers;
mod chain;
mod code;
pub mod collective;
mod color;
mod cost;
mod emit;
mod error;
mod estimate;
pub mod floorplan;
mod functions;
mod heads;
mod images;
mod kernels;
mod lane;
mod lanes;
mod layout;
mod partition;
mod place;
mod plan;
mod route;
mod sequence;
mod steps;
mod streams;
mod sums;
mod tiled;
pub mod whole_mesh;
mod widths;

pub use cost::Cost;
pub use error::{CompileError, NodeProblem};
pub use estimate::{Busiest, Estimate};
pub use lane::beyond_lane;
pub use tiled::{TiledEvalError, TiledGraph};

use quadrille_compiler::ir::{Graph, NodeId, ValueId};
use quadrille_compiler::legalize::{Legal, exact_products, without_norms};
use quadrille_isa::wafer::{Machine, Program};
use std::collections::HashMap;
use std::sync::OnceLock;
use streams::WaferGraph;
use tiled::Named;

/// What the user may decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// At most this many PEs a kernel; `None` leaves it to the cost model.
    pub max_pes_per_kernel: Option<usize>,
    /// Images in so many lanes of columns; `None` leaves it to the cost model.
    pub lanes: Option<usize>,
    /// Images in so many bands of rows, each in lanes; `None` leaves it to the cost model.
    pub bands: Option<usize>,
    /// The images of a batch in so many groups, each with PEs of its own; `None` leaves it to the cost model.
    pub groups: Option<usize>,
    /// The rows of a sequence in so many parts, each with PEs of its own; `None` leaves it to the cost model.
    pub sequence: Option<usize>,
    /// The sums of every product and convolution in so many kernels, as far as they can be; `None` leaves it to the cost model.
    pub sums: Option<usize>,
}

/// A compiled model.
#[derive(Debug)]
pub struct Compiled {
    /// What the machine runs.
    pub program: Program,
    /// What it means, bit for bit.
    pub tiled: TiledGraph,
    /// What it will cost.
    pub estimate: Estimate,
    /// What binds: the three nodes or inputs that need longest, those first.
    pub busiest: Vec<Busiest>,
}

/// Support of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSupport {
    /// The primitive.
    pub id: NodeId,
    /// Name of the user's node that it serves.
    pub node: String,
    /// Operation.
    pub op: String,
    /// What is in the way, if anything.
    pub problem: Option<NodeProblem>,
}

/// Support of every node, in the graph's order: all problems, not the first.
pub fn check(graph: &Graph, _machine: &Machine) -> Vec<NodeSupport> {
    let legal = in_kernels(graph);
    let problems = partition::partition(&legal.graph).problems;
    let mut first: HashMap<NodeId, &NodeProblem> = HashMap::new();
    let user = |id: &NodeId| NodeId(legal.from.get(id.0 as usize).map_or(id.0, |&n| n as u32));
    problems.iter().for_each(|(id, p)| _ = first.entry(user(id)).or_insert(p));
    let nodes = graph.nodes().iter().enumerate();
    nodes
        .map(|(i, n)| {
            let id = NodeId(i as u32);
            let problem = first.get(&id).map(|p| (*p).clone());
            NodeSupport { id, node: graph.origin_name(n).to_string(), op: n.op.name().to_string(), problem }
        })
        .collect()
}

/// The graph in operations that have kernels.
fn in_kernels(graph: &Graph) -> Legal {
    // What is ill-typed meets its node's own error.
    let as_it_is = |g: &Graph| Legal { graph: g.clone(), from: (0..g.nodes().len()).collect() };
    let first = without_norms(graph).unwrap_or_else(|_| as_it_is(graph));
    let ranges = partition::ranges(&first.graph);
    let largest = |v: ValueId| ranges[v.0 as usize].map(|(lo, hi)| lo.unsigned_abs().max(hi.unsigned_abs()) as f64);
    let second = exact_products(&first.graph, &largest).unwrap_or_else(|_| as_it_is(&first.graph));
    let from = second.from.iter().map(|&n| first.from.get(n).copied().unwrap_or(n)).collect();
    Legal { graph: second.graph, from }
}

/// Compiles a graph for a mesh.
///
/// The same graph gives the same program. Errors name the node that cannot be mapped or what
/// does not fit, and what to do.
pub fn compile(graph: &Graph, machine: &Machine, options: &Options) -> Result<Compiled, CompileError> {
    let Planned { graph: g, placement, wires, inputs, outputs, estimate, busiest } = planned(graph, machine, options)?;
    let program = emit::emit(&graph.name, &g, &placement, &wires, (&inputs, &outputs), machine);
    let tiled = TiledGraph { name: graph.name.clone(), graph: g, inputs, outputs, chains: placement.chains };
    Ok(Compiled { program, tiled, estimate, busiest })
}

/// What [`compile`] expects of a graph's program, without making it: the same figures, or the same error.
pub fn expected(graph: &Graph, machine: &Machine, options: &Options) -> Result<Estimate, CompileError> {
    planned(graph, machine, options).map(|p| p.estimate)
}

/// A model with its places and routes.
struct Planned {
    graph: WaferGraph,
    placement: place::Placement,
    wires: emit::Wires,
    inputs: Vec<Named>,
    outputs: Vec<Named>,
    estimate: Estimate,
    busiest: Vec<Busiest>,
}

fn planned(graph: &Graph, machine: &Machine, options: &Options) -> Result<Planned, CompileError> {
    let graph = &in_kernels(graph).graph;
    let partition::Partition { graph: g, mut problems } = partition::partition(graph);
    if !problems.is_empty() {
        return Err(problems.swap_remove(0).1.into());
    }
    let named = |v: quadrille_compiler::ir::ValueId, name: &str| Named {
        name: name.to_string(),
        dtype: graph.ty(v).dtype,
        shape: graph.shape(v).to_vec(),
    };
    let inputs: Vec<Named> = graph.inputs.iter().map(|&v| named(v, &graph.value(v).name)).collect();
    let outputs: Vec<Named> = graph.outputs.iter().map(|o| named(o.value, &o.name)).collect();
    let leading = estimate::images(inputs.iter().chain(&outputs).map(|n| &n.shape[..]));
    // An axis along which a node looks from one to the next, as that of time, is none of images.
    let images = if leading > 1 && images::fewer(graph, 1, leading as usize).is_none() { 1 } else { leading };
    let elements = |named: &[Named]| -> Vec<usize> { named.iter().map(|n| n.shape.iter().product()).collect() };
    let (taken, given) = (elements(&inputs), elements(&outputs));
    // The model for a group of the images of a batch, and in so many groups.
    let group = |groups: usize| {
        let all = images as usize;
        let few = images::fewer(graph, all / groups, all)?;
        let part = partition::partition(&few);
        part.problems.is_empty().then_some(part.graph)
    };
    let of_group = |all: &[usize], groups: usize| -> Vec<usize> { all.iter().map(|n| n / groups).collect() };
    let in_groups = |g: &WaferGraph, n: usize| images::copies(g, n, &of_group(&taken, n), &of_group(&given, n));
    let shapes = |named: &[Named]| -> Vec<Vec<usize>> { named.iter().map(|n| n.shape.clone()).collect() };
    let (of_inputs, of_outputs) = (shapes(&inputs), shapes(&outputs));
    // The model with the rows of a sequence in so many parts, and heads in so many groups.
    let grouped: Vec<OnceLock<Option<Graph>>> = (0..=heads::MOST).map(|_| OnceLock::new()).collect();
    let sequence = |parts: usize, groups: usize| {
        let of_heads = match groups {
            0 | 1 => graph,
            n => grouped.get(n)?.get_or_init(|| heads::in_groups(graph, n)).as_ref()?,
        };
        let cut = sequence::in_parts(of_heads, parts)?;
        let lanes = (|i| cut.lane_of_input(i), |i| cut.lane_of_node(i));
        let mut p = partition::partition_in(&cut.graph, &lanes.0, &lanes.1);
        cut.restore(&mut p.graph, &of_inputs, &of_outputs)?;
        p.problems.is_empty().then_some(p.graph)
    };
    let rows = sequence::rows(graph).unwrap_or(1);
    let batch = widths::Batch { images, group: &group, in_groups: &in_groups, rows, sequence: &sequence };
    let (g, placement, wires, groups) = widths::fastest(g, &batch, machine, options)?;
    let (estimate, busiest) = estimate::estimate(&g, &inputs, (images, groups as u64), machine);
    Ok(Planned { graph: g, placement, wires, inputs, outputs, estimate, busiest })
}

/// Adds buffers, cuts, places and routes.
fn with_buffers(
    g: &mut WaferGraph,
    cutter: &plan::Cutter<'_>,
    machine: &Machine,
) -> Result<(place::Placement, emit::Wires), CompileError> {
    buffers::add_room_for_neighbours(g);
    let mut choices = cutter.all_choices(g)?;
    if buffers::has_reconvergence(g) {
        plan::choose(g, &choices, 1.0);
        buffers::add_buffers(g)?;
        choices = cutter.all_choices(g)?;
    }
    if g.kernels.iter().any(|k| k.lane != streams::Lane::WHOLE) {
        return lay_out_lanes(g, &choices, machine);
    }
    lay_out(g, &choices, machine)
}

/// Ways to place kernels, the narrowest first, and what there is too little of when none does.
struct Ways<'a> {
    count: usize,
    place: &'a dyn Fn(&WaferGraph, usize) -> Result<place::Placement, usize>,
    /// How much slower than the fastest cut a smaller one may be.
    most_slack: f64,
    have: u32,
    what: &'static str,
}

/// For kernels in lanes, each within its rows of the mesh.
fn lay_out_lanes(
    g: &mut WaferGraph,
    choices: &plan::Choices,
    machine: &Machine,
) -> Result<(place::Placement, emit::Wires), CompileError> {
    let place = |g: &WaferGraph, way: usize| {
        let order: Vec<_> = g.order().into_iter().map(|k| (k.0, g.kernels[k.0].pes(), g.kernels[k.0].lane)).collect();
        place::in_lanes(&order, g.kernels.len(), place::IN_LANES[way], machine)
    };
    let have = machine.geometry.width_pes;
    let ways = Ways { count: place::IN_LANES.len(), place: &place, most_slack: 1e4, have, what: "columns" };
    lay_out_by(g, choices, &ways, machine)
}

/// For kernels that may lie anywhere.
fn lay_out(
    g: &mut WaferGraph,
    choices: &plan::Choices,
    machine: &Machine,
) -> Result<(place::Placement, emit::Wires), CompileError> {
    let place = |g: &WaferGraph, way: usize| {
        let style = place::STYLES[way];
        let order = if style.depth_first { g.depth_first() } else { g.order() };
        let order: Vec<(usize, usize)> = order.iter().map(|k| (k.0, g.kernels[k.0].pes())).collect();
        place::place(&order, g.kernels.len(), style, machine)
    };
    let have = machine.geometry.height_pes;
    let ways = Ways { count: place::STYLES.len(), place: &place, most_slack: 1e6, have, what: "rows" };
    lay_out_by(g, choices, &ways, machine)
}

/// Cuts, places and routes. A mesh too small for the fastest cut gets a slower one; where routes need
/// more colors than there are, kernels are set further apart.
fn lay_out_by(
    g: &mut WaferGraph,
    choices: &plan::Choices,
    ways: &Ways<'_>,
    machine: &Machine,
) -> Result<(place::Placement, emit::Wires), CompileError> {
    let mut slack = 1.0;
    let mut crowded: Option<emit::NoWires> = None;
    loop {
        plan::choose(g, choices, slack);
        let mut need = None;
        for way in 0..ways.count {
            let placement = match (ways.place)(g, way) {
                Ok(p) => p,
                Err(n) => {
                    need = need.or(Some(n));
                    continue;
                }
            };
            match emit::wires(g, &placement, way > 0, machine) {
                Ok(w) => return Ok((placement, w)),
                // Further apart there may be colors and paths enough.
                Err(e) => crowded = Some(e),
            }
        }
        match (need, crowded.take()) {
            (_, Some(e)) => return Err(e.error(machine)),
            (Some(_), None) if slack < ways.most_slack => slack *= 1.25,
            (need, None) => {
                return Err(CompileError::DoesNotFit {
                    what: format!("the pipeline of {} kernels", g.kernels.len()),
                    need: need.unwrap_or(0) as u64,
                    have: u64::from(ways.have),
                    reason: format!("{} of the mesh, with as few PEs a kernel as there can be", ways.what),
                    remedy: "use a larger mesh, or --target tsp".to_string(),
                });
            }
        }
    }
}
