//! The extraction whose program takes the fewest cycles, by whoever makes programs.
//!
//! A cost model ranks most forms of a graph rightly, not all: schedules place things side by side that no sum of operations sees.
//! Where programs are made quickly, a few extractions are compiled, and the shortest program decides. Which graphs these are the
//! judge says, by the cost, never by the clock.

use super::cost::{CostModel, GraphCost};
use super::options::Extraction;
use super::report::{Candidate, RewriteReport};
use super::{RewriteError, RewriteOptions, optimize};
use crate::ir::{Graph, text};
use rayon::prelude::*;

/// Who makes programs of graphs.
pub trait Judge: Sync {
    /// True when programs of a graph of this cost are made quickly enough to make several.
    fn is_quick(&self, cost: &GraphCost) -> bool;

    /// Cycles of a graph's program; `None` where there is none.
    fn cycles(&self, g: &Graph) -> Option<u64>;
}

/// [`optimize`] by each of [`Extraction::CANDIDATES`], and of these the graph whose program takes the fewest cycles; the first of
/// equals. By the first alone, where the judge is not quick, or the options name one.
pub fn optimize_judged(
    g: &Graph,
    model: &dyn CostModel,
    options: &RewriteOptions,
    judge: &dyn Judge,
) -> Result<(Graph, RewriteReport), RewriteError> {
    let first = optimize(g, model, options)?;
    if options.extraction.is_some() || !judge.is_quick(&first.1.after) || !judge.is_quick(&first.1.before) {
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
