//! How many PEs each kernel gets: the slowest kernel at its best sets the pace, and every other
//! takes as few PEs as keep it.
//!
//! Costs are those of the code that would run: busy cycles of the chain's last PE, which
//! passes on the results of all others.

use super::code::PeCode;
use super::error::CompileError;
use super::kernels::{Format, PeContext, pe_code};
use super::streams::{Cut, Kernel, WaferGraph, part_columns, pes_of};
use quadrille_isa::wafer::Machine;
use std::sync::Arc;

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
    let at = (pes - 1).saturating_sub(i);
    let (share, part) = (at / parts, at % parts);
    let first = (share * cut.per).min(units);
    let columns = (part * width).min(run)..((part + 1) * width).min(run);
    let end = (first + cut.per).min(units);
    let after = if k.core.splits_columns() {
        units - end
    } else {
        let rest_of_run = if columns.end == run { 0 } else { out.format.pitch - columns.end };
        (units - end) * out.format.pitch + rest_of_run
    };
    let cx = PeContext {
        units: first..end,
        upstream: if pes > 1 { after } else { 0 },
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

/// The PEs of a kernel that may hold most: the first, and those that share the runs of the first unit. A PE between two others
/// of a run holds more of it than those at its ends.
pub(crate) fn fullest(k: &Kernel, cut: Cut) -> impl Iterator<Item = usize> {
    let pes = pes_of(k.core.as_ref(), cut);
    let parts = part_columns(k.core.layout().run(), cut.parts).1;
    std::iter::once(0).chain(pes.saturating_sub(parts)..pes)
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
    fullest(k, cut).map(|i| code_of(g, k, cut, i, false).sram_bytes(m)).max().unwrap_or(0)
}

/// True when some cut of a kernel fits its PEs.
pub(crate) fn fits(g: &WaferGraph, k: &Kernel, m: &Machine, max_pes: Option<usize>) -> bool {
    let have = u64::from(m.geometry.sram_bytes_per_pe);
    cuts(g, k, max_pes.unwrap_or(usize::MAX).max(1)).into_iter().rev().any(|c| need(g, k, c, m) <= have)
}

fn choices(g: &WaferGraph, k: &Kernel, m: &Machine, max_pes: usize) -> Result<Vec<Choice>, CompileError> {
    let mut found: Vec<Choice> = Vec::new();
    let mut least: Option<u64> = None;
    for cut in cuts(g, k, max_pes) {
        let pes = pes_of(k.core.as_ref(), cut);
        let need = need(g, k, cut, m);
        least = Some(least.map_or(need, |l| l.min(need)));
        if need > u64::from(m.geometry.sram_bytes_per_pe) {
            continue;
        }
        let c = Choice { cut, pes, cycles: busy_cycles(g, k, cut, m) };
        let effort = |c: &Choice| c.pes as f64 * c.cycles as f64;
        let whole = found.iter().rfind(|c| c.cut.parts == 1);
        if cut.parts == 1 || whole.is_none_or(|w| effort(&c) <= MAX_EFFORT * effort(w)) {
            found.push(c);
        }
    }
    if found.is_empty() {
        return Err(CompileError::DoesNotFit {
            what: format!("a PE's share of node `{}` ({})", k.names[0], k.core.op()),
            need: least.unwrap_or(0),
            have: u64::from(m.geometry.sram_bytes_per_pe),
            reason: "bytes of SRAM for its part of the operands, results and program, however it is cut".to_string(),
            remedy: "use smaller images or fewer channels, or --target tsp".to_string(),
        });
    }
    Ok(found)
}

/// The ways to cut every kernel of a graph.
pub(crate) struct Choices(Vec<Arc<Vec<Choice>>>);

impl Choices {
    /// Cycles of a kernel at its fastest.
    pub(crate) fn best(&self, kernel: usize) -> u64 {
        self.0[kernel].iter().map(|c| c.cycles).min().unwrap_or(0)
    }
}

/// Finds them, with at most so many PEs a kernel.
pub(crate) fn all_choices(g: &WaferGraph, m: &Machine, max_pes: Option<usize>) -> Result<Choices, CompileError> {
    let cap = max_pes.unwrap_or(usize::MAX).max(1);
    let mut all: Vec<Arc<Vec<Choice>>> = Vec::with_capacity(g.kernels.len());
    for k in &g.kernels {
        let same = k.twin.map(|t| all[t.0].clone());
        all.push(same.map_or_else(|| choices(g, k, m, cap).map(Arc::new), Ok)?);
    }
    Ok(Choices(all))
}

/// Chooses the cut of every kernel, in the haste of the graph. `slack` above 1 allows a slower pace for fewer PEs.
pub(crate) fn choose(g: &mut WaferGraph, choices: &Choices, slack: f64) {
    let all = &choices.0;
    let best = |c: &[Choice]| c.iter().map(|c| c.cycles).min().unwrap_or(0);
    let pace = all.iter().map(|c| best(c)).max().unwrap_or(0) as f64 * slack;
    let ease = EASE / f64::from(1u32 << g.haste);
    for (k, c) in g.kernels.iter_mut().zip(all) {
        // What cannot be at ease may be as slow as its best and a little more.
        let limit = (pace * ease).max(best(c) as f64 * 1.03 * slack.min(2.0)).min(pace.max(best(c) as f64));
        let pick = c.iter().filter(|c| c.cycles as f64 <= limit).min_by_key(|c| (c.pes, c.cycles));
        if let Some(p) = pick {
            k.cut = p.cut;
        }
    }
}
