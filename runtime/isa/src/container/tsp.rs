//! Sections of a `tsp` program: metadata, the instruction text of every queue, provenance as
//! tables of fixed records, and the SRAM image as it is.

use super::meta::{self, Meta, narrow};
use super::section::*;
use super::{ContainerError, WriteError};
use crate::shape;
use crate::tsp::*;
use crate::wire::{Bad, Reader, Writer};
use prost::Message;

/// queue (4) · instructions (4) · words of text (4)
const QUEUE_RECORD: usize = 12;
/// use (8) · def (8) · slot, width, out, 0 · first, count, def_first, def_step
const PROVENANCE_RECORD: usize = 36;
/// issue (8) · value (4) · address (2) · 0 (2) · step (4)
const MEMORY_RECORD: usize = 20;
/// value (4) · slice (2) · address (2) · offset (8) · bytes (8)
const IMAGE_RECORD: usize = 24;

pub(super) fn write(p: &Program) -> Result<Vec<u8>, WriteError> {
    let meta = Meta {
        machine: p.machine.clone(),
        machine_hash: p.machine_hash.clone(),
        model: p.model.clone(),
        nodes: p.nodes.clone(),
        values: p.values.iter().map(|v| meta::Value { name: v.name.clone(), node: v.node.0 }).collect(),
        inputs: p.inputs.iter().map(layout_out).collect::<Result<_, _>>()?,
        outputs: p.outputs.iter().map(layout_out).collect::<Result<_, _>>()?,
    };
    let [mut queues, mut nodes, mut maps, mut provenance, mut memory, mut image_table] =
        [const { Writer(Vec::new()) }; 6];
    let mut code = Vec::new();
    for (q, issues) in &p.queues {
        let text = binary::encode(*q, issues)?;
        put_queue(&mut queues, *q);
        queues.u32(issues.len() as u32);
        queues.u32((text.len() / binary::WORD) as u32);
        code.extend(text);
        issues.iter().for_each(|i| nodes.u32(i.node.0));
    }
    for m in &p.maps {
        if m.len() > MAX_MAP_LANES {
            return Err(WriteError::Impossible(format!("a map of {} lanes", m.len())));
        }
        maps.u16(m.len() as u16);
        m.iter().for_each(|&v| maps.u16(v));
    }
    provenance.0.reserve(p.provenance.len() * PROVENANCE_RECORD);
    for r in &p.provenance {
        put_issue(&mut provenance, r.use_);
        put_issue(&mut provenance, r.def);
        provenance.0.extend([r.slot, r.width, r.out, 0]);
        [r.first, r.count, r.def_first, r.def_step].iter().for_each(|&v| provenance.u32(v));
    }
    memory.0.reserve(p.mem_provenance.len() * MEMORY_RECORD);
    for r in &p.mem_provenance {
        put_issue(&mut memory, r.issue);
        memory.u32(r.value.0);
        memory.u16(r.addr);
        memory.u16(0);
        memory.u32(r.step as u32);
    }
    let mut image = Vec::with_capacity(p.image.iter().map(|s| s.words.len()).sum());
    for s in &p.image {
        image_table.u32(s.value.0);
        put_slice(&mut image_table, s.slice);
        image_table.u16(s.addr);
        image_table.u64(image.len() as u64);
        image_table.u64(s.words.len() as u64);
        image.extend_from_slice(&s.words);
    }
    Ok(join(
        TARGET_TSP,
        &[
            (META, meta.encode_to_vec()),
            (QUEUES, queues.0),
            (CODE, code),
            (ISSUE_NODES, nodes.0),
            (PROVENANCE, provenance.0),
            (MEMORY, memory.0),
            (MAPS, maps.0),
            (IMAGE_TABLE, image_table.0),
            (IMAGE, image),
        ],
    ))
}

pub(super) fn read(s: &Sections) -> Result<Program, ContainerError> {
    let meta = Meta::decode(s.get(META)?.clone()).map_err(|e| META.bad(e.to_string()))?;
    let mut p = Program {
        machine: meta.machine,
        machine_hash: meta.machine_hash,
        model: meta.model,
        nodes: meta.nodes,
        values: meta.values.into_iter().map(|v| ValueInfo { name: v.name, node: NodeIx(v.node) }).collect(),
        inputs: meta.inputs.iter().map(layout_in).collect::<Result<_, _>>()?,
        outputs: meta.outputs.iter().map(layout_in).collect::<Result<_, _>>()?,
        ..Program::default()
    };
    read_queues(s, &mut p)?;
    let mut maps = Reader::new(s.get(MAPS)?);
    while !maps.at_end() {
        let map = (|| {
            let lanes = maps.u16()?;
            (0..lanes).map(|_| maps.u16()).collect::<Result<Vec<u16>, Bad>>()
        })();
        p.maps.push(map.map_err(|e| MAPS.bad(e))?);
        if p.maps.last().is_some_and(|m| m.len() > MAX_MAP_LANES) {
            return Err(MAPS.bad("a map of more lanes than any machine has"));
        }
    }
    for mut r in s.table(PROVENANCE, PROVENANCE_RECORD)? {
        p.provenance.push(get_provenance(&mut r).map_err(|e| PROVENANCE.bad(e))?);
    }
    for mut r in s.table(MEMORY, MEMORY_RECORD)? {
        p.mem_provenance.push(get_memory(&mut r).map_err(|e| MEMORY.bad(e))?);
    }
    let image = s.get(IMAGE)?;
    for mut r in s.table(IMAGE_TABLE, IMAGE_RECORD)? {
        let segment = (|| {
            let (value, slice, addr) = (ValueIx(r.u32()?), get_slice(&mut r)?, r.u16()?);
            let (offset, len) = (r.u64()?, r.u64()?);
            let stop = offset.checked_add(len).filter(|&e| e <= image.len() as u64);
            let stop = stop.ok_or("a segment beyond the image")?;
            Ok(ImageSegment { value, slice, addr, words: image.slice(offset as usize..stop as usize) })
        })();
        p.image.push(segment.map_err(|e: Bad| IMAGE_TABLE.bad(e))?);
    }
    Ok(p)
}

fn read_queues(s: &Sections, p: &mut Program) -> Result<(), ContainerError> {
    let mut code = &s.get(CODE)?[..];
    let mut nodes = s.table(ISSUE_NODES, 4)?;
    for mut r in s.table(QUEUES, QUEUE_RECORD)? {
        let (queue, count, words) =
            (|| Ok((get_queue(&mut r)?, r.u32()?, r.u32()?)))().map_err(|e: Bad| QUEUES.bad(e))?;
        if p.queues.last_key_value().is_some_and(|(last, _)| *last >= queue) {
            return Err(QUEUES.bad(format!("{queue} is out of order")));
        }
        let bytes = (words as usize).checked_mul(binary::WORD).filter(|&b| b <= code.len());
        let (text, rest) = code.split_at(bytes.ok_or_else(|| CODE.bad(format!("the text of {queue} is cut off")))?);
        code = rest;
        let timed = binary::decode(text).map_err(|e| CODE.bad(format!("{queue}: {e}")))?;
        if timed.len() != count as usize {
            return Err(CODE.bad(format!("{queue}: {count} instructions announced, {} there", timed.len())));
        }
        let mut issues = Vec::with_capacity(timed.len());
        for t in timed {
            let node = nodes.next().and_then(|mut r| r.u32().ok());
            let node = NodeIx(node.ok_or_else(|| ISSUE_NODES.bad("fewer entries than instructions"))?);
            issues.push(Issue { cycle: t.cycle, inst: t.inst, repeat: t.repeat, node });
        }
        p.queues.insert(queue, issues);
    }
    if !code.is_empty() || nodes.next().is_some() {
        return Err(CODE.bad("text or nodes beyond the last queue"));
    }
    Ok(())
}

fn put_slice(w: &mut Writer, s: Slice) {
    w.0.extend([s.hemisphere as u8, s.index]);
}

fn get_hemisphere(code: u8) -> Result<Hemisphere, Bad> {
    match code {
        0 => Ok(Hemisphere::West),
        1 => Ok(Hemisphere::East),
        _ => Err("no such hemisphere"),
    }
}

fn get_slice(r: &mut Reader<'_>) -> Result<Slice, Bad> {
    Ok(Slice { hemisphere: get_hemisphere(r.u8()?)?, index: r.u8()? })
}

/// Four bytes: unit kind, hemisphere or number, unit within, direction or part.
fn put_queue(w: &mut Writer, q: QueueId) {
    w.0.extend(match q {
        QueueId::Mem(s, thread) => [1, s.hemisphere as u8, s.index, thread as u8],
        QueueId::Vxm(n) => [2, n, 0, 0],
        QueueId::Mxm(plane, part) => [3, plane, part as u8, 0],
        QueueId::Sxm(h, SxmUnit::Permuter, dir) => [4, h as u8, 0, dir as u8],
        QueueId::Sxm(h, SxmUnit::Distributor(n), dir) => [5, h as u8, n, dir as u8],
        QueueId::Sxm(h, SxmUnit::Transposer(n), dir) => [6, h as u8, n, dir as u8],
    });
}

fn get_queue(r: &mut Reader<'_>) -> Result<QueueId, Bad> {
    let [kind, a, b, c] = [r.u8()?, r.u8()?, r.u8()?, r.u8()?];
    let dir = || match c {
        0 => Ok(Dir::East),
        1 => Ok(Dir::West),
        _ => Err("no such direction"),
    };
    Ok(match (kind, b, c) {
        (1, index, 0 | 1) => {
            let thread = if c == 0 { Thread::Read } else { Thread::Write };
            QueueId::Mem(Slice { hemisphere: get_hemisphere(a)?, index }, thread)
        }
        (2, 0, 0) => QueueId::Vxm(a),
        (3, 0, 0) => QueueId::Mxm(a, MxmPart::Weights),
        (3, 1, 0) => QueueId::Mxm(a, MxmPart::Activations),
        (3, 2, 0) => QueueId::Mxm(a, MxmPart::Accumulators),
        (4, 0, _) => QueueId::Sxm(get_hemisphere(a)?, SxmUnit::Permuter, dir()?),
        (5, n, _) => QueueId::Sxm(get_hemisphere(a)?, SxmUnit::Distributor(n), dir()?),
        (6, n, _) => QueueId::Sxm(get_hemisphere(a)?, SxmUnit::Transposer(n), dir()?),
        _ => return Err("no such queue"),
    })
}

fn put_issue(w: &mut Writer, r: IssueRef) {
    put_queue(w, r.queue);
    w.u32(r.index);
}

fn get_issue(r: &mut Reader<'_>) -> Result<IssueRef, Bad> {
    Ok(IssueRef { queue: get_queue(r)?, index: r.u32()? })
}

fn get_provenance(r: &mut Reader<'_>) -> Result<Provenance, Bad> {
    let (use_, def) = (get_issue(r)?, get_issue(r)?);
    let [slot, width, out, zero] = [r.u8()?, r.u8()?, r.u8()?, r.u8()?];
    let [first, count, def_first, def_step] = [r.u32()?, r.u32()?, r.u32()?, r.u32()?];
    if zero != 0 {
        return Err("a reserved byte is not zero");
    }
    Ok(Provenance { use_, slot, width, first, count, def, out, def_first, def_step })
}

fn get_memory(r: &mut Reader<'_>) -> Result<MemProvenance, Bad> {
    let (issue, value, addr) = (get_issue(r)?, ValueIx(r.u32()?), r.u16()?);
    let (zero, step) = (r.u16()?, r.u32()? as i32);
    if zero != 0 { Err("a reserved field is not zero") } else { Ok(MemProvenance { issue, value, addr, step }) }
}

fn layout_out(t: &TensorLayout) -> Result<meta::Tensor, WriteError> {
    if !shape::possible(t.dtype, &t.shape) {
        return Err(WriteError::Impossible(format!("tensor `{}`: its size overflows", t.name)));
    }
    Ok(meta::Tensor {
        device_bytes: t.device_bytes.into(),
        placements: t
            .placements
            .iter()
            .map(|p| meta::Placement {
                value: p.value.0,
                hemisphere: p.slice.hemisphere as u32,
                slice: p.slice.index.into(),
                addr0: p.addr0.into(),
                lane0: p.lane0.into(),
                byte: p.byte.into(),
                elem0: p.elem0,
                loops: p
                    .loops
                    .iter()
                    .map(|l| meta::Loop {
                        count: l.count,
                        addr_step: l.addr_step,
                        lane_step: l.lane_step,
                        elem_step: l.elem_step,
                    })
                    .collect(),
            })
            .collect(),
        ..meta::Tensor::new(&t.name, t.dtype, &t.shape)
    })
}

fn layout_in(t: &meta::Tensor) -> Result<TensorLayout, ContainerError> {
    let (dtype, shape) = t.shape()?;
    let placement = |p: &meta::Placement| {
        let hemisphere = get_hemisphere(narrow(p.hemisphere, "hemisphere")?).map_err(|e| META.bad(e))?;
        Ok(Placement {
            value: ValueIx(p.value),
            slice: Slice { hemisphere, index: narrow(p.slice, "slice")? },
            addr0: narrow(p.addr0, "address")?,
            lane0: narrow(p.lane0, "lane")?,
            byte: narrow(p.byte, "byte")?,
            elem0: p.elem0,
            loops: p
                .loops
                .iter()
                .map(|l| Loop {
                    count: l.count,
                    addr_step: l.addr_step,
                    lane_step: l.lane_step,
                    elem_step: l.elem_step,
                })
                .collect(),
        })
    };
    Ok(TensorLayout {
        name: t.name.clone(),
        dtype,
        shape,
        device_bytes: narrow(t.device_bytes, "device_bytes")?,
        placements: t.placements.iter().map(placement).collect::<Result<_, ContainerError>>()?,
    })
}
