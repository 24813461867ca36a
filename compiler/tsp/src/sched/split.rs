//! Which hemisphere and which plane take which rows of a product with one chain.
//!
//! The two planes of a hemisphere hold the same weights of bytes, loaded once, and take two runs of rows in
//! lock step; of f16 they are one pair. Products of one node that differ in output channels alone go to the hemispheres in
//! turn where they have few rows, or where weights are too many for a copy on each side; others, and one that is left
//! over, are shared by both. Knows the tiled graph; knows no cycles.

use crate::tiled::{Init, Kernel, Kind, Pass, TiledGraph};
use quadrille_isa::tsp::{AluType, Hemisphere, Machine};
use std::ops::Range;

/// The passes of an int8 product.
pub(super) fn int8_passes<'a>(g: &TiledGraph, k: &'a Kernel) -> Option<&'a [Pass]> {
    let Kind::MatMul { chains, .. } = &k.kind else { return None };
    let [passes] = &chains[..] else { return None };
    let ty = g.tensor(passes.first()?.act.tensor).ty;
    matches!(ty, AluType::I8 | AluType::U8).then_some(passes)
}

/// Passes of the first plane, where a product of bytes of few rows has weights in two tensors: planes then share passes.
pub(crate) fn first_half(g: &TiledGraph, k: &Kernel) -> Option<usize> {
    let passes = int8_passes(g, k)?;
    // Zero points of computed weights come from a tensor of their own, too.
    if passes.iter().any(|p| g.tensor(p.weights).init == Init::Computed) {
        return None;
    }
    let half = passes.iter().position(|p| p.weights != passes[0].weights)?;
    passes[half..].iter().all(|p| p.weights == passes[half].weights).then_some(half)
}

/// Rows of a product at most for which blocks of one node go to the hemispheres in turn. With more of them every block
/// is shared by both, each plane on rows of its own, so that no two read one word; with fewer the loads of weights for
/// a quarter of the rows would show.
const TWIN_ROWS: u32 = 100;

/// Weights have a copy on each side where they take no more than this part of all words.
const WEIGHTS_SHARE: u64 = 4;

/// The passes of a product of bytes, or of several f16 passes in one chain (of rows that are stored: a gathered image
/// is halved before); whether it is of bytes.
pub(super) fn shared_passes<'a>(g: &TiledGraph, k: &'a Kernel) -> Option<(&'a [Pass], bool)> {
    if let Some(p) = int8_passes(g, k) {
        return Some((p, true));
    }
    let Kind::MatMul { chains, .. } = &k.kind else { return None };
    let [passes] = &chains[..] else { return None };
    let stored = passes.iter().all(|p| g.stored(p.act.tensor) == p.act.tensor);
    (passes.len() > 1 && stored).then_some((passes, false))
}

/// The hemispheres of each product with one chain; none for other kernels.
pub(super) fn sides(g: &TiledGraph, m: &Machine) -> Vec<Vec<Hemisphere>> {
    let mut sides = vec![Vec::new(); g.kernels.len()];
    let weights = g.tensors.iter().filter(|t| t.weights).map(|t| u64::from(t.rows) * u64::from(t.ty.bytes()));
    let words = u64::from(2 * m.geometry.mem_slices_per_hemisphere * m.geometry.words_per_slice);
    let twice = weights.sum::<u64>() * WEIGHTS_SHARE <= words;
    let twins = |a: usize, b: usize| {
        let (x, y) = (&g.kernels[a], &g.kernels[b]);
        match (shared_passes(g, x), shared_passes(g, y)) {
            (Some((p, _)), Some((q, _))) => x.node == y.node && p.len() == q.len() && p[0].act == q[0].act,
            _ => false,
        }
    };
    // The block that was left over of the node before, which reads the same rows.
    let mut over: Option<usize> = None;
    let mut first = 0;
    while first < g.kernels.len() {
        if shared_passes(g, &g.kernels[first]).is_none() {
            (first, over) = (first + 1, None);
            continue;
        }
        let mut last = first + 1;
        while last < g.kernels.len() && twins(first, last) {
            last += 1;
        }
        let bytes = int8_passes(g, &g.kernels[first]).is_some();
        let pairs = if bytes && twice && g.kernels[first].n > TWIN_ROWS { 0 } else { (last - first) / 2 * 2 };
        for (i, s) in sides[first..last].iter_mut().enumerate() {
            *s = match (i < pairs, i % 2) {
                (true, 0) => vec![Hemisphere::West],
                (true, _) => vec![Hemisphere::East],
                _ => vec![Hemisphere::West, Hemisphere::East],
            };
        }
        // Two that are left over are one a hemisphere, too, where a copy of their weights on each side is too much.
        let left = (bytes && !twice && g.kernels[first].n > TWIN_ROWS && pairs + 1 == last - first).then_some(last - 1);
        let act = |k: usize| shared_passes(g, &g.kernels[k]).map(|(p, _)| (&p[0].act, p.len()));
        match (over, left) {
            (Some(a), Some(b)) if act(a) == act(b) => {
                (sides[a], sides[b]) = (vec![Hemisphere::West], vec![Hemisphere::East]);
                over = None;
            }
            _ => over = left,
        }
        first = last;
    }
    sides
}

/// Rows of a kernel that one hemisphere takes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) side: Hemisphere,
    /// Planes with their runs, none empty.
    pub(super) runs: Vec<(usize, Range<usize>)>,
}

/// A plane gets no more than its equal share and one part in so many, so that cuts lie where those of other kernels do.
const UNEVEN: usize = 12;

/// Where the rows of a kernel are cut for `parts` planes: at equal parts of the tensor that it writes, so that what a
/// plane reads of the kernel before is what it wrote itself. Equal numbers of rows where that would be uneven.
pub(super) fn cuts(g: &TiledGraph, k: &Kernel, parts: usize) -> Vec<usize> {
    let (n, parts) = (k.n as usize, parts.max(1));
    let run = n.div_ceil(parts).max(1);
    let equal = || (0..=parts).map(|p| (p * run).min(n)).collect();
    let Kind::MatMul { outs, .. } = &k.kind else { return equal() };
    let Some((_, out)) = outs.first() else { return equal() };
    if out.rows.windows(2).any(|w| w[0] >= w[1]) {
        return equal();
    }
    let all = g.tensor(out.tensor).rows as usize;
    let before = |part: usize| out.rows.partition_point(|&r| (r as usize) < part * all / parts);
    let cuts: Vec<usize> = (0..parts).map(before).chain([n]).collect();
    let even = cuts.windows(2).all(|w| w[1] > w[0] && (w[1] - w[0]) * UNEVEN <= run * (UNEVEN + 1));
    if even { cuts } else { equal() }
}

/// The rows that each plane of each hemisphere takes, all waves together.
pub(super) fn plane_rows(
    cuts: &[usize],
    sides: &[Hemisphere],
    planes: usize,
) -> Vec<(Hemisphere, usize, Range<usize>)> {
    let places = sides.iter().enumerate().flat_map(|(s, &h)| (0..planes).map(move |p| (h, p, s * planes + p)));
    places.map(|(h, p, number)| (h, p, cuts[number]..cuts[number + 1])).collect()
}

/// Rows of a wave at most: enough to load the weights of the next pass behind, few so that what follows starts early and
/// fits into pauses; and how many more do not make another.
const WAVE: (usize, usize) = (32, 8);

/// The same where blocks, and their weights, are on one hemisphere each though rows are many: with more rows to a load, loads take fewer ports.
const LONG_WAVE: (usize, usize) = (64, 8);

/// Rows of a wave, and how many more, of a program whose products go to these hemispheres.
pub(super) fn wave_of(g: &TiledGraph, sides: &[Vec<Hemisphere>]) -> (usize, usize) {
    let own = |(k, s): (&Kernel, &Vec<Hemisphere>)| s.len() == 1 && k.n > TWIN_ROWS && int8_passes(g, k).is_some();
    if mixed(g) && g.kernels.iter().zip(sides).any(own) { LONG_WAVE } else { WAVE }
}

/// One part in so many of the planes' time is that of products of floats and moves where these go beside products of bytes.
const FLOATS: u64 = 8;

/// True where products of floats and moves are worth to be scheduled with products of bytes.
pub(super) fn mixed(g: &TiledGraph) -> bool {
    let (mut bytes, mut others) = (0, 0);
    for k in &g.kernels {
        let n = u64::from(k.n);
        match &k.kind {
            Kind::MatMul { chains, .. } => {
                let rows = n * chains.iter().map(Vec::len).sum::<usize>() as u64;
                if int8_passes(g, k).is_some() { bytes += rows } else { others += 4 * rows }
            }
            Kind::Move { passes, out } => {
                others += n * passes.len() as u64 * u64::from(g.tensor(out.tensor).ty.bytes())
            }
            _ => {}
        }
    }
    bytes > 0 && others * FLOATS >= bytes + others
}

/// True for a kernel that may go in pieces beside products of bytes: none that leaves sums in accumulators between passes.
fn goes_in_pieces(k: &Kernel, sides: &[Hemisphere]) -> bool {
    match &k.kind {
        Kind::Map { .. } | Kind::Transpose { .. } => true,
        Kind::Move { passes, .. } => passes.len() == 1,
        Kind::MatMul { chains, .. } => sides.is_empty() && chains.iter().all(|c| c.len() == 1),
        Kind::Gather { .. } => false,
    }
}

/// Runs of products of bytes in the program, which are scheduled together; `beside`: with other kernels between them.
pub(super) fn product_runs(g: &TiledGraph, sides: &[Vec<Hemisphere>], beside: bool) -> Vec<Range<usize>> {
    let product = |n: usize| int8_passes(g, &g.kernels[n]).is_some() && first_half(g, &g.kernels[n]).is_none();
    let all = mixed(g);
    let other = |n: usize| {
        let k = &g.kernels[n];
        let simple = match &k.kind {
            Kind::Map { outs, .. } => outs.iter().all(|(_, r)| !g.tensor(r.tensor).weights),
            _ => false,
        };
        let fits = if all { goes_in_pieces(k, &sides[n]) } else { simple };
        beside && int8_passes(g, k).is_none() && fits
    };
    let (mut runs, mut n) = (Vec::new(), 0);
    while n < g.kernels.len() {
        let end = n + (n..g.kernels.len()).take_while(|&k| product(k) || other(k)).count();
        if (n..end).any(product) {
            runs.push(n..end);
        }
        n = end.max(n + 1);
    }
    runs
}

/// Runs of an elementwise kernel beside products that advance side by side, one for each plane.
const MAP_RUNS: usize = 4;

/// Where an elementwise kernel beside products is cut, and its waves.
pub(super) fn map_cuts(n: usize, wave: (usize, usize)) -> (Vec<usize>, usize) {
    let runs = if n >= MAP_RUNS * wave.0 { MAP_RUNS } else { 1 };
    let run = n.div_ceil(runs).max(1);
    let cuts: Vec<usize> = (0..=runs).map(|r| (r * run).min(n)).collect();
    let waves = wave_count(&cuts, wave);
    (cuts, waves)
}

/// True for a run of one node, which has nothing before or after it.
pub(super) fn alone(g: &TiledGraph, run: &Range<usize>) -> bool {
    run.clone().all(|n| g.kernels[n].node == g.kernels[run.start].node)
}

/// Waves into which the rows between cuts go.
pub(super) fn wave_count(cuts: &[usize], (most, slack): (usize, usize)) -> usize {
    let longest = cuts.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
    longest.saturating_sub(slack).div_ceil(most.max(1)).max(usize::from(longest > 0))
}

/// Which of the segments of a plane's copy a row is gathered from, the `row`-th of a run of so many `waves`.
pub(super) fn segment(row: usize, run: usize, waves: usize, segments: usize) -> usize {
    ((row + 1) * waves - 1) / run * segments / waves
}

/// Rows between two cuts that a wave of so many takes.
pub(super) fn part_of(cuts: &[usize], number: usize, wave: usize, count: usize) -> Range<usize> {
    let (first, n) = (cuts[number], cuts[number + 1] - cuts[number]);
    first + n * wave / count..first + n * (wave + 1) / count
}

/// Cuts rows into waves of shares; no run is longer than `most` and `slack`, a wave is begun for more than `slack`.
pub(super) fn waves(cuts: &[usize], sides: &[Hemisphere], planes: usize, most: (usize, usize)) -> Vec<Vec<Share>> {
    let count = wave_count(cuts, most);
    let part = |number: usize, wave: usize| part_of(cuts, number, wave, count);
    let share = |side: usize, wave: usize| Share {
        side: sides[side],
        runs: (0..planes).map(|p| (p, part(side * planes + p, wave))).filter(|r| !r.1.is_empty()).collect(),
    };
    (0..count).map(|w| (0..sides.len()).map(|s| share(s, w)).filter(|s| !s.runs.is_empty()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_cover_every_row_once() {
        for n in 1..700usize {
            for sides in [vec![Hemisphere::East], vec![Hemisphere::West, Hemisphere::East]] {
                let parts = 2 * sides.len();
                let cuts: Vec<usize> = (0..=parts).map(|p| n * p / parts).collect();
                let mut seen = vec![0; n];
                for w in waves(&cuts, &sides, 2, (64, 0)) {
                    for (_, r) in w.iter().flat_map(|s| &s.runs) {
                        assert!(r.len() <= 64);
                        r.clone().for_each(|i| seen[i] += 1);
                    }
                }
                assert!(seen.iter().all(|&c| c == 1), "{n} {seen:?}");
            }
        }
    }
}
