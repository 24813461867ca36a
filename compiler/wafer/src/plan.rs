//! How many PEs each kernel gets: the slowest kernel at its best sets the pace, and every other
//! takes as few PEs as keep it.
//!
//! Costs are those of the code that would run: busy cycles of the chain's last PE, which
//! passes on the results of all others.

use super::chain::Chain;
use super::code::PeCode;
use super::error::CompileError;
use super::kernels::{Core, Format, PeContext, pe_code};
use super::steps::Step;
use super::streams::{Cut, Kernel, WaferGraph, part_columns, pes_of};
use super::sums::MOST_HALVINGS;
use quadrille_isa::wafer::Machine;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A way to cut a kernel.
#[derive(Clone, Copy, Debug)]
struct Choice {
    cut: Cut,
    pes: usize,
    /// Cycles for the whole run of the model on the busiest PE.
    cycles: u64,
}

/// Kernels that are not the slowest run at this part of its time or less: without room in
/// between, two kernels of one pace wait for each other at every change from image to image.
const EASE: f64 = 0.5;

/// More PEs a row are no use where they multiply the work of all PEs by more than this: all
/// receive the same stream and pass on the same results.
const MAX_EFFORT: f64 = 1.5;

/// Shares that take so many times the SRAM of a PE end the search for larger ones that fit.
const TOO_MUCH: u64 = 2;

/// How the PEs of a kernel cut that way send their shares on.
pub(crate) fn chain_of(g: &WaferGraph, k: &Kernel, cut: Cut) -> Chain {
    let pes = pes_of(k.core.as_ref(), cut);
    if !k.core.forwards() {
        return Chain::plain(pes);
    }
    let out = g.stream(k.output).format;
    let run = if k.core.splits_columns() { 1 } else { part_columns(out.pitch, cut.parts).0 };
    let wavelets = cut.per * run.div_ceil(out.elem.per_wavelet() as usize);
    Chain::of(pes, wavelets, k.inputs.len())
}

/// The code of the chain's PE `i` of a kernel cut that way.
///
/// The last PE has the first share: it sends its own, then passes on what follows, so that
/// nobody waits for shares from far away before sending.
pub(crate) fn code_of(g: &WaferGraph, k: &Kernel, cut: Cut, i: usize, with_data: bool) -> PeCode {
    let inputs: Vec<Format> = (0..k.inputs.len()).map(|i| g.input_format(k, i)).collect();
    let out = g.stream(k.output);
    let (units, run) = (k.core.units(), k.core.layout().run());
    let (width, parts) = part_columns(run, cut.parts);
    let pes = pes_of(k.core.as_ref(), cut);
    let share = |i: usize| {
        let at = (pes - 1).saturating_sub(i);
        let (share, part) = (at / parts, at % parts);
        let first = (share * cut.per).min(units);
        let columns = (part * width).min(run)..((part + 1) * width).min(run);
        (first..(first + cut.per).min(units), columns)
    };
    // Elements of a block behind those of PE `i`.
    let after = |i: usize| {
        let (units_of, columns) = share(i);
        if k.core.splits_columns() {
            return units - units_of.end;
        }
        let rest_of_run = if columns.end == run { 0 } else { out.format.pitch - columns.end };
        (units - units_of.end) * out.format.pitch + rest_of_run
    };
    let chain = chain_of(g, k, cut);
    let members = chain.members(i);
    let (units, columns) = share(i);
    let cx = PeContext {
        units,
        members: (1..=members).map(|d| after(i + 1 - d) - after(i - d)).collect(),
        upstream: if chain.has_upstream(i) { after(i - members) } else { 0 },
        columns,
        inputs: &inputs,
        output: out.format,
        narrow: out.narrow,
        steps: &k.steps,
    };
    pe_code(k.core.as_ref(), &cx, with_data)
}

/// Codes of the PEs that may be a kernel's busiest: the last passes on most.
fn busiest(g: &WaferGraph, k: &Kernel, cut: Cut) -> [PeCode; 2] {
    let pes = pes_of(k.core.as_ref(), cut);
    [pes - 1, pes.saturating_sub(2)].map(|i| code_of(g, k, cut, i, false))
}

/// The PEs of a kernel that may hold most: the first, those that share the runs of the first unit, and heads of groups with
/// others before and behind them. A PE between two others of a run holds more of it than those at its ends.
pub(crate) fn fullest(g: &WaferGraph, k: &Kernel, cut: Cut) -> impl Iterator<Item = usize> {
    let pes = pes_of(k.core.as_ref(), cut);
    let parts = part_columns(k.core.layout().run(), cut.parts).1;
    let first = pes.saturating_sub(parts);
    std::iter::once(0).chain(chain_of(g, k, cut).heads(parts, first)).chain(first..pes)
}

/// Expected cycles of the kernel's busiest PE for one run of the model.
pub(crate) fn busy_cycles(g: &WaferGraph, k: &Kernel, cut: Cut, m: &Machine) -> u64 {
    let codes = busiest(g, k, cut);
    codes.iter().map(|c| c.busy_cycles(m)).max().unwrap_or(0) * k.core.passes(cut.per) as u64
}

/// Cycles that the busiest PE's datapath needs at least for one run of the model.
pub(crate) fn datapath_cycles(g: &WaferGraph, k: &Kernel, m: &Machine) -> u64 {
    let codes = busiest(g, k, k.cut);
    codes.iter().map(|c| c.datapath_cycles(m)).max().unwrap_or(0) * k.core.passes(k.cut.per) as u64
}

/// The cuts of a kernel over at most so many PEs, the fewest first.
fn cuts(g: &WaferGraph, k: &Kernel, max_pes: usize) -> Vec<Cut> {
    let units = k.core.units();
    let out = g.stream(k.output).format;
    let max_pes = if k.core.streams_through(&k.steps, out) { 1 } else { max_pes };
    let mut cuts: Vec<Cut> = Vec::new();
    for pes in 1..=units.min(max_pes).max(1) {
        let per = units.div_ceil(pes);
        if cuts.last().is_none_or(|c| c.per != per) && k.core.allows(per, out) {
            cuts.push(Cut { per, parts: 1 });
        }
    }
    if k.core.allows(1, out) {
        let parts = (2..=k.core.max_parts()).map(|parts| Cut { per: 1, parts });
        cuts.extend(parts.filter(|&c| pes_of(k.core.as_ref(), c) <= max_pes));
    }
    cuts
}

/// Bytes of SRAM of the PE that holds most.
fn need(g: &WaferGraph, k: &Kernel, cut: Cut, m: &Machine) -> u64 {
    fullest(g, k, cut).map(|i| code_of(g, k, cut, i, false).sram_bytes(m)).max().unwrap_or(0)
}

/// The ways to cut a kernel.
#[derive(Debug)]
pub(crate) struct Ways {
    choices: Vec<Choice>,
    /// Cycles of the slowest of the kernels that its sums are in when they are halved once, twice and so on.
    in_parts: [OnceLock<Option<u64>>; MOST_HALVINGS as usize],
}

impl Ways {
    /// Cycles at its fastest.
    pub(crate) fn best(&self) -> u64 {
        self.choices.iter().map(|c| c.cycles).min().unwrap_or(0)
    }

    /// Cycles with sums halved so often, as they were found before or are found now.
    pub(crate) fn in_parts(&self, halvings: u32, find: impl FnOnce() -> Option<u64>) -> Option<u64> {
        *self.in_parts.get((halvings as usize).checked_sub(1)?)?.get_or_init(find)
    }
}

/// The ways to cut every kernel of a graph.
pub(crate) struct Choices(pub(crate) Vec<Arc<Ways>>);

/// All that the ways to cut a kernel depend on, and these.
struct Known {
    core: Arc<dyn Core>,
    steps: Vec<Step>,
    inputs: Vec<Format>,
    output: (Format, bool),
    ways: Arc<Ways>,
}

impl Known {
    fn is_like(&self, g: &WaferGraph, k: &Kernel) -> bool {
        let out = g.stream(k.output);
        Arc::ptr_eq(&self.core, &k.core)
            && self.output == (out.format, out.narrow)
            && self.inputs.len() == k.inputs.len()
            && self.inputs.iter().enumerate().all(|(i, &f)| f == g.input_format(k, i))
            && self.steps == k.steps
    }
}

/// Cuts kernels for a machine. What it finds for one it knows for others of the same work on streams of the same formats, since
/// the graphs that are planned for one model have many in common.
pub(crate) struct Cutter<'a> {
    machine: &'a Machine,
    max_pes: usize,
    /// By the address of the work.
    known: Mutex<HashMap<usize, Vec<Known>>>,
}

impl<'a> Cutter<'a> {
    /// For kernels of so many PEs at most.
    pub(crate) fn new(machine: &'a Machine, max_pes: Option<usize>) -> Cutter<'a> {
        Cutter { machine, max_pes: max_pes.unwrap_or(usize::MAX).max(1), known: Mutex::default() }
    }

    fn sram(&self) -> u64 {
        u64::from(self.machine.geometry.sram_bytes_per_pe)
    }

    /// True when some cut of a kernel fits its PEs.
    pub(crate) fn fits(&self, g: &WaferGraph, k: &Kernel) -> bool {
        self.found_before(g, k).is_some()
            || cuts(g, k, self.max_pes).into_iter().rev().any(|c| need(g, k, c, self.machine) <= self.sram())
    }

    /// Bytes of SRAM of the PE that holds most, and cycles of the busiest one.
    fn figures(&self, g: &WaferGraph, k: &Kernel, cut: Cut) -> (u64, u64) {
        let (mut need, mut cycles) = (0, 0);
        let pes = pes_of(k.core.as_ref(), cut);
        let mut full: Vec<usize> = fullest(g, k, cut).collect();
        full.extend([pes - 1, pes.saturating_sub(2)]);
        full.sort_unstable();
        full.dedup();
        for i in full {
            let code = code_of(g, k, cut, i, false);
            need = need.max(code.sram_bytes(self.machine));
            if i + 2 >= pes {
                cycles = cycles.max(code.busy_cycles(self.machine));
            }
        }
        (need, cycles * k.core.passes(cut.per) as u64)
    }

    /// Finds the ways to cut every kernel.
    pub(crate) fn all_choices(&self, g: &WaferGraph) -> Result<Choices, CompileError> {
        let mut all: Vec<Arc<Ways>> = Vec::with_capacity(g.kernels.len());
        for k in &g.kernels {
            let same = k.twin.map(|t| all[t.0].clone());
            all.push(same.map_or_else(|| self.ways(g, k), Ok)?);
        }
        Ok(Choices(all))
    }

    fn found_before(&self, g: &WaferGraph, k: &Kernel) -> Option<Arc<Ways>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_work = known.get(&Arc::as_ptr(&k.core).addr())?;
        of_work.iter().find(|n| n.is_like(g, k)).map(|n| n.ways.clone())
    }

    fn ways(&self, g: &WaferGraph, k: &Kernel) -> Result<Arc<Ways>, CompileError> {
        if let Some(ways) = self.found_before(g, k) {
            return Ok(ways);
        }
        let ways = Arc::new(Ways { choices: self.find(g, k)?, in_parts: Default::default() });
        let out = g.stream(k.output);
        let known = Known {
            core: k.core.clone(),
            steps: k.steps.clone(),
            inputs: (0..k.inputs.len()).map(|i| g.input_format(k, i)).collect(),
            output: (out.format, out.narrow),
            ways: ways.clone(),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(Arc::as_ptr(&k.core).addr()).or_default().push(known);
        Ok(ways)
    }

    fn find(&self, g: &WaferGraph, k: &Kernel) -> Result<Vec<Choice>, CompileError> {
        let mut least: Option<u64> = None;
        let mut chosen = |cut: Cut| {
            let (need, cycles) = self.figures(g, k, cut);
            least = Some(least.map_or(need, |l| l.min(need)));
            (need, Choice { cut, pes: pes_of(k.core.as_ref(), cut), cycles })
        };
        let all = cuts(g, k, self.max_pes);
        let (whole, parts) = all.split_at(all.partition_point(|c| c.parts == 1));
        let mut found: Vec<Choice> = Vec::new();
        for &cut in whole.iter().rev() {
            let (need, choice) = chosen(cut);
            if need <= self.sram() {
                found.push(choice);
            } else if need > TOO_MUCH * self.sram() {
                // Larger shares take even more.
                break;
            }
        }
        found.reverse();
        let effort = |c: &Choice| c.pes as f64 * c.cycles as f64;
        let whole = found.last().map(effort);
        for &cut in parts {
            let (need, choice) = chosen(cut);
            if need <= self.sram() && whole.is_none_or(|w| effort(&choice) <= MAX_EFFORT * w) {
                found.push(choice);
            }
        }
        if found.is_empty() {
            return Err(CompileError::DoesNotFit {
                what: format!("a PE's share of node `{}` ({})", k.names[0], k.core.op()),
                need: least.unwrap_or(0),
                have: self.sram(),
                reason: "bytes of SRAM for its part of the operands, results and program, however it is cut"
                    .to_string(),
                remedy: "use smaller images or fewer channels, or --target tsp".to_string(),
            });
        }
        Ok(found)
    }
}

/// Chooses the cut of every kernel, in the haste of the graph. `slack` above 1 allows a slower pace for fewer PEs. Cycles of each
/// kernel's busiest PE.
pub(crate) fn choose(g: &mut WaferGraph, choices: &Choices, slack: f64) -> Vec<u64> {
    let all = &choices.0;
    let pace = all.iter().map(|w| w.best()).max().unwrap_or(0) as f64 * slack;
    let ease = EASE / f64::from(1u32 << g.haste);
    let mut busy = Vec::with_capacity(all.len());
    for (k, ways) in g.kernels.iter_mut().zip(all) {
        let best = ways.best() as f64;
        // What cannot be at ease may be as slow as its best and a little more.
        let limit = (pace * ease).max(best * 1.03 * slack.min(2.0)).min(pace.max(best));
        let pick = ways.choices.iter().filter(|c| c.cycles as f64 <= limit).min_by_key(|c| (c.pes, c.cycles));
        // The fastest is within every limit.
        if let Some(p) = pick {
            k.cut = p.cut;
            busy.push(p.cycles);
        }
    }
    busy
}
