//! How many bands and lanes: every number is planned, and the fastest that has a place and routes is taken.

use super::bands::in_bands;
use super::emit::Wires;
use super::error::CompileError;
use super::estimate::{self, Timing};
use super::lanes::in_lanes;
use super::place::Placement;
use super::plan::{self, Cutter};
use super::streams::WaferGraph;
use super::{Options, sums, with_buffers};
use quadrille_isa::wafer::Machine;
use rayon::prelude::*;

/// Numbers of lanes to try. Those of many small divisors fit the images of most models.
pub(crate) const LANES: [usize; 12] = [2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 56];

/// Numbers of bands to try, each with every number of lanes.
const BANDS: [usize; 5] = [1, 2, 3, 4, 7];

/// Most parts of a sequence to try, since streams of more find no colors, and how much more of them the next number has at least.
const MOST_PARTS: usize = 16;
const MORE_PARTS: f64 = 1.5;

/// How often the time of kernels is halved where one image alone waits for each of them, and what that must gain.
const MOST_HASTE: u32 = 4;
const WORTH_HASTE: f64 = 1.05;

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
const LEAST_ROWS: usize = 4;

/// Plans to place before the model is placed without lanes.
const ATTEMPTS: usize = 3;

/// A batch, and the model for a part of it.
pub(crate) struct Batch<'a> {
    pub(crate) images: u64,
    /// The model for the images of one of so many groups, where it can be told from that of others.
    pub(crate) group: &'a (dyn Fn(usize) -> Option<WaferGraph> + Sync),
    /// So many of them side by side.
    pub(crate) in_groups: &'a (dyn Fn(&WaferGraph, usize) -> WaferGraph + Sync),
    /// Rows of the model's sequence, and the model with them in so many parts and heads in so many groups, where they can be.
    pub(crate) rows: usize,
    pub(crate) sequence: &'a (dyn Fn(usize, usize) -> Option<WaferGraph> + Sync),
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
    apart: bool,
}

/// What is expected of a graph whose kernels are cut.
#[derive(Clone, Copy)]
struct Expected {
    /// Of the run, or from one image of a batch to the next.
    cycles: u64,
    /// There are PEs enough.
    fits: bool,
    /// Sums are in more kernels than they must be.
    apart: bool,
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

/// Chooses the cuts of kernels, and how much haste there is, so that they fill no more than so many PEs. What is expected then, and
/// PEs.
fn settled(g: &mut WaferGraph, choices: &plan::Choices, images: u64, room: u64) -> (Timing, u64) {
    let mut with = |haste: u32| {
        g.haste = haste;
        let mut busy = plan::choose(g, choices, 1.0);
        let mut slack = 1.0;
        while estimate::pes(g) > room && slack < 64.0 {
            slack *= 1.25;
            busy = plan::choose(g, choices, slack);
        }
        (estimate::timing(g, &busy, images, 1), estimate::pes(g))
    };
    // In a batch the slowest kernel alone tells the time from image to image.
    let most = if images == 1 { MOST_HASTE } else { 0 };
    let (mut best, mut taken) = (with(0), 0);
    for haste in 1..=most {
        let (time, pes) = with(haste);
        if pes <= room && (time.cycles as f64 * WORTH_HASTE) < best.0.cycles as f64 {
            (best, taken) = ((time, pes), haste);
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
    let cutter = Cutter::new(m, options.max_pes_per_kernel);
    let (placed, apart) = Planner { batch, machine: m, cutter: &cutter, options }.placed(g.clone());
    match placed {
        // More kernels have more streams: there are places for all whose sums are whole, maybe.
        Err(_) if apart => {
            let options = &Options { sums: Some(1), ..options.clone() };
            Planner { batch, machine: m, cutter: &cutter, options }.placed(g).0
        }
        result => result,
    }
}

/// Plans a model in every way that the options leave.
struct Planner<'a> {
    batch: &'a Batch<'a>,
    machine: &'a Machine,
    cutter: &'a Cutter<'a>,
    options: &'a Options,
}

impl Planner<'_> {
    /// Cuts the kernels of one of so many groups.
    fn planned(&self, g: &mut WaferGraph, groups: usize) -> Result<Expected, CompileError> {
        let mesh = &self.machine.geometry;
        let room = (f64::from(mesh.width_pes) * f64::from(mesh.height_pes) * FILL) as u64 / groups as u64;
        let images = self.batch.images / groups as u64;
        let choices = self.cutter.all_choices(g)?;
        let (time, pes) = settled(g, &choices, images, room);
        // A batch fills the pipeline.
        let cycles = if images * groups as u64 > 1 { time.interval_cycles / groups as u64 } else { time.cycles };
        Ok(Expected { cycles, fits: pes <= room, apart: false })
    }

    /// The same with sums in as many kernels as the user wants, as fit, and as make it faster.
    fn cost(&self, g: &mut WaferGraph, groups: usize) -> Result<Expected, CompileError> {
        if let Some(parts) = self.options.sums {
            sums::in_parts(g, parts);
        }
        sums::fit(g, self.cutter);
        let whole = self.planned(g, groups)?;
        if self.options.sums.is_some() {
            return Ok(whole);
        }
        let (mut best, mut taken) = (whole, None);
        for halvings in 1..=sums::MOST_HALVINGS {
            let mut apart = g.clone();
            if !sums::quicken(&mut apart, halvings, self.cutter) {
                break;
            }
            let Ok(faster) = self.planned(&mut apart, groups) else { break };
            if (!faster.fits, faster.cycles) < (!best.fits, best.cycles) {
                (best, taken) = (Expected { apart: true, ..faster }, Some(apart));
            }
        }
        if let Some(apart) = taken {
            *g = apart;
        }
        Ok(best)
    }

    /// Numbers of lanes to try.
    fn numbers(&self) -> Vec<usize> {
        self.options.lanes.map_or(LANES.to_vec(), |n| vec![n])
    }

    /// True when there are rows of the mesh for so many parts.
    fn has_rows(&self, parts: usize) -> bool {
        parts * LEAST_ROWS <= self.machine.geometry.height_pes as usize || self.options.lanes.is_some()
    }

    /// Images in bands of rows and lanes of columns.
    fn in_bands_and_lanes(&self, g: &WaferGraph) -> Vec<Plan> {
        let bands = self.options.bands.map_or(BANDS.to_vec(), |n| vec![n]);
        let banded = bands.into_iter().map(|n| (n, if n > 1 { in_bands(g, n) } else { Some(g.clone()) }));
        let banded: Vec<(usize, WaferGraph)> = banded.filter_map(|(n, g)| Some((n, g?))).collect();
        let numbers = self.numbers();
        let ways = banded.iter().flat_map(|b| numbers.iter().map(move |&lanes| (b, lanes)));
        let ways: Vec<_> = ways.filter(|((bands, _), lanes)| self.has_rows(lanes * bands)).collect();
        let plan = |((bands, graph), lanes): ((usize, &WaferGraph), usize)| {
            let mut graph = if bands > 1 && lanes == 1 { graph.clone() } else { in_lanes(graph, lanes)? };
            let e = self.cost(&mut graph, 1).ok().filter(|e| e.fits)?;
            Some(Plan { cycles: e.cycles, groups: 1, bands, lanes, parts: 1, graph, apart: e.apart })
        };
        ways.into_par_iter().filter_map(|(b, lanes)| plan(((b.0, &b.1), lanes))).collect()
    }

    /// The images of a batch in groups, in lanes.
    fn in_groups(&self) -> Vec<Plan> {
        let groups = groups_of(self.batch.images as usize, self.options).into_iter();
        let ones: Vec<(usize, WaferGraph)> = groups.map_while(|n| Some((n, (self.batch.group)(n)?))).collect();
        let numbers: Vec<usize> = [1].into_iter().chain(self.numbers()).collect();
        let ways = ones.iter().flat_map(|one| numbers.iter().map(move |&lanes| (one, lanes)));
        let ways: Vec<_> = ways.filter(|((groups, _), lanes)| self.has_rows(lanes * groups)).collect();
        let plan = |groups: usize, one: &WaferGraph, lanes: usize| {
            let mut one = if lanes == 1 { one.clone() } else { in_lanes(one, lanes)? };
            let e = self.cost(&mut one, groups).ok().filter(|e| e.fits)?;
            let graph = (self.batch.in_groups)(&one, groups);
            Some(Plan { cycles: e.cycles, groups, bands: 1, lanes, parts: 1, graph, apart: e.apart })
        };
        ways.into_par_iter().filter_map(|((groups, one), lanes)| plan(*groups, one, lanes)).collect()
    }

    /// The rows of a sequence in so many parts, with heads in more and more groups; the fewest cycles of them.
    fn in_parts(&self, parts: usize) -> (Vec<Plan>, u64) {
        let (mut plans, mut least) = (Vec::new(), u64::MAX);
        for heads in 1..=MOST_HEADS {
            let Some(mut graph) = (self.batch.sequence)(parts, heads) else { continue };
            if let Some(parts) = self.options.sums {
                sums::in_parts(&mut graph, parts);
            }
            sums::fit(&mut graph, self.cutter);
            let Some(e) = self.planned(&mut graph, 1).ok().filter(|e| e.fits) else { continue };
            // Smaller groups are more kernels.
            if e.cycles as f64 * ENOUGH_HEADS > least as f64 {
                break;
            }
            least = e.cycles;
            plans.push(Plan { cycles: e.cycles, groups: 1, bands: 1, lanes: heads, parts, graph, apart: false });
        }
        (plans, least)
    }

    /// The rows of a sequence in parts.
    fn in_sequences(&self) -> Vec<Plan> {
        let parts = parts_of(self.batch.rows, self.options).into_iter().filter(|&n| self.has_rows(n));
        let all: Vec<(Vec<Plan>, u64)> = parts.collect::<Vec<_>>().into_par_iter().map(|n| self.in_parts(n)).collect();
        let (mut plans, mut fewer_parts) = (Vec::new(), u64::MAX);
        for (some, least) in all {
            plans.extend(some);
            // More parts gain less and less.
            if least as f64 * ENOUGH_HEADS > fewer_parts as f64 {
                break;
            }
            fewer_parts = least;
        }
        plans
    }

    /// The fastest plan that has a place and routes; and whether some plan has sums in more kernels than they must be in.
    fn placed(&self, mut g: WaferGraph) -> (Result<Placed, CompileError>, bool) {
        let mut plans = self.in_bands_and_lanes(&g);
        plans.extend(self.in_groups());
        plans.extend(self.in_sequences());
        let plain = self.cost(&mut g, 1);
        let apart = plans.iter().any(|p| p.apart) || plain.as_ref().is_ok_and(|e| e.apart);
        (self.first_placed(g, plain.ok(), plans), apart)
    }

    /// The first of some plans, the best before others, that has a place and routes; else the model without lanes or parts.
    fn first_placed(
        &self,
        mut g: WaferGraph,
        plain: Option<Expected>,
        mut plans: Vec<Plan>,
    ) -> Result<Placed, CompileError> {
        let options = self.options;
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
        let free = [options.lanes, options.bands, options.groups, options.sequence].iter().all(Option::is_none);
        let limit = match plain {
            Some(e) if free && e.fits => worth(e.cycles),
            _ => u64::MAX,
        };
        plans.retain(|p| p.cycles <= limit);
        let lanes_alone = plans.iter().filter(|p| p.bands == 1 && p.groups == 1).map(|p| p.cycles).min();
        // Bands come with more streams across the mesh than lanes do: they must be worth it once more.
        if let (true, Some(lanes_alone)) = (free, lanes_alone) {
            plans.retain(|p| p.bands == 1 || p.cycles <= worth(lanes_alone));
        }
        // Where groups and parts of a sequence find no place, there are the plans without.
        let (mut grouped, mut whole): (Vec<Plan>, Vec<Plan>) =
            plans.into_iter().partition(|p| p.groups > 1 || p.parts > 1);
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
            match with_buffers(&mut graph, self.cutter, self.machine) {
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
        let (placement, wires) = with_buffers(&mut g, self.cutter, self.machine)?;
        Ok((g, placement, wires, 1))
    }
}
