//! Writes the program: classes, regions, routes, data and ports of a placed wafer graph.
//!
//! Classes are shared by all PEs with the same code; what differs from PE to PE goes into
//! parameters and data. Knows everything that was decided; decides only which rows of the edge
//! the model's tensors use.

use super::code::{PeCode, Piece};
use super::color::color;
use super::error::CompileError;
use super::kernels::{OUT, in_queue};
use super::layout::Part;
use super::place::Placement;
use super::plan::{chain_of, code_of};
use super::route::{Router, Sink, Source, Tree};
use super::streams::{Exit, Producer, WaferGraph};
use super::tiled::Named;
use bytes::Bytes;
use quadrille_isa::wafer::{
    ClassIx, Color, Data, IoPort, IoTensor, Machine, NodeIx, ParamFn, Pe, PeClass, PortLoop, Program, Rect, Region,
    Route,
};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// All trees with their colors.
pub(crate) struct Wires {
    trees: Vec<Tree>,
    colors: Vec<Color>,
    /// Tree of each stream.
    streams: Vec<Option<usize>>,
    /// Trees of each kernel's hops.
    hops: Vec<Vec<usize>>,
    /// Row of each input stream's port, and of the port of each output, by its position and the stream.
    west: Vec<Option<u16>>,
    east: BTreeMap<(usize, usize), u16>,
}

/// The least used port row that is nearest to `y`.
fn port_row(used: &mut BTreeMap<u16, usize>, y: u16, m: &Machine) -> u16 {
    let rows = (0..m.geometry.height_pes).step_by(m.geometry.io_port_rows as usize).map(|r| r as u16);
    let row = rows.min_by_key(|r| (used.get(r).copied().unwrap_or(0), r.abs_diff(y), *r)).unwrap_or(0);
    *used.entry(row).or_insert(0) += 1;
    row
}

/// Why there are no routes.
pub(crate) enum NoWires {
    /// Too many trees cross this router; another placement may do.
    Colors(Pe),
    Other(CompileError),
}

impl NoWires {
    /// The same as an error of the whole compilation.
    pub(crate) fn error(self, m: &Machine) -> CompileError {
        match self {
            NoWires::Other(e) => e,
            NoWires::Colors(p) => CompileError::DoesNotFit {
                what: format!("the router of PE ({}, {})", p.x, p.y),
                need: u64::from(m.geometry.colors) + 1,
                have: u64::from(m.geometry.colors),
                reason: "colors: more streams pass it than it can tell apart, however far apart kernels are placed"
                    .to_string(),
                remedy: "use a larger mesh, where streams find more ways".to_string(),
            },
        }
    }
}

/// Routes and colors of a placed graph; `spreads` to keep them out of crowded routers.
pub(crate) fn wires(g: &WaferGraph, placement: &Placement, spreads: bool, m: &Machine) -> Result<Wires, NoWires> {
    let mut router = Router::new(m, placement, spreads);
    let mut w = Wires {
        trees: Vec::new(),
        colors: Vec::new(),
        streams: vec![None; g.streams.len()],
        hops: vec![Vec::new(); g.kernels.len()],
        west: vec![None; g.streams.len()],
        east: BTreeMap::new(),
    };
    let (mut west, mut east) = (BTreeMap::new(), BTreeMap::new());
    for (i, s) in g.streams.iter().enumerate() {
        let mut sinks: Vec<Sink> = s.readers.iter().map(|&(k, _)| Sink::Chain(k.0)).collect();
        let first = s.readers.first().and_then(|&(k, _)| placement.chains[k.0].first()).map_or(0, |p| p.y);
        let source = match s.producer {
            Producer::Gone => continue,
            Producer::Input(_) if sinks.is_empty() => continue,
            Producer::Input(_) => {
                let row = port_row(&mut west, first, m);
                w.west[i] = Some(row);
                Source::West(row)
            }
            Producer::Kernel(k) => match placement.chains[k.0].last() {
                Some(&p) => Source::Pe(p),
                None => continue,
            },
        };
        for Exit { output, .. } in &s.outputs {
            let y = match source {
                Source::Pe(p) => p.y,
                Source::West(y) => y,
            };
            let row = port_row(&mut east, y, m);
            w.east.insert((*output, i), row);
            sinks.push(Sink::East(row));
        }
        let no_path = || CompileError::DoesNotFit {
            what: format!("the route of stream {i}"),
            need: 1,
            have: 0,
            reason: "no path is left between its kernels".to_string(),
            remedy: "use a larger mesh".to_string(),
        };
        let tree = router.tree(source, &sinks).ok_or_else(|| NoWires::Other(no_path()))?;
        // Whatever else comes, these trees cannot be told apart.
        if let Some(p) = router.overfull {
            return Err(NoWires::Colors(p));
        }
        w.streams[i] = Some(w.trees.len());
        w.trees.push(tree);
    }
    for (k, chain) in placement.chains.iter().enumerate() {
        let links = chain_of(g, &g.kernels[k], g.kernels[k].cut);
        for i in 0..chain.len() {
            let Some(next) = links.next(i) else { continue };
            w.hops[k].push(w.trees.len());
            w.trees.push(router.along(&chain[i..=next]));
        }
    }
    w.colors = color(&w.trees, m).map_err(NoWires::Colors)?;
    Ok(w)
}

/// Routes of a tree, neighbours with the same ports together.
fn rectangles(tree: &Tree, color: Color, out: &mut Vec<Route>) {
    let mut rows: Vec<Route> = Vec::new();
    let mut by_row: Vec<_> = tree.hops.iter().collect();
    by_row.sort_by_key(|(p, _)| (p.y, p.x));
    for (p, h) in by_row {
        match rows.last_mut() {
            Some(r) if r.rect.y == p.y && r.rect.x + r.rect.w == p.x && (r.rx, r.tx) == (h.rx, h.tx) => r.rect.w += 1,
            _ => rows.push(Route { rect: Rect::pe(p.x, p.y), color, rx: h.rx, tx: h.tx }),
        }
    }
    rows.sort_by_key(|r| (r.rect.x, r.rect.w, r.rect.y));
    let mut all: Vec<Route> = Vec::new();
    for r in rows {
        match all.last_mut() {
            Some(a)
                if (a.rect.x, a.rect.w) == (r.rect.x, r.rect.w)
                    && a.rect.y + a.rect.h == r.rect.y
                    && (a.rx, a.tx) == (r.rx, r.tx) =>
            {
                a.rect.h += 1;
            }
            _ => all.push(r),
        }
    }
    out.extend(all);
}

/// The loops of a port over a tensor.
fn port_loops(p: &Part) -> Vec<PortLoop> {
    let loops = p.normalized().into_iter();
    loops.map(|(count, elem_step)| PortLoop { count: count as u32, elem_step }).collect()
}

/// Data records of a run of PEs in one row that hold pieces of equal places and sizes.
fn data_records(pes: &[(Pe, &[Piece])], out: &mut Vec<Data>) {
    let Some((first, pieces)) = pes.first() else { return };
    let x = pes.iter().map(|(p, _)| p.x).min().unwrap_or(first.x);
    let rect = Rect { x, y: first.y, w: pes.len() as u16, h: 1 };
    let mut by_x: Vec<_> = pes.to_vec();
    by_x.sort_by_key(|(p, _)| p.x);
    for (i, piece) in pieces.iter().enumerate() {
        let shared = by_x.iter().all(|(_, p)| p[i].bytes == piece.bytes);
        let bytes: Vec<u8> = if shared {
            piece.bytes.clone()
        } else {
            by_x.iter().flat_map(|(_, p)| p[i].bytes.iter().copied()).collect()
        };
        out.push(Data { rect, addr: piece.addr, len: piece.bytes.len() as u32, bytes: Bytes::from(bytes) });
    }
}

fn same_places(a: &[Piece], b: &[Piece]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.addr == b.addr && a.bytes.len() == b.bytes.len())
}

/// The program of a placed graph.
pub(crate) fn emit(
    name: &str,
    g: &WaferGraph,
    placement: &Placement,
    w: &Wires,
    (inputs, outputs): (&[Named], &[Named]),
    m: &Machine,
) -> Program {
    let io = |n: &Named| IoTensor { name: n.name.clone(), dtype: n.dtype, shape: n.shape.clone() };
    let mut p = Program {
        machine: m.name.clone(),
        machine_hash: m.hash(),
        model: name.to_string(),
        inputs: inputs.iter().map(io).collect(),
        outputs: outputs.iter().map(io).collect(),
        ..Program::default()
    };
    let mut classes: Vec<PeClass> = Vec::new();
    for (ix, kernel) in g.kernels.iter().enumerate() {
        let chain = &placement.chains[ix];
        let node = NodeIx(p.nodes.len() as u32);
        p.nodes.push(kernel.names.join("+"));
        let codes: Vec<PeCode> =
            (0..chain.len()).into_par_iter().map(|i| code_of(g, kernel, kernel.cut, i, true)).collect();
        let links = chain_of(g, kernel, kernel.cut);
        let class_base = classes.len();
        for (i, (pe, code)) in chain.iter().zip(&codes).enumerate() {
            let class = match classes[class_base..].iter().position(|c| *c == code.class) {
                Some(c) => class_base + c,
                None => {
                    classes.push(code.class.clone());
                    classes.len() - 1
                }
            };
            let mut in_colors = vec![None; 8];
            for (o, operand) in kernel.inputs.iter().enumerate() {
                in_colors[usize::from(in_queue(o).0)] = w.streams[operand.stream.0].map(|t| w.colors[t]);
            }
            for before in links.senders(i) {
                let q = links.queue(before, kernel.inputs.len());
                in_colors[usize::from(q.0)] = Some(w.colors[w.hops[ix][before]]);
            }
            let to = match w.hops[ix].get(i) {
                Some(&t) => Some(t),
                None => w.streams[kernel.output.0],
            };
            let mut out_colors = vec![None; 6];
            out_colors[usize::from(OUT.0)] = to.map(|t| w.colors[t]);
            p.regions.push(Region {
                rect: Rect::pe(pe.x, pe.y),
                class: ClassIx(class as u32),
                node,
                in_colors,
                out_colors,
                params: code.params.iter().map(|&v| ParamFn::Const(v)).collect(),
            });
        }
        let mut run: Vec<(Pe, &[Piece])> = Vec::new();
        for (pe, code) in chain.iter().zip(&codes) {
            let joins = run.last().is_some_and(|(last, pieces)| last.y == pe.y && same_places(pieces, &code.data));
            if !joins {
                data_records(&run, &mut p.data);
                run.clear();
            }
            run.push((*pe, &code.data));
        }
        data_records(&run, &mut p.data);
    }
    p.classes = classes;
    for (t, c) in w.trees.iter().zip(&w.colors) {
        rectangles(t, *c, &mut p.routes);
    }
    for (i, s) in g.streams.iter().enumerate() {
        if let (Producer::Input(tensor), Some(row), Some(t), Some(l)) = (s.producer, w.west[i], w.streams[i], &s.layout)
        {
            let part = s.part.clone().unwrap_or_else(|| Part::whole(l.clone()));
            let (elem0, loops) = (part.first as u64, port_loops(&part));
            p.in_ports.push(IoPort { tensor: tensor as u32, row, color: w.colors[t], elem0, loops });
        }
    }
    for ((o, i), row) in &w.east {
        let s = &g.streams[*i];
        if let (Some(t), Some(exit)) = (w.streams[*i], s.outputs.iter().find(|e| e.output == *o)) {
            p.out_ports.push(IoPort {
                tensor: *o as u32,
                row: *row,
                color: w.colors[t],
                elem0: exit.part.first as u64,
                loops: port_loops(&exit.part),
            });
        }
    }
    p
}
