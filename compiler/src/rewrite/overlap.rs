//! Choosing by the bound on overlap: the busiest resource of a region, and what no overlap hides.
//!
//! A sum over terms has good searches and proofs (`extract`, `exact`); the bound on overlap is no sum. So resources get weights,
//! Lagrange's way: a sum of busy cycles by weight is below the busiest resource, whatever the weights, and
//! near it where they are right. Each round takes the cheapest choice by the weights of the one before, and moves the weights to what
//! is busiest in it. Local search goes on by the real score, the
//! mean of the bound, where nothing waits, and the sum, where nothing overlaps. Of all choices that cost no more by the sum the best by the
//! score is taken: a choice that the bound alone prefers may have much more work beside the longest chain, which schedules pay for
//! (measured: a quarter on an encoder of many small layers). Rounds are counted, never timed.

use super::cost::RESOURCES;
use super::exact;
use super::extract::{self, Choice, Goal, Problem, Solution, Solved, Walk};

/// Rounds of weights.
const ROUNDS: usize = 4;

/// Classes of a region in which every round begins anew; in larger ones it goes on from the one before, and there are half as many.
const ANEW: usize = 600;

/// Weights are in parts of this.
const WHOLE: u64 = 256;

/// The bound of a choice, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    /// Busy cycles by resource: the sum of a shared one, else the most.
    pub(super) busy: [u64; RESOURCES],
    /// Fills along the longest chain.
    pub(super) chain: u64,
    /// Fills of all.
    fills: u64,
}

impl Bound {
    /// Of a choice whose needed classes are known, operands first.
    pub(super) fn of(p: &Problem, s: &Solution, order: &[u32], ready: &mut [u64]) -> Bound {
        let mut b = Bound::default();
        for &c in order {
            let o = &p.classes[c as usize][s[c as usize] as usize];
            for ((sum, own), shared) in b.busy.iter_mut().zip(o.cycles.busy).zip(p.shared) {
                *sum = if shared { *sum + own } else { own.max(*sum) };
            }
            let start = o.children.iter().map(|&k| ready[k as usize]).max().unwrap_or(0);
            ready[c as usize] = start + o.cycles.fill;
            b.chain = b.chain.max(ready[c as usize]);
            b.fills += o.cycles.fill;
        }
        b
    }

    pub(super) fn cycles(&self) -> u64 {
        self.busy.into_iter().max().unwrap_or(0).saturating_add(self.chain)
    }
}

/// A choice by the bound on overlap.
#[derive(Clone, Debug)]
pub(crate) struct Overlapped {
    /// The choice by the sum alone, from which the search started.
    pub(crate) sum: Solved,
    /// An alternative for each class.
    pub(crate) solution: Solution,
    /// Score of the choice by the sum alone.
    pub(crate) first: u64,
    /// Score of this one.
    pub(crate) score: u64,
    /// No choice scores less; `None` where the region is too large to tell.
    pub(crate) bound: Option<u64>,
}

/// The best choice by the bound on overlap among those found that cost no more by the sum; `None` when no acyclic choice was found.
pub(crate) fn solve(p: &Problem) -> Option<Overlapped> {
    let sum = extract::solve(p)?;
    let mut walk = Walk::new(p.classes.len());
    let first = walk.score(p, &sum.solution, Goal::Overlap)?;
    let (mut score, mut solution) = (first, sum.solution.clone());
    let weigh = |walk: &mut Walk, found: Solution, solution: &mut Solution, score: &mut u64| {
        let better = walk.score(p, &found, Goal::Overlap).is_some_and(|s| s < *score);
        if better && walk.score(p, &found, Goal::Sum).is_some_and(|s| s <= sum.cost) {
            *score = walk.score(p, &found, Goal::Overlap).unwrap_or(*score);
            *solution = found;
        }
    };
    let mut at = sum.solution.clone();
    let mut weights = [0; RESOURCES];
    for round in 0..if p.classes.len() <= ANEW { ROUNDS } else { ROUNDS / 2 } {
        walk.score(p, &at, Goal::Overlap)?;
        let bound = walk.bound(p, &at);
        let was = weights;
        weights = next_weights(p, was, &bound, round);
        if weights == was {
            break;
        }
        let priced = by_weights(p, weights, &bound);
        at = if p.classes.len() <= ANEW {
            extract::cheapest(&priced, &mut walk)?.1
        } else {
            let cost = walk.score(&priced, &at, Goal::Sum)?;
            extract::local_search(&priced, cost, at, &mut walk, Goal::Sum).1
        };
        weigh(&mut walk, at.clone(), &mut solution, &mut score);
    }
    let near = extract::local_search(p, score, solution.clone(), &mut walk, Goal::Overlap).1;
    weigh(&mut walk, near, &mut solution, &mut score);
    let mut bound = None;
    if p.classes.len() <= exact::CLASSES {
        // Without fills the sum by weights is below every choice's score.
        let priced = by_weights(p, weights, &Bound::default());
        let linear = walk.score(&priced, &solution, Goal::Sum)?;
        let (_, other, weighted) = exact::improve(&priced, linear, solution.clone(), &mut walk);
        weigh(&mut walk, other, &mut solution, &mut score);
        bound = Some(least(p, weighted, sum.bound.unwrap_or(0)).min(score));
    }
    Some(Overlapped { sum, solution, first, score, bound })
}

/// Weights of shared resources, by how busy they are; each round moves half as far as the one before.
fn next_weights(p: &Problem, was: [u64; RESOURCES], b: &Bound, round: usize) -> [u64; RESOURCES] {
    let most = b.busy.into_iter().max().unwrap_or(0).max(1);
    let mut wanted = [0u64; RESOURCES];
    for r in (0..RESOURCES).filter(|&r| p.shared[r]) {
        // The fourth power: what is far from the busiest hardly counts.
        let share = u128::from(b.busy[r]) * 64 / u128::from(most);
        wanted[r] = ((share * share * share * share) >> 12) as u64;
    }
    let sum: u64 = wanted.iter().sum::<u64>().max(1);
    wanted.iter_mut().for_each(|w| *w = *w * WHOLE / sum);
    if round == 0 {
        return wanted;
    }
    let mut mixed = was;
    mixed.iter_mut().zip(wanted).for_each(|(m, w)| *m = (*m * round as u64 + w) / (round as u64 + 1));
    mixed
}

/// The problem with prices by weights; fills count by the part of them that lies on the longest chain.
fn by_weights(p: &Problem, weights: [u64; RESOURCES], b: &Bound) -> Problem {
    let on_chain = (WHOLE * b.chain).checked_div(b.fills).unwrap_or(0);
    let price = |c: &Choice| {
        let busy: u64 = c.cycles.busy.iter().zip(weights).map(|(b, w)| b.saturating_mul(w)).sum();
        let fill = c.cycles.fill.saturating_mul(on_chain);
        Choice { cost: extract::in_units(busy.saturating_add(fill)) / WHOLE + c.cost, ..c.clone() }
    };
    let classes = p.classes.iter().map(|c| c.iter().map(price).collect()).collect();
    Problem { classes, roots: p.roots.clone(), shared: p.shared }
}

/// No choice scores less: of the busiest shared resource by the weighted sum, of the others by the least that the busiest
/// operation can be; the chain by itself.
fn least(p: &Problem, weighted: u64, sum: u64) -> u64 {
    let n = p.classes.len();
    let most = |of: &dyn Fn(&Choice) -> u64, join: fn(u64, u64) -> u64| {
        let mut least = vec![u64::MAX; n];
        let mut changed = true;
        while changed {
            changed = false;
            for c in (0..n).rev() {
                let best = p.classes[c].iter().map(|o| {
                    let below = o.children.iter().map(|&k| least[k as usize]).max().unwrap_or(0);
                    if below == u64::MAX { below } else { join(below, of(o)) }
                });
                let best = best.min().unwrap_or(u64::MAX);
                changed |= best < least[c];
                least[c] = best.min(least[c]);
            }
        }
        let roots = p.roots.iter().map(|&r| least[r as usize]).filter(|&l| l != u64::MAX);
        roots.max().unwrap_or(0)
    };
    let chain = most(&|o| o.cycles.fill, u64::saturating_add);
    let own = |r: usize| most(&move |o: &Choice| o.cycles.busy[r], u64::max);
    let alone = (0..RESOURCES).filter(|&r| !p.shared[r]).map(own).max().unwrap_or(0);
    weighted.max(extract::in_units(alone).saturating_add(sum)).saturating_add(extract::in_units(chain))
}
