//! Why two programs of one model take different times: node by node, what each took of the machine.
//!
//! Knows how to compare counted use; must not know how a schedule came about.

use crate::figures::grouped;
use crate::usage::{NodeUse, Usage};
use quadrille_isa::tsp::{Issue, Program};
use serde::Serialize;
use std::collections::BTreeSet;

/// A figure of both programs; `null` where a program has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Pair<T> {
    pub a: T,
    pub b: T,
}

/// An amount of one unit that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs)]
pub struct WorkChange {
    pub unit: &'static str,
    pub a: u64,
    pub b: u64,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeChange {
    /// The user's name.
    pub node: String,
    /// Cycles by which the node moves the end of the program: they add up to its length.
    pub cycles: Pair<Option<u64>>,
    /// Those of `b` less those of `a`.
    pub change: i64,
    /// First cycle.
    pub first: Pair<Option<u64>>,
    /// Last cycle.
    pub last: Pair<Option<u64>>,
    /// Units of which it takes more or less.
    pub work: Vec<WorkChange>,
    /// In words.
    pub why: String,
}

/// All nodes, those with the largest change first.
pub fn nodes(a: &Usage, b: &Usage) -> Vec<NodeChange> {
    let (shares_a, shares_b) = (a.shares(), b.shares());
    let names: BTreeSet<&String> = a.nodes.keys().chain(b.nodes.keys()).collect();
    let mut all: Vec<NodeChange> = names
        .into_iter()
        .map(|name| {
            let (x, y) = (a.nodes.get(name), b.nodes.get(name));
            let cycles = Pair { a: shares_a.get(name.as_str()).copied(), b: shares_b.get(name.as_str()).copied() };
            let span = |n: Option<&NodeUse>| n.and_then(|n| n.span);
            let change = cycles.b.unwrap_or(0) as i64 - cycles.a.unwrap_or(0) as i64;
            let work = work(a.units, x, y);
            NodeChange {
                node: name.clone(),
                why: match (x, y) {
                    (Some(x), Some(y)) => why((x, y), &work, change),
                    (Some(_), None) => elsewhere(name, ("a", "b"), b),
                    _ => elsewhere(name, ("b", "a"), a),
                },
                cycles,
                change,
                first: Pair { a: span(x).map(|s| s.0), b: span(y).map(|s| s.0) },
                last: Pair { a: span(x).map(|s| s.1), b: span(y).map(|s| s.1) },
                work,
            }
        })
        .collect();
    all.sort_by(|p, q| q.change.abs().cmp(&p.change.abs()).then_with(|| p.node.cmp(&q.node)));
    all
}

fn work(units: &[&'static str], a: Option<&NodeUse>, b: Option<&NodeUse>) -> Vec<WorkChange> {
    let of = |n: Option<&NodeUse>, i: usize| n.and_then(|n| n.work.get(i)).copied().unwrap_or(0);
    units
        .iter()
        .enumerate()
        .map(|(i, unit)| WorkChange { unit, a: of(a, i), b: of(b, i) })
        .filter(|c| c.a != c.b)
        .collect()
}

/// A node that one program alone has: the others that hold parts of it (fused nodes are called `conv + relu`).
fn elsewhere(name: &str, (here, there): (&str, &str), other: &Usage) -> String {
    let parts = |n: &str| n.split(" + ").map(str::to_string).collect::<BTreeSet<_>>();
    let own = parts(name);
    let found: Vec<String> =
        other.nodes.keys().filter(|n| !parts(n).is_disjoint(&own)).map(|n| format!("`{n}`")).collect();
    match found.is_empty() {
        true => format!("only in {here}"),
        false => format!("only in {here}; in {there} it is {}", found.join(", ")),
    }
}

fn why((a, b): (&NodeUse, &NodeUse), work: &[WorkChange], change: i64) -> String {
    let mut parts: Vec<String> =
        work.iter().map(|c| format!("{} {} -> {}", c.unit, grouped(c.a), grouped(c.b))).collect();
    if let (Some(x), Some(y)) = (a.span, b.span) {
        let (long, short) = (x.1 - x.0 + 1, y.1 - y.0 + 1);
        if work.is_empty() && long != short {
            parts.push(format!("the same work in {} instead of {} cycles", grouped(short), grouped(long)));
        } else if long != short {
            parts.push(format!("runs for {} instead of {} cycles", grouped(short), grouped(long)));
        } else if work.is_empty() && change != 0 {
            parts.push("the same work at another time: what ends before it changed".to_string());
        } else if work.is_empty() && x.0 != y.0 {
            parts.push(format!("moved by {} cycles", y.0 as i64 - x.0 as i64));
        }
    }
    if parts.is_empty() { "nothing changed".to_string() } else { parts.join("; ") }
}

/// Where two programs of a chip part for the first time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Parting {
    /// The earlier of the two instructions' cycles.
    pub cycle: u64,
    /// Its queue.
    pub queue: String,
    /// The user's node, of `a` if it has an instruction there.
    pub node: String,
    /// The instruction of each; `null` where the queue has ended.
    pub instruction: Pair<Option<String>>,
}

/// The earliest instruction that only one of two programs has in its place.
pub fn parting(a: &Program, b: &Program) -> Option<Parting> {
    let queues: BTreeSet<_> = a.queues.keys().chain(b.queues.keys()).copied().collect();
    let none: Vec<Issue> = Vec::new();
    let mut first: Option<Parting> = None;
    for q in queues {
        let (x, y) = (a.queues.get(&q).unwrap_or(&none), b.queues.get(&q).unwrap_or(&none));
        let name = |p: &Program, i: &Issue| p.nodes.get(i.node.0 as usize).cloned().unwrap_or_default();
        let same = |i: &Issue, j: &Issue| (i.cycle, &i.inst, i.repeat) == (j.cycle, &j.inst, j.repeat);
        let at = x.iter().zip(y).take_while(|(i, j)| same(i, j)).count();
        let (i, j) = (x.get(at), y.get(at));
        let cycles = i.iter().chain(&j).map(|i| u64::from(i.cycle)).min();
        let Some(cycle) = cycles else { continue };
        if first.as_ref().is_some_and(|f| f.cycle <= cycle) {
            continue;
        }
        let node = i.map(|i| name(a, i)).or_else(|| j.map(|j| name(b, j))).unwrap_or_default();
        let text = |i: Option<&Issue>| i.map(|i| format!("{} at {}", i.inst, i.cycle));
        first = Some(Parting { cycle, queue: q.to_string(), node, instruction: Pair { a: text(i), b: text(j) } });
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(nodes: &[(&str, u64, u64, u64)]) -> Usage {
        let make = |&(name, first, last, work): &(&str, u64, u64, u64)| {
            (name.to_string(), NodeUse { span: Some((first, last)), work: vec![work] })
        };
        Usage { units: &["steps"], nodes: nodes.iter().map(make).collect() }
    }

    #[test]
    fn changes_add_up_to_the_difference_in_length() {
        let a = usage(&[("a", 0, 9, 1), ("b", 3, 29, 2), ("c", 5, 19, 3)]);
        let mut b = usage(&[("a", 0, 9, 1), ("b", 3, 14, 2), ("c + d", 20, 22, 9)]);
        b.close(25);
        let all = nodes(&a, &b);
        assert_eq!(all.iter().map(|n| n.change).sum::<i64>(), 25 - 30);
        assert_eq!(all.iter().map(|n| n.cycles.a.unwrap_or(0)).sum::<u64>(), 30);
        let of = |name: &str| all.iter().find(|n| n.node == name).expect("listed");
        assert_eq!(of("a").why, "nothing changed");
        assert_eq!(of("b").why, "the same work in 12 instead of 27 cycles");
        assert_eq!(of("c").why, "only in a; in b it is `c + d`");
        assert_eq!(of("c + d").cycles, Pair { a: None, b: Some(8) });
        assert_eq!(of(crate::usage::AFTER).cycles, Pair { a: None, b: Some(2) });
    }
}
