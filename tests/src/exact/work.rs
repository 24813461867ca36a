//! What a tiled graph asks of the machine: tasks, the cycles that must lie between them, and the units they take.
//!
//! A task is one unit's work on the rows of a kernel, its time the cycle in which row 0 is sampled. Latencies are
//! those of the machine description; a value on its way from unit to unit lies in the best slice between them.

use quadrille_isa::tsp::{Column, Hemisphere, Machine};
use quadrille_tsp::tiled::{FILL, Init, Kernel, Kind, MovePass, Pass, Rows, Src, Step, TensorId, TiledGraph};
use std::collections::HashMap;

/// Units that do several things a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// ALUs of the VXM.
    Alu,
    /// Planes that take a row.
    Planes,
    /// Bytes a cycle that slices can send to planes as weights.
    Weights,
    /// Permuters of the SXM.
    Permuters,
}

/// Units in the order of their numbers.
pub(super) const UNITS: [Unit; 4] = [Unit::Alu, Unit::Planes, Unit::Weights, Unit::Permuters];

/// Takes `amount` of a unit in cycles `from .. from + len` after the task's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    pub(super) unit: Unit,
    pub(super) from: i64,
    pub(super) len: i64,
    pub(super) amount: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) takes: Vec<Takes>,
    /// No earlier than this.
    pub(super) earliest: i64,
    /// Cycles from the task's time to the last event that it causes.
    pub(super) tail: i64,
    /// (task, cycles): no earlier than so many cycles after that task.
    pub(super) after: Vec<(usize, i64)>,
}

/// Tasks, each after those that it waits for.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) tasks: Vec<Task>,
    /// Moves that permuters can make.
    pub(super) movable: u32,
    /// How much of each unit there is.
    pub(super) capacity: [u32; UNITS.len()],
}

impl Work {
    /// Last event when no unit is ever taken.
    pub(super) fn path(&self) -> i64 {
        let mut start = vec![0; self.tasks.len()];
        let mut end = 0;
        for (n, t) in self.tasks.iter().enumerate() {
            start[n] = t.after.iter().map(|&(p, lag)| start[p] + lag).fold(t.earliest, i64::max);
            end = end.max(start[n] + t.tail);
        }
        end
    }
}

/// Where a row comes from or goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Vxm,
    Mxm,
    Sxm,
}

/// Who drives a row, and when after its task's time.
#[derive(Clone, Copy)]
struct Driven {
    task: usize,
    at: i64,
    place: Place,
}

/// One byte of a tile of weights: tensor, loads, slots, byte.
type Tile = (TensorId, Vec<(u16, u32)>, (u8, u8), u8);

struct Writer<'a> {
    g: &'a TiledGraph,
    m: &'a Machine,
    by_planes: u32,
    /// Moves so far that permuters can make.
    movable: u32,
    tasks: Vec<Task>,
    driven: HashMap<(TensorId, u32), Vec<Driven>>,
    /// Weights that some plane has been loaded with: a plane that still holds them needs no second load.
    held: Vec<Tile>,
}

/// Of the moves that permuters can make, which are made by planes is a bit each. `None` for kernels that are not known here.
pub(super) fn work(g: &TiledGraph, m: &Machine, by_planes: u32) -> Option<Work> {
    let (tasks, driven, held) = (Vec::new(), HashMap::new(), Vec::new());
    let mut w = Writer { g, m, by_planes, movable: 0, tasks, driven, held };
    for k in &g.kernels {
        w.kernel(k)?;
    }
    let slices = m.geometry.mem_slices_per_hemisphere - reserved(m);
    let capacity = UNITS.map(|u| match u {
        Unit::Alu => m.geometry.alus,
        Unit::Planes => u32::from(m.planes()),
        Unit::Weights => 2 * slices,
        Unit::Permuters => 2,
    });
    Some(Work { tasks: w.tasks, movable: w.movable, capacity })
}

fn reserved(m: &Machine) -> u32 {
    m.program.reserved_slices_per_hemisphere
}

impl Writer<'_> {
    fn kernel(&mut self, k: &Kernel) -> Option<()> {
        let rows = i64::from(k.n);
        match &k.kind {
            Kind::Map { ins, steps, outs } => {
                self.sequence(rows, 1, &[], ins, steps, outs);
                Some(())
            }
            Kind::MatMul { chains, ins, steps, outs } => {
                let f16 = chains.iter().flatten().all(|p| self.width(p.weights) == 2);
                let block = self.m.geometry.accumulator_rows_per_plane;
                if !f16 || k.n > block {
                    return None;
                }
                let step = i64::from(self.m.latency.mxm_f16_row_interval);
                let sums: Vec<usize> = chains.iter().map(|c| self.chain(rows, step, c)).collect();
                self.sequence(rows, step, &sums, ins, steps, outs);
                Some(())
            }
            Kind::Move { passes, out } => {
                if k.n > self.m.geometry.accumulator_rows_per_plane {
                    return None;
                }
                if let Some(crossed) = self.crossed(passes) {
                    let by_planes = self.by_planes & 1 << self.movable;
                    self.movable += 1;
                    if by_planes == 0 {
                        let l = &self.m.latency;
                        let through = i64::from(l.sxm_entry + l.sxm_permute + crossed);
                        for _ in 0..self.width(out.tensor) {
                            let task = self.task();
                            self.tasks[task].takes.push(Takes { unit: Unit::Permuters, from: 0, len: rows, amount: 1 });
                            self.samples(task, &passes[0].from, Place::Sxm, |i| i as i64);
                            self.driven_at(task, out, Place::Sxm, |i| through + i as i64);
                        }
                        return Some(());
                    }
                }
                let to_stream = self.to_stream();
                for _ in 0..self.width(out.tensor) {
                    let mut last = None;
                    for p in passes {
                        let pass = Loaded { act: &p.from, weights: p.weights, loads: &p.loads, slots: p.slots };
                        last = Some(self.pass(rows, 1, &pass, 0..1, last));
                    }
                    self.drives(last?, to_stream, 1, Place::Mxm, out);
                }
                Some(())
            }
            Kind::Transpose { from, out, groups } => {
                let l = &self.m.latency;
                let through = i64::from(l.sxm_entry + l.sxm_transpose);
                let all = |tensor: TensorId, groups: &[u32]| Rows {
                    tensor,
                    rows: groups.iter().flat_map(|a| 16 * a..16 * a + 16).collect(),
                };
                let in_turn: Vec<u32> = (0..groups.len() as u32).collect();
                for _ in 0..self.width(*out) {
                    let task = self.task();
                    let at = |i: usize| i as i64 / 16;
                    self.samples(task, &all(*from, &in_turn), Place::Sxm, at);
                    self.driven_at(task, &all(*out, groups), Place::Sxm, |i| through + at(i));
                }
                Some(())
            }
            Kind::Gather { .. } => None,
        }
    }

    /// Superlanes that a move crosses which a permuter can make: one pass, no lane to several.
    fn crossed(&self, passes: &[MovePass]) -> Option<u32> {
        let [pass] = passes else { return None };
        let mut from: Vec<u16> = pass.map.iter().map(|m| m.0).collect();
        from.sort_unstable();
        let per = self.m.geometry.lanes_per_superlane;
        let distance = |&(a, b): &(u16, u16)| (u32::from(a) / per).abs_diff(u32::from(b) / per);
        from.windows(2).all(|w| w[0] != w[1]).then(|| pass.map.iter().map(distance).max().unwrap_or(0))
    }

    fn width(&self, t: TensorId) -> u8 {
        self.g.tensor(t).ty.bytes()
    }

    fn to_stream(&self) -> i64 {
        i64::from(self.m.latency.mxm_activation_to_sum + self.m.latency.mxm_sum_to_stream)
    }

    fn task(&mut self) -> usize {
        self.tasks.push(Task::default());
        self.tasks.len() - 1
    }

    fn after(&mut self, task: usize, other: usize, lag: i64) {
        self.tasks[task].after.push((other, lag));
    }

    /// Passes of a chain, one after the other; gives the task of the last.
    fn chain(&mut self, rows: i64, step: i64, passes: &[Pass]) -> usize {
        let mut last = None;
        for p in passes {
            let pass = Loaded { act: &p.act, weights: p.weights, loads: &p.loads, slots: p.slots };
            last = Some(self.pass(rows, step, &pass, 0..2, last));
        }
        last.unwrap_or_else(|| self.task())
    }

    /// Rows through a plane, or a pair of planes, after the weights are there and the pass before has ended.
    fn pass(
        &mut self,
        rows: i64,
        step: i64,
        p: &Loaded<'_>,
        bytes: std::ops::Range<u8>,
        before: Option<usize>,
    ) -> usize {
        let planes = bytes.len() as u32;
        let loads: Vec<usize> = bytes.filter_map(|b| self.load(p, b)).collect();
        let task = self.task();
        for load in loads {
            let lag = p.loads.len() as i64 - 1 + i64::from(self.m.latency.mxm_weight_row);
            self.after(task, load, lag);
        }
        if let Some(before) = before {
            self.after(task, before, rows * step);
        }
        self.tasks[task].takes.push(Takes { unit: Unit::Planes, from: 0, len: rows * step, amount: planes });
        self.samples(task, p.act, Place::Mxm, |i| i as i64 * step);
        task
    }

    /// Sixteen rows a cycle into the buffer of a plane.
    fn load(&mut self, p: &Loaded<'_>, byte: u8) -> Option<usize> {
        let key = (p.weights, p.loads.to_vec(), p.slots, byte);
        if self.held.contains(&key) {
            return None;
        }
        self.held.push(key);
        let task = self.task();
        let amount = u32::from(p.slots.1);
        self.tasks[task].takes.push(Takes { unit: Unit::Weights, from: 0, len: p.loads.len() as i64, amount });
        for (cycle, &(_, group)) in p.loads.iter().enumerate() {
            let first = group * 16 + u32::from(p.slots.0);
            let rows = Rows { tensor: p.weights, rows: (first..first + u32::from(p.slots.1)).collect() };
            self.samples(task, &rows, Place::Mxm, |_| cycle as i64);
        }
        Some(task)
    }

    /// An ALU sequence over rows that come `step` cycles apart; operands `0 .. sums.len()` are sums of planes.
    fn sequence(&mut self, rows: i64, step: i64, sums: &[usize], ins: &[Rows], steps: &[Step], outs: &[(Src, Rows)]) {
        let l = &self.m.latency;
        let (alu, out) = (i64::from(l.vxm_alu), i64::from(l.vxm_entry + l.vxm_alu + l.vxm_exit));
        let from_plane = self.to_stream() + self.hops(self.m.mxm_column(Hemisphere::West), self.m.vxm_column());
        let mut counted = vec![false; steps.len()];
        for (src, to) in outs {
            let Src::Op(last) = src else { continue };
            // Steps from the sample of each step's operands to the end, itself included.
            let mut left: Vec<Option<i64>> = vec![None; steps.len()];
            left[usize::from(*last)] = Some(1);
            for n in (0..=usize::from(*last)).rev() {
                let Some(here) = left[n] else { continue };
                for s in steps[n].src {
                    if let Src::Op(j) = s {
                        let there = &mut left[usize::from(j)];
                        *there = Some(there.unwrap_or(0).max(here + 1));
                    }
                }
            }
            // The task's time is that of the last step.
            let task = self.task();
            for (n, s) in steps.iter().enumerate() {
                let Some(left) = left[n] else { continue };
                let at = (1 - left) * alu;
                for src in s.src {
                    let Src::In(k) = src else { continue };
                    match usize::from(k).checked_sub(sums.len()) {
                        None => self.after(task, sums[usize::from(k)], from_plane - at),
                        Some(k) => self.samples(task, &ins[k], Place::Vxm, |i| at + i as i64 * step),
                    }
                }
                if !std::mem::replace(&mut counted[n], true) && step == 1 {
                    self.tasks[task].takes.push(Takes { unit: Unit::Alu, from: at, len: rows, amount: 1 });
                }
            }
            self.drives(task, out, step, Place::Vxm, to);
        }
    }

    /// Rows that a task drives, `step` cycles apart.
    fn drives(&mut self, task: usize, at: i64, step: i64, place: Place, to: &Rows) {
        self.driven_at(task, to, place, |i| at + i as i64 * step);
    }

    fn driven_at(&mut self, task: usize, to: &Rows, place: Place, at: impl Fn(usize) -> i64) {
        for (i, &row) in to.rows.iter().enumerate() {
            let d = Driven { task, at: at(i), place };
            self.driven.entry((to.tensor, row)).or_default().push(d);
            let stored = d.at + self.to_memory(place) + self.stores();
            self.tasks[task].tail = self.tasks[task].tail.max(stored);
        }
    }

    /// A task samples rows of a tensor, row i `at(i)` cycles after its time.
    fn samples(&mut self, task: usize, from: &Rows, place: Place, at: impl Fn(usize) -> i64) {
        let read = i64::from(self.m.latency.mem_read);
        let there = i64::from(self.m.latency.barrier) + read + self.to_memory(place);
        for (i, &row) in from.rows.iter().enumerate().filter(|(_, r)| **r != FILL) {
            if !matches!(self.g.tensor(from.tensor).init, Init::Computed) {
                let first = &mut self.tasks[task].earliest;
                *first = (*first).max(there - at(i));
                continue;
            }
            for d in self.driven.get(&(from.tensor, row)).cloned().unwrap_or_default() {
                let way = self.by_memory(d.place, place) + self.stores() + read;
                self.after(task, d.task, d.at + way - at(i));
            }
        }
    }

    /// From a write's vector at the slice to the first read that sees it.
    fn stores(&self) -> i64 {
        i64::from(self.m.latency.mem_write_readable) - i64::from(self.m.latency.mem_write_sample)
    }

    fn hops(&self, a: Column, b: Column) -> i64 {
        i64::from(a.0.abs_diff(b.0)) * i64::from(self.m.latency.hop)
    }

    fn columns(&self, place: Place) -> Vec<Column> {
        let both = [Hemisphere::West, Hemisphere::East];
        match place {
            Place::Vxm => vec![self.m.vxm_column()],
            Place::Mxm => both.map(|h| self.m.mxm_column(h)).to_vec(),
            Place::Sxm => both.map(|h| self.m.sxm_column(h)).to_vec(),
        }
    }

    fn memory_columns(&self) -> Vec<Column> {
        let slices = self.m.geometry.mem_slices_per_hemisphere - reserved(self.m);
        let slice = |hemisphere, index| quadrille_isa::tsp::Slice { hemisphere, index: index as u8 };
        let both = [Hemisphere::West, Hemisphere::East];
        both.iter()
            .flat_map(|&h| (0..slices).map(move |i| (h, i)))
            .map(|(h, i)| self.m.slice_column(slice(h, i)))
            .collect()
    }

    /// Hops from a unit to the nearest slice.
    fn to_memory(&self, place: Place) -> i64 {
        let mem = self.memory_columns();
        let all = self.columns(place).into_iter().flat_map(|c| mem.iter().map(move |&x| (c, x)));
        all.map(|(c, x)| self.hops(c, x)).min().unwrap_or(0)
    }

    /// Hops from a unit to the best slice and on to another unit.
    fn by_memory(&self, from: Place, to: Place) -> i64 {
        let mem = self.memory_columns();
        let (from, to) = (self.columns(from), self.columns(to));
        let ends = from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b)));
        ends.flat_map(|(a, b)| mem.iter().map(move |&x| (a, x, b)))
            .map(|(a, x, b)| self.hops(a, x) + self.hops(x, b))
            .min()
            .unwrap_or(0)
    }
}

/// A pass, of a product or of a lane move.
struct Loaded<'a> {
    act: &'a Rows,
    weights: TensorId,
    loads: &'a [(u16, u32)],
    slots: (u8, u8),
}
