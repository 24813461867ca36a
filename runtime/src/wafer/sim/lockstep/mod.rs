//! PEs that do the same in the same cycle, counted once.
//!
//! Time has no values, so what a PE and its router do next follows from how they stand and from what their four neighbours
//! tell them: wavelets, and freed buffers. PEs with the same program and routes begin as one class, of which one site is
//! simulated. It stays one class as long as, in every cycle, its members are told the same from each side, whichever classes
//! lie there; where they are not, the class is split by what they are told. Classes that stand alike become one again from time
//! to time. Values follow for every PE, by the trace of its class.
//!
//! Only for programs without ports. Gives up, and says nothing, where there are many classes, and in all that ends a run
//! otherwise than well: then the run begins again without it.

mod clock;
mod partition;
mod parts;
pub(super) mod trace;

use self::clock::{Clock, Pace, Stage};
use self::parts::Parts;
use self::trace::Trace;
use super::super::fabric::Fabric;
use super::super::lower::LowClass;
use super::shape::Shape;
use super::{Options, SimResult};
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// Sites from which on it is tried, unless it is asked for.
const WORTH_IT: usize = 2_000;

/// Classes that there may be in any case, and sites for each of more, unless lockstep is asked for.
const ALWAYS: usize = 256;
const SHARE: usize = 64;

/// On small meshes everything happens often.
const SMALL: Pace = Pace { launches: 24, classes: 4 };
const LARGE: Pace = Pace { launches: 400, classes: 64 };

/// What PEs did in some cycles.
pub(super) struct Epoch {
    class_of: Vec<u32>,
    trace_of: Vec<Option<Arc<Trace>>>,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug)]
struct Figures {
    cycles: u64,
    kernel_cycles: u64,
    core_cycles: u64,
    router_cycles: u64,
    /// Most classes at a time.
    classes: u32,
}

/// A run that ended well; else nothing.
pub(super) fn run(
    program: &Program,
    machine: &Machine,
    (fabric, classes, shapes): (&Fabric, &[LowClass], &[Shape]),
    inputs: &[Tensor],
    options: &Options,
    threads: usize,
) -> Option<SimResult> {
    let sites = fabric.sites.len();
    let wanted = options.lockstep.unwrap_or(sites >= WORTH_IT);
    let possible = program.in_ports.is_empty() && program.out_ports.is_empty();
    let watched = options.record_spans || options.record_links || options.sample_every.is_some();
    if !wanted || !possible || options.stepwise || watched || sites == 0 {
        return None;
    }
    let most = if options.lockstep.is_some() { sites } else { ALWAYS.max(sites / SHARE) };
    let pace = if sites < WORTH_IT { SMALL } else { LARGE };
    let stage = Stage::new(program, fabric, most)?;
    let mut clock = Clock::new(program, machine, &stage, (fabric, classes, shapes), (most, pace))?;
    // Made when something is to be followed: many runs give up before.
    let mut parts = None;
    let mut follow = |epoch: &Epoch| {
        let new = || Parts::new(program, (fabric, classes, shapes), inputs, threads);
        if let Some(parts) = parts.get_or_insert_with(new) {
            parts.follow(epoch);
        }
    };
    let limit = options.max_cycles;
    let figures = match threads {
        1 => clock.run(limit, |epoch| follow(&epoch)),
        _ => std::thread::scope(|scope| {
            let (post, mail) = sync_channel::<Epoch>(1);
            let clock = scope.spawn(move || clock.run(limit, |epoch| _ = post.send(epoch)));
            mail.iter().for_each(|epoch| follow(&epoch));
            clock.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
    }?;
    let mut parts = parts.flatten().filter(Parts::are_done)?;
    let peeked = options.peeks.iter().map(|p| parts.peek(fabric, p, machine)).collect::<Option<Vec<_>>>()?;
    let mut outputs = Vec::new();
    for (t, bytes) in program.outputs.iter().zip(parts.outputs(fabric)) {
        outputs.push(Tensor::new(t.dtype, t.shape.clone(), bytes).ok()?);
    }
    Some(SimResult {
        outputs,
        cycles: figures.cycles,
        kernel_cycles: figures.kernel_cycles,
        interval_cycles: None,
        peeked,
        links: Vec::new(),
        spans: Vec::new(),
        samples: Vec::new(),
        core_cycles: figures.core_cycles,
        router_cycles: figures.router_cycles,
        classes: Some(figures.classes),
    })
}
