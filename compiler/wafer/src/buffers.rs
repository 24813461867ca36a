//! Buffers on short branches, so that streams that part and meet again do not deadlock.
//!
//! Where one stream feeds two branches that join later (a residual, a concatenation), the short
//! branch must hold what the long one has taken but not yet given back. The kernels are run
//! untimed, as wavelet counts through small queues; where that stops at a join with one operand
//! waiting and another full, a buffer of one block goes before the full operand, and again.
//! Real queues are larger than those assumed here, and more room never stops such a network.

use super::code::PeCode;
use super::error::CompileError;
use super::kernels::{Delay, in_queue};
use super::plan::code_of;
use super::streams::{Cut, KernelId, Operand, Producer, StreamId, WaferGraph};
use quadrille_isa::wafer::{Dst, Src, Val, VecOp};

/// Wavelets that a reader's queue is assumed to hold.
const ROOM: u64 = 4;

/// More wavelets than any stream carries.
const EVERYTHING: u64 = 1 << 48;

/// Blocks that one model may buffer before the compiler gives up.
const MAX_BUFFERS: usize = 600;

/// One operation's traffic: wavelets from each operand, wavelets out.
#[derive(Clone, Debug)]
struct Burst {
    takes: Vec<u64>,
    sends: u64,
}

/// A kernel as what it takes and sends, in order.
#[derive(Clone, Debug)]
struct Actor {
    /// (repeat, bursts) of every task that moves something.
    tasks: Vec<(u64, Vec<Burst>)>,
    firings: u64,
    /// Tasks before the first that every firing repeats.
    once: u64,
    /// Where it is: firing, task, repetition, burst, wavelets of the burst done.
    at: [u64; 5],
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
    fn new(g: &WaferGraph, k: usize) -> Actor {
        let kernel = &g.kernels[k];
        // The whole kernel as one PE: a chain of them only has more room.
        let code = code_of(g, kernel, Cut { per: kernel.core.units(), parts: 1 }, 0, false);
        let tasks = code.class.tasks.iter().map(|t| {
            let bursts: Vec<Burst> = t.body.iter().filter_map(|o| burst(&code, o, kernel.inputs.len())).collect();
            (value(&code, t.repeat), bursts)
        });
        let tasks = tasks.filter(|(n, b)| *n > 0 && !b.is_empty()).collect();
        let firings = kernel.core.passes(kernel.core.units()) as u64;
        // A task that is active from the start, before one that waits for a stream, runs once.
        let once = u64::from(firings > 1 && code.class.tasks.first().is_some_and(|t| t.active));
        Actor { tasks, firings, once, at: [0; 5] }
    }

    fn burst(&self) -> Option<&Burst> {
        let [f, t, _, b, _] = self.at;
        (f < self.firings).then(|| self.tasks.get(t as usize)?.1.get(b as usize)).flatten()
    }

    /// On to the next burst.
    fn next(&mut self) {
        let (repeat, bursts) = &self.tasks[self.at[1] as usize];
        let (repeat, bursts, tasks) = (*repeat, bursts.len() as u64, self.tasks.len() as u64);
        let limits = [(3, bursts), (2, repeat), (1, tasks)];
        self.at[4] = 0;
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

/// Where untimed execution stopped: for a join, the operand that is full.
enum Stop {
    Done,
    Full(KernelId, usize),
    Stuck(KernelId),
}

/// Wavelets of a stream sent and, by reader, taken.
struct Flow {
    sent: u64,
    taken: Vec<u64>,
}

fn execute(g: &WaferGraph) -> Stop {
    let mut actors: Vec<Actor> = (0..g.kernels.len()).map(|k| Actor::new(g, k)).collect();
    let mut flows: Vec<Flow> = g.streams.iter().map(|s| Flow { sent: 0, taken: vec![0; s.readers.len()] }).collect();
    let reader = |k: usize, i: usize| {
        let s = &g.streams[g.kernels[k].inputs[i].stream.0];
        s.readers.iter().position(|r| *r == (KernelId(k), i)).unwrap_or(0)
    };
    let space = |flows: &[Flow], s: StreamId| {
        let f = &flows[s.0];
        let readers = f.taken.iter().zip(&g.streams[s.0].readers);
        // Who takes its operands whole has room for all of them.
        let limits = readers.filter(|(_, (k, _))| !g.kernels[k.0].core.drains()).map(|(t, _)| t + ROOM);
        limits.min().map_or(u64::MAX, |limit| limit - f.sent)
    };
    // Inputs of the model keep their streams full.
    let refill = |flows: &mut Vec<Flow>, s: StreamId| {
        if matches!(g.stream(s).producer, Producer::Input(_)) {
            let room = space(flows, s);
            // Readers that take everything get everything at once.
            flows[s.0].sent = match room {
                u64::MAX => EVERYTHING,
                room => flows[s.0].sent + room,
            };
        }
    };
    for i in 0..g.streams.len() {
        refill(&mut flows, StreamId(i));
    }
    let order = g.order();
    loop {
        let mut moved = false;
        for &KernelId(k) in &order {
            while let Some(b) = actors[k].burst() {
                let total = b.takes.iter().copied().chain([b.sends]).max().unwrap_or(1);
                let done = actors[k].at[4];
                let part = |n: u64, p: u64| (n * p).div_ceil(total);
                let mut p = total;
                for (i, &n) in b.takes.iter().enumerate().filter(|(_, n)| **n > 0) {
                    let s = g.kernels[k].inputs[i].stream;
                    let waiting = flows[s.0].sent - flows[s.0].taken[reader(k, i)];
                    p = p.min((part(n, done) + waiting) * total / n);
                }
                if b.sends > 0 {
                    let room = space(&flows, g.kernels[k].output).min(b.sends);
                    p = p.min((part(b.sends, done) + room) * total / b.sends);
                }
                let p = p.clamp(done, total);
                if p == done {
                    break;
                }
                for (i, &n) in b.takes.iter().enumerate().filter(|(_, n)| **n > 0) {
                    let s = g.kernels[k].inputs[i].stream;
                    flows[s.0].taken[reader(k, i)] += part(n, p) - part(n, done);
                    refill(&mut flows, s);
                }
                flows[g.kernels[k].output.0].sent += part(b.sends, p) - part(b.sends, done);
                moved = true;
                if p == total {
                    actors[k].next();
                } else {
                    actors[k].at[4] = p;
                }
            }
        }
        if !moved {
            break;
        }
    }
    let unfinished = (0..actors.len()).find(|&k| actors[k].burst().is_some());
    let Some(first) = unfinished else { return Stop::Done };
    // What a kernel that cannot go on waits for: the maker of an operand that is not there, or
    // the reader whose queue is full.
    let waits_for = |k: usize| -> Option<(usize, Option<usize>)> {
        let takes = actors[k].burst().map(|b| b.takes.clone()).unwrap_or_default();
        for (i, _) in takes.iter().enumerate().filter(|(_, n)| **n > 0) {
            let s = g.kernels[k].inputs[i].stream;
            if flows[s.0].sent == flows[s.0].taken[reader(k, i)] {
                return match g.stream(s).producer {
                    Producer::Kernel(p) => Some((p.0, None)),
                    // An input sends as soon as all its readers have room.
                    Producer::Input(_) | Producer::Gone => slowest(g, &flows, s),
                };
            }
        }
        slowest(g, &flows, g.kernels[k].output)
    };
    let mut path: Vec<(usize, Option<usize>)> = vec![(first, None)];
    let circle = loop {
        let at = path[path.len() - 1].0;
        let Some(next) = waits_for(at) else { return Stop::Stuck(KernelId(at)) };
        if let Some(start) = path.iter().position(|p| p.0 == next.0) {
            path.push(next);
            break path.split_off(start + 1);
        }
        path.push(next);
    };
    // A buffer goes where a queue of the circle is full before a kernel that wants another operand.
    let full = circle.iter().filter_map(|&(k, i)| i.map(|i| (KernelId(k), i)));
    let mut joins = full.filter(|(k, _)| g.kernels[k.0].inputs.len() > 1);
    match joins.next() {
        Some((k, i)) => Stop::Full(k, i),
        None => Stop::Stuck(KernelId(first)),
    }
}

/// The reader of a stream that has taken least: kernel and operand.
fn slowest(g: &WaferGraph, flows: &[Flow], s: StreamId) -> Option<(usize, Option<usize>)> {
    let readers = g.stream(s).readers.iter().zip(&flows[s.0].taken);
    readers.min_by_key(|(_, t)| **t).map(|(&(k, i), _)| (k.0, Some(i)))
}

/// True when two operands of some kernel come from one stream.
fn has_reconvergence(g: &WaferGraph) -> bool {
    let mut from: Vec<Vec<bool>> = vec![Vec::new(); g.streams.len()];
    for (i, f) in from.iter_mut().enumerate() {
        *f = vec![false; g.streams.len()];
        f[i] = true;
    }
    let mut found = false;
    for k in g.order() {
        let kernel = &g.kernels[k.0];
        let mut seen = vec![0u32; g.streams.len()];
        for o in &kernel.inputs {
            for (n, &b) in seen.iter_mut().zip(&from[o.stream.0]) {
                *n += u32::from(b);
            }
        }
        found |= seen.iter().any(|&n| n > 1);
        for (f, n) in from[kernel.output.0].iter_mut().zip(seen) {
            *f |= n > 0;
        }
    }
    found
}

/// Puts buffers where the graph would deadlock without them.
pub(crate) fn add_buffers(g: &mut WaferGraph) -> Result<(), CompileError> {
    if !has_reconvergence(g) {
        return Ok(());
    }
    for _ in 0..MAX_BUFFERS {
        match execute(g) {
            Stop::Done => return Ok(()),
            Stop::Full(k, i) => insert(g, k, i),
            Stop::Stuck(k) => return Err(unbuffered(g, k)),
        }
    }
    let k = g.kernels.iter().position(|k| k.inputs.len() > 1).unwrap_or(0);
    Err(unbuffered(g, KernelId(k)))
}

fn unbuffered(g: &WaferGraph, k: KernelId) -> CompileError {
    let kernel = &g.kernels[k.0];
    CompileError::Unsupported {
        node: kernel.names[0].clone(),
        op: kernel.core.op().to_string(),
        shape: format!("{:?}", g.stream(kernel.output).shape),
        reason: "its operands come from one stream over branches of different length, and no number of row \
                 buffers on the short one lets the long one finish"
            .to_string(),
        remedy: "use --target tsp".to_string(),
    }
}

/// One more block of buffer before operand `i` of a kernel.
fn insert(g: &mut WaferGraph, k: KernelId, i: usize) {
    let id = g.kernels[k.0].inputs[i].stream;
    let (shape, layout, narrow, format) = {
        let s = g.stream(id);
        (s.shape.clone(), s.layout.clone(), s.narrow, s.format)
    };
    let Some(mut layout) = layout else { return };
    while layout.loops.len() < 2 {
        layout.loops.insert(0, super::layout::Loop { count: 1, step: 0 });
    }
    let loops = &layout.loops;
    let n = loops.len();
    let images = if n > 3 { loops[0].count } else { 1 };
    let outer: usize = loops[usize::from(n > 3)..n - 2].iter().map(|l| l.count).product();
    let core = Delay { images, blocks: outer, runs: loops[n - 2].count, layout: layout.clone() };
    let name = g.kernels[k.0].names[0].clone();
    g.streams[id.0].readers.retain(|r| *r != (k, i));
    let operand = Operand { stream: id, layout };
    let (_, buffered) = g.add_kernel(&name, Box::new(core), vec![operand], shape);
    let s = &mut g.streams[buffered.0];
    (s.narrow, s.format) = (narrow, format);
    s.readers.push((k, i));
    g.kernels[k.0].inputs[i].stream = buffered;
}
