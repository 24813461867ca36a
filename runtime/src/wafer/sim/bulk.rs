//! Many elements of an operation at once, with operands in SRAM and in streams of words.
//!
//! Elements of 16 bits lie side by side in a stream, all others in a word each, so an operand on the fabric is one of
//! fixed stride. In order, element by element: a destination may be a later element's source. Knows addresses and values;
//! knows nothing of time.

use super::super::kernel::Kernel;
use super::super::lower::{Access, Execution};
use super::block::{Block, Scalars};
use super::shape::Shape;
use quadrille_isa::wafer::ElemType;
use std::ops::Range;

/// Where operands lie: bytes, and the place of the operation's first element for those on the fabric.
pub(super) struct Place<'p> {
    pub(super) sources: [(&'p [u8], isize); 3],
    pub(super) memory: &'p mut [u8],
    pub(super) to: Option<(&'p mut [u8], isize)>,
}

/// An operand along a row.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    at: isize,
    step: isize,
    /// Bytes of an element.
    size: u32,
    /// In `memory`, else in a stream.
    held: bool,
    bits: Option<u32>,
}

/// Bytes from element to element of a stream.
fn stride(ty: ElemType) -> isize {
    if ty.per_wavelet() == 2 { 2 } else { 4 }
}

/// Does these elements of an operation.
pub(super) fn run(op: &Shape, ex: &Execution, elements: Range<u64>, mut place: Place<'_>) {
    if op.operands[3].access == Access::None {
        return;
    }
    let (n0, rows_join) = row_len(op, ex);
    let mut at = elements.start;
    while at < elements.end {
        let (i1, i0) = ((at / n0) as isize, (at % n0) as isize);
        let left = elements.end - at;
        if i0 == 0 && op.kernel == Kernel::FmaMixed && left >= n0 {
            let rows = left / n0;
            if let Some((block, beside)) = block(op, ex, i1, rows, &place)
                && block.run(place.memory, place.sources[beside].0)
            {
                at += n0 * rows;
                continue;
            }
        }
        let count = left.min(n0 - i0 as u64) as usize;
        let mut lines = [Line::default(); 4];
        for (k, line) in lines.iter_mut().enumerate() {
            *line = self::line(op, ex, k, (i1, i0), rows_join, &place);
        }
        match op.kernel {
            Kernel::Copy32 => copy(Kernel::Copy32, lines, count, &mut place),
            Kernel::Copy16 => copy(Kernel::Copy16, lines, count, &mut place),
            Kernel::Widen => row(Kernel::Widen, lines, count, &mut place),
            Kernel::Narrow => row(Kernel::Narrow, lines, count, &mut place),
            Kernel::Add32 => row(Kernel::Add32, lines, count, &mut place),
            Kernel::Mul32 => row(Kernel::Mul32, lines, count, &mut place),
            Kernel::Max32 => row(Kernel::Max32, lines, count, &mut place),
            Kernel::Fma32 => row(Kernel::Fma32, lines, count, &mut place),
            Kernel::FmaMixed => row(Kernel::FmaMixed, lines, count, &mut place),
            other => row(other, lines, count, &mut place),
        }
        at += count as u64;
    }
}

/// Elements of a row, and whether all rows are one: every operand goes on at the same stride.
fn row_len(op: &Shape, ex: &Execution) -> (u64, bool) {
    let (n0, n1) = (u64::from(ex.n0), u64::from(ex.n1));
    let joins = op.operands.iter().zip(&ex.addr).all(|(operand, a)| match operand.access {
        Access::Mem => n0 == 1 || i64::from(a.s1) == n0 as i64 * i64::from(a.s0),
        Access::MemRow | Access::FabricRow(_) => n0 == 1,
        Access::None | Access::Fabric(_) | Access::Imm(_) => true,
    });
    // Mixed multiply-adds have blocks of rows.
    if joins && n1 > 1 && op.kernel != Kernel::FmaMixed { (n0 * n1, true) } else { (n0, false) }
}

fn line(op: &Shape, ex: &Execution, k: usize, (i1, i0): (isize, isize), join: bool, place: &Place<'_>) -> Line {
    let operand = &op.operands[k];
    let a = &ex.addr[k];
    let (s0, s1) = (a.s0 as isize, a.s1 as isize);
    let start = |k: usize| match k {
        3 => place.to.as_ref().map_or(0, |t| t.1),
        k => place.sources[k].1,
    };
    let size = operand.ty.bytes();
    match operand.access {
        Access::None => Line::default(),
        Access::Imm(bits) => Line { bits: Some(bits), ..Line::default() },
        // Of a single column the rows are its elements.
        Access::Mem | Access::MemRow if join && ex.n0 == 1 => {
            Line { at: a.start as isize + i0 * s1, step: s1, size, held: true, bits: None }
        }
        Access::Mem => Line { at: a.start as isize + i1 * s1 + i0 * s0, step: s0, size, held: true, bits: None },
        Access::MemRow => Line { at: a.start as isize + i1 * s1, step: 0, size, held: true, bits: None },
        Access::Fabric(_) | Access::FabricRow(_) => {
            let wide = stride(operand.ty);
            let (element, step) = match operand.access {
                Access::FabricRow(_) if join => (i0, wide),
                Access::FabricRow(_) => (i1, 0),
                _ if join => (i0, wide),
                _ => (i1 * ex.n0 as isize + i0, wide),
            };
            Line { at: start(k) + element * wide, step, size: wide as u32, held: false, bits: None }
        }
    }
}

/// So many whole rows of a mixed multiply-add, when it is a vector by a scalar a row in SRAM, and the operand whose source
/// has scalars that are not in SRAM.
fn block(op: &Shape, ex: &Execution, i1: isize, rows: u64, place: &Place<'_>) -> Option<(Block, usize)> {
    let at = |k: usize| (ex.addr[k].start as isize + i1 * ex.addr[k].s1 as isize) as usize;
    let scalars = |k: usize| match op.operands[k].access {
        Access::MemRow => Some(Scalars::Rows(at(k), ex.addr[k].s1 as isize)),
        Access::Imm(bits) => Some(Scalars::One(bits as u16)),
        Access::FabricRow(_) => Some(Scalars::Beside((place.sources[k].1 + 2 * i1) as usize)),
        _ => None,
    };
    let side_by_side =
        |k: usize, size: i32| op.operands[k].access == Access::Mem && (ex.n0 == 1 || ex.addr[k].s0 == size);
    let (vector, scalar, scalars) = match (scalars(0), scalars(1)) {
        (Some(s), _) if side_by_side(1, 2) => (1, 0, s),
        (_, Some(s)) if side_by_side(0, 2) => (0, 1, s),
        _ => return None,
    };
    let sums = side_by_side(2, 4) && side_by_side(3, 4) && ex.addr[2] == ex.addr[3];
    let line = |k: usize| (at(k), ex.addr[k].s1 as isize);
    let (columns, rows) = (ex.n0 as usize, rows as usize);
    sums.then(|| (Block { columns, rows, vector: line(vector), scalars, sums: line(3) }, scalar))
}

/// Elements as they are: all at once where no element is written before it is read.
#[inline(always)]
fn copy(kernel: Kernel, lines: [Line; 4], count: usize, place: &mut Place<'_>) {
    let [from, _, _, to] = lines;
    let size = kernel.sizes()[3] as isize;
    let len = count * size as usize;
    let whole = from.bits.is_none() && from.step == size && to.step == size;
    if !whole || (from.held && to.held && (from.at - to.at).unsigned_abs() < len) {
        return row(kernel, lines, count, place);
    }
    let (a, b) = (from.at as usize, to.at as usize);
    let sources = place.sources[0].0;
    match (from.held, to.held, &mut place.to) {
        (true, true, _) => place.memory.copy_within(a..a + len, b),
        (false, true, _) => place.memory[b..b + len].copy_from_slice(&sources[a..a + len]),
        (true, false, Some((out, _))) => out[b..b + len].copy_from_slice(&place.memory[a..a + len]),
        (false, false, Some((out, _))) => out[b..b + len].copy_from_slice(&sources[a..a + len]),
        _ => {}
    }
}

#[inline(always)]
fn row(kernel: Kernel, lines: [Line; 4], count: usize, place: &mut Place<'_>) {
    let sources = kernel.sources();
    let mut at = lines.map(|l| l.at);
    let to = lines[3];
    for _ in 0..count {
        let mut v = [0u32; 3];
        for k in 0..3 {
            if k < sources {
                let line = &lines[k];
                v[k] = match line.bits {
                    Some(bits) => bits,
                    None if line.held => load(place.memory, at[k], line.size),
                    None => load(place.sources[k].0, at[k], line.size),
                };
                at[k] += line.step;
            }
        }
        let bits = kernel.apply(v);
        match &mut place.to {
            None => store(place.memory, at[3], to.size, bits),
            Some((out, _)) => {
                let bits =
                    if let Kernel::Any(_, _, ElemType::I8) = kernel { i32::from(bits as i8) as u32 } else { bits };
                store(out, at[3], to.size, bits);
            }
        }
        at[3] += to.step;
    }
}

#[inline(always)]
pub(super) fn load(bytes: &[u8], at: isize, size: u32) -> u32 {
    let at = at as usize;
    match size {
        1 => u32::from(bytes[at]),
        2 => bytes.get(at..at + 2).map_or(0, |b| u32::from(u16::from_le_bytes([b[0], b[1]]))),
        _ => bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
    }
}

#[inline(always)]
pub(super) fn store(bytes: &mut [u8], at: isize, size: u32, bits: u32) {
    let at = at as usize;
    match size {
        1 => bytes[at] = bits as u8,
        2 => bytes[at..at + 2].copy_from_slice(&(bits as u16).to_le_bytes()),
        _ => bytes[at..at + 4].copy_from_slice(&bits.to_le_bytes()),
    }
}
