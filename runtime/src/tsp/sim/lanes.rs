//! What VXM and SXM do to the lanes of a vector.
//!
//! Knows vectors of lanes and the scalar meanings of `quadrille_isa`; knows no cycle.

use super::registers::Vector;
use quadrille_isa::tsp::DISTRIBUTE_ZERO;
use quadrille_isa::tsp::alu::alu;
use quadrille_isa::tsp::{AluOp, AluType};

/// Joins byte vectors into elements, byte 0 the lowest.
pub(super) fn join(bytes: &[&[u8]], out: &mut [u32]) {
    match bytes {
        [b0] => out.iter_mut().zip(*b0).for_each(|(o, &b)| *o = u32::from(b)),
        [b0, b1] => {
            for (o, (&l, &h)) in out.iter_mut().zip(b0.iter().zip(*b1)) {
                *o = u32::from(l) | u32::from(h) << 8;
            }
        }
        [b0, b1, b2, b3] => {
            for (i, o) in out.iter_mut().enumerate() {
                *o = u32::from_le_bytes([b0[i], b1[i], b2[i], b3[i]]);
            }
        }
        _ => out.fill(0),
    }
}

/// Byte `k` of each element.
pub(super) fn byte_of(elements: &[u32], k: u8, out: &mut [u8]) {
    let shift = 8 * u32::from(k);
    out.iter_mut().zip(elements).for_each(|(o, &e)| *o = (e >> shift) as u8);
}

/// One ALU operation in every lane.
pub(super) fn alu_lanes(op: AluOp, ty: AluType, a: &[u32], b: &[u32], c: &[u32], out: &mut [u32]) {
    let lanes = out.iter_mut().zip(a.iter().zip(b.iter().zip(c)));
    // With operation and type known where the loop is compiled, the common ones become vector
    // code; the meaning is the one function either way.
    macro_rules! common {
        ($($op:pat, $ty:ident, $value:expr;)*) => {
            match (op, ty) {
                $(($op, AluType::$ty) => lanes.for_each(|(o, (&a, (&b, &c)))| *o = alu($value, AluType::$ty, a, b, c)),)*
                _ => lanes.for_each(|(o, (&a, (&b, &c)))| *o = alu(op, ty, a, b, c)),
            }
        };
    }
    common! {
        AluOp::Add, F32, AluOp::Add;
        AluOp::Sub, F32, AluOp::Sub;
        AluOp::Mul, F32, AluOp::Mul;
        AluOp::Fma, F32, AluOp::Fma;
        AluOp::Max, F32, AluOp::Max;
        AluOp::Min, F32, AluOp::Min;
        AluOp::Relu, F32, AluOp::Relu;
        AluOp::Select, F32, AluOp::Select;
        AluOp::CmpGt, F32, AluOp::CmpGt;
        AluOp::Cast(AluType::F16), F32, AluOp::Cast(AluType::F16);
        AluOp::Cast(AluType::F32), F16, AluOp::Cast(AluType::F32);
        AluOp::Cast(AluType::F32), I32, AluOp::Cast(AluType::F32);
        AluOp::Cast(AluType::I8), F32, AluOp::Cast(AluType::I8);
        AluOp::Add, I32, AluOp::Add;
    }
}

/// Lane `i` gets lane `i - by`, zeros enter.
pub(super) fn shift(from: &[u8], by: i16, out: &mut [u8]) {
    for (i, o) in out.iter_mut().enumerate() {
        let source = i as i64 - i64::from(by);
        *o = usize::try_from(source).ok().and_then(|s| from.get(s)).copied().unwrap_or(0);
    }
}

/// Lane `i` of `a` where the map says 0, else of `b`.
pub(super) fn select(a: &[u8], b: &[u8], map: &[u16], out: &mut [u8]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = if map[i] == 0 { a[i] } else { b[i] };
    }
}

/// Lane `i` gets lane `map[i]`.
pub(super) fn permute(from: &[u8], map: &[u16], out: &mut [u8]) {
    out.iter_mut().zip(map).for_each(|(o, &m)| *o = from[usize::from(m)]);
}

/// Lane `i` gets lane `map[i]` of its superlane of `per` lanes, or zero.
pub(super) fn distribute(from: &[u8], map: &[u16], per: usize, out: &mut [u8]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = if map[i] == DISTRIBUTE_ZERO { 0 } else { from[i / per * per + usize::from(map[i])] };
    }
}

/// Lane `i` gets lane `(i + by) mod per` of its superlane.
pub(super) fn rotate(from: &[u8], by: usize, per: usize, out: &mut [u8]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = from[i / per * per + (i + by) % per];
    }
}

/// In each superlane of `per` lanes, lane `i` of output `j` is lane `j` of input `i`.
pub(super) fn transpose(from: &[Vector], per: usize, j: usize, out: &mut [u8]) {
    for (lane, o) in out.iter_mut().enumerate() {
        *o = from[lane % per][lane / per * per + j];
    }
}
