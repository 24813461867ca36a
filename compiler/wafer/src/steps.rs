//! Elementwise work on a block in SRAM: what follows a kernel's sum, or a kernel of its own.
//!
//! A step is a short list of vector operations on f32 registers, each register a block of SRAM.
//! The same list is evaluated (the tiled graph's meaning) and emitted (the PE's program), so
//! the two cannot drift apart; whether it is the right list is for the comparison with the
//! tensor graph's `eval` to show.

use super::code::{Builder, imm, mem, num, op, stepped};
use super::layout::{Layout, strides};
use quadrille_compiler::ir::{Binary, Unary};
use quadrille_isa::numerics;
use quadrille_isa::wafer::{Dst, ElemType, PeOp, Src};
use std::ops::Range;
use std::sync::Arc;

/// A register: block 0 holds the value, others are temporary.
pub(crate) type Reg = u8;

/// A constant operand that broadcasts against a kernel's result, reachable by loop digits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    data: Arc<Vec<f32>>,
    /// The lowest place used.
    base: usize,
    /// For every loop of the kernel's nest the offset that each of its digits adds.
    offsets: Vec<Vec<usize>>,
}

impl Table {
    /// A constant of `shape` broadcast to a value of `value_shape` that the kernel makes in the
    /// order of `layout`.
    pub(crate) fn new(data: Arc<Vec<f32>>, shape: &[usize], value_shape: &[usize], layout: &Layout) -> Table {
        let lead = value_shape.len() - shape.len().min(value_shape.len());
        let (vs, cs) = (strides(value_shape), strides(shape));
        let at = |ix: usize| -> usize {
            (0..value_shape.len())
                .filter(|&a| a >= lead && shape[a - lead] > 1)
                .map(|a| (ix / vs[a]) % value_shape[a] * cs[a - lead])
                .sum()
        };
        let offsets = layout.loops.iter().map(|l| (0..l.count).map(|i| at(i * l.step)).collect()).collect();
        Table { data, base: 0, offsets }
    }

    /// Where the constant of each element lies, in the order in which they are made.
    fn in_order(&self) -> Vec<usize> {
        let mut out = vec![self.base];
        for o in &self.offsets {
            out = out.iter().flat_map(|&b| o.iter().map(move |&o| b + o)).collect();
        }
        out
    }

    /// The constants of some rows and columns of an image `dims` that is made row by row, for a kernel that makes those
    /// rows, in that order, and columns, an image of its own, in the order of `layout`.
    fn of_part(&self, [_, c, h, w]: [usize; 4], (rows, columns): (&[usize], &Range<usize>), layout: &Layout) -> Table {
        let places = self.in_order();
        let (tall, wide) = (rows.len(), columns.len());
        let at = |ix: usize| {
            let (x, y) = (ix % wide, ix / wide % tall);
            let (z, n) = (ix / (wide * tall) % c, ix / (wide * tall * c));
            places[((n * h + rows[y]) * c + z) * w + x + columns.start]
        };
        // Rows may go from the last to the first, so that a loop's first digit need not be its lowest place.
        let loops: Vec<Vec<usize>> =
            layout.loops.iter().map(|l| (0..l.count).map(|d| at(d * l.step)).collect()).collect();
        let lowest: Vec<usize> = loops.iter().map(|l| l.iter().copied().min().unwrap_or(0)).collect();
        let base = lowest.iter().fold(at(0), |base, low| base - (at(0) - low));
        let offsets = loops.iter().zip(&lowest).map(|(l, low)| l.iter().map(|p| p - low).collect()).collect();
        Table { data: self.data.clone(), base, offsets }
    }

    /// The constant at loop digits.
    fn at(&self, digits: &[usize]) -> f32 {
        self.data[self.base + digits.iter().zip(&self.offsets).map(|(&d, o)| o[d]).sum::<usize>()]
    }

    fn varies(&self, i: usize) -> bool {
        self.offsets[i].iter().any(|&o| o != 0)
    }

    /// True when it differs between blocks, not only inside one (the two innermost loops).
    pub(crate) fn varies_outside_block(&self) -> bool {
        (0..self.offsets.len() - 2).any(|i| self.varies(i))
    }

    /// True when it is the same along the innermost loop and from block to block.
    pub(crate) fn is_per_row(&self) -> bool {
        !self.varies_outside_block() && !self.varies(self.offsets.len() - 1)
    }

    /// Values along the second innermost loop.
    pub(crate) fn rows(&self) -> Vec<f32> {
        let mut digits = vec![0; self.offsets.len()];
        let at = digits.len() - 2;
        (0..self.offsets[at].len())
            .map(|i| {
                digits[at] = i;
                self.at(&digits)
            })
            .collect()
    }

    /// True when it is the same from block to block and along the second innermost loop.
    pub(crate) fn is_per_column(&self) -> bool {
        !self.varies_outside_block() && !self.varies(self.offsets.len() - 2)
    }

    /// Values along the innermost loop.
    pub(crate) fn columns(&self) -> Vec<f32> {
        let mut digits = vec![0; self.offsets.len()];
        let at = digits.len() - 1;
        (0..self.offsets[at].len())
            .map(|i| {
                digits[at] = i;
                self.at(&digits)
            })
            .collect()
    }

    /// Loops around a block from the first that it varies along: constants are held for all of their turns.
    fn outer(&self) -> Range<usize> {
        let n = self.offsets.len();
        (0..n - 2).find(|&i| self.varies(i)).unwrap_or(n - 2)..n - 2
    }

    /// Bytes of SRAM that a PE of one row of every block holds of it.
    pub(crate) fn bytes_of_row(&self) -> usize {
        let n = self.offsets.len();
        let run = if self.varies(n - 1) { self.offsets[n - 1].len() } else { 1 };
        4 * run * self.offsets[self.outer()].iter().map(Vec::len).product::<usize>()
    }

    /// The SRAM operand for a PE that holds rows `r1` and columns `r0` of every block.
    fn operand(&self, b: &mut Builder, r1: &Range<usize>, r0: &Range<usize>) -> Src {
        let n = self.offsets.len();
        let first = self.outer().start;
        let outer: usize = self.offsets[first..n - 2].iter().map(Vec::len).product();
        let keep = |vary: bool, r: &Range<usize>| if vary { r.clone() } else { r.start..r.start + 1 };
        let (k1, k0) = (keep(self.varies(n - 2), r1), keep(self.varies(n - 1), r0));
        let block = k1.len() * k0.len();
        let base = b.f32s(outer * block, || {
            let mut digits = vec![0; n];
            let mut out = Vec::with_capacity(outer * block);
            for o in 0..outer {
                let mut rest = o;
                for i in (first..n - 2).rev() {
                    digits[i] = rest % self.offsets[i].len();
                    rest /= self.offsets[i].len();
                }
                for i in k1.clone() {
                    for j in k0.clone() {
                        (digits[n - 2], digits[n - 1]) = (i, j);
                        out.push(self.at(&digits));
                    }
                }
            }
            out
        });
        let s0 = usize::from(k0.len() > 1);
        let s1 = if k1.len() > 1 { k0.len() } else { 0 };
        let m = mem(ElemType::F32, base, s1, s0);
        Src::Mem(if outer > 1 { stepped(m, block, outer * block) } else { m })
    }
}

/// Operand of a vector operation of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg {
    Reg(Reg),
    Imm(f32),
    Table(Table),
}

/// One vector operation of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Micro {
    pub(crate) dst: Reg,
    pub(crate) op: PeOp,
    pub(crate) args: Vec<Arg>,
}

/// An elementwise step with the user's name for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) micros: Vec<Micro>,
}

const X: Arg = Arg::Reg(0);
const T: Arg = Arg::Reg(1);

/// One operation.
pub(crate) fn micro(dst: Reg, op: PeOp, args: &[Arg]) -> Micro {
    Micro { dst, op, args: args.to_vec() }
}

const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// x where x >= 0, else x times the slope: min, max and one fma (one of the two is zero).
fn prelu(slope: Arg) -> Vec<Micro> {
    use PeOp::*;
    vec![micro(1, Min, &[X, Arg::Imm(0.0)]), micro(0, Max, &[X, Arg::Imm(0.0)]), micro(0, Fma, &[T, slope, X])]
}

/// Register 3 over 1 + 2 to the power of register 0.
fn gated() -> Vec<Micro> {
    use PeOp::*;
    vec![
        micro(0, Exp2, &[X]),
        micro(0, Add, &[X, Arg::Imm(1.0)]),
        micro(0, Recip, &[X]),
        micro(0, Mul, &[X, Arg::Reg(3)]),
    ]
}

/// erf of register 0 into register 4, by Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7).
fn erf() -> Vec<Micro> {
    use PeOp::*;
    let (t, e, p) = (Arg::Reg(1), Arg::Reg(2), Arg::Reg(4));
    let c = [1.061_405_4_f32, -1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6];
    let mut m = vec![
        micro(2, Mul, &[X, Arg::Imm(-1.0)]),
        micro(2, Max, &[X, e.clone()]),
        micro(1, Fma, &[e.clone(), Arg::Imm(0.327_591_1), Arg::Imm(1.0)]),
        micro(1, Recip, std::slice::from_ref(&t)),
        micro(2, Mul, &[e.clone(), e.clone()]),
        micro(2, Mul, &[e.clone(), Arg::Imm(-LOG2_E)]),
        micro(2, Exp2, std::slice::from_ref(&e)),
        micro(4, Fma, &[t.clone(), Arg::Imm(c[0]), Arg::Imm(c[1])]),
    ];
    for &k in &c[2..] {
        m.push(micro(4, Fma, &[p.clone(), t.clone(), Arg::Imm(k)]));
    }
    m.extend([
        micro(4, Mul, &[p.clone(), t.clone()]),
        micro(4, Mul, &[p.clone(), e.clone()]),
        micro(4, Sub, &[Arg::Imm(1.0), p.clone()]),
        // The sign: 1 - 2 (x < 0).
        micro(1, CmpLt, &[X, Arg::Imm(0.0)]),
        micro(1, Fma, &[t.clone(), Arg::Imm(-2.0), Arg::Imm(1.0)]),
        micro(4, Mul, &[p, t]),
    ]);
    m
}

impl Step {
    /// A step of one operand; `None` when the machine has no operation to compose it of.
    pub(crate) fn unary(u: Unary) -> Option<Step> {
        use PeOp::*;
        let m = match u {
            Unary::Relu => vec![micro(0, Max, &[X, Arg::Imm(0.0)])],
            Unary::Neg => vec![micro(0, Mul, &[X, Arg::Imm(-1.0)])],
            Unary::Abs => vec![micro(1, Mul, &[X, Arg::Imm(-1.0)]), micro(0, Max, &[X, T])],
            Unary::Exp => vec![micro(0, Mul, &[X, Arg::Imm(LOG2_E)]), micro(0, Exp2, &[X])],
            Unary::Recip => vec![micro(0, Recip, &[X])],
            Unary::Rsqrt => vec![micro(0, Rsqrt, &[X])],
            Unary::Sqrt => vec![micro(0, Rsqrt, &[X]), micro(0, Recip, &[X])],
            Unary::Sigmoid => vec![
                micro(0, Mul, &[X, Arg::Imm(-LOG2_E)]),
                micro(0, Exp2, &[X]),
                micro(0, Add, &[X, Arg::Imm(1.0)]),
                micro(0, Recip, &[X]),
            ],
            // 1 - 2 / (1 + e^2x): exact to about 1e-7 absolute.
            Unary::Tanh => vec![
                micro(0, Mul, &[X, Arg::Imm(2.0 * LOG2_E)]),
                micro(0, Exp2, &[X]),
                micro(0, Add, &[X, Arg::Imm(1.0)]),
                micro(0, Recip, &[X]),
                micro(0, Fma, &[X, Arg::Imm(-2.0), Arg::Imm(1.0)]),
            ],
            Unary::Erf => {
                let mut m = erf();
                m.push(micro(0, Mov, &[Arg::Reg(4)]));
                m
            }
            _ => super::functions::function(u)?,
        };
        Some(Step { name: u.name().to_string(), micros: m })
    }

    /// Logarithm to base 2.
    pub(crate) fn log2() -> Step {
        Step { name: "log2".to_string(), micros: super::functions::logarithm(1.0) }
    }

    /// Gelu with erf.
    pub(crate) fn gelu() -> Step {
        use PeOp::*;
        let mut m = vec![micro(3, Mov, &[X]), micro(0, Mul, &[X, Arg::Imm(std::f32::consts::FRAC_1_SQRT_2)])];
        m.extend(erf());
        m.push(micro(4, Add, &[Arg::Reg(4), Arg::Imm(1.0)]));
        m.push(micro(0, Mul, &[Arg::Reg(3), Arg::Imm(0.5)]));
        m.push(micro(0, Mul, &[X, Arg::Reg(4)]));
        Step { name: "gelu".to_string(), micros: m }
    }

    /// Gelu with tanh, as x sigmoid(2 u) for the tanh of u.
    pub(crate) fn gelu_tanh() -> Step {
        use PeOp::*;
        let twice = 2.0 * (2.0 / std::f64::consts::PI).sqrt() * std::f64::consts::LOG2_E;
        let mut m = vec![
            micro(3, Mov, &[X]),
            micro(0, Mul, &[X, X]),
            micro(0, Fma, &[X, Arg::Imm((-0.044715 * twice) as f32), Arg::Imm(-twice as f32)]),
            micro(0, Mul, &[X, Arg::Reg(3)]),
        ];
        m.extend(gated());
        Step { name: "gelu_tanh".to_string(), micros: m }
    }

    /// x sigmoid(a x).
    pub(crate) fn silu(a: f32) -> Step {
        use PeOp::*;
        let mut m = vec![micro(3, Mov, &[X]), micro(0, Mul, &[X, Arg::Imm(-a * LOG2_E)])];
        m.extend(gated());
        Step { name: "silu".to_string(), micros: m }
    }

    /// x times x / 6 + 1/2 cut to [0, 1].
    pub(crate) fn hard_swish() -> Step {
        use PeOp::*;
        let m = vec![
            micro(1, Fma, &[X, Arg::Imm(1.0 / 6.0), Arg::Imm(0.5)]),
            micro(1, Max, &[T, Arg::Imm(0.0)]),
            micro(1, Min, &[T, Arg::Imm(1.0)]),
            micro(0, Mul, &[X, T]),
        ];
        Step { name: "hard_swish".to_string(), micros: m }
    }

    /// A step of the value and a constant; `swapped` when the constant is the first operand.
    /// `None` when the machine has no operation to compose it of.
    pub(crate) fn binary(b: Binary, constant: Arg, swapped: bool) -> Option<Step> {
        use PeOp::*;
        let c = constant;
        let m = match (b, swapped) {
            (Binary::Add, _) => vec![micro(0, Add, &[X, c])],
            (Binary::Mul, _) => vec![micro(0, Mul, &[X, c])],
            (Binary::Max, _) => vec![micro(0, Max, &[X, c])],
            (Binary::Min, _) => vec![micro(0, Min, &[X, c])],
            (Binary::Sub, false) => vec![micro(0, Sub, &[X, c])],
            (Binary::Sub, true) => vec![micro(0, Sub, &[c, X])],
            // The reciprocals of a constant divisor are taken here, one rounding more than a division.
            (Binary::Div, false) => vec![micro(0, Mul, &[X, c.map(numerics::recip_f32)])],
            (Binary::Div, true) => vec![micro(0, Recip, &[X]), micro(0, Mul, &[X, c])],
            (Binary::Prelu, false) => prelu(c),
            (Binary::Pow, false) => match c {
                Arg::Imm(2.0) => vec![micro(0, Mul, &[X, X])],
                Arg::Imm(1.0) => vec![micro(0, Mov, &[X])],
                Arg::Imm(0.5) => return Step::unary(Unary::Sqrt),
                Arg::Imm(-1.0) => return Step::unary(Unary::Recip),
                Arg::Imm(-0.5) => return Step::unary(Unary::Rsqrt),
                _ => return None,
            },
            _ => return None,
        };
        Some(Step { name: b.name().to_string(), micros: m })
    }

    /// Leaky relu.
    pub(crate) fn leaky(slope: f32) -> Step {
        Step { name: "leaky_relu".to_string(), micros: prelu(Arg::Imm(slope)) }
    }

    /// The step for some columns of an image `dims` that is made row by row, by a kernel that makes those columns
    /// in the order of `layout`.
    pub(crate) fn of_columns(&self, dims: [usize; 4], columns: &Range<usize>, layout: &Layout) -> Step {
        let rows: Vec<usize> = (0..dims[2]).collect();
        self.of_part(dims, (&rows, columns), layout)
    }

    /// The same for some rows, in the order in which the kernel makes them.
    pub(crate) fn of_rows(&self, dims: [usize; 4], rows: &[usize], layout: &Layout) -> Step {
        self.of_part(dims, (rows, &(0..dims[3])), layout)
    }

    fn of_part(&self, dims: [usize; 4], part: (&[usize], &Range<usize>), layout: &Layout) -> Step {
        let mut step = self.clone();
        for a in step.micros.iter_mut().flat_map(|m| &mut m.args) {
            if let Arg::Table(t) = a {
                *t = t.of_part(dims, part, layout);
            }
        }
        step
    }

    /// What it does, with the number where it is one product with one.
    pub(crate) fn about(&self) -> String {
        match &self.micros[..] {
            [Micro { dst: 0, op: PeOp::Mul, args }] if let [X, Arg::Imm(v)] = args[..] => format!("times {v}"),
            _ => self.name.clone(),
        }
    }

    /// The constant operands.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.micros.iter().flat_map(|m| &m.args).filter_map(|a| match a {
            Arg::Table(t) => Some(t),
            _ => None,
        })
    }

    /// The value added, when the step is nothing but an addition of a constant.
    pub(crate) fn added(&self) -> Option<&Arg> {
        match &self.micros[..] {
            [Micro { dst: 0, op: PeOp::Add, args }] if args[0] == X => Some(&args[1]),
            _ => None,
        }
    }
}

impl Arg {
    fn map(&self, f: impl Fn(f32) -> f32) -> Arg {
        match self {
            Arg::Imm(v) => Arg::Imm(f(*v)),
            Arg::Table(t) => {
                let data = Arc::new(t.data.iter().map(|&v| f(v)).collect());
                Arg::Table(Table { data, ..t.clone() })
            }
            Arg::Reg(r) => Arg::Reg(*r),
        }
    }
}

/// Rounds between bounds in the shortest way: what is clamped to whole numbers after it was rounded
/// can be clamped before, and then two additions round it.
pub(crate) fn clamp_before_rounding(steps: &mut Vec<Step>) {
    /// The one operation of a step with a whole immediate, by name.
    fn whole(s: Option<&Step>, op: PeOp) -> Option<f32> {
        match s.map(|s| &s.micros[..]) {
            Some([Micro { dst: 0, op: o, args }]) if *o == op => match args[..] {
                [X, Arg::Imm(v)] if v.fract() == 0.0 && v.abs() < 65536.0 => Some(v),
                _ => None,
            },
            _ => None,
        }
    }
    let mut i = 0;
    while i < steps.len() {
        let zero = whole(steps.get(i + 1), PeOp::Add);
        let at = i + 1 + usize::from(zero.is_some());
        let bounds = whole(steps.get(at), PeOp::Max).zip(whole(steps.get(at + 1), PeOp::Min));
        if let (true, Some((lo, hi))) = (steps[i].name == Unary::Round.name(), bounds) {
            let z = zero.unwrap_or(0.0);
            let mut m = vec![micro(0, PeOp::Max, &[X, Arg::Imm(lo - z)]), micro(0, PeOp::Min, &[X, Arg::Imm(hi - z)])];
            // -0 becomes 0, as in the integers that these are.
            m.extend(super::functions::round_small());
            if z != 0.0 {
                m.push(micro(0, PeOp::Add, &[X, Arg::Imm(z)]));
            }
            let name = format!("round to {lo}..{hi}");
            steps.splice(i..=at + 1, [Step { name, micros: m }]);
        }
        i += 1;
    }
}

/// All values that steps can end with, when they round between bounds and then compute with what they have alone.
pub(crate) fn values(steps: &[Step]) -> Option<Vec<f32>> {
    let micros: Vec<&Micro> = steps.iter().flat_map(|s| &s.micros).collect();
    let bound = |m: &Micro, op: PeOp| match m.args[..] {
        [X, Arg::Imm(v)] if m.dst == 0 && m.op == op && v.fract() == 0.0 && v.abs() < 65536.0 => Some(v as i64),
        _ => None,
    };
    let rounding = super::functions::round_small();
    let (at, lo, hi) = (0..micros.len()).rev().find_map(|i| {
        let (lo, hi) = (bound(micros[i], PeOp::Max)?, bound(micros.get(i + 1)?, PeOp::Min)?);
        let rounds = micros[i + 2..].iter().zip(&rounding).filter(|(a, b)| **a == *b).count() == rounding.len();
        rounds.then_some((i + 2, lo, hi))
    })?;
    let all: Option<Vec<f32>> = (lo..=hi).map(|v| constant(micros[at..].iter().copied(), v as f32)).collect();
    let mut all = all?;
    all.push(constant(micros[at - 2..].iter().copied(), f32::NAN)?);
    Some(all)
}

/// True when f16 holds all that steps can end with.
pub(crate) fn end_in_f16(steps: &[Step]) -> bool {
    values(steps)
        .is_some_and(|all| all.iter().all(|&v| numerics::f16_to_f32(numerics::f32_to_f16(v)).to_bits() == v.to_bits()))
}

/// True when steps leave all of these values as they are, bit for bit.
pub(crate) fn keep(steps: &[Step], values: &[f32]) -> bool {
    values.iter().all(|&v| of_number(steps, v).is_some_and(|r| r.to_bits() == v.to_bits()))
}

/// The result of operations on one value; `None` when an operand is a table.
fn constant<'a>(micros: impl IntoIterator<Item = &'a Micro>, v: f32) -> Option<f32> {
    let mut regs = [0f32; 8];
    regs[0] = v;
    for m in micros {
        let mut args = [0f32; 3];
        for (slot, a) in args.iter_mut().zip(&m.args) {
            *slot = match a {
                Arg::Reg(r) => regs[usize::from(*r)],
                Arg::Imm(v) => *v,
                Arg::Table(_) => return None,
            };
        }
        regs[usize::from(m.dst)] = scalar(m.op, args[0], args[1], args[2]);
    }
    Some(regs[0])
}

/// The result of steps on one value; `None` when an operand is a table.
pub(crate) fn of_number(steps: &[Step], v: f32) -> Option<f32> {
    constant(steps.iter().flat_map(|s| &s.micros), v)
}

/// The meaning of one vector operation on f32 operands.
pub(crate) fn scalar(op: PeOp, a: f32, b: f32, c: f32) -> f32 {
    use numerics::*;
    match op {
        PeOp::Mov => a,
        PeOp::Add => canonical(a + b),
        PeOp::Sub => canonical(a - b),
        PeOp::Mul => canonical(a * b),
        PeOp::Fma => canonical(fma_f32(a, b, c)),
        PeOp::Min => min_f32(a, b),
        PeOp::Max => max_f32(a, b),
        PeOp::CmpLt => f32::from(u8::from(a < b)),
        PeOp::CmpEq => f32::from(u8::from(a == b)),
        PeOp::Select => {
            if a != 0.0 {
                b
            } else {
                c
            }
        }
        PeOp::Exp2 => canonical(exp2_f32(a)),
        PeOp::Recip => canonical(recip_f32(a)),
        PeOp::Rsqrt => canonical(rsqrt_f32(a)),
    }
}

/// Number of registers that the steps use.
pub(crate) fn registers(steps: &[Step]) -> usize {
    steps.iter().flat_map(|s| &s.micros).map(|m| usize::from(m.dst) + 1).max().unwrap_or(1)
}

/// Applies the steps to a kernel's result: `values` by row-major index, made in the order of
/// `layout`.
pub(crate) fn eval(steps: &[Step], layout: &Layout, values: &mut [f32]) {
    if steps.is_empty() {
        return;
    }
    let n = layout.loops.len();
    let mut digits = vec![0usize; n];
    let total = layout.elements();
    let mut regs = [0f32; 8];
    for _ in 0..total {
        let ix: usize = digits.iter().zip(&layout.loops).map(|(d, l)| d * l.step).sum();
        regs[0] = values[ix];
        for m in steps.iter().flat_map(|s| &s.micros) {
            let get = |i: usize| match m.args.get(i) {
                None => 0.0,
                Some(Arg::Reg(r)) => regs[usize::from(*r)],
                Some(Arg::Imm(v)) => *v,
                Some(Arg::Table(t)) => t.at(&digits),
            };
            let v = scalar(m.op, get(0), get(1), get(2));
            regs[usize::from(m.dst)] = v;
        }
        values[ix] = regs[0];
        for i in (0..n).rev() {
            digits[i] += 1;
            if digits[i] < layout.loops[i].count {
                break;
            }
            digits[i] = 0;
        }
    }
}

/// A block of f32 values in SRAM: `rows` (loop digits of the second innermost loop) by `cols`
/// (of the innermost), rows `pitch` elements apart.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) base: u32,
    pub(crate) pitch: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

/// The steps as vector operations on a block, in place.
pub(crate) fn emit(steps: &[Step], b: &mut Builder, x: &Block) -> Vec<quadrille_isa::wafer::VecOp> {
    let size = x.rows.len() * x.pitch;
    let mut bases = vec![x.base];
    for _ in 1..registers(steps) {
        bases.push(b.zeros(ElemType::F32, size));
    }
    let reg = |r: Reg| mem(ElemType::F32, bases[usize::from(r)], x.pitch, 1);
    let mut out = Vec::new();
    for m in steps.iter().flat_map(|s| &s.micros) {
        let mut args = [Src::None; 3];
        for (slot, a) in args.iter_mut().zip(&m.args) {
            *slot = match a {
                Arg::Reg(r) => Src::Mem(reg(*r)),
                Arg::Imm(v) => imm(*v),
                Arg::Table(t) => t.operand(b, &x.rows, &x.cols),
            };
        }
        out.push(op(m.op, num(x.rows.len()), num(x.cols.len()), Dst::Mem(reg(m.dst)), args));
    }
    out
}
