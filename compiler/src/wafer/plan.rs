//! How many PEs each kernel gets: the slowest kernel at its best sets the pace, and every other
//! takes as few PEs as keep it.
//!
//! Costs are those of the code that would run: busy cycles of the chain's last PE, which
//! forwards for all others.

use super::code::PeCode;
use super::error::CompileError;
use super::kernels::{Format, PeContext, pe_code};
use super::streams::{Kernel, WaferGraph};
use quadrille_isa::wafer::Machine;

/// A way to cut a kernel.
#[derive(Clone, Copy, Debug)]
struct Choice {
    per: usize,
    pes: usize,
    /// Cycles for the whole run of the model on the busiest PE.
    cycles: u64,
}

/// The code of PE `i` of a kernel cut into shares of `per` units.
pub(crate) fn code_of(g: &WaferGraph, k: &Kernel, per: usize, i: usize, with_data: bool) -> PeCode {
    let inputs: Vec<Format> = (0..k.inputs.len()).map(|i| g.input_format(k, i)).collect();
    let out = g.stream(k.output);
    let units = k.core.units();
    let cx = PeContext {
        units: (i * per).min(units)..((i + 1) * per).min(units),
        inputs: &inputs,
        output: out.format,
        narrow: out.narrow,
        steps: &k.steps,
    };
    pe_code(k.core.as_ref(), &cx, with_data)
}

/// Codes of the PEs that may be a kernel's busiest: the last forwards most, the one before it
/// may make more.
fn busiest(g: &WaferGraph, k: &Kernel, per: usize) -> [PeCode; 2] {
    let pes = k.core.units().div_ceil(per.max(1)).max(1);
    [pes - 1, pes.saturating_sub(2)].map(|i| code_of(g, k, per, i, false))
}

/// Expected cycles of the kernel's busiest PE for one run of the model.
pub(crate) fn busy_cycles(g: &WaferGraph, k: &Kernel, per: usize, m: &Machine) -> u64 {
    let codes = busiest(g, k, per);
    codes.iter().map(|c| c.busy_cycles(m)).max().unwrap_or(0) * k.core.firings() as u64
}

/// Cycles that the busiest PE's datapath needs at least for one run of the model.
pub(crate) fn datapath_cycles(g: &WaferGraph, k: &Kernel, m: &Machine) -> u64 {
    let codes = busiest(g, k, k.per);
    codes.iter().map(|c| c.datapath_cycles(m)).max().unwrap_or(0) * k.core.firings() as u64
}

fn choices(g: &WaferGraph, k: &Kernel, m: &Machine, max_pes: usize) -> Result<Vec<Choice>, CompileError> {
    let units = k.core.units();
    let out = g.stream(k.output).format;
    let mut found: Vec<Choice> = Vec::new();
    let mut least: Option<u64> = None;
    let mut last_per = 0;
    for pes in 1..=units.min(max_pes).max(1) {
        let per = units.div_ceil(pes);
        if per == last_per || !k.core.allows(per, out) {
            continue;
        }
        last_per = per;
        let count = units.div_ceil(per);
        let need = [0, count - 1].iter().map(|&i| code_of(g, k, per, i, false).sram_bytes(m)).max().unwrap_or(0);
        least = Some(least.map_or(need, |l| l.min(need)));
        if need <= u64::from(m.geometry.sram_bytes_per_pe) {
            found.push(Choice { per, pes: count, cycles: busy_cycles(g, k, per, m) });
        }
    }
    if found.is_empty() {
        return Err(CompileError::DoesNotFit {
            what: format!("a PE's share of node `{}` ({})", k.names[0], k.core.op()),
            need: least.unwrap_or(0),
            have: u64::from(m.geometry.sram_bytes_per_pe),
            reason: "bytes of SRAM for rows under the window, weights, results and program; the sum over input \
                     channels is not split over PEs yet"
                .to_string(),
            remedy: "use smaller images or fewer channels, or --target tsp".to_string(),
        });
    }
    Ok(found)
}

/// Chooses the cut of every kernel. `slack` above 1 allows a slower pace for fewer PEs.
pub(crate) fn choose(g: &mut WaferGraph, m: &Machine, max_pes: Option<usize>, slack: f64) -> Result<(), CompileError> {
    let cap = max_pes.unwrap_or(usize::MAX).max(1);
    let all: Vec<Vec<Choice>> = g.kernels.iter().map(|k| choices(g, k, m, cap)).collect::<Result<_, CompileError>>()?;
    let best = |c: &[Choice]| c.iter().map(|c| c.cycles).min().unwrap_or(0);
    let pace = all.iter().map(|c| best(c)).max().unwrap_or(0);
    let pace = (pace as f64 * slack) as u64;
    for (k, c) in g.kernels.iter_mut().zip(&all) {
        let pick = c.iter().filter(|c| c.cycles <= pace).min_by_key(|c| (c.pes, c.cycles));
        if let Some(p) = pick {
            k.per = p.per;
        }
    }
    Ok(())
}
