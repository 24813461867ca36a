//! Tensors in SRAM: which descriptions are legal, inputs before a run, outputs after it.
//!
//! Knows how an element of a tensor is kept in SRAM; must not know how it is used.

use super::fabric::{Fabric, on_mesh};
use super::ports::tensor_len;
use super::rule::{CheckError, Errors, Rule};
use quadrille_isa::numerics::{f16_to_f32, f32_to_f16};
use quadrille_isa::wafer::{ElemType, IoTensor, Machine, Pe, Program, Resident};
use quadrille_isa::{DType, Tensor};

/// True when elements of a tensor of this type can be kept as `ty`.
fn can_be(dtype: DType, ty: ElemType) -> bool {
    match ty {
        ElemType::F16 | ElemType::F32 => matches!(dtype, DType::F16 | DType::F32),
        ElemType::I32 => matches!(dtype, DType::I32 | DType::U32 | DType::I64 | DType::U64),
        ElemType::I16 => matches!(dtype, DType::I16 | DType::U16),
        ElemType::I8 => matches!(dtype, DType::I8 | DType::U8 | DType::Bool),
    }
}

/// Writes element `at` of a tensor as it is kept in SRAM.
fn keep(t: &Tensor, at: u32, ty: ElemType, to: &mut [u8]) {
    let size = t.dtype.size();
    let from = &t.data[at as usize * size..(at as usize + 1) * size];
    match (t.dtype, ty) {
        (DType::F32, ElemType::F16) => {
            let x = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            to.copy_from_slice(&f32_to_f16(x).to_le_bytes());
        }
        (DType::F16, ElemType::F32) => {
            let x = f16_to_f32(u16::from_le_bytes([from[0], from[1]]));
            to.copy_from_slice(&x.to_le_bytes());
        }
        _ => to.copy_from_slice(&from[..to.len()]),
    }
}

/// Writes an element that is kept in SRAM into a tensor's bytes.
fn give(from: &[u8], ty: ElemType, dtype: DType, to: &mut [u8]) {
    match (ty, dtype) {
        (ElemType::F16, DType::F32) => {
            let x = f16_to_f32(u16::from_le_bytes([from[0], from[1]]));
            to.copy_from_slice(&x.to_le_bytes());
        }
        (ElemType::F32, DType::F16) => {
            let x = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            to.copy_from_slice(&f32_to_f16(x).to_le_bytes());
        }
        _ => {
            let sign = dtype == DType::I64 && from[from.len() - 1] >= 0x80;
            to.fill(if sign { 0xFF } else { 0 });
            to[..from.len()].copy_from_slice(from);
        }
    }
}

/// Puts the elements of `inputs` into SRAM; `start` says where the address of a PE lies in `memory`.
pub(crate) fn load(program: &Program, inputs: &[Tensor], memory: &mut [u8], start: impl Fn(Pe, u32) -> Option<usize>) {
    for m in &program.in_sram {
        let size = m.ty.bytes() as usize;
        for (pe, index) in m.by_pe() {
            let Some(bytes) = start(pe, m.addr).and_then(|at| memory.get_mut(at..)) else { continue };
            for (to, &at) in bytes.chunks_exact_mut(size).zip(index).filter(|(_, at)| **at != Resident::NONE) {
                keep(&inputs[m.tensor as usize], at, m.ty, to);
            }
        }
    }
}

/// Takes the elements of outputs out of SRAM.
pub(crate) fn unload(
    program: &Program,
    outputs: &mut [Vec<u8>],
    memory: &[u8],
    start: impl Fn(Pe, u32) -> Option<usize>,
) {
    for m in &program.out_sram {
        let (size, dtype) = (m.ty.bytes() as usize, program.outputs[m.tensor as usize].dtype);
        let out = &mut outputs[m.tensor as usize];
        for (pe, index) in m.by_pe() {
            let Some(bytes) = start(pe, m.addr).and_then(|at| memory.get(at..)) else { continue };
            for (from, &at) in bytes.chunks_exact(size).zip(index).filter(|(_, at)| **at != Resident::NONE) {
                let at = at as usize * dtype.size();
                give(from, m.ty, dtype, &mut out[at..at + dtype.size()]);
            }
        }
    }
}

/// Checks types, elements and places of a program in which nothing else is wrong; that outputs are covered is seen with
/// the ports.
pub(crate) fn check(program: &Program, machine: &Machine, fabric: &Fabric, errors: &mut Errors) {
    let text = |pe: Pe| {
        let site = fabric.site(pe)?;
        let region = program.regions.get(fabric.sites[site as usize].region as usize)?;
        let class = program.classes.get(region.class.0 as usize)?;
        Some(u64::from(class.text_bytes(machine.program.vector_op_bytes, machine.program.task_bytes)))
    };
    for (what, residents, tensors) in
        [("input", &program.in_sram, &program.inputs), ("output", &program.out_sram, &program.outputs)]
    {
        for (ix, m) in residents.iter().enumerate() {
            if let Err((rule, pe, message)) = one(m, tensors, machine, &text) {
                errors.push(CheckError::new(rule, format!("{what} in SRAM {ix}: {message}")).at(pe));
            }
        }
    }
    if errors.is_empty() {
        inputs_are_apart(program, errors);
    }
}

fn one(
    m: &Resident,
    tensors: &[IoTensor],
    machine: &Machine,
    text: &dyn Fn(Pe) -> Option<u64>,
) -> Result<(), (Rule, Pe, String)> {
    let corner = Pe { x: m.rect.x, y: m.rect.y };
    let fail = |message: String| Err((Rule::Resident, corner, message));
    let Some(tensor) = tensors.get(m.tensor as usize) else {
        return Err((Rule::Reference, corner, format!("tensor {} does not exist", m.tensor)));
    };
    if !on_mesh(m.rect, machine) {
        return fail(format!("{} is empty or leaves the mesh", m.rect));
    }
    if !can_be(tensor.dtype, m.ty) {
        return fail(format!("`{}` is {}, which is not kept as {}", tensor.name, tensor.dtype, m.ty.name()));
    }
    if !m.addr.is_multiple_of(m.ty.bytes()) {
        return Err((Rule::Align, corner, format!("byte {} is not aligned to {}", m.addr, m.ty.name())));
    }
    let (got, each) = (m.index.len() as u64, u64::from(m.len) * u64::from(m.rect.area()));
    if got != u64::from(m.len) && got != each {
        let len = m.len;
        return fail(format!("{got} elements are named; {len} (shared) or {each} (for each PE) are needed"));
    }
    let len = tensor_len(tensor).unwrap_or(0);
    if let Some(&at) = m.index.iter().find(|&&at| at != Resident::NONE && u64::from(at) >= len) {
        return fail(format!("names element {at}, but `{}` has {len} elements", tensor.name));
    }
    let sram = u64::from(machine.geometry.sram_bytes_per_pe);
    for pe in m.rect.pes() {
        let Some(text) = text(pe) else {
            return Err((Rule::Resident, pe, "no program runs there".to_owned()));
        };
        if m.end() > sram.saturating_sub(text) {
            let message = format!("ends at byte {}, but {text} of {sram} bytes hold program text", m.end());
            return Err((Rule::Sram, pe, message));
        }
    }
    Ok(())
}

/// What lies in SRAM at the start has places of its own.
fn inputs_are_apart(program: &Program, errors: &mut Errors) {
    if program.in_sram.is_empty() {
        return;
    }
    let mut placed: Vec<(Pe, u64, u64)> = Vec::new();
    for m in program.in_sram.iter().filter(|m| m.len > 0) {
        placed.extend(m.rect.pes().map(|pe| (pe, u64::from(m.addr), m.end())));
    }
    for d in program.data.iter().filter(|d| d.len > 0) {
        placed.extend(d.rect.pes().map(|pe| (pe, u64::from(d.addr), u64::from(d.addr) + u64::from(d.len))));
    }
    placed.sort_unstable();
    for pair in placed.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.0 == b.0 && b.1 < a.2 {
            let message = format!("an input in SRAM and other data overlap from byte {} on", b.1);
            errors.push(CheckError::new(Rule::DataPlace, message).at(a.0));
        }
    }
}
