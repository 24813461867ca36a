//! `explain` in whole-mesh mode: what all PEs do in turn for a node, and in how many cycles.

use super::output::{self, Format};
use crate::failure::Failure;
use crate::figures::{bytes, grouped};
use crate::machine::Machine;
use crate::pipeline::{Compiled, Estimate};
use comfy_table::{CellAlignment, Table, presets};
use quadrille_wafer::whole_mesh::{PhaseCost, WholeMesh};
use serde_json::json;
use std::path::Path;

/// Layers of which the longest context is told.
const LAYERS: [u64; 2] = [1, 16];

/// A step: where it begins, and itself.
type Step<'a> = (u64, &'a PhaseCost);

pub(super) fn print(
    path: &Path,
    machine: &Machine,
    compiled: &Compiled,
    node: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let (Some(mesh), Machine::Wafer(m)) = (compiled.whole_mesh(), machine) else {
        return Err(Failure::usage("whole-mesh mode is for --target wafer"));
    };
    let starts = std::iter::once(0).chain(mesh.phases.iter().map(|p| p.end));
    // A node of the user may be several primitives: `q/matmul` is a part of `q`.
    let is = |own: &str, n: &str| own.strip_prefix(n).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let of = |s: &Step<'_>| node.is_none_or(|n| is(&s.1.node, n));
    let steps: Vec<Step<'_>> = starts.zip(&mesh.phases).filter(of).collect();
    if let (Some(node), true) = (node, steps.is_empty()) {
        let mut names: Vec<&str> = mesh.phases.iter().map(|p| p.node.as_str()).collect();
        names.dedup();
        let some: Vec<&str> = names.iter().filter(|n| n.contains(node)).chain(&names).take(5).copied().collect();
        return Err(Failure::usage(format!(
            "no step is for node `{node}`; there are steps for {}, …",
            some.join(", ")
        )));
    }
    let contexts: Vec<(u64, Option<u64>)> = LAYERS.iter().map(|&n| (n, mesh.longest_context(m, n))).collect();
    match format {
        Format::Json => output::print_json(&json!({
            "model": path.display().to_string(),
            "target": machine.target(),
            "mode": "whole-mesh",
            "grid": [mesh.grid.width, mesh.grid.height],
            "cycles": compiled.estimate.cycles,
            "mapping_bound_cycles": compiled.estimate.mapping_bound_cycles,
            "sram_bytes": compiled.estimate.sram_bytes,
            "longest_context": contexts.iter().map(|(l, n)| json!({"layers": l, "positions": n})).collect::<Vec<_>>(),
            "steps": steps.iter().map(|(start, p)| json!({
                "node": p.node, "what": p.what, "start_cycle": start, "end_cycle": p.end, "cycles": p.end - start,
            })).collect::<Vec<_>>(),
        })),
        Format::Text => output::print(&text(mesh, &compiled.estimate, &steps, &contexts)),
    }
}

fn text(mesh: &WholeMesh, e: &Estimate, steps: &[Step<'_>], contexts: &[(u64, Option<u64>)]) -> String {
    let (width, height, cycles) = (mesh.grid.width, mesh.grid.height, grouped(e.cycles));
    let mut out = format!(
        "whole mesh of {width} x {height} PEs: {cycles} cycles declared; the busiest PE works for {}; {} on the fullest\n",
        grouped(e.mapping_bound_cycles),
        bytes(e.sram_bytes)
    );
    for (layers, positions) in contexts.iter().filter(|_| mesh.has_context()) {
        let s = if *layers == 1 { "" } else { "s" };
        out += &match positions {
            Some(n) => format!("{layers} such layer{s}: a context of {} positions at most\n", grouped(*n)),
            None => format!("{layers} such layer{s} do not fit\n"),
        };
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["end", "cycles", "step", "node"]);
    for (start, p) in steps {
        table.add_row([grouped(p.end), grouped(p.end - start), p.what.to_string(), p.node.clone()]);
    }
    table.column_iter_mut().take(2).for_each(|c| c.set_cell_alignment(CellAlignment::Right));
    out + &format!("\n{}\n", table.trim_fmt())
}
