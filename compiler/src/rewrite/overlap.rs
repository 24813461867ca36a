//! Choosing by the bound on overlap: the busiest resource of a region, or its longest chain of operations that wait for each other.
//!
//! A sum over terms has good searches and proofs (`extract`, `exact`); the bound on overlap is no sum. So resources and the chain get
//! weights, Lagrange's way: a sum of busy cycles by weight is below the busiest resource, whatever the weights, and
//! near it where they are right. Each round takes the cheapest choice by the weights of the one before, and moves the weights to what
//! is busiest in it. Local search goes on by the real score: the bound, and a part of the sum ([`Objective::sum_sixteenths`]), since
//! work beside the longest chain is not free either. Rounds are counted, never timed.

use super::cost::{Bound, Objective, RESOURCES, Times};
use super::exact;
use super::extract::{self, Choice, Goal, Problem, Solution, Solved, Walk};

/// Rounds of weights.
const ROUNDS: usize = 4;

/// Classes of a region in which every round begins anew; in larger ones it goes on from the one before, and there are half as many.
const ANEW: usize = 600;

/// Weights are in parts of this.
const WHOLE: u64 = 256;

/// What all scores are multiplied by, so that a part of the sum is whole.
const PARTS: u64 = 16;

/// The bound of a choice whose needed classes are known, operands first, and the latencies of all.
pub(super) fn bound(p: &Problem, s: &Solution, order: &[u32], times: &mut [Times]) -> (Bound, u64) {
    let (mut b, mut latencies) = (Bound::default(), 0);
    for &c in order {
        let o = &p.classes[c as usize][s[c as usize] as usize];
        let t = Times::after(o.children.iter().map(|&k| times[k as usize]), o.cycles, o.wait, p.shared);
        times[c as usize] = t;
        b.add(o.cycles, t, p.shared);
        latencies += o.latency();
    }
    (b, latencies)
}

/// The score of a choice with so many cycles by the bound and such a sum, in parts of a unit.
pub(super) fn score(bound_cycles: u64, sum: u64, objective: Objective) -> u64 {
    let bound = extract::in_units(bound_cycles).saturating_mul(if objective == Objective::Sum { 0 } else { PARTS });
    bound.saturating_add(sum.saturating_mul(objective.sum_sixteenths()))
}

/// Cycles of a score.
pub(crate) fn score_to_cycles(score: u64) -> u64 {
    extract::to_cycles(score / PARTS)
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

/// The best choice by the bound on overlap among those found; `None` when no acyclic choice was found.
pub(crate) fn solve(p: &Problem) -> Option<Overlapped> {
    let sum = extract::solve(p)?;
    let mut walk = Walk::new(p.classes.len());
    let first = walk.score(p, &sum.solution, Goal::Overlap)?;
    let (mut score, mut solution) = (first, sum.solution.clone());
    // So nothing is ever worse than it came.
    if p.given.len() == p.classes.len()
        && let Some(given) = walk.score(p, &p.given, Goal::Overlap).filter(|s| *s < first)
    {
        (score, solution) = (given, p.given.clone());
    }
    if p.objective == Objective::Sum {
        let bound = sum.bound.map(|b| self::score(0, b, p.objective).min(score));
        return Some(Overlapped { sum, solution, first, score, bound });
    }
    let weigh = |walk: &mut Walk, found: Solution, solution: &mut Solution, score: &mut u64| {
        if let Some(better) = walk.score(p, &found, Goal::Overlap).filter(|s| s < score) {
            (*solution, *score) = (found, better);
        }
    };
    let mut at = sum.solution.clone();
    let mut weights = Weights::default();
    for round in 0..if p.classes.len() <= ANEW { ROUNDS } else { ROUNDS / 2 } {
        walk.score(p, &at, Goal::Overlap)?;
        let (bound, latencies) = walk.bound(p, &at);
        let was = weights;
        weights = was.next(p, &bound, round);
        if weights == was {
            break;
        }
        let priced = by_weights(p, weights, (bound.chain, latencies));
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
        // Without the chain the sum by weights is below every choice's score.
        let weights = Weights { chain: 0, ..weights.of_resources() };
        let priced = by_weights(p, weights, (0, 0));
        let linear = walk.score(&priced, &solution, Goal::Sum)?;
        let (_, other, weighted) = exact::improve(&priced, linear, solution.clone(), &mut walk);
        weigh(&mut walk, other, &mut solution, &mut score);
        bound = Some(least(p, weighted, sum.bound.unwrap_or(0)).min(score));
    }
    Some(Overlapped { sum, solution, first, score, bound })
}

/// How much resources and the chain count, in parts of [`WHOLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weights {
    busy: [u64; RESOURCES],
    chain: u64,
}

impl Weights {
    /// By how busy they are; each round moves half as far as the one before.
    fn next(self, p: &Problem, b: &Bound, round: usize) -> Weights {
        let most = b.cycles().max(1);
        // The fourth power: what is far from the busiest hardly counts.
        let share = |cycles: u64| {
            let share = u128::from(cycles) * 64 / u128::from(most);
            ((share * share * share * share) >> 12) as u64
        };
        let mut wanted = Weights { busy: [0; RESOURCES], chain: share(b.chain) };
        for r in (0..RESOURCES).filter(|&r| p.shared[r]) {
            wanted.busy[r] = share(b.busy[r]);
        }
        let sum = (wanted.busy.iter().sum::<u64>() + wanted.chain).max(1);
        wanted.each(|w, _| w * WHOLE / sum, wanted);
        if round == 0 {
            return wanted;
        }
        let mut mixed = self;
        mixed.each(|m, w| (m * round as u64 + w) / (round as u64 + 1), wanted);
        mixed
    }

    fn each(&mut self, f: impl Fn(u64, u64) -> u64, other: Weights) {
        self.busy.iter_mut().zip(other.busy).for_each(|(a, b)| *a = f(*a, b));
        self.chain = f(self.chain, other.chain);
    }

    /// What the chain counts shared among resources.
    fn of_resources(self) -> Weights {
        let sum = self.busy.iter().sum::<u64>();
        let mut all = self;
        all.each(|w, _| (w * WHOLE).checked_div(sum).unwrap_or(0), self);
        all
    }
}

/// The problem with prices by weights; latencies count by the part of them that lies on the longest chain.
fn by_weights(p: &Problem, weights: Weights, (chain, latencies): (u64, u64)) -> Problem {
    let on_chain = (weights.chain * chain.min(latencies)).checked_div(latencies).unwrap_or(0);
    let price = |c: &Choice| {
        let busy: u64 = c.cycles.busy.iter().zip(weights.busy).map(|(b, w)| b.saturating_mul(w)).sum();
        let cycles = busy.saturating_add(c.latency().saturating_mul(on_chain));
        let cost = (extract::in_units(cycles) / WHOLE).saturating_mul(PARTS);
        Choice { cost: cost.saturating_add(c.cost.saturating_mul(p.objective.sum_sixteenths())), ..c.clone() }
    };
    let classes = p.classes.iter().map(|c| c.iter().map(price).collect()).collect();
    Problem { classes, roots: p.roots.clone(), given: Solution::new(), ..*p }
}

/// No choice scores less: of the busiest shared resource by the weighted sum, of the others by the least that the busiest
/// operation can be, and of the chain by the shortest.
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
    let chain = most(&|o| o.latency(), u64::saturating_add);
    let own = |r: usize| most(&move |o: &Choice| o.cycles.busy[r], u64::max);
    let alone = (0..RESOURCES).filter(|&r| !p.shared[r]).map(own).max().unwrap_or(0);
    weighted.max(score(alone.max(chain), sum, p.objective))
}
