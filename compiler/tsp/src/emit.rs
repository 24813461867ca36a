//! A schedule as a program: queues in order, the SRAM image, layouts, provenance.

mod join;

use super::error::CompileError;
use super::sched::memory::{Memory, weight_slices};
use super::sched::{PlacedNo, Schedule};
use super::tiled::{HostLoop, HostPiece, Init, TensorId, TiledGraph};
use bytes::Bytes;
use quadrille_isa::tsp::{
    ImageSegment, Inst, Issue, IssueRef, Loop, Machine, MemProvenance, NodeIx, Placement, Program, Provenance, QueueId,
    Repeat, TensorLayout, ValueInfo, ValueIx,
};
use std::collections::BTreeMap;

/// Makes the program of a schedule.
pub(crate) fn emit(g: &TiledGraph, m: &Machine, s: &Schedule) -> Result<Program, CompileError> {
    let mut p = Program {
        machine: m.name.clone(),
        machine_hash: m.hash(),
        model: g.name.clone(),
        nodes: g.nodes.clone(),
        ..Program::default()
    };
    let spots = queues(&mut p, s);
    for l in &s.placements.links {
        let [use_, def] = [l.use_, l.def].map(|PlacedNo(n)| spots[n as usize]);
        p.provenance.push(Provenance {
            use_: use_.issue,
            slot: l.slot,
            width: l.width,
            first: use_.first + l.first,
            count: l.count,
            def: def.issue,
            out: l.out,
            def_first: def.first + l.def_first,
            def_step: l.def_step,
        });
    }
    for l in &s.placements.mem {
        let PlacedNo(n) = l.inst;
        let Spot { issue, first } = spots[n as usize];
        if first > 0 {
            continue;
        }
        let step = match p.issue(issue) {
            Some(Issue { inst: Inst::Read { .. } | Inst::Write { .. }, repeat, .. }) => repeat.a,
            _ => l.step,
        };
        p.mem_provenance.push(MemProvenance { issue, value: l.value, addr: l.addr, step });
    }
    p.values = vec![ValueInfo { name: String::new(), node: NodeIx(0) }; s.memory.values() as usize];
    for (n, t) in g.tensors.iter().enumerate() {
        let home = &s.memory.homes[n];
        if home.chunks.is_empty() {
            continue;
        }
        let node = NodeIx(t.node.0);
        p.values[home.value as usize] = ValueInfo { name: t.name.clone(), node };
        if let (Some(v), Some(fill)) = (home.fill, t.fill) {
            if v != home.value {
                p.values[v as usize] = ValueInfo { name: format!("{} (fill)", t.name), node };
            }
            fills(&mut p, m, &s.memory, TensorId(n as u32), ValueIx(v), fill);
        }
        match &t.init {
            Init::Const(bytes) => constant(&mut p, g, m, &s.memory, TensorId(n as u32), bytes),
            Init::Input { pieces, .. } => blanks(&mut p, g, m, &s.memory, TensorId(n as u32), pieces),
            _ => {}
        }
    }
    for map in s.memory.map_homes() {
        p.values[map.value.0 as usize] = ValueInfo { name: "address map".into(), node: NodeIx(0) };
        let mut words = vec![0u8; map.words.len() / map.groups.max(1) * m.lanes()];
        let per = m.geometry.lanes_per_superlane as usize;
        for (n, w) in map.words.iter().enumerate() {
            words[n * per..n * per + 2].copy_from_slice(&w.to_le_bytes());
        }
        p.image.push(ImageSegment { value: map.value, slice: map.at.slice, addr: map.at.base, words: words.into() });
    }
    for (slice, (addr, value)) in &s.memory.zeros {
        p.values[value.0 as usize] = ValueInfo { name: "zeros".into(), node: NodeIx(0) };
        let words = Bytes::from(vec![0u8; m.lanes()]);
        p.image.push(ImageSegment { value: *value, slice: *slice, addr: *addr, words });
    }
    for (byte, f) in s.memory.fills.iter().copied().chain(s.memory.byte_words()) {
        p.values[f.value.0 as usize] = ValueInfo { name: "outside of images".into(), node: NodeIx(0) };
        let words = Bytes::from(vec![byte; m.lanes()]);
        p.image.push(ImageSegment { value: f.value, slice: f.at.slice, addr: f.at.base, words });
    }
    layouts(&mut p, g, &s.memory);
    let text = p.text_bytes(m.program.instruction_bytes);
    let have = text_room(m);
    if text > have {
        return Err(CompileError::DoesNotFit {
            what: format!("program text of `{}`", g.name),
            need: text,
            have,
            reason: "instructions live in the reserved slices".into(),
            remedy: "a smaller model or input, or a machine description with more reserved slices".into(),
        });
    }
    Ok(p)
}

/// Bytes of program text that a machine has room for.
fn text_room(m: &Machine) -> u64 {
    2 * u64::from(m.program.reserved_slices_per_hemisphere * m.geometry.words_per_slice) * m.lanes() as u64
}

/// Bytes of the program text of a schedule for which there is no room.
pub(crate) fn excess_text(m: &Machine, s: &Schedule) -> u64 {
    let (room, bytes) = (text_room(m), m.program.instruction_bytes);
    // An instruction takes three slots at most.
    if 3 * s.placements.insts.len() as u64 * u64::from(bytes) <= room {
        return 0;
    }
    let mut p = Program::default();
    queues(&mut p, s);
    p.text_bytes(bytes).saturating_sub(room)
}

/// Where a placed instruction went: an issue, and which of its executions is the instruction's first.
#[derive(Clone, Copy)]
struct Spot {
    issue: IssueRef,
    first: u32,
}

/// Fills the queues; returns where each placed instruction went.
fn queues(p: &mut Program, s: &Schedule) -> Vec<Spot> {
    let mut by_queue: BTreeMap<QueueId, Vec<u32>> = BTreeMap::new();
    for (n, i) in s.placements.insts.iter().enumerate() {
        by_queue.entry(i.queue).or_default().push(n as u32);
    }
    let mut values: Vec<Option<ValueIx>> = vec![None; s.placements.insts.len()];
    s.placements.mem.iter().for_each(|l| values[l.inst.0 as usize] = Some(l.value));
    let unset = Spot { issue: IssueRef { queue: QueueId::Vxm(0), index: 0 }, first: 0 };
    let mut spots = vec![unset; s.placements.insts.len()];
    for (number, (queue, mut list)) in by_queue.into_iter().enumerate() {
        // An install comes before the activation of its cycle.
        list.sort_by_key(|&n| {
            let i = &s.placements.insts[n as usize];
            (i.cycle, !matches!(i.inst, Inst::InstallWeights), n)
        });
        let start = if number == 0 { Inst::Notify } else { Inst::Sync };
        let first = Issue { cycle: 0, inst: start, repeat: Repeat::default(), node: NodeIx(0) };
        let mut issues = Vec::with_capacity(list.len() + 1);
        issues.push(first);
        let mut value = None;
        for (at, &n) in list.iter().enumerate() {
            let n = n as usize;
            let i = &s.placements.insts[n];
            // An install that shares its cycle with an activation is one of its own: a repetition lasts until its last cycle.
            let shares = list.get(at + 1).is_some_and(|&next| s.placements.insts[next as usize].cycle == i.cycle);
            let issue = Issue { cycle: i.cycle, inst: i.inst.clone(), repeat: i.repeat, node: i.node };
            let mut before = 0;
            match issues.last_mut().and_then(|last| Some((join::joined(last, &issue)?, last))) {
                Some((repeat, last)) if values[n] == value && !shares => {
                    before = last.executions();
                    last.repeat = repeat;
                }
                _ => issues.push(issue),
            }
            value = values[n];
            spots[n] = Spot { issue: IssueRef { queue, index: issues.len() as u32 - 1 }, first: before };
        }
        p.queues.insert(queue, issues);
    }
    lane_maps(p, &s.lane_maps.maps);
    spots
}

/// The maps that instructions name, and no others.
fn lane_maps(p: &mut Program, all: &[Vec<u16>]) {
    let mut numbers: BTreeMap<u16, u16> = BTreeMap::new();
    for issue in p.queues.values_mut().flatten() {
        if let Inst::Permute { map, .. } | Inst::Distribute { map, .. } = &mut issue.inst {
            let next = numbers.len() as u16;
            let number = *numbers.entry(*map).or_insert_with(|| {
                p.maps.push(all[usize::from(*map)].clone());
                next
            });
            *map = number;
        }
    }
}

fn fills(p: &mut Program, m: &Machine, memory: &Memory, t: TensorId, value: ValueIx, fill: u32) {
    let home = &memory.homes[t.0 as usize];
    // The others are written by instructions.
    for copy in home.chunks.iter().filter(|c| !c.used_before()).flat_map(|c| &c.copies) {
        for (byte, r) in copy.iter().enumerate() {
            let words = Bytes::from(vec![(fill >> (8 * byte)) as u8; m.lanes()]);
            let addr = r.base + home.chunk_rows as u16;
            p.image.push(ImageSegment { value, slice: r.slice, addr, words });
        }
    }
}

/// The image of a constant, a segment for each region.
fn constant(p: &mut Program, g: &TiledGraph, m: &Machine, memory: &Memory, id: TensorId, bytes: &[u8]) {
    let (t, home) = (g.tensor(id), &memory.homes[id.0 as usize]);
    let (lanes, width, rows) = (t.lanes as usize, usize::from(t.ty.bytes()), t.rows as usize);
    let value = ValueIx(home.value);
    let word = |row: usize, byte: usize, out: &mut Vec<u8>| {
        let start = out.len();
        if row < rows {
            out.extend((0..lanes).map(|l| bytes[(row * lanes + l) * width + byte]));
        }
        out.resize(start + m.lanes(), 0);
    };
    if t.weights {
        let per = weight_slices(m) as usize;
        let depth = home.words as usize / width;
        for k in 0..home.chunks[0].copies[0].len() {
            let mut words = Vec::with_capacity(home.words as usize * m.lanes());
            for byte in 0..width {
                (0..depth).for_each(|d| word(d * per + k, byte, &mut words));
            }
            let words = Bytes::from(words);
            for copy in &home.chunks[0].copies {
                let r = copy[k];
                p.image.push(ImageSegment { value, slice: r.slice, addr: r.base, words: words.clone() });
            }
        }
        return;
    }
    for (c, chunk) in home.chunks.iter().enumerate() {
        let first = c * home.chunk_rows as usize;
        let last = rows.min(first + home.chunk_rows as usize);
        for byte in 0..width {
            let mut words = Vec::with_capacity((last - first) * m.lanes());
            (first..last).for_each(|r| word(r, byte, &mut words));
            let words = Bytes::from(words);
            for copy in &chunk.copies {
                let r = copy[byte];
                p.image.push(ImageSegment { value, slice: r.slice, addr: r.base, words: words.clone() });
            }
        }
    }
}

/// Zeros in the rows of an input in which the host places nothing: a window that lies outside of its image altogether.
fn blanks(p: &mut Program, g: &TiledGraph, m: &Machine, memory: &Memory, id: TensorId, pieces: &[HostPiece]) {
    let t = g.tensor(id);
    let mut named = vec![false; t.rows as usize];
    for piece in pieces.iter().filter(|p| p.loops.iter().all(|l| l.count > 0)) {
        let loops = piece.loops.iter().filter(|l| l.row != 0).copied().collect();
        let rows = HostPiece { loops, ..piece.clone() };
        super::tiled::each_host_point(&rows, |row, _, _| named[row as usize] = true);
    }
    let home = &memory.homes[id.0 as usize];
    for row in (0..t.rows).filter(|&r| !named[r as usize]) {
        let copies = if t.weights { 1 } else { home.chunks[0].copies.len() };
        for (copy, byte) in (0..copies).flat_map(|c| (0..t.ty.bytes()).map(move |b| (c, b))) {
            let r = memory.place_of(g, id, copy, byte, row, 0);
            let words = Bytes::from(vec![0u8; m.lanes()]);
            p.image.push(ImageSegment { value: ValueIx(home.value), slice: r.slice, addr: r.base, words });
        }
    }
}

fn layouts(p: &mut Program, g: &TiledGraph, memory: &Memory) {
    for (n, i) in g.inputs.iter().enumerate() {
        let mut layout = TensorLayout {
            name: i.name.clone(),
            dtype: i.dtype,
            shape: i.shape.clone(),
            device_bytes: 1,
            placements: Vec::new(),
        };
        for (number, t) in g.tensors.iter().enumerate() {
            if let Init::Input { index, pieces } = &t.init
                && *index as usize == n
                && !memory.homes[number].chunks.is_empty()
            {
                let bytes = (t.ty.bytes()).min(i.dtype.size() as u8);
                let highest = pieces.iter().map(|p| p.byte.map_or(bytes, |b| b + 1)).max().unwrap_or(1);
                layout.device_bytes = layout.device_bytes.max(highest);
                for piece in pieces {
                    place(&mut layout.placements, g, memory, TensorId(number as u32), piece, bytes, true);
                }
            }
        }
        if layout.placements.is_empty() {
            layout.device_bytes = i.dtype.size() as u8;
        }
        p.inputs.push(layout);
    }
    for o in &g.outputs {
        let bytes = super::tiled::device_bytes(o.dtype, g.tensor(o.tensor).ty);
        let mut placements = Vec::new();
        for piece in &o.pieces {
            place(&mut placements, g, memory, o.tensor, piece, bytes, false);
        }
        p.outputs.push(TensorLayout {
            name: o.name.clone(),
            dtype: o.dtype,
            shape: o.shape.clone(),
            device_bytes: bytes,
            placements,
        });
    }
}

/// Placements of one piece: cut where rows pass from chunk to chunk.
fn place(
    out: &mut Vec<Placement>,
    g: &TiledGraph,
    memory: &Memory,
    t: TensorId,
    piece: &HostPiece,
    bytes: u8,
    all_copies: bool,
) {
    // A tensor without elements has no place.
    if piece.loops.iter().any(|l| l.count == 0) {
        return;
    }
    let piece = &upward(piece);
    let home = &memory.homes[t.0 as usize];
    if g.tensor(t).weights
        && let Some(turns) = by_slice(piece, memory.weight_slices())
    {
        turns.iter().for_each(|p| plain(out, g, memory, t, p, bytes, all_copies));
        return;
    }
    let reach: i64 = piece.loops.iter().map(|l| i64::from(l.count - 1) * i64::from(l.row)).sum();
    let (lo, hi) = (piece.row0, piece.row0 + reach as u32);
    let split = g.tensor(t).weights || lo / home.chunk_rows != hi / home.chunk_rows;
    if split {
        // Peel the loop with the largest row step until a piece stays in one chunk.
        let widest = (0..piece.loops.len()).filter(|&i| piece.loops[i].row != 0).max_by_key(|&i| piece.loops[i].row);
        let Some(widest) = widest else { return plain(out, g, memory, t, piece, bytes, all_copies) };
        let l = piece.loops[widest];
        let inner: i64 = reach - i64::from(l.count - 1) * i64::from(l.row);
        let mut k = 0;
        while k < l.count {
            let row0 = (i64::from(piece.row0) + i64::from(k) * i64::from(l.row)) as u32;
            // As many turns as stay in the chunk of the first.
            let room = i64::from((row0 / home.chunk_rows + 1) * home.chunk_rows - 1) - i64::from(row0) - inner;
            let fit = if g.tensor(t).weights || room < 0 { 1 } else { room / i64::from(l.row.max(1)) + 1 };
            let count = (fit.max(1) as u32).min(l.count - k);
            let mut part = piece.clone();
            part.row0 = row0;
            part.lane0 = (i64::from(piece.lane0) + i64::from(k) * i64::from(l.lane)) as u32;
            part.elem0 = (piece.elem0 as i64 + i64::from(k) * l.elem) as u64;
            if count == 1 {
                part.loops.remove(widest);
            } else {
                part.loops[widest].count = count;
            }
            place(out, g, memory, t, &part, bytes, all_copies);
            k += count;
        }
        return;
    }
    plain(out, g, memory, t, piece, bytes, all_copies);
}

/// The same points, every loop from its lowest row on.
fn upward(piece: &HostPiece) -> HostPiece {
    let mut p = piece.clone();
    for l in p.loops.iter_mut().filter(|l| l.row < 0) {
        let turns = i64::from(l.count) - 1;
        p.row0 = (i64::from(p.row0) + turns * i64::from(l.row)) as u32;
        p.lane0 = (i64::from(p.lane0) + turns * i64::from(l.lane)) as u32;
        p.elem0 = (p.elem0 as i64 + turns * l.elem) as u64;
        (l.row, l.lane, l.elem) = (-l.row, -l.lane, -l.elem);
    }
    p
}

/// A piece of weights, whose rows go over the slices in turn, slice by slice; loops then step words.
fn by_slice(piece: &HostPiece, slices: u32) -> Option<Vec<HostPiece>> {
    let steps: Vec<usize> = (0..piece.loops.len()).filter(|&i| piece.loops[i].row != 0).collect();
    let &[only] = &steps[..] else { return None };
    let l = piece.loops[only];
    let turn = |s: u32| {
        let mut p = piece.clone();
        p.row0 += s;
        p.lane0 = (i64::from(p.lane0) + i64::from(s) * i64::from(l.lane)) as u32;
        p.elem0 = (p.elem0 as i64 + i64::from(s) * l.elem) as u64;
        let (count, lane, elem) = ((l.count - s).div_ceil(slices), l.lane * slices as i32, l.elem * i64::from(slices));
        p.loops[only] = HostLoop { count, row: 1, lane, elem };
        p
    };
    (l.row == 1).then(|| (0..slices.min(l.count)).map(turn).collect())
}

fn plain(
    out: &mut Vec<Placement>,
    g: &TiledGraph,
    memory: &Memory,
    t: TensorId,
    piece: &HostPiece,
    bytes: u8,
    all_copies: bool,
) {
    let home = &memory.homes[t.0 as usize];
    let value = ValueIx(home.value);
    let copies = if all_copies { home.chunks[0].copies.len() } else { 1 };
    for copy in 0..copies {
        let list: Vec<(u8, u8)> = match piece.byte {
            Some(b) => vec![(0, b)],
            None => (0..bytes).map(|b| (b, b)).collect(),
        };
        for (device, host) in list {
            let r = memory.place_of(g, t, copy, device, piece.row0, 0);
            out.push(Placement {
                value,
                slice: r.slice,
                addr0: r.base,
                lane0: piece.lane0 as u16,
                byte: host,
                elem0: piece.elem0,
                loops: piece
                    .loops
                    .iter()
                    .map(|l| Loop { count: l.count, addr_step: l.row, lane_step: l.lane, elem_step: l.elem })
                    .collect(),
            });
        }
    }
}
