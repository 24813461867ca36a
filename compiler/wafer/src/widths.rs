//! How many bands and lanes: every number is planned, and the fastest that has a place and routes is taken.

use super::bands::in_bands;
use super::emit::Wires;
use super::error::CompileError;
use super::lanes::in_lanes;
use super::place::Placement;
use super::streams::WaferGraph;
use super::{Options, estimate, plan, sums, with_buffers};
use quadrille_isa::wafer::Machine;
use std::cell::Cell;

/// Numbers of lanes to try. Those of many small divisors fit the images of most models.
pub(crate) const LANES: [usize; 12] = [2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 56];

/// Numbers of bands to try, each with every number of lanes.
const BANDS: [usize; 5] = [1, 2, 3, 4, 7];

/// Most parts of a sequence to try, since streams of more find no colors, and how much more of them the next number has at least.
const MOST_PARTS: usize = 16;
const MORE_PARTS: f64 = 1.5;

/// How often the time of kernels is halved where one image alone waits for each of them, and what that must gain.
const MOST_HASTE: u32 = 4;
const WORTH_HASTE: f64 = 1.1;

/// Most groups of the heads of an attention, and what one more must gain.
const MOST_HEADS: usize = super::heads::MOST;
const ENOUGH_HEADS: f64 = 1.1;

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

/// A batch, and the model for a part of it.
pub(crate) struct Batch<'a> {
    pub(crate) images: u64,
    /// The model for the images of one of so many groups, where it can be told from that of others.
    pub(crate) group: &'a dyn Fn(usize) -> Option<WaferGraph>,
    /// So many of them side by side.
    pub(crate) in_groups: &'a dyn Fn(&WaferGraph, usize) -> WaferGraph,
    /// Rows of the model's sequence, and the model with them in so many parts and heads in so many groups, where they can be.
    pub(crate) rows: usize,
    pub(crate) sequence: &'a dyn Fn(usize, usize) -> Option<WaferGraph>,
}

/// The model in parts, and what is expected of it: cycles of the run, or from one image of a batch to the next.
struct Plan {
    cycles: u64,
    groups: usize,
    bands: usize,
    lanes: usize,
    /// Parts of a sequence.
    parts: usize,
    graph: WaferGraph,
}

/// What parts must take at most, where the model takes so many cycles without.
pub(crate) fn worth(cycles: u64) -> u64 {
    ((cycles as f64 * GAIN) as u64).min(cycles.saturating_sub(SEAMS))
}

/// Of those that are about as fast as the fastest the one with fewest bands, then with fewest lanes and groups comes first:
/// fewer streams across the mesh, and fewer PEs, of longer vectors.
fn best_first(plans: &mut [Plan]) {
    let good = plans.iter().map(|p| p.cycles).min().unwrap_or(0) as f64 * ENOUGH;
    plans.sort_by_key(|p| match p.cycles as f64 <= good {
        true => (0, p.bands as u64, p.lanes * p.groups * p.parts),
        false => (1, p.cycles, 0),
    });
}

/// Numbers of groups of so many images to try.
fn groups_of(images: usize, options: &Options) -> Vec<usize> {
    let all = (2..=images).filter(|n| images.is_multiple_of(*n));
    match (options.groups, options.bands) {
        (Some(n), _) => all.filter(|&k| k == n).collect(),
        (None, Some(_)) => Vec::new(),
        (None, None) if options.lanes.is_some() || options.sequence.is_some() => Vec::new(),
        (None, None) => all.collect(),
    }
}

/// Chooses the cuts of kernels, and how much haste there is, so that they fill no more than so many PEs.
fn settled(g: &mut WaferGraph, choices: &plan::Choices, images: u64, room: u64, m: &Machine) -> estimate::Estimate {
    let mut with = |haste: u32| {
        g.haste = haste;
        plan::choose(g, choices, 1.0);
        let mut slack = 1.0;
        while estimate::pes(g) > room && slack < 64.0 {
            slack *= 1.25;
            plan::choose(g, choices, slack);
        }
        estimate::estimate(g, images, 1, m)
    };
    // In a batch the slowest kernel alone tells the time from image to image.
    let most = if images == 1 { MOST_HASTE } else { 0 };
    let (mut best, mut taken) = (with(0), 0);
    for haste in 1..=most {
        let e = with(haste);
        if e.pes <= room && (e.cycles as f64 * WORTH_HASTE) < best.cycles as f64 {
            (best, taken) = (e, haste);
        }
    }
    // The graph is left as the last one tried.
    if taken == most { best } else { with(taken) }
}

/// Numbers of parts of a sequence of so many rows to try.
fn parts_of(rows: usize, options: &Options) -> Vec<usize> {
    let mut last = 1.0;
    let all = (2..=MOST_PARTS.min(rows / 2)).filter(|&n| {
        let takes = rows.is_multiple_of(n) && n as f64 >= last * MORE_PARTS;
        last = if takes { n as f64 } else { last };
        takes
    });
    match options.sequence {
        Some(n) => vec![n].into_iter().filter(|&n| n > 1 && rows.is_multiple_of(n)).collect(),
        None if options.lanes.is_some() || options.bands.is_some() || options.groups.is_some() => Vec::new(),
        None => all.collect(),
    }
}

/// A model with its places and routes, in so many groups.
type Placed = (WaferGraph, Placement, Wires, usize);

/// Places the model in as many groups, bands and lanes as make it fastest, sums in parts where that is faster.
pub(crate) fn fastest(
    g: WaferGraph,
    batch: &Batch<'_>,
    m: &Machine,
    options: &Options,
) -> Result<Placed, CompileError> {
    let (whole, quickened) = (g.clone(), Cell::new(false));
    match placed(g, batch, m, options, &quickened) {
        // More kernels have more streams: there are places for all whose sums are whole, maybe.
        Err(_) if quickened.get() => placed(whole, batch, m, &Options { sums: Some(1), ..options.clone() }, &quickened),
        result => result,
    }
}

fn placed(
    mut g: WaferGraph,
    batch: &Batch<'_>,
    m: &Machine,
    options: &Options,
    quickened: &Cell<bool>,
) -> Result<Placed, CompileError> {
    let images = batch.images;
    let room = (f64::from(m.geometry.width_pes) * f64::from(m.geometry.height_pes) * FILL) as u64;
    let planned = |g: &mut WaferGraph, groups: usize| -> Result<(u64, bool), CompileError> {
        let (images, room) = (images / groups as u64, room / groups as u64);
        let choices = plan::all_choices(g, m, options.max_pes_per_kernel)?;
        let e = settled(g, &choices, images, room, m);
        // A batch fills the pipeline.
        let cycles = if images * groups as u64 > 1 { e.interval_cycles / groups as u64 } else { e.cycles };
        Ok((cycles, e.pes <= room))
    };
    // Sums in as many kernels as the user wants, as fit, and as make it faster.
    let cost = |g: &mut WaferGraph, groups: usize| -> Result<(u64, bool), CompileError> {
        if let Some(parts) = options.sums {
            sums::in_parts(g, parts);
        }
        sums::fit(g, m, options.max_pes_per_kernel);
        let whole = planned(g, groups)?;
        if options.sums.is_some() {
            return Ok(whole);
        }
        let (mut best, mut taken) = (whole, None);
        for halvings in 1..=sums::MOST_HALVINGS {
            let mut apart = g.clone();
            if !sums::quicken(&mut apart, halvings, m, options.max_pes_per_kernel) {
                break;
            }
            let Ok(faster) = planned(&mut apart, groups) else { break };
            if (!faster.1, faster.0) < (!best.1, best.0) {
                (best, taken) = (faster, Some(apart));
            }
        }
        if let Some(apart) = taken {
            *g = apart;
            quickened.set(true);
            return Ok(best);
        }
        Ok(whole)
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
            if let Ok((cycles, true)) = cost(&mut graph, 1) {
                plans.push(Plan { cycles, groups: 1, bands, lanes, parts: 1, graph });
            }
        }
    }
    for groups in groups_of(images as usize, options) {
        let Some(one) = (batch.group)(groups) else { break };
        for lanes in [1].into_iter().chain(numbers.iter().copied()).filter(|&n| fits(n * groups)) {
            let Some(mut one) = (if lanes == 1 { (batch.group)(groups) } else { in_lanes(&one, lanes) }) else {
                continue;
            };
            if let Ok((cycles, true)) = cost(&mut one, groups) {
                let graph = (batch.in_groups)(&one, groups);
                plans.push(Plan { cycles, groups, bands: 1, lanes, parts: 1, graph });
            }
        }
    }
    let mut fewer_parts = u64::MAX;
    for parts in parts_of(batch.rows, options).into_iter().filter(|&n| fits(n)) {
        let mut least = u64::MAX;
        for heads in 1..=MOST_HEADS {
            let Some(mut graph) = (batch.sequence)(parts, heads) else { continue };
            sums::fit(&mut graph, m, options.max_pes_per_kernel);
            let Ok((cycles, true)) = planned(&mut graph, 1) else { continue };
            // Smaller groups are more kernels.
            if cycles as f64 * ENOUGH_HEADS > least as f64 {
                break;
            }
            least = cycles;
            plans.push(Plan { cycles, groups: 1, bands: 1, lanes: heads, parts, graph });
        }
        // More parts gain less and less.
        if least as f64 * ENOUGH_HEADS > fewer_parts as f64 {
            break;
        }
        fewer_parts = least;
    }
    if let Some(n) = options.groups.filter(|&n| n > 1) {
        plans.retain(|p| p.groups == n);
    }
    if let Some(n) = options.sequence.filter(|&n| n > 1) {
        plans.retain(|p| p.parts == n);
    }
    // Groups are copies of the same weights: nothing but speed is for them.
    let others = plans.iter().filter(|p| p.groups == 1).map(|p| p.cycles).min().unwrap_or(u64::MAX);
    plans.retain(|p| p.groups == 1 || p.cycles < others);
    // Lanes and bands are made of whole sums.
    let plain = cost(&mut g, 1);
    let free = [options.lanes, options.bands, options.groups, options.sequence].iter().all(Option::is_none);
    let limit = match &plain {
        Ok((cycles, true)) if free => worth(*cycles),
        _ => u64::MAX,
    };
    plans.retain(|p| p.cycles <= limit);
    let lanes_alone = plans.iter().filter(|p| p.bands == 1 && p.groups == 1).map(|p| p.cycles).min();
    // Bands come with more streams across the mesh than lanes do: they must be worth it once more.
    if let (true, Some(lanes_alone)) = (free, lanes_alone) {
        plans.retain(|p| p.bands == 1 || p.cycles <= worth(lanes_alone));
    }
    // Where groups and parts of a sequence find no place, there are the plans without.
    let (mut grouped, mut whole): (Vec<Plan>, Vec<Plan>) = plans.into_iter().partition(|p| p.groups > 1 || p.parts > 1);
    best_first(&mut grouped);
    best_first(&mut whole);
    let last = whole.iter().position(|p| p.bands == 1).unwrap_or(0).max(ATTEMPTS - 1);
    let whole = whole.into_iter().enumerate().filter(|(i, _)| *i < ATTEMPTS - 1 || *i == last);
    let grouped = grouped.into_iter().map(|p| (p, true));
    let (mut attempts, mut most, mut refused) = (0, usize::MAX, None);
    for (Plan { mut graph, groups, lanes, parts, .. }, in_groups) in grouped.chain(whole.map(|(_, p)| (p, false))) {
        if in_groups && (attempts == ATTEMPTS || groups * lanes * parts > most) {
            continue;
        }
        match with_buffers(&mut graph, m, options) {
            Ok((placement, wires)) => return Ok((graph, placement, wires, groups)),
            // Half as many parts have twice as many rows each, and their streams as many more ways.
            Err(e) => {
                (attempts, most) = (attempts + 1, groups * lanes * parts / 2);
                refused.get_or_insert(e);
            }
        }
    }
    let wanted = [options.lanes, options.bands, options.groups, options.sequence];
    if let Some(e) = refused.filter(|_| wanted.iter().flatten().any(|&n| n > 1)) {
        return Err(e);
    }
    let (placement, wires) = with_buffers(&mut g, m, options)?;
    Ok((g, placement, wires, 1))
}
