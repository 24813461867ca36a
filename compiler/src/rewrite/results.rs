//! docs/rewrite-results.md: what rewriting gains, on the graphs that others publish about, and on random networks.

use super::testing::families::FAMILIES;
use super::testing::{Gen, networks};
use super::{RewriteOptions, Target, Theme, optimize, optimize_sequentially};
use crate::ir::Graph;
use std::fmt::Write;

const HEAD: &str = "# What rewriting gains\n\n\
    Written by `QUADRILLE_BLESS=1 cargo test -p quadrille-compiler --lib rewrite::results`, which otherwise compares.\n\
    Figures are cycles of the targets' cost models, the sum over all operations (what the extraction minimises): not scheduled\n\
    cycles. `none` is the graph as imported. `sequential` is the yardstick without an e-graph: every rule in turn, kept\n\
    where it makes the graph cheaper, until none does. `all` is the e-graph with every rule; the columns after it switch\n\
    one theme off. The first seven graphs are those that TASO and TENSAT are measured on, with depth cut where blocks repeat\n\
    (their figures are times on a GPU and not comparable); the others are drawn by the tests' generator.\n";

fn graphs() -> Vec<(String, Graph)> {
    let mut graphs = Vec::new();
    for (name, what, build) in FAMILIES {
        graphs.push((format!("{name}: {what}"), build(&mut Gen::new(0, false)).expect("it types")));
    }
    for (name, build) in [
        ("convolutional", networks::convolutional as fn(&mut Gen, usize) -> Option<Graph>),
        ("transformer", networks::transformer),
    ] {
        for size in [4, 16] {
            graphs.push((
                format!("random {name}, {size} blocks"),
                build(&mut Gen::new(7, false), size).expect("it types"),
            ));
        }
    }
    graphs
}

#[test]
fn the_results_page_is_up_to_date() {
    let mut page = HEAD.to_string();
    let graphs = graphs();
    for target in [Target::Tsp, Target::Wafer] {
        let _ = write!(page, "\n## {target}\n\n| graph | operations | none | sequential | all |");
        Theme::ALL.iter().for_each(|t| _ = write!(page, " no {t} |"));
        let _ = writeln!(page, "\n|---|{}", "---|".repeat(4 + Theme::ALL.len()));
        for (name, g) in &graphs {
            let run = |off: Option<Theme>| {
                let disable_rules = off.iter().map(|t| t.name().to_string()).collect();
                optimize(g, target, &RewriteOptions { disable_rules, ..Default::default() }).unwrap().1
            };
            let all = run(None);
            let (_, sequential) = optimize_sequentially(g, target, &RewriteOptions::default()).unwrap();
            let (none, best) = (all.before.serial_cycles, all.after.serial_cycles);
            assert!(best <= none && sequential.serial_cycles <= none, "{name}");
            let _ = write!(
                page,
                "| {name} | {} -> {} | {none} | {} | {best} |",
                all.before.nodes, all.after.nodes, sequential.serial_cycles
            );
            for theme in Theme::ALL {
                let _ = write!(page, " {} |", run(Some(theme)).after.serial_cycles);
            }
            page.push('\n');
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rewrite-results.md");
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let have = std::fs::read_to_string(path).unwrap_or_default();
    assert!(have == page, "docs/rewrite-results.md is stale: run this test with QUADRILLE_BLESS=1");
}
