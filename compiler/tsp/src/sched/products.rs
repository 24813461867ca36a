//! Which pass of which product of bytes goes next.
//!
//! Products that follow each other in the program, a few nodes at a time, are open together. Each hemisphere takes the
//! pass that can start first; of two that can start equally early, the one of the earlier node. So planes work on the next
//! layer's first rows while the ALUs still have to do with the last of this one. A pass is a candidate once all rows that it
//! reads are in their place in the schedule. Other kernels between products go in pieces of a few rows, each when no pass
//! can start before it. Knows no instruction.

use super::burst::{PlacedNo, Placements};
use super::int8::{Left, Part, Tail};
use super::memory::FillWord;
use super::pieces::{self, Piece};
use super::split::{alone, cuts, int8_passes, waves};
use super::vxm::{Plan, plan};
use super::weights::Tile;
use super::{Scheduler, Way};
use crate::error::CompileError;
use crate::tiled::{FILL, Init, Kernel, Kind, NOTHING, Pass, Rows, Src, Step, TensorId};
use quadrille_isa::tsp::Hemisphere;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Cycles by which another pass must be able to start sooner.
const SOONER: i64 = 1;

/// Waves of a node on a hemisphere that have not begun and may be next.
const AHEAD: usize = 8;

/// Passes of a node that are tried for a place at most, each of another wave.
const TRIES: usize = 3;

/// Pieces of a node that are tried for a place at most.
const PIECE_TRIES: usize = 4;

/// Groups of other kernels that take planes and are open together at most.
const MOST_OTHERS: usize = 12;

/// A kernel of a node.
#[derive(Clone)]
pub(super) struct Job<'a> {
    pub(super) number: usize,
    pub(super) k: &'a Kernel,
    /// Of a product of bytes.
    passes: &'a [Pass],
    pub(super) plan: Plan,
    pub(super) ins: &'a [Rows],
    pub(super) steps: &'a [Step],
    pub(super) outs: &'a [(Src, Rows)],
    fills: Vec<FillWord>,
}

impl Job<'_> {
    fn tail(&self) -> Tail<'_> {
        Tail { plan: &self.plan, ins: self.ins, steps: self.steps, outs: self.outs }
    }
}

/// Rows that the planes of a hemisphere take at once, and what is left to do with them.
#[derive(Clone)]
struct Wave {
    job: usize,
    /// Planes with their rows, the longest first.
    runs: Vec<(usize, Range<usize>)>,
    /// What is left to do.
    passes: Vec<usize>,
    /// For each of these, when its rows are there, once they are in their place.
    ready: Vec<Option<i64>>,
    /// And when it could start at the soonest, by the last trial: what is placed since can only delay it.
    least: Vec<i64>,
    sums: Vec<Vec<Left>>,
    /// Accumulator row, once it has begun.
    row: Option<u16>,
}

/// The products of a node.
#[derive(Clone)]
struct Group<'a> {
    kernels: Range<usize>,
    jobs: Vec<Job<'a>>,
    /// Of each hemisphere, west first.
    waves: [Vec<Wave>; 2],
    /// Which part of the accumulators is its own.
    slot: usize,
    /// First accumulator rows of waves to come.
    free: [Vec<u16>; 2],
    /// Of other kernels, to come.
    pieces: Vec<Piece>,
    /// How much follows.
    urgency: u32,
}

impl Group<'_> {
    fn done(&self) -> bool {
        self.waves.iter().all(Vec::is_empty) && self.pieces.is_empty()
    }

    /// True for kernels that take planes and are no products of bytes.
    fn passes_planes(&self) -> bool {
        !self.takes_planes() && self.jobs.iter().any(|j| !matches!(j.k.kind, Kind::Map { .. }))
    }

    /// True while accumulators are its own.
    fn holds_sums(&self) -> bool {
        self.takes_planes() && !self.done()
    }

    fn takes_planes(&self) -> bool {
        self.jobs.iter().any(|j| !j.passes.is_empty())
    }
}

/// A pass that may go next, and when.
struct Candidate {
    group: usize,
    wave: usize,
    /// Position in the wave's list.
    pass: usize,
    start: i64,
}

/// How far the products of a run are.
#[derive(Clone)]
struct Run<'a> {
    /// Kernels that are not open yet.
    rest: Range<usize>,
    open: VecDeque<Group<'a>>,
    /// Groups so far that take planes and are done.
    done: usize,
    /// A node with nothing before or after it has all accumulators, and nothing waits for its first rows.
    alone: bool,
}

/// A schedule up to a stretch.
struct Branch<'a> {
    at: Scheduler<'a>,
    run: Run<'a>,
    /// Instructions of the stretches before.
    before: Vec<Arc<Placements>>,
}

/// Groups that take planes between two choices of branches; and where products of floats go between them, whose planes' waits say
/// little about those behind.
const STRETCH: usize = 2;
const MIXED_STRETCH: usize = 4;

/// Branches that are kept.
const BRANCHES: usize = 5;

/// Idle cycles that a plane is thought to need beside so many busy ones, when branches are compared.
const BUSY_FOR_IDLE: i64 = 5;

impl Run<'_> {
    fn done(&self) -> bool {
        self.rest.is_empty() && self.open.is_empty()
    }
}

impl<'a> Branch<'a> {
    /// A stretch further, in a way.
    fn go_on(&self, way: Way) -> Result<Branch<'a>, CompileError> {
        let mut next = Branch { at: self.at.fork(way), run: self.run.clone(), before: self.before.clone() };
        next.before.push(Arc::new(self.at.out.clone()));
        let until = self.run.done + if self.at.mixed { MIXED_STRETCH } else { STRETCH };
        next.at.advance(&mut next.run, until)?;
        Ok(next)
    }
}

impl<'a> Scheduler<'a> {
    /// Schedules the products `range` of the program, stretch by stretch in all ways; some branches are kept.
    pub(super) fn products(&mut self, range: Range<usize>) -> Result<(), CompileError> {
        let alone = alone(self.g, &range);
        let mut run = Run { rest: range, open: VecDeque::new(), done: 0, alone };
        if self.ways.len() < 2 {
            return self.advance(&mut run, usize::MAX);
        }
        let ways = self.ways;
        let mut kept = vec![Branch { at: self.fork(self.way), run, before: Vec::new() }];
        while kept.iter().any(|b| !b.run.done()) {
            let pairs: Vec<_> = kept.iter().flat_map(|b| ways.iter().map(move |&way| (b, way))).collect();
            let next: Vec<_> = pairs.into_par_iter().map(|(b, way)| b.go_on(way)).collect();
            let (good, mut bad): (Vec<_>, Vec<_>) = next.into_iter().partition(Result::is_ok);
            let mut good: Vec<Branch<'a>> = good.into_iter().flatten().collect();
            if let (true, Some(Err(e))) = (good.is_empty(), bad.pop()) {
                return Err(e);
            }
            // Equal losses are mostly equal schedules.
            good.sort_by_key(|b| b.at.loss());
            good.dedup_by_key(|b| b.at.loss());
            good.truncate(BRANCHES);
            kept = good;
        }
        let Some(best) = kept.into_iter().next() else { return Ok(()) };
        let mut out = std::mem::take(&mut self.out);
        best.before.into_iter().for_each(|p| out.append(Arc::unwrap_or_clone(p)));
        *self = best.at;
        out.append(std::mem::take(&mut self.out));
        self.out = out;
        Ok(())
    }

    /// The same, to go on in a way.
    fn fork(&self, way: Way) -> Scheduler<'a> {
        let mut s = Scheduler {
            g: self.g,
            m: self.m,
            memory: self.memory.clone(),
            board: self.board.clone(),
            out: self.out.following(),
            planes: self.planes.clone(),
            held: self.held.clone(),
            sides: self.sides.clone(),
            turn: self.turn,
            pending: self.pending.clone(),
            urgency: self.urgency.clone(),
            lane_maps: self.lane_maps.clone(),
            mixed: self.mixed,
            ways: self.ways,
            way,
            times: self.times.clone(),
            now: self.now,
            busy: self.busy,
        };
        s.memory.turn_to(way);
        s
    }

    /// How much planes have lost, and are thought to lose for what is not placed yet.
    fn loss(&self) -> i64 {
        let free: i64 = self.planes.iter().map(|p| i64::from(p.act_free)).sum();
        free * BUSY_FOR_IDLE - self.busy as i64 * (BUSY_FOR_IDLE + 1)
    }

    /// Places passes until so many groups that take planes are done.
    fn advance(&mut self, run: &mut Run<'a>, until: usize) -> Result<(), CompileError> {
        let g = self.g;
        let most = if run.alone { 1 } else { self.way.open };
        while run.done < until {
            while !run.rest.is_empty() {
                let mut written: Vec<TensorId> = Vec::new();
                let next = run.rest.start;
                // Kernels of a node that read what others of it write are groups of their own.
                let same = |k: &&Kernel| {
                    let mut own = k.node == g.kernels[next].node;
                    k.each_read(|r| own &= !written.contains(&g.stored(r.tensor)));
                    k.each_whole(|t| own &= !written.contains(&t));
                    k.each_write(|t| written.push(t));
                    own
                };
                let end = next + g.kernels[run.rest.clone()].iter().take_while(same).count();
                let bytes = g.kernels[next..end].iter().any(|k| int8_passes(g, k).is_some());
                let full = bytes && run.open.iter().filter(|g| g.holds_sums()).count() >= most;
                if full || run.open.iter().filter(|g| g.passes_planes()).count() >= MOST_OTHERS {
                    break;
                }
                let taken = |s: &usize| run.open.iter().any(|g| g.holds_sums() && g.slot == *s);
                let slot = (0..most).find(|s| !taken(s)).unwrap_or(0);
                let group = self.open(next..end, (slot, run.alone))?;
                run.rest.start = end;
                run.open.push_back(group);
            }
            let open = &mut run.open;
            let Some(first) = open.front() else { return Ok(()) };
            if first.done() {
                for n in first.kernels.clone() {
                    self.memory.release(g, n);
                    // Groups that are open may write other rows of the same tensor.
                    g.kernels[n].each_write(|t| {
                        if self.pending.get(&t).is_some_and(|waits| !waits.contains(&true)) {
                            self.pending.remove(&t);
                        }
                    });
                }
                run.done += usize::from(first.takes_planes());
                open.pop_front();
                continue;
            }
            let mut sides = [Hemisphere::West, Hemisphere::East];
            sides.sort_by_key(|&h| self.side_free(h));
            let mut found = None;
            for h in sides {
                if let Some(c) = self.candidate(open, h) {
                    found = Some((h, c));
                    break;
                }
            }
            // What elementwise kernels leave of the ALUs does for sums, which come to them later.
            let sums = found.as_ref().map_or(i64::MAX, |(h, c)| c.start.saturating_add(self.to_alus(*h)));
            if self.next_piece(open, sums)? {
                continue;
            }
            // The first node waits for nothing that is not in its place.
            let Some((h, c)) = found else { return Err(self.stuck(open)) };
            self.next_pass(&mut open[c.group], h, &c)?;
        }
        Ok(())
    }

    /// Places the piece whose steps can start first, if they can no later than in a cycle; false where there are none.
    fn next_piece(&mut self, open: &mut VecDeque<Group<'a>>, before: i64) -> Result<bool, CompileError> {
        let mut best: Option<(i64, usize, usize)> = None;
        let mut order: Vec<usize> = (0..open.len()).filter(|&n| !open[n].pieces.is_empty()).collect();
        order.sort_by_key(|&n| (Reverse(open[n].urgency), n));
        for number in order {
            let group = &mut open[number];
            let mut tried = 0;
            for (n, piece) in group.pieces.iter_mut().enumerate() {
                let job = &group.jobs[piece.job];
                piece.there = piece.there || self.piece_there(job, &piece.rows);
                if !piece.there {
                    continue;
                }
                tried += 1;
                if tried > PIECE_TRIES {
                    break;
                }
                let late = |at: i64| at > before || best.is_some_and(|b| b.0 <= at);
                if late(piece.at) {
                    continue;
                }
                self.now = job.number;
                // What is no burst is cut where it is placed.
                piece.at = self.piece_start(job, &piece.rows).unwrap_or(piece.at);
                if !late(piece.at) {
                    best = Some((piece.at, number, n));
                }
            }
        }
        let Some((_, number, n)) = best else { return Ok(false) };
        let group = &mut open[number];
        let piece = group.pieces.remove(n);
        let job = &group.jobs[piece.job];
        self.now = job.number;
        self.place_piece(job, piece.rows)?;
        Ok(true)
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
    fn open(&mut self, kernels: Range<usize>, (slot, alone): (usize, bool)) -> Result<Group<'a>, CompileError> {
        let g = self.g;
        let planes = self.m.geometry.planes_per_hemisphere as usize;
        let all = self.m.geometry.accumulator_rows_per_plane as usize;
        let (rows, row) = if alone { (all, 0) } else { (all / self.way.open, slot * (all / self.way.open)) };
        let wave = self.memory.wave();
        let (size, slack) = if alone { (rows, 0) } else { ((wave.0 + wave.1).min(rows), wave.1.min(rows - 1)) };
        let free: Vec<u16> = (0..rows / size).rev().map(|n| (row + n * size) as u16).collect();
        let mut group = Group {
            kernels: kernels.clone(),
            jobs: Vec::new(),
            waves: Default::default(),
            slot,
            free: [free.clone(), free],
            pieces: Vec::new(),
            urgency: kernels.clone().map(|n| self.urgency[n]).max().unwrap_or(0),
        };
        let mut cut = Vec::new();
        for n in kernels {
            let k = &g.kernels[n];
            self.prepare(n)?;
            pieces::each_written(k, |t, rows| {
                let all = g.tensor(t).rows as usize;
                let waits = self.pending.entry(t).or_insert_with(|| vec![false; all]);
                rows.iter().for_each(|&r| waits[r as usize] = true);
            });
            let (chains, ins, steps, outs) = match &k.kind {
                Kind::MatMul { chains, ins, steps, outs } => (chains.len(), &ins[..], &steps[..], &outs[..]),
                Kind::Map { ins, steps, outs } => (0, &ins[..], &steps[..], &outs[..]),
                _ => (0, &[][..], &[][..], &[][..]),
            };
            let plan = plan(steps, chains + ins.len());
            let Some(passes) = int8_passes(g, k) else {
                let piece = |rows| Piece { job: group.jobs.len(), rows, there: false, at: i64::MIN };
                group.pieces.extend(pieces::cut(g, k, wave).into_iter().map(piece));
                group.jobs.push(Job { number: n, k, passes: &[], plan, ins, steps, outs, fills: Vec::new() });
                cut.push(Vec::new());
                continue;
            };
            let fills = self.fill_words(n, passes);
            let sides = &self.sides[n];
            cut.push(waves(&cuts(g, k, sides.len() * planes), sides, planes, (size - slack, slack)));
            group.jobs.push(Job { number: n, k, passes, plan, ins, steps, outs, fills });
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
                    least: vec![i64::MIN; passes.len()],
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
        found.sort_by_key(|f| (f.0 && self.way.heavy, Reverse(open[f.1].urgency), f.1));
        let mut best: Option<Candidate> = None;
        for (_, number, at, wave, pass) in found {
            let group = &mut open[number];
            let w = &group.waves[side][wave];
            let last = w.passes.len() == 1;
            // Planes apart are compared by what each would lose, which may shrink.
            let grows = last || w.runs.len() == 1 || !self.way.apart;
            let least = if grows { at.max(w.least[pass]) } else { at };
            if best.as_ref().is_some_and(|b| b.start < least.saturating_add(SOONER)) {
                continue;
            }
            let job = &group.jobs[w.job];
            let p = &job.passes[w.passes[pass]];
            let parts = parts(w.row.or(group.free[side].last().copied()).unwrap_or(0), &w.runs);
            self.now = job.number;
            let start = self.earliest(job.k, h, p, &parts, &w.sums, last.then(|| job.tail()), &job.fills);
            if grows {
                group.waves[side][wave].least[pass] = start;
            }
            if best.as_ref().is_none_or(|b| start.saturating_add(SOONER) <= b.start) {
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
        let mut out: Vec<(i64, bool, usize, usize)> = Vec::new();
        for (number, wave) in waves[side].iter_mut().enumerate() {
            if wave.row.is_none() {
                if fresh == 0 {
                    continue;
                }
                fresh -= 1;
            }
            let job = &jobs[wave.job];
            for (n, ready) in wave.ready.iter_mut().enumerate() {
                let p = &job.passes[wave.passes[n]];
                if ready.is_none() && self.weights_there(p) && self.in_place(&p.act, &wave.runs) {
                    *ready = Some(self.ready_for(p, &wave.runs));
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
            out.extend(first.map(|(at, n)| (at, self.mixed && !fits(n), number, n)));
        }
        out.sort_unstable();
        out.into_iter().map(|(at, _, wave, n)| (at, wave, n)).collect()
    }

    /// True when all rows that a wave reads have been placed, or are there from the start.
    pub(super) fn in_place(&self, r: &Rows, runs: &[(usize, Range<usize>)]) -> bool {
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
        wave.least.remove(c.pass);
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
