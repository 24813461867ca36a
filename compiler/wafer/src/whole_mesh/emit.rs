//! Phases as a program: colors and routes, and for every PE one task, the operations of all phases in turn.
//!
//! Every phase of an axis uses the same routes: one color spreads from the middle of each line, one tree sums along
//! it. A PE's operations depend on its column and its row separately, so PEs of equal columns and equal rows share a
//! class; how long a PE pauses before it sends a sum is a parameter.

use super::phase::{Arg, Groups, LocalOp, Phase, Plan, View, Work};
use crate::CompileError;
use crate::code::{fabric, imm, mem, mov, num, op, to_fabric};
use crate::collective::cost::Own;
use crate::collective::search::{self, Limits};
use crate::collective::wires::{self, Axis};
use crate::collective::{Costs, Plan as Wired, Tree, too_many_colors};
use quadrille_isa::wafer::{
    Action, ClassIx, Color, Dst, ElemType, InQueue, Machine, Mem, NodeIx, OutQueue, ParamFn, PeClass, PeOp, Program,
    Rect, Region, Src, Task, TaskIx, Trigger, Val, VecOp,
};
use std::collections::HashMap;

/// Colors, and who adds whose sums.
pub(super) struct Wiring {
    /// By axis.
    spread: [u8; 2],
    trees: [Wired; 2],
    /// Within a group: places from 0.
    group: Option<(Wired, u8)>,
    kids: usize,
    /// By phase and place along its axis: cycles that a PE can wait before it sends its sum.
    pub(super) slack: Vec<Vec<u64>>,
    pub(super) costs: Costs,
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring").field("spread", &self.spread).field("kids", &self.kids).finish_non_exhaustive()
    }
}

fn index(axis: Axis) -> usize {
    match axis {
        Axis::Row => 0,
        Axis::Column => 1,
    }
}

impl Wiring {
    pub(super) fn new(plan: &Plan, machine: &Machine) -> Result<Wiring, CompileError> {
        let costs = Costs::of(machine);
        let colors_end = |n| too_many_colors(machine, n);
        let queues = machine.queues.input_depth_words.len();
        let groups = plan.groups.filter(|g| g.size > 1);
        let kids = queues.saturating_sub(2 + if groups.is_some() { 2 } else { 0 }) / 2;
        if kids < 2 {
            return Err(CompileError::DoesNotFit {
                what: "a PE's input queues".to_string(),
                need: 8,
                have: queues as u64,
                reason: "two for what is spread, two a tree, two for a group of heads".to_string(),
                remedy: "use a machine with more queues".to_string(),
            });
        }
        let mut colors = wires::Colors::new(machine.geometry.colors);
        let spread = [colors.next().map_err(colors_end)?, colors.next().map_err(colors_end)?];
        let own = Own { first: costs.launch, done: 0 };
        let group = match groups {
            None => None,
            Some(g) => {
                let color = colors.next().map_err(colors_end)?;
                let limits = Limits { inner: 1, outer: 2, colors: None };
                let length = |w: &Work| matches!(w, Work::GroupReduce { .. }).then(|| length(w));
                let n = plan.phases.iter().find_map(|p| length(&p.work)).unwrap_or(1);
                let tree = |limits| search::best(g.size, g.size / 2, n, own, &costs, limits);
                Some((Wired::new(tree, limits, &mut colors).map_err(colors_end)?, color))
            }
        };
        let mut tree = |axis: Axis, parts: u32| {
            let lengths: Vec<u64> =
                plan.phases.iter().filter(|p| sums_along(&p.work, axis)).map(|p| length(&p.work)).collect();
            let (n, root) = (plan.mesh.len(axis), plan.mesh.middle(axis));
            let best = |limits: Limits| {
                let mut sizes = lengths.clone();
                sizes.sort_unstable();
                sizes.dedup();
                let trees = sizes.iter().filter_map(|&b| search::best(n, root, b, own, &costs, limits));
                let cycles =
                    |t: &Tree| -> u64 { lengths.iter().map(|&b| t.critical(b as u32, own, &costs).first + b).sum() };
                trees.min_by_key(cycles).or_else(|| search::best(n, root, 1, own, &costs, limits))
            };
            let mut part = colors.part(parts);
            let wired = Wired::new(best, Limits { inner: kids, outer: kids, colors: None }, &mut part);
            colors.continue_after(&part);
            wired.map_err(colors_end)
        };
        let trees = [tree(Axis::Row, 2)?, tree(Axis::Column, 1)?];
        let slack = |p: &Phase| {
            let n = length(&p.work) as u32;
            match (&p.work, &group) {
                (Work::Reduce { axis, .. }, _) => trees[index(*axis)].tree.slack(n, own, &costs),
                (Work::GroupReduce { .. }, Some((g, _))) => g.tree.slack(n, own, &costs),
                _ => Vec::new(),
            }
        };
        let slack = plan.phases.iter().map(slack).collect();
        Ok(Wiring { spread, trees, group, kids, slack, costs })
    }

    pub(super) fn tree(&self, axis: Axis) -> &Tree {
        &self.trees[index(axis)].tree
    }

    pub(super) fn group_tree(&self) -> Option<&Tree> {
        self.group.as_ref().map(|(w, _)| &w.tree)
    }

    /// Children and color of the sum that a place sends.
    fn sums(&self, axis: Axis, place: u16) -> (Vec<u8>, Option<u8>) {
        let w = &self.trees[index(axis)];
        let ins = w.tree.children[usize::from(place)].iter().map(|c| w.colors[c]).collect();
        (ins, w.colors.get(&place).copied())
    }

    fn group_sums(&self, within: u16) -> (Vec<u8>, Option<u8>) {
        self.group.as_ref().map_or_else(Default::default, |(w, _)| {
            let ins = w.tree.children[usize::from(within)].iter().map(|c| w.colors[c]).collect();
            (ins, w.colors.get(&within).copied())
        })
    }
}

/// Elements of a sum.
fn length(w: &Work) -> u64 {
    match w {
        Work::Reduce { n, .. } | Work::GroupReduce { n, .. } => *n as u64,
        _ => 0,
    }
}

fn sums_along(w: &Work, axis: Axis) -> bool {
    matches!(w, Work::Reduce { axis: a, .. } if *a == axis)
}

/// Queues of a PE. Output queues 2 and 3 are deep.
struct Queues {
    kids: usize,
}

impl Queues {
    fn spread(&self, axis: Axis) -> InQueue {
        InQueue(index(axis) as u8)
    }

    fn sums(&self, axis: Axis, k: usize) -> InQueue {
        InQueue((2 + index(axis) * self.kids + k) as u8)
    }

    fn group(&self, k: usize) -> InQueue {
        InQueue((2 + 2 * self.kids + k) as u8)
    }
}

fn out_spread(axis: Axis) -> OutQueue {
    OutQueue(index(axis) as u8)
}

fn out_sums(axis: Axis) -> OutQueue {
    OutQueue(2 + index(axis) as u8)
}

const GROUP_SUM: OutQueue = OutQueue(4);
const GROUP_SPREAD: OutQueue = OutQueue(5);

/// A PE in the making.
struct Body<'a> {
    plan: &'a Plan,
    wiring: &'a Wiring,
    x: u16,
    y: u16,
    ops: Vec<VecOp>,
    params: Vec<i32>,
}

impl Body<'_> {
    fn mem(&self, v: View) -> Mem {
        let b = self.plan.buf(v.buf);
        let m = mem(b.ty, b.addr + v.offset as u32 * b.ty.bytes(), v.s1, v.s0);
        Mem { step: num(b.step), ..m }
    }

    fn ty(&self, v: View) -> ElemType {
        self.plan.buf(v.buf).ty
    }

    /// Place along an axis, and of its line.
    fn at(&self, axis: Axis) -> (u16, u16) {
        match axis {
            Axis::Row => (self.x, self.y),
            Axis::Column => (self.y, self.x),
        }
    }

    fn local(&mut self, o: &LocalOp) {
        let mut args = [Src::None; 3];
        for (to, a) in args.iter_mut().zip(&o.args) {
            *to = match a {
                Arg::View(v) => Src::Mem(self.mem(*v)),
                Arg::Row(v) => Src::RowScalar(self.mem(*v)),
                Arg::Imm(v) => imm(*v),
            };
        }
        self.ops.push(op(o.op, num(o.n1), num(o.n0), Dst::Mem(self.mem(o.dst)), args));
    }

    fn send(&mut self, v: View, n: usize, to: OutQueue) {
        let ty = self.ty(v);
        self.ops.push(mov(num(1), num(n), to_fabric(to, ty), Src::Mem(self.mem(v))));
    }

    fn receive(&mut self, v: View, n: usize, from: InQueue) {
        let ty = self.ty(v);
        self.ops.push(mov(num(1), num(n), Dst::Mem(self.mem(v)), fabric(from, ty)));
    }

    /// Adds what the children send, and passes it on, or keeps it at the root.
    fn sum(
        &mut self,
        f: PeOp,
        (from, n, into): (View, usize, View),
        ins: &[InQueue],
        out: Option<OutQueue>,
        slack: u64,
    ) {
        let own = self.mem(from);
        let wait = slack.saturating_sub(self.wiring.costs.launch) * self.wiring.costs.mov;
        let last = ins.len().saturating_sub(1);
        let pause = |b: &mut Self| {
            if wait > 0 && out.is_some() {
                b.params.push(wait.min(1 << 20) as i32);
                let still = Mem { stride0: num(0), ..own };
                let n = Val::Param(b.params.len() as u16 - 1);
                b.ops.push(mov(num(1), n, Dst::None, Src::Mem(still)));
            }
        };
        for (k, &q) in ins.iter().enumerate() {
            let dst = match (k == last, out) {
                (false, _) => Dst::Mem(own),
                (true, None) => Dst::Mem(self.mem(into)),
                (true, Some(q)) => to_fabric(q, ElemType::F32),
            };
            if k == last {
                pause(self);
            }
            self.ops.push(op(f, num(1), num(n), dst, [Src::Mem(own), fabric(q, ElemType::F32), Src::None]));
        }
        if ins.is_empty() {
            pause(self);
            match out {
                Some(q) => self.ops.push(mov(num(1), num(n), to_fabric(q, ElemType::F32), Src::Mem(own))),
                None => self.ops.push(mov(num(1), num(n), Dst::Mem(self.mem(into)), Src::Mem(own))),
            }
        }
    }

    fn phase(&mut self, i: usize, work: &Work, groups: Option<Groups>) {
        let q = Queues { kids: self.wiring.kids };
        match work {
            Work::Local { at, ops } => {
                if at.contains(self.x, self.y) {
                    ops.iter().for_each(|o| self.local(o));
                }
            }
            Work::Spread { axis, lines, buf, n } => {
                let (place, line) = self.at(*axis);
                if lines.binary_search(&line).is_ok() {
                    let v = View::dense(*buf, 0);
                    match place == self.plan.mesh.middle(*axis) {
                        true => self.send(v, *n, out_spread(*axis)),
                        false => self.receive(v, *n, q.spread(*axis)),
                    }
                }
            }
            Work::Product { axis, x, ks, ns, blocks, sums, clears } => {
                let (place, line) = self.at(*axis);
                let (k, n) = (ks[usize::from(line)], ns[usize::from(place)]);
                let is_middle = place == self.plan.mesh.middle(*axis);
                if is_middle && k > 0 {
                    self.send(*x, k, out_spread(*axis));
                }
                for b in clears {
                    let buffer = self.plan.buf(*b);
                    if buffer.at.contains(self.x, self.y) {
                        let to = Dst::Mem(self.mem(View::dense(*b, 0)));
                        self.ops.push(mov(num(1), num(buffer.len), to, imm(0.0)));
                    }
                }
                let block = blocks.iter().find(|b| b.0.contains(self.x, self.y));
                let from = fabric(q.spread(*axis), ElemType::F16);
                match block {
                    None if k > 0 && !is_middle => self.ops.push(mov(num(1), num(k), Dst::None, from)),
                    None => {}
                    Some(b) => {
                        let scalar = match is_middle {
                            true => Src::RowScalar(self.mem(View { s1: 1, s0: 0, ..*x })),
                            false => Src::FabricRowScalar(q.spread(*axis), ElemType::F16),
                        };
                        let block = self.mem(View { buf: b.1, offset: 0, s1: n, s0: 1 });
                        let sums = self.mem(View::dense(*sums, 0));
                        let args = [scalar, Src::Mem(block), Src::Mem(sums)];
                        self.ops.push(op(PeOp::Fma, num(k), num(n), Dst::Mem(sums), args));
                    }
                }
            }
            Work::Reduce { axis, lines, op, from, n, into } => {
                let (place, line) = self.at(*axis);
                if lines.binary_search(&line).is_ok() {
                    let (ins, out) = self.wiring.sums(*axis, place);
                    let ins: Vec<InQueue> = (0..ins.len()).map(|k| q.sums(*axis, k)).collect();
                    let slack = self.wiring.slack[i].get(usize::from(place)).copied().unwrap_or(0);
                    let (from, into) = (View::dense(*from, 0), View::dense(*into, 0));
                    self.sum(*op, (from, *n, into), &ins, out.map(|_| out_sums(*axis)), slack);
                }
            }
            Work::GroupReduce { from, n, into } => {
                if let Some(within) = groups.and_then(|g| g.within(self.at(g.axis).0)) {
                    let (ins, out) = self.wiring.group_sums(within);
                    let ins: Vec<InQueue> = (0..ins.len()).map(|k| q.group(k)).collect();
                    let slack = self.wiring.slack[i].get(usize::from(within)).copied().unwrap_or(0);
                    let (from, into) = (View::dense(*from, 0), View::dense(*into, 0));
                    self.sum(PeOp::Add, (from, *n, into), &ins, out.map(|_| GROUP_SUM), slack);
                }
            }
            Work::GroupSpread { buf, n } => {
                if let Some((g, within)) = groups.and_then(|g| Some((g, g.within(self.at(g.axis).0)?))) {
                    let v = View::dense(*buf, 0);
                    match (g.size > 1, within == g.size / 2) {
                        (false, _) => {}
                        (true, true) => self.send(v, *n, GROUP_SPREAD),
                        (true, false) => self.receive(v, *n, q.group(1)),
                    }
                }
            }
        }
    }

    /// Colors of the input and output queues.
    fn colors(&self, groups: Option<Groups>) -> (Vec<Option<Color>>, Vec<Option<Color>>) {
        let q = Queues { kids: self.wiring.kids };
        let mut ins = vec![None; 2 + 2 * self.wiring.kids + 2];
        let mut outs = vec![None; 6];
        for axis in [Axis::Row, Axis::Column] {
            let place = self.at(axis).0;
            let spread = Some(Color(self.wiring.spread[index(axis)]));
            match place == self.plan.mesh.middle(axis) {
                true => outs[usize::from(out_spread(axis).0)] = spread,
                false => ins[usize::from(q.spread(axis).0)] = spread,
            }
            let (from, to) = self.wiring.sums(axis, place);
            from.iter().enumerate().for_each(|(k, &c)| ins[usize::from(q.sums(axis, k).0)] = Some(Color(c)));
            outs[usize::from(out_sums(axis).0)] = to.map(Color);
        }
        let within = groups.and_then(|g| Some((g, g.within(self.at(g.axis).0)?)));
        if let (Some((g, within)), Some((_, color))) = (within, &self.wiring.group) {
            let (from, to) = self.wiring.group_sums(within);
            from.iter().enumerate().for_each(|(k, &c)| ins[usize::from(q.group(k).0)] = Some(Color(c)));
            outs[usize::from(GROUP_SUM.0)] = to.map(Color);
            match within == g.size / 2 {
                true => outs[usize::from(GROUP_SPREAD.0)] = Some(Color(*color)),
                false => ins[usize::from(q.group(1).0)] = Some(Color(*color)),
            }
        }
        let trim = |mut v: Vec<Option<Color>>| {
            while v.last() == Some(&None) {
                v.pop();
            }
            v
        };
        (trim(ins), trim(outs))
    }
}

/// The program, without data.
pub(super) fn emit(name: &str, plan: &Plan, wiring: &Wiring, machine: &Machine) -> Program {
    let mut program = Program {
        machine: machine.name.clone(),
        machine_hash: machine.hash(),
        model: name.to_string(),
        nodes: vec![name.to_string()],
        ..Program::default()
    };
    route(&mut program, plan, wiring);
    let mut known: HashMap<[Vec<VecOp>; 3], usize> = HashMap::new();
    let grid = plan.mesh.grid;
    for y in 0..grid.height {
        let mut last: Option<usize> = None;
        for x in 0..grid.width {
            let mut body = Body { plan, wiring, x, y, ops: Vec::new(), params: Vec::new() };
            let mut parts: [Vec<VecOp>; 3] = Default::default();
            let (start, end) = (plan.before, plan.before + plan.round);
            for (i, p) in plan.once() {
                body.phase(i, &p.work, plan.groups);
                parts[usize::from(i >= start) + usize::from(i >= end)].append(&mut body.ops);
            }
            let (in_colors, out_colors) = body.colors(plan.groups);
            let params: Vec<ParamFn> = body.params.iter().map(|&v| ParamFn::Const(v)).collect();
            let class = match known.get(&parts) {
                Some(&c) => c,
                None => {
                    let c = program.classes.len();
                    known.insert(parts.clone(), c);
                    program.classes.push(PeClass { name: format!("pe {c}"), tasks: tasks(parts, plan.rounds) });
                    c
                }
            };
            let class = ClassIx(class as u32);
            if let Some(r) = last.map(|at: usize| &mut program.regions[at])
                && (r.class, &r.in_colors, &r.out_colors, &r.params) == (class, &in_colors, &out_colors, &params)
            {
                r.rect.w += 1;
                continue;
            }
            last = Some(program.regions.len());
            let rect = Rect { x, y, w: 1, h: 1 };
            program.regions.push(Region { rect, class, node: NodeIx(0), in_colors, out_colors, params });
        }
    }
    program
}

/// What comes before the rounds, a round, and what comes after, each a task that activates the next.
fn tasks(parts: [Vec<VecOp>; 3], rounds: usize) -> Vec<Task> {
    let repeats = [("before", 1), ("layer", rounds), ("after", 1)];
    let parts: Vec<_> = parts.into_iter().zip(repeats).filter(|(body, _)| !body.is_empty()).collect();
    let last = parts.len().saturating_sub(1);
    let task = |(i, (body, (name, repeat))): (usize, (Vec<VecOp>, (&str, usize)))| Task {
        name: name.to_string(),
        trigger: Trigger::Local,
        active: i == 0,
        blocked: false,
        repeat: num(repeat),
        body,
        on_end: if i < last { vec![Action::Activate(TaskIx(i as u8 + 1))] } else { Vec::new() },
    };
    parts.into_iter().enumerate().map(task).collect()
}

fn route(program: &mut Program, plan: &Plan, wiring: &Wiring) {
    let mesh = plan.mesh;
    for axis in [Axis::Row, Axis::Column] {
        let lines = (0, mesh.len(super::phase::other(axis)));
        let ends = (mesh.middle(axis), mesh.len(axis));
        wires::spread(&mut program.routes, axis, lines, ends, wiring.spread[index(axis)]);
        let w = &wiring.trees[index(axis)];
        for m in w.tree.messages() {
            wires::message(&mut program.routes, axis, lines, m, w.colors[&m.from]);
        }
    }
    let (Some(g), Some((w, color))) = (plan.groups, &wiring.group) else { return };
    let lines = (0, mesh.len(super::phase::other(g.axis)));
    for k in 0..g.count {
        let first = g.first + k * g.size;
        wires::spread_within(&mut program.routes, g.axis, lines, (first, first + g.size), first + g.size / 2, *color);
        for m in w.tree.messages() {
            let moved = crate::collective::Message { from: first + m.from, to: first + m.to };
            wires::message(&mut program.routes, g.axis, lines, moved, w.colors[&m.from]);
        }
    }
}

/// SRAM of the fullest PE.
pub(super) fn sram_bytes(plan: &Plan, program: &Program, machine: &Machine) -> Result<u32, CompileError> {
    let m = &machine.program;
    let text = program.classes.iter().map(|c| c.text_bytes(m.vector_op_bytes, m.task_bytes)).max().unwrap_or(0);
    let need = plan.top + u64::from(text);
    let have = machine.geometry.sram_bytes_per_pe;
    if need > u64::from(have) {
        return Err(CompileError::DoesNotFit {
            what: "a PE's share of weights, caches and program in bytes".to_string(),
            need,
            have: have.into(),
            reason: format!("{} bytes of it are program text", text),
            remedy: "use more PEs, or fewer layers or positions".to_string(),
        });
    }
    Ok(need as u32)
}
