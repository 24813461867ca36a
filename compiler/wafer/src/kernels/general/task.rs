//! The tasks of a general kernel's PE.
//!
//! ```text
//! once:   take what is the same for all rounds
//! round:  drop what is for PEs before, take all operands at once, [wait for each], drop what is
//!         for the PEs after, work, send, pass on what the PEs after made
//! ```
//!
//! Operands arrive in any order of time: all but one are taken by microthreads, each of which
//! unblocks a task of its own when it is done; those tasks activate each other in turn, so that
//! the order of all tasks is fixed.

use super::nest::{Arg, Flat, View};
use super::{General, Input};
use crate::code::{Builder, fabric, mem, mov, num, op, stepped, to_fabric};
use crate::kernels::{CHAIN_IN, OUT, PeContext, in_queue};
use crate::layout::{Layout, Loop};
use quadrille_isa::wafer::{Action, Dst, IssueMode, Mem, Src, Task, TaskIx, Trigger, Val, VecOp};

/// Where buffers lie, and how an operand is received.
struct Places {
    bufs: Vec<u32>,
    /// Staging for operands that cannot be scattered by one operation, or of 64 bits.
    staging: Vec<Option<u32>>,
}

/// The (n1, s1, n0, s0) of an order of at most two loops.
fn two(order: &Layout) -> Option<[usize; 4]> {
    match order.normalized()[..] {
        [] => Some([1, 0, 1, 0]),
        [a] => Some([1, 0, a.count, a.step]),
        [a, b] => Some([a.count, a.step, b.count, b.step]),
        _ => None,
    }
}

fn field(v: isize) -> Val {
    Val::Const(v as i32)
}

impl Places {
    fn view(&self, v: &View, repeat: usize) -> Mem {
        let base = i64::from(self.bufs[v.buf.0]) + v.offset as i64 * i64::from(v.ty.bytes());
        // After all passes of its task an operand is where it began.
        let modulo = if repeat > 1 && v.step > 0 { v.step * repeat as isize } else { 0 };
        Mem {
            ty: v.ty,
            base: Val::Const(base as i32),
            stride0: field(v.strides[1]),
            stride1: field(v.strides[0]),
            step: field(if repeat > 1 { v.step } else { 0 }),
            modulo: field(modulo),
        }
    }

    fn operation(&self, f: &Flat, repeat: usize) -> VecOp {
        let mut args = [Src::None; 3];
        for (slot, a) in args.iter_mut().zip(&f.args) {
            *slot = match a {
                Arg::View(v) => Src::Mem(self.view(v, repeat)),
                Arg::Imm(bits, ty) => Src::Imm(*bits, *ty),
            };
        }
        op(f.op, num(f.n1), num(f.n0), Dst::Mem(self.view(&f.dst, repeat)), args)
    }
}

/// The operation that receives an operand, and those that bring it from staging to its place.
fn receive(p: &Places, i: usize, input: &Input) -> (VecOp, Vec<VecOp>) {
    let from = fabric(in_queue(i), input.ty);
    let base = p.bufs[input.buf.0];
    let Some(staging) = p.staging[i] else {
        let [n1, s1, n0, s0] = two(&input.order).unwrap_or([1, 0, input.len, 1]);
        return (mov(num(n1), num(n0), Dst::Mem(mem(input.ty, base, s1, s0)), from), Vec::new());
    };
    let take = mov(num(1), num(input.len * input.words), Dst::Mem(mem(input.ty, staging, 0, 1)), from);
    // Two loops an operation; the staging area holds them one after the other.
    let loops = input.order.normalized();
    let (outer, inner) = loops.split_at(loops.len().saturating_sub(2));
    let inner = Layout { loops: inner.to_vec() };
    let [n1, s1, n0, s0] = two(&inner).unwrap_or([1, 0, 1, 0]);
    let size = input.ty.bytes();
    let starts = Layout { loops: outer.to_vec() }.indices();
    let moves = starts.iter().enumerate().map(|(k, &start)| {
        let read = mem(input.ty, staging + (k * n1 * n0 * input.words) as u32 * size, n0 * input.words, input.words);
        mov(num(n1), num(n0), Dst::Mem(mem(input.ty, base + start as u32 * size, s1, s0)), Src::Mem(read))
    });
    (take, moves.collect())
}

fn task(name: String, trigger: Trigger) -> Task {
    Task { name, trigger, active: false, blocked: false, repeat: num(1), body: Vec::new(), on_end: Vec::new() }
}

/// Writes the program of one PE.
pub(super) fn emit(k: &General, cx: &PeContext<'_>, b: &mut Builder) {
    // With shares every PE does all rounds; else it drops those of the others.
    let (blocks, pes, share) = match k.shares {
        Some(_) => (k.rounds, 1, 0),
        None => {
            let blocks = cx.units.len().max(1);
            (blocks, k.rounds.div_ceil(blocks), cx.units.start / blocks)
        }
    };
    // Buffers and their contents.
    let mut bufs = Vec::new();
    for (i, buf) in k.program.bufs.iter().enumerate() {
        let own = k.sliced.iter().find(|s| k.shares.is_some() && s.buf.0 == i);
        if let Some(s) = own {
            bufs.push(b.words(s.ty, s.len, || s.values[cx.units.start * s.len..][..s.len].to_vec()));
            continue;
        }
        bufs.push(match &buf.init {
            None => b.zeros(buf.ty, buf.len),
            Some(v) => b.words(buf.ty, buf.len, || v.iter().take(buf.len).copied().collect()),
        });
    }
    let staging = k.inputs.iter().map(|i| {
        let direct = i.words == 1 && two(&i.order).is_some();
        (!direct).then(|| b.zeros(i.ty, i.len * i.words))
    });
    let p = Places { staging: staging.collect(), bufs };
    // A round begins when its earliest operand comes: what others are made of may be the same stream.
    let mut turns: Vec<usize> = (0..k.inputs.len()).collect();
    turns.sort_by_key(|&i| (k.inputs[i].turn, i));
    let (once, per): (Vec<usize>, Vec<usize>) = turns.into_iter().partition(|&i| k.inputs[i].once && k.rounds > 1);

    let mut tasks: Vec<Task> = Vec::new();
    let mut groups: Vec<(usize, Vec<VecOp>)> = Vec::new();
    let add = |groups: &mut Vec<(usize, Vec<VecOp>)>, ops: Vec<VecOp>| {
        if !ops.is_empty() {
            match groups.last_mut() {
                Some((1, body)) => body.extend(ops),
                _ => groups.push((1, ops)),
            }
        }
    };
    if k.rounds > 1 {
        // Operands for all rounds: one after the other.
        let mut body = Vec::new();
        for &i in &once {
            let (take, moves) = receive(&p, i, &k.inputs[i]);
            body.push(take);
            body.extend(moves);
        }
        if !body.is_empty() {
            let mut t = task("once".to_string(), Trigger::Local);
            t.active = true;
            t.body = body;
            tasks.push(t);
        }
    }
    let first_round = tasks.len();
    if first_round > 0 {
        // The rounds begin when that is done.
        tasks[0].on_end.push(Action::Unblock(TaskIx(first_round as u8)));
    }
    // What is for the PEs before goes slice by slice, in the order in which those take it: a
    // stream reaches each PE only as fast as all the others take it.
    let drop_slices =
        |n: Val, i: &Input, at: usize| mov(n, num(i.len * i.words), Dst::None, fabric(in_queue(at), i.ty));
    let drop_all = || per.iter().map(|&i| drop_slices(num(1), &k.inputs[i], i)).collect::<Vec<VecOp>>();
    if share > 0 {
        let mut t = task("before".to_string(), Trigger::Local);
        (t.repeat, t.body) = (b.param(share), drop_all());
        tasks.push(t);
    }
    let mut body = Vec::new();
    let mut waits: Vec<usize> = Vec::new();
    let mut moves = Vec::new();
    let mut sync = None;
    for (n, &i) in per.iter().enumerate() {
        let (mut take, after) = receive(&p, i, &k.inputs[i]);
        moves.extend(after);
        if n + 1 < per.len() {
            take.issue = IssueMode::Async(n as u8);
            waits.push(body.len());
            body.push(take);
        } else {
            sync = Some(take);
        }
    }
    body.extend(sync);
    let trigger = match per.first() {
        Some(&i) if k.rounds > 1 => Trigger::Data(in_queue(i)),
        _ => Trigger::Local,
    };
    let mut start = task("take".to_string(), Trigger::Local);
    start.body = body;
    // One task waits for each microthread.
    let wait_from = tasks.len() + 1;
    for (n, &at) in waits.iter().enumerate() {
        start.body[at].on_done.push(Action::Unblock(TaskIx((wait_from + n) as u8)));
    }
    tasks.push(start);
    for n in 0..waits.len() {
        let mut t = task(format!("wait{n}"), Trigger::Local);
        t.blocked = true;
        // The next round waits again.
        t.on_end.push(Action::Block(TaskIx((wait_from + n) as u8)));
        tasks.push(t);
    }
    // What is for the PEs after goes before the work, for the same reason.
    let after = pes - 1 - share;
    if after > 0 {
        let mut t = task("after".to_string(), Trigger::Local);
        (t.repeat, t.body) = (b.param(after), drop_all());
        tasks.push(t);
    }
    let first = &mut tasks[first_round];
    first.trigger = trigger;
    first.active = trigger == Trigger::Local;
    first.blocked = first_round > 0;
    if k.rounds > 1 {
        first.on_end.push(Action::Block(TaskIx(first_round as u8)));
    }
    add(&mut groups, moves);
    // Slices of constants.
    for s in k.sliced.iter().filter(|_| k.shares.is_none()) {
        let own: Vec<u32> =
            (0..blocks).flat_map(|r| s.values[(r * pes + share) * s.len..][..s.len].iter().copied()).collect();
        let n = own.len();
        let at = b.words(s.ty, n, || own);
        let from = stepped(mem(s.ty, at, 0, 1), s.len, n);
        let into = Dst::Mem(mem(s.ty, p.bufs[s.buf.0], 0, 1));
        add(&mut groups, vec![mov(num(1), num(s.len), into, Src::Mem(from))]);
    }
    for part in &k.program.parts {
        let ops: Vec<VecOp> = part.ops.iter().map(|o| p.operation(o, part.repeat)).collect();
        if part.repeat == 1 {
            add(&mut groups, ops);
        } else {
            groups.push((part.repeat, ops));
        }
    }
    let (out, ty, words) = k.output;
    let own = Src::Mem(mem(ty, p.bufs[out.0], 0, 1));
    let n = num(k.out_len * words);
    let send = match k.shares {
        // What the PEs before found goes through as it comes: a chain may be thousands of PEs long.
        Some(s) if cx.units.start + 1 < s.count => {
            op(s.join, num(1), n, to_fabric(OUT, ty), [fabric(CHAIN_IN, ty), own, Src::None])
        }
        _ => mov(num(1), n, to_fabric(OUT, ty), own),
    };
    let mut end = vec![send];
    if after > 0 {
        end.push(mov(num(1), b.param(after * k.out_len * words), to_fabric(OUT, ty), fabric(CHAIN_IN, ty)));
    }
    add(&mut groups, end);
    if !k.fed() {
        let mut t = task("rounds".to_string(), Trigger::Local);
        (t.active, t.blocked, t.repeat) = (true, first_round > 0, num(blocks));
        t.body = groups.into_iter().flat_map(|(_, ops)| ops).collect();
        tasks.truncate(first_round);
        tasks.push(t);
        b.tasks(tasks);
        return;
    }
    for (n, (repeat, ops)) in groups.into_iter().enumerate() {
        let mut t = task(format!("work{n}"), Trigger::Local);
        (t.repeat, t.body) = (num(repeat), ops);
        tasks.push(t);
    }
    // Each activates the next.
    let n = tasks.len();
    for (i, t) in tasks.iter_mut().enumerate().skip(first_round) {
        if i + 1 < n {
            t.on_end.push(Action::Activate(TaskIx(i as u8 + 1)));
        } else if k.rounds > 1 {
            t.on_end.push(Action::Unblock(TaskIx(first_round as u8)));
        }
    }
    b.tasks(tasks);
}

/// The order of one slice when a stream of `rounds` slices of `len` elements brings them one
/// after the other.
pub(crate) fn slice_order(arrives: &Layout, rounds: usize, len: usize) -> Option<Layout> {
    let (outer, inner) = arrives.split_at(len)?;
    let in_turn = outer.same_order(&Layout { loops: vec![Loop { count: rounds, step: len }] });
    in_turn.then_some(inner)
}
