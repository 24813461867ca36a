//! The same program with columns and rows exchanged: what ran along x runs along y.
//!
//! A graph is planned for the mesh mirrored at its diagonal, and the program is mirrored back. Nothing crosses the mesh's edge
//! in whole-mesh mode, so ports are not in the way. Knows programs; nothing of graphs or plans.

use bytes::Bytes;
use quadrille_isa::wafer::{Machine, ParamFn, Port, PortSet, Program, Rect};

/// The mesh with columns and rows exchanged.
pub(super) fn mesh(machine: &Machine) -> Machine {
    let mut m = machine.clone();
    std::mem::swap(&mut m.geometry.width_pes, &mut m.geometry.height_pes);
    m
}

/// The program of a mirrored mesh as one of `machine`.
pub(super) fn program(mut p: Program, machine: &Machine) -> Program {
    (p.machine, p.machine_hash) = (machine.name.clone(), machine.hash());
    for r in &mut p.regions {
        for f in &mut r.params {
            match f {
                ParamFn::Const(_) => {}
                ParamFn::Affine { dx, dy, .. } => std::mem::swap(dx, dy),
                ParamFn::Table(t) => *t = by_column(t, r.rect, 1),
            }
        }
        r.rect = rect(r.rect);
    }
    for r in &mut p.routes {
        (r.rect, r.rx) = (rect(r.rect), port(r.rx));
        r.tx = r.tx.ports().fold(PortSet::default(), |set, p| set.with(port(p)));
    }
    for d in &mut p.data {
        if d.bytes.len() > d.len as usize {
            d.bytes = Bytes::from(by_column(&d.bytes, d.rect, d.len as usize));
        }
        d.rect = rect(d.rect);
    }
    for r in p.in_sram.iter_mut().chain(&mut p.out_sram) {
        if r.index.len() > r.len as usize {
            r.index = by_column(&r.index, r.rect, r.len as usize);
        }
        r.rect = rect(r.rect);
    }
    p
}

fn rect(r: Rect) -> Rect {
    Rect { x: r.y, y: r.x, w: r.h, h: r.w }
}

fn port(p: Port) -> Port {
    match p {
        Port::North => Port::West,
        Port::West => Port::North,
        Port::South => Port::East,
        Port::East => Port::South,
        Port::Ramp => Port::Ramp,
    }
}

/// What the PEs of a rectangle have, `each` elements a PE, row by row: column by column.
fn by_column<T: Clone>(all: &[T], r: Rect, each: usize) -> Vec<T> {
    let (w, h) = (usize::from(r.w), usize::from(r.h));
    let at = |x: usize, y: usize| (y * w + x) * each;
    (0..w).flat_map(|x| (0..h).flat_map(move |y| all[at(x, y)..at(x, y) + each].iter().cloned())).collect()
}
