//! How many lanes: every number is planned, and the fastest that has a place and routes is taken.

use super::emit::Wires;
use super::error::CompileError;
use super::lanes::in_lanes;
use super::place::Placement;
use super::streams::WaferGraph;
use super::{Options, estimate, plan, with_buffers};
use quadrille_isa::wafer::Machine;

/// Numbers of lanes to try. Those of many small divisors fit the images of most models.
pub(crate) const LANES: [usize; 12] = [2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 56];

/// Lanes must save this part of the time at least.
const GAIN: f64 = 0.7;

/// And so many cycles: where lanes part and meet, columns wait for each other, which the estimate does not count.
const SEAMS: u64 = 1_000;

/// More lanes are no use for less than this.
pub(crate) const ENOUGH: f64 = 1.25;

/// Part of the mesh that kernels may fill: the rest is for routes.
const FILL: f64 = 0.85;

/// Plans to place before the model is placed without lanes.
const ATTEMPTS: usize = 3;

/// Cycles in lanes at most, of what takes so many without.
pub(crate) fn worth(plain: u64) -> u64 {
    ((plain as f64 * GAIN) as u64).min(plain.saturating_sub(SEAMS))
}

/// Places the model in as many lanes as make it fastest.
pub(crate) fn fastest(
    mut g: WaferGraph,
    images: u64,
    m: &Machine,
    options: &Options,
) -> Result<(WaferGraph, Placement, Wires), CompileError> {
    let room = (f64::from(m.geometry.width_pes) * f64::from(m.geometry.height_pes) * FILL) as u64;
    let cost = |g: &mut WaferGraph| -> Result<(u64, bool), CompileError> {
        let choices = plan::all_choices(g, m, options.max_pes_per_kernel)?;
        plan::choose(g, &choices, 1.0);
        let mut e = estimate::estimate(g, images, m);
        let mut slack = 1.0;
        while e.pes > room && slack < 64.0 {
            slack *= 1.25;
            plan::choose(g, &choices, slack);
            e = estimate::estimate(g, images, m);
        }
        Ok((e.cycles, e.pes <= room))
    };
    let plain = cost(&mut g);
    let numbers: Vec<usize> = match options.lanes {
        Some(n) => vec![n],
        None => LANES.into_iter().filter(|&n| n * 8 <= m.geometry.height_pes as usize).collect(),
    };
    let mut plans: Vec<(u64, WaferGraph)> = Vec::new();
    for lanes in numbers {
        let Some(mut woven) = in_lanes(&g, lanes) else { continue };
        match cost(&mut woven) {
            Ok((cycles, true)) => plans.push((cycles, woven)),
            _ => continue,
        }
    }
    let limit = match (&plain, options.lanes) {
        (Ok((cycles, true)), None) => worth(*cycles),
        _ => u64::MAX,
    };
    plans.retain(|p| p.0 <= limit);
    // The fewest lanes among those that are about as fast as the fastest: fewer PEs, of longer vectors.
    let good = plans.iter().map(|p| p.0).min().unwrap_or(0) as f64 * ENOUGH;
    plans.sort_by_key(|p| if p.0 as f64 <= good { 0 } else { p.0 });
    for (_, mut woven) in plans.into_iter().take(ATTEMPTS) {
        if let Ok((placement, wires)) = with_buffers(&mut woven, m, options) {
            return Ok((woven, placement, wires));
        }
    }
    let (placement, wires) = with_buffers(&mut g, m, options)?;
    Ok((g, placement, wires))
}
