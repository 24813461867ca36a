//! Which elements of inputs, constants and outputs lie where in SRAM.

use super::phase::{BufId, Buffer, Init, NONE, Out, Place, Plan};
use quadrille_compiler::ir::{DType, Tensor};
use quadrille_isa::numerics::{f16_to_f32, f32_to_f16};
use quadrille_isa::wafer::{Data, ElemType, IoTensor, Program, Rect, Resident};

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
        Init::Bytes(bytes) => bytes.to_vec(),
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

/// The rectangle that a place is, if it is one.
fn whole(at: &Place) -> Option<Rect> {
    match (&runs(&at.x)[..], &runs(&at.y)[..]) {
        (&[(x, w)], &[(y, h)]) => Some(Rect { x, y, w, h }),
        _ => None,
    }
}

/// Rectangles of a place, each with what belongs to its PEs of `all`, `n` items a PE.
fn parts<T: Clone>(at: &Place, all: &[T], n: usize) -> Vec<(Rect, Vec<T>)> {
    if let Some(rect) = whole(at) {
        return vec![(rect, all.to_vec())];
    }
    let (columns, rows) = (runs(&at.x), runs(&at.y));
    let mut out = Vec::new();
    for &(y, h) in &rows {
        for &(x, w) in &columns {
            let rect = Rect { x, y, w, h };
            let mut part = Vec::with_capacity(rect.area() as usize * n);
            for pe in rect.pes() {
                let k = at.number(pe.x, pe.y).unwrap_or(0) * n;
                part.extend_from_slice(&all[k..k + n]);
            }
            out.push((rect, part));
        }
    }
    out
}

/// Constants, where inputs lie, and where outputs.
pub(super) fn fill(plan: &Plan, program: &mut Program) {
    for b in &plan.bufs {
        match &b.init {
            Init::Free | Init::Zero => {}
            Init::Bytes(bytes) => {
                let size = b.len * b.ty.bytes() as usize;
                let data =
                    |(rect, bytes): (Rect, Vec<u8>)| Data { rect, addr: b.addr, len: size as u32, bytes: bytes.into() };
                match whole(&b.at) {
                    Some(rect) => {
                        program.data.push(Data { rect, addr: b.addr, len: size as u32, bytes: bytes.clone() })
                    }
                    None => program.data.extend(parts(&b.at, bytes, size).into_iter().map(data)),
                }
            }
            Init::Input(i, index) => program.in_sram.extend(resident(b, 0, b.len, *i, index)),
        }
    }
    for (i, o) in plan.outs.iter().enumerate() {
        program.out_sram.extend(resident(plan.buf(o.buf), o.offset, o.len, i, &o.index));
    }
    let tensor = |name: &str, dtype, shape: &[usize]| IoTensor { name: name.to_string(), dtype, shape: shape.to_vec() };
    program.inputs = plan.inputs.iter().map(|t| tensor(&t.name, t.dtype, &t.shape)).collect();
    program.outputs = plan.outs.iter().map(|t| tensor(&t.name, t.dtype, &t.shape)).collect();
}

/// `len` elements of a buffer from `offset` on, as elements of a tensor.
fn resident(b: &Buffer, offset: usize, len: usize, tensor: usize, index: &[u32]) -> Vec<Resident> {
    let addr = b.addr + offset as u32 * b.ty.bytes();
    let one = |(rect, index)| Resident { tensor: tensor as u32, rect, addr, ty: b.ty, len: len as u32, index };
    parts(&b.at, index, len).into_iter().map(one).collect()
}

/// Outputs from the bits of their buffers' elements, PE by PE of the buffers' places.
pub(super) fn outputs<'s>(plan: &Plan, bits: impl Fn(BufId) -> &'s [u32]) -> Vec<Tensor> {
    let output = |o: &Out| {
        let (b, bits, to) = (plan.buf(o.buf), bits(o.buf), o.dtype.size());
        let mut data = vec![0u8; o.shape.iter().product::<usize>() * to];
        for (pe, index) in o.index.chunks_exact(o.len).enumerate() {
            let kept = &bits[pe * b.len + o.offset..][..o.len];
            for (&at, &v) in index.iter().zip(kept).filter(|(at, _)| **at != NONE) {
                let dst = &mut data[at as usize * to..(at as usize + 1) * to];
                match (b.ty, o.dtype) {
                    (ElemType::F16, DType::F32) => dst.copy_from_slice(&f16_to_f32(v as u16).to_le_bytes()),
                    (ElemType::F32, DType::F16) => dst.copy_from_slice(&f32_to_f16(f32::from_bits(v)).to_le_bytes()),
                    _ => dst.copy_from_slice(&v.to_le_bytes()[..to]),
                }
            }
        }
        Tensor { dtype: o.dtype, shape: o.shape.clone(), data: data.into() }
    };
    plan.outs.iter().map(output).collect()
}
