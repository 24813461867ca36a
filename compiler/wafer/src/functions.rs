//! Functions that a PE composes of its operations: rounding, logarithms, circular and hyperbolic
//! functions and their inverses, each as a list of operations on registers.
//!
//! Errors, against the function's exact value: logarithms and arc functions a few units in the
//! last place of f32; sine and cosine 2e-7 absolute for |x| < 10^4; tangent and the hyperbolic
//! functions 1e-6 relative away from poles. Registers beyond 0 are temporary.

use super::steps::{Arg, Micro, Reg, micro};
use quadrille_compiler::ir::Unary;
use quadrille_isa::wafer::PeOp::{self, *};

const X: Arg = Arg::Reg(0);
const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN_2: f32 = std::f32::consts::LN_2;
const PI_2: f32 = std::f32::consts::FRAC_PI_2;
const PI_4: f32 = std::f32::consts::FRAC_PI_4;

/// Adding and subtracting it rounds |x| < 2^22 to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

fn r(i: Reg) -> Arg {
    Arg::Reg(i)
}

fn i(v: f32) -> Arg {
    Arg::Imm(v)
}

fn m(dst: Reg, op: PeOp, args: &[Arg]) -> Micro {
    micro(dst, op, args)
}

/// |x| < 2^22 to the nearest integer.
pub(super) fn round_small() -> [Micro; 2] {
    [m(0, Add, &[X, i(ROUND)]), m(0, Sub, &[X, i(ROUND)])]
}

/// x to an integer: to the nearest, or from there down (-1) or up (1).
fn rounding(direction: i32) -> Vec<Micro> {
    let limit = 8_388_608.0;
    let mut v = vec![
        m(1, Mul, &[X, i(-1.0)]),
        m(1, Max, &[r(1), X]),
        m(2, Add, &[r(1), i(limit)]),
        m(2, Sub, &[r(2), i(limit)]),
        m(3, CmpLt, &[X, i(0.0)]),
        m(3, Fma, &[r(3), i(-2.0), i(1.0)]),
        m(2, Mul, &[r(2), r(3)]),
    ];
    match direction {
        -1 => v.extend([m(3, CmpLt, &[X, r(2)]), m(2, Sub, &[r(2), r(3)])]),
        1 => v.extend([m(3, CmpLt, &[r(2), X]), m(2, Add, &[r(2), r(3)])]),
        _ => {}
    }
    // Larger ones are integers, and what is no number stays so.
    v.extend([m(3, CmpLt, &[r(1), i(limit)]), m(0, Select, &[r(3), r(2), X])]);
    v
}

/// Logarithm of register 0: `scale` per octave. The exponent is found by halving the interval.
pub(super) fn logarithm(scale: f32) -> Vec<Micro> {
    let mut v = vec![m(1, Mov, &[X]), m(2, Mov, &[i(128.0)])];
    for k in [96.0f32, 64.0] {
        v.extend([
            m(3, CmpLt, &[r(1), i(1.0)]),
            m(4, Mul, &[r(1), i(k.exp2())]),
            m(1, Select, &[r(3), r(4), r(1)]),
            m(2, Fma, &[r(3), i(-k), r(2)]),
        ]);
    }
    for k in [64.0f32, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0] {
        v.extend([
            m(3, CmpLt, &[r(1), i(k.exp2())]),
            m(4, Mul, &[r(1), i((-k).exp2())]),
            m(1, Select, &[r(3), r(1), r(4)]),
            m(2, Fma, &[r(3), i(-k), r(2)]),
        ]);
    }
    v.extend([
        m(3, CmpLt, &[r(1), i(std::f32::consts::SQRT_2)]),
        m(4, Mul, &[r(1), i(0.5)]),
        m(1, Select, &[r(3), r(1), r(4)]),
        m(2, Fma, &[r(3), i(-1.0), r(2)]),
        // s = (m - 1) / (m + 1); log m = 2 (s + s^3/3 + …).
        m(3, Add, &[r(1), i(-1.0)]),
        m(4, Add, &[r(1), i(1.0)]),
        m(4, Recip, &[r(4)]),
        m(3, Mul, &[r(3), r(4)]),
        m(4, Mul, &[r(3), r(3)]),
    ]);
    let c = |n: f32| 2.0 * scale / LN_2 / n;
    v.extend([
        m(1, Fma, &[r(4), i(c(9.0)), i(c(7.0))]),
        m(1, Fma, &[r(1), r(4), i(c(5.0))]),
        m(1, Fma, &[r(1), r(4), i(c(3.0))]),
        m(1, Fma, &[r(1), r(4), i(c(1.0))]),
        m(1, Mul, &[r(1), r(3)]),
        m(1, Fma, &[r(2), i(scale), r(1)]),
        m(3, CmpEq, &[X, i(0.0)]),
        m(1, Select, &[r(3), i(f32::NEG_INFINITY), r(1)]),
        m(3, CmpLt, &[X, i(0.0)]),
        m(1, Select, &[r(3), i(f32::NAN), r(1)]),
        m(3, CmpEq, &[X, i(f32::INFINITY)]),
        m(0, Select, &[r(3), i(f32::INFINITY), r(1)]),
    ]);
    v
}

/// Sine, or cosine, of register 0 into register `dst` (5 or more), by 1 to 4. Cosine is the sine
/// a quarter turn on.
fn circular(dst: Reg, cosine: bool) -> Vec<Micro> {
    let quarter = if cosine { -0.5 } else { 0.0 };
    let mut v = vec![
        m(1, Fma, &[X, i(std::f32::consts::FRAC_1_PI), i(quarter)]),
        m(1, Add, &[r(1), i(ROUND)]),
        m(1, Sub, &[r(1), i(ROUND)]),
        m(2, Sub, &[r(1), i(quarter)]),
        // Pi in three parts, of which the products are exact.
        m(3, Fma, &[r(2), i(-3.140_625), X]),
        m(3, Fma, &[r(2), i(-9.675_026e-4), r(3)]),
        m(3, Fma, &[r(2), i(-1.509_958e-7), r(3)]),
        // 1 for even, -1 for odd half turns.
        m(2, Mul, &[r(1), i(0.5)]),
        m(2, Add, &[r(2), i(ROUND)]),
        m(2, Sub, &[r(2), i(ROUND)]),
        m(2, Fma, &[r(2), i(-2.0), r(1)]),
        m(2, Mul, &[r(2), r(2)]),
        m(2, Fma, &[r(2), i(-2.0), i(1.0)]),
    ];
    if cosine {
        v.push(m(2, Mul, &[r(2), i(-1.0)]));
    }
    let c = [1.605_904_4e-10_f32, -2.505_210_8e-8, 2.755_731_9e-6, -1.984_127e-4, 8.333_333e-3, -0.166_666_67, 1.0];
    v.push(m(1, Mul, &[r(3), r(3)]));
    v.push(m(4, Fma, &[r(1), i(c[0]), i(c[1])]));
    v.extend(c[2..].iter().map(|&k| m(4, Fma, &[r(4), r(1), i(k)])));
    v.extend([m(4, Mul, &[r(4), r(3)]), m(dst, Mul, &[r(4), r(2)])]);
    v
}

/// Arc tangent of register 0, in place.
fn arc_tangent() -> Vec<Micro> {
    vec![
        m(5, CmpLt, &[X, i(0.0)]),
        m(5, Fma, &[r(5), i(-2.0), i(1.0)]),
        m(1, Mul, &[X, r(5)]),
        m(2, CmpLt, &[i(1.0), r(1)]),
        m(3, Recip, &[r(1)]),
        m(1, Select, &[r(2), r(3), r(1)]),
        m(3, CmpLt, &[i(0.414_213_57), r(1)]),
        m(4, Add, &[r(1), i(1.0)]),
        m(4, Recip, &[r(4)]),
        m(6, Add, &[r(1), i(-1.0)]),
        m(4, Mul, &[r(4), r(6)]),
        m(1, Select, &[r(3), r(4), r(1)]),
        m(3, Mul, &[r(3), i(PI_4)]),
        m(4, Mul, &[r(1), r(1)]),
        m(6, Fma, &[r(4), i(8.053_744_5e-2), i(-0.138_776_86)]),
        m(6, Fma, &[r(6), r(4), i(0.199_777_1)]),
        m(6, Fma, &[r(6), r(4), i(-0.333_329_5)]),
        m(6, Mul, &[r(6), r(4)]),
        m(6, Fma, &[r(6), r(1), r(1)]),
        m(6, Add, &[r(6), r(3)]),
        m(4, Sub, &[i(PI_2), r(6)]),
        m(6, Select, &[r(2), r(4), r(6)]),
        m(0, Mul, &[r(6), r(5)]),
    ]
}

/// e^x of register 0 into 1, e^-x into 2.
fn exponentials() -> Vec<Micro> {
    vec![m(1, Mul, &[X, i(LOG2_E)]), m(2, Mul, &[r(1), i(-1.0)]), m(1, Exp2, &[r(1)]), m(2, Exp2, &[r(2)])]
}

/// A polynomial x (c0 + c1 x^2 + …), highest first, into register 3 by 4.
fn odd_polynomial(c: &[f32]) -> Vec<Micro> {
    let mut v = vec![m(4, Mul, &[X, X]), m(3, Fma, &[r(4), i(c[0]), i(c[1])])];
    v.extend(c[2..].iter().map(|&k| m(3, Fma, &[r(3), r(4), i(k)])));
    v.push(m(3, Mul, &[r(3), X]));
    v
}

/// Register 5 = |x| < limit.
fn is_small(limit: f32) -> Vec<Micro> {
    vec![m(5, Mul, &[X, i(-1.0)]), m(5, Max, &[r(5), X]), m(5, CmpLt, &[r(5), i(limit)])]
}

/// The operations of a function; `None` when it is not one of these.
pub(super) fn function(u: Unary) -> Option<Vec<Micro>> {
    let join = |parts: &[Vec<Micro>]| parts.concat();
    Some(match u {
        Unary::Round => rounding(0),
        Unary::Floor => rounding(-1),
        Unary::Ceil => rounding(1),
        Unary::Log => logarithm(LN_2),
        Unary::Sin => join(&[circular(5, false), vec![m(0, Mov, &[r(5)])]]),
        Unary::Cos => join(&[circular(5, true), vec![m(0, Mov, &[r(5)])]]),
        Unary::Tan => {
            join(&[circular(5, false), circular(6, true), vec![m(6, Recip, &[r(6)]), m(0, Mul, &[r(5), r(6)])]])
        }
        Unary::Atan => arc_tangent(),
        Unary::Asin | Unary::Acos => {
            let root = vec![
                m(1, Sub, &[i(1.0), X]),
                m(2, Add, &[i(1.0), X]),
                m(1, Mul, &[r(1), r(2)]),
                m(1, Rsqrt, &[r(1)]),
                m(0, Mul, &[X, r(1)]),
            ];
            let mut v = join(&[root, arc_tangent()]);
            if u == Unary::Acos {
                v.push(m(0, Sub, &[i(PI_2), X]));
            }
            v
        }
        Unary::Sinh => join(&[
            is_small(1.0),
            odd_polynomial(&[2.755_731_9e-6, 1.984_127e-4, 8.333_333e-3, 0.166_666_67, 1.0]),
            exponentials(),
            vec![m(1, Sub, &[r(1), r(2)]), m(1, Mul, &[r(1), i(0.5)]), m(0, Select, &[r(5), r(3), r(1)])],
        ]),
        Unary::Cosh => join(&[exponentials(), vec![m(1, Add, &[r(1), r(2)]), m(0, Mul, &[r(1), i(0.5)])]]),
        Unary::Atanh => join(&[
            is_small(0.1),
            odd_polynomial(&[1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0]),
            vec![
                m(6, Mov, &[r(3)]),
                m(1, Sub, &[i(1.0), X]),
                m(2, Add, &[i(1.0), X]),
                m(1, Recip, &[r(1)]),
                m(0, Mul, &[r(1), r(2)]),
            ],
            logarithm(LN_2),
            vec![m(0, Mul, &[X, i(0.5)]), m(0, Select, &[r(5), r(6), X])],
        ]),
        Unary::Asinh => join(&[
            is_small(0.1),
            odd_polynomial(&[-15.0 / 336.0, 3.0 / 40.0, -1.0 / 6.0, 1.0]),
            vec![
                m(6, Mov, &[r(3)]),
                m(7, CmpLt, &[X, i(0.0)]),
                m(7, Fma, &[r(7), i(-2.0), i(1.0)]),
                m(0, Mul, &[X, r(7)]),
                m(1, Fma, &[X, X, i(1.0)]),
                m(1, Rsqrt, &[r(1)]),
                m(1, Recip, &[r(1)]),
                m(0, Add, &[X, r(1)]),
            ],
            logarithm(LN_2),
            vec![m(0, Mul, &[X, r(7)]), m(0, Select, &[r(5), r(6), X])],
        ]),
        Unary::Acosh => join(&[
            vec![
                m(1, Add, &[X, i(-1.0)]),
                m(2, Add, &[X, i(1.0)]),
                m(1, Mul, &[r(1), r(2)]),
                m(1, Rsqrt, &[r(1)]),
                m(1, Recip, &[r(1)]),
                m(0, Add, &[X, r(1)]),
            ],
            logarithm(LN_2),
        ]),
        _ => return None,
    })
}
