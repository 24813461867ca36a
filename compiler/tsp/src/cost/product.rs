//! Matrix products: passes over planes, in each way that selection can take.

use super::lanes::one_after_the_other;
use super::{Cost, LOADS, MXM, SRAM, VXM};
use crate::select::view::even_block;
use crate::way::{Columns, Held, Inner, PARTS, ProductWay};
use quadrille_compiler::ir::TensorType;
use quadrille_compiler::rewrite::{Cycles, Mapping, Operand, RESOURCES};

/// A product as passes: `blocks` kernels of `passes` passes over `rows` rows each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    pub(super) blocks: u64,
    pub(super) passes: u64,
    pub(super) rows: u64,
    /// Plane rows of a pass.
    pub(super) depth: u64,
    /// ALU steps behind the sums, and operands of theirs that are not constants.
    pub(super) steps: u64,
    pub(super) operands: u64,
    /// Products of bytes.
    pub(super) bytes: bool,
}

/// A product with one of its operands in the planes: `batch` products of `rows` rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laid {
    pub(crate) held: Held,
    pub(crate) batch: u64,
    pub(crate) rows: u64,
    pub(crate) inner: u64,
    pub(crate) columns: u64,
    /// The planes hold constants.
    pub(crate) fixed: bool,
    pub(crate) bytes: bool,
    /// ALU steps behind the sums, and operands of theirs that are not constants.
    pub(crate) steps: u64,
    pub(crate) operands: u64,
    /// What has to be moved before or behind.
    pub(crate) moved: Cycles,
}

/// Which axis of a right operand lies on lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lanes {
    Last,
    Inner,
}

/// What tells the ways to multiply by a right operand whose last axis is on lanes from those that windows leave.
const LAST: &str = ", right operand with its last axis on lanes";

impl Cost {
    /// Passes of one kernel are shared by the hemispheres; a kernel of one pass goes to one of them, in turn.
    pub(super) fn passes(&self, p: Passes) -> Cycles {
        let flow = self.flow(p.rows, p.bytes);
        let in_turn = match (p.bytes, p.passes) {
            (true, n) => (p.blocks * n).div_ceil(self.pairs),
            (false, 0 | 1) => p.blocks.div_ceil(self.pairs),
            (false, n) => p.blocks * n.div_ceil(self.pairs),
        };
        self.timed(p, in_turn * flow.max(self.load(p.depth, p.bytes)), in_turn)
    }

    /// Cycles to load the weights of a pass.
    fn load(&self, depth: u64, bytes: bool) -> u64 {
        depth.div_ceil(self.superlane) * self.group_load / if bytes { 2 } else { 1 }
    }

    /// Cycles of a pass: two rows of bytes a cycle on the planes of a pair; f16 takes both for one row in two.
    fn flow(&self, rows: u64, bytes: bool) -> u64 {
        if bytes { rows.div_ceil(2) } else { rows * self.row_interval }
    }

    /// Passes that keep the planes so long, with so many loads one after the other.
    fn timed(&self, p: Passes, planes: u64, loads: u64) -> Cycles {
        let load = self.load(p.depth, p.bytes);
        let mut busy = [0; RESOURCES];
        busy[MXM] = planes;
        busy[LOADS] = loads * load;
        let out = p.blocks * p.rows;
        let sequences = (p.steps + 1).div_ceil(self.alus);
        busy[VXM] = (out * (p.steps + 1)).div_ceil(self.alus) + (sequences - 1) * out;
        busy[SRAM] = (p.blocks * p.passes * p.rows + out * (1 + p.operands)).div_ceil(2 * self.words_at_once);
        Cycles { busy, fill: self.through_planes + load + 3 * p.steps + (sequences - 1) * self.through_alus }
    }

    /// Rows of so many lanes become lanes of so many rows: through the transposer, and maps in front or behind.
    pub(crate) fn turned(&self, rows: u64, lanes: u64) -> Cycles {
        let words = rows.max(lanes);
        one_after_the_other(self.moves(words, 2), self.map(1, words, 1))
    }

    /// The ways to do a product with the operand that the planes hold.
    pub(crate) fn product_ways(&self, l: &Laid) -> Vec<(ProductWay, Cycles)> {
        let passes = l.inner.div_ceil(self.lanes) * self.windows;
        let even = l.columns.div_ceil(even_block(l.columns as usize, self.lanes as usize) as u64);
        let widest = l.columns.div_ceil(self.lanes);
        let mut blocks = vec![(Columns::Even, even)];
        if widest < even {
            blocks.push((Columns::Widest, widest));
        }
        let mut ways = Vec::new();
        for &(columns, blocks) in &blocks {
            for inner in [Inner::Halved, Inner::Whole] {
                // One pass has no halves; where a load brings half of the rows, passes are halves already.
                let there = match inner {
                    Inner::Halved => passes > 1,
                    Inner::Whole => passes == 1 || l.bytes || self.windows == 1,
                };
                // Waves of bytes are shared by all planes as it is.
                let parts = PARTS.into_iter().filter(|&p| p == 1 || !l.bytes && l.rows >= 2 * self.superlane);
                for parts in parts.filter(|_| there) {
                    let way = ProductWay { held: l.held, inner, columns, parts };
                    ways.push((way, self.product_way(l, passes, blocks, way)));
                }
            }
        }
        ways
    }

    fn product_way(&self, l: &Laid, passes: u64, blocks: u64, way: ProductWay) -> Cycles {
        let parts = u64::from(way.parts);
        let rows = l.rows.div_ceil(parts);
        let depth = l.inner.min(self.lanes);
        let all = l.batch * parts * blocks;
        // Rows beyond those that accumulators have are another round with loads of its own.
        let rounds = if l.bytes { 1 } else { rows.div_ceil(self.accumulators) };
        let load = rounds * self.load(depth, l.bytes);
        let flow = self.flow(rows, l.bytes);
        let half = passes.div_ceil(2);
        let (planes, loads) = match (way.inner, l.bytes, passes) {
            (Inner::Whole, true, n) => {
                ((all * n).div_ceil(self.pairs) * flow.max(load), (all * n).div_ceil(self.pairs))
            }
            // Each plane has weights of its own, and all rows pass it.
            (Inner::Halved, true, _) => {
                ((all * half).div_ceil(self.pairs) * rows.max(load), (all * half).div_ceil(self.pairs))
            }
            (Inner::Whole, false, 0 | 1) => (all.div_ceil(self.pairs) * flow.max(load), all.div_ceil(self.pairs)),
            // One block is shared by rows; several go in turn, and one that is left over is halved.
            (Inner::Whole, false, n) if blocks < self.pairs => (all * n * flow.div_ceil(self.pairs).max(load), all * n),
            (Inner::Whole, false, n) => {
                let loads = blocks / self.pairs * n + blocks % self.pairs * half;
                (l.batch * parts * loads * flow.max(load), l.batch * parts * loads)
            }
            (Inner::Halved, false, _) => (all * half * flow.max(load), all * half),
        };
        let p = Passes { blocks: all, passes, rows, depth, steps: l.steps, operands: l.operands, bytes: l.bytes };
        let mut c = self.timed(p, planes, rounds * loads);
        if !l.fixed {
            // A computed operand is copied to where weights are loaded from, batch by batch; its copy and its load
            // are not hidden.
            let copied = l.batch * (l.inner + depth.div_ceil(self.superlane) * self.group_load);
            let flow = all * l.inner.div_ceil(self.lanes) * rows * self.row_interval;
            c.busy[MXM] = c.busy[MXM].max(flow + copied);
            c.busy[LOADS] = copied;
            c.fill += self.through_alus;
        }
        one_after_the_other(l.moved, c)
    }

    /// Ways to multiply. A constant left operand is mostly a convolution's, which leaves channels on lanes.
    pub(super) fn products(&self, inputs: &[Operand<'_>], result: &TensorType, steps: u64) -> Vec<Mapping> {
        let named = |lanes: Lanes, suffix: &'static str| {
            let ways = self.ways_of_product(inputs, result, steps, lanes);
            ways.into_iter().map(move |(way, cycles)| {
                // What windows leave is no other product's. Rows in parts give both hemispheres to one product; beside
                // others there is no gain in that, and convolutions are not counted so.
                let likely = suffix.is_empty() && way.parts == 1;
                Mapping { name: format!("{way}{suffix}"), cycles, likely }
            })
        };
        if !inputs[0].fixed || inputs[1].ty.rank() < 3 {
            return named(Lanes::Last, "").collect();
        }
        named(Lanes::Inner, "").chain(named(Lanes::Last, LAST)).collect()
    }

    /// The same for a right operand whose last or inner axis lies on lanes; of the left one it is the last.
    fn ways_of_product(
        &self,
        inputs: &[Operand<'_>],
        result: &TensorType,
        steps: u64,
        lanes: Lanes,
    ) -> Vec<(ProductWay, Cycles)> {
        let (a, b) = (inputs[0], inputs[1]);
        let s = &result.shape;
        let u = |x: usize| x as u64;
        let bytes = a.ty.dtype.size() == 1;
        let operands = inputs[2..].iter().filter(|i| !i.fixed).count() as u64;
        let (m, n) = (u(s[s.len() - 2]), u(s[s.len() - 1]));
        let inner = u(b.ty.shape[b.ty.rank() - 2]);
        let batch: u64 = s[..s.len() - 2].iter().map(|&d| u(d)).product();
        let shared = |t: &TensorType| t.shape[..t.rank() - 2].iter().all(|&d| d == 1);
        let laid = |held: Held, operand: &Operand<'_>, (rows, columns): (u64, u64), moved: Cycles| {
            // All rows of a batch meet the same constants.
            let (batch, rows) = if operand.fixed && shared(operand.ty) { (1, rows * batch) } else { (batch, rows) };
            Laid { held, batch, rows, inner, columns, fixed: operand.fixed, bytes, steps, operands, moved }
        };
        let turned = |o: &Operand<'_>, rows: u64, lanes: u64, turns: bool| {
            let times = if shared(o.ty) { 1 } else { batch };
            if o.fixed || !turns { Cycles::default() } else { self.turned(times * rows, times * lanes) }
        };
        let last = lanes == Lanes::Last;
        let mut ways = Vec::new();
        // Computed bytes are not held.
        if !bytes || !a.fixed {
            ways.extend(self.product_ways(&laid(Held::Right, &b, (m, n), turned(&b, inner, n, !last))));
        }
        if !bytes || a.fixed {
            let moved = one_after_the_other(turned(&a, m, inner, true), turned(&b, inner, n, last));
            ways.extend(self.product_ways(&laid(Held::Left, &a, (n, m), moved)));
        }
        ways
    }

    /// A transposed convolution is a product over the input's pixels and additions of shifted results.
    pub(super) fn transposed_window(&self, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let (x, w) = (&inputs[0].ty.shape, &inputs[1].ty.shape);
        let pixels = (x[0] * x[2..].iter().product::<usize>()) as u64;
        let taps: u64 = w[2..].iter().map(|&d| d as u64).product();
        let out = self.rows(result);
        let mut c = self.passes(Passes {
            blocks: taps * (w[1] as u64).div_ceil(self.lanes),
            passes: (x[1] as u64).div_ceil(self.lanes),
            rows: pixels,
            depth: (x[1] as u64).min(self.lanes),
            steps: 1,
            operands: 0,
            bytes: false,
        });
        c.busy[VXM] += out;
        c
    }
}
