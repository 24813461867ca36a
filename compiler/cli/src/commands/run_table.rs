//! The text form of a run's report: a short table an engineer can read at a glance.

use crate::compare::Comparison;
use crate::figures::{bytes, grouped, micros};
use crate::nodes::NodeComparison;
use crate::report::RunReport;
use comfy_table::{Table, presets};

/// Renders a report.
pub(super) fn render(r: &RunReport) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let precision = r.precision.map_or(String::new(), |p| format!(", {}", p.name()));
    rows.push(("model", r.model.clone()));
    rows.push(("machine", format!("{} ({}{precision}), {} MHz", r.machine, r.target.name(), r.clock_mhz)));
    if let Some(c) = r.cycles {
        rows.push(("cycles", format!("{} ({})", grouped(c), micros(c, r.clock_mhz))));
        for (what, bound) in [("bound", r.bound_cycles), ("mapping bound", r.mapping_bound_cycles)] {
            if let Some(b) = bound {
                let ratio = if b > 0 { format!(" ({:.2} x)", c as f64 / b as f64) } else { String::new() };
                rows.push((what, format!("{} cycles{ratio}", grouped(b))));
            }
        }
    }
    for (number, l) in r.losses.iter().flatten().enumerate() {
        rows.push((if number == 0 { "losses" } else { "" }, l.to_string()));
    }
    for (number, b) in r.busiest.iter().flatten().enumerate() {
        rows.push((if number == 0 { "binds" } else { "" }, b.to_string()));
    }
    if let Some(i) = r.interval_cycles {
        rows.push(("interval", format!("{} cycles from one image to the next", grouped(i))));
    }
    if let Some(b) = r.sram_bytes {
        rows.push(("SRAM", bytes(b)));
    }
    if let Some(b) = r.program_bytes {
        rows.push(("program text", bytes(b)));
    }
    if let Some(n) = r.pes {
        let grid = r.grid.as_ref().map_or(String::new(), |g| format!(" (whole mesh of {g})"));
        rows.push(("PEs", grouped(n) + &grid));
    }
    rows.push(("check", if r.check.ok { "clean".into() } else { format!("{} errors", r.check.errors.len()) }));
    if let Some(e) = r.exact {
        let exact = if e { "bits equal the tiled graph's" } else { "NO: bits differ from the tiled graph's" };
        rows.push(("exact", exact.into()));
    }
    if let Some(c) = &r.compare {
        let verdict = if c.ok { "close enough" } else { "TOO FAR OFF" };
        rows.push((
            "compare",
            format!(
                "{verdict}: max abs {:.3e}, max rel {:.3e}, {} ulp, cosine {:.6} (worst output `{}`)",
                c.max_abs,
                c.max_rel,
                grouped(c.max_ulp),
                c.cosine,
                c.worst_output
            ),
        ));
    }
    let t = r.timings;
    let stages = [("import", t.import_s), ("compile", t.compile_s), ("check", t.check_s), ("simulate", t.simulate_s)];
    let stages: Vec<String> = stages.iter().filter_map(|(n, s)| s.map(|s| format!("{n} {s:.3} s"))).collect();
    rows.push(("time", stages.join(", ")));
    if let Some(b) = r.peak_memory_bytes {
        rows.push(("peak memory", bytes(b)));
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (what, value) in rows {
        table.add_row([what.to_string(), value]);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    const SHOWN: usize = 10;
    for e in r.check.errors.iter().take(SHOWN) {
        text += &format!("  {}\n", e.message);
    }
    if r.check.errors.len() > SHOWN {
        text += &format!("  … and {} more (--format json lists them)\n", r.check.errors.len() - SHOWN);
    }
    if let Some(nodes) = &r.nodes {
        text += &node_table(nodes, r);
    }
    text
}

/// Values inside the model: those that depart, and around the first of them its neighbours.
fn node_table(nodes: &[NodeComparison], r: &RunReport) -> String {
    const SHOWN: usize = 40;
    let cell = |c: &Option<Comparison>| match c {
        None => "-".to_string(),
        Some(c) if c.max_ulp == 0 => "equal".to_string(),
        Some(c) => {
            let off = if c.ok { "" } else { " OFF" };
            format!("{:.1e}, {} ulp{off}", c.max_rel, grouped(c.max_ulp))
        }
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["value", "node", "imported", "optimised", "machine"]);
    let first = r.first_departure.as_ref().and_then(|d| nodes.iter().position(|n| n.value == d.value));
    let start = first.unwrap_or(0).saturating_sub(SHOWN / 4);
    for n in nodes.iter().skip(start).take(SHOWN) {
        table.add_row([&n.value, &n.node, &cell(&n.imported), &cell(&n.optimized), &cell(&n.machine)]);
    }
    let mut text = format!("\nlargest relative difference and ulp, value by value:\n{}\n", table.trim_fmt());
    if nodes.len() > SHOWN {
        text += &format!("  {SHOWN} of {} values (--format json lists all)\n", nodes.len());
    }
    for n in &r.notes {
        text += &format!("  note: {n}\n");
    }
    text += &match &r.first_departure {
        Some(d) => format!("first to depart: node `{}`, value `{}`, in {}\n", d.node, d.value, d.stage.name()),
        None => "no node departs\n".to_string(),
    };
    text
}
