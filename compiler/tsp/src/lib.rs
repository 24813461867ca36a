//! The tsp target: select -> tile -> allocate -> schedule -> emit.
//!
//! [`compile`] turns a tensor graph into a program of one machine description; [`check`] says for
//! every node whether that can be done. See docs/tsp-scheduling.md.

mod cost;
mod emit;
pub mod error;
mod estimate;
mod late_relu;
mod order;
mod polish;
pub mod profile;
mod sched;
mod select;
pub mod tiled;
mod unsigned;
pub mod way;

pub use cost::Cost;
pub use error::{CompileError, Unsupported};
pub use estimate::Estimate;
use quadrille_compiler::ir::{Graph, TypeError};
use quadrille_compiler::legalize::{Legal, legalize};
use quadrille_isa::tsp::{Machine, Program};
use rayon::prelude::*;
use sched::Hints;
pub use sched::waits::{Cause, Waits};
use std::collections::HashMap;
pub use tiled::TiledGraph;
pub use way::ProductWay;

/// Choices of a compilation. None changes what is computed, but for the order in which floats are summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Whether windows work on several pixels a word.
    pub packing: Packing,
    /// How matrix products are mapped, where that is possible; `None` leaves it to the cost model.
    pub product: Option<ProductWay>,
    /// Small programs are left as they were scheduled at first, instead of their tensors being tried in other places: compiled in
    /// less time, and up to half longer.
    pub quick: bool,
}

/// Several pixels a word, or one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Packing {
    /// The program that is shorter.
    #[default]
    Best,
    /// Several wherever that saves passes.
    Always,
    /// One.
    Never,
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the machine runs.
    pub program: Program,
    /// Its exact meaning.
    pub tiled: TiledGraph,
    /// Its cost.
    pub estimate: Estimate,
    /// Why planes stood still.
    pub(crate) idle: Vec<sched::waits::Idle>,
}

/// Support of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NodeSupport {
    pub node: String,
    pub op: String,
    /// Why not, when not.
    pub unsupported: Option<Unsupported>,
}

/// Compiles a graph for a machine.
///
/// Errors: the first node that cannot run ([`CompileError::Unsupported`]; [`check`] lists them all),
/// or a resource that the machine has too little of ([`CompileError::DoesNotFit`]).
pub fn compile(graph: &Graph, machine: &Machine, options: &Options) -> Result<Compiled, CompileError> {
    let legal = legal(graph)?;
    let bytes = unsigned::unsigned(&legal.graph).and_then(late_relu::late_relu).map_err(|e| ill_typed(graph, e))?;
    let graphs = (graph, &bytes);
    let plan = Plan {
        packing: true,
        tight: false,
        compact: false,
        long_runs: false,
        product: options.product,
        quick: options.quick,
    };
    let plain = Plan { packing: false, ..plan };
    if options.packing == Packing::Always {
        return compile_with(graphs, machine, plan);
    }
    let mut failed = None;
    // What packing saves in passes its gathers may cost in ports: the shorter program counts, where it can be shorter.
    if options.packing == Packing::Best {
        let (packed, plainly) = rayon::join(|| compile_with(graphs, machine, plan), || tile(&bytes, machine, plain));
        match packed {
            Err(e) => failed = Some(e),
            Ok(packed) => {
                return Ok(match plainly {
                    // Where nothing was packed the two are the same.
                    Ok(t) if t != packed.tiled && estimate::mapping_bound(&t, machine) < packed.estimate.cycles => {
                        match build(graph, t, machine, plain) {
                            Ok(other) if other.estimate.cycles < packed.estimate.cycles => other,
                            _ => packed,
                        }
                    }
                    _ => packed,
                });
            }
        }
    }
    // Few slices for all constants, then few slices a tensor leave more for what is read with it.
    let tight = Plan { tight: true, ..plain };
    let mut made = compile_with(graphs, machine, plain);
    for plan in [tight, Plan { compact: true, ..plain }] {
        if matches!(made, Err(CompileError::DoesNotFit { .. })) {
            made = compile_with(graphs, machine, plan);
        }
    }
    // Several pixels a word take less: what they lack says more.
    match (made, failed) {
        (Err(CompileError::DoesNotFit { .. }), Some(e @ CompileError::DoesNotFit { .. })) => Err(e),
        (made, _) => made,
    }
}

/// How a graph is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Several pixels a word where that saves passes.
    pub(crate) packing: bool,
    /// Constants in as few slices as can be.
    pub(crate) tight: bool,
    /// Few slices a tensor and one operand of a fold at a time, instead of free ports.
    pub(crate) compact: bool,
    /// Rows are read and written in long runs, which take little program text.
    pub(crate) long_runs: bool,
    /// How products are mapped, if not as the cost model says.
    pub(crate) product: Option<ProductWay>,
    /// Small programs are not polished.
    pub(crate) quick: bool,
}

/// `graph` is the user's, `legal` what is selected from.
fn compile_with((graph, legal): (&Graph, &Graph), machine: &Machine, plan: Plan) -> Result<Compiled, CompileError> {
    let (tiled, best) = best_order(tile(legal, machine, plan)?, machine, plan)?;
    if best.excess > 0
        && !plan.long_runs
        && let Ok(made) = compile_with((graph, legal), machine, Plan { long_runs: true, ..plan })
    {
        return Ok(made);
    }
    finish(graph, tiled, machine, plan, best)
}

/// Kernels over rows of lanes.
fn tile(legal: &Graph, machine: &Machine, plan: Plan) -> Result<TiledGraph, CompileError> {
    let mut s = select::select(legal, machine, plan)?;
    if s.failed.is_empty() { Ok(s.tiled) } else { Err(s.failed.remove(0).1.into()) }
}

/// Ways to schedule products of bytes, the plain one first; which is best differs from stretch to stretch.
const WAYS: [sched::Way; 4] = {
    let way = sched::Way {
        open: 4,
        pieces: 2,
        by_time: true,
        drift: 48,
        apart: false,
        by_wave: false,
        heavy: true,
        chunk: 640,
        planes_move: true,
        paired: false,
    };
    [
        way,
        sched::Way { apart: true, by_wave: true, planes_move: false, ..way },
        sched::Way { heavy: false, ..way },
        sched::Way { heavy: false, apart: true, planes_move: false, ..way },
    ]
};

/// Where the first does not fit.
const LAST_WAY: sched::Way = sched::Way { open: 3, ..WAYS[0] };

/// Ways to schedule other programs, and schedules after the first of each.
const PLAIN_WAYS: [sched::Way; 4] = [
    WAYS[0],
    sched::Way { by_time: false, ..WAYS[0] },
    sched::Way { paired: true, ..WAYS[0] },
    sched::Way { planes_move: false, ..WAYS[0] },
];
const ROUNDS: usize = 3;

/// Rows of a chunk at most where text would be too long with those of the ways above.
const LONG_CHUNKS: [u32; 3] = [1280, 2560, 4096];

/// Instructions of a schedule at most for which others are tried: the time of a compilation grows with it.
const TRIED: usize = 400_000;

/// And for which branches are.
const BRANCHED: usize = 250_000;

/// And for which more schedules are, and how many.
const SMALL: usize = 40_000;
const SMALL_ROUNDS: usize = 4;

/// A schedule with what it is judged by: program text for which there is no room, then cycles.
struct Judged {
    schedule: sched::Schedule,
    excess: u64,
    end: u32,
}

impl Judged {
    fn new(schedule: sched::Schedule, machine: &Machine) -> Judged {
        let (excess, end) = (emit::excess_text(machine, &schedule), schedule.placements.end());
        Judged { schedule, excess, end }
    }

    fn is_better(&self, other: &Judged) -> bool {
        (self.excess, self.end) < (other.excess, other.end)
    }

    fn instructions(&self) -> usize {
        self.schedule.placements.insts.len()
    }
}

/// A schedule in one of some ways, judged.
fn judged(
    tiled: &TiledGraph,
    machine: &Machine,
    plan: Plan,
    ways: &[sched::Way],
    hints: &Hints,
) -> Result<Judged, CompileError> {
    sched::schedule(tiled, machine, plan, ways, hints).map(|s| Judged::new(s, machine))
}

/// The better of two schedules; of two reasons the first.
fn better(a: Result<Judged, CompileError>, b: Result<Judged, CompileError>) -> Result<Judged, CompileError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(if b.is_better(&a) { b } else { a }),
        (Err(_), Ok(s)) | (Ok(s), Err(_)) => Ok(s),
        (Err(e), Err(_)) => Err(e),
    }
}

/// The best schedule of a graph's kernels in their order, or, where no products of bytes choose theirs, in that of [`order::by_start`].
fn best_order(tiled: TiledGraph, machine: &Machine, plan: Plan) -> Result<(TiledGraph, Judged), CompileError> {
    let sorted = match sched::has_byte_products(&tiled) || plan.long_runs || plan.quick {
        true => None,
        false => order::by_start(&tiled),
    };
    let Some(sorted) = sorted else {
        let best = best_schedule(&tiled, machine, plan)?;
        return Ok((tiled, best));
    };
    let (made, other) = rayon::join(|| best_schedule(&tiled, machine, plan), || best_schedule(&sorted, machine, plan));
    match (made, other) {
        (Ok(made), Ok(other)) if other.is_better(&made) => Ok((sorted, other)),
        (Err(_), Ok(other)) => Ok((sorted, other)),
        (made, _) => made.map(|best| (tiled, best)),
    }
}

/// The best of some schedules.
fn best_schedule(tiled: &TiledGraph, machine: &Machine, plan: Plan) -> Result<Judged, CompileError> {
    if plan.long_runs {
        best_of_long(tiled, machine, plan)
    } else if sched::has_byte_products(tiled) {
        best_of_bytes(tiled, machine, plan)
    } else {
        best_of_plain(tiled, machine, plan)
    }
}

/// Slices are chosen by the times of the schedule before; the last one goes all ways.
fn best_of_bytes(tiled: &TiledGraph, machine: &Machine, plan: Plan) -> Result<Judged, CompileError> {
    let first = |ways: &[sched::Way]| judged(tiled, machine, plan, ways, &Hints::default());
    let mut best = first(&WAYS[..1]).or_else(|_| first(&[LAST_WAY]))?;
    let instructions = best.instructions();
    if !best.schedule.refinable || instructions > TRIED {
        return Ok(best);
    }
    let mut times = best.schedule.times.clone();
    let again = if instructions > SMALL { 1 } else { SMALL_ROUNDS };
    let mut rounds = vec![&WAYS[..1]; again];
    if instructions <= BRANCHED {
        // Schedules of small programs scatter by a tenth: they go all ways behind each round.
        (1..=again).rev().for_each(|n| rounds.insert(n, &WAYS));
    }
    for ways in rounds {
        // What does not fit is no better.
        let Ok(next) = judged(tiled, machine, plan, ways, &Hints::after(&times)) else { break };
        // What follows a branched schedule knows the times of the plain one before.
        if ways.len() == 1 {
            times = next.schedule.times.clone();
        }
        if next.is_better(&best) {
            best = next;
        }
    }
    Ok(best)
}

/// The same without products of bytes: the best of the ways, each again with the times of the one before.
fn best_of_plain(tiled: &TiledGraph, machine: &Machine, plan: Plan) -> Result<Judged, CompileError> {
    let first = |way: &sched::Way| judged(tiled, machine, plan, std::slice::from_ref(way), &Hints::default());
    let refined = |best, way| refined(best, tiled, machine, plan, way);
    let one = first(&PLAIN_WAYS[0]);
    if one.as_ref().is_ok_and(|s| !s.schedule.refinable || s.instructions() > TRIED) {
        return one;
    }
    let others = || -> Vec<Result<Judged, CompileError>> {
        PLAIN_WAYS[1..].par_iter().map(|way| first(way).map(|s| refined(s, way))).collect()
    };
    let (one, others) = rayon::join(|| one.map(|s| refined(s, &PLAIN_WAYS[0])), others);
    others.into_iter().fold(one, better)
}

/// The same with long chunks, some as long as a bank.
fn best_of_long(tiled: &TiledGraph, machine: &Machine, plan: Plan) -> Result<Judged, CompileError> {
    let made = |chunk: u32| {
        let way = sched::Way { chunk, ..WAYS[0] };
        let first = judged(tiled, machine, plan, &[way], &Hints::default())?;
        Ok(refined(first, tiled, machine, plan, &way))
    };
    let [one, others @ ..] = LONG_CHUNKS;
    let others = || -> Vec<Result<Judged, CompileError>> { others.par_iter().map(|&chunk| made(chunk)).collect() };
    let (one, others) = rayon::join(|| made(one), others);
    others.into_iter().fold(one, better)
}

/// A schedule, or a better one of those that follow, each with the times of the one before.
fn refined(mut best: Judged, tiled: &TiledGraph, machine: &Machine, plan: Plan, way: &sched::Way) -> Judged {
    let mut times = best.schedule.times.clone();
    for _ in 0..if best.schedule.refinable { ROUNDS } else { 0 } {
        let way = std::slice::from_ref(way);
        let Ok(next) = judged(tiled, machine, plan, way, &Hints::after(&times)) else { break };
        times = next.schedule.times.clone();
        if next.is_better(&best) {
            best = next;
        }
    }
    best
}

/// The program of a tiled graph.
fn build(graph: &Graph, tiled: TiledGraph, machine: &Machine, plan: Plan) -> Result<Compiled, CompileError> {
    let (tiled, best) = best_order(tiled, machine, plan)?;
    finish(graph, tiled, machine, plan, best)
}

/// The program of the best of some schedules, polished.
fn finish(
    graph: &Graph,
    tiled: TiledGraph,
    machine: &Machine,
    plan: Plan,
    best: Judged,
) -> Result<Compiled, CompileError> {
    let schedule = match plan.quick {
        true => best.schedule,
        false => polish::polish(&tiled, machine, plan, best.schedule),
    };
    let program = emit::emit(&tiled, machine, &schedule)?;
    let estimate = estimate::estimate(graph, &tiled, machine, &schedule, &program);
    let idle = schedule.placements.idle;
    Ok(Compiled { program, tiled, estimate, idle })
}

/// The graph in primitives that the machine has.
fn legal(graph: &Graph) -> Result<Legal, CompileError> {
    legalize(graph).map_err(|e| ill_typed(graph, e))
}

fn ill_typed(graph: &Graph, e: TypeError) -> CompileError {
    CompileError::Unsupported {
        node: graph.name.clone(),
        op: e.op,
        shape: String::new(),
        reason: e.reason,
        remedy: "this is a bug of the compiler".into(),
    }
}

/// Says of every node whether the machine can run it. Whether all fits is known after [`compile`].
pub fn check(graph: &Graph, machine: &Machine) -> Vec<NodeSupport> {
    let last = graph.nodes().len().saturating_sub(1);
    let selection = legal(graph).and_then(|legal| {
        let plan = Plan { packing: true, tight: false, compact: false, long_runs: false, product: None, quick: true };
        let s = select::select(&legal.graph, machine, plan)?;
        // Several nodes may serve one of the user's; the first that fails says why.
        Ok(s.failed.into_iter().map(|(n, why)| (legal.from[n], why)).collect::<Vec<_>>())
    });
    let failed = match selection {
        Ok(failed) => failed,
        // Outputs of supported nodes that cannot leave the chip.
        Err(CompileError::Unsupported { node, op, shape, reason, remedy }) => {
            vec![(last, Unsupported { node, op, shape, reason, remedy })]
        }
        Err(CompileError::DoesNotFit { .. }) => Vec::new(),
    };
    let mut first: HashMap<usize, &Unsupported> = HashMap::new();
    failed.iter().for_each(|(number, u)| _ = first.entry(*number).or_insert(u));
    graph
        .nodes()
        .iter()
        .enumerate()
        .map(|(number, n)| NodeSupport {
            node: graph.origin_name(n).to_string(),
            op: n.op.name().to_string(),
            unsupported: first.get(&number).map(|u| (*u).clone()),
        })
        .collect()
}
