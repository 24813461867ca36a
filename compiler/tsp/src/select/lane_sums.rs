//! Sums over lanes on planes whose weights are ones; every lane that is summed holds the result.
//!
//! An f32 is the sum of two f16 here: `x / 2^11` rounded, and what that leaves. Values up to 1.3e8 keep 22 bits, and
//! nothing above 3e-8 is lost. A butterfly of moves would pass four bytes of each row through planes once for each
//! power of two.

use super::expr::{Expr, Why};
use super::view::{Axis, Digit, View};
use super::{Lazy, MatBase, MatBlock, Select};
use crate::tiled::{Init, Kind, Pass, Rows, Src, TensorId};
use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::tsp::{AluOp, AluType};

/// Lanes from which on a plane is worth it.
pub(super) const FEWEST_LANES: usize = 4;

/// What the larger part of a value is divided by.
const SCALE: f32 = 2048.0;

/// What the halves count for.
pub(super) const HALF_WEIGHTS: [f32; 2] = [SCALE, 1.0];

/// The rows of a view, an axis taken apart.
pub(super) struct Parts {
    /// One row for each index of the other axes.
    pub(super) template: View,
    run: Digit,
    pub(super) rows: usize,
    pub(super) lanes: usize,
    /// Rows of the template, and for each part of the axis the view's.
    pub(super) own: Vec<u32>,
    pub(super) theirs: Vec<Vec<u32>>,
}

impl Expr {
    /// The sum of operands, or of their squares.
    pub(super) fn folded(&mut self, parts: &[Src], squares: bool) -> Src {
        let first = parts[0];
        let mut x = if squares { self.f2(AluOp::Mul, first, first) } else { first };
        for &k in &parts[1..] {
            x = if squares { self.op(AluOp::Fma, AluType::F32, k, k, x) } else { self.f2(AluOp::Add, x, k) };
        }
        x
    }

    /// An f32 as two f16, the first in steps of [`SCALE`].
    pub(super) fn halves(&mut self, x: Src) -> [Src; 2] {
        let scaled = self.f2(AluOp::Mul, x, Src::Imm((1.0 / SCALE).to_bits()));
        let high = self.cast(AluType::F32, AluType::F16, scaled);
        let back = self.cast(AluType::F16, AluType::F32, high);
        let rest = self.op(AluOp::Fma, AluType::F32, back, Src::Imm((-SCALE).to_bits()), x);
        [high, self.cast(AluType::F32, AluType::F16, rest)]
    }
}

/// A value of which f16 keeps enough.
pub(super) fn rough_part(expr: &mut Expr, x: Src) -> [Src; 1] {
    [expr.cast(AluType::F32, AluType::F16, x)]
}

/// Lanes that are summed: the first of each run, their number and their distance.
pub(super) type Runs = (Vec<i64>, usize, i64);

/// Weights of ones: the tensor, and its loads.
pub(super) type Ones = (TensorId, Vec<(u16, u32)>);

impl Select<'_> {
    /// First lanes of all runs that a lane digit of an axis makes: the other digits and copies on lanes.
    pub(super) fn first_lanes(axes: &[Axis], lane0: i64, axis: usize, digit: usize) -> Vec<i64> {
        let mut bases = vec![lane0];
        let spread = |bases: Vec<i64>, n: usize, step: i64| -> Vec<i64> {
            bases.iter().flat_map(|&b| (0..n as i64).map(move |i| b + i * step)).collect()
        };
        for (a, ax) in axes.iter().enumerate() {
            for (k, other) in ax.digits.iter().enumerate() {
                if (a, k) != (axis, digit) && other.lane != 0 {
                    bases = spread(bases, other.extent, other.lane);
                }
            }
            for &(n, step) in &ax.copies {
                bases = spread(bases, n, step);
            }
        }
        bases
    }

    /// True when [`Select::lane_sum`] takes an axis.
    pub(super) fn sums_on_planes(&self, v: &View, axis: usize) -> bool {
        self.out.tensors[v.tensor.0 as usize].ty == AluType::F32 && self.lies_in_parts(v, axis)
    }

    fn lies_in_parts(&self, v: &View, axis: usize) -> bool {
        let (info, a) = (&self.out.tensors[v.tensor.0 as usize], &v.axes[axis]);
        let exact = a.digits.iter().map(|d| d.extent).product::<usize>() == a.extent;
        let rows: usize = a.digits.iter().filter(|d| d.lane == 0).map(|d| d.extent).product();
        let lanes: Vec<_> = a.digits.iter().filter(|d| d.extent > 1 && d.lane != 0).collect();
        let run = matches!(lanes[..], [d] if d.extent >= FEWEST_LANES && d.lane > 0 && d.row == 0);
        info.pixels == 1 && exact && run && rows <= self.fold
    }

    /// The sum of an axis as an unfinished product, the axis left with extent 1; nothing where it does not lie on one run of
    /// lanes in each row (and a few rows). `squares`: of the squares.
    pub(super) fn lane_sum(&mut self, v: &View, axis: usize, squares: bool) -> Option<Lazy> {
        self.lane_sum_of(v, axis, squares, Expr::halves, HALF_WEIGHTS)
    }

    /// The same of values of which f16 keeps enough.
    pub(super) fn rough_lane_sum(&mut self, v: &View, axis: usize) -> Option<Lazy> {
        self.lane_sum_of(v, axis, false, rough_part, [1.0])
    }

    /// The same of values in some parts of f16, with weights.
    fn lane_sum_of<const N: usize>(
        &mut self,
        v: &View,
        axis: usize,
        squares: bool,
        halves: impl Fn(&mut Expr, Src) -> [Src; N],
        weights: [f32; N],
    ) -> Option<Lazy> {
        let parts = self.parts_of(v, axis)?;
        let tail = self.out.tensors[v.tensor.0 as usize].tail;
        let mut expr = Expr::default();
        let all: Vec<Src> = (0..parts.theirs.len() as u16).map(Src::In).collect();
        let x = expr.folded(&all, squares);
        let halves = halves(&mut expr, x);
        let tails = super::finish::tails_of(&expr.steps, &vec![tail; all.len()]);
        let (outs, halves) = self.half_rows(halves, &tails, &parts);
        let ins = parts.theirs.iter().map(|rows| Rows { tensor: v.tensor, rows: rows.clone() }).collect();
        self.kernel(parts.own.len(), Kind::Map { ins, steps: expr.steps, outs });
        let mut lazy = self.sums_of(&parts, axis, halves, weights);
        self.joined(&mut lazy);
        Some(lazy)
    }

    /// The parts of a view of floats whose axis takes a run of lanes in each of a few rows; nothing for other views.
    pub(super) fn parts_of(&self, v: &View, axis: usize) -> Option<Parts> {
        self.sums_on_planes(v, axis).then(|| self.parts(v, axis)).flatten()
    }

    /// The same of any type.
    pub(super) fn parts(&self, v: &View, axis: usize) -> Option<Parts> {
        if !self.lies_in_parts(v, axis) {
            return None;
        }
        let a = &v.axes[axis];
        let run = *a.digits.iter().find(|d| d.extent > 1 && d.lane != 0)?;
        let mut offsets = vec![0i64];
        for r in a.digits.iter().filter(|r| r.extent > 1 && r.lane == 0) {
            offsets = offsets.iter().flat_map(|&o| (0..r.extent as i64).map(move |i| o + i * r.row)).collect();
        }
        let mut low = v.clone();
        low.axes[axis] = Axis { extent: run.extent, digits: vec![run], copies: Vec::new() };
        let (axes, rows) = Self::compact(&low);
        let template = View { tensor: TensorId(0), axes, row0: 0, lane0: v.lane0 };
        let at = |o: i64| View { row0: low.row0 + o, ..low.clone() };
        let parts: Vec<View> = offsets.iter().map(|&o| at(o)).collect();
        let (own, theirs) = template.row_pairs(&parts.iter().collect::<Vec<_>>())?;
        let lanes = Self::reach(&template.axes, v.lane0);
        Some(Parts { template, run, rows, lanes, own, theirs })
    }

    /// Row tensors for the halves of one row a part.
    pub(super) fn half_rows<const N: usize>(
        &mut self,
        halves: [Src; N],
        tails: &[u32],
        parts: &Parts,
    ) -> (Vec<(Src, Rows)>, [TensorId; N]) {
        let mut outs = Vec::new();
        let tensors = halves.map(|src| {
            let t = self.tensor("", AluType::F16, parts.rows, parts.lanes, Init::Computed);
            if let Src::Op(k) = src {
                self.out.tensors[t.0 as usize].tail = tails[usize::from(k)];
            }
            outs.push((src, Rows { tensor: t, rows: parts.own.clone() }));
            t
        });
        (outs, tensors)
    }

    /// The sum over the run of each row of halves, the axis left with extent 1.
    pub(super) fn sum_of_halves(&mut self, parts: &Parts, axis: usize, halves: [TensorId; 2]) -> Lazy {
        let mut lazy = self.sums_of(parts, axis, halves, HALF_WEIGHTS);
        self.joined(&mut lazy);
        lazy
    }

    /// The sums over the run of each row of some tensors, with weights, as chains that nothing joins yet.
    pub(super) fn sums_of<const N: usize>(
        &mut self,
        parts: &Parts,
        axis: usize,
        tensors: [TensorId; N],
        weights: [f32; N],
    ) -> Lazy {
        let Parts { template, run, rows, lanes, own, .. } = parts;
        let runs = (Self::first_lanes(&template.axes, template.lane0, axis, 0), run.extent, run.lane);
        let mut chains = Vec::new();
        for (t, weight) in tensors.into_iter().zip(weights) {
            let half = self.finite(View { tensor: t, ..template.clone() });
            let ones = self.ones(&runs, weight);
            chains.push(self.passes_of(Rows { tensor: half.tensor, rows: own.clone() }, &ones));
        }
        let mut axes = template.axes.clone();
        axes[axis] = Axis { extent: 1, digits: Vec::new(), copies: vec![(run.extent, run.lane)] };
        self.summed(axes, template.lane0, (*rows, *lanes), own.clone(), chains)
    }

    /// An unfinished product of passes, whose chains nothing joins yet.
    pub(super) fn summed(
        &self,
        axes: Vec<Axis>,
        lane0: i64,
        (rows, lanes): (usize, usize),
        own: Vec<u32>,
        chains: Vec<Vec<Pass>>,
    ) -> Lazy {
        let shape: Vec<usize> = axes.iter().map(|a| a.extent).collect();
        let mut lazy = self.start(&shape);
        let count = chains.len();
        let blocks = vec![MatBlock { out_rows: own, chains }];
        lazy.mat = Some(MatBase { blocks, axes, lane0, rows, lanes, chains: count, pixels: 1, quotient: false });
        lazy
    }

    /// Passes of rows over weights.
    pub(super) fn passes_of(&self, act: Rows, (weights, loads): &Ones) -> Vec<Pass> {
        let pass = |slots| Pass { act: act.clone(), weights: *weights, loads: loads.clone(), slots };
        self.slot_windows().into_iter().map(pass).collect()
    }

    /// Weights that put the sum of each run, times a weight, into all lanes of the run. Kept for all that need the same.
    pub(super) fn ones(&mut self, runs: &Runs, weight: f32) -> Ones {
        let key = (runs.clone(), weight.to_bits());
        if let Some(ones) = self.ones.get(&key) {
            return ones.clone();
        }
        let (bases, extent, step) = runs;
        let lane = |b: i64, i: usize| (b + i as i64 * step) as usize;
        let lanes = bases.iter().map(|&b| lane(b, extent - 1)).max().unwrap_or(0) + 1;
        let mut groups: Vec<usize> = bases.iter().flat_map(|&b| (0..*extent).map(move |i| lane(b, i) / 16)).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut data = vec![0u32; groups.len() * 16 * lanes];
        for &b in bases {
            for i in 0..*extent {
                let g = groups.binary_search(&(lane(b, i) / 16)).unwrap_or(0);
                let row = g * 16 + lane(b, i) % 16;
                (0..*extent).for_each(|j| data[row * lanes + lane(b, j)] = u32::from(f32_to_f16(weight)));
            }
        }
        let init = Init::Const(super::constant::to_bytes(&data, AluType::F16));
        let t = self.tensor("ones", AluType::F16, groups.len() * 16, lanes, init);
        self.out.tensors[t.0 as usize].weights = true;
        let loads = groups.iter().enumerate().map(|(i, &g)| (g as u16, i as u32)).collect();
        self.ones.insert(key, (t, loads));
        self.ones[&(runs.clone(), weight.to_bits())].clone()
    }

    /// The sum of an axis, if a plane takes it.
    pub(super) fn summed_axis(&mut self, v: &View, axis: usize) -> Result<Option<View>, Why> {
        let Some(lazy) = self.lane_sum(v, axis, false) else { return Ok(None) };
        Ok(Some(self.finish(lazy, vec![AluType::F32])?[0].view.clone()))
    }
}
