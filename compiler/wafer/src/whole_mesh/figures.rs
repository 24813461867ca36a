//! What a plan will cost, from its phases alone; and the grid that costs least.

use super::cost::{self, PhaseCost};
use super::emit::{self, Wiring};
use super::phase::{Plan, Work, other};
use super::{Options, plan, recognise, turned};
use crate::collective::gemv::Grid;
use crate::collective::wires::Axis;
use crate::{CompileError, Estimate};
use quadrille_compiler::ir::{Graph, Value, ValueDef};
use quadrille_isa::wafer::{Machine, Program};

/// Multiply-adds of the products with weights.
fn macs(plan: &Plan) -> u64 {
    let of = |w: &Work| match w {
        Work::Product { axis, ks, ns, blocks, .. } => {
            let pes = blocks.iter().flat_map(|b| b.0.pes());
            let along = |(x, y): (u16, u16)| if *axis == Axis::Row { (x, y) } else { (y, x) };
            let one = |(place, line): (u16, u16)| (ks[usize::from(line)] * ns[usize::from(place)]) as u64;
            pes.map(along).map(one).sum()
        }
        _ => 0,
    };
    plan.phases.iter().map(|p| of(&p.work)).sum()
}

/// Cycles in which the busiest PE does elements or takes words.
fn busiest(plan: &Plan, wiring: &Wiring, machine: &Machine) -> u64 {
    let mesh = plan.mesh;
    let width = usize::from(mesh.grid.width);
    let mut busy = vec![0u64; width * usize::from(mesh.grid.height)];
    let mut add = |axis: Axis, place: u16, line: u16, cycles: u64| {
        let (x, y) = if axis == Axis::Row { (place, line) } else { (line, place) };
        busy[usize::from(y) * width + usize::from(x)] += cycles;
    };
    let rate = u64::from(machine.rate.f16_mixed_fma.max(1));
    for p in &plan.phases {
        match &p.work {
            Work::Local { at, ops } => {
                let cycles = ops.iter().map(|o| cost::elements(plan, machine, o)).sum();
                at.pes().for_each(|(x, y)| add(Axis::Row, x, y, cycles));
            }
            Work::Product { axis, ks, ns, .. } => {
                for line in 0..mesh.len(other(*axis)) {
                    for place in 0..mesh.len(*axis) {
                        let n = (ks[usize::from(line)] * ns[usize::from(place)]) as u64;
                        add(*axis, place, line, n.div_ceil(rate));
                    }
                }
            }
            Work::Reduce { axis, lines, n, .. } => {
                for (place, children) in wiring.tree(*axis).children.iter().enumerate() {
                    lines.iter().for_each(|&l| add(*axis, place as u16, l, (*n * children.len()) as u64));
                }
            }
            Work::Spread { .. } | Work::GroupReduce { .. } | Work::GroupSpread { .. } => {}
        }
    }
    busy.into_iter().max().unwrap_or(0)
}

pub(super) fn estimate(
    plan: &Plan,
    wiring: &Wiring,
    program: &Program,
    phases: &[PhaseCost],
    sram_bytes: u32,
    machine: &Machine,
) -> Estimate {
    let g = &machine.geometry;
    let all = u64::from(g.width_pes) * u64::from(g.height_pes);
    let m = &machine.program;
    let text = program.classes.iter().map(|c| c.text_bytes(m.vector_op_bytes, m.task_bytes)).max().unwrap_or(0);
    let cycles = phases.last().map_or(0, |p| p.end);
    let grid = plan.mesh.grid;
    Estimate {
        bound_cycles: macs(plan).div_ceil((all * u64::from(machine.rate.f16_mixed_fma)).max(1)),
        mapping_bound_cycles: busiest(plan, wiring, machine),
        cycles,
        interval_cycles: cycles,
        sram_bytes: sram_bytes.into(),
        program_bytes: text.into(),
        pes: u64::from(grid.width) * u64::from(grid.height),
        images_in_turn: 1,
    }
}

/// Sides of the squares that are tried.
const SIDES: [u16; 16] = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768];

/// The square grid, cut to the mesh, on which a graph takes the least declared cycles.
///
/// # Errors
/// Those of the largest grid that was tried.
pub fn best_grid(graph: &Graph, machine: &Machine, options: &Options) -> Result<Grid, CompileError> {
    if options.turned {
        let grid = best_grid(graph, &turned::mesh(machine), &Options { turned: false, ..*options })?;
        return Ok(Grid { width: grid.height, height: grid.width });
    }
    let (width, height) = (machine.geometry.width_pes, machine.geometry.height_pes);
    let have = u64::from(machine.geometry.sram_bytes_per_pe);
    let elements = |v: &Value| if let ValueDef::Const(_) = &v.def { v.ty.elements() as u64 } else { 0 };
    let weights: u64 = graph.values().iter().map(|v| 2 * elements(v)).sum();
    let mut best: Option<(u64, Grid)> = None;
    let mut refused = None;
    let mut worse = 0;
    let cut = |side: u16| Grid { width: side.min(width.min(65535) as u16), height: side.min(height.min(65535) as u16) };
    let mut grids: Vec<Grid> = SIDES.iter().map(|&s| cut(s)).collect();
    grids.dedup();
    let last = grids.len().saturating_sub(1);
    for (i, grid) in grids.into_iter().enumerate() {
        let holds = u64::from(grid.width) * u64::from(grid.height) * have;
        if holds < weights && i < last {
            continue;
        }
        match cycles(graph, machine, grid, options) {
            Ok(c) if best.is_none_or(|b| c < b.0) => (best, worse) = (Some((c, grid)), 0),
            Ok(_) => worse += 1,
            // No grid would help.
            Err(e) if matches!(&e, CompileError::Unsupported { remedy, .. } if remedy == recognise::REMEDY) => {
                return Err(e);
            }
            Err(e) => refused = Some(e),
        }
        if worse == 2 {
            break;
        }
    }
    match (best, refused) {
        (Some((_, grid)), _) => Ok(grid),
        (None, Some(e)) => Err(e),
        (None, None) => Ok(cut(u16::MAX)),
    }
}

fn cycles(graph: &Graph, machine: &Machine, grid: Grid, options: &Options) -> Result<u64, CompileError> {
    let plan = plan::plan(graph, machine, grid, options.even_memory)?;
    let wiring = Wiring::new(&plan, machine)?;
    emit::sram_bytes(&plan, &emit::emit(&graph.name, &plan, &wiring, machine), machine)?;
    Ok(cost::declared(&plan, &wiring, machine).last().map_or(0, |p| p.end))
}
