//! Scheduling: kernels become bursts, each at the earliest cycle where everything it needs is free.
//!
//! Kernels are placed in program order; a burst waits for the rows that it reads, row by row, so
//! layers overlap without a barrier between them. Knows hops and latencies; shares nothing with
//! the checker, which computes them again.

mod bits;
mod board;
mod burst;
mod cells;
mod few_rows;
mod fill;
mod gather;
mod int8;
mod map;
pub(crate) mod maps;
mod matmul;
pub(crate) mod memory;
mod moves;
mod pairs;
mod pass;
pub(crate) mod permute;
mod pieces;
mod products;
mod rows;
mod shortage;
mod split;
pub(crate) mod times;
mod traffic;
mod transpose;
mod urgency;
pub(crate) mod vxm;
pub(crate) mod waits;
mod weights;

use super::error::CompileError;
use super::tiled::{Kernel, Kind, TensorId, TiledGraph};
use board::Board;
use burst::{Burst, Landing, NoPlace};
pub(crate) use burst::{PlacedNo, Placements};
use memory::Memory;
pub(crate) use memory::Wish;
use permute::LaneMaps;
use quadrille_isa::tsp::{Column, Dir, Hemisphere, Machine};
use rows::Effects;
pub(crate) use split::first_half;
use std::sync::Arc;
use times::Times;

/// The books of one MXM plane.
#[derive(Clone, Copy, Debug, Default)]
struct Plane {
    /// First cycle in which an activation may enter.
    act_free: u32,
    last_install: Option<u32>,
}

/// What is known before a program is scheduled.
#[derive(Clone, Default)]
pub(crate) struct Hints {
    /// Of an earlier schedule.
    times: Option<Arc<Times>>,
    /// Where each tensor is to lie, if that is said.
    wishes: Arc<Vec<Option<Wish>>>,
}

impl Hints {
    pub(crate) fn after(times: &Arc<Times>) -> Hints {
        Hints { times: Some(times.clone()), ..Hints::default() }
    }

    pub(crate) fn wishing(times: &Arc<Times>, wishes: Vec<Option<Wish>>) -> Hints {
        Hints { times: Some(times.clone()), wishes: Arc::new(wishes) }
    }
}

/// A scheduled tiled graph.
pub(crate) struct Schedule {
    pub(crate) placements: Placements,
    pub(crate) memory: Memory,
    pub(crate) times: Arc<Times>,
    /// Of the permuters.
    pub(crate) lane_maps: Arc<LaneMaps>,
    /// True where another schedule that knows these times may be shorter.
    pub(crate) refinable: bool,
}

struct Scheduler<'a> {
    g: &'a TiledGraph,
    m: &'a Machine,
    memory: Memory,
    board: Board,
    out: Placements,
    planes: Vec<Plane>,
    /// What each plane was last loaded with.
    held: Vec<Option<weights::Held>>,
    /// Hemispheres of each product with one chain.
    sides: Arc<Vec<Vec<Hemisphere>>>,
    /// Number of the hemisphere that the next single chain takes.
    turn: u8,
    /// Rows that open products have not written yet.
    pending: products::Pending,
    /// Of each kernel, how much follows it at least.
    urgency: Arc<Vec<u32>>,
    /// Of the permuters.
    lane_maps: Arc<LaneMaps>,
    /// Products of floats and moves run beside those of bytes.
    mixed: bool,
    /// Ways to go on from a stretch of products of bytes, and the one taken now.
    ways: &'a [Way],
    way: Way,
    /// When rows are taken, and the kernel that is being placed.
    times: Times,
    now: usize,
    /// Cycles in which planes take rows, summed over the planes.
    busy: u64,
}

/// How products of bytes are scheduled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Nodes that are open together; the same in all ways of a schedule.
    pub(crate) open: usize,
    /// Chunks of a plane's part of a tensor at most: more of them want more slices, fewer are longer read or written.
    pub(crate) pieces: u32,
    /// Slices are chosen by when else they are used, and long tensors cut into short chunks.
    pub(crate) by_time: bool,
    /// Cycles by which a use of a chunk may come earlier or later than thought.
    pub(crate) drift: u32,
    /// Planes need not keep step in passes whose sums stay.
    pub(crate) apart: bool,
    /// Waves of a plane lie in slices and banks in turn.
    pub(crate) by_wave: bool,
    /// Of passes that could start at once, those first that keep most ALUs busy.
    pub(crate) heavy: bool,
    /// Rows of a chunk at most: longer ones take fewer instructions, shorter ones find more free ports.
    pub(crate) chunk: u32,
    /// Planes take the moves that they have done sooner than permuters; else those alone that permuters can't take.
    pub(crate) planes_move: bool,
    /// Bytes that move go two by two through the planes of a hemisphere, which are loaded together.
    pub(crate) paired: bool,
}

/// True where some product is one of bytes.
pub(crate) fn has_byte_products(g: &TiledGraph) -> bool {
    g.kernels.iter().any(|k| split::int8_passes(g, k).is_some())
}

/// Schedules a tiled graph. Slices are chosen by when an earlier schedule used them, if there is one, or as is wished.
pub(crate) fn schedule(
    g: &TiledGraph,
    m: &Machine,
    plan: super::Plan,
    ways: &[Way],
    hints: &Hints,
) -> Result<Schedule, CompileError> {
    let sides = Arc::new(split::sides(g, m));
    let way = ways[0];
    let mut s = Scheduler {
        g,
        m,
        memory: Memory::new(g, m, &sides, plan, way, hints),
        sides,
        board: Board::new(m),
        out: Placements::default(),
        planes: vec![Plane::default(); usize::from(m.planes())],
        held: vec![None; usize::from(m.planes())],
        turn: 0,
        pending: products::Pending::new(),
        urgency: Arc::new(urgency::urgency(g)),
        lane_maps: Arc::new(LaneMaps::of(g, m)),
        mixed: split::mixed(g),
        ways,
        way,
        times: Times::new(g),
        now: 0,
        busy: 0,
    };
    s.memory.turn_to(way);
    // Tables first: they need word 0. Then all that is there from the start.
    for table in [true, false] {
        for at in 0..g.tensors.len() {
            // Where room is short the last weights first: those that lie in slices for rows then leave early.
            let n = if s.memory.is_thrifty() && !table { g.tensors.len() - 1 - at } else { at };
            let (id, t) = (TensorId(n as u32), &g.tensors[n]);
            if t.table == table && Memory::is_initial(g, id) && s.memory.used(id) {
                s.memory.allocate(g, id)?;
            }
        }
    }
    // What needs a run of words in several slices comes before what fills them.
    let mut sizes = Vec::new();
    for (n, t) in g.tensors.iter().enumerate().filter(|_| plan.tight) {
        let id = TensorId(n as u32);
        if s.memory.is_gathered(id) && s.memory.used(id) && !sizes.contains(&t.rows) {
            sizes.push(t.rows);
            s.memory.allocate(g, id)?;
            s.memory.spread_maps(g, id);
        }
    }
    let mut runs = split::product_runs(g, &s.sides, s.memory.mixes()).into_iter().peekable();
    let mut n = 0;
    while n < g.kernels.len() {
        if let Some(run) = runs.next_if(|r| r.start == n) {
            n = run.end;
            s.products(run)?;
            continue;
        }
        s.prepare(n)?;
        if split::first_half(g, &g.kernels[n]).is_none() {
            s.kernel(n, &g.kernels[n])?;
            s.memory.release(g, n);
        } else if s.halves(n)? {
            s.memory.release(g, n);
        } else {
            s.products(n..n + 1)?;
        }
        n += 1;
    }
    let refinable = s.memory.by_time();
    Ok(Schedule { placements: s.out, refinable, memory: s.memory, times: Arc::new(s.times), lane_maps: s.lane_maps })
}

impl Scheduler<'_> {
    /// Finds homes for what a kernel writes, and for its address maps.
    fn prepare(&mut self, number: usize) -> Result<(), CompileError> {
        self.now = number;
        let mut written = Vec::new();
        self.g.kernels[number].each_write(|t| written.push(t));
        if !self.mixed {
            self.stay_beside(&self.g.kernels[number]);
        }
        for t in written {
            if self.memory.homes[t.0 as usize].chunks.is_empty() {
                self.memory.allocate(self.g, t)?;
                self.write_fills(number, t)?;
            }
        }
        self.place_maps(number)
    }

    /// What is turned or moved into weights that any plane may load stays in the hemisphere that it comes from.
    fn stay_beside(&mut self, k: &Kernel) {
        let (from, out) = match &k.kind {
            Kind::Transpose { from, out, .. } => (*from, *out),
            Kind::Move { passes, out } => match &passes[..] {
                [p] => (p.from.tensor, out.tensor),
                _ => return,
            },
            _ => return,
        };
        let from = self.hemisphere(self.g.stored(from));
        self.memory.prefer(self.g, out, from);
    }

    /// A product of few rows, its weights in all planes at once; false where that cannot be.
    fn halves(&mut self, number: usize) -> Result<bool, CompileError> {
        let k = &self.g.kernels[number];
        let (Kind::MatMul { ins, steps, outs, .. }, Some(half), Some(passes)) =
            (&k.kind, split::first_half(self.g, k), split::int8_passes(self.g, k))
        else {
            return Ok(false);
        };
        let side = self.sides[number][0];
        self.few_rows(k, side, passes, half, ins, steps, outs)
    }

    /// A kernel that is no product of bytes.
    fn kernel(&mut self, number: usize, k: &Kernel) -> Result<(), CompileError> {
        match &k.kind {
            Kind::Map { ins, steps, outs } => self.map(k, ins, steps, outs),
            Kind::MatMul { chains, ins, steps, outs } if !self.sides[number].is_empty() => {
                let sides = self.sides[number].clone();
                self.pair_product(k, &sides, &chains[0], ins, steps, outs)
            }
            Kind::MatMul { chains, ins, steps, outs } => self.matmul(k, chains, ins, steps, outs),
            Kind::Move { passes, out } => self.moves(number, k, passes, out),
            Kind::Gather { ids, table, out } => self.gather(k, ids, *table, out),
            Kind::Transpose { from, out, groups } => self.transpose(k, *from, *out, groups),
        }
    }

    /// Places a burst that reads and writes no rows of tensors.
    fn land(&mut self, k: &Kernel, burst: Burst) -> Result<Landing, CompileError> {
        burst.place(self.m, &mut self.board, &mut self.out).map_err(|e| self.twice_at_once(k, &e))
    }

    fn place(&mut self, k: &Kernel, burst: Burst, effects: Effects) -> Result<Landing, CompileError> {
        let last = burst.last();
        let landing = self.land(k, burst)?;
        self.landed(&landing, effects, last);
        Ok(landing)
    }

    /// The same, unless what is taken makes the burst come too late: `late` knows when it could have started, and when it would,
    /// which then is what is given.
    fn place_unless(
        &mut self,
        k: &Kernel,
        burst: Burst,
        effects: Effects,
        late: impl Fn(i64, i64) -> bool,
    ) -> Result<Result<Landing, i64>, CompileError> {
        let last = burst.last();
        let placed = burst.place_unless(self.m, &mut self.board, &mut self.out, late);
        let placed = placed.map_err(|e| self.twice_at_once(k, &e))?;
        if let Ok(landing) = &placed {
            self.landed(landing, effects, last);
        }
        Ok(placed)
    }

    fn landed(&mut self, landing: &Landing, effects: Effects, last: i64) {
        self.apply(landing, effects);
        self.times.note(self.now, landing.start, (i64::from(landing.start) + last) as u32);
    }

    fn twice_at_once(&self, k: &Kernel, e: &NoPlace) -> CompileError {
        CompileError::DoesNotFit {
            what: format!("a burst of node `{}`", self.g.nodes[k.node.0 as usize]),
            need: 2,
            have: 1,
            reason: format!("it needs {} twice in one cycle", e.what),
            remedy: "this is a limit of the compiler's slice assignment: a larger machine description avoids it".into(),
        }
    }

    /// Hops from a column to another that lies downstream.
    fn hops(&self, dir: Dir, from: Column, to: Column) -> i64 {
        // Callers choose the direction by where the two lie.
        i64::from(self.m.hops(dir, from, to).unwrap_or(0))
    }

    fn hemisphere(&self, t: TensorId) -> Hemisphere {
        self.memory.homes[t.0 as usize].hemisphere.unwrap_or(Hemisphere::East)
    }

    /// Issue to drive of an ALU.
    fn alu_drive(&self) -> i64 {
        let l = &self.m.latency;
        i64::from(l.vxm_entry + l.vxm_alu + l.vxm_exit)
    }
}
