//! What a program will cost, from the code alone.

use super::plan::{busy_cycles, code_of, datapath_cycles, fullest};
use super::streams::{Kernel, KernelId, Producer, Stream, WaferGraph};
use super::tiled::Named;
use quadrille_isa::wafer::Machine;

/// Figures of a compiled program. Cycles count from the first wavelet in to the last out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Multiply-adds over what all usable PEs do in a cycle: depends on model and machine alone.
    pub bound_cycles: u64,
    /// The busiest PE's datapath or the busiest stream of this mapping.
    pub mapping_bound_cycles: u64,
    /// Expected cycles of the whole run: the busiest resource and the filling of the pipeline.
    pub cycles: u64,
    /// Expected cycles from one image of the batch to the next.
    pub interval_cycles: u64,
    /// Largest SRAM use of a PE, data and program text, bytes.
    pub sram_bytes: u64,
    /// Largest program text of a PE, bytes.
    pub program_bytes: u64,
    /// PEs that run something.
    pub pes: u64,
    /// Images that follow each other through the same kernels.
    pub images_in_turn: u64,
}

/// What a program waits for most: a kernel's busiest PE, or a stream at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busiest {
    /// The user's node that it is for; a stream is its source's, or the input's.
    pub node: String,
    /// `datapath`, `stream`, or `port`: a stream that crosses the edge of the mesh.
    pub resource: &'static str,
    /// Cycles of the whole run in which it works at least.
    pub cycles: u64,
}

/// Nodes of which [`Compiled::busiest`](crate::Compiled::busiest) tells.
const NAMED: usize = 3;

/// Images of a batch: the leading extent that all inputs and outputs have in common; without one the run is one.
pub(crate) fn images<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> u64 {
    let mut leading = shapes.map(|s| if s.len() > 1 { s[0] } else { 1 });
    let first = leading.next().unwrap_or(1);
    if leading.all(|n| n == first) { first.max(1) as u64 } else { 1 }
}

/// What is expected of the time of a planned graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Of the whole run.
    pub(crate) cycles: u64,
    /// From one image of the batch to the next.
    pub(crate) interval_cycles: u64,
}

/// The time of a graph whose kernels are busy for so many cycles, for a run of so many images in groups that do not wait for
/// each other.
pub(crate) fn timing(g: &WaferGraph, busy: &[u64], images: u64, groups: u64) -> Timing {
    let pace = busy.iter().copied().max().unwrap_or(0).max(g.streams.iter().map(wavelets).max().unwrap_or(0));
    let in_turn = in_turn(images, groups);
    let beat = pace / in_turn;
    let latency = first_image(g, busy, in_turn).max(beat);
    Timing { cycles: latency + beat * (in_turn - 1), interval_cycles: pace / images }
}

/// Images that follow each other.
fn in_turn(images: u64, groups: u64) -> u64 {
    (images / groups.max(1)).max(1)
}

/// Wavelets of a stream.
fn wavelets(s: &Stream) -> u64 {
    let elements = s.layout.as_ref().map_or(0, |l| l.elements()) as u64;
    match s.producer {
        Producer::Input(_) | Producer::Gone => elements,
        Producer::Kernel(_) => elements.div_ceil(u64::from(s.format.elem.per_wavelet())),
    }
}

/// The figures of a planned graph for a run of so many images in groups that do not wait for each other.
/// With what binds: the nodes and `inputs` whose kernels or streams need longest.
pub(crate) fn estimate(
    g: &WaferGraph,
    inputs: &[Named],
    (images, groups): (u64, u64),
    m: &Machine,
) -> (Estimate, Vec<Busiest>) {
    let macs: u64 = g.kernels.iter().map(|k| k.core.macs()).sum();
    let all = u64::from(m.geometry.width_pes) * u64::from(m.geometry.height_pes);
    let bound = macs.div_ceil((all * u64::from(m.rate.f16_mixed_fma)).max(1));
    // No datapath is busier than its PE.
    let busy = of_each(g, |k| busy_cycles(g, k, k.cut, m));
    let resources = resources(g, m);
    let mapping = resources.iter().map(|r| r.1).max().unwrap_or(0);
    let Timing { cycles, interval_cycles } = timing(g, &busy, images, groups);
    let mut sram = (0, 0);
    for k in g.kernels.iter().filter(|k| like(g, k).is_none()) {
        for i in fullest(g, k, k.cut) {
            let c = code_of(g, k, k.cut, i, false);
            sram.0 = sram.0.max(c.sram_bytes(m));
            sram.1 = sram.1.max(u64::from(c.class.text_bytes(m.program.vector_op_bytes, m.program.task_bytes)));
        }
    }
    let estimate = Estimate {
        bound_cycles: bound,
        mapping_bound_cycles: mapping,
        cycles,
        interval_cycles,
        sram_bytes: sram.0,
        program_bytes: sram.1,
        pes: pes(g),
        images_in_turn: in_turn(images, groups),
    };
    (estimate, busiest(g, inputs, resources))
}

/// Where it belongs, the cycles that it needs at least, and what it is.
type Resource = (Source, u64, &'static str);

/// Every kernel's busiest PE, and every stream.
fn resources(g: &WaferGraph, m: &Machine) -> Vec<Resource> {
    let datapaths = of_each(g, |k| datapath_cycles(g, k, m)).into_iter().enumerate();
    let kernels = datapaths.map(|(k, cycles)| (Source::Kernel(KernelId(k)), cycles, "datapath"));
    let streams = g.streams.iter().map(|s| match s.producer {
        Producer::Input(i) => (Source::Input(i), wavelets(s), "port"),
        Producer::Gone => (Source::None, wavelets(s), "port"),
        Producer::Kernel(k) => (Source::Kernel(k), wavelets(s), "stream"),
    });
    kernels.chain(streams).collect()
}

/// Where a resource of the mesh belongs.
#[derive(Clone, Copy)]
enum Source {
    Kernel(KernelId),
    Input(usize),
    None,
}

/// The nodes and inputs whose kernels or streams need longest, those first, each once.
fn busiest(g: &WaferGraph, inputs: &[Named], mut all: Vec<Resource>) -> Vec<Busiest> {
    all.sort_by_key(|r| std::cmp::Reverse(r.1));
    let mut named: Vec<Busiest> = Vec::new();
    for (source, cycles, resource) in all {
        let node = match source {
            Source::Kernel(k) => g.kernels[k.0].names.first(),
            Source::Input(i) => inputs.get(i).map(|n| &n.name),
            Source::None => None,
        };
        let Some(node) = node.filter(|n| named.iter().all(|b| b.node != **n)) else { continue };
        named.push(Busiest { node: node.clone(), resource, cycles });
        if named.len() == NAMED {
            break;
        }
    }
    named
}

/// PEs of all kernels.
pub(crate) fn pes(g: &WaferGraph) -> u64 {
    g.kernels.iter().map(|k| k.pes() as u64).sum()
}

/// The kernel before this one that has the same code and is cut in the same way.
fn like(g: &WaferGraph, k: &Kernel) -> Option<KernelId> {
    k.twin.filter(|t| g.kernels[t.0].cut == k.cut)
}

/// A figure of each kernel, found once for those that are alike.
fn of_each(g: &WaferGraph, figure: impl Fn(&Kernel) -> u64) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::with_capacity(g.kernels.len());
    for k in &g.kernels {
        let known = like(g, k).and_then(|t| all.get(t.0).copied());
        all.push(known.unwrap_or_else(|| figure(k)));
    }
    all
}

/// Expected cycles to the last result of the first image: each kernel begins when the part of its operands that its
/// first result needs has come, and ends when it has done its work and all of its operands have come.
fn first_image(g: &WaferGraph, busy: &[u64], images: u64) -> u64 {
    let mut ready = vec![(0u64, 0u64); g.streams.len()];
    for k in g.order() {
        let (kernel, time) = (&g.kernels[k.0], busy[k.0] / images);
        let (mut begins, mut ends) = (0, 0);
        for (i, o) in kernel.inputs.iter().enumerate() {
            let (first, last) = ready[o.stream.0];
            let lead = kernel.core.lead(i);
            let part = |p: f64| (time.max(last - first) as f64 * p) as u64;
            ends = ends.max(first + time);
            // What takes an operand whole then computes and sends.
            if lead >= 1.0 {
                (begins, ends) = (begins.max(first + time / 4 * 3).max(last + time / 4), ends.max(last + time / 2));
            } else {
                (begins, ends) = (begins.max(first + part(lead)), ends.max(last + part(lead).min(time / 32)));
            }
        }
        let whole = (0..kernel.inputs.len()).any(|i| kernel.core.lead(i) >= 1.0);
        ready[kernel.output.0] = (begins.min(ends), if whole { ends } else { ends.max(begins + time / 2) });
    }
    ready.iter().map(|r| r.1).max().unwrap_or(0)
}
