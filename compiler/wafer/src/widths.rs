//! How many bands and lanes: every number is planned, and the fastest that has a place and routes is taken.

use super::bands::in_bands;
use super::emit::Wires;
use super::error::CompileError;
use super::lanes::in_lanes;
use super::place::Placement;
use super::streams::WaferGraph;
use super::{Options, estimate, plan, sums, with_buffers};
use quadrille_isa::wafer::Machine;

/// Numbers of lanes to try. Those of many small divisors fit the images of most models.
pub(crate) const LANES: [usize; 12] = [2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 56];

/// Numbers of bands to try, each with every number of lanes.
const BANDS: [usize; 5] = [1, 2, 3, 4, 7];

/// Lanes must save this part of the time at least.
const GAIN: f64 = 0.7;

/// And so many cycles: where lanes part and meet, columns wait for each other, which the estimate does not count.
const SEAMS: u64 = 1_000;

/// More lanes are no use for less than this.
pub(crate) const ENOUGH: f64 = 1.25;

/// Part of the mesh that kernels may fill: the rest is for routes.
const FILL: f64 = 0.85;

/// Rows of the mesh that a lane of a band has at least.
const LEAST_ROWS: usize = 8;

/// Plans to place before the model is placed without lanes.
const ATTEMPTS: usize = 3;

/// The model in parts, and what is expected of it: cycles of the run, or from one image of a batch to the next.
struct Plan {
    cycles: u64,
    bands: usize,
    lanes: usize,
    graph: WaferGraph,
}

/// What parts must take at most, where the model takes so many cycles without.
pub(crate) fn worth(cycles: u64) -> u64 {
    ((cycles as f64 * GAIN) as u64).min(cycles.saturating_sub(SEAMS))
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
        sums::fit(g, m, options.max_pes_per_kernel);
        let choices = plan::all_choices(g, m, options.max_pes_per_kernel)?;
        plan::choose(g, &choices, 1.0);
        let mut e = estimate::estimate(g, images, m);
        let mut slack = 1.0;
        while e.pes > room && slack < 64.0 {
            slack *= 1.25;
            plan::choose(g, &choices, slack);
            e = estimate::estimate(g, images, m);
        }
        // A batch fills the pipeline.
        Ok((if images > 1 { e.interval_cycles } else { e.cycles }, e.pes <= room))
    };
    let numbers: Vec<usize> = match options.lanes {
        Some(n) => vec![n],
        None => LANES.to_vec(),
    };
    let fits = |parts: usize| parts * LEAST_ROWS <= m.geometry.height_pes as usize || options.lanes.is_some();
    let mut plans: Vec<Plan> = Vec::new();
    for bands in options.bands.map_or(BANDS.to_vec(), |n| vec![n]) {
        let banded = if bands > 1 { in_bands(&g, bands) } else { None };
        if bands > 1 && banded.is_none() {
            continue;
        }
        let graph = banded.as_ref().unwrap_or(&g);
        for &lanes in numbers.iter().filter(|&n| fits(n * bands)) {
            let parts = if bands > 1 && lanes == 1 { in_bands(&g, bands) } else { in_lanes(graph, lanes) };
            let Some(mut graph) = parts else { continue };
            if let Ok((cycles, true)) = cost(&mut graph) {
                plans.push(Plan { cycles, bands, lanes, graph });
            }
        }
    }
    // Lanes and bands are made of whole sums.
    let plain = cost(&mut g);
    let free = options.lanes.is_none() && options.bands.is_none();
    let limit = match &plain {
        Ok((cycles, true)) if free => worth(*cycles),
        _ => u64::MAX,
    };
    plans.retain(|p| p.cycles <= limit);
    let lanes_alone = plans.iter().filter(|p| p.bands == 1).map(|p| p.cycles).min();
    // Bands come with more streams across the mesh than lanes do: they must be worth it once more.
    if let (true, Some(lanes_alone)) = (free, lanes_alone) {
        plans.retain(|p| p.bands == 1 || p.cycles <= worth(lanes_alone));
    }
    // Of those that are about as fast as the fastest the one with fewest bands, then with fewest lanes: fewer streams across
    // the mesh, and fewer PEs, of longer vectors.
    let good = plans.iter().map(|p| p.cycles).min().unwrap_or(0) as f64 * ENOUGH;
    plans.sort_by_key(|p| if p.cycles as f64 <= good { (0, p.bands as u64, p.lanes) } else { (1, p.cycles, 0) });
    let last = plans.iter().position(|p| p.bands == 1).unwrap_or(0).max(ATTEMPTS - 1);
    let tried = plans.into_iter().enumerate().filter(|(i, _)| *i < ATTEMPTS - 1 || *i == last);
    for (_, Plan { mut graph, .. }) in tried {
        match with_buffers(&mut graph, m, options) {
            Ok((placement, wires)) => return Ok((graph, placement, wires)),
            Err(e) if !free => return Err(e),
            Err(_) => continue,
        }
    }
    let (placement, wires) = with_buffers(&mut g, m, options)?;
    Ok((g, placement, wires))
}
