//! Cuts a graph into regions of bounded size.
//!
//! A region is a run of nodes in evaluation order, so regions depend only on earlier ones. Cuts
//! are put where few values cross, since no rule sees across a cut; a second sweep with other
//! cuts sees what the first could not.

use crate::ir::{Graph, ValueDef, ValueId};
use std::ops::Range;

/// Nodes in a region, at most.
pub(crate) const REGION_NODES: usize = 320;

/// The regions of a graph. With `shifted`, the first is half as long, so that cuts fall
/// elsewhere; a graph that fits one region has only one way to be cut.
pub(crate) fn cut(g: &Graph, shifted: bool) -> Vec<Range<usize>> {
    let n = g.nodes().len();
    if n <= REGION_NODES {
        return std::iter::once(0..n).collect();
    }
    let crossing = crossing(g);
    let mut regions = Vec::new();
    let mut start = 0;
    let mut most = if shifted { REGION_NODES / 2 } else { REGION_NODES };
    while n - start > most {
        // The last quarter of the window is where a cut may fall; the later the better.
        let window = start + most - most / 4..=start + most;
        let end = window.rev().min_by_key(|&i| crossing[i]).expect("the window is not empty");
        regions.push(start..end);
        start = end;
        most = REGION_NODES;
    }
    regions.push(start..n);
    regions
}

/// Values that are made before node `i` and needed from it on, for each `i`.
fn crossing(g: &Graph) -> Vec<usize> {
    let n = g.nodes().len();
    let mut delta = vec![0isize; n + 2];
    for (v, last) in g.values().iter().zip(last_uses(g)) {
        if let (ValueDef::Node(made), Some(last)) = (&v.def, last) {
            // Crosses every cut after its node up to its last user.
            delta[made.0 as usize + 1] += 1;
            delta[last + 1] -= 1;
        }
    }
    let mut live = 0isize;
    delta[..=n]
        .iter()
        .map(|d| {
            live += d;
            live.max(0) as usize
        })
        .collect()
}

/// The last node that uses each value; outputs are used after the last node.
pub(crate) fn last_uses(g: &Graph) -> Vec<Option<usize>> {
    let mut last = vec![None; g.values().len()];
    for (i, node) in g.nodes().iter().enumerate() {
        for v in &node.inputs {
            last[v.0 as usize] = Some(i);
        }
    }
    for o in &g.outputs {
        last[o.value.0 as usize] = Some(g.nodes().len());
    }
    last
}

/// Values made in a region that are used after it.
pub(crate) fn roots(g: &Graph, region: &Range<usize>, last_uses: &[Option<usize>]) -> Vec<ValueId> {
    let out = |i: usize| g.nodes()[i].output;
    region.clone().map(out).filter(|v| last_uses[v.0 as usize].is_some_and(|l| l >= region.end)).collect()
}
