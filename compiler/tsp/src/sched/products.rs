//! Which pass of which product of bytes goes next.
//!
//! Products that follow each other in the program, a few nodes at a time, are open together. Each hemisphere takes the
//! pass that can start first; of two that can start equally early, the one of the earlier node. So planes work on the next
//! layer's first rows while the ALUs still have to do with the last of this one. A pass is a candidate once all rows that it
//! reads are in their place in the schedule. Knows no instruction.

use super::Scheduler;
use super::burst::PlacedNo;
use super::int8::{Left, Part, Tail};
use super::memory::FillWord;
use super::split::{WAVE, alone, cuts, int8_passes, waves};
use super::vxm::{Plan, plan};
use super::weights::Tile;
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Kind, NOTHING, Pass, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::Hemisphere;
use std::collections::VecDeque;
use std::ops::Range;

/// Cycles by which another pass must be able to start sooner.
const SOONER: i64 = 1;

/// Waves of a node on a hemisphere that have not begun and may be next.
const AHEAD: usize = 8;

/// Passes of a node that are tried for a place at most, each of another wave.
const TRIES: usize = 3;

/// A product of a node.
struct Job<'a> {
    number: usize,
    k: &'a Kernel,
    passes: &'a [Pass],
    plan: Plan,
    ins: &'a [Rows],
    steps: &'a [Step],
    outs: &'a [(Src, Rows)],
    fills: Vec<FillWord>,
}

impl Job<'_> {
    fn tail(&self) -> Tail<'_> {
        Tail { plan: &self.plan, ins: self.ins, steps: self.steps, outs: self.outs }
    }
}

/// Rows that the planes of a hemisphere take at once, and what is left to do with them.
struct Wave {
    job: usize,
    /// Planes with their rows, the longest first.
    runs: Vec<(usize, Range<usize>)>,
    /// What is left to do.
    passes: Vec<usize>,
    /// For each of these, when its rows are there, once they are in their place.
    ready: Vec<Option<i64>>,
    sums: Vec<Vec<Left>>,
    /// Accumulator row, once it has begun.
    row: Option<u16>,
}

/// The products of a node.
struct Group<'a> {
    kernels: Range<usize>,
    jobs: Vec<Job<'a>>,
    /// Of each hemisphere, west first.
    waves: [Vec<Wave>; 2],
    /// First accumulator rows of waves to come.
    free: [Vec<u16>; 2],
}

/// A pass that may go next, and when.
struct Candidate {
    group: usize,
    wave: usize,
    /// Position in the wave's list.
    pass: usize,
    start: i64,
}

impl<'a> Scheduler<'a> {
    /// Schedules the products `range` of the program.
    pub(super) fn products(&mut self, range: Range<usize>) -> Result<(), CompileError> {
        let g = self.g;
        let mut open: VecDeque<Group<'a>> = VecDeque::new();
        let (mut next, mut count) = (range.start, 0);
        // A node with nothing before or after it has all accumulators, and nothing waits for its first rows.
        let alone = alone(g, &range);
        let most = if alone { 1 } else { self.open };
        loop {
            while open.len() < most && next < range.end {
                let mut written: Vec<TensorId> = Vec::new();
                // Kernels of a node that read what others of it write are groups of their own.
                let same = |k: &&Kernel| {
                    let mut own = k.node == g.kernels[next].node;
                    k.each_read(|r| own &= !written.contains(&g.stored(r.tensor)));
                    k.each_write(|t| written.push(t));
                    own
                };
                let end = next + g.kernels[next..range.end].iter().take_while(same).count();
                let group = self.open(next..end, (count, alone))?;
                open.push_back(group);
                (next, count) = (end, count + 1);
            }
            let Some(first) = open.front() else { return Ok(()) };
            if first.waves.iter().all(Vec::is_empty) {
                for n in first.kernels.clone() {
                    self.memory.release(g, n);
                    g.kernels[n].each_write(|t| _ = self.pending.remove(&t));
                }
                open.pop_front();
                continue;
            }
            let mut sides = [Hemisphere::West, Hemisphere::East];
            sides.sort_by_key(|&h| self.side_free(h));
            let mut found = None;
            for h in sides {
                if let Some(c) = self.candidate(&mut open, h) {
                    found = Some((h, c));
                    break;
                }
            }
            // The first node waits for nothing that is not in its place.
            let Some((h, c)) = found else { return Err(self.stuck(&open)) };
            self.next_pass(&mut open[c.group], h, &c)?;
        }
    }

    fn stuck(&self, open: &VecDeque<Group<'_>>) -> CompileError {
        let node = open.front().map_or(0, |g| self.g.kernels[g.kernels.start].node.0);
        CompileError::DoesNotFit {
            what: format!("the order of node `{}`", self.g.nodes[node as usize]),
            need: 1,
            have: 0,
            reason: "it reads rows that nothing before it writes".into(),
            remedy: "this is a bug of the compiler".into(),
        }
    }

    fn side_free(&self, h: Hemisphere) -> u32 {
        let planes = self.m.geometry.planes_per_hemisphere as usize;
        (0..planes).map(|p| self.planes[usize::from(self.plane_of(h, p))].act_free).max().unwrap_or(0)
    }

    /// Finds homes for what a node's products write, and cuts them into waves.
    fn open(&mut self, kernels: Range<usize>, (number, alone): (usize, bool)) -> Result<Group<'a>, CompileError> {
        let g = self.g;
        let planes = self.m.geometry.planes_per_hemisphere as usize;
        let all = self.m.geometry.accumulator_rows_per_plane as usize;
        let (rows, row) = if alone { (all, 0) } else { (all / self.open, number % self.open * (all / self.open)) };
        let (size, slack) = if alone { (rows, 0) } else { ((WAVE.0 + WAVE.1).min(rows), WAVE.1.min(rows - 1)) };
        let free: Vec<u16> = (0..rows / size).rev().map(|n| (row + n * size) as u16).collect();
        let mut group =
            Group { kernels: kernels.clone(), jobs: Vec::new(), waves: Default::default(), free: [free.clone(), free] };
        let mut cut = Vec::new();
        for n in kernels {
            let k = &g.kernels[n];
            self.prepare(n)?;
            let (Some(passes), Kind::MatMul { ins, steps, outs, .. }) = (int8_passes(g, k), &k.kind) else { continue };
            for (_, r) in outs {
                let rows = g.tensor(r.tensor).rows as usize;
                let waits = self.pending.entry(r.tensor).or_insert_with(|| vec![false; rows]);
                r.rows.iter().for_each(|&r| waits[r as usize] = true);
            }
            let fills = self.fill_words(n, passes);
            let sides = &self.sides[n];
            cut.push(waves(&cuts(g, k, sides.len() * planes), sides, planes, (size - slack, slack)));
            group.jobs.push(Job { number: n, k, passes, plan: plan(steps, 1 + ins.len()), ins, steps, outs, fills });
        }
        let most = cut.iter().map(Vec::len).max().unwrap_or(0);
        // Waves of all products in turn; alone, one product after the other.
        let at = |n: usize| if alone { (n % most, n / most) } else { (n / cut.len(), n % cut.len()) };
        for (wave, job) in (0..most * cut.len()).map(at) {
            for share in cut[job].get(wave).into_iter().flatten() {
                let mut runs = share.runs.clone();
                runs.sort_by_key(|r| std::cmp::Reverse(r.1.len()));
                let passes: Vec<usize> = (0..group.jobs[job].passes.len()).collect();
                group.waves[usize::from(share.side == Hemisphere::East)].push(Wave {
                    job,
                    runs,
                    ready: vec![None; passes.len()],
                    passes,
                    sums: vec![Vec::new(); planes],
                    row: None,
                });
            }
        }
        Ok(group)
    }

    /// The pass that a hemisphere can start first; of several that could start at once, one that keeps most of the ALUs
    /// busy, so that others, which need few, may run beside it.
    fn candidate(&mut self, open: &mut VecDeque<Group<'_>>, h: Hemisphere) -> Option<Candidate> {
        let (free, side) = (i64::from(self.side_free(h)), usize::from(h == Hemisphere::East));
        let mut found: Vec<(bool, usize, i64, usize, usize)> = Vec::new();
        for (number, group) in open.iter_mut().enumerate() {
            let mut passes = self.ready_passes(group, h, free);
            passes.truncate(TRIES);
            let heavy = |wave: usize| {
                let w = &group.waves[side][wave];
                let alus = w.runs.len() * group.jobs[w.job].plan.slots.len();
                w.passes.len() == 1 && 2 * alus > self.m.geometry.alus as usize
            };
            found.extend(passes.into_iter().map(|(at, wave, pass)| (!heavy(wave), number, at, wave, pass)));
        }
        found.sort_by_key(|f| (f.0, f.1));
        let mut best: Option<Candidate> = None;
        for (_, number, at, wave, pass) in found {
            if best.as_ref().is_some_and(|b| b.start < at + SOONER) {
                continue;
            }
            let group = &open[number];
            let w = &group.waves[side][wave];
            let job = &group.jobs[w.job];
            let last = w.passes.len() == 1;
            let p = &job.passes[w.passes[pass]];
            let parts = parts(w.row.or(group.free[side].last().copied()).unwrap_or(0), &w.runs);
            let start = self.earliest(job.k, h, p, &parts, &w.sums, last.then(|| job.tail()), &job.fills);
            if best.as_ref().is_none_or(|b| start + SOONER <= b.start) {
                best = Some(Candidate { group: number, wave, pass, start });
            }
            if start <= free {
                break;
            }
        }
        best
    }

    /// Passes of a node whose rows are in their place, one a wave: when they could start, wave, position; the first to
    /// be tried first.
    fn ready_passes(&self, group: &mut Group<'_>, h: Hemisphere, free: i64) -> Vec<(i64, usize, usize)> {
        let side = usize::from(h == Hemisphere::East);
        let Group { jobs, waves, free: rows, .. } = group;
        let mut fresh = if rows[side].is_empty() { 0 } else { AHEAD };
        let mut out: Vec<(i64, usize, usize)> = Vec::new();
        for (number, wave) in waves[side].iter_mut().enumerate() {
            if wave.row.is_none() {
                if fresh == 0 {
                    continue;
                }
                fresh -= 1;
            }
            let job = &jobs[wave.job];
            for (n, ready) in wave.ready.iter_mut().enumerate() {
                let act = &job.passes[wave.passes[n]].act;
                if ready.is_none() && self.in_place(act, &wave.runs) {
                    *ready = Some(self.ready_for(&job.passes[wave.passes[n]], &wave.runs));
                }
            }
            if wave.passes.len() == 1 && !job.ins.iter().all(|r| self.in_place(r, &wave.runs)) {
                continue;
            }
            // Of passes that could start at once, the one whose weights are there.
            let fits = |n: usize| {
                let p = &job.passes[wave.passes[n]];
                let tile = Tile { tensor: p.weights, loads: &p.loads, slots: p.slots };
                wave.runs.iter().all(|&(plane, _)| self.held(self.plane_of(h, plane), 0, &tile).is_some())
            };
            let ready = wave.ready.iter().enumerate().filter_map(|(n, r)| r.map(|r| (r.max(free), n)));
            let first = ready.min_by_key(|&(at, n)| (at, !fits(n), n));
            out.extend(first.map(|(at, n)| (at, number, n)));
        }
        out.sort_unstable();
        out
    }

    /// True when all rows that a wave reads have been placed, or are there from the start.
    fn in_place(&self, r: &Rows, runs: &[(usize, Range<usize>)]) -> bool {
        let Some(waits) = self.pending.get(&self.g.stored(r.tensor)) else { return true };
        let there = |row: u32| row == FILL || row == NOTHING || !waits[row as usize];
        runs.iter().flat_map(|(_, run)| &r.rows[run.clone()]).all(|&row| match &self.g.tensor(r.tensor).init {
            Init::Gather { sources, groups, .. } => {
                let n = *groups as usize;
                sources[row as usize * n..(row as usize + 1) * n].iter().all(|&s| there(s))
            }
            _ => there(row),
        })
    }

    /// Places a pass of a node on a side.
    fn next_pass(&mut self, group: &mut Group<'_>, h: Hemisphere, c: &Candidate) -> Result<(), CompileError> {
        let planes = self.m.geometry.planes_per_hemisphere as usize;
        let side = usize::from(h == Hemisphere::East);
        let Group { jobs, waves, free, .. } = group;
        let wave = &mut waves[side][c.wave];
        let job = &jobs[wave.job];
        self.now = job.number;
        let last = wave.passes.len() == 1;
        let p = &job.passes[wave.passes.remove(c.pass)];
        wave.ready.remove(c.pass);
        // Only waves that find one may begin.
        let row = wave.row.or_else(|| free[side].pop()).unwrap_or(0);
        wave.row = Some(row);
        let parts = parts(row, &wave.runs);
        let loaded = parts.iter().map(|p| p.plane + 1).max().unwrap_or(0);
        let installs: Vec<PlacedNo> = self.install_shared(job.k, h, loaded, p)?;
        let mut sums = vec![Vec::new(); planes];
        let tail = last.then(|| job.tail());
        self.int8_pass(job.k, h, p, &parts, &installs, &wave.sums, &mut sums, tail, &job.fills)?;
        wave.sums = sums;
        if last {
            free[side].push(row);
            waves[side].remove(c.wave);
        }
        Ok(())
    }
}

/// The planes' parts of a wave.
fn parts(row: u16, runs: &[(usize, Range<usize>)]) -> Vec<Part> {
    runs.iter().map(|(plane, r)| Part { plane: *plane, row, rows: r.clone() }).collect()
}

/// Tensors that open products write, with the rows that are not in their place yet.
pub(super) type Pending = std::collections::BTreeMap<TensorId, Vec<bool>>;
