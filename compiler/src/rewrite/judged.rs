//! The extraction whose program takes the fewest cycles, by whoever makes programs.
//!
//! A cost model ranks most forms of a graph rightly, not all: schedules place things side by side that no sum of operations sees.
//! Where programs are made quickly, a few extractions are compiled, and the shortest program decides. Which graphs these are the
//! judge says, by the cost, never by the clock.

use super::cost::{CostModel, GraphCost, Objective};
use super::options::Extraction;
use super::report::{Candidate, RewriteReport};
use super::{RewriteError, RewriteOptions, optimize};
use crate::ir::{Graph, text};
use rayon::prelude::*;

/// How many forms of a graph are worth a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trials {
    /// The first one.
    One,
    /// Where the costs of the graph and of its first form are so near each other that they do not tell which is faster, all that are
    /// near the cheapest.
    Near,
    /// Every candidate.
    All,
}

/// Who makes programs of graphs.
pub trait Judge: Sync {
    /// How many programs of a graph of this cost are made in the time that its compilation may take.
    fn trials(&self, cost: &GraphCost) -> Trials;

    /// Cycles of a graph's program; `None` where there is none.
    fn cycles(&self, g: &Graph) -> Option<u64>;
}

/// Costs that differ by less than this, in hundredths, do not tell which program is shorter: schedules of equal work scatter by as much.
const SCATTER: u64 = 8;

/// True when one cost is above another by no more than schedules scatter.
fn is_near(cycles: u64, best: u64) -> bool {
    cycles <= best.saturating_add(best / 100 * SCATTER)
}

/// True when rewriting changed more than a thousandth of the cost: else the forms are the same work, and one program is as good as another.
fn differs(a: u64, b: u64) -> bool {
    a.abs_diff(b).saturating_mul(1000) > b
}

/// Which of some forms of a graph of cost `before` are worth a program, by place; the first is the one that is taken unseen.
pub fn worth_a_program(
    judge: &dyn Judge,
    objective: Objective,
    before: &GraphCost,
    forms: &[&GraphCost],
) -> Vec<usize> {
    let minimised = |cost: &GraphCost| objective.cycles(cost);
    let best = forms.iter().map(|f| minimised(f)).min().unwrap_or(0);
    match judge.trials(forms[0]).min(judge.trials(before)) {
        Trials::All => (0..forms.len()).collect(),
        Trials::Near
            if is_near(minimised(before), minimised(forms[0])) && differs(minimised(before), minimised(forms[0])) =>
        {
            (0..forms.len()).filter(|&f| is_near(minimised(forms[f]), best)).collect()
        }
        Trials::Near | Trials::One => vec![0],
    }
}

/// [`optimize`] by each of [`Extraction::CANDIDATES`], and of these the graph whose program takes the fewest cycles; the first of
/// equals. By fewer, as the judge has time for, or by one alone, where the options name one.
pub fn optimize_judged(
    g: &Graph,
    model: &dyn CostModel,
    options: &RewriteOptions,
    judge: &dyn Judge,
) -> Result<(Graph, RewriteReport), RewriteError> {
    let first = optimize(g, model, options)?;
    let before = first.1.before.clone();
    let worth = |forms: &[&GraphCost]| worth_a_program(judge, options.objective(), &before, forms);
    if options.extraction.is_some() || worth(&[&first.1.after, &before]) == [0] {
        return Ok(first);
    }
    let mut seen = vec![text::print_outline(&first.0)];
    let mut found = vec![first];
    for extraction in &Extraction::CANDIDATES[1..] {
        let one = optimize(g, model, &RewriteOptions { extraction: Some(*extraction), ..options.clone() })?;
        let outline = text::print_outline(&one.0);
        // Equal graphs have equal programs.
        if !seen.contains(&outline) {
            seen.push(outline);
            found.push(one);
        }
    }
    let costs: Vec<&GraphCost> = found.iter().map(|(_, r)| &r.after).collect();
    let kept = worth(&costs);
    let mut at = 0..;
    found.retain(|_| at.next().is_some_and(|i| kept.contains(&i)));
    if found.len() == 1 {
        return Ok(found.swap_remove(0));
    }
    let cycles: Vec<Option<u64>> = found.par_iter().map(|(g, _)| judge.cycles(g)).collect();
    let candidates = found.iter().zip(&cycles).map(|((_, r), &cycles)| Candidate { extraction: r.extraction, cycles });
    let candidates: Vec<Candidate> = candidates.collect();
    let best = (0..found.len()).min_by_key(|&i| (cycles[i].unwrap_or(u64::MAX), i)).unwrap_or(0);
    let (graph, report) = found.swap_remove(best);
    Ok((graph, RewriteReport { candidates, ..report }))
}
