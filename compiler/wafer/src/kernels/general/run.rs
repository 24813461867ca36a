//! The meaning of a lowered program: it is run, element by element, on an image of the PE's
//! buffers. The tiled graph's value of a general kernel is what this gives.

use super::nest::{Arg, Buf, Flat, Lowered, View};
use quadrille_isa::numerics::{canonical, fma_f32};
use quadrille_isa::wafer::scalar;
use quadrille_isa::wafer::{ElemType, PeOp};

/// Buffers as bytes.
#[derive(Debug)]
pub(crate) struct Image {
    bufs: Vec<Vec<u8>>,
}

/// Reads one element as its bits.
#[inline]
fn load(bytes: &[u8], ty: ElemType, at: usize) -> u32 {
    match ty {
        ElemType::I8 => u32::from(bytes[at]),
        ElemType::I16 | ElemType::F16 => u32::from(u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]])),
        ElemType::I32 | ElemType::F32 => {
            let b = &bytes[at * 4..at * 4 + 4];
            u32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }
    }
}

#[inline]
fn store(bytes: &mut [u8], ty: ElemType, at: usize, v: u32) {
    match ty {
        ElemType::I8 => bytes[at] = v as u8,
        ElemType::I16 | ElemType::F16 => bytes[at * 2..at * 2 + 2].copy_from_slice(&(v as u16).to_le_bytes()),
        ElemType::I32 | ElemType::F32 => bytes[at * 4..at * 4 + 4].copy_from_slice(&v.to_le_bytes()),
    }
}

impl Image {
    /// Buffers with their contents at the start.
    pub(crate) fn new(bufs: &[Buf]) -> Image {
        let bufs = bufs.iter().map(|b| {
            let mut bytes = vec![0u8; b.len * b.ty.bytes() as usize];
            if let Some(init) = &b.init {
                for (i, &v) in init.iter().take(b.len).enumerate() {
                    store(&mut bytes, b.ty, i, v);
                }
            }
            bytes
        });
        Image { bufs: bufs.collect() }
    }

    /// Writes elements `every` apart from the start of a buffer.
    pub(crate) fn put(&mut self, buf: usize, ty: ElemType, every: usize, values: impl Iterator<Item = u32>) {
        for (i, v) in values.enumerate() {
            store(&mut self.bufs[buf], ty, i * every, v);
        }
    }

    /// `n` elements `every` apart from the start of a buffer.
    pub(crate) fn get(&self, buf: usize, ty: ElemType, every: usize, n: usize) -> Vec<u32> {
        (0..n).map(|i| load(&self.bufs[buf], ty, i * every)).collect()
    }

    /// Runs all parts once.
    pub(crate) fn run(&mut self, l: &Lowered) {
        for p in &l.parts {
            for pass in 0..p.repeat {
                for o in &p.ops {
                    self.one(o, pass as isize);
                }
            }
        }
    }

    fn one(&mut self, o: &Flat, pass: isize) {
        let start = |v: &View| v.offset + v.step * pass;
        let get = |bufs: &[Vec<u8>], a: Option<&Arg>, i1: isize, i0: isize| match a {
            None => 0,
            Some(Arg::Imm(b, _)) => *b,
            Some(Arg::View(v)) => {
                load(&bufs[v.buf.0], v.ty, (start(v) + i1 * v.strides[0] + i0 * v.strides[1]) as usize)
            }
        };
        let ty = |a: Option<&Arg>| match a {
            None => ElemType::F32,
            Some(Arg::Imm(_, t)) => *t,
            Some(Arg::View(v)) => v.ty,
        };
        let [a, b, c] = [o.args.first(), o.args.get(1), o.args.get(2)];
        let types = [ty(a), ty(b), ty(c)];
        let d = &o.dst;
        let all_f32 = types.iter().all(|&t| t == ElemType::F32) && d.ty == ElemType::F32;
        for i1 in 0..o.n1 as isize {
            for i0 in 0..o.n0 as isize {
                let x = [get(&self.bufs, a, i1, i0), get(&self.bufs, b, i1, i0), get(&self.bufs, c, i1, i0)];
                // The usual ones directly; all others by their definition.
                let f = f32::from_bits;
                let v = match o.op {
                    PeOp::Mov if all_f32 => x[0],
                    PeOp::Fma if all_f32 => canonical(fma_f32(f(x[0]), f(x[1]), f(x[2]))).to_bits(),
                    PeOp::Mul if all_f32 => canonical(f(x[0]) * f(x[1])).to_bits(),
                    PeOp::Add if all_f32 => canonical(f(x[0]) + f(x[1])).to_bits(),
                    _ => scalar::eval(o.op, x, types, d.ty),
                };
                store(&mut self.bufs[d.buf.0], d.ty, (start(d) + i1 * d.strides[0] + i0 * d.strides[1]) as usize, v);
            }
        }
    }
}
