//! Rules that need neither routes nor execution: indices, parameters, queue bindings, classes
//! and initial data.

use super::super::fabric::on_mesh;
use super::super::lower;
use super::super::rule::{CheckError, Errors, Rule};
use quadrille_isa::wafer::{Color, Dst, Machine, Mem, ParamFn, Pe, Program, Region, Src, Trigger, Val, VecOp};
use std::collections::BTreeSet;

/// Checks structure; see the module header of `check`.
pub(crate) fn structure(program: &Program, machine: &Machine, errors: &mut Errors) {
    if program.machine != machine.name || program.machine_hash != machine.hash() {
        errors.push(CheckError::new(
            Rule::Machine,
            format!(
                "the program is for `{}` ({}), not for `{}` ({})",
                program.machine,
                short(&program.machine_hash),
                machine.name,
                short(&machine.hash())
            ),
        ));
    }
    let mut faults = Vec::new();
    for class in &program.classes {
        lower::lower(class, machine, &mut faults);
    }
    for f in faults {
        errors.push(CheckError::new(f.rule, f.message));
    }
    for (ix, region) in program.regions.iter().enumerate() {
        check_region(program, machine, ix, region, errors);
    }
    check_data(program, machine, errors);
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn check_region(program: &Program, machine: &Machine, ix: usize, region: &Region, errors: &mut Errors) {
    let corner = Pe { x: region.rect.x, y: region.rect.y };
    if region.node.0 as usize >= program.nodes.len() {
        errors.push(
            CheckError::new(Rule::Reference, format!("region {ix}: node {} does not exist", region.node.0)).at(corner),
        );
    }
    for (what, colors, most) in [
        ("input", &region.in_colors, machine.queues.input_depth_words.len()),
        ("output", &region.out_colors, machine.queues.output_depth_words.len()),
    ] {
        if colors.len() > most {
            errors.push(
                CheckError::new(
                    Rule::QueueColor,
                    format!("region {ix} binds {} {what} queues, there are {most}", colors.len()),
                )
                .at(corner),
            );
        }
        for (q, color) in colors.iter().enumerate() {
            let Some(color) = color else { continue };
            if u32::from(color.0) >= machine.geometry.colors {
                errors.push(
                    CheckError::new(Rule::QueueColor, format!("region {ix}, {what} queue {q}: no such color"))
                        .at(corner)
                        .color(*color),
                );
            }
            if colors[..q].contains(&Some(*color)) {
                errors.push(
                    CheckError::new(Rule::QueueColor, format!("region {ix}: two {what} queues are bound to one color"))
                        .at(corner)
                        .color(*color),
                );
            }
        }
    }
    let Some(class) = program.classes.get(region.class.0 as usize) else {
        errors.push(
            CheckError::new(Rule::Reference, format!("region {ix}: class {} does not exist", region.class.0))
                .at(corner),
        );
        return;
    };
    // Parameters that the class uses.
    let mut used: Vec<u16> = Vec::new();
    let mut use_val = |v: Val| {
        if let Val::Param(p) = v {
            used.push(p);
        }
    };
    for task in &class.tasks {
        use_val(task.repeat);
        for op in &task.body {
            use_val(op.n0);
            use_val(op.n1);
            for mem in mems(op) {
                for v in [mem.base, mem.stride0, mem.stride1, mem.step, mem.modulo] {
                    use_val(v);
                }
            }
        }
    }
    used.sort_unstable();
    used.dedup();
    for &p in &used {
        if usize::from(p) >= region.params.len() {
            errors.push(
                CheckError::new(
                    Rule::Param,
                    format!(
                        "region {ix}: class `{}` uses parameter {p}, the region declares {}",
                        class.name,
                        region.params.len()
                    ),
                )
                .at(corner),
            );
        }
    }
    let area = region.rect.area() as usize;
    for (p, f) in region.params.iter().enumerate() {
        let why = match f {
            ParamFn::Const(_) => continue,
            ParamFn::Table(t) if t.len() == area => continue,
            ParamFn::Table(t) => format!("its table has {} values for {area} PEs", t.len()),
            ParamFn::Affine { base, dx, dy } => {
                // The extreme values are at corners, and intermediate terms are bounded by them.
                let far = |d: i32, n: u16| i64::from(d) * (i64::from(n) - 1).max(0);
                let (x, y) = (far(*dx, region.rect.w), far(*dy, region.rect.h));
                let fits = |v: i64| i32::try_from(v).is_ok();
                let base = i64::from(*base);
                if [x, y, base + x, base + y, base + x + y].into_iter().all(fits) {
                    continue;
                }
                "its value overflows in a corner".to_owned()
            }
        };
        errors.push(CheckError::new(Rule::Param, format!("region {ix}, parameter {p}: {why}")).at(corner));
    }
    // Queues that the class uses are bound.
    let mut unbound = |what: &str, q: u8, colors: &[Option<Color>]| {
        if colors.get(usize::from(q)).copied().flatten().is_none() {
            errors.push(
                CheckError::new(
                    Rule::QueueColor,
                    format!("region {ix}: class `{}` uses {what} queue {q}, which has no color", class.name),
                )
                .at(corner),
            );
        }
    };
    let mut ins: Vec<u8> = Vec::new();
    let mut outs: Vec<u8> = Vec::new();
    for task in &class.tasks {
        if let Trigger::Data(q) = task.trigger {
            ins.push(q.0);
        }
        for op in &task.body {
            for src in [&op.a, &op.b, &op.c] {
                if let Src::Fabric(q, _) | Src::FabricRowScalar(q, _) = src {
                    ins.push(q.0);
                }
            }
            if let Dst::Fabric(q, _) = op.dst {
                outs.push(q.0);
            }
        }
    }
    for list in [&mut ins, &mut outs] {
        list.sort_unstable();
        list.dedup();
    }
    for q in ins {
        unbound("input", q, &region.in_colors);
    }
    for q in outs {
        unbound("output", q, &region.out_colors);
    }
}

fn mems(op: &VecOp) -> impl Iterator<Item = Mem> {
    let src = |s: &Src| match s {
        Src::Mem(m) | Src::RowScalar(m) => Some(*m),
        _ => None,
    };
    let dst = match op.dst {
        Dst::Mem(m) => Some(m),
        _ => None,
    };
    [src(&op.a), src(&op.b), src(&op.c), dst].into_iter().flatten()
}

/// Bytes of program text of the class at index `class`.
fn text_bytes(program: &Program, machine: &Machine, class: u32) -> u64 {
    program.classes.get(class as usize).map_or(0, |c| {
        let ops: u64 = c.tasks.iter().map(|t| t.body.len() as u64).sum();
        ops * u64::from(machine.program.vector_op_bytes) + c.tasks.len() as u64 * u64::from(machine.program.task_bytes)
    })
}

fn check_data(program: &Program, machine: &Machine, errors: &mut Errors) {
    let sram = u64::from(machine.geometry.sram_bytes_per_pe);
    // (cell, addr, end, index) of every PE of every rectangle, to find overlaps by sorting.
    let mut placed: Vec<(u32, u32, u32, u32)> = Vec::new();
    let width = machine.geometry.width_pes;
    for (ix, data) in program.data.iter().enumerate() {
        let corner = Pe { x: data.rect.x, y: data.rect.y };
        let end = u64::from(data.addr) + u64::from(data.len);
        if !on_mesh(data.rect, machine) {
            errors.push(
                CheckError::new(Rule::DataPlace, format!("data {ix} at {:?} is empty or leaves the mesh", data.rect))
                    .at(corner),
            );
            continue;
        }
        if end > sram {
            errors.push(
                CheckError::new(
                    Rule::DataPlace,
                    format!("data {ix}: bytes {}..{end} of {sram} bytes of SRAM", data.addr),
                )
                .at(corner),
            );
            continue;
        }
        let each = u64::from(data.len) * u64::from(data.rect.area());
        let got = data.bytes.len() as u64;
        if got != u64::from(data.len) && got != each {
            errors.push(
                CheckError::new(
                    Rule::DataPlace,
                    format!("data {ix} has {got} bytes; {} (shared) or {each} (for each PE) are needed", data.len),
                )
                .at(corner),
            );
            continue;
        }
        if data.len > 0 {
            placed.extend(
                data.rect.pes().map(|pe| (u32::from(pe.y) * width + u32::from(pe.x), data.addr, end as u32, ix as u32)),
            );
        }
    }
    placed.sort_unstable();
    let place = |cell: u32| Pe { x: (cell % width) as u16, y: (cell / width) as u16 };
    for pair in placed.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.0 == b.0 && b.1 < a.2 {
            errors.push(
                CheckError::new(Rule::DataPlace, format!("data {} and {} overlap from byte {} on", a.3, b.3, b.1))
                    .at(place(a.0)),
            );
        }
    }
    check_text(program, machine, errors);
}

/// Data must stay below the text of the program that runs there.
fn check_text(program: &Program, machine: &Machine, errors: &mut Errors) {
    let sram = u64::from(machine.geometry.sram_bytes_per_pe);
    let text: Vec<u64> = (0..program.classes.len() as u32).map(|c| text_bytes(program, machine, c)).collect();
    let text_of = |region: u32| {
        let class = program.regions[region as usize].class.0;
        text.get(class as usize).copied().unwrap_or(0)
    };
    let most = (0..program.regions.len() as u32).map(text_of).max().unwrap_or(0);
    let width = machine.geometry.width_pes as usize;
    let cell = |pe: Pe| usize::from(pe.y) * width + usize::from(pe.x);
    let mut region_of = vec![u32::MAX; width * machine.geometry.height_pes as usize];
    for (ix, region) in program.regions.iter().enumerate().filter(|(_, r)| on_mesh(r.rect, machine)) {
        region.rect.pes().for_each(|pe| region_of[cell(pe)] = ix as u32);
    }
    let mut found: BTreeSet<(u32, usize)> = BTreeSet::new();
    for (ix, data) in program.data.iter().enumerate() {
        let end = u64::from(data.addr) + u64::from(data.len);
        if end > sram.saturating_sub(most) && end <= sram && on_mesh(data.rect, machine) {
            let regions = data.rect.pes().map(|pe| region_of[cell(pe)]).filter(|&r| r != u32::MAX);
            found.extend(regions.filter(|&r| end > sram.saturating_sub(text_of(r))).map(|r| (r, ix)));
        }
    }
    for (region, ix) in found {
        let (data, text) = (&program.data[ix], text_of(region));
        let end = u64::from(data.addr) + u64::from(data.len);
        let left = sram.saturating_sub(text);
        let message =
            format!("data {ix} ends at byte {end}, but {text} of {sram} bytes hold program text: {left} are left");
        let rect = program.regions[region as usize].rect;
        let place = Pe { x: rect.x.max(data.rect.x), y: rect.y.max(data.rect.y) };
        errors.push(CheckError::new(Rule::Sram, message).at(place));
    }
}
