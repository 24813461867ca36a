//! Attention of one token over caches that are split over all PEs: positions go round the PEs across the vectors'
//! line, the elements of a head lie along its group.
//!
//! ```text
//! queries, new key and value    middle line -> every PE of their place; the position's owner keeps key and value
//! scores                        each PE over its elements, summed over the group to its middle place
//! maximum                       along the middle places, and back
//! 2^(score - maximum)           at the middle places, f16, sent to their groups
//! times values, sum of weights  each PE over its positions, summed to the middle line, divided there
//! ```
//!
//! Caches are f16, a position `p` of `n` PEs in slot `p / n` of PE `p % n`: no PE holds more than one position more
//! than another. Keys lie `[element][position]`, values `[position][element]`.

use super::layout::{Heads, Layout};
use super::phase::{Arg, Attentions, BufId, Init, LocalOp, NONE, View, Work, other};
use super::plan::{Planner, Vector};
use super::position::{Held, Pos};
use super::recognise::{Attention, Cache, refuse};
use crate::CompileError;
use crate::collective::wires::Axis;
use quadrille_compiler::ir::Node;
use quadrille_isa::wafer::{ElemType, PeOp};
use std::sync::Arc;

/// Added to the scores of slots without a position.
const NEVER: f32 = -1e30;

fn op(op: PeOp, n1: usize, n0: usize, dst: View, args: Vec<Arg>) -> LocalOp {
    LocalOp { op, n1, n0, dst, args }
}

fn at(buf: BufId, offset: usize, s1: usize, s0: usize) -> View {
    View { buf, offset, s1, s0 }
}

/// A cache on the PEs, with the places of its elements: past ones for the input, all for the output.
struct Split {
    past: Arc<Vec<u32>>,
    all: Arc<Vec<u32>>,
}

pub(super) fn lower(p: &mut Planner<'_>, n: &Node, a: &Attention) -> Result<Vector, CompileError> {
    let (q, k, v) = (p.vector(n, a.q)?, p.vector(n, a.keys.new)?, p.vector(n, a.values.new)?);
    let Some(heads) = q.layout.as_ref().and_then(|l| l.heads) else {
        return Err(refuse(p.g, n, "its queries do not lie by heads", "compile the model as a pipeline"));
    };
    let axis = q.axis;
    let cross = other(axis);
    let mesh = p.plan.mesh;
    let groups = heads.groups;
    let rows = usize::from(mesh.len(cross));
    // Of a PE: query heads, elements of a head, positions.
    let (reps, slots, held) = (heads.reps, heads.slots(), a.positions.div_ceil(rows));
    p.plan.attentions = Some(Attentions { held: held as u64, rows: rows as u64 });
    let members = mesh.place(axis, groups.members(), mesh.all(cross));
    let roots = mesh.place(axis, groups.roots(), mesh.all(cross));
    let line = mesh.place(axis, groups.members(), vec![mesh.middle(cross)]);
    let lines = groups.members();

    // Queries, new key, new value to all PEs of their place.
    let sent = p.alloc(ElemType::F16, (reps + 2) * slots, members.clone(), Init::Free);
    let copy =
        |x: &Vector, to: usize, len: usize| op(PeOp::Mov, 1, len, View::dense(sent, to), vec![Arg::View(x.view())]);
    let ops = vec![copy(&q, 0, reps * slots), copy(&k, reps * slots, slots), copy(&v, (reps + 1) * slots, slots)];
    p.push(n, "queries to f16", Work::Local { at: line.clone(), ops });
    p.push(n, "queries to all", Work::Spread { axis: cross, lines: lines.clone(), buf: sent, n: (reps + 2) * slots });

    // Caches, and the new position in them.
    let mut cache = |c: &Cache, is_key: bool| {
        let split = split(&heads, a, (rows, held), is_key, axis);
        let init = Init::Input(c.past, split.past);
        let buf = p.alloc(ElemType::F16, slots * held, members.clone(), init);
        p.of_position(buf, slots, false);
        p.caches.insert(c.whole, (buf, split.all));
        buf
    };
    let (keys, values) = (cache(&a.keys, true), cache(&a.values, false));
    let h = Held { at: members.clone(), cross, rows, held, positions: a.positions, of_caches: true };
    store(p, n, (&a.keys, keys, true), (&h, sent), (reps * slots, slots));
    store(p, n, (&a.values, values, false), (&h, sent), ((reps + 1) * slots, slots));

    // Scores over a PE's own elements: [head][position].
    let scores = p.alloc(ElemType::F32, reps * held, members.clone(), Init::Zero);
    p.of_position(scores, reps, true);
    let ops = if reps <= slots {
        let by_head = |r: usize| {
            let sum = at(scores, r * held, 0, 1);
            let args = vec![Arg::Row(at(sent, r * slots, 1, 0)), Arg::View(at(keys, 0, held, 1)), Arg::View(sum)];
            op(PeOp::Fma, slots, held, sum, args)
        };
        (0..reps).map(by_head).collect()
    } else {
        let by_element = |d: usize| {
            let sum = at(scores, 0, held, 1);
            let args = vec![Arg::Row(at(sent, d, slots, 0)), Arg::View(at(keys, d * held, 0, 1)), Arg::View(sum)];
            op(PeOp::Fma, reps, held, sum, args)
        };
        (0..slots).map(by_element).collect()
    };
    p.push(n, "scores", Work::Local { at: members.clone(), ops });
    let summed = p.alloc(ElemType::F32, reps * held, roots.clone(), Init::Free);
    p.of_position(summed, reps, true);
    p.push(n, "sum of the scores", Work::GroupReduce { from: scores, n: reps * held, into: summed });

    // Maximum over all positions.
    let log2e = std::f32::consts::LOG2_E;
    let mut ops = Vec::new();
    let grid = at(summed, 0, held, 1);
    let has_gaps = !a.positions.is_multiple_of(rows);
    let mut factor = a.scale * log2e;
    if has_gaps || a.mask.is_some() {
        let h = Held { at: roots.clone(), ..h };
        let mut added = Vec::new();
        let mask = a.mask.as_ref().map(|m| kept(p, n, m, &h));
        added.extend(mask);
        added.extend(has_gaps.then(|| p.no_position(&h, NEVER)));
        // The first with the scale.
        for (k, mask) in added.into_iter().enumerate() {
            let scale = if k == 0 { a.scale } else { 1.0 };
            let args = vec![Arg::View(grid), Arg::Imm(scale), Arg::View(View { s1: 0, ..mask })];
            ops.push(op(PeOp::Fma, reps, held, grid, args));
        }
        factor = log2e;
    }
    let most = p.alloc(ElemType::F32, reps, roots.clone(), Init::Free);
    let largest = p.alloc(ElemType::F32, reps, roots.clone(), Init::Free);
    // With a negative scale the smallest product is the largest score.
    let (op_max, sign) = if factor < 0.0 { (PeOp::Min, factor) } else { (PeOp::Max, factor) };
    let each = at(most, 0, 1, 0);
    ops.push(op(PeOp::Mov, 1, reps, View::dense(most, 0), vec![Arg::View(at(summed, 0, 0, held))]));
    if held > 1 {
        let args = vec![Arg::View(each), Arg::View(at(summed, 1, held, 1))];
        ops.push(op(op_max, reps, held - 1, each, args));
    }
    p.push(n, "maximum", Work::Local { at: roots.clone(), ops });
    let work = Work::Reduce { axis: cross, lines: groups.roots(), op: op_max, from: most, n: reps, into: largest };
    p.push(n, "maximum of all positions", work);
    p.push(n, "maximum to all", Work::Spread { axis: cross, lines: groups.roots(), buf: largest, n: reps });

    // Powers, rounded to f16; they are at most 1.
    let powers = p.alloc(ElemType::F16, reps * held, members.clone(), Init::Free);
    p.of_position(powers, reps, true);
    let ops = vec![
        op(PeOp::Sub, reps, held, grid, vec![Arg::View(grid), Arg::View(at(largest, 0, 1, 0))]),
        op(PeOp::Mul, 1, reps * held, View::dense(summed, 0), vec![Arg::View(View::dense(summed, 0)), Arg::Imm(sign)]),
        op(PeOp::Exp2, 1, reps * held, View::dense(powers, 0), vec![Arg::View(View::dense(summed, 0))]),
    ];
    p.push(n, "powers", Work::Local { at: roots, ops });
    p.push(n, "powers to all", Work::GroupSpread { buf: powers, n: reps * held });

    // Values times powers, and the powers' sums after them.
    let mixed = reps * slots;
    let parts = p.alloc(ElemType::F32, mixed + reps, members.clone(), Init::Zero);
    let by_head = |r: usize| {
        let sum = at(parts, r * slots, 0, 1);
        let args = vec![Arg::Row(at(powers, r * held, 1, 0)), Arg::View(at(values, 0, slots, 1)), Arg::View(sum)];
        op(PeOp::Fma, held, slots, sum, args)
    };
    let mut ops: Vec<LocalOp> = (0..reps).map(by_head).collect();
    let sums = at(parts, mixed, 1, 0);
    ops.push(op(PeOp::Add, reps, held, sums, vec![Arg::View(sums), Arg::View(at(powers, 0, held, 1))]));
    p.push(n, "values", Work::Local { at: members, ops });
    let total = p.on_line(axis, ElemType::F32, mixed + reps);
    let work = Work::Reduce { axis: cross, lines, op: PeOp::Add, from: parts, n: mixed + reps, into: total };
    p.push(n, "sum of the values", work);
    // Places beyond the groups hold no element, and keep zeros.
    let out = p.alloc(ElemType::F32, mixed, mesh.line(axis), Init::Zero);
    let sums = View::dense(total, mixed);
    let args = vec![Arg::View(at(total, 0, slots, 1)), Arg::View(at(total, mixed, 1, 0))];
    let ops = vec![
        op(PeOp::Recip, 1, reps, sums, vec![Arg::View(sums)]),
        op(PeOp::Mul, reps, slots, at(out, 0, slots, 1), args),
    ];
    p.push(n, "division", Work::Local { at: line, ops });
    let layout = Layout::of_heads(heads, mesh.len(axis));
    Ok(Vector { axis, layout: Some(layout), buf: out, offset: 0, stride: 1, zero_gaps: true })
}

/// Puts the new key or value into its cache.
fn store(
    p: &mut Planner<'_>,
    n: &Node,
    (cache, buf, is_key): (&Cache, BufId, bool),
    (h, sent): (&Held, BufId),
    (offset, slots): (usize, usize),
) {
    let held = h.held;
    match &cache.here {
        None => {
            let (owner, slot) = ((h.positions - 1) % h.rows, (h.positions - 1) / h.rows);
            let mut at = h.at.clone();
            *(if h.cross == Axis::Row { &mut at.x } else { &mut at.y }) = vec![owner as u16];
            let to = if is_key { View { buf, offset: slot, s1: 0, s0: held } } else { View::dense(buf, slot * slots) };
            let ops = vec![op(PeOp::Mov, 1, slots, to, vec![Arg::View(View::dense(sent, offset))])];
            p.push(n, "append", Work::Local { at, ops });
        }
        Some(here) => {
            let here = kept(p, n, here, h);
            // [element][position] or [position][element]
            let (size, a, b) = match is_key {
                true => ((slots, held), (0, 1), (1, 0)),
                false => ((held, slots), (1, 0), (0, 1)),
            };
            let to = at(buf, 0, size.1, 1);
            let args = vec![
                Arg::View(View { s1: a.0, s0: a.1, ..here }),
                Arg::View(at(sent, offset, b.0, b.1)),
                Arg::View(to),
            ];
            let ops = vec![op(PeOp::Select, size.0, size.1, to, args)];
            p.push(n, "write", Work::Local { at: h.at.clone(), ops });
        }
    }
}

/// A value a position, computed once for all layers.
fn kept(p: &mut Planner<'_>, n: &Node, expression: &Pos, h: &Held) -> View {
    if let Some((_, _, view)) = p.computed.iter().find(|c| c.0 == *expression && c.1 == h.at) {
        return *view;
    }
    let mut ops = Vec::new();
    let view = match p.positions(expression, h, &mut ops) {
        Arg::View(v) | Arg::Row(v) => v,
        // The same for all positions.
        Arg::Imm(v) => {
            let table = Pos::Table(vec![v; h.positions]);
            return kept(p, n, &table, h);
        }
    };
    if !ops.is_empty() {
        p.push_early(n, "positions", Work::Local { at: h.at.clone(), ops });
    }
    p.computed.push((expression.clone(), h.at.clone(), view));
    view
}

/// Elements of a cache on every PE of the groups' places.
fn split(heads: &Heads, a: &Attention, (rows, held): (usize, usize), is_key: bool, axis: Axis) -> Split {
    let groups = heads.groups;
    let members = groups.members();
    let slots = heads.slots();
    let (mut past, mut all) = (Vec::new(), Vec::new());
    let cache = if is_key { &a.keys } else { &a.values };
    let given = if cache.here.is_some() { a.positions } else { a.positions - 1 };
    let mut pe = |place: u16, row: usize| {
        let (group, within) = ((place - groups.first) / groups.size, groups.within(place).unwrap_or(0));
        for i in 0..slots * held {
            let (slot, s) = if is_key { (i / held, i % held) } else { (i % slots, i / slots) };
            let position = s * rows + row;
            let element = heads.element(within, slot).filter(|_| position < a.positions);
            let index = |positions: usize, d: usize| ((usize::from(group) * positions + position) * a.width + d) as u32;
            all.push(element.map_or(NONE, |d| index(a.positions, d)));
            past.push(element.filter(|_| position < given).map_or(NONE, |d| index(given, d)));
        }
    };
    match axis {
        Axis::Row => {
            (0..rows).for_each(|row| members.iter().for_each(|&place| pe(place, row)));
        }
        Axis::Column => {
            members.iter().for_each(|&place| (0..rows).for_each(|row| pe(place, row)));
        }
    }
    Split { past: Arc::new(past), all: Arc::new(all) }
}
