//! Tensors into SRAM before a run, and out of it after.

use super::Piece;
use super::phase::{Buffer, Init, NONE, Plan};
use quadrille_compiler::ir::{DType, Tensor};
use quadrille_isa::numerics::{f16_to_f32, f32_to_f16};
use quadrille_isa::wafer::{Data, ElemType, Pe, Rect};

/// The inputs are those of the graph.
pub(super) fn check(plan: &Plan, inputs: &[Tensor]) -> Result<(), String> {
    if inputs.len() != plan.inputs.len() {
        return Err(format!("the model has {} inputs, {} were given", plan.inputs.len(), inputs.len()));
    }
    for (want, got) in plan.inputs.iter().zip(inputs) {
        if want.dtype != got.dtype || want.shape != got.shape {
            let (d, s) = (got.dtype, &got.shape);
            return Err(format!("input `{}` is {}{:?}, but {d}{s:?} was given", want.name, want.dtype, want.shape));
        }
        if let Some(i) = crate::beyond_lane(got) {
            return Err(format!("input `{}`: element {i} does not fit 32 bits", want.name));
        }
    }
    Ok(())
}

/// An element of a tensor of floats in the form that a buffer has.
fn element(t: &Tensor, at: usize, ty: ElemType) -> u32 {
    if ty == ElemType::I32 {
        // The low word; what does not fit it was refused.
        let b = &t.data[at * t.dtype.size()..];
        return u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    let (size, ty_is_half) = (t.dtype.size(), ty == ElemType::F16);
    let b = &t.data[at * size..(at + 1) * size];
    match (t.dtype, ty_is_half) {
        (DType::F16, true) => u32::from(u16::from_le_bytes([b[0], b[1]])),
        (DType::F16, false) => f16_to_f32(u16::from_le_bytes([b[0], b[1]])).to_bits(),
        (_, true) => u32::from(f32_to_f16(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        (_, false) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
    }
}

/// Bytes of a buffer at the start, PE by PE; none when it is zero.
pub(super) fn start(b: &Buffer, inputs: &[Tensor]) -> Vec<u8> {
    match &b.init {
        Init::Free | Init::Zero => Vec::new(),
        Init::Bytes(bytes) => bytes.clone(),
        Init::Input(i, index) => {
            let size = b.ty.bytes() as usize;
            let value = |&at: &u32| if at == NONE { 0 } else { element(&inputs[*i], at as usize, b.ty) };
            index.iter().flat_map(|at| value(at).to_le_bytes().into_iter().take(size)).collect()
        }
    }
}

/// Runs of neighbours: first and count.
fn runs(places: &[u16]) -> Vec<(u16, u16)> {
    let mut out: Vec<(u16, u16)> = Vec::new();
    for &p in places {
        match out.last_mut() {
            Some((first, n)) if *first + *n == p => *n += 1,
            _ => out.push((p, 1)),
        }
    }
    out
}

/// SRAM contents of all PEs.
pub(super) fn data(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Data>, String> {
    check(plan, inputs)?;
    let mut out = Vec::new();
    for b in plan.bufs.iter().filter(|b| b.is_given()) {
        let bytes = start(b, inputs);
        let size = b.len * b.ty.bytes() as usize;
        let (columns, rows) = (runs(&b.at.x), runs(&b.at.y));
        let data = |rect, bytes: bytes::Bytes| Data { rect, addr: b.addr, len: size as u32, bytes };
        if let ([(x, w)], [(y, h)]) = (&columns[..], &rows[..]) {
            out.push(data(Rect { x: *x, y: *y, w: *w, h: *h }, bytes.into()));
            continue;
        }
        for &(y, h) in &rows {
            for &(x, w) in &columns {
                let rect = Rect { x, y, w, h };
                let mut part = Vec::with_capacity(rect.area() as usize * size);
                for pe in rect.pes() {
                    let at = b.at.number(pe.x, pe.y).unwrap_or(0) * size;
                    part.extend(&bytes[at..at + size]);
                }
                out.push(data(rect, part.into()));
            }
        }
    }
    Ok(out)
}

/// Where the outputs lie.
pub(super) fn pieces(plan: &Plan) -> Vec<Piece> {
    let piece = |o: &super::phase::Out| {
        let b = plan.buf(o.buf);
        let size = b.ty.bytes();
        let (addr, len) = (b.addr + o.offset as u32 * size, o.len as u32 * size);
        b.at.pes().map(move |(x, y)| Piece { pe: Pe { x, y }, addr, len }).collect::<Vec<_>>()
    };
    plan.outs.iter().flat_map(piece).collect()
}

/// Outputs from the bytes of [`pieces`].
pub(super) fn outputs(plan: &Plan, bytes: &[Vec<u8>]) -> Vec<Tensor> {
    let mut next = bytes.iter();
    let output = |o: &super::phase::Out| {
        let b = plan.buf(o.buf);
        let (from, to) = (b.ty.bytes() as usize, o.dtype.size());
        let mut data = vec![0u8; o.shape.iter().product::<usize>() * to];
        for (pe, index) in o.index.chunks_exact(o.len).enumerate() {
            let Some(bytes) = next.next() else { break };
            debug_assert!(pe < b.at.len());
            for (&at, v) in index.iter().zip(bytes.chunks_exact(from)).filter(|(at, _)| **at != NONE) {
                let dst = &mut data[at as usize * to..(at as usize + 1) * to];
                match (b.ty, o.dtype) {
                    (ElemType::F16, DType::F32) => {
                        dst.copy_from_slice(&f16_to_f32(u16::from_le_bytes([v[0], v[1]])).to_le_bytes());
                    }
                    (ElemType::F32, DType::F16) => {
                        let bits = f32_to_f16(f32::from_le_bytes([v[0], v[1], v[2], v[3]]));
                        dst.copy_from_slice(&bits.to_le_bytes());
                    }
                    _ => dst.copy_from_slice(v),
                }
            }
        }
        Tensor { dtype: o.dtype, shape: o.shape.clone(), data: data.into() }
    };
    plan.outs.iter().map(output).collect()
}
