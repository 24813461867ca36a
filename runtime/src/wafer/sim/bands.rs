//! A run in bands of rows of the mesh, and with values, apart or not.
//!
//! What leaves a band in one cycle is seen in another in the next one, as on any link, so results do not depend on the
//! number of bands.

use super::super::fabric::Fabric;
use super::super::lower::{self, LowClass};
use super::super::ports;
use super::super::rule::CheckError;
use super::engine::{self, Engine};
use super::host::Host;
use super::lockstep;
use super::shape::{self, Shape};
use super::tiles::{self, End};
use super::values::{Part, Record, Values};
use super::{HOTTEST, LinkLoad, Options, Sample, SimError, SimResult, WaitingPe};
use quadrille_isa::wafer::{Machine, Pe, Program};
use quadrille_isa::{DType, Tensor};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

/// Sites from which on values have a thread of their own, unless one thread is asked for.
const WORTH_IT: usize = 2_000;

/// Sites from which on all processors share the mesh: below, one processor is left to the values, and all that is needed
/// for it stays in the cache anyway.
const MANY: usize = 100_000;

/// Rows of a band where there are several, at most: what several threads share, and what stays in the cache for some cycles
/// (see `tiles`). Wavelets from band to band cost more, so that one row is too few.
const ROWS: u32 = 8;

/// Bands that there are at least, where the mesh has as many rows.
const FEW_BANDS: u32 = 16;

/// Where the bands begin and end.
pub(super) struct Bands {
    sites: Vec<usize>,
    nodes: Vec<usize>,
    alone: bool,
}

impl Bands {
    /// Bands of so many rows of the mesh each, those without sites left out.
    pub(super) fn of_rows(fabric: &Fabric, rows: u16) -> Bands {
        let row = |ix: usize| fabric.sites[ix].pe.y / rows;
        let mut sites = vec![0];
        sites.extend((1..fabric.sites.len()).filter(|&ix| row(ix) != row(ix - 1)));
        sites.push(fabric.sites.len());
        let node = |&s: &usize| fabric.sites.get(s).map_or(fabric.nodes.len(), |s| s.first_node as usize);
        Bands { nodes: sites.iter().map(node).collect(), sites, alone: false }
    }

    /// One band in which every link leads away from its site: see `lockstep`.
    pub(super) fn of_sites_alone(fabric: &Fabric) -> Bands {
        Bands { alone: true, ..Bands::of_rows(fabric, u16::MAX) }
    }

    /// Whether links lead away even within a band.
    pub(super) fn are_alone(&self) -> bool {
        self.alone
    }

    pub(super) fn len(&self) -> usize {
        self.sites.len() - 1
    }

    pub(super) fn sites(&self, band: usize) -> Range<usize> {
        self.sites[band]..self.sites[band + 1]
    }

    pub(super) fn nodes(&self, band: usize) -> Range<usize> {
        self.nodes[band]..self.nodes[band + 1]
    }

    pub(super) fn of_site(&self, site: u32) -> usize {
        self.sites[1..].partition_point(|&end| end <= site as usize).min(self.len() - 1)
    }
}

/// A bound that every program of this size that makes progress stays below: all elements
/// of all ports and all SRAM, each handled by the longest task, and then some.
fn derived_limit(program: &Program, engines: &[Engine<'_>]) -> u64 {
    let wavelets = |port: &_, dtype: DType| ports::wavelets(port, dtype);
    let words = (program.in_ports.iter().map(|p| wavelets(p, program.inputs[p.tensor as usize].dtype)))
        .chain(program.out_ports.iter().map(|p| wavelets(p, program.outputs[p.tensor as usize].dtype)))
        .fold(0, u64::saturating_add);
    let longest = engines.iter().map(Engine::longest_task).max().unwrap_or(0);
    limit(longest, engines.iter().map(Engine::pes).sum(), words)
}

/// That bound for a program without ports.
pub(super) fn limit_without_ports(longest: u64, pes: u64) -> u64 {
    limit(longest, pes, 0)
}

fn limit(longest: u64, pes: u64, words: u64) -> u64 {
    let pes = pes + 1;
    let hops = u64::from(u16::MAX);
    // Tasks started by wavelets: at most one start per wavelet; tasks started by tasks are
    // taken to do as many starts as there are tasks and PEs.
    let starts = words.saturating_add(pes.saturating_mul(64)).min(1 << 24);
    longest.saturating_mul(starts).saturating_add(hops * 64).clamp(1_000_000, 20_000_000_000)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a program that was found valid.
pub(super) fn run(
    program: &Program,
    machine: &Machine,
    fabric: &Fabric,
    inputs: &[Tensor],
    options: &Options,
) -> Result<SimResult, SimError> {
    engine::check_machine(machine)?;
    let mut faults = Vec::new();
    let mut classes: Vec<LowClass> = program.classes.iter().map(|c| lower::lower(c, machine, &mut faults)).collect();
    if let Some(f) = faults.into_iter().next() {
        return Err(SimError::Invalid(vec![CheckError::new(f.rule, f.message)]));
    }
    let shapes = shape::collect(&mut classes);
    let threads = options.threads.unwrap_or_else(|| match fabric.sites.len() {
        few if few < WORTH_IT => 1,
        some if some < MANY => processors().saturating_sub(1),
        _ => processors(),
    });
    let threads = threads.clamp(1, fabric.sites.len().max(1));
    let bands = match threads > 1 || fabric.sites.len() >= MANY {
        true => Bands::of_rows(fabric, (machine.geometry.height_pes / FEW_BANDS).clamp(1, ROWS) as u16),
        false => Bands::of_rows(fabric, u16::MAX),
    };
    let parts = (fabric, &classes[..], &shapes[..]);
    if let Some(result) = lockstep::run(program, machine, parts, inputs, options, threads) {
        return Ok(result);
    }
    if !options.stepwise
        && let Some(result) = attempt(program, machine, parts, inputs, (&bands, threads), options, true)
    {
        return result;
    }
    attempt(program, machine, parts, inputs, (&bands, threads), options, false)
        .unwrap_or_else(|| Err(SimError::Invalid(Vec::new())))
}

/// Batches of launches that may wait for the thread that follows with the values.
const AHEAD: usize = 64;

/// A run with values apart from cycles, or not; `None` when they cannot be.
fn attempt(
    program: &Program,
    machine: &Machine,
    (fabric, classes, shapes): (&Fabric, &[LowClass], &[Shape]),
    inputs: &[Tensor],
    (bands, threads): (&Bands, usize),
    options: &Options,
    apart: bool,
) -> Option<Result<SimResult, SimError>> {
    let host = Mutex::new(Host::new(program, inputs));
    let mut engines = Vec::new();
    let mut limit = engine::MEMORY_LIMIT;
    let mut first_core = 0;
    let data_end = engine::data_ends(program, fabric);
    for band in 0..bands.len() {
        let parts = (fabric, classes, shapes);
        let mut engine =
            match Engine::new(program, machine, parts, &host, (inputs, &data_end), (bands, band), (limit, apart)) {
                Ok(engine) => engine,
                Err(e) => return Some(Err(e)),
            };
        limit -= engine.memory_len();
        engine.first_core = first_core;
        first_core += engine.pes() as u32;
        engine.record_spans = options.record_spans;
        engine.sample_every = options.sample_every.filter(|&n| n > 0);
        engine.stepwise = options.stepwise;
        if options.record_links {
            engine.network.count_links();
        }
        if apart {
            engine.network.stream();
        }
        if fabric.sites.len() >= WORTH_IT {
            engine.enlarge_pages();
        }
        engines.push(engine);
    }
    let mut values = apart.then(|| {
        let all = Part { begins: &[0], me: 0 };
        Values::new(program, fabric, shapes, inputs, engines.iter().flat_map(Engine::memories), all)
    });
    let limit = options.max_cycles.unwrap_or_else(|| derived_limit(program, &engines));
    let mut run = |follow: &(dyn Fn(&mut Vec<Record>) + Sync)| tiles::run(&mut engines, limit, threads, &follow);
    let end = match &mut values {
        // With a thread of their own.
        Some(values) if options.threads != Some(1) && fabric.sites.len() >= WORTH_IT => std::thread::scope(|scope| {
            let (post, mail) = sync_channel::<Vec<Record>>(AHEAD);
            // Who follows has panicked when it takes no more; the scope tells.
            let run = scope.spawn(move || run(&move |records| _ = post.send(std::mem::take(records))));
            mail.iter().for_each(|mut records| values.follow(&mut records));
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
        Some(values) => {
            let values = Mutex::new(values);
            run(&|records| values.lock().unwrap_or_else(PoisonError::into_inner).follow(records))
        }
        None => run(&|_| {}),
    };
    match end {
        End::Quiet => {}
        End::ValuesMeet => return None,
        End::Wrong(error) => return Some(Err(error)),
    }
    let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(e) = finished(fabric, &engines, &host) {
        return Some(Err(e));
    }
    Some(finish(program, fabric, &engines, &mut host, values, options))
}

/// Nothing moves any more: all done, or stuck.
fn finished(fabric: &Fabric, engines: &[Engine<'_>], host: &Host<'_>) -> Result<(), SimError> {
    let mut waiting: Vec<WaitingPe> = engines.iter().flat_map(Engine::in_flight).collect();
    for (row, color, left, sends) in host.unfinished() {
        let x = if sends { 0 } else { (fabric.width() - 1) as u16 };
        let what = format!(
            "{} port, color {color}: {left} elements not yet {}",
            if sends { "input" } else { "output" },
            if sends { "sent" } else { "received" }
        );
        waiting.push(WaitingPe { pe: Pe { x, y: row }, what });
    }
    waiting.extend(engines.iter().flat_map(|e| e.network.stuck()).map(|(pe, what)| WaitingPe { pe, what }));
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.truncate(16);
    let cycle = engines.iter().map(|e| e.last_event).max().unwrap_or(0);
    Err(SimError::Deadlock { cycle, waiting })
}

/// What the PEs of all bands were seen to do, by cycle and node.
fn samples(engines: &[Engine<'_>]) -> Vec<Sample> {
    let mut joined: BTreeMap<(u64, u32), Sample> = BTreeMap::new();
    for s in engines.iter().flat_map(|e| &e.samples) {
        let none = Sample { works: 0, waits_for_words: 0, waits_for_room: 0, idle: 0, ..*s };
        let all = joined.entry((s.cycle, s.node)).or_insert(none);
        all.works += s.works;
        all.waits_for_words += s.waits_for_words;
        all.waits_for_room += s.waits_for_room;
        all.idle += s.idle;
    }
    joined.into_values().collect()
}

/// Outputs and figures of a finished run.
fn finish(
    program: &Program,
    fabric: &Fabric,
    engines: &[Engine<'_>],
    host: &mut Host<'_>,
    mut values: Option<Values<'_>>,
    options: &Options,
) -> Result<SimResult, SimError> {
    let mut peeked = Vec::with_capacity(options.peeks.len());
    for p in &options.peeks {
        let (x, y) = (p.pe.x, p.pe.y);
        match engines.iter().find_map(|e| e.peek(p)) {
            Some(bytes) => {
                let bytes = bytes?;
                let site = fabric.site(p.pe);
                let apart = values.as_ref().zip(site).and_then(|(v, site)| v.peek(site, p));
                peeked.push(apart.unwrap_or(bytes));
            }
            None => return Err(SimError::Input(format!("no program runs on PE ({x}, {y})"))),
        }
    }
    let interval_cycles = host.interval();
    let taken = match &mut values {
        Some(values) => values.outputs(fabric),
        None => {
            let mut taken = host.take_outputs();
            engines.iter().for_each(|e| e.unload(&mut taken));
            taken
        }
    };
    let mut outputs = Vec::new();
    for (t, bytes) in program.outputs.iter().zip(taken) {
        outputs.push(Tensor::new(t.dtype, t.shape.clone(), bytes).map_err(|e| SimError::Input(e.to_string()))?);
    }
    let mut links: Vec<LinkLoad> = engines.iter().flat_map(|e| e.network.hottest(HOTTEST)).collect();
    links.sort_by_key(|l| (Reverse(l.wavelets), l.pe.y, l.pe.x, l.port as u8));
    links.truncate(HOTTEST);
    let end = engines.iter().map(|e| e.last_event).max().unwrap_or(0) + 1;
    let first_launch = engines.iter().filter_map(|e| e.first_launch).min();
    Ok(SimResult {
        outputs,
        cycles: end,
        kernel_cycles: first_launch.map_or(0, |l| end.saturating_sub(l)),
        interval_cycles,
        peeked,
        links,
        spans: engines.iter().flat_map(Engine::spans).collect(),
        samples: samples(engines),
        core_cycles: engines.iter().map(|e| e.core_cycles).sum(),
        router_cycles: engines.iter().map(|e| e.network.router_cycles).sum(),
        classes: None,
    })
}
