//! Small programs made shorter: tensors are tried in other places, one after another, and each stays where the schedule
//! of the whole program is shortest.
//!
//! The length of a chain of few rows is that of its hops and of what it waits for at ports, which no rule for single
//! tensors foresees. Knows whole schedules alone; where a tensor can lie is `sched::memory`'s matter.

use crate::sched::{self, Hints, Schedule, Wish};
use crate::tiled::{TensorId, TiledGraph};
use quadrille_isa::tsp::{Hemisphere, Machine};
use rayon::prelude::*;

/// Instructions placed at most, in all schedules that are tried for a program: the time that they take, at about a microsecond each.
const BUDGET: usize = 300_000;

/// Instructions of a program at most: schedules of longer ones take more time for each.
const SMALL: usize = 1_000;

/// What a schedule costs however few its instructions are, in instructions.
const SET_UP: usize = 100;

/// Chunks into which rows are cut.
const CUTS: [u32; 3] = [1, 2, 4];

/// How the schedules that are tried go on.
const WAY: sched::Way = crate::PLAIN_WAYS[2];

/// A schedule's length; of equals, one whose units begin their work earlier leaves more to gain.
type Score = (u32, u64);

fn score(s: &Schedule) -> Score {
    (s.placements.end(), s.placements.begins())
}

/// The shortest schedule found from a first one within [`BUDGET`]; the first one where the program is not small, where it looks up, or
/// where that would not do to try all tensors.
pub(crate) fn polish(g: &TiledGraph, m: &Machine, plan: crate::Plan, first: Schedule) -> Schedule {
    let all = (0..g.tensors.len() as u32).map(TensorId);
    let tensors: Vec<TensorId> = all.filter(|&t| first.memory.may_lie_anywhere(g, t)).collect();
    let last = first.memory.slices() - 1;
    let times = first.times.clone();
    let mut left = BUDGET / (first.placements.insts.len() + SET_UP);
    let mut least = score(&first);
    let mut wishes: Vec<Option<Wish>> = vec![None; g.tensors.len()];
    let mut best = first;
    // Sides, and slices of each.
    let places = [0, last / 2, last].map(|slice| [Hemisphere::East, Hemisphere::West].map(|side| (side, slice)));
    let places = places.concat();
    // Rows at addresses that are made in the run: what lies beside a table decides which bursts meet.
    let looks_up = g.tensors.iter().any(|t| t.table);
    if best.placements.insts.len() > SMALL || looks_up || tensors.len() * (places.len() + 1) > left {
        return best;
    }
    loop {
        let before = least;
        for &t in &tensors {
            let (number, weights) = (t.0 as usize, g.tensor(t).weights);
            let spread = best.memory.copies(t) > 1 && !weights;
            let elsewhere = |here: Option<Wish>| -> Vec<Wish> {
                let like = here.unwrap_or(Wish::at(Hemisphere::East, 0));
                let near = places.iter().map(|&(side, slice)| Wish { side, slice, both: false, ..like });
                let both = places.iter().map(|&(side, slice)| Wish { side, slice, both: true, ..like });
                near.chain(both.filter(|_| spread)).collect()
            };
            let otherwise = |here: Option<Wish>| -> Vec<Wish> {
                let Some(here) = here else { return Vec::new() };
                let cuts = &CUTS[..if weights { 1 } else { CUTS.len() }];
                let cut = cuts.iter().flat_map(|&chunks| [0, 1].map(|bank| Wish { bank, chunks, ..here }));
                cut.chain([Wish { meets: !here.meets, ..here }]).collect()
            };
            let kinds: [&dyn Fn(Option<Wish>) -> Vec<Wish>; 2] = [&elsewhere, &otherwise];
            for kind in kinds {
                let mut asked = kind(wishes[number]);
                asked.retain(|&w| Some(w) != wishes[number]);
                if asked.len() > left {
                    return best;
                }
                left -= asked.len();
                let tried = asked.par_iter().map(|&wish| {
                    let mut wishes = wishes.clone();
                    wishes[number] = Some(wish);
                    // What finds no place is no better.
                    sched::schedule(g, m, plan, &[WAY], &Hints::wishing(&times, wishes)).ok()
                });
                let tried: Vec<Option<Schedule>> = tried.collect();
                let scored = tried.into_iter().zip(asked).filter_map(|(s, w)| s.map(|s| (score(&s), w, s)));
                // The first of equals.
                let found = scored.reduce(|a, b| if b.0 < a.0 { b } else { a });
                if let Some((score, wish, schedule)) = found.filter(|f| f.0 < least) {
                    (least, best, wishes[number]) = (score, schedule, Some(wish));
                }
            }
        }
        if least == before {
            return best;
        }
    }
}
