//! Sequences of ALU steps under construction, and how each elementwise primitive is composed.
//!
//! Knows the VXM's operations; knows nothing of rows.

use crate::tiled::{Src, Step};
use quadrille_compiler::ir::{Binary, EpilogueStep, Unary};
use quadrille_isa::tsp::{AluOp, AluType};

/// Steps so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expr {
    pub(crate) steps: Vec<Step>,
}

const F: AluType = AluType::F32;

fn imm(x: f32) -> Src {
    Src::Imm(x.to_bits())
}

/// A slope with which `max(x, slope x)` is the leaky rectifier, infinities included.
pub(crate) fn mild(slope: f32) -> bool {
    slope > 0.0 && slope <= 1.0
}

/// Why an operation cannot be composed.
pub(crate) type Why = (String, String);

fn no<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Why> {
    Err((reason.into(), remedy.into()))
}

impl Expr {
    /// Adds a step.
    pub(crate) fn op(&mut self, op: AluOp, ty: AluType, a: Src, b: Src, c: Src) -> Src {
        let mut src = [a, b, c];
        // All constant: nothing is left to do on the chip.
        if src.iter().all(|s| matches!(s, Src::Imm(_) | Src::None)) {
            let v = src.map(|s| if let Src::Imm(v) = s { v } else { 0 });
            return Src::Imm(quadrille_isa::tsp::alu::alu(op, ty, v[0], v[1], v[2]));
        }
        // An instruction has room for one immediate.
        let imms: Vec<usize> = (0..3).filter(|&k| matches!(src[k], Src::Imm(_))).collect();
        for &k in imms.iter().skip(1) {
            let Some(value) = (match src[k] {
                Src::Imm(v) => Some(v),
                _ => None,
            }) else {
                continue;
            };
            // x - x is zero for no float infinity; and with zero is always zero, or then sets bits.
            let anchor = src.iter().copied().find(|s| !matches!(s, Src::Imm(_) | Src::None));
            let Some(anchor) = anchor else { continue };
            let int = match ty.bytes() {
                1 => AluType::I8,
                2 => AluType::I16,
                _ => AluType::I32,
            };
            let zero = self.op(AluOp::And, int, anchor, Src::Imm(0), Src::None);
            src[k] = self.op(AluOp::Or, int, zero, Src::Imm(value), Src::None);
        }
        self.steps.push(Step { op, ty, src });
        Src::Op(self.steps.len() as u16 - 1)
    }

    pub(crate) fn f1(&mut self, op: AluOp, a: Src) -> Src {
        self.op(op, F, a, Src::None, Src::None)
    }

    pub(crate) fn f2(&mut self, op: AluOp, a: Src, b: Src) -> Src {
        self.op(op, F, a, b, Src::None)
    }

    fn fma(&mut self, a: Src, b: Src, c: Src) -> Src {
        self.op(AluOp::Fma, F, a, b, c)
    }

    pub(crate) fn cast(&mut self, from: AluType, to: AluType, a: Src) -> Src {
        if from == to { a } else { self.op(AluOp::Cast(to), from, a, Src::None, Src::None) }
    }

    /// True when a value of `f32` is a whole number (or infinite, or NaN) in every lane.
    pub(crate) fn is_whole(&self, x: Src) -> bool {
        match x {
            Src::Imm(v) => f32::from_bits(v).fract() == 0.0,
            Src::Op(k) => {
                let s = &self.steps[usize::from(k)];
                match s.op {
                    AluOp::Round | AluOp::Floor => s.ty == F,
                    AluOp::Cast(to) => to == F && !s.ty.is_float(),
                    AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Min | AluOp::Max if s.ty == F => {
                        s.src[..2].iter().all(|x| self.is_whole(*x))
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// The operand of the last step, if that rounds and `x` is its result; the step is taken back. For a cast
    /// that rounds the same way.
    pub(crate) fn unrounded(&mut self, x: Src) -> Src {
        let last = self.steps.len().wrapping_sub(1);
        match self.steps.last() {
            Some(Step { op: AluOp::Round, ty: F, src }) if x == Src::Op(last as u16) => {
                let inner = src[0];
                self.steps.pop();
                inner
            }
            _ => x,
        }
    }

    /// The leaky rectifier for slopes that are all [`mild`].
    pub(crate) fn leaky(&mut self, x: Src, slope: Src) -> Src {
        let y = self.f2(AluOp::Mul, x, slope);
        self.f2(AluOp::Max, x, y)
    }

    /// e to the x, as 2 to the x log2(e).
    pub(crate) fn exp(&mut self, x: Src) -> Src {
        let y = self.f2(AluOp::Mul, x, imm(std::f32::consts::LOG2_E));
        self.f1(AluOp::Exp2, y)
    }

    fn log(&mut self, x: Src) -> Src {
        let y = self.f1(AluOp::Log2, x);
        self.f2(AluOp::Mul, y, imm(std::f32::consts::LN_2))
    }

    /// 1 / rsqrt(x): right at zero and infinity, where x * rsqrt(x) is not.
    fn sqrt(&mut self, x: Src) -> Src {
        let r = self.f1(AluOp::Rsqrt, x);
        self.f1(AluOp::Recip, r)
    }

    fn sigmoid(&mut self, x: Src) -> Src {
        let y = self.f2(AluOp::Mul, x, imm(-std::f32::consts::LOG2_E));
        let e = self.f1(AluOp::Exp2, y);
        let d = self.f2(AluOp::Add, e, imm(1.0));
        self.f1(AluOp::Recip, d)
    }

    /// Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7 (plus f32 rounding, in all below 5e-7).
    pub(crate) fn erf(&mut self, x: Src) -> Src {
        let a = self.f1(AluOp::Abs, x);
        let d = self.f2(AluOp::Mul, a, imm(0.327_591_1));
        let d = self.f2(AluOp::Add, d, imm(1.0));
        let t = self.f1(AluOp::Recip, d);
        let mut p = self.f2(AluOp::Mul, t, imm(1.061_405_4));
        p = self.f2(AluOp::Add, p, imm(-1.453_152_1));
        for c in [1.421_413_8, -0.284_496_74, 0.254_829_6] {
            p = self.fma(p, t, imm(c));
        }
        p = self.f2(AluOp::Mul, p, t);
        let s = self.f2(AluOp::Mul, x, x);
        let s = self.f2(AluOp::Mul, s, imm(-std::f32::consts::LOG2_E));
        let e = self.f1(AluOp::Exp2, s);
        let q = self.f2(AluOp::Mul, p, e);
        let y = self.f2(AluOp::Sub, imm(1.0), q);
        let sign = self.op(AluOp::And, AluType::I32, x, Src::Imm(0x8000_0000), Src::None);
        self.op(AluOp::Or, AluType::I32, y, sign, Src::None)
    }

    /// A unary primitive on `ty`.
    pub(crate) fn unary(&mut self, u: Unary, ty: AluType, x: Src) -> Result<Src, Why> {
        let float = ty == F;
        Ok(match u {
            Unary::Neg => self.op(AluOp::Neg, ty, x, Src::None, Src::None),
            Unary::Abs => self.op(AluOp::Abs, ty, x, Src::None, Src::None),
            Unary::Relu => self.op(AluOp::Relu, ty, x, Src::None, Src::None),
            Unary::Not if !float => self.op(AluOp::Not, ty, x, Src::None, Src::None),
            Unary::Sign => {
                let p = self.op(AluOp::CmpGt, ty, x, Src::Imm(0), Src::None);
                let n = self.op(AluOp::CmpLt, ty, x, Src::Imm(0), Src::None);
                let int = AluOp::CmpGt.result(ty);
                let s = self.op(AluOp::Sub, int, p, n, Src::None);
                self.cast(int, ty, s)
            }
            _ if !float => return no(format!("the VXM has no {} for integers", u.name()), "cast to f32 first"),
            Unary::Exp => self.exp(x),
            Unary::Log => self.log(x),
            Unary::Sqrt => self.sqrt(x),
            Unary::Rsqrt => self.f1(AluOp::Rsqrt, x),
            Unary::Recip => self.f1(AluOp::Recip, x),
            Unary::Tanh => self.f1(AluOp::Tanh, x),
            Unary::Sigmoid => self.sigmoid(x),
            Unary::Erf => self.erf(x),
            Unary::Sin => self.f1(AluOp::Sin, x),
            Unary::Cos => {
                let y = self.f2(AluOp::Add, x, imm(std::f32::consts::FRAC_PI_2));
                self.f1(AluOp::Sin, y)
            }
            Unary::Tan => {
                let s = self.f1(AluOp::Sin, x);
                let y = self.f2(AluOp::Add, x, imm(std::f32::consts::FRAC_PI_2));
                let c = self.f1(AluOp::Sin, y);
                let r = self.f1(AluOp::Recip, c);
                self.f2(AluOp::Mul, s, r)
            }
            Unary::Sinh | Unary::Cosh => {
                let p = self.exp(x);
                let n = self.f1(AluOp::Neg, x);
                let n = self.exp(n);
                let s = self.f2(if u == Unary::Sinh { AluOp::Sub } else { AluOp::Add }, p, n);
                self.f2(AluOp::Mul, s, imm(0.5))
            }
            Unary::Asinh | Unary::Acosh => {
                let s = self.f2(AluOp::Mul, x, x);
                let s = self.f2(AluOp::Add, s, imm(if u == Unary::Asinh { 1.0 } else { -1.0 }));
                let r = self.sqrt(s);
                let r = self.f2(AluOp::Add, x, r);
                self.log(r)
            }
            Unary::Atanh => {
                let p = self.f2(AluOp::Add, x, imm(1.0));
                let n = self.f2(AluOp::Sub, imm(1.0), x);
                let r = self.f1(AluOp::Recip, n);
                let q = self.f2(AluOp::Mul, p, r);
                let l = self.log(q);
                self.f2(AluOp::Mul, l, imm(0.5))
            }
            Unary::Floor => self.f1(AluOp::Floor, x),
            Unary::Ceil => {
                let n = self.f1(AluOp::Neg, x);
                let n = self.f1(AluOp::Floor, n);
                self.f1(AluOp::Neg, n)
            }
            Unary::Round => self.f1(AluOp::Round, x),
            Unary::IsNan => {
                let c = self.f2(AluOp::CmpNe, x, x);
                self.cast(AluType::I32, AluType::U8, c)
            }
            Unary::IsInf => {
                let a = self.f1(AluOp::Abs, x);
                let c = self.f2(AluOp::CmpEq, a, imm(f32::INFINITY));
                self.cast(AluType::I32, AluType::U8, c)
            }
            Unary::Asin => self.asin(x),
            Unary::Acos => self.acos(x),
            Unary::Atan => self.atan(x),
            Unary::Not => return no("floats have no complement", "cast to an integer first"),
        })
    }

    /// x where x >= 0, else x * slope; `slope` may be a constant.
    pub(crate) fn prelu(&mut self, x: Src, slope: Src) -> Src {
        if let Src::Imm(bits) = slope
            && (0.0..=1.0).contains(&f32::from_bits(bits))
        {
            return self.leaky(x, slope);
        }
        let p = self.f1(AluOp::Relu, x);
        let n = self.f2(AluOp::Min, x, imm(0.0));
        self.fma(n, slope, p)
    }

    /// A binary primitive on `ty`; `power` is the constant second operand of a `pow`.
    pub(crate) fn binary(&mut self, op: Binary, ty: AluType, a: Src, b: Src, power: Option<f32>) -> Result<Src, Why> {
        let float = ty == F;
        let alu = match op {
            Binary::Add => AluOp::Add,
            Binary::Sub => AluOp::Sub,
            Binary::Mul => AluOp::Mul,
            Binary::Max => AluOp::Max,
            Binary::Min => AluOp::Min,
            Binary::And => AluOp::And,
            Binary::Or => AluOp::Or,
            Binary::Xor => AluOp::Xor,
            Binary::Shl | Binary::Shr if !float => {
                let alu = if op == Binary::Shl { AluOp::Shl } else { AluOp::Shr };
                // The machine takes counts modulo the width, the model shifts everything out.
                if let Src::Imm(n) = b
                    && (n & ty.mask()) < ty.bits()
                {
                    return Ok(self.op(alu, ty, a, b, Src::None));
                }
                let outside = self.op(AluOp::And, ty, b, Src::Imm(!(ty.bits() - 1) & ty.mask()), Src::None);
                let inside = self.op(AluOp::CmpEq, ty, outside, Src::Imm(0), Src::None);
                if op == Binary::Shr && ty != AluType::U8 {
                    // All is out when only the sign is left.
                    let count = self.op(AluOp::Select, ty, inside, b, Src::Imm(ty.bits() - 1));
                    return Ok(self.op(alu, ty, a, count, Src::None));
                }
                let shifted = self.op(alu, ty, a, b, Src::None);
                return Ok(self.op(AluOp::Select, ty, inside, shifted, Src::Imm(0)));
            }
            Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
                let cmp = match op {
                    Binary::Eq => AluOp::CmpEq,
                    Binary::Lt => AluOp::CmpLt,
                    Binary::Le => AluOp::CmpLe,
                    Binary::Gt => AluOp::CmpGt,
                    _ => AluOp::CmpGe,
                };
                let c = self.op(cmp, ty, a, b, Src::None);
                return Ok(self.cast(cmp.result(ty), AluType::U8, c));
            }
            Binary::Div if float => {
                if let Src::Imm(v) = b {
                    // Exact for powers of two, else within one unit of the last place.
                    let r = quadrille_isa::numerics::recip_f32(f32::from_bits(v));
                    return Ok(self.f2(AluOp::Mul, a, imm(r)));
                }
                let r = self.f1(AluOp::Recip, b);
                return Ok(self.f2(AluOp::Mul, a, r));
            }
            Binary::Prelu if float => return Ok(self.prelu(a, b)),
            Binary::Pow if float => {
                return match power {
                    Some(1.0) => Ok(self.f2(AluOp::Mul, a, imm(1.0))),
                    Some(0.5) => Ok(self.sqrt(a)),
                    Some(-0.5) => Ok(self.f1(AluOp::Rsqrt, a)),
                    Some(-1.0) => Ok(self.f1(AluOp::Recip, a)),
                    Some(p) if p.fract() == 0.0 && (2.0..=8.0).contains(&p) => {
                        let mut r = a;
                        for _ in 1..p as u32 {
                            r = self.f2(AluOp::Mul, r, a);
                        }
                        Ok(r)
                    }
                    Some(0.0) => {
                        let zero = self.op(AluOp::And, AluType::I32, a, Src::Imm(0), Src::None);
                        Ok(self.op(AluOp::Or, AluType::I32, zero, imm(1.0), Src::None))
                    }
                    Some(p) => Ok(self.pow(a, imm(p))),
                    None => Ok(self.pow(a, b)),
                };
            }
            Binary::Rem if float => return Ok(self.remainder(a, b)),
            Binary::Mod if float => return Ok(self.modulo(a, b)),
            _ => return no(format!("the VXM has no {} for {}", op.name(), ty.name()), "replace it in the model"),
        };
        Ok(self.op(alu, ty, a, b, Src::None))
    }

    /// An epilogue step on `ty`; `operand` for those that take one.
    pub(crate) fn epilogue(&mut self, step: EpilogueStep, ty: AluType, x: Src, operand: Src) -> Result<Src, Why> {
        Ok(match step {
            EpilogueStep::Add => self.op(AluOp::Add, ty, x, operand, Src::None),
            EpilogueStep::Mul => self.op(AluOp::Mul, ty, x, operand, Src::None),
            EpilogueStep::Relu => self.op(AluOp::Relu, ty, x, Src::None, Src::None),
            _ if ty != F => return no("an epilogue step on integers", "cast to f32 first"),
            EpilogueStep::LeakyRelu(bits) => self.prelu(x, Src::Imm(bits)),
            EpilogueStep::Prelu => self.prelu(x, operand),
            EpilogueStep::MaxConst(bits) => self.f2(AluOp::Max, x, Src::Imm(bits)),
            EpilogueStep::MinConst(bits) => self.f2(AluOp::Min, x, Src::Imm(bits)),
            EpilogueStep::Sigmoid => self.sigmoid(x),
            EpilogueStep::Tanh => self.f1(AluOp::Tanh, x),
            EpilogueStep::Gelu => {
                let y = self.f2(AluOp::Mul, x, imm(std::f32::consts::FRAC_1_SQRT_2));
                let e = self.erf(y);
                let h = self.f2(AluOp::Mul, x, imm(0.5));
                self.fma(h, e, h)
            }
            EpilogueStep::GeluTanh => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                let y = self.f2(AluOp::Mul, x, x);
                let y = self.f2(AluOp::Mul, y, imm((0.044715 * root) as f32));
                let y = self.f2(AluOp::Add, y, imm(root as f32));
                let y = self.f2(AluOp::Mul, y, x);
                let t = self.f1(AluOp::Tanh, y);
                let h = self.f2(AluOp::Mul, x, imm(0.5));
                self.fma(h, t, h)
            }
            EpilogueStep::Silu(a) => {
                let y = if f32::from_bits(a) == 1.0 { x } else { self.f2(AluOp::Mul, x, Src::Imm(a)) };
                let s = self.sigmoid(y);
                self.f2(AluOp::Mul, x, s)
            }
            EpilogueStep::HardSwish => {
                let y = self.f2(AluOp::Mul, x, imm(1.0 / 6.0));
                let y = self.f2(AluOp::Add, y, imm(0.5));
                let y = self.f2(AluOp::Max, y, imm(0.0));
                let y = self.f2(AluOp::Min, y, imm(1.0));
                self.f2(AluOp::Mul, x, y)
            }
            #[allow(unreachable_patterns)]
            _ => return no("an epilogue step that this target does not know", "leave it out of the epilogue"),
        })
    }
}
