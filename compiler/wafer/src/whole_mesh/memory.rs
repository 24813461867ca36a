//! Addresses of buffers, and equal layers as rounds of one program.
//!
//! When a graph's phases are one list several times over, only that list becomes program text. What a layer alone
//! holds (weights, caches) lies layer after layer, and operations step through it; what one layer hands to the next
//! stays at one address. All other buffers share memory when they are not in use at the same time.

use super::phase::{BufId, Init, Phase, Plan, Work};
use std::collections::{BTreeMap, BTreeSet};

/// First and last phase of a round in which a buffer is in use.
type Span = (usize, usize);

pub(super) fn give_out(plan: &mut Plan) {
    (plan.before, plan.round, plan.rounds) = (0, plan.phases.len(), 1);
    let mut next = BTreeMap::new();
    if let Some(r) = roll(plan) {
        (plan.before, plan.round, plan.rounds, next) = (r.before, r.round, r.rounds, r.next);
    }
    let mut spans = spans(plan, &next);
    for (phase, list) in clear(plan, &mut spans) {
        if let Work::Product { clears, .. } = &mut plan.phases[phase].work {
            *clears = list;
        }
    }
    let held = plan.attentions.map_or(0, |a| a.held as usize);
    let set_out = set_out(plan, &spans, &next, plan.rounds as u64, held);
    plan.top = 0;
    for (b, addr, _) in set_out {
        let (bytes, size) = (plan.buf(b).bytes(), u64::from(plan.buf(b).ty.bytes()));
        let layered = is_layered(plan, &next, b);
        for (k, at) in chain(&next, b).into_iter().enumerate() {
            let of = &mut plan.bufs[at.0];
            of.addr = (addr + if layered { k as u64 * bytes } else { 0 }) as u32;
            of.step = if layered { (bytes / size) as usize } else { 0 };
            plan.top = plan.top.max(u64::from(of.addr) + bytes);
        }
    }
    // What nobody reads, as an input that the graph does not use, has no place.
    let used: BTreeSet<BufId> = spans.keys().flat_map(|b| chain(&next, *b)).collect();
    for (i, b) in plan.bufs.iter_mut().enumerate().filter(|(i, _)| !used.contains(&BufId(*i))) {
        b.init = Init::Free;
        debug_assert!(!plan.outs.iter().any(|o| o.buf == BufId(i)));
    }
    plan.spans = spans;
    plan.next = next;
}

/// True when a layer has a buffer of its own of this kind.
fn is_layered(plan: &Plan, next: &BTreeMap<BufId, BufId>, b: BufId) -> bool {
    let own = |b: BufId| plan.buf(b).is_given();
    own(b) && next.get(&b).is_some_and(|&n| n != b && own(n))
}

/// Addresses: first of what holds something from the start, then of the rest, each where nothing lies on the same PE
/// that is in use at the same time; large ones first. For so many layers and positions on a PE.
fn set_out(
    plan: &Plan,
    spans: &BTreeMap<BufId, Span>,
    next: &BTreeMap<BufId, BufId>,
    layers: u64,
    held: usize,
) -> Vec<(BufId, u64, u64)> {
    let counterparts: BTreeSet<BufId> = spans.keys().flat_map(|b| chain(next, *b).split_off(1)).collect();
    let bytes = |b: BufId| {
        let of = plan.buf(b);
        let one = match of.of_position {
            0 => of.bytes(),
            n => (n as u64 * held as u64 * u64::from(of.ty.bytes())).next_multiple_of(4),
        };
        // One layer alone does not show what others would share: only what it says of itself.
        let alone = plan.rounds == 1
            && of.is_given()
            && !of.shared
            && (of.of_position > 0 || matches!(of.init, Init::Bytes(_)));
        one * if alone || is_layered(plan, next, b) { layers } else { 1 }
    };
    let mut order: Vec<BufId> = spans.keys().copied().filter(|b| !counterparts.contains(b)).collect();
    order.sort_by_key(|b| (!plan.buf(*b).is_given(), std::cmp::Reverse(bytes(*b)), *b));
    let mut placed: Vec<(BufId, u64, u64)> = Vec::new();
    for b in order {
        let given = |b: BufId| plan.buf(b).is_given();
        let at_once = |o: BufId| given(b) || given(o) || spans[&o].0 <= spans[&b].1 && spans[&b].0 <= spans[&o].1;
        let meets = |p: &&(BufId, u64, u64)| at_once(p.0) && plan.buf(p.0).at.meets(&plan.buf(b).at);
        let mut busy: Vec<(u64, u64)> = placed.iter().filter(meets).map(|p| (p.1, p.2)).collect();
        busy.sort_unstable();
        let mut addr = 0;
        for (from, to) in busy {
            if addr + bytes(b) <= from {
                break;
            }
            addr = addr.max(to);
        }
        placed.push((b, addr, addr + bytes(b)));
    }
    placed
}

/// Bytes that so many layers like those of the plan take, with so many positions on a PE.
pub(super) fn needed(plan: &Plan, layers: u64, held: usize) -> u64 {
    set_out(plan, &plan.spans, &plan.next, layers, held).into_iter().map(|p| p.2).max().unwrap_or(0)
}

/// A buffer and its counterparts in later rounds.
fn chain(next: &BTreeMap<BufId, BufId>, b: BufId) -> Vec<BufId> {
    let mut list = vec![b];
    while let Some(&n) = next.get(&list[list.len() - 1]).filter(|n| !list.contains(n)) {
        list.push(n);
    }
    list
}

/// A phase without the names of its buffers, and those names.
fn shape(p: &Phase) -> (Work, Vec<BufId>) {
    let mut work = p.work.clone();
    let names = work.bufs().into_iter().map(|b| std::mem::replace(b, BufId(0))).collect();
    (work, names)
}

/// Phases before the rounds, of a round, rounds, and for every buffer its counterpart in the next round.
struct Rolled {
    before: usize,
    round: usize,
    rounds: usize,
    next: BTreeMap<BufId, BufId>,
}

/// The list of phases that repeats over most of all.
fn roll(plan: &Plan) -> Option<Rolled> {
    let shapes: Vec<(Work, Vec<BufId>)> = plan.phases.iter().map(shape).collect();
    let mut kinds: Vec<usize> = Vec::new();
    for (i, s) in shapes.iter().enumerate() {
        let same = (0..i).find(|&k| kinds[k] == k && shapes[k].0 == s.0 && shapes[k].1.len() == s.1.len());
        kinds.push(same.unwrap_or(i));
    }
    let n = shapes.len();
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for round in 1..=n / 2 {
        let mut before = 0;
        while before + 2 * round <= n {
            let run = (before..n - round).take_while(|&i| kinds[i] == kinds[i + round]).count();
            if run >= round {
                found.push((before, round, run / round + 1));
            }
            before += run + 1;
        }
    }
    // Most phases first, then the shortest round.
    found.sort_by_key(|&(before, round, rounds)| (std::cmp::Reverse(round * (rounds - 1)), round, before));
    found.into_iter().find_map(|(before, round, rounds)| {
        let list = &shapes[before..before + round * rounds];
        let products = list[..round].iter().any(|s| matches!(s.0, Work::Product { .. }));
        let mut next: BTreeMap<BufId, BufId> = BTreeMap::new();
        let mut back: BTreeMap<BufId, BufId> = BTreeMap::new();
        for (&x, &y) in list.iter().zip(&list[round..]).flat_map(|(a, b)| a.1.iter().zip(&b.1)) {
            if *next.entry(x).or_insert(y) != y || *back.entry(y).or_insert(x) != x {
                return None;
            }
        }
        let rolled = Rolled { before, round, rounds, next };
        (products && fits(plan, &rolled) && clearable(plan, &rolled)).then_some(rolled)
    })
}

/// Whether buffers and their counterparts can take turns.
fn fits(plan: &Plan, r: &Rolled) -> bool {
    let mut first_write: BTreeMap<BufId, usize> = BTreeMap::new();
    let mut last_use: BTreeMap<BufId, usize> = BTreeMap::new();
    for (i, p) in plan.phases[r.before..r.before + r.round].iter().enumerate() {
        p.work.written().into_iter().for_each(|b| _ = first_write.entry(b).or_insert(i));
        p.work.clone().bufs().into_iter().for_each(|b| _ = last_use.insert(*b, i));
    }
    let outs: Vec<BufId> = plan.outs.iter().map(|o| o.buf).collect();
    r.next.iter().all(|(x, y)| {
        let (a, b) = (plan.buf(*x), plan.buf(*y));
        let alike = (a.ty, a.len, &a.at) == (b.ty, b.len, &b.at);
        let kinds = match first_write.get(y) {
            // What one round hands to the next is written when its predecessor is no more in use.
            Some(w) => !b.is_given() && last_use.get(x).is_none_or(|l| l < w),
            None => a.is_given() == b.is_given(),
        };
        // A result that only one round leaves would be overwritten.
        let kept = !outs.contains(x) || a.is_given() && b.is_given();
        let constant = x == y && !first_write.contains_key(x);
        constant || alike && x != y && kept && kinds
    })
}

/// Whether some product of the round can clear each buffer that wants zeros: one before its first use or after its last.
fn clearable(plan: &Plan, r: &Rolled) -> bool {
    let phases = &plan.phases[r.before..r.before + r.round];
    let products: Vec<usize> = (0..r.round).filter(|&i| matches!(phases[i].work, Work::Product { .. })).collect();
    let mut used: BTreeMap<BufId, Span> = BTreeMap::new();
    for (i, p) in phases.iter().enumerate() {
        p.work.clone().bufs().into_iter().for_each(|b| used.entry(*b).or_insert((i, i)).1 = i);
    }
    let outside = |s: &Span| products.iter().any(|&p| p <= s.0 || p > s.1);
    used.iter().all(|(b, s)| !matches!(plan.buf(*b).init, Init::Zero) || outside(s))
}

/// When the buffers are in use: phases before the rounds, those of the first round, and those after the last. What is
/// used in a round and elsewhere is in use in the whole round.
fn spans(plan: &Plan, next: &BTreeMap<BufId, BufId>) -> BTreeMap<BufId, Span> {
    let back: BTreeMap<BufId, BufId> = next.iter().filter(|(x, y)| x != y).map(|(x, y)| (*y, *x)).collect();
    let root = |mut b: BufId| {
        while let Some(&first) = back.get(&b) {
            b = first;
        }
        b
    };
    let mut spans: BTreeMap<BufId, Span> = BTreeMap::new();
    let (start, end) = (plan.before, plan.before + plan.round);
    for (i, p) in plan.once() {
        for b in p.work.clone().bufs() {
            let s = spans.entry(root(*b)).or_insert((i, i));
            (s.0, s.1) = (s.0.min(i), s.1.max(i));
        }
    }
    let last = plan.phases.len();
    for o in &plan.outs {
        let s = spans.entry(root(o.buf)).or_insert((0, last));
        s.1 = last;
    }
    let carried: Vec<BufId> = next.iter().filter(|(x, y)| x != y).map(|(x, _)| root(*x)).collect();
    for (b, s) in spans.iter_mut() {
        let inside = s.0 >= start && s.1 < end;
        let handed = carried.contains(b)
            && next.get(b).is_some_and(|y| plan.phases[start..end].iter().any(|p| p.work.written().contains(y)));
        if plan.rounds > 1 && (!inside && s.1 >= start && s.0 < end || handed) {
            (s.0, s.1) = (s.0.min(start), s.1.max(end - 1));
        }
    }
    spans
}

/// Which product clears which buffers; their spans begin there.
fn clear(plan: &Plan, spans: &mut BTreeMap<BufId, Span>) -> BTreeMap<usize, Vec<BufId>> {
    let is_product = |i: &usize| matches!(plan.phases[*i].work, Work::Product { .. });
    let (start, end) = (plan.before, plan.before + plan.round);
    let mut out: BTreeMap<usize, Vec<BufId>> = BTreeMap::new();
    for (&b, span) in spans.iter_mut().filter(|(b, _)| matches!(plan.buf(**b).init, Init::Zero)) {
        let in_round = plan.rounds > 1 && span.0 >= start && span.0 < end;
        let own = |i: &usize| matches!(plan.phases[*i].work, Work::Product { sums, .. } if sums == b);
        let first = if in_round { start } else { 0 };
        let usable = |i: &usize| {
            is_product(i)
                && (*i < span.0 || own(i))
                && (in_round || plan.rounds == 1 || *i < start || *i >= start + plan.round * plan.rounds)
        };
        let before = (first..=span.0).rev().find(usable);
        match before {
            Some(p) => {
                span.0 = p;
                out.entry(p).or_default().push(b);
            }
            // Zero at the start; the last product of a round clears it for the next.
            None => {
                let after = (span.1 + 1..end).rev().find(is_product).filter(|_| in_round);
                after.into_iter().for_each(|p| out.entry(p).or_default().push(b));
                *span = (0, plan.phases.len());
            }
        }
    }
    out
}
