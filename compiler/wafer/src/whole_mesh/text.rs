//! A plan as text: tensors and where they lie, and what all PEs do in turn.

use super::cost::PhaseCost;
use super::phase::{Arg, BufId, Init, LocalOp, Place, Plan, View, Work};
use crate::collective::wires::Axis;
use std::fmt::Write;

/// Columns and rows of a place.
fn place(p: &Place) -> String {
    let span = |v: &[u16]| match v {
        [] => "none".to_string(),
        [one] => one.to_string(),
        [first, .., last] if usize::from(last - first) + 1 == v.len() => format!("{first}..{}", last + 1),
        [first, .., last] => format!("{} of {first}..{}", v.len(), last + 1),
    };
    format!("columns {}, rows {}", span(&p.x), span(&p.y))
}

fn axis(a: Axis) -> &'static str {
    match a {
        Axis::Row => "rows",
        Axis::Column => "columns",
    }
}

fn view(v: &View) -> String {
    let from = if v.offset > 0 { format!("+{}", v.offset) } else { String::new() };
    let steps = match (v.s1, v.s0) {
        (0, 1) => String::new(),
        (s1, s0) => format!("({s1}, {s0})"),
    };
    format!("b{}{from}{steps}", v.buf.0)
}

fn operation(o: &LocalOp) -> String {
    let arg = |a: &Arg| match a {
        Arg::View(v) => view(v),
        Arg::Row(v) => format!("row {}", view(v)),
        Arg::Imm(x) => format!("{x:?}"),
    };
    let args: Vec<String> = o.args.iter().map(arg).collect();
    format!("{} x {} {} = {} {}", o.n1, o.n0, view(&o.dst), o.op.name(), args.join(", "))
}

fn buffers(list: impl Iterator<Item = BufId>) -> String {
    list.map(|b| format!("b{}", b.0)).collect::<Vec<_>>().join(", ")
}

/// What a phase does, a line; elementwise phases have a line an operation after it.
fn work(w: &Work) -> (String, Vec<String>) {
    let most = |v: &[usize]| v.iter().copied().max().unwrap_or(0);
    match w {
        Work::Local { at, ops } => (place(at), ops.iter().map(operation).collect()),
        Work::Spread { axis: a, lines, buf, n } => {
            (format!("{n} of b{} from the middle along {} of {} lines", buf.0, axis(*a), lines.len()), Vec::new())
        }
        Work::Product { axis: a, x, ks, ns, blocks, sums, clears } => {
            let cleared = match clears.is_empty() {
                true => String::new(),
                false => format!("; clears {}", buffers(clears.iter().copied())),
            };
            let (k, n, weights) = (most(ks), most(ns), buffers(blocks.iter().map(|b| b.1)));
            let what = format!("b{} += {k} of {} along {}, times {k} x {n} of {weights}", sums.0, view(x), axis(*a));
            (what + &cleared, Vec::new())
        }
        Work::Reduce { axis: a, lines, op, from, n, into } => {
            let (a, lines) = (axis(*a), lines.len());
            (format!("b{} = {} of {n} of b{} along {a} of {lines} lines", into.0, op.name(), from.0), Vec::new())
        }
        Work::GroupReduce { from, n, into } => {
            (format!("b{} = add of {n} of b{} over each group", into.0, from.0), Vec::new())
        }
        Work::GroupSpread { buf, n } => (format!("{n} of b{} over each group", buf.0), Vec::new()),
    }
}

/// The whole plan; cycles are those in which the last PE ends a phase.
pub(super) fn print(name: &str, plan: &Plan, phases: &[PhaseCost]) -> String {
    let mut out = String::new();
    let grid = plan.mesh.grid;
    _ = writeln!(out, "whole mesh \"{name}\" on {} x {} PEs", grid.width, grid.height);
    if plan.rounds > 1 {
        let after = plan.phases.len() - plan.before - plan.round * plan.rounds;
        let (before, round, rounds) = (plan.before, plan.round, plan.rounds);
        _ = writeln!(out, "{before} phases, then {round} in {rounds} rounds, then {after}");
    }
    for (i, b) in plan.bufs.iter().enumerate() {
        let holds = match &b.init {
            Init::Free => String::new(),
            Init::Zero => ", zero".to_string(),
            Init::Bytes(_) => ", constant".to_string(),
            Init::Input(t, _) => format!(", of input `{}`", plan.inputs[*t].name),
        };
        let (ty, at) = (b.ty.name(), place(&b.at));
        _ = writeln!(out, "buffer b{i} {ty}[{}] at byte {} of {at}{holds}", b.len, b.addr);
    }
    for o in &plan.outs {
        let end = o.offset + o.len;
        _ = writeln!(out, "output `{}` {}{:?} in b{}[{}..{end}]", o.name, o.dtype, o.shape, o.buf.0, o.offset);
    }
    let mut start = 0;
    for (i, (p, cost)) in plan.phases.iter().zip(phases).enumerate() {
        let (what, lines) = work(&p.work);
        _ = writeln!(out, "{start}..{} {} `{}`: {what}", cost.end, p.what, p.node);
        start = cost.end;
        if plan.once().any(|(k, _)| k == i) {
            lines.iter().for_each(|l| _ = writeln!(out, "  {l}"));
        }
    }
    out
}
