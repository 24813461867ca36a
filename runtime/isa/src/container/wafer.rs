//! Sections of a `wafer` program: metadata, code, and SRAM data as it is.

use super::meta::{self, Meta};
use super::section::*;
use super::{ContainerError, WriteError};
use crate::shape;
use crate::wafer::*;
use crate::wire::{Bad, Reader, Writer};
use prost::Message;
use std::collections::HashMap;

pub(super) fn write(p: &Program) -> Result<Vec<u8>, WriteError> {
    let tensors = |list: &[IoTensor]| {
        list.iter()
            .map(|t| match shape::possible(t.dtype, &t.shape) {
                true => Ok(meta::Tensor::new(&t.name, t.dtype, &t.shape)),
                false => Err(WriteError::Impossible(format!("tensor `{}`: its size overflows", t.name))),
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let rects = p.regions.iter().map(|r| r.rect).chain(p.routes.iter().map(|r| r.rect));
    let rects = rects.chain(p.in_sram.iter().chain(&p.out_sram).map(|m| m.rect));
    if let Some(r) = rects.chain(p.data.iter().map(|d| d.rect)).find(|r| !r.is_possible()) {
        return Err(WriteError::Impossible(format!("rectangle {r} lies beyond the largest coordinate")));
    }
    if let Some(r) = p.routes.iter().find(|r| r.tx.0 >= 32) {
        return Err(WriteError::Impossible(format!("a route of {} leaves by a port that no router has", r.color)));
    }
    let meta = Meta {
        machine: p.machine.clone(),
        machine_hash: p.machine_hash.clone(),
        model: p.model.clone(),
        nodes: p.nodes.clone(),
        values: Vec::new(),
        inputs: tensors(&p.inputs)?,
        outputs: tensors(&p.outputs)?,
    };
    // Equal bytes are kept once: kernels that work side by side hold the same weights.
    let (mut data, mut known) = (Vec::new(), HashMap::<&[u8], u64>::new());
    let mut places = Vec::with_capacity(p.data.len());
    for d in &p.data {
        places.push(*known.entry(&d.bytes).or_insert_with(|| {
            let at = data.len() as u64;
            data.extend_from_slice(&d.bytes);
            at
        }));
    }
    let (mut table, mut places) = (Writer::default(), places.into_iter());
    table.list(&p.data, |w, d| {
        binary::put_rect(w, d.rect);
        w.var(d.addr.into());
        w.var(d.len.into());
        w.var(places.next().unwrap_or_default());
        w.var(d.bytes.len() as u64);
    });
    Ok(join(
        TARGET_WAFER,
        &[(META, meta.encode_to_vec()), (MESH_CODE, binary::encode(p)), (DATA_TABLE, table.0), (DATA, data)],
    ))
}

pub(super) fn read(s: &Sections) -> Result<Program, ContainerError> {
    let meta = Meta::decode(s.get(META)?.clone()).map_err(|e| META.bad(e.to_string()))?;
    let tensors = |list: &[meta::Tensor]| {
        list.iter()
            .map(|t| t.shape().map(|(dtype, shape)| IoTensor { name: t.name.clone(), dtype, shape }))
            .collect::<Result<Vec<_>, _>>()
    };
    let code = binary::decode(s.get(MESH_CODE)?).map_err(|e| MESH_CODE.bad(e.to_string()))?;
    let data = s.get(DATA)?;
    let mut r = Reader::new(s.get(DATA_TABLE)?);
    let segment = |r: &mut Reader<'_>| {
        let (rect, addr, len) = (binary::get_rect(r)?, r.unsigned()?, r.unsigned()?);
        let (offset, bytes) = (r.var()?, r.var()?);
        let stop = offset.checked_add(bytes).filter(|&e| e <= data.len() as u64).ok_or("bytes beyond the data")?;
        Ok(Data { rect, addr, len, bytes: data.slice(offset as usize..stop as usize) })
    };
    let segments = r.list(segment).and_then(|d| if r.at_end() { Ok(d) } else { Err::<_, Bad>("bytes left over") });
    Ok(Program {
        machine: meta.machine,
        machine_hash: meta.machine_hash,
        model: meta.model,
        nodes: meta.nodes,
        data: segments.map_err(|e| DATA_TABLE.bad(e))?,
        inputs: tensors(&meta.inputs)?,
        outputs: tensors(&meta.outputs)?,
        ..code
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{self, AnyProgram};
    use bytes::Bytes;

    #[test]
    fn equal_data_are_stored_once() {
        let at = |x: u16, byte: u8| {
            let rect = Rect { x, y: 0, w: 1, h: 1 };
            Data { rect, addr: 64, len: 40_000, bytes: Bytes::from(vec![byte; 40_000]) }
        };
        let program = |data: Vec<Data>| AnyProgram::Wafer(Program { data, ..Program::default() });
        let one = container::write(&program(vec![at(0, 7)])).unwrap();
        let equal = program((0..50).map(|x| at(x, 7)).collect());
        let bytes = container::write(&equal).unwrap();
        assert_eq!(bytes.len(), one.len());
        assert_eq!(container::read(&Bytes::from(bytes)).unwrap(), equal);
        let different = program((0..50).map(|x| at(x, x as u8)).collect());
        let bytes = container::write(&different).unwrap();
        assert!(bytes.len() > 50 * 40_000);
        assert_eq!(container::read(&Bytes::from(bytes)).unwrap(), different);
    }
}
