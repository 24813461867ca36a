//! Declared cycles, phase by phase: when every PE is done with it, followed from PE to PE.

use super::emit::Wiring;
use super::phase::{LocalOp, Place, Plan, Work, other};
use crate::collective::Tree;
use crate::collective::cost::Own;
use crate::collective::wires::Axis;
use quadrille_isa::wafer::{ElemType, Machine, PeOp};

/// A phase, and the cycle in which the last PE is done with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhaseCost {
    /// The user's node.
    pub node: String,
    /// What is done.
    pub what: &'static str,
    /// Cycle in which the last PE ends it.
    pub end: u64,
}

struct Clock<'a> {
    plan: &'a Plan,
    machine: &'a Machine,
    wiring: &'a Wiring,
    /// When each PE can launch its next operation, row by row.
    ready: Vec<u64>,
}

pub(super) fn declared(plan: &Plan, wiring: &Wiring, machine: &Machine) -> Vec<PhaseCost> {
    let grid = plan.mesh.grid;
    let ready = vec![0; usize::from(grid.width) * usize::from(grid.height)];
    let mut c = Clock { plan, machine, wiring, ready };
    let mut out = Vec::new();
    let switches = [plan.before, plan.before + plan.round * plan.rounds];
    for (i, p) in plan.phases.iter().enumerate() {
        if i > 0 && switches.contains(&i) {
            c.ready.iter_mut().for_each(|r| *r += u64::from(machine.latency.task_switch));
        }
        c.phase(&p.work);
        let end = c.ready.iter().copied().max().unwrap_or(0);
        out.push(PhaseCost { node: p.node.clone(), what: p.what, end });
    }
    out
}

/// Cycles that the elements of an operation on a PE's own buffers take.
pub(super) fn elements(plan: &Plan, machine: &Machine, o: &LocalOp) -> u64 {
    let r = &machine.rate;
    let ty = |v: super::phase::View| plan.buf(v.buf).ty;
    let half = |a: &super::phase::Arg| match a {
        super::phase::Arg::View(v) | super::phase::Arg::Row(v) => ty(*v) == ElemType::F16,
        super::phase::Arg::Imm(_) => false,
    };
    let all_half = o.args.iter().all(half) && ty(o.dst) == ElemType::F16;
    let rate = match o.op {
        PeOp::Mov if o.args.first().is_some_and(half) != (ty(o.dst) == ElemType::F16) => r.cast,
        PeOp::Mov if all_half => r.f16_mov,
        PeOp::Mov => r.f32_mov,
        PeOp::Add | PeOp::Sub if all_half => r.f16_add,
        PeOp::Add | PeOp::Sub => r.f32_add,
        PeOp::Mul if all_half => r.f16_mul,
        PeOp::Mul => r.f32_mul,
        PeOp::Fma if all_half => r.f16_fma,
        PeOp::Fma if o.args.iter().take(2).all(half) => r.f16_mixed_fma,
        PeOp::Fma => r.f32_fma,
        _ => 1,
    };
    let n = (o.n1 * o.n0) as u64;
    n.div_ceil(u64::from(rate.max(1)))
}

impl Clock<'_> {
    fn at(&self, axis: Axis, place: u16, line: u16) -> usize {
        let (x, y) = if axis == Axis::Row { (place, line) } else { (line, place) };
        usize::from(y) * usize::from(self.plan.mesh.grid.width) + usize::from(x)
    }

    fn local(&self, o: &LocalOp) -> u64 {
        self.wiring.costs.launch + elements(self.plan, self.machine, o)
    }

    fn add(&mut self, at: &Place, cycles: u64) {
        let width = usize::from(self.plan.mesh.grid.width);
        for (x, y) in at.pes() {
            self.ready[usize::from(y) * width + usize::from(x)] += cycles;
        }
    }

    /// Words from one place to others on its line; when the last is there and the launch is over.
    fn send(
        &mut self,
        axis: Axis,
        line: u16,
        (from, first, end): (u16, u16, u16),
        words: u64,
        work: &dyn Fn(u16) -> u64,
    ) {
        let c = self.wiring.costs;
        let root = self.at(axis, from, line);
        let sent = self.ready[root] + c.launch;
        for place in first..end {
            let at = self.at(axis, place, line);
            let work = work(place);
            let hops = c.hop * u64::from(place.abs_diff(from));
            self.ready[at] = match place == from {
                true => sent + words + if work > 0 { c.launch + work } else { 0 },
                false => (self.ready[at] + c.launch).max(sent + c.depth + hops) + words.max(work),
            };
        }
    }

    fn sum(&mut self, tree: &Tree, axis: Axis, line: u16, first: u16, n: usize) {
        let c = self.wiring.costs;
        let ready: Vec<u64> =
            (0..tree.children.len() as u16).map(|p| self.ready[self.at(axis, first + p, line)]).collect();
        let own = |p: u16| Own { first: ready[usize::from(p)] + c.launch, done: ready[usize::from(p)] };
        let times = tree.timeline(n as u32, &own, &c);
        for (p, t) in times.iter().enumerate() {
            let at = self.at(axis, first + p as u16, line);
            self.ready[at] = t.first + n as u64;
        }
    }

    fn phase(&mut self, work: &Work) {
        let mesh = self.plan.mesh;
        let words = |ty: ElemType, n: usize| (n as u64).div_ceil(u64::from(ty.per_wavelet()));
        match work {
            Work::Local { at, ops } => {
                let cycles = ops.iter().map(|o| self.local(o)).sum();
                self.add(at, cycles);
            }
            Work::Spread { axis, lines, buf, n } => {
                let words = words(self.plan.buf(*buf).ty, *n);
                for &line in lines {
                    self.send(*axis, line, (mesh.middle(*axis), 0, mesh.len(*axis)), words, &|_| 0);
                }
            }
            Work::Product { axis, ks, ns, clears, .. } => {
                for b in clears {
                    let b = self.plan.buf(*b);
                    let cycles = self.wiring.costs.launch + (b.len as u64).div_ceil(self.wiring.costs.mov);
                    self.add(&b.at, cycles);
                }
                let rate = u64::from(self.machine.rate.f16_mixed_fma.max(1));
                for line in (0..mesh.len(other(*axis))).filter(|l| ks[usize::from(*l)] > 0) {
                    let k = ks[usize::from(line)];
                    let work = |place: u16| ((k * ns[usize::from(place)]) as u64).div_ceil(rate);
                    let words = words(ElemType::F16, k);
                    self.send(*axis, line, (mesh.middle(*axis), 0, mesh.len(*axis)), words, &work);
                }
            }
            Work::Reduce { axis, lines, n, .. } => {
                let wiring = self.wiring;
                for &line in lines {
                    self.sum(wiring.tree(*axis), *axis, line, 0, *n);
                }
            }
            Work::GroupReduce { n, .. } => {
                let Some(g) = self.plan.groups else { return };
                let alone = Tree { root: 0, children: vec![Vec::new()] };
                let wiring = self.wiring;
                let tree = wiring.group_tree().unwrap_or(&alone);
                for line in 0..mesh.len(other(g.axis)) {
                    (0..g.count).for_each(|k| self.sum(tree, g.axis, line, g.first + k * g.size, *n));
                }
            }
            Work::GroupSpread { buf, n } => {
                let Some(g) = self.plan.groups.filter(|g| g.size > 1) else { return };
                let words = words(self.plan.buf(*buf).ty, *n);
                for line in 0..mesh.len(other(g.axis)) {
                    for k in 0..g.count {
                        let first = g.first + k * g.size;
                        self.send(g.axis, line, (first + g.size / 2, first, first + g.size), words, &|_| 0);
                    }
                }
            }
        }
    }
}
