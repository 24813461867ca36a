//! The text form of a check: what the model is, what each target makes of it, what is in the way.

use crate::check::groups::few;
use crate::check::{CheckReport, Estimated, Facts, NodeSupport, ProblemGroup, TargetSupport};
use crate::failure::{Cause, short_shape};
use crate::figures::{bytes, grouped, micros};
use crate::machine::Target;
use comfy_table::{Table, presets};
use std::collections::BTreeMap;

/// Renders a report.
pub(super) fn render(r: &CheckReport) -> String {
    let mut text = format!("{}\n{}\n{}\n", r.model, facts(&r.facts), operators(&r.nodes));
    for t in &r.targets {
        text += &target(t, r);
    }
    if !r.groups.is_empty() {
        text += &problems(r);
    }
    if !r.facts.open_dims.is_empty() {
        let dims: Vec<String> = r.facts.open_dims.iter().map(|d| format!("--dim {d}=n")).collect();
        text += &format!("\nFor more, give extents: {}\n", dims.join(" "));
    }
    text
}

fn facts(f: &Facts) -> String {
    let opsets: Vec<String> = f.opsets.iter().map(|(d, v)| format!("{d} {v}")).collect();
    let functions = if f.functions > 0 {
        format!(", {} function{}", f.functions, if f.functions == 1 { "" } else { "s" })
    } else {
        String::new()
    };
    let by = if f.producer.is_empty() { String::new() } else { format!(", by {}", f.producer) };
    let mut rows = vec![
        ("file", format!("{} nodes{functions}, IR version {}, opset {}{by}", f.nodes, f.ir_version, opsets.join(", "))),
        ("inputs", list(&f.inputs)),
        ("outputs", list(&f.outputs)),
        ("parameters", format!("{} ({})", grouped(f.parameters), bytes(f.parameter_bytes))),
    ];
    if let (Some(macs), Some(elementwise), Some(alive)) = (f.macs, f.elementwise, f.activation_bytes) {
        let of = if f.complete { "" } else { " in the part that was imported" };
        rows.push(("work", format!("{} MACs, {} elementwise operations{of}", grouped(macs), grouped(elementwise))));
        rows.push(("activations", format!("{} at most at once{of}", bytes(alive))));
    }
    table(rows)
}

fn list(items: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let more = format!("… {} more", items.len().saturating_sub(SHOWN));
    if items.len() > SHOWN {
        shown.push(&more);
    }
    shown.join(", ")
}

fn operators(nodes: &[NodeSupport]) -> String {
    let mut by_op: BTreeMap<&str, Vec<&NodeSupport>> = BTreeMap::new();
    for n in nodes {
        by_op.entry(&n.op).or_default().push(n);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["operator", "nodes", "tsp", "wafer"]);
    for (op, nodes) in &by_op {
        let cell = |pick: fn(&NodeSupport) -> Option<bool>| {
            let count = |want: Option<bool>| nodes.iter().filter(|n| pick(n) == want).count();
            match (count(Some(true)), count(Some(false)), nodes.len()) {
                (0, 0, _) if nodes.iter().all(|n| n.reason.is_none()) => "-".to_string(),
                (0, 0, _) => "?".to_string(),
                (yes, _, all) if yes == all => "yes".to_string(),
                (_, no, all) if no == all => "no".to_string(),
                (yes, no, all) => {
                    let unknown = all - yes - no;
                    let open = if unknown > 0 { format!(", {unknown} ?") } else { String::new() };
                    format!("{yes} of {all}{open}")
                }
            }
        };
        table.add_row([op.to_string(), nodes.len().to_string(), cell(|n| n.tsp), cell(|n| n.wafer)]);
    }
    format!("{}\n", table.trim_fmt())
}

fn target(t: &TargetSupport, r: &CheckReport) -> String {
    let verdict = match (t.ok, t.cause, t.estimated_by) {
        (true, _, Some(Estimated::Bound)) => {
            "every node is supported; not compiled, so whether all fits is open".into()
        }
        (true, ..) => "compiles".to_string(),
        (false, Some(Cause::DoesNotFit), _) => "DOES NOT FIT".into(),
        (false, Some(Cause::Usage), _) => "NOT KNOWN: the model leaves open what must be known".into(),
        (false, Some(Cause::Wrong), _) => "NO: the model is wrong".into(),
        (false, ..) => "NO: not everything is supported".into(),
    };
    let precision = t.precision.map_or(String::new(), |p| format!(" ({})", p.name()));
    let mut rows = vec![(t.machine.as_str(), format!("{verdict}{precision}"))];
    if let (Some(Cause::DoesNotFit), Some(m)) = (t.cause, &t.message) {
        rows.push(("", m.clone()));
    }
    if let Some(c) = t.cycles {
        let ratio = match t.mapping_bound_cycles {
            Some(b) if b > 0 => format!("; the busiest unit of this mapping needs {}", grouped(b)),
            _ => String::new(),
        };
        rows.push(("  estimate", format!("{} cycles, {} (compiled){ratio}", grouped(c), micros(c, t.clock_mhz))));
    }
    for (number, b) in t.busiest.iter().flatten().enumerate() {
        rows.push((if number == 0 { "  binds" } else { "" }, b.to_string()));
    }
    if let (Some(b), Some(by)) = (t.bound_cycles, t.bound_by) {
        let time = micros(b, t.clock_mhz);
        rows.push(("  bound", format!("{} cycles, {time}: no program is faster, for {}", grouped(b), by.name())));
    }
    if let Some(b) = t.sram_bytes {
        let percent = 100.0 * b as f64 / t.sram_capacity_bytes.max(1) as f64;
        let what = match (t.estimated_by, t.target) {
            (Some(Estimated::Compiled), Target::Tsp) => "at the fullest cycle",
            (Some(Estimated::Compiled), Target::Wafer) => "in the fullest PE",
            _ => "for the weights alone",
        };
        rows.push(("  SRAM", format!("{} of {} {what} ({percent:.1} %)", bytes(b), bytes(t.sram_capacity_bytes))));
    }
    if let Some(b) = t.program_bytes {
        let pes = t.pes.map_or(String::new(), |n| format!(" at most a PE; {} PEs", grouped(n)));
        rows.push(("  program", format!("{}{pes}", bytes(b))));
    }
    if t.cause.is_some() {
        let of = |pick: fn(&NodeSupport) -> Option<bool>, want| r.nodes.iter().filter(|n| pick(n) == want).count();
        let pick = if t.target == Target::Tsp { |n: &NodeSupport| n.tsp } else { |n: &NodeSupport| n.wafer };
        let (no, unknown) = (of(pick, Some(false)), of(pick, None));
        let open = if unknown > 0 { format!(", {unknown} not looked at") } else { String::new() };
        rows.push(("  nodes", format!("{} of {} in the way{open}", no, r.nodes.len())));
    }
    table(rows)
}

fn table(rows: Vec<(&str, String)>) -> String {
    let mut t = Table::new();
    t.load_preset(presets::NOTHING);
    for (what, value) in rows {
        t.add_row([what.to_string(), value]);
    }
    format!("{}\n", t.trim_fmt())
}

fn problems(r: &CheckReport) -> String {
    const SHOWN: usize = 25;
    let mut text = "\nIn the way:\n".to_string();
    for g in r.groups.iter().take(SHOWN) {
        text += &problem(g, r.targets.len());
    }
    if r.groups.len() > SHOWN {
        text += &format!("  … and {} more (--format json lists all)\n", r.groups.len() - SHOWN);
    }
    text
}

fn problem(g: &ProblemGroup, targets: usize) -> String {
    let on = match g.targets[..] {
        [one] if targets > 1 => format!("{}: ", one.name()),
        _ => String::new(),
    };
    let mut text = format!("  {on}{}\n", g.reason);
    let opset = g.opset.map_or(String::new(), |v| format!(" (opset {v})"));
    let ops = if g.ops.is_empty() { String::new() } else { format!("{}{opset}: ", few(&g.ops, "")) };
    if !(g.ops.is_empty() && g.nodes.is_empty()) {
        text += &format!("      {ops}{}\n", few(&g.nodes, "'"));
    }
    let shape = g.shape.as_deref().map(|s| format!("on {}", short_shape(s)));
    let details: Vec<String> = [shape, g.attribute.clone()].into_iter().flatten().collect();
    if !details.is_empty() {
        let first = if g.nodes.len() > 1 { "the first " } else { "" };
        text += &format!("      {first}{}\n", details.join(", with "));
    }
    if let Some(r) = &g.remedy {
        text += &format!("      to do: {r}\n");
    }
    text
}
