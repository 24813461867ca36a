//! Conversions between element types, composed of the VXM's casts.
//!
//! The oracle truncates floats and wraps integers where the VXM rounds and saturates; bf16 and the
//! unsigned types of 16 and 32 bits are kept as the signed integers of their bits.

use super::device_type;
use super::expr::{Expr, Why};
use crate::tiled::Src;
use quadrille_isa::DType;
use quadrille_isa::tsp::{AluOp, AluType};

const I: AluType = AluType::I32;
const F: AluType = AluType::F32;
const SIGN: u32 = 0x8000_0000;

fn imm(x: f32) -> Src {
    Src::Imm(x.to_bits())
}

/// Range of an integer type of up to 32 bits; 64-bit values that reach the chip fit 32.
fn range(d: DType) -> (i64, i64) {
    match d {
        DType::Bool => (0, 1),
        DType::I8 => (-128, 127),
        DType::U8 => (0, 255),
        DType::I16 => (-32768, 32767),
        DType::U16 => (0, 65535),
        DType::U32 => (0, i64::from(u32::MAX)),
        _ => (i64::from(i32::MIN), i64::from(i32::MAX)),
    }
}

impl Expr {
    /// A conversion as the oracle does it.
    pub(crate) fn convert(&mut self, from: DType, to: DType, x: Src) -> Result<Src, Why> {
        let (Some(a), Some(b)) = (device_type(from), device_type(to)) else {
            return Err((format!("the VXM has no conversion of {from} to {to}"), "cast to f32".into()));
        };
        if from == to {
            return Ok(x);
        }
        if to == DType::Bool {
            let (x, ty) = if from.is_float() { (self.float_of(from, x), F) } else { (x, a) };
            let c = self.op(AluOp::CmpNe, ty, x, Src::Imm(0), Src::None);
            return Ok(self.cast(AluOp::CmpNe.result(ty), AluType::U8, c));
        }
        if to.is_float() {
            let f = self.float_of(from, x);
            return Ok(self.float_to(to, f));
        }
        if from.is_float() {
            let f = self.float_of(from, x);
            return Ok(self.truncated(to, f));
        }
        if from == DType::U32 && to == DType::I64 {
            return Err(("u32 values in the 32 bits that are kept of i64".into(), "cast to i32".into()));
        }
        let ((lo, hi), (least, most)) = (range(from), range(to));
        if a == b && (least <= lo && hi <= most || a.bytes() == 2) {
            return Ok(x);
        }
        if from != DType::U16 && least <= lo && hi <= most {
            return Ok(self.cast(a, b, x));
        }
        let w = self.whole(from, x);
        Ok(self.wrapped(to, w))
    }

    /// An integer element as i32 (u32 as its bits).
    fn whole(&mut self, from: DType, x: Src) -> Src {
        let x = self.cast(device_type(from).unwrap_or(I), I, x);
        if from == DType::U16 { self.op(AluOp::And, I, x, Src::Imm(0xFFFF), Src::None) } else { x }
    }

    /// The low bits of an i32 as an integer element.
    fn wrapped(&mut self, to: DType, x: Src) -> Src {
        let b = device_type(to).unwrap_or(I);
        let shift = match b {
            AluType::U8 => {
                let low = self.op(AluOp::And, I, x, Src::Imm(0xFF), Src::None);
                return self.cast(I, b, low);
            }
            AluType::I8 => 24,
            AluType::I16 => 16,
            _ => return x,
        };
        let up = self.op(AluOp::Shl, I, x, Src::Imm(shift), Src::None);
        let down = self.op(AluOp::Shr, I, up, Src::Imm(shift), Src::None);
        self.cast(I, b, down)
    }

    /// Any element as f32.
    pub(crate) fn float_of(&mut self, from: DType, x: Src) -> Src {
        match from {
            DType::F32 => x,
            DType::BF16 => {
                let w = self.cast(AluType::I16, I, x);
                self.op(AluOp::Shl, I, w, Src::Imm(16), Src::None)
            }
            DType::U16 => {
                let w = self.whole(from, x);
                self.cast(I, F, w)
            }
            // Both halves are exact, so one rounding is left.
            DType::U32 => {
                let high = self.op(AluOp::Shr, I, x, Src::Imm(16), Src::None);
                let high = self.op(AluOp::And, I, high, Src::Imm(0xFFFF), Src::None);
                let low = self.op(AluOp::And, I, x, Src::Imm(0xFFFF), Src::None);
                let (high, low) = (self.cast(I, F, high), self.cast(I, F, low));
                self.op(AluOp::Fma, F, high, imm(65536.0), low)
            }
            _ => self.cast(device_type(from).unwrap_or(F), F, x),
        }
    }

    /// f32 to a float type, to nearest even.
    fn float_to(&mut self, to: DType, f: Src) -> Src {
        match to {
            DType::F16 => self.cast(F, AluType::F16, f),
            DType::BF16 => {
                let high = self.op(AluOp::Shr, I, f, Src::Imm(16), Src::None);
                let odd = self.op(AluOp::And, I, high, Src::Imm(1), Src::None);
                let up = self.op(AluOp::Add, I, f, Src::Imm(0x7FFF), Src::None);
                let up = self.op(AluOp::Add, I, up, odd, Src::None);
                let rounded = self.op(AluOp::Shr, I, up, Src::Imm(16), Src::None);
                let nan = self.op(AluOp::CmpNe, F, f, f, Src::None);
                let y = self.op(AluOp::Select, I, nan, Src::Imm(0x7FC0), rounded);
                self.cast(I, AluType::I16, y)
            }
            _ => f,
        }
    }

    /// f32 towards zero.
    pub(crate) fn towards_zero(&mut self, x: Src) -> Src {
        let a = self.f1(AluOp::Abs, x);
        let a = self.f1(AluOp::Floor, a);
        let s = self.op(AluOp::And, I, x, Src::Imm(SIGN), Src::None);
        self.op(AluOp::Or, I, a, s, Src::None)
    }

    /// f32 to an integer type: truncated, then saturated.
    fn truncated(&mut self, to: DType, x: Src) -> Src {
        if !matches!(to, DType::U16 | DType::U32) && self.is_whole(x) {
            // What a rounding leaves is cast exactly; and the cast rounds, so that the rounding can go.
            let x = self.unrounded(x);
            return self.cast(F, device_type(to).unwrap_or(I), x);
        }
        let t = self.towards_zero(x);
        match to {
            DType::U16 => {
                let t = self.f2(AluOp::Max, t, imm(0.0));
                let t = self.f2(AluOp::Min, t, imm(65535.0));
                let w = self.cast(F, I, t);
                self.wrapped(to, w)
            }
            DType::U32 => {
                let t = self.f2(AluOp::Max, t, imm(0.0));
                let top = self.f2(AluOp::CmpGe, t, imm(2_147_483_648.0));
                let low = self.cast(F, I, t);
                let rest = self.f2(AluOp::Sub, t, imm(2_147_483_648.0));
                let rest = self.cast(F, I, rest);
                let high = self.op(AluOp::Xor, I, rest, Src::Imm(SIGN), Src::None);
                self.op(AluOp::Select, I, top, high, low)
            }
            _ => self.cast(F, device_type(to).unwrap_or(I), t),
        }
    }
}
