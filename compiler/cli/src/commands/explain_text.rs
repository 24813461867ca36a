//! `explain` for people.

use super::explain::Told;
use quadrille_compiler::rewrite::{Candidate, Group, Made};
use std::fmt::Write;

/// The text of all rewrites.
pub(super) fn render(told: &[Told<'_>]) -> String {
    told.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(t: &Told<'_>) -> String {
    let r = &t.rewritten.report;
    let (b, a) = (&r.before, &r.after);
    let mut s = String::new();
    let _ = writeln!(s, "{}: {} -> {} operations; rules stopped: {}", r.target, b.nodes, a.nodes, r.stop());
    if let Some(decided) = &r.decided {
        let _ = writeln!(s, "  costs are of {decided}");
    }
    if !r.candidates.is_empty() {
        let cycles = |c: &Candidate| c.cycles.map_or("none".to_string(), |c| c.to_string());
        let all: Vec<String> = r.candidates.iter().map(|c| format!("{} {}", c.extraction, cycles(c))).collect();
        let _ = writeln!(s, "  cycles of programs: {}; taken: {}", all.join(", "), r.extraction);
    }
    for ((what, before), (_, after)) in b.lines().into_iter().zip(a.lines()) {
        let _ = writeln!(s, "  cycles, {what}: {before} -> {after}");
    }
    if let Some(c) = r.check {
        let _ = writeln!(
            s,
            "  both graphs evaluated: largest difference {:.1e}, {:.1e} of the range",
            c.max_abs, c.max_rel
        );
    }
    for g in &t.groups {
        group(&mut s, g);
    }
    if !t.gone.is_empty() {
        let few: Vec<&str> = t.gone.iter().take(6).copied().collect();
        let more =
            if t.gone.len() > few.len() { format!(" and {} more", t.gone.len() - few.len()) } else { String::new() };
        let _ = writeln!(s, "\nbecame constants, or another node gives their result: {}{more}", few.join(", "));
    }
    if t.node.is_none() {
        s.push_str("\nrules, by times that they told something new, and uses in the result\n");
        for c in r.rules() {
            let _ = writeln!(s, "  {:<28} {:>6} {:>6}", c.name, c.applied, c.used);
        }
    }
    s
}

fn group(s: &mut String, g: &Group) {
    let _ = writeln!(s, "\n{}: {} -> {} cycles", g.nodes.join(" + "), g.cycles_before, g.cycles_after);
    let line = |s: &mut String, label: &str, term: &str, cycles: u64| {
        let _ = writeln!(s, "  {label:<7} {term}  ({cycles} cycles)");
    };
    if !g.is_changed() {
        for m in &g.after {
            line(s, "as is", &m.term, m.cycles);
            mappings(s, m);
        }
        return;
    }
    g.before.iter().for_each(|m| line(s, "before", &m.term, m.cycles));
    for m in &g.after {
        steps(s, m);
        line(s, "after", &m.term, m.cycles);
        mappings(s, m);
    }
}

/// The ways in which the target can do it, the cheapest first.
fn mappings(s: &mut String, m: &Made) {
    if !m.mappings.is_empty() {
        let all: Vec<String> = m.mappings.iter().map(|w| format!("{} {}", w.name, w.cycles.alone())).collect();
        let _ = writeln!(s, "          mappings: {}", all.join("; "));
    }
}

fn steps(s: &mut String, m: &Made) {
    for step in &m.steps {
        let _ = writeln!(s, "    {} => {}", step.rule, step.made);
    }
}
