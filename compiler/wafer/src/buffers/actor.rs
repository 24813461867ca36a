//! A kernel seen as traffic: how many wavelets it takes and sends, in which order.

use crate::code::PeCode;
use crate::kernels::in_queue;
use crate::plan::code_of;
use crate::streams::WaferGraph;
use quadrille_isa::wafer::{Dst, Src, Val, VecOp};

/// One operation's traffic: wavelets from each operand, wavelets out.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    pub(super) takes: Vec<u64>,
    pub(super) sends: u64,
}

/// A kernel as what it takes and sends, in order.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    /// (repeat, bursts) of every task that moves something.
    tasks: Vec<(u64, Vec<Burst>)>,
    firings: u64,
    /// Tasks before the first that every firing repeats.
    once: u64,
    /// Where it is: firing, task, repetition, burst.
    at: [u64; 4],
    /// Wavelets of the burst done, on the scale of its longest side.
    pub(super) done: u64,
}

fn value(code: &PeCode, v: Val) -> u64 {
    match v {
        Val::Const(c) => c.max(0) as u64,
        Val::Param(i) => code.params[usize::from(i)].max(0) as u64,
    }
}

fn burst(code: &PeCode, o: &VecOp, inputs: usize) -> Option<Burst> {
    let n = value(code, o.n0) * value(code, o.n1);
    let mut b = Burst { takes: vec![0; inputs], sends: 0 };
    for s in [o.a, o.b, o.c] {
        if let Src::Fabric(q, ty) = s
            && let Some(i) = (0..inputs).find(|&i| in_queue(i) == q)
        {
            b.takes[i] += n.div_ceil(u64::from(ty.per_wavelet()));
        }
    }
    if let Dst::Fabric(_, ty) = o.dst {
        b.sends = n.div_ceil(u64::from(ty.per_wavelet()));
    }
    (b.sends > 0 || b.takes.iter().any(|&t| t > 0)).then_some(b)
}

impl Actor {
    /// Kernel `k` before its first firing.
    pub(super) fn new(g: &WaferGraph, k: usize) -> Actor {
        let kernel = &g.kernels[k];
        // The last PE of the chain takes the streams whole and sends the whole result, its own share and
        // those of the others: what it waits for, all do.
        let code = code_of(g, kernel, kernel.cut, kernel.pes() - 1, false);
        let tasks = code.class.tasks.iter().map(|t| {
            let bursts: Vec<Burst> = t.body.iter().filter_map(|o| burst(&code, o, kernel.inputs.len())).collect();
            (value(&code, t.repeat), bursts)
        });
        let tasks = tasks.filter(|(n, b)| *n > 0 && !b.is_empty()).collect();
        let firings = kernel.core.passes(kernel.cut.per) as u64;
        // A task that is active from the start, before one that waits for a stream, runs once.
        let once = u64::from(firings > 1 && code.class.tasks.first().is_some_and(|t| t.active));
        Actor { tasks, firings, once, at: [0; 4], done: 0 }
    }

    /// What it does next; `None` when it has done everything.
    pub(super) fn burst(&self) -> Option<&Burst> {
        let [f, t, _, b] = self.at;
        (f < self.firings).then(|| self.tasks.get(t as usize)?.1.get(b as usize)).flatten()
    }

    /// On to the next burst.
    pub(super) fn next(&mut self) {
        let (repeat, bursts) = &self.tasks[self.at[1] as usize];
        let (repeat, bursts, tasks) = (*repeat, bursts.len() as u64, self.tasks.len() as u64);
        let limits = [(3, bursts), (2, repeat), (1, tasks)];
        self.done = 0;
        for (i, limit) in limits {
            self.at[i] += 1;
            if self.at[i] < limit {
                return;
            }
            self.at[i] = 0;
        }
        self.at[0] += 1;
        self.at[1] = self.once;
    }
}
